"""Run any step safely: the one loop that retries, publishes, parks and only then acknowledges.

The only module that knows Faust. What Faust does well is used: groups, partitions, rebalancing, agents. What loses
data is not: `take`, concurrency, exactly_once, tables, automatic acknowledgement (docs/decisions/0003).
Guarantees: a record is acknowledged after its effect is durable; an error that nobody expected ends the process with
the committed offset at the first record that is not done; a step that stands still ends the process too (exit 70).
"""

import asyncio
import gc
import logging
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import faust
import mode
import stamina
import structlog
from faust.transport.drivers.aiokafka import Consumer
from mode.threads import WorkerThread

from schemas.errors import TransientError
from schemas.topics import Topic
from schemas.wire import Incoming, Outcome, Outgoing, Unworkable

BATCH_MAX = 1000
BATCH_WAIT_S = 0.05
RETRY_S = 15.0  # a batch that goes no further for this long ends the process; a rebalance waits no longer
STALL_S = 60.0  # a lag without any progress for this long ends the process
THREAD_S = 2.0
STOP_S = 20.0  # for the batch in hand; what is not left then is left by the end of the process
COLLECT_AFTER = (20_000, 20, 20)  # a batch makes many objects and no cycles; at Python's pace this cost a sixth
log = structlog.get_logger()


class Work(Protocol):
    """What a step does with a batch. It persists or calls out, never both."""

    progress: int  # grows with everything inside a batch that is finished for good; else it stays

    async def do(self, batch: Sequence[Incoming]) -> Outcome:
        """Raises TransientError to be called again with the same batch; anything else ends the process."""

    async def published(self, outcome: Outcome) -> None:
        """The broker has this outcome's outputs; its batch is acknowledged next. Raises as `do` does. Safe twice."""

    async def assigned(self, partitions: Collection[tuple[str, int]]) -> None:
        """These (topic, partition) are this worker's from now on, and no others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One consumer group and its work."""

    name: str  # the consumer group; with its version, and never changed
    reads: tuple[Topic, ...]
    work: Work
    batch_max: int = BATCH_MAX
    batch_wait_s: float = BATCH_WAIT_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How steps reach the broker, and where they put what cannot be worked."""

    bootstrap: str
    session_timeout_s: float
    publish: Callable[[Sequence[Outgoing]], Awaitable[None]]  # returns when the broker has them all
    park: Callable[[str, Sequence[Unworkable]], Awaitable[None]]  # durable when it returns; twice is one row
    lag: Callable[[str, Collection[tuple[str, int]]], Awaitable[int]]  # of a group on these partitions

    async def run(self, steps: Sequence[Step], *, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        """Run the steps until `stop` is set. Raises what ended a step, after the others were stopped.

        `ready` is called once, when every step has its first partitions.
        """
        _quiet()
        gc.set_threshold(*COLLECT_AFTER)
        runs = [_Run(self, step) for step in steps]
        async with AsyncExitStack() as stack:
            stack.push_async_callback(_all, [run.stop for run in runs])
            await _all([run.start for run in runs])
            stopping = asyncio.create_task(stop.wait())
            beginning = asyncio.create_task(_announce(runs, ready))
            waits = [stopping, *(asyncio.create_task(run.crashed()) for run in runs)]
            try:
                done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (*waits, beginning):
                    task.cancel()
            for task in done - {stopping}:
                task.result()


async def _all(calls: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """Start or stop together: each Faust app sleeps for a second while it starts."""
    await asyncio.gather(*(call() for call in calls))


async def _announce(runs: Sequence["_Run"], ready: Callable[[], None]) -> None:
    for run in runs:
        await run.has_partitions.wait()
    ready()


class _Clock:
    """How long a step has stood still: since the clock was started, or since the step last went further."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self.start()

    def start(self) -> None:
        self._seen, self._since = self._work.progress, time.monotonic()

    def still_s(self) -> float:
        if self._work.progress != self._seen:
            self.start()
        return time.monotonic() - self._since


