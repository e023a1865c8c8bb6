"""A life of many firms, step by step: at what pace, what became of it, and whether the books still add up.

Reads: companies. Writes: them. Guarantees: firm by firm in turn, so that one firm's life does not hang on how many
others there are; with clocks of their own the same seed gives the same events and documents, byte for byte.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

from connectors.simulator.api.company import Company, Event
from connectors.simulator.books.audit import violations
from connectors.simulator.books.effects import Change
from connectors.simulator.books.records import Kind
from connectors.simulator.clock import SteppedClock
from connectors.simulator.life.firm import Firm
from connectors.simulator.life.repertoire import Repertoire

FIRST_MORNING = datetime(2024, 1, 2, 16, tzinfo=UTC)
BEHIND_S_MAX = 1  # what was missed by more than this is not made up for
_UNITS_S = {"s": 1, "sec": 1, "second": 1, "min": 60, "minute": 60, "h": 3600, "hour": 3600}


def rate_of(text: str) -> Fraction | None:
    """Steps a second from `500`, `500/s`, `1/min`, `20/h`; None for `max`. Raises ValueError."""
    if text == "max":
        return None
    count, _, unit = text.partition("/")
    try:
        found = Fraction(count) / _UNITS_S[unit or "s"]
    except (KeyError, ValueError, ZeroDivisionError) as error:
        raise ValueError(f"{text!r} is no rate; say 500/s, 1/min, 20/h or max") from error
    if found <= 0:
        raise ValueError(f"{text!r} is no rate; it must be more than nothing")
    return found


class Pace:
    """When the next step is due."""

    def __init__(self, rate: Fraction | None, now: Callable[[], float]) -> None:
        self.rate = rate
        self._now = now
        self._due = now()

    def wait_s(self) -> float:
        """Seconds until the next step is due; 0 where it is due already."""
        return max(0.0, self._due - self._now())

    def stepped(self) -> None:
        """A step was made: the next one is due a beat later, but what was missed for long is forgotten."""
        if self.rate is not None:
            self._due = max(self._due, self._now() - BEHIND_S_MAX) + float(1 / self.rate)


def found_firm(company: Company, number: int) -> None:
    """What a company without a past decides on its first day: several currencies or not, its custom fields."""
    if not company.book.records[Kind.CUSTOMER]:
        company.book.multicurrency = number % 2 == 1
        company.switches.project_customer_in_ref = number % 4 > 1
        company.name_fields({"1": "Reference Number", "2": "Crew #"})


def new_company(number: int, realm: str) -> Company:
    """An empty company with a clock of its own, for a life without anybody watching."""
    company = Company(realm, f"Company {number + 1}", SteppedClock(FIRST_MORNING))
    found_firm(company, number)
    return company


class Digest:
    """A hash over everything that a company announces."""

    def __init__(self, company: Company) -> None:
        self._hash = hashlib.sha256()
        self._company = company
        company.listeners.append(self._hear)

    def _hear(self, company: Company, changes: list[Change], events: list[Event]) -> None:
        for one in events:
            line = f"{one.realm} {one.entity} {one.id} {one.operation} {one.at.isoformat()} {one.gone_id}\n"
            self._hash.update(line.encode())

    def hexdigest(self, *, documents: bool = True) -> str:
        """The hash of all events so far and, if asked, of every record as Intuit shows it."""
        found = self._hash.copy()
        if documents:
            book = self._company.book
            for record in [one for kind in Kind for one in book.records[kind].values()]:
                found.update(self._company.renderer.text(record).encode())
                record.rendered = None  # a hash is no reader: nothing is kept for it
        return found.hexdigest()


@dataclass(slots=True)
class Play:
    """A life under way."""

    firms: list[Firm]
    repertoire: Repertoire
    total: int
    done: int = 0
    problems: list[str] = field(default_factory=list)

    def step(self) -> Firm:
        """One thing happens in the firm whose turn it is; answers the firm."""
        firm = self.firms[self.done % len(self.firms)]
        self.repertoire.step(firm)
        self.done += 1
        return firm

    def check(self) -> list[str]:
        """Everything in the firms' books that does not add up, in plain sentences."""
        self.problems += [f"{one.company.realm}: {said}" for one in self.firms for said in violations(one.book)]
        return self.problems

    def summary(self) -> dict[str, Any]:
        """What happened, and what there is now."""
        return {
            "steps": self.done,
            "events": sum(firm.changes for firm in self.firms),
            "companies": len(self.firms),
            "projects": sum(len(firm.company.projects) for firm in self.firms),
            "records": _counted(firm.book.records for firm in self.firms),
            "deleted": sum(len(firm.book.gone) for firm in self.firms),
            "happenings": _added(firm.tally for firm in self.firms),
            "refused": _added(firm.refusals for firm in self.firms),
            "violations": list(self.problems),
        }


def _counted(books: Iterable[Mapping[Kind, Mapping[str, Any]]]) -> dict[str, int]:
    return _added({kind.value: len(kept) for kind, kept in records.items() if kept} for records in books)


def _added(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for one in counts:
        found.update(one)
    return dict(sorted(found.items()))


def summed(summaries: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Summaries of several lives as one."""
    total: dict[str, Any] = {}
    for one in summaries:
        for key, value in one.items():
            if isinstance(value, dict):
                total[key] = _added((total.get(key, {}), value))
            else:
                total[key] = total[key] + value if key in total else value
    return total
