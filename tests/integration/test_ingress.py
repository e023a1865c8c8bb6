"""The ingress as its own process, over real HTTP, in front of the real broker."""

import asyncio
import gzip
import hashlib
import hmac
import random
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from connectors.cluster import create_topics
from connectors.config import SettingsError
from connectors.quickbooks.webhook import BODY_BYTES_MAX, PATH, create_app
from schemas.topics import topics
from tests.conftest import RunningBroker
from tests.ingress import (
    NEW_TOKEN,
    OLD_TOKEN,
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

LIMIT_S = 90.0


@pytest.fixture(scope="module")
def prefix() -> str:
    return f"t{secrets.token_hex(4)}-"


@pytest.fixture(scope="module")
def ingress(broker: RunningBroker, prefix: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[IngressProcess]:
    wanted = topics(4, prefix=prefix)
    asyncio.run(create_topics(broker.bootstrap, [wanted.notifications, wanted.parked], {}))
    with IngressProcess(settings(broker.bootstrap, prefix), tmp_path_factory.mktemp("ingress")) as process:
        process.wait_until_ready()
        yield process


class Sender:
    """Sends deliveries one by one, as Intuit does."""

    def __init__(self, http: httpx.Client):
        self._http = http

    def __call__(self, content: bytes | Iterator[bytes], headers: Any) -> int:
        return self._http.post(PATH, content=content, headers=headers).status_code


@pytest.fixture
def send(http: httpx.Client) -> Sender:
    return Sender(http)


@pytest.fixture
def http(ingress: IngressProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=ingress.url, timeout=LIMIT_S) as client:
        yield client


@pytest.fixture
def log(broker: RunningBroker, prefix: str) -> Log:
    return Log(broker.bootstrap, prefix)


# ------------------------------------------------------------------------------------------------- what is published


async def test_each_event_of_a_delivery_becomes_a_record_of_its_own_company(send: Sender, log: Log) -> None:
    one, other = company(), company()
    events = [event(one, "1"), event(other, "2"), event(one, "3")]
    assert send(delivery(*events), signed(delivery(*events))) == 200
    assert [record.value for record in await log.of(one)] == [events[0], events[2]]
    assert [record.value for record in await log.of(other)] == [events[1]]


async def test_headers_of_a_record_say_where_it_came_from(send: Sender, log: Log) -> None:
    one = company()
    body = delivery(event(one, id="5f0c8b0e-Customer-58"), event(one))
    assert send(body, signed(body)) == 200
    first, second = await log.of(one)
    assert {name: value for name, value in first.headers.items() if name not in ("delivery_id", "received_at")} == {
        "signing_key_id": hashlib.sha256(NEW_TOKEN.encode()).hexdigest()[:8].encode(),
        "format": b"cloudevents",
        "cause_id": b"5f0c8b0e-Customer-58",
        "company_id": one.encode(),
        "intuit_t_id": b"1-5759f3b4",
    }
    assert first.headers["delivery_id"] == second.headers["delivery_id"]
    assert len(first.headers["delivery_id"]) == 36
    assert first.headers["received_at"].endswith(b"Z")


async def test_legacy_delivery_becomes_records_of_its_companies(send: Sender, log: Log) -> None:
    one, other = company(), company()
    entity = b'{"name":"Customer", "id":"58","operation":"Create","lastUpdated":"2026-03-08T09:15:02.000Z"}'
    notification = '{"realmId":"%s","dataChangeEvent":{"entities":[%s]}}'
    parts = ",".join(notification % (each, entity.decode()) for each in (one, other))
    body = f'{{"eventNotifications":[{parts}]}}'.encode()
    assert send(body, signed(body)) == 200
    for each in (one, other):
        [record] = await log.of(each)
        assert record.value == entity
        assert record.headers["format"] == b"legacy"
        assert record.headers["company_id"] == each.encode()
        assert record.headers["cause_id"] == hashlib.sha256(entity + each.encode()).hexdigest().encode()


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/cloudevents+json",
        "application/cloudevents-batch+json; charset=UTF-8",
        "Application/JSON;charset=utf-8",
    ],
)
async def test_every_json_content_type_is_taken(send: Sender, log: Log, content_type: str) -> None:
    one = company()
    body = delivery(event(one))
    assert send(body, signed(body, content_type=content_type)) == 200
    assert len(await log.of(one)) == 1


async def test_other_content_types_and_compressed_bodies_are_refused(send: Sender, log: Log) -> None:
    one = company()
    body, packed = delivery(event(one)), gzip.compress(delivery(event(one)))
    assert send(body, signed(body, content_type="text/plain")) == 415
    assert send(packed, signed(packed) | {"content-encoding": "gzip"}) == 415
    assert await log.of(one) == []


