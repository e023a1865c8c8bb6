"""The one loop on the real broker: what is acknowledged, what is not, and the Faust that it was measured with.

Each of these failed, or could fail, with Faust's own ways of doing it. Source: docs/decisions/0003.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import faust
import mode
import pytest

from connectors.cluster import create_topics, group_positions
from connectors.kafka import Publisher
from schemas.errors import TransientError, UnprocessableError
from schemas.topics import Topic
from schemas.wire import Incoming, Outcome, Outgoing, Unworkable
from streams import delivery
from streams.delivery import Delivery, Step
from tests.conftest import RunningBroker
from tests.integration.test_kafka_publish import a_topic, all_of, records

COUNT = 300
BATCH = 50


class Broken(Exception):
    """What nobody expected."""


@dataclass
class Doing:
    """A step's work that notes what it did; `before` may raise or wait."""

    before: Callable[[Sequence[Incoming]], Awaitable[None]] | None = None
    outcome: Callable[[Sequence[Incoming]], Outcome] = lambda batch: Outcome()
    done: list[int] = field(default_factory=list)
    calls: int = 0
    progress: int = 0
    told: list[Outcome] = field(default_factory=list)

    async def do(self, batch: Sequence[Incoming]) -> Outcome:
        self.calls += 1
        if self.before is not None:
            await self.before(batch)
        self.done += [record.offset for record in batch]
        return self.outcome(batch)

    async def published(self, outcome: Outcome) -> None:
        self.told.append(outcome)

    async def assigned(self, partitions: Collection[tuple[str, int]]) -> None:
        pass


@dataclass
class Place:
    """One topic of one partition with records, and the group that reads it."""

    bootstrap: str
    topic: Topic
    group: str
    publish: Callable[[Sequence[Outgoing]], Awaitable[None]]
    parked: list[int] = field(default_factory=list)
    batch_max: int = BATCH

    async def park(self, step: str, unworkable: Sequence[Unworkable]) -> None:
        self.parked += [each.record.offset for each in unworkable]

    async def lag(self, group: str, partitions: Collection[tuple[str, int]]) -> int:
        return 0

    async def committed(self) -> int:
        positions = await group_positions(self.bootstrap, self.group, [self.topic.name])
        return positions[self.topic.name, 0].committed or 0

    def delivery(self, **more: Any) -> Delivery:
        parts: dict[str, Any] = {"publish": self.publish, "park": self.park, "lag": self.lag}
        return Delivery(bootstrap=self.bootstrap, session_timeout_s=6, **(parts | more))

    def step(self, work: Doing) -> Step:
        return Step(name=self.group, reads=(self.topic,), work=work, batch_max=self.batch_max)

    @asynccontextmanager
    async def run(self, work: Doing, **more: Any) -> AsyncIterator[asyncio.Task[None]]:
        """Run the step while the body lasts, then stop it in order. What ended it is the task's."""
        stop = asyncio.Event()
        running = asyncio.create_task(self.delivery(**more).run([self.step(work)], stop=stop, ready=lambda: None))
        try:
            yield running
        finally:
            stop.set()
            await asyncio.wait([running])
        await running


@pytest.fixture
async def place(broker: RunningBroker, topic_prefix: str) -> AsyncIterator[Place]:
    topic, group = a_topic(topic_prefix + "in", partitions=1), topic_prefix + "step"
    await create_topics(broker.bootstrap, [topic, a_topic(topic_prefix + "out", partitions=1)], {group: [topic.name]})
    async with Publisher(broker.bootstrap) as publisher:
        await publisher.publish(records(topic.name, COUNT))
        yield Place(broker.bootstrap, topic, group, publisher.publish)


async def until(found: Callable[[], bool], within_s: float = 90) -> None:
    async with asyncio.timeout(within_s):
        while not found():  # noqa: ASYNC110 (a poll with a limit)
            await asyncio.sleep(0.02)


def raise_at(offset: int, error: Exception, times: int = 10_000) -> Callable[[Sequence[Incoming]], Awaitable[None]]:
    left = [error] * times

    async def before(batch: Sequence[Incoming]) -> None:
        if left and any(record.offset == offset for record in batch):
            raise left.pop()

    return before


