"""The door for Intuit's webhooks: verify, make durable, answer. A process of its own that knows no company.

Reads: POST /webhooks/quickbooks.
Writes: `quickbooks-notifications`, one record for each change event: key company id, value the event's exact bytes;
`parked`, what is correctly signed and cannot be cut into events.
Guarantees: nothing is parsed before its signature is right; 200 means that the broker has acknowledged every event;
a right signature is never refused for what the body says; an answer takes at most 2.5 s, whatever is broken here.
Source: Intuit's webhook pages (200 within 3 s, else the whole delivery again and later ones held back); design 2.
"""

import asyncio
import base64
import contextlib
import gc
import hashlib
import hmac
import logging
import math
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple, Self
from uuid import UUID

import structlog
from prometheus_client import Counter, Gauge, Histogram, start_http_server
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from connectors.config import Settings, SettingsError
from connectors.http_server import serve
from connectors.kafka import Publisher
from connectors.logs import configure_log
from connectors.registry import contracts_by_id
from schemas.changes import Envelope, Parked
from schemas.codec import Recorded, SchemaIds, file_ids
from schemas.errors import TransientError, UnprocessableError
from schemas.notifications import Entry, Split, Unreadable, split_delivery
from schemas.topics import Topics, topics
from schemas.wire import Outgoing

PATH = "/webhooks/quickbooks"
BODY_BYTES_MAX = 1024 * 1024
DRAIN_BYTES_MAX = 8 * 1024 * 1024  # of a body that is too large, so that its sender still reads the answer
HELD_BYTES_MAX = 64 * 1024 * 1024  # of all bodies that arrive or wait for the broker
ANSWER_S_MAX = 2.0  # for a whole request from its head on, unless its sender takes longer; Intuit waits 3 s
PUBLISH_S_MIN = 0.5  # with less time left nothing is begun: the sender took it all
IN_FLIGHT_MAX = 200
TRACE_ID_BYTES_MAX = 256
WATCH_EVERY_S = 1.0
WATCH_S_MAX = 5.0  # for one answer of the broker
SILENCE_S_MAX = 3.0  # after this long without an answer the process is not ready
LOG_EVERY_S = 1.0
LOG_KINDS_MAX = 1000

log = structlog.get_logger()


class Rarely:
    """Says the same thing at most once a second, and how often it was meant: a flood must not fill the disk."""

    def __init__(self) -> None:
        self._said: dict[tuple[str, object], tuple[float, int]] = {}

    def say(self, level: int, event: str, **fields: Any) -> None:
        """Never pass a body, a header or a token: fields are logged as they are."""
        key, now = (event, fields.get("reason")), time.monotonic()
        last, hidden = self._said.get(key, (now - LOG_EVERY_S, 0))
        if now - last < LOG_EVERY_S:
            self._said[key] = (last, hidden + 1)
            return
        if len(self._said) > LOG_KINDS_MAX:
            self._said.clear()
        self._said[key] = (now, 0)
        log.log(level, event, **fields, **({"not_logged": hidden} if hidden else {}))


_rarely = Rarely()
_events = Counter("ingress_events", "Change events that the broker acknowledged.", ["kind"])
_seconds = Histogram(
    "ingress_answer_seconds",
    "Time from the head of a delivery to its answer.",
    ["status"],
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 2.5),
)
_publishing = Gauge("ingress_in_flight", "Deliveries that wait for the broker now.")
_seconds_of = cache(_seconds.labels)  # of the few statuses that we answer
_published, _parked = _events.labels("published"), _events.labels("parked")


class Answer:
    """What a request is answered, as the two messages of ASGI."""

    def __init__(self, status: int, text: str, *headers: tuple[bytes, bytes]):
        self.status = status
        self.text = text
        length = (b"content-length", b"%d" % len(text))
        fields = [(b"content-type", b"text/plain; charset=utf-8"), length, *headers]
        self.head = {"type": "http.response.start", "status": status, "headers": fields}
        self.body = {"type": "http.response.body", "body": text.encode()}