async def test_empty_delivery_is_accepted_and_publishes_nothing(send: Sender) -> None:
    assert send(b"[]", signed(b"[]")) == 200


# ---------------------------------------------------------------------------------------------------------- signature


async def test_wrong_signature_is_refused_and_publishes_nothing(send: Sender, log: Log) -> None:
    one = company()
    body = delivery(event(one))
    right = signature(body)
    hexadecimal = hmac.digest(NEW_TOKEN.encode(), body, "sha256").hex()
    for wrong in ("", "x", right[:-1], right + "=", right.lower(), hexadecimal, signature(body, "another"), "é"):
        headers = {"intuit-signature": wrong.encode(), "content-type": b"application/json"}
        assert send(body, headers) == 401
    assert send(body, {}) == 401
    assert send(body, [("intuit-signature", right)] * 2) == 401
    assert send(body + b" ", signed(body)) == 401
    assert await log.of(one) == []


async def test_any_flipped_bit_of_a_body_is_refused(ingress: IngressProcess) -> None:
    body = delivery(event(company()))
    good = signature(body)
    chance = random.Random(7)
    async with httpx.AsyncClient(base_url=ingress.url, timeout=LIMIT_S) as http:
        for _ in range(100):
            at, bit = chance.randrange(len(body)), chance.randrange(8)
            flipped = body[:at] + bytes([body[at] ^ (1 << bit)]) + body[at + 1 :]
            assert (await http.post(PATH, content=flipped, headers={"intuit-signature": good})).status_code == 401


async def test_both_tokens_are_right_while_they_are_rotated(send: Sender, log: Log) -> None:
    one = company()
    body = delivery(event(one))
    for token in (OLD_TOKEN, NEW_TOKEN):
        assert send(body, signed(body, token)) == 200
    ids = [record.headers["signing_key_id"].decode() for record in await log.of(one)]
    assert ids == [hashlib.sha256(token.encode()).hexdigest()[:8] for token in (OLD_TOKEN, NEW_TOKEN)]


@pytest.mark.parametrize("tokens", ["", " , ", "a,,b"])
def test_start_without_a_token_is_refused(tokens: str) -> None:
    chosen = settings("localhost:1", "").model_copy(
        update={"webhook_verifier_tokens": tuple(map(type(settings("x", "").database_url), tokens.split(",")))}
    )
    with pytest.raises(SettingsError, match="WEBHOOK_VERIFIER_TOKENS"):
        create_app(chosen)


# -------------------------------------------------------------------------------------------- bodies of all kinds


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize(("excess", "status"), [(-1, 200), (0, 200), (1, 413), (BODY_BYTES_MAX, 413)])
async def test_body_may_have_one_mebibyte(send: Sender, log: Log, excess: int, status: int, declared: bool) -> None:
    one = company()
    body = delivery(event(one))
    body += b" " * (BODY_BYTES_MAX + excess - len(body))
    content = body if declared else iter([body[:100], body[100:]])
    assert send(content, signed(body)) == status
    assert len(await log.of(one)) == (1 if status == 200 else 0)


async def test_body_declared_too_large_is_refused_before_it_is_sent(ingress: IngressProcess) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {10**9}\r\n\r\n"
    assert (await answer_of(ingress.address, head.encode())).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"<html/>", b'{"a":1}', b"[" * 100_000, b"\xff\xfe", b"[{}] x"], ids=lambda body: repr(body[:8])
)
async def test_signed_body_that_cannot_be_read_is_accepted_and_parked(send: Sender, log: Log, body: bytes) -> None:
    assert send(body, signed(body)) == 200
    [parked] = await log.parked(body)
    assert parked.step == "ingress"
    assert parked.reason.startswith("the body")


async def test_same_unreadable_body_always_parks_at_the_same_place(send: Sender, log: Log) -> None:
    body = secrets.token_bytes(20)
    for _ in range(2):
        assert send(body, signed(body)) == 200
    first, second = await log.parked(body)
    assert (first.step, first.topic, first.partition, first.offset) == (
        *(second.step, second.topic, second.partition, second.offset),
    )


async def test_event_without_a_company_is_parked_and_its_neighbours_published(send: Sender, log: Log) -> None:
    one = company()
    good, odd = event(one), event(f"x{one}")
    assert send(delivery(odd, good), signed(delivery(odd, good))) == 200
    assert [record.value for record in await log.of(one)] == [good]
    assert len(await log.parked(odd)) == 1


