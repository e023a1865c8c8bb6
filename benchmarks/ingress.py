"""How many webhooks a second the ingress makes durable, and how long each takes, beside an endpoint that does nothing.

Run: `python -m benchmarks.ingress`. Starts a broker of its own, or uses the one that KAFKA_BOOTSTRAP names.
Both endpoints stand in one server process of one worker, behind the same protocol and headers; their turns alternate.
The load comes from another process that only writes prepared bytes and counts the bytes that return.
"""

import asyncio
import base64
import contextlib
import hmac
import multiprocessing
import os
import random
import secrets
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple, cast

import psutil
import uvloop
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from benchmarks.table import Row, all_met, ratio_of, show
from connectors.cluster import create_topics
from connectors.config import Settings
from connectors.http_server import serve
from connectors.local import Broker
from connectors.logs import configure_log
from connectors.quickbooks.webhook import PATH, create_app
from schemas.topics import topics

NOTHING = "/nothing"
COMPANIES = 50
CONNECTIONS = 160  # below the number of deliveries that the ingress lets wait for the broker
TURNS = 8
TURN_S = 2.0
WARM_UP_S = 2.0
STEADY_PER_S = 300
STEADY_S = 30.0
STEADY_CONNECTIONS = 128
PARTITIONS = 4


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked of the load process."""

    port: int
    path: str
    seconds: float
    per_s: float | None  # None: as fast as the answers come, each connection one request at a time


@dataclass(frozen=True, slots=True)
class Heard:
    """What came back."""

    per_s: float
    latencies_s: list[float]  # sorted; under a fixed rate counted from when the request was due


class Turn(NamedTuple):
    """The same load on both endpoints, one right after the other: whatever else runs here burdens both alike."""

    nothing: Heard
    durable: Heard
    nothing_cpu_s: float  # of the server, for one request
    durable_cpu_s: float


def run() -> list[Row]:
    """Measure; the rows for the common table."""
    with _bootstrap() as bootstrap, _server(bootstrap) as server, _loader() as load:
        for path in (NOTHING, PATH):
            load(Load(server.port, path, WARM_UP_S, None))
        turns = [_turn(server, load) for _ in range(TURNS)]
        steady_nothing = load(Load(server.port, NOTHING, STEADY_S / 3, STEADY_PER_S))
        steady = load(Load(server.port, PATH, STEADY_S, STEADY_PER_S))
    return [*_full_load_rows(turns), *_steady_rows(steady, steady_nothing)]


def _turn(server: "Server", load: "Loader") -> Turn:
    heard: list[Heard] = []
    cpu_s: list[float] = []
    for path in (NOTHING, PATH):
        before = server.cpu_s()
        heard.append(load(Load(server.port, path, TURN_S, None)))
        cpu_s.append((server.cpu_s() - before) / len(heard[-1].latencies_s))
    return Turn(heard[0], heard[1], cpu_s[0], cpu_s[1])


def _full_load_rows(turns: Sequence[Turn]) -> list[Row]:
    acknowledged, answered = (statistics.fmean(each) for each in zip(*map(_rates, turns), strict=True))
    ratio = ratio_of(acknowledged, answered)
    rate = Row(
        name=f"webhooks acknowledged, {CONNECTIONS} senders",
        value=acknowledged,
        unit="/s",
        baseline=answered,
        ratio=ratio,
        target="at least 0.50 of an endpoint that does nothing",
        met=ratio is not None and ratio >= 0.5,
    )
    durable_us, nothing_us = (
        statistics.median(each) * 1e6
        for each in ([turn.durable_cpu_s for turn in turns], [turn.nothing_cpu_s for turn in turns])
    )
    processor = Row(
        name="processor time of the ingress for one",
        value=durable_us,
        unit="µs",
        baseline=nothing_us,
        ratio=ratio_of(durable_us, nothing_us),
    )
    durable = sorted(each for turn in turns for each in turn.durable.latencies_s)
    nothing = sorted(each for turn in turns for each in turn.nothing.latencies_s)
    return [rate, processor, *(_latency_row(f"{name} at full load", share, durable, nothing) for name, share in SHARES)]


def _rates(turn: Turn) -> tuple[float, float]:
    return turn.durable.per_s, turn.nothing.per_s


def _steady_rows(durable: Heard, nothing: Heard) -> list[Row]:
    rows = [
        _latency_row(f"{name} at {STEADY_PER_S}/s", share, durable.latencies_s, nothing.latencies_s)
        for name, share in SHARES
    ]
    return [*rows[:-1], replace(rows[-1], target="under 100 ms", met=rows[-1].value < 100)]


SHARES = (("p50", 0.50), ("p99", 0.99), ("p99.9", 0.999))


def _latency_row(name: str, share: float, durable: list[float], nothing: list[float]) -> Row:
    value, baseline = _percentile(durable, share) * 1000, _percentile(nothing, share) * 1000
    return Row(name=name, value=value, unit="ms", baseline=baseline, ratio=ratio_of(value, baseline))


def _percentile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


# ------------------------------------------------------------------------------------------------------------- server


@contextlib.contextmanager
def _bootstrap() -> Iterator[str]:
    if named := os.environ.get("KAFKA_BOOTSTRAP"):
        yield named
        return
    with tempfile.TemporaryDirectory() as folder, Broker.start(Path(folder)) as broker:
        yield broker.bootstrap


class Server(NamedTuple):
    """The server process with both endpoints."""

    port: int
    process: psutil.Process

    def cpu_s(self) -> float:
        """Processor time that it has used."""
        times = self.process.cpu_times()
        return float(times.user + times.system)


@contextlib.contextmanager
def _server(bootstrap: str) -> Iterator[Server]:
    settings = Settings.from_environment(
        {
            "KAFKA_BOOTSTRAP": bootstrap,
            "DATABASE_URL": "postgresql://unused",
            "MASTER_KEYS": "unused:" + base64.b64encode(bytes(32)).decode(),
            "TOPIC_PREFIX": f"bench{secrets.token_hex(4)}-",
            "TOPIC_PARTITIONS": str(PARTITIONS),
            "WEBHOOK_VERIFIER_TOKENS": "benchmark",
            "INGRESS_PORT": str(_free_port()),
        }
    )
    wanted = topics(PARTITIONS, prefix=settings.topic_prefix)
    asyncio.run(create_topics(bootstrap, [wanted.notifications, wanted.parked], {}))
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(settings,), daemon=True)
    process.start()
    try:
        _wait_until_ready(settings.ingress_port)
        yield Server(settings.ingress_port, psutil.Process(process.pid))
    finally:
        process.terminate()
        process.join()


def _serve(settings: Settings) -> None:
    configure_log("ERROR")
    app = create_app(settings)
    app.router.routes.append(Route(NOTHING, Nothing(), methods=["POST"]))
    serve(app, settings.ingress_host, settings.ingress_port)


class Nothing:
    """Reads the body and answers 200."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        while (await receive()).get("more_body"):
            pass
        head = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": b"ok"})


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_ready(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as connection:
            connection.sendall(b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n")
            if b" 200 " in connection.recv(64):
                return
        time.sleep(0.1)
    raise TimeoutError("the ingress was not ready within 60 s")


# --------------------------------------------------------------------------------------------------------------- load


@contextlib.contextmanager
def _loader() -> Iterator["Loader"]:
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_load_process, args=(theirs,), daemon=True)
    process.start()
    theirs.close()  # so that the end of the process is heard
    try:
        yield Loader(ours)
    finally:
        with contextlib.suppress(OSError):
            ours.send(None)
        process.join(10)


class Loader:
    """The load process, as the measuring one sees it."""

    def __init__(self, connection: Connection):
        self._connection = connection

    def __call__(self, load: Load) -> Heard:
        """Make this load and return what was heard."""
        self._connection.send(load)
        heard: Heard = self._connection.recv()
        return heard


def _load_process(connection: Connection) -> None:
    while (load := connection.recv()) is not None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            connection.send(runner.run(_make(load)))


async def _make(load: Load) -> Heard:
    requests = _requests(load.path)
    answer_bytes = await _answer_bytes(load.port, requests[0])
    count = CONNECTIONS if load.per_s is None else STEADY_CONNECTIONS
    loop = asyncio.get_running_loop()
    until = time.perf_counter() + load.seconds if load.per_s is None else 0.0
    senders = [Sender(requests[n % COMPANIES], answer_bytes, until) for n in range(count)]
    for sender in senders:
        await loop.create_connection(lambda sender=sender: sender, "127.0.0.1", load.port)  # type: ignore[misc]
    began = time.perf_counter()
    if load.per_s is None:
        for sender in senders:
            sender.send(time.perf_counter())
    else:
        await _send_steadily(senders, load.per_s, load.seconds)
    await asyncio.wait_for(asyncio.gather(*(sender.idle.wait() for sender in senders)), load.seconds + 30)
    seconds = time.perf_counter() - began
    latencies = sorted(each for sender in senders for each in sender.latencies_s)
    for sender in senders:
        sender.close()
    return Heard(len(latencies) / seconds, latencies)


async def _send_steadily(senders: list["Sender"], per_s: float, seconds: float) -> None:
    """Requests come at random moments, as those of many strangers do, whether earlier ones are answered or not."""
    chance = random.Random(1)
    due = time.perf_counter()
    for n in range(int(per_s * seconds)):
        due += chance.expovariate(per_s)
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        senders[n % len(senders)].send(due)


def _requests(path: str) -> list[bytes]:
    return [_request(path, f"91303570{n:08}") for n in range(COMPANIES)]


def _request(path: str, company: str) -> bytes:
    body = (
        '[{"specversion":"1.0","id":"5f0c8b0e-8f4e-4c1d-9a57-2f0c4b1d7e11",'
        '"source":"intuit.dsnBgbseACLLRZNxo2dfc4evmEJdxde58xeeYcZliOU=","type":"qbo.invoice.created.v1",'
        '"datacontenttype":"application/json","time":"2026-03-08T09:15:02.179851517Z","intuitentityid":"1045",'
        f'"intuitaccountid":"{company}","data":{{}}}}]'
    ).encode()
    signature = base64.b64encode(hmac.digest(b"benchmark", body, "sha256")).decode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json; charset=utf-8\r\n"
        f"User-Agent: intuit_notification_server/0.1\r\nIntuit-Signature: {signature}\r\n"
        f"Intuit-T-Id: 1-5759f3b4-0a0f4ee5b6b45bd5d3c0ff2e\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _answer_bytes(port: int, request: bytes) -> int:
    """How long a good answer is: all of them are of one length."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    body = await reader.readexactly(2)
    writer.close()
    return len(head) + len(body)


class Sender(asyncio.Protocol):
    """One connection that sends the same request again and again, and times the answers."""

    def __init__(self, request: bytes, answer_bytes: int, until: float):
        self.latencies_s: list[float] = []
        self.idle = asyncio.Event()
        self._request = request
        self._answer_bytes = answer_bytes
        self._until = until  # as fast as possible until then; 0: only when told
        self._due: list[float] = []
        self._sent = 0
        self._heard_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own are no subclass of it
        self.idle.set()

    def send(self, due: float) -> None:
        """Send one request that was due at this moment; while an earlier one waits for its answer, after that."""
        self.idle.clear()
        self._due.append(due)
        if len(self._due) == 1:
            self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Part of an answer, or one; nothing else is expected."""
        if self._heard_bytes == 0 and not data.startswith(b"HTTP/1.1 200"):
            sys.exit(f"the ingress answered {data[:40]!r}")
        self._heard_bytes += len(data)
        if self._heard_bytes == self._answer_bytes:
            self._heard_bytes = 0
            self._answered(time.perf_counter())

    def close(self) -> None:
        """Done."""
        self._transport.close()

    def _answered(self, now: float) -> None:
        self.latencies_s.append(now - self._due.pop(0))
        if self._due:
            self._transport.write(self._request)
        elif now < self._until:
            self.send(now)
        else:
            self.idle.set()


if __name__ == "__main__":
    rows = run()
    show("Ingress", rows)
    sys.exit(0 if all_met(rows) else 1)