ACCEPTED = Answer(200, "ok")
UNSIGNED = Answer(401, "the signature is missing or wrong")
TOO_LARGE = Answer(413, "the body is too large", (b"connection", b"close"))
NOT_JSON = Answer(415, "only plain JSON is taken")
BUSY = Answer(503, "too many deliveries at once", (b"retry-after", b"1"))
NOT_DURABLE = Answer(503, "the delivery could not be made durable in time", (b"retry-after", b"5"))


class Refused(Exception):
    """The request gets this answer; nothing of it was published."""

    def __init__(self, answer: Answer):
        super().__init__(answer.text)
        self.answer = answer


class SenderGone(Exception):
    """The sender closed the connection before its body was whole."""


class VerifierTokens:
    """The tokens with which Intuit may sign: one, or two while they are rotated."""

    def __init__(self, tokens: Sequence[SecretStr]):
        keys = [token.get_secret_value().encode() for token in tokens]
        if not keys or not all(key.strip() for key in keys):
            raise SettingsError(
                "The environment is not complete:\n  WEBHOOK_VERIFIER_TOKENS: name at least one token and none empty; "
                "it stands on the webhooks page of the app at developer.intuit.com"
            )
        self._keys = [(key, hashlib.sha256(key).hexdigest()[:8]) for key in keys]

    def signer(self, body: bytes, signature: bytes) -> str | None:
        """The id of the token that signed these bytes; None: none did.

        Every token is tried, each in constant time, so that the time says nothing about tokens or signature.
        """
        found = None
        for key, key_id in self._keys:
            expected = base64.b64encode(hmac.digest(key, body, "sha256"))
            if hmac.compare_digest(expected, signature):
                found = key_id
        return found


