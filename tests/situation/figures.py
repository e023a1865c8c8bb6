"""The figures of projects by currency and up to a day, as a consumer keeps them from the events alone."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple

from schemas.accounting import Share
from schemas.money import Money
from streams.difference import Fact
from tests.rules import Balance

_FIELDS = {"exchange gain": "gained"}


class Entry(NamedTuple):
    """A part of an event that counts at one date in one currency; a revision has two."""

    currency: str
    on: date
    body: Any


class Figures(NamedTuple):
    """What one project holds, by currency."""

    by_currency: Mapping[str, Balance]

    def of(self, name: str, currency: str | None) -> Decimal | str:
        """One figure; words where several currencies hold it and none of them was named."""
        if currency is not None:
            return _figure(self.by_currency.get(currency, Balance()), name)
        found = {code: _figure(balance, name) for code, balance in sorted(self.by_currency.items())}
        if name in _FIELDS or name.startswith("home "):
            return sum(found.values(), Decimal(0))
        held = {code: amount for code, amount in found.items() if amount}
        if len(held) > 1:
            return ", ".join(f"{amount} in {code}" for code, amount in held.items())
        return next(iter(held.values()), Decimal(0))


def figures(facts: Iterable[Fact], until: date = date.max) -> dict[str, Figures]:
    """By project: what is dated up to a day, that day included."""
    found: dict[str, dict[str, Balance]] = defaultdict(lambda: defaultdict(Balance))
    for fact in facts:
        for entry in _entries(fact.body):
            if entry.on <= until:
                found[fact.project_id][entry.currency].post(entry.body)
    return {project: Figures(by_currency) for project, by_currency in found.items()}


def _figure(balance: Balance, name: str) -> Decimal:
    amount: Decimal = getattr(balance, _FIELDS.get(name, name.replace(" ", "_")))
    return amount


def _entries(body: Any) -> Iterator[Entry]:
    sides = {name: getattr(body, name) for name in ("before", "after") if getattr(body, name, None) is not None}
    for name, side in sides.items():
        money, on = (side.received, side.received_on) if isinstance(side, Share) else (side.total, side.issued_on)
        other = "after" if name == "before" else "before"
        yield Entry(money.currency, on, replace(body, **{other: None}) if other in sides else body)
    money = next((m for m in (getattr(body, name, None) for name in _MONEY) if isinstance(m, Money)), None)
    if money is not None:
        yield Entry(money.currency, next(getattr(body, name) for name in _DAYS if hasattr(body, name)), body)


_MONEY = ("applied", "transferred", "settled")
_DAYS = ("applied_on", "transferred_on", "gained_on")
