"""The ingress while its broker is frozen, stopped or not there yet, and while it is itself stopped or killed."""

import asyncio
import itertools
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import httpx
import pytest

from connectors.cluster import create_topics
from connectors.kafka import Publisher, read_from
from connectors.local import Broker
from connectors.quickbooks.webhook import ANSWER_S_MAX, IN_FLIGHT_MAX, PATH
from schemas.errors import TransientError
from schemas.topics import topics
from schemas.wire import Outgoing
from tests.ingress import (
    IngressProcess,
    Log,
    answer_of,
    company,
    delivery,
    event,
    request_bytes,
    settings,
    signature,
    signed,
)

INTUIT_S = 3.0  # so long it waits for an answer
BUSY = 3  # so many times longer everything may take on a busy machine; without a limit of ours it is half a minute
RECOVERY_S_MAX = 90.0


@pytest.fixture(scope="module")
def own_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker.start(tmp_path_factory.mktemp("own-kafka")) as started:
        yield started


@pytest.fixture(autouse=True)
def _healed(own_broker: Broker) -> Iterator[None]:
    """Whatever a test did to the broker is undone."""
    yield
    [node] = own_broker.nodes
    if node.running:
        node.thaw()
    else:
        node.start()


@pytest.fixture(scope="module")
def prefix(own_broker: Broker) -> str:
    chosen = f"t{secrets.token_hex(4)}-"
    wanted = topics(4, prefix=chosen)
    asyncio.run(create_topics(own_broker.bootstrap, [wanted.notifications, wanted.parked], {}))
    return chosen


@pytest.fixture
def ingress(own_broker: Broker, prefix: str, tmp_path: Path) -> Iterator[IngressProcess]:
    with IngressProcess(settings(own_broker.bootstrap, prefix), tmp_path) as process:
        process.wait_until_ready()
        yield process


@pytest.fixture
def log(own_broker: Broker, prefix: str) -> Log:
    return Log(own_broker.bootstrap, prefix)


class Senders:
    """Many senders at once, each of which remembers what was acknowledged."""

    def __init__(self, url: str, company_id: str):
        self.acknowledged: set[bytes] = set()
        self.seconds: list[float] = []
        self._company = company_id
        self._http = httpx.AsyncClient(base_url=url, timeout=30, limits=httpx.Limits(max_connections=400))

    async def send(self) -> httpx.Response | None:
        """One delivery; None: no answer came."""
        value = event(self._company, str(secrets.randbelow(10**9)))
        body, started = delivery(value), time.monotonic()
        try:
            answer = await self._http.post(PATH, content=body, headers=signed(body))
        except httpx.TransportError:
            return None
        self.seconds.append(time.monotonic() - started)
        if answer.status_code == 200:
            self.acknowledged.add(value)
        return answer

    async def statuses(self, count: int) -> list[int]:
        """What so many at once are answered; 0: no answer came."""
        answers = await asyncio.gather(*(self.send() for _ in range(count)))
        return [answer.status_code if answer else 0 for answer in answers]

    async def until_accepted(self) -> None:
        """Return when a delivery is accepted again."""
        deadline = time.monotonic() + RECOVERY_S_MAX
        while (await self.statuses(1)) != [200]:
            assert time.monotonic() < deadline, "no delivery was accepted any more"
            await asyncio.sleep(0.1)

    async def __aenter__(self) -> "Senders":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()


async def test_frozen_broker_means_503_in_time_and_nothing_acknowledged_is_lost(
    own_broker: Broker, ingress: IngressProcess, log: Log
) -> None:
    one = company()
    [node] = own_broker.nodes
    async with Senders(ingress.url, one) as senders:
        assert await senders.statuses(20) == [200] * 20
        node.freeze()
        try:
            senders.seconds.clear()
            assert await senders.statuses(20) == [503] * 20
            assert median(senders.seconds) < BUSY * ANSWER_S_MAX
        finally:
            node.thaw()
        await senders.until_accepted()
        assert await senders.statuses(20) == [200] * 20
    assert senders.acknowledged <= {record.value for record in await log.of(one)}


def test_the_limit_of_an_answer_is_below_what_intuit_waits_for() -> None:
    assert ANSWER_S_MAX < INTUIT_S - 0.5