class Ingress:
    """Takes deliveries. Safe for any number of requests at once, in one event loop."""

    def __init__(self, settings: Settings):
        self._tokens = VerifierTokens(settings.webhook_verifier_tokens)
        self._topics = topics(
            settings.topic_partitions, prefix=settings.topic_prefix, generation=settings.topic_generation
        )
        self._build = settings.build
        self._ids = SchemaIds(contracts_by_id(settings)) if settings.schema_registry_url else file_ids()
        self._log = DurableLog(settings.kafka_bootstrap, self._topics)
        self._held_bytes = 0
        self._in_flight = 0
        self._arrived: list[Arrived] = []
        self._taking: set[asyncio.Task[None]] = set()
        _publishing.set_function(lambda: self._in_flight)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Connects to the broker in the background, so that the process also starts while it is away."""
        async with self._log.running():
            gc.collect()
            gc.freeze()  # what is here now stays; looking through it, and so often, would only delay answers
            gc.set_threshold(20_000, 20, 100)
            yield

    def ready(self) -> bool:
        """Whether a delivery would be made durable now."""
        return self._log.ready()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, as ASGI gives it."""
        started = time.monotonic()
        headers = dict(scope["headers"])
        if len(headers) < len(scope["headers"]):
            headers = _joined(scope["headers"])
        body = Body()
        try:
            answer = await self._answer(headers, receive, body, started + ANSWER_S_MAX)
        except SenderGone:
            return
        finally:
            self._held_bytes -= body.held_bytes
        _seconds_of(answer.status).observe(time.monotonic() - started)
        await send(answer.head)
        await send(answer.body)

    async def _answer(self, headers: Mapping[bytes, bytes], receive: Receive, body: "Body", deadline: float) -> Answer:
        try:
            _refuse_early(headers)
            while body.more:
                self._held_bytes += await body.read(receive)
                if self._held_bytes > HELD_BYTES_MAX:
                    raise Refused(BUSY)
            answer = await self.receive(headers, body.whole(), deadline)
        except Refused as refused:
            answer = refused.answer
        if answer is not ACCEPTED:
            _rarely.say(logging.WARNING, "delivery refused", status=answer.status, reason=answer.text)
        return answer

    async def receive(self, headers: Mapping[bytes, bytes], body: bytes, deadline: float) -> Answer:
        """Verify, make durable, answer. Raises Refused where that is not even begun.

        `deadline` is an instant of time.monotonic(). The same delivery twice is published twice: what it means is
        compared with what is booked, later.
        """
        if self._in_flight >= IN_FLIGHT_MAX:
            raise Refused(BUSY)
        if deadline - time.monotonic() < PUBLISH_S_MIN:
            raise Refused(NOT_DURABLE)
        loop = asyncio.get_running_loop()
        if not self._arrived:
            loop.call_soon(self._take_arrived)
        arrived = Arrived(headers, body, deadline, loop.create_future())
        self._arrived.append(arrived)
        self._in_flight += 1
        try:
            return await arrived.answer
        finally:
            self._in_flight -= 1

    def _take_arrived(self) -> None:
        together, self._arrived = self._arrived, []
        task = asyncio.create_task(self._take(together))
        self._taking.add(task)
        task.add_done_callback(self._taking.discard)

    async def _take(self, together: Sequence["Arrived"]) -> None:
        """Take the deliveries that arrived in one moment: one after the other and published at once, they cost half.

        When the broker has no leader for one of their partitions, the others share its 503; what comes later does not.
        """
        answer = NOT_DURABLE
        try:
            moment = Moment.now()
            records = [record for arrived in together for record in self._records(arrived, moment)]
            answer = await self._publish(records, min([arrived.deadline for arrived in together]))
        finally:  # after an error that nobody foresaw, too, no sender waits in vain
            for arrived in together:
                arrived.settle(answer)

    def _records(self, arrived: "Arrived", moment: "Moment") -> list[Outgoing]:
        """What one delivery publishes; nothing, and its answer is settled, when the signature is wrong."""
        key_id = self._tokens.signer(arrived.body, arrived.headers.get(b"intuit-signature", b""))
        if key_id is None:
            arrived.settle(UNSIGNED)
            return []
        delivery = Delivery(key_id, arrived.headers.get(b"intuit-t-id", b""), moment)
        split = self._split(arrived.body, delivery)
        records = [self._published(entry, delivery) for entry in split.entries]
        if split.unreadable:
            records += [self._parked(each, delivery) for each in split.unreadable]
        return records

    def _split(self, body: bytes, delivery: "Delivery") -> Split:
        try:
            split = split_delivery(body)
        except UnprocessableError as error:
            split = Split([], [Unreadable(body, str(error))])
        for value, reason in split.unreadable:
            _rarely.say(logging.ERROR, "parked", reason=reason, bytes=len(value), delivery_id=delivery.id)
        return split

    def _published(self, entry: Entry, delivery: "Delivery") -> Outgoing:
        return Outgoing(self._topics.notifications.name, entry.company_id, entry.value, delivery.headers(entry))

    def _parked(self, unreadable: Unreadable, delivery: "Delivery") -> Outgoing:
        """Never was in a topic, so its place is partition -1 and an offset that the same bytes always get."""
        digest = hashlib.sha256(unreadable.value).digest()
        envelope = Envelope(
            change_id=UUID(bytes=digest[:16], version=5),
            company_id="",
            origin="webhook",
            recorded_at=delivery.received_at,
            correlation_id=delivery.id,
            causes=(),
        )
        body = Parked(
            step="ingress",
            topic=self._topics.notifications.name,
            partition=-1,
            offset=int.from_bytes(digest[:8], "big") >> 1,
            reason=unreadable.reason,
            error_type=UnprocessableError.__name__,
            build=self._build,
            value=unreadable.value,
        )
        return Outgoing(topic=self._topics.parked.name, key="", value=self._ids.encode(Recorded(envelope, body)))

    async def _publish(self, records: Sequence[Outgoing], deadline: float) -> Answer:
        try:
            await self._log.publish(records, deadline - time.monotonic())
        except TransientError as error:
            _rarely.say(logging.ERROR, "not made durable", reason=str(error))
            return NOT_DURABLE
        parked = sum(record.topic == self._topics.parked.name for record in records)
        _published.inc(len(records) - parked)
        _parked.inc(parked)
        return ACCEPTED