class _Run:
    """One step on its own Faust app."""

    def __init__(self, delivery: Delivery, step: Step) -> None:
        self._delivery, self._step = delivery, step
        self._owned: set[tuple[str, int]] = set()
        self._clock = _Clock(step.work)
        self.has_partitions = asyncio.Event()

    async def start(self) -> None:
        """Start the app on this loop."""
        self._app = self._create_app(_folder())
        self._app.loop = asyncio.get_running_loop()
        self._app.finalize()
        self._watchdog = asyncio.create_task(self._watch())
        await self._app.maybe_start()

    async def stop(self) -> None:
        """Stop the app, after the batch that it works, in bounded time; safe without a start."""
        if not hasattr(self, "_app"):
            return
        self._watchdog.cancel()
        # Not `wait_for`: Faust swallows a cancellation, and may wait a minute for the answer to a LeaveGroup.
        stopping = asyncio.create_task(self._app.stop())
        await asyncio.wait([stopping], timeout=STOP_S)
        if stopping.done():
            stopping.result()
        else:
            log.warning("step did not stop in time", step=self._step.name, after_s=STOP_S)

    async def crashed(self) -> None:
        """Returns never; raises what ended the app."""
        ended = asyncio.create_task(self._app.wait_until_stopped())
        await asyncio.wait([ended, self._watchdog], return_when=asyncio.FIRST_COMPLETED)
        if self._watchdog.done() and not self._watchdog.cancelled():
            self._watchdog.result()
        raise self._app.crash_reason or RuntimeError(f"{self._step.name} stopped by itself")

    def _create_app(self, folder: str) -> Any:
        app = faust.App(self._step.name, **self._settings(folder))
        app.transport.Consumer = _Consumer  # type: ignore[misc]
        topic = app.topic(*(topic.name for topic in self._step.reads), key_serializer="raw", value_serializer="raw")
        agent = app.agent(topic, name=self._step.name, supervisor_strategy=mode.CrashingSupervisor, concurrency=1)
        agent(self._deliver)

        async def on_assigned(_: Any, /, *arguments: Any, **__: Any) -> None:
            assigned = arguments[0]
            names = {topic.name for topic in self._step.reads}
            self._owned = {(tp.topic, tp.partition) for tp in assigned if tp.topic in names}
            await self._retrying(partial(self._step.work.assigned, self._owned))
            self._clock.start()
            self.has_partitions.set()

        app.on_partitions_assigned.connect(on_assigned, weak=False)
        return app

    def _settings(self, folder: str) -> dict[str, Any]:
        """As measured: docs/decisions/0003 says why each differs from its default."""
        timeout_s = self._delivery.session_timeout_s
        return {
            "broker": f"aiokafka://{self._delivery.bootstrap}",
            "env": {},  # Faust would let the environment override what follows, and WEB_PORT is ours
            "datadir": folder,
            "store": "memory://",
            "version": 1,
            "autodiscover": False,
            "broker_commit_interval": 0.5,
            "broker_commit_every": 1000,
            "broker_max_poll_records": 1000,
            "stream_buffer_maxsize": 4096,
            "broker_session_timeout": timeout_s,
            "broker_heartbeat_interval": timeout_s / 10,
            "broker_rebalance_timeout": 60.0,
            "broker_request_timeout": max(60.0, timeout_s + 10),
            "stream_wait_empty": True,
            "agent_supervisor": mode.CrashingSupervisor,
            "processing_guarantee": "at_least_once",
            "table_standby_replicas": 0,
            "topic_disable_leader": True,
            "topic_allow_declare": False,
            "consumer_auto_offset_reset": "earliest",
            "producer_acks": -1,
            "producer_request_timeout": 30.0,
            "web_enabled": False,
            "key_serializer": "raw",
            "value_serializer": "raw",
        }

    async def _deliver(self, stream: Any) -> None:
        step, delivery = self._step, self._delivery
        # `noack_take` puts back what it finds here when it ends: then Faust acknowledges the next record itself.
        stream.enable_acks = False
        async for events in stream.noack_take(step.batch_max, within=step.batch_wait_s):
            batch = [_incoming(event) for event in events]
            outcome = await self._retrying(partial(step.work.do, batch))
            if outcome.outputs:
                await self._retrying(partial(delivery.publish, outcome.outputs))
            if outcome.unworkable:
                await self._retrying(partial(delivery.park, step.name, outcome.unworkable))
            await self._retrying(partial(step.work.published, outcome))
            for event in events:
                event.ack()
            self._clock.start()

    async def _retrying(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Until it is done: RETRY_S from its first failure on, and again whenever it has gone further."""
        clock: _Clock | None = None

        def may_work_later(error: Exception) -> bool:
            nonlocal clock
            clock = clock or _Clock(self._step.work)  # not from its beginning: the machine may have stood still
            return isinstance(error, TransientError) and clock.still_s() < RETRY_S

        async for attempt in stamina.retry_context(
            on=may_work_later, attempts=None, timeout=None, wait_initial=0.1, wait_max=2.0
        ):
            with attempt:
                return await call()

    async def _watch(self) -> None:
        """End the process when there is work and none is finished: a stuck consumer looks healthy otherwise."""
        while True:
            await asyncio.sleep(STALL_S / 4)
            if self._clock.still_s() < STALL_S or not self._owned:
                continue
            if await self._delivery.lag(self._step.name, self._owned):
                raise SystemExit(70)
            self._clock.start()


class _Thread(WorkerThread):
    """Faust waits for the end of a consumer's thread without a limit, and stops this loop while it does."""

    def stop(self) -> None:
        self.is_stopped.wait(THREAD_S)


class _Consumer(Consumer):
    def _new_consumer_thread(self) -> Any:
        thread = super()._new_consumer_thread()
        thread.Worker = _Thread
        return thread


def _folder() -> str:
    """Faust wants one, and keeps nothing in it without tables: so all share it, and a kill leaves no other behind."""
    return str(Path(tempfile.gettempdir()) / f"intoaec-faust-{os.getuid()}")


def _incoming(event: Any) -> Incoming:
    message = event.message
    return Incoming(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        key=(message.key or b"").decode(errors="replace"),
        value=message.value,
        headers=_headers(message.headers),
        timestamp_ms=int(message.timestamp * 1000),
    )


def _headers(headers: Any) -> Mapping[str, bytes]:
    return dict(headers) if headers else {}


def _quiet() -> None:
    """Faust and its client say much that nobody acts on, and build records that nobody reads."""
    for name in ("aiokafka", "faust", "mode"):
        logging.getLogger(name).setLevel(logging.WARNING)
