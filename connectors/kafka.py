"""Records out of and into Kafka, for everything that is not an agent of the worker.

Writes: any topic, through an idempotent producer; `publish` returns when the broker has acknowledged every record.
Reads: any topic without a group, from given offsets to its end (trace, replay, tests).
Guarantees: a key always lands in the same partition as with the Java client; within one partition the records of one
`publish` keep their order, also when it is repeated after a failure; library errors become TransientError, once, here.
Source: docs/decisions/0003, which says why Faust's own producer is not used where a loss would matter.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, KafkaTimeoutError, UnknownTopicOrPartitionError
from aiokafka.partitioner import murmur2
from aiokafka.producer.message_accumulator import BatchBuilder

from schemas.errors import TransientError, UnprocessableError
from schemas.topics import MESSAGE_BYTES_MAX
from schemas.wire import Incoming, Outgoing

REQUEST_S_MAX = 10.0
CLOSE_S_MAX = 1.0
BATCH_BYTES = 256 * 1024
NOISE_EVERY_S = 30.0

# What a record costs beside its key, value and headers, at most.
_RECORD_BYTES = 512


@lru_cache(maxsize=65_536)
def partition_of(key: str, count: int) -> int:
    """The partition in which records with this key lie, of this many: murmur2, as the Java client does it."""
    number: int = murmur2(key.encode())
    return (number & 0x7FFFFFFF) % count


class Publisher:
    """Publishes records; one for a process is enough, and any number of tasks may use it at once.

    It connects when it is first used and again after a failure, so that a process can start before its broker.
    """

    def __init__(self, bootstrap: str, *, client_id: str = "intoaec"):
        self._bootstrap = bootstrap
        self._client_id = client_id
        self._producer: AIOKafkaProducer | None = None
        self._connecting = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()
        self._lanes: dict[tuple[str, int], _Lane] = {}
        limit_log_noise()

    async def publish(self, records: Sequence[Outgoing], *, within_s: float = 30.0) -> None:
        """Publish these records; all of them are acknowledged by all in-sync replicas when it returns.

        Raises TransientError when that did not happen in time: some of the records may be in the topic nevertheless,
        now or a little later, so that a repetition can double but never lose one. Raises UnprocessableError, before
        anything is sent, for a record larger than a broker takes.
        """
        for record in records:
            _refuse_too_large(record)
        try:
            async with asyncio.timeout(within_s):
                await self._publish(records)
        except TimeoutError as error:
            message = f"the broker did not acknowledge {len(records)} records within {within_s:g} s"
            raise TransientError(message) from error
        except KafkaError as error:
            raise TransientError(f"the broker did not take {len(records)} records: {_reason(error)}") from error

    async def check(self, *, within_s: float = 2.0) -> None:
        """Return when the broker answers. Raises TransientError when it does not: readiness of a process."""
        try:
            async with asyncio.timeout(within_s):
                producer = await self._connected()
                await producer.client.fetch_all_metadata()
        except (TimeoutError, KafkaError) as error:
            raise TransientError(f"the broker does not answer: {_reason(error)}") from error

    async def partition_counts(self, topics: Collection[str], *, within_s: float = 2.0) -> dict[str, int]:
        """How many partitions each of these topics has; one that does not exist is left out.

        Raises TransientError when the broker does not answer.
        """
        try:
            async with asyncio.timeout(within_s):
                metadata = await (await self._connected()).client.fetch_all_metadata()
        except (TimeoutError, KafkaError) as error:
            raise TransientError(f"the broker does not answer: {_reason(error)}") from error
        found = {topic: metadata.partitions_for_topic(topic) for topic in topics}
        return {topic: len(partitions) for topic, partitions in found.items() if partitions}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._producer is not None:
            self._give_up(self._producer)
        await asyncio.gather(*self._closing)

    async def _publish(self, records: Sequence[Outgoing]) -> None:
        producer = await self._connected()
        delivered: list[asyncio.Future[None]] = []
        try:
            counts = {topic: len(await producer.partitions_for(topic)) for topic in {each.topic for each in records}}
            by_place: dict[tuple[str, int], list[Outgoing]] = {}
            for record in records:
                place = record.topic, partition_of(record.key, counts[record.topic])
                by_place.setdefault(place, []).append(record)
            delivered += [self._lane(producer, place).hand_over(each) for place, each in by_place.items()]
            for each in delivered:
                await each
        except KafkaError as error:
            if _is_fatal(error):
                self._give_up(producer)
            raise
        finally:
            for each in delivered:
                _forget(each)

    def _lane(self, producer: AIOKafkaProducer, place: tuple[str, int]) -> "_Lane":
        lane = self._lanes.get(place)
        if lane is None or lane.producer is not producer:
            lane = self._lanes[place] = _Lane(producer, *place)
        return lane

    async def _connected(self) -> AIOKafkaProducer:
        async with self._connecting:
            if self._producer is None:
                self._producer = await _connect(self._bootstrap, self._client_id)
            return self._producer

    def _give_up(self, producer: AIOKafkaProducer) -> None:
        """Let go of this producer; the next `publish` makes a new one, whose sequence numbers start afresh."""
        if self._producer is producer:
            self._producer = None
            closing = asyncio.create_task(_close(producer))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)


class _Lane:
    """The way into one partition: what is handed over while a batch is under way goes along in the next one.

    One future for all records that are handed over together, where the library's `send` makes one for each; and what
    its `publish` has given up before it was sent is not sent any more.
    """

    def __init__(self, producer: AIOKafkaProducer, topic: str, partition: int):
        self.producer = producer
        self._topic, self._partition = topic, partition
        self._waiting: list[_Parcel] = []
        self._sending: asyncio.Task[None] | None = None

    def hand_over(self, records: Sequence[Outgoing]) -> asyncio.Future[None]:
        """The future is done when the broker has them all; cancelled, it takes back what is not under way."""
        parcel = _Parcel(records, asyncio.get_running_loop().create_future())
        self._waiting = [each for each in self._waiting if not each.delivered.done()]
        self._waiting.append(parcel)
        if self._sending is None:
            self._send_waiting()
        return parcel.delivered

    def _send_waiting(self) -> None:
        together, self._waiting = [each for each in self._waiting if not each.delivered.done()], []
        self._sending = asyncio.create_task(self._send(together)) if together else None
        if self._sending is not None:
            self._sending.add_done_callback(lambda sent: self._sent(together, sent))

    def _sent(self, together: Sequence["_Parcel"], sent: asyncio.Task[None]) -> None:
        error = asyncio.CancelledError() if sent.cancelled() else sent.exception()
        for parcel in together:
            parcel.settle(error)
        self._send_waiting()

    async def _send(self, together: Sequence["_Parcel"]) -> None:
        batch = self.producer.create_batch()
        for parcel in together:
            for record in parcel.records:
                if not _append(batch, record):
                    await self._deliver(batch)
                    batch = self.producer.create_batch()
                    _append(batch, record)
        await self._deliver(batch)

    async def _deliver(self, batch: BatchBuilder) -> None:
        await (await self.producer.send_batch(batch, self._topic, partition=self._partition))


class _Parcel(NamedTuple):
    """Records that go into one partition together."""

    records: Sequence[Outgoing]
    delivered: asyncio.Future[None]

    def settle(self, error: BaseException | None) -> None:
        """Say how it went, unless nobody waits any more."""
        if self.delivered.done():
            return
        if error is None:
            self.delivered.set_result(None)
        else:
            self.delivered.set_exception(error)


def _append(batch: BatchBuilder, record: Outgoing) -> bool:
    """Whether there was room; the first always finds it."""
    added = batch.append(timestamp=None, key=record.key.encode(), value=record.value, headers=list(record.headers))
    return added is not None


async def read_from(
    bootstrap: str, topic: str, offsets: Mapping[int, int] | None = None, *, batch_max: int = 1000
) -> AsyncIterator[list[Incoming]]:
    """Read a topic without a group, from these offsets to the end that it has now, in batches.

    `offsets` maps a partition to the first offset wanted; None: every partition from its beginning. The order within a
    partition is kept. Raises TransientError when the broker stops answering.
    """
    consumer = AIOKafkaConsumer(**_consumer_settings(bootstrap))
    try:
        await consumer.start()
        partitions = await _assign(consumer, topic, offsets)
        ends = await consumer.end_offsets(partitions)
        await _seek(consumer, partitions, offsets or {})
        async for batch in _until_ends(consumer, ends, batch_max):
            yield batch
    except KafkaError as error:
        raise TransientError(f"{topic} cannot be read: {_reason(error)}") from error
    finally:
        await consumer.stop()


def limit_log_noise() -> None:
    """Let the client library say the same thing at most every 30 s.

    While a broker is away it would say it many times a second. Safe to call twice.
    """
    logging.getLogger("aiokafka").setLevel(logging.WARNING)
    for name in [name for name in logging.root.manager.loggerDict if name.startswith("aiokafka")]:
        logger = logging.getLogger(name)
        if not any(isinstance(each, _OncePerWhile) for each in logger.filters):
            logger.addFilter(_OncePerWhile())


class _OncePerWhile(logging.Filter):
    """Lets a message through once in a while; which one it is, its wording without the arguments says."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now - self._last.get(str(record.msg), -NOISE_EVERY_S) < NOISE_EVERY_S:
            return False
        self._last[str(record.msg)] = now
        return True


