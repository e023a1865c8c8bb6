"""Topics and offsets of groups on the real broker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer

from connectors.cluster import (
    GroupPosition,
    GroupRuns,
    WrongTopic,
    broker_ids,
    check_offsets,
    commit_offsets,
    create_topics,
    group_positions,
)
from connectors.kafka import Publisher, partition_of
from schemas.errors import TransientError
from tests.conftest import RunningBroker
from tests.integration.test_kafka_publish import a_topic, records


async def publish(broker: RunningBroker, topic: str, count: int) -> None:
    async with Publisher(broker.bootstrap) as publisher:
        await publisher.publish(records(topic, count))


@asynccontextmanager
async def running(broker: RunningBroker, group: str, topic: str) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=broker.bootstrap, group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        async with asyncio.timeout(60):
            while not consumer.assignment():
                await consumer.getmany(timeout_ms=100)
        yield consumer
    finally:
        await consumer.stop()


async def test_the_first_start_of_a_group_is_not_refused(broker: RunningBroker, topic_prefix: str) -> None:
    name, group = topic_prefix + "a", topic_prefix + "group"
    await create_topics(broker.bootstrap, [a_topic(name)], {group: [name]})
    await publish(broker, name, 3)
    assert await check_offsets(broker.bootstrap, group, [name], {}) == []


async def test_a_group_without_offsets_is_refused_on_a_topic_with_records(
    broker: RunningBroker, topic_prefix: str
) -> None:
    name, group = topic_prefix + "a", topic_prefix + "group"
    await create_topics(broker.bootstrap, [a_topic(name)], {})
    await publish(broker, name, 3)
    assert await check_offsets(broker.bootstrap, group, [name]) == [
        f"{group} on {name} partition {partition_of('k', 4)}: no committed offset, but 3 records."
    ]


async def test_creating_again_does_not_give_offsets_to_a_group_that_lost_them(
    broker: RunningBroker, topic_prefix: str
) -> None:
    name, group = topic_prefix + "a", topic_prefix + "group"
    await create_topics(broker.bootstrap, [a_topic(name, partitions=1)], {})
    await publish(broker, name, 3)
    await create_topics(broker.bootstrap, [a_topic(name, partitions=1)], {group: [name]})
    assert len(await check_offsets(broker.bootstrap, group, [name])) == 1


async def test_creating_again_moves_no_group(broker: RunningBroker, topic_prefix: str) -> None:
    name, group = topic_prefix + "a", topic_prefix + "group"
    await create_topics(broker.bootstrap, [a_topic(name, partitions=1)], {group: [name]})
    await publish(broker, name, 5)
    await commit_offsets(broker.bootstrap, group, {(name, 0): 4})
    await create_topics(broker.bootstrap, [a_topic(name, partitions=1)], {group: [name]})
    positions = await group_positions(broker.bootstrap, group, [name])
    assert positions == {(name, 0): GroupPosition(committed=4, beginning=0, end=5)}
    assert positions[name, 0].lag == 1


async def test_a_committed_offset_beyond_what_is_stored_is_refused(broker: RunningBroker, topic_prefix: str) -> None:
    name, group = topic_prefix + "a", topic_prefix + "group"
    await create_topics(broker.bootstrap, [a_topic(name, partitions=1)], {group: [name]})
    await publish(broker, name, 5)
    await commit_offsets(broker.bootstrap, group, {(name, 0): 5})
    assert await check_offsets(broker.bootstrap, group, [name], {(name, 0): 5}) == []
    assert await check_offsets(broker.bootstrap, group, [name], {(name, 0): 2}) == [
        f"{group} on {name} partition 0: the committed offset 5 is beyond the stored position 2."
    ]


async def test_two_processes_may_create_the_same_topics_at_once(broker: RunningBroker, topic_prefix: str) -> None:
    topics = [a_topic(topic_prefix + part) for part in "abc"]
    groups = {topic_prefix + "group": [topic.name for topic in topics]}
    await asyncio.gather(*(create_topics(broker.bootstrap, topics, groups) for _ in range(3)))
    positions = await group_positions(broker.bootstrap, topic_prefix + "group", groups[topic_prefix + "group"])
    assert {position.committed for position in positions.values()} == {0}
    assert len(positions) == 12


async def test_another_number_of_partitions_is_refused(broker: RunningBroker, topic_prefix: str) -> None:
    name = topic_prefix + "a"
    await create_topics(broker.bootstrap, [a_topic(name, partitions=4)], {})
    with pytest.raises(WrongTopic, match=f"{name} has 4 partitions, expected 8"):
        await create_topics(broker.bootstrap, [a_topic(name, partitions=8)], {})


async def test_another_retention_is_refused(broker: RunningBroker, topic_prefix: str) -> None:
    name = topic_prefix + "a"
    await create_topics(broker.bootstrap, [a_topic(name, retention_ms=1000)], {})
    with pytest.raises(WrongTopic, match=f"{name} has retention.ms=1000, expected -1"):
        await create_topics(broker.bootstrap, [a_topic(name)], {})


async def test_offsets_of_a_running_group_are_not_set(broker: RunningBroker, topic_prefix: str) -> None:
    name, group = topic_prefix + "a", topic_prefix + "group"
    await create_topics(broker.bootstrap, [a_topic(name)], {group: [name]})
    async with running(broker, group, name):
        with pytest.raises(GroupRuns, match=group):
            await commit_offsets(broker.bootstrap, group, {(name, 0): 0})
    await commit_offsets(broker.bootstrap, group, {(name, 0): 0})


async def test_a_cluster_that_is_away_is_said_in_bounded_time(unused_tcp_port: int) -> None:
    with pytest.raises(TransientError, match="does not answer"):
        await broker_ids(f"127.0.0.1:{unused_tcp_port}", within_s=2)