async def test_more_deliveries_than_may_wait_are_asked_to_come_again_at_once(
    own_broker: Broker, ingress: IngressProcess
) -> None:
    [node] = own_broker.nodes
    request = request_bytes(delivery(event(company())), b"Connection: close")
    node.freeze()
    try:
        count = IN_FLIGHT_MAX + 50
        answers = await asyncio.gather(*(answer_of(ingress.address, request) for _ in range(count)))
    finally:
        node.thaw()
    assert {answer[:12] for answer in answers} == {b"HTTP/1.1 503"}
    at_once = sum(b"\r\nretry-after: 1\r\n" in answer for answer in answers)
    assert 0 < at_once <= 50  # fewer where the first are let go before the last have come


async def test_broker_stopped_and_started_again_is_only_delay(
    own_broker: Broker, ingress: IngressProcess, log: Log
) -> None:
    one = company()
    [node] = own_broker.nodes
    async with Senders(ingress.url, one) as senders:
        sending = asyncio.create_task(_send_for_a_while(senders))
        await asyncio.to_thread(node.kill)
        assert set(await senders.statuses(5)) == {503}
        await asyncio.to_thread(node.start)
        await senders.until_accepted()
        assert set(await sending) <= {200, 503}
    assert median(senders.seconds) < BUSY * ANSWER_S_MAX
    assert senders.acknowledged <= {record.value for record in await log.of(one)}


async def _send_for_a_while(senders: Senders) -> list[int]:
    statuses = []
    until = time.monotonic() + 4
    while time.monotonic() < until:
        statuses += await senders.statuses(4)
    return statuses


async def test_process_starts_without_a_broker_and_serves_when_it_comes(
    own_broker: Broker, prefix: str, tmp_path: Path
) -> None:
    [node] = own_broker.nodes
    await asyncio.to_thread(node.stop)
    with IngressProcess(settings(own_broker.bootstrap, prefix), tmp_path) as process:
        async with (
            Senders(process.url, company()) as senders,
            httpx.AsyncClient(base_url=process.url, timeout=30) as http,
        ):
            assert (await http.get("/health")).status_code == 200
            assert (await http.get("/ready")).status_code == 503
            assert await senders.statuses(1) == [503]
            await asyncio.to_thread(node.start)
            await senders.until_accepted()
            await asyncio.to_thread(process.wait_until_ready)


async def test_killed_process_has_lost_nothing_that_it_acknowledged(ingress: IngressProcess, log: Log) -> None:
    one = company()
    async with Senders(ingress.url, one) as senders:
        await senders.until_accepted()
        sending = [asyncio.create_task(senders.send()) for _ in range(400)]
        for answered in itertools.islice(asyncio.as_completed(sending), 50):
            await answered
        ingress.kill()
        assert None in await asyncio.gather(*sending)
    assert senders.acknowledged <= {record.value for record in await log.of(one)}


async def test_stopped_process_answers_what_it_has_begun(ingress: IngressProcess, log: Log) -> None:
    one = company()
    body = delivery(event(one))
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: x\r\nIntuit-Signature: {signature(body)}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection(*ingress.address)
    writer.write(head.encode() + body[:10])
    await writer.drain()
    async with httpx.AsyncClient(base_url=ingress.url, timeout=30) as http:
        assert (await http.get("/health")).status_code == 200  # so the half delivery has arrived too
    ingress.stop()
    writer.write(body[10:])
    answer = await asyncio.wait_for(reader.read(), RECOVERY_S_MAX)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200")
    ingress.wait()
    assert len(await log.of(one)) == 1


async def test_what_was_given_up_before_it_was_sent_is_not_sent_later(own_broker: Broker, prefix: str) -> None:
    topic = topics(4, prefix=prefix).notifications.name
    [node] = own_broker.nodes
    one = company()
    async with Publisher(own_broker.bootstrap) as publisher:
        await publisher.publish([Outgoing(topic, one, b"before")])
        node.freeze()
        for given_up in (b"under way", b"behind it", b"behind it too"):
            with pytest.raises(TransientError):
                await publisher.publish([Outgoing(topic, one, given_up)], within_s=0.3)
        node.thaw()
        await publisher.publish([Outgoing(topic, one, b"after")], within_s=RECOVERY_S_MAX)
    found = [each.value async for batch in read_from(own_broker.bootstrap, topic) for each in batch if each.key == one]
    assert found == [b"before", b"under way", b"after"]