async def _connect(bootstrap: str, client_id: str) -> AIOKafkaProducer:
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        client_id=client_id,
        enable_idempotence=True,
        acks="all",
        linger_ms=0,  # who publishes hands over all at once, and what is under way gathers the rest
        compression_type="zstd",
        max_batch_size=BATCH_BYTES,
        max_request_size=MESSAGE_BYTES_MAX,
        request_timeout_ms=int(REQUEST_S_MAX * 1000),
        metadata_max_age_ms=30_000,
    )
    try:
        await producer.start()
    except BaseException:
        await _close(producer)
        raise
    return producer


def _forget(delivered: asyncio.Future[None]) -> None:
    """Nobody waits for this any more; when it failed, its `publish` has said so."""
    if not delivered.cancel() and not delivered.cancelled():
        delivered.exception()


async def _close(producer: AIOKafkaProducer) -> None:
    """Close a producer in bounded time.

    Its own `stop` waits for ever while there are records that the broker does not take. All of them belong to a
    `publish` that has already failed, so they are dropped.
    """
    with contextlib.suppress(TimeoutError, KafkaError):
        async with asyncio.timeout(CLOSE_S_MAX):
            await producer.stop()
            return
    with contextlib.suppress(TimeoutError, KafkaError):
        async with asyncio.timeout(CLOSE_S_MAX):  # it waits for the answer to what is on its way
            await producer._sender.close()
    producer._message_accumulator.fail_all(KafkaError("the producer was closed"))
    await producer.client.close()