async def ended_by(place: Place, work: Doing, error: type[Exception], **more: Any) -> None:
    with pytest.raises(error):
        async with place.run(work, **more) as running:
            await asyncio.wait([running], timeout=120)


@pytest.mark.parametrize(("batch_max", "broken"), [(BATCH, 0), (BATCH, 120), (1, 20)])
async def test_what_nobody_expected_ends_the_process_at_the_first_record_that_is_not_done(
    place: Place, batch_max: int, broken: int
) -> None:
    place.batch_max = batch_max
    work = Doing(before=raise_at(broken, Broken()))
    await ended_by(place, work, Broken)
    assert work.done == list(range(len(work.done)))
    assert len(work.done) <= broken
    assert await place.committed() == len(work.done)

    again = Doing()
    async with place.run(again):
        await until(lambda: len(again.done) == COUNT - len(work.done))
    assert work.done + again.done == list(range(COUNT))


async def test_what_may_work_later_is_tried_again_in_place_and_nothing_overtakes_it(place: Place) -> None:
    work = Doing(before=raise_at(120, TransientError("the database is away"), times=2))
    async with place.run(work):
        await until(lambda: len(work.done) == COUNT)
    assert work.done == list(range(COUNT))
    assert await place.committed() == COUNT


async def test_what_never_works_in_time_ends_the_process_unacknowledged(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "RETRY_S", 1.0)
    work = Doing(before=raise_at(0, TransientError("the database is away")))
    await ended_by(place, work, TransientError)
    assert work.calls > 1
    assert await place.committed() == 0


