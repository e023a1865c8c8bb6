"""Delivers webhooks as Intuit does: signed, batched, retried on the published ladder, and held back behind a failure.

Reads: events of companies, its settings, faults, the clock. Writes: HTTP POSTs to one endpoint; its journal, through
`Journal`.
Guarantees: a delivery is repeated byte for byte, with the same ids, until the endpoint answers 200 within three
seconds; nothing newer is sent before that; every wait is on the simulated clock; the disorder that was asked for, and
no other, is made.
Source: intuit.md 1, 7.1-7.5.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import itertools
import random
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

import httpx

from connectors.simulator.api import notices
from connectors.simulator.api.company import Event
from connectors.simulator.api.notices import Queued
from connectors.simulator.api.trouble import DELIVERY, EVENT, Faults
from connectors.simulator.clock import RunningClock

LADDER_S = (10, 20, 30, 300, 1200, 7200, 14400, 21600)  # then every six hours
ACK_WITHIN_S = 3.0
KEPT_DELIVERIES = 5000
STRANGER = "9999999999999999"  # a company that nobody knows


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
    mixed_companies: bool = True  # one delivery may carry events of several companies
    void_word: str = "void"  # or voided, as other people's code has it
    full_data: bool = False  # `data` carries the whole record, as one of Intuit's texts claims
    first_after_s: int = 0  # so long after a company was connected its first events come; Intuit: up to 300


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
    spoilt: list[str] = field(default_factory=list)  # faults of its next tries' signatures

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

    def __init__(
        self,
        clock: RunningClock,
        journal: Journal,
        faults: Faults,
        is_connected: Callable[[str], bool],
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.clock = clock
        self.journal = journal
        self.faults = faults
        self.settings = WebhookSettings()
        self.queue: deque[Queued] = deque()  # due
        self._queued_alike: Counter[tuple[str, ...]] = Counter()  # how many due events say the same
        self.late: list[tuple[datetime, int, Queued]] = []  # a heap: the next due first
        self.waiting: deque[Delivery] = deque()  # made, not acknowledged, in order
        self.deliveries: deque[Delivery] = deque(maxlen=KEPT_DELIVERIES)
        self.paused = False
        self.failure: str | None = None  # why deliveries stopped for good, if they did
        self.counts = {"events": 0, "lost": 0, "coalesced": 0, "not_subscribed": 0, "acknowledged_events": 0}
        self._dice = random.Random(faults.seed)  # noqa: S311 - disorder that can be repeated, no secret
        self._is_connected = is_connected
        self.picture: Callable[[Event], str | None] = lambda event: None  # the record an event is about
        self.connected_since: Callable[[str], datetime | None] = lambda realm: None
        self._transport = transport
        self._woken = asyncio.Event()
        self._since = clock.now()  # what is gathered now is gathered from here
        self._hold_s = 0.0
        self._plan: list[str] | None = None  # faults of the delivery that is being gathered
        self._numbers = itertools.count()

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
        self.journal.keep_queued(added)
        self._take_up(added)
        self._woken.set()

    def _take_up(self, added: list[Queued]) -> None:
        now = self.clock.now()
        for one in added:
            if one.due_at <= now:
                self._now_due(one, now)
            else:
                heapq.heappush(self.late, (one.due_at, next(self._numbers), one))

    def _now_due(self, one: Queued, since: datetime) -> None:
        if not self.queue:
            self._since = since
        self.queue.append(one)
        self._queued_alike[_likeness(one.event)] += 1

    def wake(self) -> None:
        """Look again at settings, pause and clock."""
        self._woken.set()

    def retry_now(self) -> None:
        """Make every waiting delivery due."""
        for delivery in self.waiting:
            delivery.next_try_at = self.clock.now()
        self._woken.set()

    def heal(self) -> None:
        """Send now, unspoilt, whatever is late, held or waiting for its next try."""
        while self.late:
            self._now_due(heapq.heappop(self.late)[2], self.clock.now())
        for delivery in self.waiting:
            delivery.spoilt.clear()
        self._plan, self._hold_s = None, 0.0
        self.retry_now()

    def forget(self) -> None:
        """Drop everything that is not delivered yet, as if it had never been announced."""
        for delivery in self.waiting:
            delivery.acknowledged = True
            self.journal.keep_delivery(delivery, [])
        if self.queue or self.late:
            self.journal.forget_queued()
        self.queue.clear()
        self._queued_alike.clear()
        self.late.clear()
        self.waiting.clear()
        self._woken.set()

    def restore(self, queued: list[Queued], deliveries: list[Delivery]) -> None:
        """Take up what an earlier run had not delivered."""
        self._take_up(queued)
        for delivery in deliveries:
            self.waiting.append(delivery)
            self.deliveries.append(delivery)
        self._woken.set()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is left to send."""
        return not self.queue and not self.late and not self.waiting

    def next_due(self) -> datetime | None:
        """When the courier does something next on its own; None where it has nothing to do, or is paused."""
        if self.paused or self.is_idle:
            return None
        if self.waiting:
            head = self.waiting[0]
            return self.clock.now() if head.acknowledged or not head.next_try_at else head.next_try_at
        return self._ready_at()

    async def run(self) -> None:
        """Deliver until cancelled; what stops it otherwise is kept in `failure`, for /_sim/health."""
        try:
            await self._deliver()
        except Exception as error:
            self.failure = repr(error)
            raise

    async def _deliver(self) -> None:
        limits = httpx.Limits(max_keepalive_connections=20)
        async with httpx.AsyncClient(
            timeout=ACK_WITHIN_S, limits=limits, trust_env=False, transport=self._transport
        ) as client:
            while True:
                self._woken.clear()
                if self.paused or self.is_idle:
                    await self._woken.wait()
                elif self.waiting:
                    await self._send_waiting(client)
                elif (ready_at := self._ready_at()) > self.clock.now():
                    await self.clock.sleep_until(ready_at, self._woken)
                else:
                    self._form_deliveries()

    # ---- forming -------------------------------------------------------------------------------------------------

    def _disordered(self, event: Event) -> list[Queued]:
        """What becomes of one event: the settings' dice first, then the rules in force."""
        settings, dice = self.settings, self._dice
        rules = {rule.kind: rule for rule in self.faults.take_all(event.realm, f"WEBHOOK {event.entity}", EVENT)}
        if dice.random() < settings.loss_rate or "silence" in rules:
            self.counts["lost"] += 1
            return []
        if (settings.coalesce or "coalesce" in rules) and self._waits_already(event):
            self.counts["coalesced"] += 1
            return []
        now = self._earliest(event.realm)
        due_at = {kind: now + timedelta(seconds=rule.drawn_seconds()) for kind, rule in rules.items()}
        first = self._queued(notices.event_id(event, dice), event, due_at.get("late", now))
        found = [first]
        if dice.random() < settings.duplicate_rate or "duplicate" in rules:
            found.append(self._queued(first.id, event, first.due_at))
        if "again" in rules:
            found.append(self._queued(first.id, event, due_at["again"]))
        if dice.random() < settings.resend_rate or "resend" in rules:
            found.append(self._queued(notices.event_id(event, dice), event, due_at.get("resend", now)))
        if "stranger" in rules:
            found.append(self._queued(notices.event_id(event, dice), replace(event, realm=STRANGER), now))
        return found

    def _earliest(self, realm: str) -> datetime:
        """Now, or the end of the silence after a company was connected."""
        now, since = self.clock.now(), self.connected_since(realm) if self.settings.first_after_s else None
        return max(now, since + timedelta(seconds=self.settings.first_after_s)) if since else now

    def _queued(self, event_id: str, event: Event, due_at: datetime) -> Queued:
        return Queued(event_id, event, uuid.uuid4().hex, due_at)

    def _waits_already(self, event: Event) -> bool:
        return event.operation == "Update" and self._queued_alike[_likeness(event)] > 0

    def _ready_at(self) -> datetime:
        """When the next delivery is to be formed: when it is full, or its events were gathered for long enough."""
        now = self.clock.now()
        while self.late and self.late[0][0] <= now:
            due_at, _, one = heapq.heappop(self.late)
            self._now_due(one, due_at)
        if not self.queue:
            return self.late[0][0]
        if self._plan is None:
            self._plan_delivery()
        if len(self.queue) >= self.settings.batch_max or self._since > now:
            return now
        return self._since + timedelta(seconds=max(self.settings.aggregation_ms / 1000, self._hold_s))

    def _plan_delivery(self) -> None:
        """Decide what befalls the delivery whose first event is due now."""
        rules = self.faults.take_all(self.queue[0].event.realm, "DELIVERY", DELIVERY)
        self._plan = [rule.kind for rule in rules]
        self._hold_s = max((rule.drawn_seconds() for rule in rules if rule.kind == "hold"), default=0.0)

    def _form_deliveries(self) -> None:
        for _ in range(max(1, self.settings.in_flight)):
            if not self.queue:
                return
            if self._plan is None:
                self._plan_delivery()
            delivery, taken = self._delivery(self._plan or [])
            self.waiting.append(delivery)
            self.deliveries.append(delivery)
            self.journal.keep_delivery(delivery, [one.key for one in taken])
            self._plan, self._hold_s, self._since = None, 0.0, self.clock.now()

    def _taken(self, most: int) -> list[Queued]:
        found = self._first(most)
        self._queued_alike.subtract(_likeness(one.event) for one in found)
        if not self.queue:
            self._queued_alike.clear()
        return found

    def _first(self, most: int) -> list[Queued]:
        if self.settings.mixed_companies:
            return [self.queue.popleft() for _ in range(min(len(self.queue), most))]
        realm = self.queue[0].event.realm
        found = [one for one in self.queue if one.event.realm == realm][:most]
        keys = {one.key for one in found}
        self.queue = deque(one for one in self.queue if one.key not in keys)
        return found

    def _delivery(self, plan: list[str]) -> tuple[Delivery, list[Queued]]:
        settings, dice = self.settings, self._dice
        taken = self._taken(dice.randint(1, settings.batch_max) if "few" in plan else settings.batch_max)
        if settings.reorder or "reorder" in plan:
            dice.shuffle(taken)
        legacy = settings.format == "legacy"
        body: Any = notices.legacy_body(taken, dice) if legacy else self._cloud_events(taken)
        either = dice.choice((notices.JSON_TYPE, notices.CLOUDEVENTS_TYPE))
        delivery = Delivery(
            id=str(uuid.uuid4()),
            body=notices.body_bytes(body, dice if "shuffled_json" in plan else None),
            content_type=notices.JSON_TYPE if legacy else either,
            event_ids=[one.id for one in taken],
            realms=sorted({one.event.realm for one in taken}),
            created_at=self.clock.now(),
            spoilt=[kind for kind in plan if kind.endswith("_signature")],
        )
        return delivery, taken

    def _cloud_events(self, taken: list[Queued]) -> list[dict[str, Any]]:
        picture = self.picture if self.settings.full_data else None
        return notices.cloud_events_body(taken, self._dice, self.settings.void_word, picture)

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
        headers = notices.headers_of(delivery.id, delivery.content_type, at)
        spoilt = self._spoilt(delivery)
        if spoilt == "no_signature":
            return headers
        key = self.settings.verifier_token
        if spoilt == "bad_signature":
            key = "not the token " + key
        return headers | {"intuit-signature": notices.signature(key, delivery.body)}

    def _spoilt(self, delivery: Delivery) -> str | None:
        """What is wrong with the signature of this try; each fault is used up by it."""
        settings = self.settings
        if settings.no_signature_next > 0:
            settings.no_signature_next -= 1
            return "no_signature"
        if settings.bad_signature_next > 0:
            settings.bad_signature_next -= 1
            return "bad_signature"
        return delivery.spoilt.pop(0) if delivery.spoilt else None


def _likeness(event: Event) -> tuple[str, ...]:
    return (event.realm, event.entity, event.id, event.operation)
