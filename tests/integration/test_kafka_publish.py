"""Publishing into and reading from the real broker."""

import logging
import os
import time
from collections import Counter

import pytest

from connectors.cluster import create_topics
from connectors.kafka import Publisher, limit_log_noise, partition_of, read_from
from schemas.errors import TransientError, UnprocessableError
from schemas.topics import MESSAGE_BYTES_MAX, Topic
from schemas.wire import Incoming, Outgoing
from tests.conftest import RunningBroker


def records(topic: str, count: int, key: str = "k") -> list[Outgoing]:
    return [Outgoing(topic=topic, key=key, value=b"%06d" % n) for n in range(count)]


def a_topic(name: str, partitions: int = 4, retention_ms: int | None = None) -> Topic:
    return Topic(
        name=name, key="any", value="any", partitions=partitions, retention_ms=retention_ms, writer="test", readers=()
    )


async def all_of(broker: RunningBroker, topic: str) -> list[Incoming]:
    return [record async for batch in read_from(broker.bootstrap, topic) for record in batch]


@pytest.fixture
async def topic(broker: RunningBroker, topic_prefix: str) -> str:
    name = topic_prefix + "records"
    await create_topics(broker.bootstrap, [a_topic(name)], {})
    return name


async def test_ten_thousand_records_are_acknowledged_and_read_back_once(broker: RunningBroker, topic: str) -> None:
    sent = [
        Outgoing(topic=topic, key=f"company-{n % 97}", value=f"{n:06}".encode() + b"x" * 300) for n in range(10_000)
    ]
    async with Publisher(broker.bootstrap) as publisher:
        await publisher.publish(sent)
    found = await all_of(broker, topic)
    assert Counter(record.value for record in found) == Counter(record.value for record in sent)


async def test_records_of_one_key_keep_their_order(broker: RunningBroker, topic: str) -> None:
    async with Publisher(broker.bootstrap) as publisher:
        await publisher.publish(
            [Outgoing(topic=topic, key="one", value=b"%06d" % n + os.urandom(500)) for n in range(3_000)]
        )
    values = [(record.value or b"")[:6] for record in await all_of(broker, topic)]
    assert values == [b"%06d" % n for n in range(3_000)]


async def test_a_key_lands_in_the_partition_that_is_computed(broker: RunningBroker, topic: str) -> None:
    keys = [f"9130357{n:09}" for n in range(200)]
    async with Publisher(broker.bootstrap) as publisher:
        await publisher.publish([Outgoing(topic=topic, key=key, value=b"") for key in keys])
    landed = {record.key: record.partition for record in await all_of(broker, topic)}
    assert landed == {key: partition_of(key, 4) for key in keys}
    assert set(landed.values()) == {0, 1, 2, 3}


@pytest.mark.parametrize(("key", "hashed"), [("21", -973932308), ("foobar", -790332482), ("abc", 479470107)])
def test_partitions_are_those_of_the_java_client(key: str, hashed: int) -> None:
    """Source: the expected values of Kafka's own UtilsTest.testMurmur2."""
    assert partition_of(key, 64) == (hashed & 0x7FFFFFFF) % 64


async def test_a_message_of_nine_mebibytes_passes_unchanged(broker: RunningBroker, topic: str) -> None:
    sent = Outgoing(topic=topic, key="big", value=os.urandom(9 * 1024 * 1024), headers=(("delivery", b"d-1"),))
    async with Publisher(broker.bootstrap) as publisher:
        await publisher.publish([sent])
    (found,) = await all_of(broker, topic)
    assert (found.key, found.value, found.headers) == ("big", sent.value, dict(sent.headers))


async def test_the_largest_record_that_is_not_refused_is_taken(broker: RunningBroker, topic: str) -> None:
    async with Publisher(broker.bootstrap) as publisher:
        await publisher.publish([Outgoing(topic=topic, key="k", value=os.urandom(MESSAGE_BYTES_MAX - 513))])
    assert len(await all_of(broker, topic)) == 1


