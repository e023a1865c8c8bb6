"""IntoAEC's topic of projects: every project once at the start, and every change after that.

Reads: the catalogue. Writes: one topic (default `intoaec-projects`), key `organisation/project`, JSON as `Declared`.
Guarantees: the versions of one project are in order; nothing is lost while the broker is away, and what was not
acknowledged is sent again, so that a version may repeat. The topic is compacted where it is made here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from connectors.simulator.intoaec.catalogue import Catalogue, Declared, shown
from connectors.simulator.wire import encode

PARTITIONS = 4
REPLICAS_MAX = 3
REQUEST_MS_MAX = 10_000
BATCH_MAX = 500
AGAIN_S = (0.2, 0.5, 1.0, 2.0, 5.0)
LOOK_EVERY_S = 1.0  # for projects that came with a company's life
STOP_S_MAX = 1.0


class Announcer:
    """Tells a topic of every project."""

    def __init__(self, bootstrap: str, topic: str, catalogue: Catalogue) -> None:
        self.bootstrap = bootstrap
        self.topic = topic
        self.catalogue = catalogue
        self.trouble: str | None = None
        self._waiting: deque[Declared] = deque(catalogue.all_projects())
        self._woken = asyncio.Event()
        catalogue.listeners.append(self._tell)

    def _tell(self, project: Declared) -> None:
        self._waiting.append(project)
        self._woken.set()

    def state(self) -> dict[str, Any]:
        """How far the topic is, and why it is no further."""
        return {"name": self.topic, "waiting": len(self._waiting), "trouble": self.trouble}

    async def run(self) -> None:
        """Publish until cancelled, through every absence of the broker."""
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what matters of it is in `trouble`
        failures = 0
        while True:
            try:
                async with self._producer() as producer:
                    await self._create_topic()
                    while True:
                        await self._publish(producer)
                        failures, self.trouble = 0, None
                        await self._wait()
            except (KafkaError, OSError) as error:
                self.trouble = f"{type(error).__name__}: {error}"
                await asyncio.sleep(AGAIN_S[min(failures, len(AGAIN_S) - 1)])
                failures += 1

    async def _publish(self, producer: AIOKafkaProducer) -> None:
        """Send what waits, oldest first; it leaves the queue when the broker has it."""
        while self._waiting:
            batch = [self._waiting[place] for place in range(min(BATCH_MAX, len(self._waiting)))]
            sent = [
                await producer.send(self.topic, encode(shown(one)).encode(), f"{one.organisation}/{one.id}".encode())
                for one in batch
            ]
            await asyncio.gather(*sent)
            for _ in batch:
                self._waiting.popleft()

    async def _wait(self) -> None:
        self._woken.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), LOOK_EVERY_S)
        self.catalogue.take_up()

    @contextlib.asynccontextmanager
    async def _producer(self) -> AsyncIterator[AIOKafkaProducer]:
        producer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap,
            client_id="intoaec-projects",
            acks="all",
            enable_idempotence=True,
            request_timeout_ms=REQUEST_MS_MAX,
        )
        try:
            await producer.start()
            yield producer
        finally:
            with contextlib.suppress(TimeoutError, KafkaError):
                await asyncio.wait_for(producer.stop(), STOP_S_MAX)

    async def _create_topic(self) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap, request_timeout_ms=REQUEST_MS_MAX)
        try:
            await admin.start()
            if self.topic in await admin.list_topics():
                return
            replicas = min(REPLICAS_MAX, len((await admin.describe_cluster())["brokers"]))
            wanted = NewTopic(self.topic, PARTITIONS, replicas, topic_configs={"cleanup.policy": "compact"})
            answer = await admin.create_topics([wanted])
            for _, code, *_ in answer.topic_errors:
                if code and for_code(code) is not TopicAlreadyExistsError:
                    raise for_code(code)(self.topic)
        finally:
            await admin.close()
