"""Delivers webhooks as Intuit does: signed, batched, retried on the published ladder, and held back behind a failure.

Reads: events of companies, its settings, the clock. Writes: HTTP POSTs to one endpoint; its journal, through `Journal`.
Guarantees: a delivery is repeated byte for byte, with the same ids, until the endpoint answers 200 within three
seconds; nothing newer is sent before that; the disorder that was asked for, and no other, is made.
Source: intuit.md 1, 7.1-7.5.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import random
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import httpx

from connectors.simulator.api.company import Event
from connectors.simulator.clock import RunningClock
from connectors.simulator.wire import encode

LADDER_S = (10, 20, 30, 300, 1200, 7200, 14400, 21600)  # then every six hours
ACK_WITHIN_S = 3.0
SOURCE = "intuit.dsnBgbseACLLRZNxo2dfc4evmEJdxde58xeeYcZliOU="
PAST_TENSE = {
    "Create": "created",
    "Update": "updated",
    "Delete": "deleted",
    "Merge": "merged",
    "Void": "void",
    "Emailed": "emailed",
}
KEPT_DELIVERIES = 5000


@dataclass(slots=True)
class WebhookSettings:
    """How deliveries are made; every field can be changed while the simulator runs."""

    url: str | None = None
    verifier_token: str = "simulator-verifier-token"  # noqa: S105 - a pretend token of a pretend Intuit
    format: str = "cloudevents"  # or legacy
    aggregation_ms: int = 200
    batch_max: int = 100
    coalesce: bool = False  # repeated updates of one record in one delivery become one
    duplicate_rate: float = 0.0  # the same event again, same id
    resend_rate: float = 0.0  # the same event again, new id
    loss_rate: float = 0.0
    reorder: bool = False
    bad_signature_next: int = 0  # so many tries are signed with the wrong key
    no_signature_next: int = 0
    retry_scale: float = 1.0  # 0.001 makes ten seconds ten milliseconds
    in_flight: int = 1  # deliveries at once while all goes well
    only_connected: bool = False  # send nothing for a company that no application is connected to


@dataclass(slots=True)
class Queued:
    """An event with the id it goes out under."""

    id: str
    event: Event


@dataclass(slots=True)
class Try:
    """One attempt to deliver."""

    at: str
    status: int | None
    error: str | None
    ms: int


@dataclass(slots=True)
class Delivery:
    """One body on its way."""

    id: str
    body: bytes
    content_type: str
    event_ids: list[str]
    realms: list[str]
    created_at: datetime
    tries: list[Try] = field(default_factory=list)
    acknowledged: bool = False
    next_try_at: datetime | None = None

    def summary(self) -> dict[str, Any]:
        """What the control API shows of it."""
        return {
            "id": self.id,
            "state": "acknowledged" if self.acknowledged else "retrying" if self.tries else "waiting",
            "body_sha256": hashlib.sha256(self.body).hexdigest(),
            "body_bytes": len(self.body),
            "event_ids": self.event_ids,
            "realms": self.realms,
            "created_at": self.created_at.isoformat(),
            "next_try_at": self.next_try_at.isoformat() if self.next_try_at and not self.acknowledged else None,
            "tries": [asdict(one) for one in self.tries],
        }


class Journal(Protocol):
    """Where undelivered webhooks survive a restart."""

    def keep_queued(self, queued: list[Queued]) -> None:
        """Keep events that are in no delivery yet."""

    def keep_delivery(self, delivery: Delivery, taken: list[str]) -> None:
        """Keep a delivery (or forget it once acknowledged) and drop the events it took up."""

    def forget_queued(self) -> None:
        """Drop every event that is in no delivery yet."""


class Courier:
    """Sends one application's webhooks to its one endpoint."""

    def __init__(self, clock: RunningClock, journal: Journal, seed: int, is_connected: Callable[[str], bool]) -> None:
        self.clock = clock
        self.journal = journal
        self.settings = WebhookSettings()
        self.queue: deque[Queued] = deque()
        self.waiting: deque[Delivery] = deque()  # made, not acknowledged, in order
        self.deliveries: deque[Delivery] = deque(maxlen=KEPT_DELIVERIES)
        self.paused = False
        self.failure: str | None = None  # why deliveries stopped for good, if they did
        self.counts = {"events": 0, "lost": 0, "coalesced": 0, "not_subscribed": 0, "acknowledged_events": 0}
        self._random = random.Random(seed)  # noqa: S311 - disorder that can be repeated, no secret
        self._is_connected = is_connected
        self._woken = asyncio.Event()
        self._queued_since = 0.0

    def enqueue(self, events: list[Event]) -> None:
        """Take events to be announced. Without an endpoint they are nobody's and are dropped, as at Intuit."""
        added: list[Queued] = []
        for event in events:
            self.counts["events"] += 1
            if self.settings.url is None or (self.settings.only_connected and not self._is_connected(event.realm)):
                self.counts["not_subscribed"] += 1
                continue
            added.extend(self._disordered(event))
        if not added:
            return
        if not self.queue:
            self._queued_since = time.monotonic()
        self.queue.extend(added)
        self.journal.keep_queued(added)
        self._woken.set()

    def wake(self) -> None:
        """Look again at settings, pause and clock."""
        self._woken.set()

    def retry_now(self) -> None:
        """Make every waiting delivery due."""
        for delivery in self.waiting:
            delivery.next_try_at = self.clock.now()
        self._woken.set()

    def forget(self) -> None:
        """Drop everything that is not delivered yet, as if it had never been announced."""
        for delivery in self.waiting:
            delivery.acknowledged = True
            self.journal.keep_delivery(delivery, [])
        if self.queue:
            self.journal.forget_queued()
        self.queue.clear()
        self.waiting.clear()
        self._woken.set()

    def restore(self, queued: list[Queued], deliveries: list[Delivery]) -> None:
        """Take up what an earlier run had not delivered."""
        self.queue.extend(queued)
        for delivery in deliveries:
            self.waiting.append(delivery)
            self.deliveries.append(delivery)
        self._woken.set()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is left to send."""
        return not self.queue and not self.waiting

    async def run(self) -> None:
        """Deliver until cancelled; what stops it otherwise is kept in `failure`, for /_sim/health."""
        try:
            await self._deliver()
        except Exception as error:
            self.failure = repr(error)
            raise

    async def _deliver(self) -> None:
        limits = httpx.Limits(max_keepalive_connections=20)
        async with httpx.AsyncClient(timeout=ACK_WITHIN_S, limits=limits, trust_env=False) as client:
            while True:
                self._woken.clear()
                if self.paused or self.is_idle:
                    await self._woken.wait()
                    continue
                if not self.waiting:
                    await self._gather_events()
                    self._form_deliveries()
                if self.waiting:
                    await self._send_waiting(client)

    # ---- forming -------------------------------------------------------------------------------------------------

    def _disordered(self, event: Event) -> list[Queued]:
        settings = self.settings
        if self._random.random() < settings.loss_rate:
            self.counts["lost"] += 1
            return []
        if settings.coalesce and event.operation == "Update" and any(_same(one.event, event) for one in self.queue):
            self.counts["coalesced"] += 1
            return []
        found = [Queued(self._event_id(event), event)]
        if self._random.random() < settings.duplicate_rate:
            found.append(found[0])
        if self._random.random() < settings.resend_rate:
            found.append(Queued(self._event_id(event), event))
        return found

    def _event_id(self, event: Event) -> str:
        plain = str(uuid.uuid4())
        return f"{plain}-{event.entity}-{event.id}" if self._random.random() < 0.1 else plain

    async def _gather_events(self) -> None:
        """Wait out the aggregation time, or until a delivery is full."""
        until = self._queued_since + self.settings.aggregation_ms / 1000
        while len(self.queue) < self.settings.batch_max and (left := until - time.monotonic()) > 0:
            self._woken.clear()
            try:
                await asyncio.wait_for(self._woken.wait(), left)
            except TimeoutError:
                return

    def _form_deliveries(self) -> None:
        for _ in range(max(1, self.settings.in_flight)):
            if not self.queue:
                return
            taken = [self.queue.popleft() for _ in range(min(len(self.queue), self.settings.batch_max))]
            if self.settings.reorder:
                self._random.shuffle(taken)
            delivery = self._delivery(taken)
            self.waiting.append(delivery)
            self.deliveries.append(delivery)
            self.journal.keep_delivery(delivery, [one.id for one in taken])
        self._queued_since = time.monotonic()

    def _delivery(self, taken: list[Queued]) -> Delivery:
        legacy = self.settings.format == "legacy"
        body = encode(legacy_body(taken) if legacy else [self._cloud_event(one) for one in taken]).encode()
        either = self._random.choice(("application/json; charset=utf-8", "application/cloudevents+json"))
        return Delivery(
            id=str(uuid.uuid4()),
            body=body,
            content_type="application/json; charset=utf-8" if legacy else either,
            event_ids=[one.id for one in taken],
            realms=sorted({one.event.realm for one in taken}),
            created_at=self.clock.now(),
        )

    def _cloud_event(self, queued: Queued) -> dict[str, Any]:
        event = queued.event
        word = PAST_TENSE[event.operation]
        return {
            "specversion": "1.0",
            "id": queued.id,
            "source": SOURCE,
            "type": f"qbo.{event.entity.lower()}.{word}.v1",
            "datacontenttype": "application/json",
            "time": _event_time(event.at, self._random.choice((0, 3, 9))),
            "intuitentityid": event.id,
            "intuitaccountid": event.realm,
            "data": {"deletedid": event.gone_id} if event.gone_id else {},
        }

    # ---- sending -------------------------------------------------------------------------------------------------

    async def _send_waiting(self, client: httpx.AsyncClient) -> None:
        """Send what is due, oldest first; everything newer waits until the oldest is acknowledged."""
        head = self.waiting[0]
        if head.next_try_at and self.clock.now() < head.next_try_at:
            await self.clock.sleep_until(head.next_try_at, self._woken)
            return
        wave = (
            [head] if head.tries else [one for one in self.waiting if not one.tries][: max(1, self.settings.in_flight)]
        )
        await asyncio.gather(*(self._try(client, one) for one in wave))
        for delivery in wave:
            if delivery not in self.waiting:
                continue  # forgotten meanwhile
            if delivery.acknowledged:
                self.waiting.remove(delivery)
                self.counts["acknowledged_events"] += len(delivery.event_ids)
            self.journal.keep_delivery(delivery, [])

    async def _try(self, client: httpx.AsyncClient, delivery: Delivery) -> None:
        started, at = time.monotonic(), self.clock.now()
        status: int | None = None
        error: str | None = None
        try:
            async with asyncio.timeout(ACK_WITHIN_S):
                url = self.settings.url or ""
                answer = await client.post(url, content=delivery.body, headers=self._headers(delivery, at))
            status = answer.status_code
        except (TimeoutError, httpx.HTTPError, httpx.InvalidURL) as problem:
            error = f"{type(problem).__name__}: {problem}"
        delivery.tries.append(Try(at.isoformat(), status, error, int((time.monotonic() - started) * 1000)))
        delivery.acknowledged = status == 200
        step = LADDER_S[min(len(delivery.tries), len(LADDER_S)) - 1]
        delivery.next_try_at = self.clock.now() + timedelta(seconds=step * self.settings.retry_scale)

    def _headers(self, delivery: Delivery, at: datetime) -> dict[str, str]:
        headers = {
            "content-type": delivery.content_type,
            "intuit-created-time": at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S-0000"),
            "intuit-t-id": delivery.id,
            "intuit-notification-schema-version": "0.1",
            "user-agent": "intuit_notification_server/0.1",
        }
        if self.settings.no_signature_next > 0:
            self.settings.no_signature_next -= 1
            return headers
        key = self.settings.verifier_token
        if self.settings.bad_signature_next > 0:
            self.settings.bad_signature_next -= 1
            key = "not the token " + key
        return headers | {"intuit-signature": signature(key, delivery.body)}


def signature(verifier_token: str, body: bytes) -> str:
    """What Intuit writes into `intuit-signature`: base64 of HMAC-SHA256 over the exact bytes."""
    return base64.b64encode(hmac.new(verifier_token.encode(), body, hashlib.sha256).digest()).decode()


def legacy_body(taken: list[Queued]) -> dict[str, Any]:
    """The old format: one entry per company, in the order of their first event."""
    by_realm: dict[str, list[dict[str, str]]] = {}
    for one in taken:
        event = one.event
        entity = {
            "name": event.entity,
            "id": event.id,
            "operation": event.operation,
            "lastUpdated": _event_time(event.at, 3),
        }
        if event.gone_id:
            entity["deletedId"] = event.gone_id
        by_realm.setdefault(event.realm, []).append(entity)
    notes = [{"realmId": realm, "dataChangeEvent": {"entities": entities}} for realm, entities in by_realm.items()]
    return {"eventNotifications": notes}


def _event_time(at: datetime, digits: int) -> str:
    utc = at.astimezone(UTC)
    fraction = {0: "", 3: f".{utc.microsecond // 1000:03d}", 9: f".{utc.microsecond:06d}517"}[digits]
    return utc.strftime("%Y-%m-%dT%H:%M:%S") + fraction + "Z"


def _same(one: Event, other: Event) -> bool:
    return (one.realm, one.entity, one.id, one.operation) == (other.realm, other.entity, other.id, other.operation)
