"""Faults on demand: the rules by which somebody asks for trouble, and the dice that decide when it comes.

Reads: rules of the control API and of a profile; the clock. Writes: the count left on each rule, what was made.
Guarantees: each rule has dice of its own, seeded, so that the same seed and the same sequence of requests make the
same faults; a rule with a count is used up after so many; rules set by hand are tried before those of a profile.
Source: intuit.md 1.6, 2, 3.4, 3.6, 3.8, 7.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatch
from typing import Any

from connectors.simulator.clock import RunningClock

# Routes of the sign-in, which a rule must name: `*` means the accounting API.
AUTHORITY_ROUTES = frozenset({"POST token", "POST revoke", "GET discovery", "GET userinfo", "GET jwks"})
REQUEST, EVENT, DELIVERY, CHANGE = "request", "event", "delivery", "change"


@dataclass(frozen=True, slots=True)
class FaultKind:
    """What a kind of fault does, where it applies, and how many seconds it takes where a rule does not say."""

    place: str  # what it happens to: a request, an event of a webhook, a delivery, a change in the books
    meaning: str
    seconds: float = 0.0


KINDS = {
    "answer": FaultKind(REQUEST, "answered with `status` and `body` instead of the work"),
    "delay": FaultKind(REQUEST, "`latency_ms` later, then as ever; over 120 s it is a 504"),
    "hang": FaultKind(REQUEST, "nothing for `seconds`, then a 504", 120.0),
    "reset": FaultKind(REQUEST, "the connection is reset; nothing was done"),
    "lost": FaultKind(REQUEST, "the work is done, the connection breaks before the answer"),
    "cut": FaultKind(REQUEST, "the work is done, the answer stops in the middle"),
    "missing": FaultKind(REQUEST, "a read of one record says 610 though it is there"),
    "wrong_id": FaultKind(REQUEST, "a read of one record answers with another `Id`"),
    "wrong_company": FaultKind(REQUEST, "answered from another company's books"),
    "false_delete": FaultKind(
        REQUEST, "change data capture says of one record per entity that it is Deleted, true or not"
    ),
    "expire": FaultKind(REQUEST, "the company's access tokens older than `seconds` die, then as ever", 60.0),
    "revoke": FaultKind(REQUEST, "Intuit revokes the company's grants, then as ever"),
    "rotate": FaultKind(REQUEST, "a refresh changes the refresh token whatever its age"),
    "redirect": FaultKind(REQUEST, "302 to `location`"),
    "bomb": FaultKind(REQUEST, "a small gzip body that unfolds to `bytes`"),
    "flood": FaultKind(REQUEST, "a body of `bytes`, as long as anybody reads"),
    "silence": FaultKind(EVENT, "never sent"),
    "duplicate": FaultKind(EVENT, "twice in the same delivery, same id"),
    "again": FaultKind(EVENT, "once more with the same id, up to `seconds` later", 60.0),
    "resend": FaultKind(EVENT, "once more with a new id, up to `seconds` later"),
    "late": FaultKind(EVENT, "up to `seconds` later than the others", 60.0),
    "stranger": FaultKind(EVENT, "once more under a company that nobody knows"),
    "coalesce": FaultKind(EVENT, "dropped where an update of the same record waits already"),
    "reorder": FaultKind(DELIVERY, "its events in random order"),
    "few": FaultKind(DELIVERY, "a random number of events, from one to the most allowed"),
    "hold": FaultKind(DELIVERY, "gathered for up to `seconds`", 60.0),
    "bad_signature": FaultKind(DELIVERY, "one try is signed with another key"),
    "no_signature": FaultKind(DELIVERY, "one try is not signed"),
    "shuffled_json": FaultKind(DELIVERY, "keys in another order and white space; the signature is right"),
    "stale": FaultKind(CHANGE, "readers see it up to `seconds` after it was announced", 10.0),
}
SPREADS = ("exponential", "uniform", "fixed")


@dataclass(slots=True)
class FaultRule:
    """A fault to be made: where, how often, when, and what."""

    realm: str | None = None  # None: every company
    route: str = "*"  # pattern over `METHOD name`: `GET query`, `* invoice`, `POST token`; for webhooks the entity
    kind: str = "answer"
    rate: float = 1.0
    count: int | None = None  # how many are left; None: until removed
    starts_at: datetime | None = None  # "from", on the simulated clock
    ends_at: datetime | None = None  # "until"
    status: int = 500
    body: str = "json"  # json, lower, xml, html, throttle, auth120, described
    retry_after: str = ""  # or "seconds", "date"
    latency_ms: int = 0
    seconds: float | None = None  # None: the kind's own
    spread: str = "exponential"  # how `seconds` is drawn where the kind says "up to"
    rotate: bool = False  # POST token: the refresh token changes whatever its age
    bytes: int = 10_000_000_000
    location: str = "http://169.254.169.254/latest/meta-data/"
    id: int = 0
    dice: random.Random = field(default_factory=random.Random, repr=False, compare=False)

    @property
    def whole_seconds(self) -> float:
        """The longest time this rule may take."""
        return KINDS[self.kind].seconds if self.seconds is None else self.seconds

    def drawn_seconds(self) -> float:
        """A time up to the longest: mostly short with a long tail, even, or always the longest."""
        longest = self.whole_seconds
        if self.spread == "fixed" or not longest:
            return longest
        if self.spread == "uniform":
            return self.dice.uniform(0, longest)
        return min(self.dice.expovariate(3 / longest), longest)

    def report(self) -> dict[str, Any]:
        """The rule as the control API shows it."""
        shown = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "dice"}
        starts_at, ends_at = shown.pop("starts_at"), shown.pop("ends_at")
        return shown | {"from": _written(starts_at), "until": _written(ends_at)}


def rule_from(asked: dict[str, Any]) -> FaultRule:
    """A rule as somebody asked for it. Raises ValueError with what is wrong."""
    given = {{"from": "starts_at", "until": "ends_at"}.get(key, key): value for key, value in asked.items()}
    if given.get("retry_after") in (True, False):
        given["retry_after"] = "seconds" if given["retry_after"] else ""
    if "latency_ms" in given and "status" not in given:
        given.setdefault("kind", "delay")
    known = {one.name for one in fields(FaultRule)} - {"id", "dice"}
    if unknown := sorted(set(given) - known):
        raise ValueError(f"unknown: {', '.join(unknown)}; a fault has {', '.join(sorted(known))}, from, until")
    rule = FaultRule(**{key: _READERS.get(key, _as_it_is)(value) for key, value in given.items()})
    if rule.kind not in KINDS:
        raise ValueError(f"no kind {rule.kind}; there are {', '.join(KINDS)}")
    if rule.spread not in SPREADS or rule.retry_after not in ("", "seconds", "date"):
        raise ValueError(f"spread is one of {', '.join(SPREADS)}; retry_after is seconds, date or nothing")
    return rule


class Faults:
    """The rules in force."""

    def __init__(self, clock: RunningClock, seed: int) -> None:
        self.clock = clock
        self.seed = seed
        self.rules: list[FaultRule] = []  # set by hand
        self.drawn: list[FaultRule] = []  # of a profile
        self.made: Counter[tuple[str, str]] = Counter()  # company, kind
        self.changed: list[Callable[[], None]] = []  # told whenever rules came or went
        self._ids = itertools.count(1)
        self._held: set[asyncio.Event] = set()

    # ---- rules ---------------------------------------------------------------------------------------------------

    def replace(self, rules: list[FaultRule]) -> None:
        """Put these rules in force and no others but the profile's."""
        self.rules = []
        for rule in rules:
            self.add(rule)
        self.tell()

    def add(self, rule: FaultRule) -> FaultRule:
        """Put one more rule in force."""
        rule.id = next(self._ids)
        rule.dice = random.Random(f"{self.seed}|{rule.id}")  # noqa: S311 - disorder that can be repeated, no secret
        self.rules.append(rule)
        self.tell()
        return rule

    def draw(self, rules: Iterable[FaultRule], realm: str | None) -> None:
        """Put a profile's rules in force for a company (None: for all) in place of those it had."""
        self.drawn = [one for one in self.drawn if realm is not None and one.realm != realm]
        for rule in rules:
            rule.id = next(self._ids)
            self.drawn.append(rule)
        self.tell()

    def heal(self, realm: str | None) -> None:
        """End every rule of a company (None: of all), and let go whoever is held up."""
        self.rules = [one for one in self.rules if realm is not None and one.realm != realm]
        self.draw([], realm)
        for event in list(self._held):
            self._held.discard(event)
            event.set()

    def tell(self) -> None:
        """Tell whoever must know that rules came or went."""
        for call in self.changed:
            call()

    def has(self, kind: str, realm: str) -> bool:
        """Whether any rule of a kind may ever fit a company."""
        return any(one.kind == kind and one.realm in (None, realm) for one in (*self.rules, *self.drawn))

    # ---- dice ----------------------------------------------------------------------------------------------------

    def take(
        self, realm: str | None, route: str, place: str = REQUEST, *, without: frozenset[str] = frozenset()
    ) -> FaultRule | None:
        """The first rule that fits, counted down; None where all is to go well. `without`: kinds that cannot apply."""
        for rule in (*self.rules, *self.drawn):
            if rule.kind not in without and self._fits(rule, realm, route, place):
                self._use(rule, realm)
                return rule
        return None

    def take_all(self, realm: str, route: str, place: str) -> list[FaultRule]:
        """Every rule that fits, counted down: several faults may befall one event or delivery."""
        found = [rule for rule in (*self.rules, *self.drawn) if self._fits(rule, realm, route, place)]
        for rule in found:
            self._use(rule, realm)
        return found

    def _fits(self, rule: FaultRule, realm: str | None, route: str, place: str) -> bool:
        if KINDS[rule.kind].place != place or rule.realm not in (None, realm):
            return False
        if route in AUTHORITY_ROUTES and rule.route.endswith("*"):
            return False
        now = self.clock.now()
        if (rule.starts_at and now < rule.starts_at) or (rule.ends_at and now >= rule.ends_at):
            return False
        pattern = rule.route if " " in rule.route or rule.route == "*" else f"* {rule.route}"
        return fnmatch(route.lower(), pattern.lower()) and rule.dice.random() < rule.rate

    def _use(self, rule: FaultRule, realm: str | None) -> None:
        self.made[realm or "", rule.kind] += 1
        if rule.count is not None:
            rule.count -= 1
            if rule.count <= 0 and rule in self.rules:
                self.rules.remove(rule)

    # ---- waiting -------------------------------------------------------------------------------------------------

    async def wait(self, seconds: float) -> None:
        """Wait on the simulated clock; `heal` ends it early."""
        until, held = self.clock.now() + timedelta(seconds=seconds), asyncio.Event()
        self._held.add(held)
        try:
            while held in self._held and self.clock.now() < until:
                held.clear()
                await self.clock.sleep_until(until, held)
        finally:
            self._held.discard(held)

    def report(self) -> list[dict[str, Any]]:
        """The rules set by hand, as the control API shows them."""
        return [rule.report() for rule in self.rules]

    def made_by_company(self) -> dict[str, dict[str, int]]:
        """How often each kind of fault was made, per company."""
        found: dict[str, dict[str, int]] = {}
        for (realm, kind), count in sorted(self.made.items()):
            found.setdefault(realm, {})[kind] = count
        return found


def _written(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _moment(value: Any) -> datetime | None:
    if value is None:
        return None
    found = datetime.fromisoformat(str(value))
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _as_it_is(value: Any) -> Any:
    return value


_READERS: dict[str, Callable[[Any], Any]] = {
    **{"rate": float, "seconds": float, "status": int, "latency_ms": int, "bytes": int},
    **{"starts_at": _moment, "ends_at": _moment, "count": lambda value: None if value is None else int(value)},
}