async def test_time_that_went_by_before_the_first_failure_does_not_count(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that was frozen with work in hand tries once more and learns that another owns it."""
    monkeypatch.setattr(delivery, "RETRY_S", 0.05)
    failures = [TransientError("the database closed the connection")]

    async def frozen_first(batch: Sequence[Incoming]) -> None:
        if failures:
            await asyncio.sleep(0.2)
            raise failures.pop()

    work = Doing(before=frozen_first)
    async with place.run(work):
        await until(lambda: len(work.done) == COUNT)
    assert failures == []


async def test_each_progress_inside_a_batch_gives_it_its_time_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "RETRY_S", 0.05)  # shorter than any wait between two tries
    work = Doing()

    async def goes_further_three_times(batch: Sequence[Incoming]) -> None:
        work.progress += work.calls <= 3
        raise TransientError("the database is away")

    work.before = goes_further_three_times
    await ended_by(place, work, TransientError)
    assert work.calls == 4
    assert await place.committed() == 0


async def test_a_step_is_told_before_the_acknowledgement_what_was_published_and_may_fail_for_a_while(
    place: Place,
) -> None:
    failures = [TransientError("the database is away")] * 2

    class Told(Doing):
        async def published(self, outcome: Outcome) -> None:
            assert await place.committed() < COUNT
            if failures:
                raise failures.pop()
            await super().published(outcome)

    place.batch_max = COUNT
    work = Told(outcome=copied(place))
    async with place.run(work):
        await until(lambda: sum(len(outcome.outputs) for outcome in work.told) == COUNT)
    assert failures == []
    assert await place.committed() == COUNT


def every_hundredth(batch: Sequence[Incoming]) -> Outcome:
    error = UnprocessableError("this is no message")
    return Outcome(unworkable=[Unworkable(record=r, error=error) for r in batch if r.offset % 100 == 7])


async def test_what_can_never_work_is_parked_alone(place: Place) -> None:
    work = Doing(outcome=every_hundredth)
    async with place.run(work):
        await until(lambda: len(work.done) == COUNT)
    assert place.parked == [7, 107, 207]
    assert await place.committed() == COUNT


async def test_what_cannot_be_parked_is_not_acknowledged(place: Place) -> None:
    async def park(step: str, unworkable: Sequence[Unworkable]) -> None:
        raise Broken

    await ended_by(place, Doing(outcome=every_hundredth), Broken, park=park)
    assert await place.committed() == 0


def copied(place: Place) -> Callable[[Sequence[Incoming]], Outcome]:
    out = place.topic.name.removesuffix("in") + "out"
    return lambda batch: Outcome(outputs=[Outgoing(topic=out, key="k", value=r.value) for r in batch])


async def test_what_could_not_be_published_is_not_acknowledged(
    place: Place, broker: RunningBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "RETRY_S", 1.0)
    published: list[int] = []

    async def publish(outputs: Sequence[Outgoing]) -> None:
        if len(published) >= 100:
            raise TransientError("the broker did not take them")
        await place.publish(outputs)
        published.extend(range(len(outputs)))

    await ended_by(place, Doing(outcome=copied(place)), TransientError, publish=publish)
    assert await place.committed() == len(published) < COUNT

    again = Doing(outcome=copied(place))
    async with place.run(again):
        await until(lambda: len(again.done) == COUNT - len(published))
    found = [record.value for record in await all_of(broker, place.topic.name.removesuffix("in") + "out")]
    assert found == [record.value for record in records(place.topic.name, COUNT)]


async def test_a_stop_within_a_batch_finishes_it_and_doubles_nothing(place: Place) -> None:
    within, go_on = asyncio.Event(), asyncio.Event()

    async def before(batch: Sequence[Incoming]) -> None:
        if batch[-1].offset >= 120:
            within.set()
            await go_on.wait()

    work = Doing(before=before)
    stop = asyncio.Event()
    running = asyncio.create_task(place.delivery().run([place.step(work)], stop=stop, ready=lambda: None))
    await asyncio.wait_for(within.wait(), 90)
    before_stop = len(work.done)
    stop.set()
    asyncio.get_running_loop().call_later(0.5, go_on.set)  # the stop has begun when the batch goes on
    await asyncio.wait_for(running, 90)
    assert len(work.done) > before_stop
    assert await place.committed() == len(work.done)

    again = Doing()
    async with place.run(again):
        await until(lambda: len(again.done) >= COUNT - len(work.done))
    assert work.done + again.done == list(range(COUNT))


async def test_ready_is_said_when_every_step_owns_partitions_and_one_crash_ends_all(place: Place) -> None:
    ready = asyncio.Event()
    other = Step(name=f"{place.group}-other", reads=(place.topic,), work=Doing())
    broken = place.step(Doing(before=raise_at(0, Broken())))
    both = place.delivery().run([broken, other], stop=asyncio.Event(), ready=ready.set)
    with pytest.raises(Broken):
        await asyncio.wait_for(both, 120)
    assert await place.committed() == 0


def test_faust_is_the_one_that_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before raising any of these: faust.md section 5.6, and every test of this module."""
    assert (faust.__version__, version("aiokafka"), version("mode-streaming").split(".")[0]) == (
        "0.15.3",
        "0.14.0",
        "0",
    )
    monkeypatch.setenv("BROKER_COMMIT_INTERVAL", "9")  # Faust's own variables must not reach it
    monkeypatch.setenv("PROCESSING_GUARANTEE", "exactly_once")
    place = Place("127.0.0.1:9", a_topic("in"), "group", publish=_never)
    settings = delivery._Run(place.delivery(), place.step(Doing()))._create_app(str(tmp_path)).conf
    expected = {
        "id": "group",
        "version": 1,
        "processing_guarantee": faust.types.ProcessingGuarantee.AT_LEAST_ONCE,
        "agent_supervisor": mode.CrashingSupervisor,
        "stream_wait_empty": True,
        "broker_commit_interval": 0.5,
        "broker_session_timeout": 6,
        "consumer_auto_offset_reset": "earliest",
        "producer_acks": -1,
        "producer_request_timeout": 30.0,
        "table_standby_replicas": 0,
        "topic_disable_leader": True,
        "topic_allow_declare": False,
        "web_enabled": False,
        "key_serializer": "raw",
        "value_serializer": "raw",
        "autodiscover": False,
    }
    assert {name: getattr(settings, name) for name in expected} == expected


async def _never(outputs: Sequence[Outgoing]) -> None:
    raise AssertionError("nothing is published here")
