"""Start the simulator: `python -m connectors.simulator`; `... live` plays a life.

Reads: its options, each also from the environment. Writes: one JSON line to standard output when it answers.
Guarantees: stops within two seconds of SIGTERM, with exit code 0.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from connectors.simulator.app import build
from connectors.simulator.live import LiveOptions, exit_code, play_alone, play_served, read_live, tell
from connectors.simulator.simulator import Options, Simulator
from connectors.simulator.wire import encode


def read_options(arguments: list[str]) -> Options:
    """The options of the command line, then of the environment, then the defaults."""
    env = os.environ.get
    parser = argparse.ArgumentParser(prog="simulator", description="A pretend Intuit: API, sign-in, webhooks, faults.")
    parser.add_argument("--host", default=env("SIMULATOR_HOST", "127.0.0.1"))
    parser.add_argument("--port", type=int, default=int(env("SIMULATOR_PORT", "8090")), help="0 takes a free one")
    parser.add_argument("--seed", type=int, default=int(env("SIMULATOR_SEED", "1")))
    parser.add_argument("--companies", type=int, default=int(env("SIMULATOR_COMPANIES", "1")))
    parser.add_argument("--history", choices=("year", "small", "none"), default=env("SIMULATOR_HISTORY", "year"))
    parser.add_argument("--webhook-url", default=env("SIMULATOR_WEBHOOK_URL"))
    parser.add_argument("--verifier-token", default=env("SIMULATOR_VERIFIER_TOKEN"))
    parser.add_argument("--client-id", default=env("SIMULATOR_CLIENT_ID"))
    parser.add_argument("--client-secret", default=env("SIMULATOR_CLIENT_SECRET"))
    parser.add_argument("--data-dir", type=Path, default=_path(env("SIMULATOR_DATA_DIR")), help="keep everything here")
    parser.add_argument("--auto-consent", action="store_true", default=env("SIMULATOR_AUTO_CONSENT") == "1")
    parser.add_argument("--no-limits", dest="limits", action="store_false", help="no throttle")
    return Options(**vars(parser.parse_args(arguments)))


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


class _Server(uvicorn.Server):
    """A server that leaves signals to us, so that a stop is an ordinary end."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(options: Options, beside: Callable[[str], Awaitable[bool]] | None = None) -> None:
    """Answer until SIGTERM or Ctrl-C, or until what is done `beside`, given the address, answers that it is over."""
    listener = socket.create_server((options.host, options.port))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # inherited; without it every answer waits 40 ms
    port = listener.getsockname()[1]
    app = build(Simulator(options))
    config = uvicorn.Config(app, log_level="error", access_log=False, timeout_graceful_shutdown=1, lifespan="on")
    server = _Server(config)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, setattr, server, "should_exit", True)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started and not running.done():  # noqa: ASYNC110 - uvicorn offers a flag, no event
        await asyncio.sleep(0.01)
    if server.started:
        url = f"http://{options.host}:{port}"
        sys.stdout.write(encode({"event": "ready", "url": url}) + "\n")
        sys.stdout.flush()
        if beside is not None:
            await _until_over(beside(url), running, server)
    await running


async def _until_over(work: Awaitable[bool], running: asyncio.Task[None], server: uvicorn.Server) -> None:
    """Do the work while the server runs; the server ends first where somebody stops it, last where the work says so."""
    task = asyncio.ensure_future(work)
    await asyncio.wait((task, running), return_when=asyncio.FIRST_COMPLETED)
    if not task.done():
        task.cancel()
        return
    try:
        server.should_exit = task.result() or server.should_exit
    except httpx.HTTPError:
        server.should_exit = True
        raise


async def live(options: LiveOptions) -> dict[str, Any]:
    """Serve, play a life on what is served, and stay where that was asked for; answers the summary."""
    found: dict[str, Any] = {"state": "stopped", "violations": []}

    async def play(url: str) -> bool:
        found.update(await play_served(options, url))
        tell(found)
        return not options.stay

    await serve(options.server or Options(), play)
    return found


def main() -> None:
    """Parse, serve or live, end."""
    if sys.argv[1:2] != ["live"]:
        asyncio.run(serve(read_options(sys.argv[1:])))
        return
    options = read_live(sys.argv[2:])
    if options.server is not None:
        sys.exit(exit_code(asyncio.run(live(options))))
    summary = play_alone(options)
    tell(summary)
    sys.exit(exit_code(summary))


if __name__ == "__main__":
    main()