def _is_fatal(error: KafkaError) -> bool:
    """Whether the producer is of no more use: after a batch that was lost, all later ones are out of sequence."""
    return not (error.retriable or isinstance(error, KafkaTimeoutError))


def _refuse_too_large(record: Outgoing) -> None:
    size = len(record.key.encode()) + len(record.value or b"") + _RECORD_BYTES
    for name, value in record.headers:
        size += len(name) + len(value) + 10
    if size > MESSAGE_BYTES_MAX:
        limit = MESSAGE_BYTES_MAX - _RECORD_BYTES
        raise UnprocessableError(f"a record for {record.topic} has {size} bytes; a broker takes at most {limit}")


def _reason(error: BaseException) -> str:
    if isinstance(error, UnknownTopicOrPartitionError):
        return "a topic does not exist; create the topics first"
    return str(error) or type(error).__name__


def _consumer_settings(bootstrap: str) -> dict[str, Any]:
    return {
        "bootstrap_servers": bootstrap,
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        "request_timeout_ms": int(REQUEST_S_MAX * 1000),
        "max_partition_fetch_bytes": MESSAGE_BYTES_MAX,
    }


async def _assign(consumer: AIOKafkaConsumer, topic: str, offsets: Mapping[int, int] | None) -> list[TopicPartition]:
    if offsets is None:
        metadata = await consumer._client.fetch_all_metadata()
        offsets = dict.fromkeys(metadata.partitions_for_topic(topic) or (), 0)
    if not offsets:
        raise UnknownTopicOrPartitionError(topic)
    partitions = [TopicPartition(topic, partition) for partition in sorted(offsets)]
    consumer.assign(partitions)
    return partitions


async def _seek(consumer: AIOKafkaConsumer, partitions: list[TopicPartition], offsets: Mapping[int, int]) -> None:
    beginnings = await consumer.beginning_offsets(partitions)
    for partition in partitions:
        consumer.seek(partition, max(beginnings[partition], offsets.get(partition.partition, 0)))


async def _until_ends(
    consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int], batch_max: int
) -> AsyncIterator[list[Incoming]]:
    heard_at = time.monotonic()
    while True:
        left = [each for each in ends if await consumer.position(each) < ends[each]]
        if not left:
            return
        fetched = await consumer.getmany(*left, timeout_ms=500, max_records=batch_max)
        batch = [_incoming(each) for records in fetched.values() for each in records if each.offset < _end(ends, each)]
        if batch:
            heard_at = time.monotonic()
            yield batch
        elif time.monotonic() - heard_at > REQUEST_S_MAX:
            raise KafkaTimeoutError("nothing arrived")


def _end(ends: Mapping[TopicPartition, int], record: Any) -> int:
    return ends[TopicPartition(record.topic, record.partition)]


def _incoming(record: Any) -> Incoming:
    return Incoming(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=(record.key or b"").decode(errors="replace"),
        value=record.value,
        headers=dict(record.headers),
        timestamp_ms=record.timestamp,
    )