async def test_a_record_that_no_broker_takes_is_refused_before_anything_is_sent(
    broker: RunningBroker, topic: str
) -> None:
    records = [
        Outgoing(topic=topic, key="small", value=b"1"),
        Outgoing(topic=topic, key="big", value=b"0" * MESSAGE_BYTES_MAX),
    ]
    async with Publisher(broker.bootstrap) as publisher:
        with pytest.raises(UnprocessableError, match="a broker takes at most"):
            await publisher.publish(records)
        await publisher.publish([Outgoing(topic=topic, key="next", value=b"2")])
    assert [record.value for record in await all_of(broker, topic)] == [b"2"]


async def test_a_record_without_a_value_stays_one_without_a_value(broker: RunningBroker, topic: str) -> None:
    async with Publisher(broker.bootstrap) as publisher:
        await publisher.publish([Outgoing(topic=topic, key="k", value=None)])
    assert [record.value for record in await all_of(broker, topic)] == [None]


async def test_an_unknown_topic_is_a_failure_that_says_what_to_do(broker: RunningBroker, topic_prefix: str) -> None:
    async with Publisher(broker.bootstrap) as publisher:
        with pytest.raises(TransientError):
            await publisher.publish([Outgoing(topic=topic_prefix + "nowhere", key="k", value=b"")], within_s=1)
    with pytest.raises(TransientError, match="create the topics"):
        await all_of(broker, topic_prefix + "nowhere")


async def test_a_broker_that_is_away_is_a_failure_in_bounded_time(unused_tcp_port: int) -> None:
    began = time.monotonic()
    async with Publisher(f"127.0.0.1:{unused_tcp_port}") as publisher:
        with pytest.raises(TransientError):
            await publisher.publish([Outgoing(topic="any", key="k", value=b"")], within_s=1)
        with pytest.raises(TransientError):
            await publisher.check(within_s=1)
    assert time.monotonic() - began < 20  # its own limit is far above


async def test_a_publisher_goes_on_after_its_producer_is_lost(broker: RunningBroker, topic: str) -> None:
    async with Publisher(broker.bootstrap) as publisher:
        await publisher.publish([Outgoing(topic=topic, key="k", value=b"1")])
        # What a lost batch does to an idempotent producer: its next sequence number is not the one the broker expects.
        producer = await publisher._connected()
        producer._txn_manager.increment_sequence_number((topic, partition_of("k", 4)), 5)
        with pytest.raises(TransientError):
            await publisher.publish([Outgoing(topic=topic, key="k", value=b"2")], within_s=5)
        await publisher.publish([Outgoing(topic=topic, key="k", value=b"3")])
    assert [record.value for record in await all_of(broker, topic)] == [b"1", b"3"]


async def test_reading_starts_at_the_offsets_given_and_ends_at_the_end_of_now(
    broker: RunningBroker, topic: str
) -> None:
    zero, one = (next(key for key in map(str, range(99)) if partition_of(key, 4) == part) for part in (0, 1))
    async with Publisher(broker.bootstrap) as publisher:
        await publisher.publish(records(topic, 5, key=zero) + records(topic, 5, key=one))
        batches = []
        async for batch in read_from(broker.bootstrap, topic, {0: 3, 1: 4}, batch_max=1):
            batches.append([(record.partition, record.offset) for record in batch])
            await publisher.publish(records(topic, 1, key=zero))
    assert sorted(batches) == [[(0, 3)], [(0, 4)], [(1, 4)]]


def test_the_library_says_the_same_thing_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    limit_log_noise()
    limit_log_noise()
    for attempt in range(100):
        logging.getLogger("aiokafka.conn").warning("nobody answers, attempt %s, in this test", attempt)
    assert len([record for record in caplog.records if "in this test" in record.msg]) == 1
