"""`python -m connectors.simulator live`: a life without anybody watching, or in front of the whole simulator.

Reads: its options. Writes: progress to standard error, the summary to standard output.
Guarantees: without a server the life makes its own time, so the same seed gives the same life, byte for byte, whatever
the pace and the number of processes; the exit code is 0 only where nothing in the books is out of order.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from connectors.simulator.life.firm import Firm
from connectors.simulator.life.play import Digest, Pace, Play, new_company, rate_of, summed
from connectors.simulator.life.repertoire import Repertoire
from connectors.simulator.simulator import FIRST_REALM, Options
from connectors.simulator.wire import encode

SPOKEN_S = 10  # without a terminal: a line of progress so often
DRAIN_S = 120  # so long the last webhooks may take
STEPS_AT_ONCE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveOptions:
    """A life as it was asked for."""

    seed: int = 1
    companies: int = 1
    steps: int = 1000
    rate: str = "max"
    processes: int = 1
    check_every: int = 0  # 0: once, at the end
    without: tuple[str, ...] = ()
    digest: bool = False
    stay: bool = False  # go on serving when the life is over
    profile: str | None = None
    server: Options | None = None  # None: nobody watches


def read_live(arguments: list[str]) -> LiveOptions:
    """The options of the command line."""
    parser = argparse.ArgumentParser(prog="simulator live", description="Play a life of construction firms.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--companies", type=int, default=1)
    parser.add_argument("--steps", type=int, default=1000, help="over all companies together")
    parser.add_argument("--rate", default=None, help="500/s, 1/min, 20/h or max; with a server 1/s is the default")
    parser.add_argument("--without", action="append", default=[], metavar="HAPPENING", help="leave something out")
    parser.add_argument("--processes", type=int, default=1, help="share the companies out (without a server)")
    parser.add_argument("--check-every", type=int, default=0, metavar="STEPS", help="audit the books so often")
    parser.add_argument("--digest", action="store_true", help="print a hash of all events and documents")
    parser.add_argument("--serve", action="store_true", help="play it on a running simulator, and stay when it is over")
    parser.add_argument("--webhook-url", help="play it on a running simulator that sends its webhooks there")
    parser.add_argument("--profile", help="trouble to begin with (with a server)")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--history", choices=("year", "small", "none"), default="none")
    parser.add_argument("--verifier-token")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--auto-consent", action="store_true")
    given = vars(parser.parse_args(arguments))
    served = ("host", "port", "history", "verifier_token", "data_dir", "auto_consent", "webhook_url")
    server_only = {key: given.pop(key) for key in served}
    stay, rate = given.pop("serve"), given.pop("rate")
    watched = stay or server_only["webhook_url"] is not None
    server = Options(seed=given["seed"], companies=given["companies"], limits=False, **server_only) if watched else None
    given["without"] = tuple(given["without"])
    options = LiveOptions(**given, rate=rate or ("1/s" if watched else "max"), stay=stay, server=server)
    _refuse_nonsense(parser, options)
    return options


def _refuse_nonsense(parser: argparse.ArgumentParser, options: LiveOptions) -> None:
    try:
        rate_of(options.rate)
        Repertoire(options.without)
    except ValueError as error:
        parser.error(str(error))
    if options.server is None and options.profile is not None:
        parser.error("--profile needs a server: --serve or --webhook-url")
    if min(options.companies, options.steps, options.processes) < 1:
        parser.error("--companies, --steps and --processes must be 1 or more")


# ---- without anybody watching ----------------------------------------------------------------------------------------


def play_alone(options: LiveOptions) -> dict[str, Any]:
    """Play the whole life in this process, or share its companies out; answers the summary."""
    began = time.monotonic()
    with _shown(options.steps) as show:
        outcomes = _shared_out(options, show) if options.processes > 1 else [play_share(options, 0, show)]
    spent_s = time.monotonic() - began
    found = summed(outcomes)
    if options.digest:
        found["digest"] = hashlib.sha256("".join(sorted(found.pop("digests"))).encode()).hexdigest()
    return found | {"seconds": f"{spent_s:.1f}", "steps_per_s": f"{found['steps'] / spent_s:.0f}"}


def play_share(options: LiveOptions, share: int, show: Callable[[int], None]) -> dict[str, Any]:
    """One process's part: every company whose number falls to it, with its part of the steps."""
    numbers = range(share, options.companies, options.processes)
    companies = [new_company(number, str(FIRST_REALM + number)) for number in numbers]
    digests = [Digest(company) for company in companies] if options.digest else []
    firms = [Firm(company, options.seed, number) for company, number in zip(companies, numbers, strict=True)]
    play = Play(firms, Repertoire(options.without), _steps_of(options, numbers))
    _play_on(play, options, show)
    play.check()
    used = resource.getrusage(resource.RUSAGE_SELF)
    found = play.summary() | {"peak_mb": used.ru_maxrss // 1024, "processor_s": round(used.ru_utime + used.ru_stime)}
    return found | ({"digests": [digest.hexdigest() for digest in digests]} if options.digest else {})


def _steps_of(options: LiveOptions, numbers: range) -> int:
    whole, rest = divmod(options.steps, options.companies)
    return sum(whole + (number < rest) for number in numbers)


def _play_on(play: Play, options: LiveOptions, show: Callable[[int], None]) -> None:
    rate = rate_of(options.rate)
    pace = Pace(rate / options.processes if rate else None, time.monotonic)
    check_every = max(1, options.check_every // options.processes) if options.check_every else play.total
    while play.done < play.total and not play.problems:
        for _ in range(min(STEPS_AT_ONCE if rate is None else 1, play.total - play.done)):
            if rate is not None and (wait_s := pace.wait_s()):
                time.sleep(wait_s)
            play.step()
            pace.stepped()
            if play.done % check_every == 0 and play.done < play.total:
                play.check()
        show(play.done)


_DONE: Any = None  # in a worker process: how far each share is


def _begin(done: Any) -> None:
    global _DONE
    _DONE = done


def _work(options: LiveOptions, share: int) -> dict[str, Any]:
    def tell(done: int) -> None:
        _DONE[share] = done

    return play_share(options, share, tell)


def _shared_out(options: LiveOptions, show: Callable[[int], None]) -> list[dict[str, Any]]:
    options = replace(options, processes=min(options.processes, options.companies))
    context = multiprocessing.get_context("spawn")
    done = context.Array("q", options.processes)
    with ProcessPoolExecutor(options.processes, context, _begin, (done,)) as pool:
        shares: list[Future[dict[str, Any]]] = [pool.submit(_work, options, one) for one in range(options.processes)]
        while not all(share.done() for share in shares):
            time.sleep(0.2)
            show(sum(done[:]))
        return [share.result() for share in shares]


# ---- with a server ---------------------------------------------------------------------------------------------------


async def play_served(options: LiveOptions, url: str) -> dict[str, Any]:
    """Start a life on the simulator at this address, follow it to its end, and wait until its webhooks are out."""
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as client:
        if options.profile is not None:
            (await client.put("/_sim/profile", json={"name": options.profile})).raise_for_status()
        asked = {"seed": options.seed, "steps": options.steps, "rate": options.rate, "check": True}
        asked["without"] = list(options.without)
        (await client.post("/_sim/live", json=asked)).raise_for_status()
        with _shown(options.steps) as show:
            state = await _followed(client, show)
        await _drained(client)
    return {
        "state": state["state"],
        **state["summary"],
        "seconds": state["seconds"],
        "steps_per_s": state["steps_per_s"],
    }


async def _followed(client: httpx.AsyncClient, show: Callable[[int], None]) -> dict[str, Any]:
    while True:
        state: dict[str, Any] = (await client.get("/_sim/live")).json()
        show(state["done"])
        if state["state"] != "running":
            return state
        await asyncio.sleep(0.3)


async def _drained(client: httpx.AsyncClient) -> None:
    until = time.monotonic() + DRAIN_S
    while time.monotonic() < until:
        webhooks = (await client.get("/_sim/webhooks")).json()
        if webhooks["idle"] or not webhooks["url"]:
            return
        await asyncio.sleep(0.3)


# ---- what a person sees ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _shown(total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal, a line now and then elsewhere."""
    if sys.stderr.isatty():
        columns = (TextColumn("steps"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task("steps", total=total)
            yield lambda done: progress.update(task, completed=done)
        return
    yield _Lines(total).show


class _Lines:
    """Progress for a log file."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._began = self._spoken = time.monotonic()

    def show(self, done: int) -> None:
        """Say how far it is, if some time has passed since it was said last."""
        now = time.monotonic()
        if now - self._spoken >= SPOKEN_S:
            self._spoken = now
            rate = done / (now - self._began)
            left = f", {(self.total - done) / rate:.0f} s left" if rate else ""
            sys.stderr.write(f"{done}/{self.total} steps, {rate:.0f}/s{left}\n")
            sys.stderr.flush()


def tell(summary: dict[str, Any]) -> None:
    """The summary as lines of text, and once more as one line of JSON for programmes."""
    for key, value in summary.items():
        shown = ", ".join(f"{name} {count}" for name, count in value.items()) if isinstance(value, dict) else value
        sys.stdout.write(f"{key.replace('_', ' ')}: {shown if shown or shown == 0 else 'none'}\n")
    plain = {key: str(value) if isinstance(value, float) else value for key, value in summary.items()}
    sys.stdout.write(encode(plain) + "\n")
    sys.stdout.flush()


def exit_code(summary: dict[str, Any]) -> int:
    """0 where the life came to its end and every book adds up."""
    return os.EX_OK if summary.get("state", "done") == "done" and not summary["violations"] else 1