class Arrived(NamedTuple):
    """One delivery that waits for its answer."""

    headers: Mapping[bytes, bytes]
    body: bytes
    deadline: float  # an instant of time.monotonic()
    answer: asyncio.Future[Answer]

    def settle(self, answer: Answer) -> None:
        """Give the answer, unless there is one or the request was cancelled."""
        if not self.answer.done():
            self.answer.set_result(answer)


class Moment(NamedTuple):
    """When deliveries were taken."""

    at: datetime
    stamp: bytes

    @classmethod
    def now(cls) -> Self:
        """This one."""
        at = datetime.now(UTC)
        return cls(at, at.isoformat(timespec="microseconds").replace("+00:00", "Z").encode())


class Delivery:
    """What all events of one POST share."""

    def __init__(self, key_id: str, trace_id: bytes, moment: Moment):
        self.id = _random_uuid()
        self.received_at = moment.at
        self._shared: tuple[tuple[str, bytes], ...] = (
            ("delivery_id", self.id.encode()),
            ("received_at", moment.stamp),
            ("signing_key_id", key_id.encode()),
        )
        if trace_id and len(trace_id) <= TRACE_ID_BYTES_MAX and trace_id.isascii():
            self._shared = (*self._shared, ("intuit_t_id", trace_id))

    def headers(self, entry: Entry) -> tuple[tuple[str, bytes], ...]:
        """The headers of one event's record; all values are UTF-8 text."""
        return (
            *self._shared,
            ("format", entry.format.value.encode()),
            ("cause_id", entry.cause_id.encode()),
            ("company_id", entry.company_id.encode()),
        )


def _random_uuid() -> str:
    """What str(uuid4()) gives, at a third of its cost."""
    digits = os.urandom(16).hex()
    return (
        f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{'89ab'[int(digits[16], 16) & 3]}{digits[17:20]}-{digits[20:]}"
    )


class Body:
    """One body while it arrives, counted: what its sender declares is not believed."""

    def __init__(self) -> None:
        self.more = True
        self.held_bytes = 0
        self._seen_bytes = 0
        self._chunks: list[bytes] = []

    async def read(self, receive: Receive) -> int:
        """Take what arrived next; by how many bytes more is held. Of a body that is too large nothing is held."""
        message = await receive()
        if message["type"] != "http.request":
            raise SenderGone
        before, chunk = self.held_bytes, message.get("body", b"")
        self._seen_bytes += len(chunk)
        self.more = message.get("more_body", False) and self._seen_bytes <= DRAIN_BYTES_MAX
        if self._seen_bytes <= BODY_BYTES_MAX:
            self._chunks.append(chunk)
            self.held_bytes += len(chunk)
        else:
            self._chunks.clear()
            self.held_bytes = 0
        return self.held_bytes - before

    def whole(self) -> bytes:
        """All of it. Raises Refused when it was too large."""
        if self._seen_bytes > BODY_BYTES_MAX:
            _refuse_too_large(self._seen_bytes)
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)


