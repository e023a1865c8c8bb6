"""The topics of a cluster and the offsets of its groups: create, check, show, set.

Reads: topics, their settings, their offsets, the committed offsets of groups.
Writes: topics that are missing; committed offsets, only of groups that have no running member.
Guarantees: a topic never gets another number of partitions than it was made with; creating is safe twice and by two
processes at once; nothing here moves a group that runs.
Source: docs/decisions/0004 (partition by company), docs/decisions/0012 (offsets are guarded).
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    CommitFailedError,
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    KafkaError,
    NotCoordinatorError,
    TopicAlreadyExistsError,
    for_code,
)

from connectors.kafka import limit_log_noise
from schemas.errors import TransientError
from schemas.topics import MESSAGE_BYTES_MAX, Topic

REQUEST_S_MAX = 10.0
REPLICAS_MAX = 3

Answer = TypeVar("Answer")

# A topic and the number of one of its partitions.
Partition = tuple[str, int]


class WrongTopic(Exception):
    """A topic exists, but not as it must be. Its text says which one, what was found, what must be done."""


class GroupRuns(Exception):
    """The offsets of a group with running members cannot be set. Its text says which group to stop."""


@dataclass(frozen=True, slots=True)
class GroupPosition:
    """Where a group stands in one partition; all are offsets."""

    committed: int | None  # the first record that it has not done; None: it never committed
    beginning: int
    end: int

    @property
    def lag(self) -> int:
        """How many records it has not done."""
        return self.end - (self.beginning if self.committed is None else max(self.committed, self.beginning))


async def broker_ids(bootstrap: str, *, within_s: float = REQUEST_S_MAX) -> set[int]:
    """The nodes that take part in the cluster now. Raises TransientError when none answers."""
    async with _admin(bootstrap, within_s) as admin:
        return {broker["node_id"] for broker in (await admin.describe_cluster())["brokers"]}


async def create_topics(
    bootstrap: str, topics: Sequence[Topic], groups: Mapping[str, Collection[str]], *, within_s: float = 60.0
) -> None:
    """Create the topics that are missing, check the others, and let every group begin at the beginning of empty topics.

    `groups` maps the id of each group to the names of the topics that it reads. A group gets offsets only where it has
    none and the partition never held a record: a first start is never refused, and no group is ever moved.
    Safe twice and by two processes at once. Raises WrongTopic, or TransientError when the cluster does not answer.
    """
    async with _admin(bootstrap, within_s) as admin:
        nodes = len((await admin.describe_cluster())["brokers"])
        await _create_missing(admin, topics, min(REPLICAS_MAX, nodes))
        await _usable(admin, topics)
        await _refuse_other_settings(admin, topics)
    for group, names in groups.items():
        await _commit_beginning(bootstrap, group, names)


async def group_positions(
    bootstrap: str, group: str, topics: Collection[str], *, within_s: float = 30.0
) -> dict[Partition, GroupPosition]:
    """Where a group stands in every partition of these topics."""
    async with _admin(bootstrap, within_s) as admin:
        partitions = await _partitions(admin, topics)
        committed = await _committed(admin, group, partitions)
    async with _consumer(bootstrap, None, within_s) as consumer:
        beginnings, ends = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
    return {
        (each.topic, each.partition): GroupPosition(committed[each], beginnings[each], ends[each])
        for each in partitions
    }


async def commit_offsets(
    bootstrap: str, group: str, offsets: Mapping[Partition, int], *, within_s: float = 30.0
) -> None:
    """Set where a stopped group goes on: the first offset to read in each of these partitions.

    Raises GroupRuns when the group has running members.
    """
    async with _admin(bootstrap, within_s) as admin:
        if await _has_members(admin, group):
            raise GroupRuns(f"The group {group} is running: stop its workers first, then set its offsets.")
    async with _consumer(bootstrap, group, within_s) as consumer:
        wanted = {TopicPartition(*partition): offset for partition, offset in offsets.items()}
        consumer.assign(list(wanted))
        try:
            await consumer.commit(wanted)
        except CommitFailedError as error:
            raise GroupRuns(f"The group {group} started meanwhile: stop its workers, then set its offsets.") from error


async def check_offsets(
    bootstrap: str, group: str, topics: Collection[str], stored: Mapping[Partition, int] | None = None
) -> list[str]:
    """Why this group must not start, in sentences for a person; empty when it may.

    `stored` maps a partition to the next offset as our own database knows it (a partition that it does not name: 0);
    None: this group stores none. A start without a committed offset would read a company's whole history again by
    accident; one beyond what is stored would skip what a restored database has never seen.
    """
    positions = await group_positions(bootstrap, group, topics)
    refusals = [_refusal(group, partition, position, stored) for partition, position in sorted(positions.items())]
    return [refusal for refusal in refusals if refusal]


def _refusal(
    group: str, partition: Partition, position: GroupPosition, stored: Mapping[Partition, int] | None
) -> str | None:
    where = f"{group} on {partition[0]} partition {partition[1]}"
    records = position.end - position.beginning
    if position.committed is None:
        return f"{where}: no committed offset, but {records} records." if records else None
    if stored is not None and position.committed > stored.get(partition, 0):
        known = stored.get(partition, 0)
        return f"{where}: the committed offset {position.committed} is beyond the stored position {known}."
    return None


@contextlib.asynccontextmanager
async def _admin(bootstrap: str, within_s: float) -> AsyncIterator[AIOKafkaAdminClient]:
    """An admin client for a bounded time, whose errors are TransientErrors."""
    limit_log_noise()
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=int(REQUEST_S_MAX * 1000))
    try:
        with _translated():
            async with asyncio.timeout(within_s):
                await admin.start()
                yield admin
    finally:
        await admin.close()


@contextlib.asynccontextmanager
async def _consumer(bootstrap: str, group: str | None, within_s: float) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer that joins no group, for a bounded time, whose errors are TransientErrors."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=group,
        enable_auto_commit=False,
        request_timeout_ms=int(REQUEST_S_MAX * 1000),
    )
    try:
        with _translated():
            async with asyncio.timeout(within_s):
                await consumer.start()
                yield consumer
    finally:
        await consumer.stop()


@contextlib.contextmanager
def _translated() -> Any:
    try:
        yield
    except (KafkaError, TimeoutError) as error:
        raise TransientError(f"the cluster does not answer: {error or type(error).__name__}") from error


async def _create_missing(admin: AIOKafkaAdminClient, topics: Sequence[Topic], replicas: int) -> None:
    existing = set(await admin.list_topics())
    missing = [_new_topic(topic, replicas) for topic in topics if topic.name not in existing]
    if not missing:
        return
    response = await admin.create_topics(missing)
    for name, code, *_ in response.topic_errors:
        error = for_code(code)
        if code != 0 and error is not TopicAlreadyExistsError:
            raise error(f"{name} could not be created")


def _new_topic(topic: Topic, replicas: int) -> NewTopic:
    return NewTopic(topic.name, topic.partitions, replicas, topic_configs=_settings(topic) | _durability(replicas))


def _settings(topic: Topic) -> dict[str, str]:
    """What a topic must be set to, whoever created it."""
    return {
        "cleanup.policy": "delete",
        "retention.ms": "-1" if topic.retention_ms is None else str(topic.retention_ms),
        "retention.bytes": "-1",
        "max.message.bytes": str(MESSAGE_BYTES_MAX),
    }


def _durability(replicas: int) -> dict[str, str]:
    return {"min.insync.replicas": "2" if replicas >= REPLICAS_MAX else "1"}


async def _usable(admin: AIOKafkaAdminClient, topics: Sequence[Topic]) -> None:
    """Wait until every partition has a leader, and refuse a topic with another number of partitions."""
    names = [topic.name for topic in topics]
    while True:
        found = {topic["topic"]: topic["partitions"] for topic in await admin.describe_topics(names)}
        leaders = [part["leader"] for parts in found.values() for part in parts]
        if all(found[name] for name in names) and all(leader >= 0 for leader in leaders):
            break
        await asyncio.sleep(0.05)
    for topic in topics:
        if len(found[topic.name]) != topic.partitions:
            raise WrongTopic(
                f"Topic {topic.name} has {len(found[topic.name])} partitions, expected {topic.partitions}: the number "
                "is fixed for a topic's life, since another one would send new records of a company to another "
                "partition than its old ones. Set the number of partitions back to what it was."
            )


async def _refuse_other_settings(admin: AIOKafkaAdminClient, topics: Sequence[Topic]) -> None:
    resources = [ConfigResource(ConfigResourceType.TOPIC, topic.name) for topic in topics]
    found = {
        resource[3]: {setting[0]: setting[1] for setting in resource[4]}
        for response in await admin.describe_configs(resources)
        for resource in response.resources
    }
    for topic in topics:
        for name, expected in _settings(topic).items():
            actual = found[topic.name].get(name)
            if actual != expected:
                raise WrongTopic(f"Topic {topic.name} has {name}={actual}, expected {expected}: set it so.")


async def _commit_beginning(bootstrap: str, group: str, topics: Collection[str]) -> None:
    positions = await group_positions(bootstrap, group, topics)
    fresh = {each: 0 for each, position in positions.items() if position.committed is None and position.end == 0}
    if fresh:
        await commit_offsets(bootstrap, group, fresh)


async def _partitions(admin: AIOKafkaAdminClient, topics: Collection[str]) -> list[TopicPartition]:
    described = await admin.describe_topics(sorted(topics))
    for topic in described:
        if topic["error_code"] != 0:
            raise for_code(topic["error_code"])(f"topic {topic['topic']} does not exist")
    return [TopicPartition(topic["topic"], part["partition"]) for topic in described for part in topic["partitions"]]


async def _committed(
    admin: AIOKafkaAdminClient, group: str, partitions: list[TopicPartition]
) -> dict[TopicPartition, int | None]:
    async def ask(coordinator: int) -> dict[TopicPartition, int | None] | None:
        found = await admin.list_consumer_group_offsets(group, coordinator, partitions)
        if not all(each in found for each in partitions):
            return None  # the library hides the error: a coordinator that is only getting ready names no partition
        return {each: found[each].offset if found[each].offset >= 0 else None for each in partitions}

    return await _from_coordinator(admin, group, ask)


async def _has_members(admin: AIOKafkaAdminClient, group: str) -> bool:
    async def ask(coordinator: int) -> bool | None:
        ((code, _, _, _, _, members, *_),) = [
            description
            for response in await admin.describe_consumer_groups([group], coordinator)
            for description in response.groups
        ]
        return bool(members) if code == 0 else None

    return await _from_coordinator(admin, group, ask)


async def _from_coordinator(
    admin: AIOKafkaAdminClient, group: str, ask: Callable[[int], Awaitable[Answer | None]]
) -> Answer:
    """Ask the node that keeps a group, until it answers; a new or moved one needs a moment before it does."""
    deadline = time.monotonic() + REQUEST_S_MAX
    while time.monotonic() < deadline:
        with contextlib.suppress(CoordinatorNotAvailableError, NotCoordinatorError, CoordinatorLoadInProgressError):
            answer = await ask(await admin.find_coordinator(group))
            if answer is not None:
                return answer
        await asyncio.sleep(0.1)
    raise CoordinatorNotAvailableError(f"nobody keeps the group {group}")
