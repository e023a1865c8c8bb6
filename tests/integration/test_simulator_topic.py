"""IntoAEC's topic of projects, over the real broker: a snapshot at the start, then every change."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

from connectors.kafka import read_from
from connectors.simulator.intoaec.catalogue import Catalogue, shown
from connectors.simulator.intoaec.topic import Announcer
from connectors.simulator.simulator import Options, Simulator
from schemas.errors import TransientError
from tests.conftest import RunningBroker
from tests.intuit import Intuit

BAYSIDE = "bayside-builders"


async def published(broker: RunningBroker, topic: str, count: int) -> list[tuple[str, dict[str, Any]]]:
    """What the topic holds as soon as it holds so much, keys and values, oldest first of each partition."""
    found: list[tuple[str, dict[str, Any]]] = []

    async def look() -> bool:
        found.clear()
        with suppress(TransientError):  # the topic is not there yet
            async for batch in read_from(broker.bootstrap, topic):
                found.extend((one.key or "", json.loads(one.value or b"")) for one in batch)
        return len(found) >= count

    async with asyncio.timeout(60):
        while not await look():  # noqa: ASYNC110 - polling another process
            await asyncio.sleep(0.05)
    return found


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not is_so():  # noqa: ASYNC110 - polling a task's state
            await asyncio.sleep(0.01)


@contextmanager
def running(*options: str) -> Iterator[Intuit]:
    """A simulator of two companies, as a process that ends by itself when told to."""
    command = [sys.executable, "-m", "connectors.simulator", "--port", "0", "--history", "small", "--companies", "2"]
    process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield Intuit(json.loads(process.stdout.readline())["url"])
    finally:
        process.terminate()
        assert process.wait(10) == 0
        process.stdout.close()


@asynccontextmanager
async def announcing(announcer: Announcer) -> AsyncIterator[None]:
    running = asyncio.create_task(announcer.run())
    try:
        yield
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def test_every_project_is_published_at_the_start_and_every_change_after_it(
    broker: RunningBroker, topic_prefix: str
) -> None:
    topic = topic_prefix + "projects"
    with running("--kafka-bootstrap", broker.bootstrap, "--projects-topic", topic) as intuit:
        snapshot = await published(broker, topic, 10)
        made = intuit.ask("POST", f"/catalogue/{BAYSIDE}/projects", {"name": "East wing"})
        intuit.ask("DELETE", f"/catalogue/{BAYSIDE}/projects/{made['id']}")
        everything = await published(broker, topic, 12)
        assert intuit.ask("GET", "/catalogue")["topic"] == {"name": topic, "waiting": 0, "trouble": None}
    assert {key for key, _ in snapshot} == {f"{value['organisation']}/{value['id']}" for _, value in snapshot}
    assert {value["version"] for _, value in snapshot} == {1} and len(snapshot) == 10
    changes = [value for key, value in everything if key == f"{BAYSIDE}/{made['id']}"]
    assert changes[0] == made
    assert [(each["version"], each["status"]) for each in changes] == [(1, "open"), (2, "closed")]


async def test_nothing_is_lost_while_the_broker_is_away(broker: RunningBroker, topic_prefix: str) -> None:
    simulator = Simulator(Options(history="small"))
    catalogue = Catalogue(simulator)
    announcer = Announcer("127.0.0.1:9", topic_prefix + "projects", catalogue)
    async with announcing(announcer):
        await until(lambda: announcer.trouble is not None)
        catalogue.change(BAYSIDE, "PRJ-0001", {"name": "Renamed meanwhile"})
        announcer.bootstrap = broker.bootstrap
        await until(lambda: announcer.state()["waiting"] == 0)
        found = await published(broker, announcer.topic, 6)
    of_one = [value for key, value in found if key == f"{BAYSIDE}/PRJ-0001"]
    assert [each["version"] for each in of_one] == [1, 2]
    assert of_one[-1] == shown(catalogue.project(BAYSIDE, "PRJ-0001"))
    simulator.close()