class DurableLog:
    """The broker, as this process needs it: records are published only into topics that are as they must be."""

    def __init__(self, bootstrap: str, wanted: Topics):
        self._bootstrap = bootstrap
        self._partitions = {topic.name: topic.partitions for topic in (wanted.notifications, wanted.parked)}
        self._publisher: Publisher | None = None
        self._checked = False
        self._answered_at = -math.inf

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Watches the broker in the background, also before it is there; the publisher reconnects by itself."""
        async with Publisher(self._bootstrap, client_id="ingress") as publisher:
            self._publisher = publisher
            watching = asyncio.create_task(self._watch(publisher))
            try:
                yield
            finally:
                watching.cancel()

    async def publish(self, records: Sequence[Outgoing], within_s: float) -> None:
        """Returns when the broker has them all. Raises TransientError."""
        if not self._checked or self._publisher is None:
            raise TransientError("the broker was not there yet, or its topics are not as they must be")
        await self._publisher.publish(records, within_s=within_s)

    def ready(self) -> bool:
        """Whether the broker answered a moment ago and its topics are right."""
        return time.monotonic() - self._answered_at < SILENCE_S_MAX

    async def _watch(self, publisher: Publisher) -> None:
        while True:
            try:
                self._judge(await publisher.partition_counts(self._partitions, within_s=WATCH_S_MAX))
            except TransientError as error:
                _rarely.say(logging.WARNING, "not ready", reason=str(error))
            await asyncio.sleep(WATCH_EVERY_S)

    def _judge(self, found: Mapping[str, int]) -> None:
        """Another number of partitions would send a company's new records to another partition than its old ones."""
        if found != self._partitions:
            _rarely.say(logging.ERROR, "not ready", reason="topics are missing or have another number of partitions")
            return
        if not self._checked:
            log.info("ready", topics=sorted(self._partitions))
        self._checked = True
        self._answered_at = time.monotonic()


def create_app(settings: Settings) -> Starlette:
    """The ASGI application; every answer's security headers come from `main`'s server.

    Raises SettingsError without a verifier token: it would refuse every delivery, or worse, take any; TransientError
    when a schema registry is named and does not answer.
    """
    ingress = Ingress(settings)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with ingress.running():
            yield

    async def health(_: Request) -> PlainTextResponse:
        return PlainTextResponse("alive")

    async def ready(_: Request) -> PlainTextResponse:
        is_ready = ingress.ready()
        return PlainTextResponse("ready" if is_ready else "the broker is away", 200 if is_ready else 503)

    routes = [Route(PATH, ingress, methods=["POST"]), Route("/health", health), Route("/ready", ready)]
    app = Starlette(routes=routes, lifespan=lifespan)
    app.router.redirect_slashes = False  # a delivery is refused, never sent elsewhere
    return app


def main(settings: Settings) -> None:
    """Run the process until it is told to stop; deliveries that it has begun are answered first."""
    configure_log(settings.log_level)
    app = create_app(settings)
    if settings.metrics_port:
        start_http_server(settings.metrics_port, addr=settings.ingress_host)
    serve(app, settings.ingress_host, settings.ingress_port)


def _joined(fields: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Fields that stand several times, as one: two signatures are none."""
    joined: dict[bytes, bytes] = {}
    for name, value in fields:
        joined[name] = joined[name] + b", " + value if name in joined else value
    return joined


def _refuse_early(headers: Mapping[bytes, bytes]) -> None:
    """What the head alone tells."""
    media = headers.get(b"content-type", b"application/json").split(b";")[0].strip().lower()
    if not (media == b"application/json" or (media.startswith(b"application/") and media.endswith(b"+json"))):
        raise Refused(NOT_JSON)
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise Refused(NOT_JSON)
    declared = headers.get(b"content-length", b"")
    if b"expect" in headers and declared.isdigit() and int(declared) > BODY_BYTES_MAX:
        _refuse_too_large(int(declared))  # its sender waits for our word before it sends the body


def _refuse_too_large(size: int) -> None:
    """Told loudly: an honest delivery of that size would come again and again and block all later ones."""
    _rarely.say(logging.ERROR, "delivery too large: if it is Intuit's, it blocks the feed", bytes=size)
    raise Refused(TOO_LARGE)


if __name__ == "__main__":
    main(Settings.from_environment(os.environ))