async def test_mutants_of_signed_deliveries_are_never_refused_and_block_nothing(
    ingress: IngressProcess, log: Log
) -> None:
    seed = secrets.randbelow(10**9)
    chance, one = random.Random(seed), company()
    bodies = [_mutant(chance) for _ in range(300)]
    good = [event(one, str(n)) for n in range(50)]
    deliveries = [*bodies, *map(delivery, good)]
    chance.shuffle(deliveries)
    limits = httpx.Limits(max_connections=20)
    async with httpx.AsyncClient(base_url=ingress.url, timeout=LIMIT_S, limits=limits) as http:
        answers = await asyncio.gather(*(http.post(PATH, content=each, headers=signed(each)) for each in deliveries))
    assert {answer.status_code for answer in answers} == {200}, f"seed {seed}"
    assert {record.value for record in await log.of(one)} == set(good), f"seed {seed}"


def _mutant(chance: random.Random) -> bytes:
    odd: list[Any] = ["\u0000", "\ud800", "1" * 5000, None, 1e308, [[[]]], {"a": {"b": {}}}, True, "é" * 99, "1", -1]
    one = {
        name: chance.choice(odd) for name in ("type", "time", "id", "intuitentityid", "data") if chance.random() < 0.3
    }
    body = bytearray(delivery(event(company(), **one), event(chance.choice([company(), "", "x", "0" * 30]))))
    for _ in range(chance.choice([0, 0, 1, 5])):
        at = chance.randrange(len(body))
        body[at : at + chance.randrange(4)] = chance.choice(
            [b"", b"{", b"}", b"[", b"]", b'"', b"\\", b"\xff", b"\x00", b"NaN", b"1e999", b",", b'{"a":' * 2000]
        )
    return bytes(body)


# --------------------------------------------------------------------------------------------------- plain HTTP


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_only_post_is_allowed(http: httpx.Client, method: str) -> None:
    answer = http.request(method, PATH)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_delivery_to_another_address_is_refused_and_never_redirected(http: httpx.Client) -> None:
    assert http.post(PATH + "/", content=b"[]", headers=signed(b"[]")).status_code == 404


def test_process_says_that_it_lives_and_is_ready(http: httpx.Client) -> None:
    assert (http.get("/health").status_code, http.get("/ready").status_code) == (200, 200)


async def test_every_answer_carries_the_security_headers_and_no_server(ingress: IngressProcess) -> None:
    async with httpx.AsyncClient(base_url=ingress.url, timeout=LIMIT_S) as http:
        answers = [await http.get(path) for path in ("/health", PATH, "/nowhere")]
        answers.append(await http.post(PATH, content=b"[]"))
    for answer in answers:
        _assert_secure({name.lower(): value for name, value in answer.headers.items()})
    raw = (await answer_of(ingress.address, b"nonsense\r\n\r\n")).decode()
    assert raw.startswith("HTTP/1.1 400")
    _assert_secure(dict(line.split(": ", 1) for line in raw.split("\r\n")[1:] if line))


def _assert_secure(headers: dict[str, str]) -> None:
    assert headers["strict-transport-security"] == "max-age=63072000; includeSubDomains"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cross-origin-opener-policy"] == headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["content-security-policy"].startswith("default-src 'none'; frame-ancestors 'none'")
    assert "geolocation=()" in headers["permissions-policy"]
    assert "server" not in headers


SMUGGLED = {
    "two ways to say the length": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "the other order": b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "the same length twice": b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "a list of lengths": b"Content-Length: 5, 5\r\n\r\nhello",
    "a signed length": b"Content-Length: +5\r\n\r\nhello",
    "a hexadecimal length": b"Content-Length: 0x5\r\n\r\nhello",
    "space before the colon": b"Content-Length : 5\r\n\r\nhello",
    "a folded line": b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "a bare line feed": b"X: a\nContent-Length: 0\r\n\r\n",
    "a bare line feed at the end": b"Content-Length: 0\r\n\n",
    "a bare carriage return": b"X: a\rb\r\nContent-Length: 0\r\n\r\n",
    "a NUL": b"X: a\x00b\r\nContent-Length: 0\r\n\r\n",
    "a name that is no token": b"X(y): a\r\nContent-Length: 0\r\n\r\n",
    "an unknown encoding": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked in the wrong place": b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "a compressed transfer": b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a vertical tab before chunked": b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "a bad chunk size": b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    "a huge chunk size": b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n\r\n",
    "a line feed after the chunk size": b"Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
    "no end of the chunk": b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloX0\r\n\r\n",
    "two hosts": b"Host: y\r\nContent-Length: 0\r\n\r\n",
    "an upgrade": b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\nhello",
}


@pytest.mark.parametrize("rest", SMUGGLED.values(), ids=SMUGGLED.keys())
async def test_ambiguous_request_is_refused_and_its_connection_closed(ingress: IngressProcess, rest: bytes) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\n".encode()
    smuggled = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = await answer_of(ingress.address, head + rest + smuggled)
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    "first_line",
    [b"POST / HTTP/2.0", b"GET /", b"POST / HTTP/1.2", b"CONNECT x:1 HTTP/1.1", b"PRI * HTTP/2.0"],
)
async def test_first_line_that_is_not_plain_http_is_refused(ingress: IngressProcess, first_line: bytes) -> None:
    assert (await answer_of(ingress.address, first_line + b"\r\nHost: x\r\n\r\n")).startswith(b"HTTP/1.1 400")


