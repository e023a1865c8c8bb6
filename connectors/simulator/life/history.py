"""A company's past: a year of a construction firm's books, the same for the same seed, byte for byte.

Reads: a seed. Writes: an empty company, through its ordinary operations, with a clock of its own.
Guarantees: no webhook is sent; the past ends at HISTORY_END, whatever the day it is made on.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from connectors.simulator.api.company import Company, Project
from connectors.simulator.books.notes import NOTHING, Note, Why, below
from connectors.simulator.books.records import Kind, Record, Refused
from connectors.simulator.clock import SteppedClock
from connectors.simulator.life.happenings import JOBS, Impossible, Life

HISTORY_END = datetime(2026, 10, 31, 23, 0, tzinfo=UTC)
FIRST_DAY = datetime(2025, 11, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Size:
    """How much happened."""

    clients: int
    jobs: int
    invoices: int
    payments: int  # credit links not counted
    memos: int
    links: int
    refunds: int
    edits: int
    voids: int
    deletes: int
    projects: int


SIZES = {
    "year": Size(16, 24, 300, 250, 22, 14, 16, 24, 6, 4, 14),
    "small": Size(4, 6, 20, 14, 3, 2, 2, 2, 1, 1, 5),
}


def write_history(company: Company, seed: int, number: int, size: str) -> list[Project]:
    """Fill an empty company whose clock is a SteppedClock; answers the project catalogue. `none` writes nothing."""
    clock = company.clock
    if not isinstance(clock, SteppedClock):
        raise TypeError("history is written with a SteppedClock, so that it does not depend on today")
    if size == "none":
        return []
    return _Author(company, clock, f"{seed}/{number}", SIZES[size], number).write()


class _Author:
    def __init__(self, company: Company, clock: SteppedClock, seed: str, size: Size, number: int) -> None:
        self.company, self.clock, self.size, self.number = company, clock, size, number
        self.life = Life(company, f"life/{seed}")
        self.dice = random.Random(f"history/{seed}")  # noqa: S311 - a past that can be repeated, no secret

    def write(self) -> list[Project]:
        self._customers()
        self.company.projects = self._projects()
        self._note_customers()
        late: list[Callable[[], Record]] = []
        for moment, action in self._plan():
            self.clock.move_to(moment)
            if not self._attempt(action):
                late.append(action)
        self._catch_up(late)
        self.clock.move_to(HISTORY_END)
        return self.company.projects

    def _customers(self) -> None:
        moment = datetime.combine(FIRST_DAY.date(), time(17), UTC)
        clients = []
        for _ in range(self.size.clients):
            moment += timedelta(minutes=self.dice.randint(5, 90))
            self.clock.move_to(moment)
            clients.append(self.life.add_customer(None))
        for position in range(self.size.jobs):
            moment += timedelta(minutes=self.dice.randint(5, 90))
            self.clock.move_to(moment)
            # Three of four clients have jobs; the others are billed directly.
            job = self.life.add_customer(clients[position % max(1, self.size.clients * 3 // 4)])
            job.fields["IsProject"] = position % 8 == 5

    def _projects(self) -> list[Project]:
        """Most projects are a job, some a client without jobs, and one customer has two."""
        book = self.company.book
        customers = list(book.records[Kind.CUSTOMER].values())
        jobs = [one for one in customers if one.fields.get("ParentRef")]
        direct = [
            one for one in customers if not one.fields.get("ParentRef") and not book.customers.children.get(one.id)
        ]
        chosen = self.dice.sample(jobs, self.size.projects * 2 // 3) + self.dice.sample(direct, min(2, len(direct)))
        chosen.append(chosen[-1])
        parents = [one for one in customers if book.customers.children.get(one.id)]
        while len(chosen) < self.size.projects:
            chosen.append(parents[len(chosen) % len(parents)])
        return [self._project(position, customer) for position, customer in enumerate(chosen)]

    def _note_customers(self) -> None:
        """Whose documents belong where: a customer's first project is the one that it is mapped to."""
        mapped: dict[str, str] = {}
        for project in self.company.projects:
            mapped.setdefault(project.customer_id, project.project_id)
        for one in self.company.book.records[Kind.CUSTOMER].values():  # parents come before their jobs
            parent = next(self.company.book.customers.ancestors(one.id), None)
            above = below(parent.note or NOTHING) if parent else NOTHING
            own = mapped.get(one.id)
            one.note = Note(own, own, Why.CUSTOMER) if own else above

    def _project(self, position: int, customer: Record) -> Project:
        code = f"PRJ-{self.number * 100 + position + 1:04d}"
        client = str(customer.fields.get("CompanyName") or customer.fields["DisplayName"])
        what = str(customer.fields["DisplayName"]) if customer.fields.get("ParentRef") else JOBS[position % len(JOBS)]
        return Project(code, f"{client}, {what}", customer.id)

    def _plan(self) -> list[tuple[datetime, Callable[[], Record]]]:
        life, size = self.life, self.size
        planned: list[tuple[datetime, Callable[[], Record]]] = []
        for count, action, earliest in (
            (size.invoices, life.invoice_created, 0.01),
            (size.payments, life.payment_created, 0.08),
            (size.memos, life.credit_memo_created, 0.15),
            (size.links, life.credit_linked, 0.3),
            (size.refunds, life.refund_given, 0.1),
            (size.edits, life.invoice_edited, 0.1),
            (size.voids, life.invoice_voided, 0.2),
            (size.deletes, life.payment_deleted, 0.3),
        ):
            planned += [(self._moment(earliest), action) for _ in range(count)]
        return sorted(planned, key=lambda entry: entry[0])

    def _moment(self, earliest: float) -> datetime:
        """A working hour of a working day between that part of the year and its end."""
        days = int(362 * (earliest + (1 - earliest) * self.dice.random())) + 1
        day = FIRST_DAY + timedelta(days=days)
        day -= timedelta(days=max(0, day.weekday() - 4))
        return day + timedelta(seconds=self.dice.randint(15 * 3600, 23 * 3600))

    def _attempt(self, action: Callable[[], Record]) -> bool:
        try:
            action()
        except (Impossible, Refused):
            return False
        return True

    def _catch_up(self, late: list[Callable[[], Record]]) -> None:
        """What could not be done on its day is done at the end of the year."""
        moment = self.clock.now()
        for action in late:
            for _ in range(20):
                moment += timedelta(seconds=self.dice.randint(20, 90))
                self.clock.move_to(min(moment, HISTORY_END))
                if self._attempt(action):
                    break