async def test_request_without_a_host_is_refused(ingress: IngressProcess) -> None:
    assert (await answer_of(ingress.address, b"GET /health HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    ("fields", "target", "status"),
    [
        ([b"X: y"] * 94, PATH.encode(), 200),  # with the five that every request has, and Connection: 100
        ([b"X: y"] * 97, PATH.encode(), 431),
        ([b"X: " + b"y" * 15_000], PATH.encode(), 200),
        ([b"X: " + b"y" * 16_400], PATH.encode(), 431),
        ([], PATH.encode() + b"?" + b"y" * (2047 - len(PATH)), 200),
        ([], PATH.encode() + b"?" + b"y" * (2048 - len(PATH)), 414),
    ],
    ids=["100 fields", "more fields", "15 kB", "more than 16 KiB", "2 KiB address", "longer address"],
)
async def test_heads_are_bounded(ingress: IngressProcess, fields: list[bytes], target: bytes, status: int) -> None:
    request = request_bytes(b"[]", b"Connection: close", b"Content-Type: application/json", *fields, target=target)
    assert (await answer_of(ingress.address, request)).startswith(b"HTTP/1.1 %d" % status)


async def test_head_without_an_end_is_cut_off(ingress: IngressProcess) -> None:
    endless = [b"POST / HTTP/1.1\r\nX: ", *([b"y" * 65_536] * 20)]
    answer = await answer_of(ingress.address, *endless)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 431")


async def test_slow_senders_are_let_go_and_delay_nobody(ingress: IngressProcess) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\n"
    slow = [b"", head.encode(), f"{head}Content-Length: 100\r\n\r\n[".encode()]
    waiting = [asyncio.create_task(answer_of(ingress.address, part)) for part in slow * 100]
    async with httpx.AsyncClient(base_url=ingress.url, timeout=LIMIT_S) as http:
        body = delivery(event(company()))
        for _ in range(20):
            assert (await http.post(PATH, content=body, headers=signed(body))).status_code == 200
        assert not all(slow.done() for slow in waiting)  # nobody waited until they were let go
    answers = await asyncio.wait_for(asyncio.gather(*waiting), LIMIT_S)
    assert {answer[:12] for answer in answers} <= {b"", b"HTTP/1.1 408"}


async def test_half_a_body_publishes_nothing(ingress: IngressProcess, log: Log) -> None:
    one = company()
    request = request_bytes(delivery(event(one)))
    _, writer = await asyncio.open_connection(*ingress.address)
    writer.write(request[:-5])
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert await log.of(one) == []


async def test_five_hundred_senders_at_once_leave_memory_bounded(
    ingress: IngressProcess, log: Log, send: Sender
) -> None:
    one = company()
    events = [event(one, str(n)) for n in range(500)]
    bodies = [delivery(each) + b" " * 300_000 for each in events]
    requests = [request_bytes(body, b"Connection: close") for body in bodies]
    answers = await asyncio.gather(*(answer_of(ingress.address, request, within_s=180) for request in requests))
    assert {answer[:12] for answer in answers} <= {b"HTTP/1.1 200", b"HTTP/1.1 503"}
    accepted = {value for value, answer in zip(events, answers, strict=True) if answer.startswith(b"HTTP/1.1 200")}
    assert accepted <= {record.value for record in await log.of(one)}
    assert send(delivery(events[0]), signed(delivery(events[0]))) == 200  # of the flood itself it may be none
    assert ingress.peak_bytes() < 300_000_000


def test_topic_with_another_number_of_partitions_is_not_written(
    broker: RunningBroker, prefix: str, ingress: IngressProcess, tmp_path: Path
) -> None:
    chosen = settings(broker.bootstrap, prefix).model_copy(update={"topic_partitions": 8})
    body = delivery(event(company()))
    with IngressProcess(chosen, tmp_path) as other, httpx.Client(base_url=other.url, timeout=LIMIT_S) as http:
        other.wait_until_said("number of partitions")
        assert http.get("/ready").status_code == 503
        assert http.get("/health").status_code == 200
        assert Sender(http)(body, signed(body)) == 503


def test_log_holds_neither_bodies_nor_tokens(send: Sender, ingress: IngressProcess) -> None:
    canary = f"canary{secrets.token_hex(8)}"
    body = f'[{{"x": {canary}}}]'.encode()
    assert send(body, signed(body)) == 200
    assert send(body, {"intuit-signature": canary, "intuit-t-id": canary}) == 401
    assert not any(secret in ingress.log() for secret in (canary, OLD_TOKEN, NEW_TOKEN))
