"""What deciding costs: `decide` alone beside the whole ledger step, and a small customer beside a large one.

Run: `python -m benchmarks.meaning`. Starts a broker and a database of its own (fsync on); every figure comes from one
run, rounds of both customers in turns, of which the median counts; deciding alone is measured before and after the
step, while nothing else runs. The whole step is the one that production runs, from the topic through the delivery loop
to the published events. A change of a document must cost the same whether its customer has 10 documents or 100,000.
"""

import asyncio
import gc
import json
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
import uvloop

from benchmarks import steps
from benchmarks.table import Row, all_met, ratio_of, show
from connectors.cluster import create_topics
from connectors.kafka import Publisher
from connectors.local import Broker, Database
from connectors.postgres import migrate, pool
from connectors.sealing import Sealer
from schemas import changes
from schemas.quickbooks import parse_record
from schemas.wire import Incoming, Outcome
from streams.bookkeeping import Bookkeeper
from streams.books import Books, Company
from streams.delivery import COLLECT_AFTER, Step
from streams.ledger import Opened, absorb, decide, redecide

SMALL, LARGE = "1", "2"  # customers
DOCUMENTS = 10  # of each customer, that are changed again and again
LARGE_DOCUMENTS = 100_000  # of the large one
ROUNDS = 9
CHANGES = 3000  # of one round: three batches

_FILL = """
    INSERT INTO ledger.documents (generation, company_id, record_type, record_id, revised_at, sync_token, read_at,
                                  customer_id, head, booked)
    SELECT generation, company_id, record_type, n::text, revised_at, sync_token, read_at, customer_id, head, booked
    FROM (SELECT * FROM ledger.documents WHERE customer_id = %s AND record_type = 'Invoice' LIMIT 1) one
    CROSS JOIN generate_series(1000000, 1000000 + %s) n
"""


def revisions(customer: str, round_: int) -> list[dict[str, Any]]:
    """CHANGES revisions of DOCUMENTS invoices, each with another total than the one before."""
    first = int(customer) * 1000
    return [
        {
            "Id": str(first + number % DOCUMENTS),
            "TxnDate": "2026-03-02",
            "CustomerRef": {"value": customer},
            "CurrencyRef": {"value": "USD"},
            "TotalAmt": 100 + number // DOCUMENTS + round_ % 2,
            "Line": [{"Amount": 100}],
        }
        for number in range(CHANGES)
    ]


def change_of(raw: dict[str, Any], sealed: bytes, at: int) -> changes.RecordRead:
    """A record as read, so many milliseconds later than the first."""
    moment = steps.NOW + timedelta(milliseconds=at)
    return changes.RecordRead(
        record_type="Invoice" if "Line" in raw else "Customer",
        record_id=raw["Id"],
        revised_at=moment,
        sync_token=at,
        read_at=moment,
        sealed=sealed,
        related=(),
    )


# --- decide alone ----------------------------------------------------------------------------------------------------


class Alone:
    """Books in memory, with so many documents of one customer."""

    def __init__(self, customer: str, documents: int) -> None:
        self.books, self.customer, self.moment = Books(Company(steps.COMPANY, home_currency="USD")), customer, 0
        self.take(changes.ProjectDeclared(project_id="P1", name="P1"))
        self.read({"Id": customer, "DisplayName": "A customer", "CurrencyRef": {"value": "USD"}})
        self.take(
            changes.MapCustomer(
                decision_id="d",
                person="bench",
                customer_id=customer,
                project_id="P1",
                reference_number="",
                from_on=None,
                mapping_version=0,
            )
        )
        for raw in revisions(customer, 0)[:DOCUMENTS]:
            self.read(raw)
        one = self.books.document(("Invoice", f"{int(customer) * 1000}"))
        for number in range(documents - DOCUMENTS):
            self.books.documents["Invoice", str(1_000_000 + number)] = one

    def take(self, change: Any, opened: Opened | None = None) -> float:
        """Decide, and carry the decision into the books; the seconds that deciding took."""
        began = time.perf_counter()
        decision = decide(self.books, change, steps.NOW, opened)
        decided_s = time.perf_counter() - began
        absorb(self.books, decision)
        if decision.reach:
            absorb(self.books, redecide(self.books, []))
        return decided_s

    def read(self, raw: dict[str, Any]) -> None:
        """Read one record."""
        self.moment += 1
        change = change_of(raw, b"", self.moment)
        self.take(change, Opened(parse_record(change.record_type, json.dumps(raw).encode(), "USD")))

    def round(self, number: int) -> float:
        """Changes a second of one round, records parsed before."""
        prepared = []
        for raw in revisions(self.customer, number):
            self.moment += 1
            record = parse_record("Invoice", json.dumps(raw).encode(), "USD")
            prepared.append((change_of(raw, b"", self.moment), Opened(record)))
        return CHANGES / sum(self.take(change, opened) for change, opened in prepared)


# --- the whole step --------------------------------------------------------------------------------------------------


class Whole:
    """The ledger's step with its database and broker, as the work of the delivery loop."""

    def __init__(self, work: Bookkeeper, publisher: Publisher, sealer: Sealer) -> None:
        self._work, self._publisher, self._sealer = work, publisher, sealer
        self._number = self._moment = self._left = 0
        self._began = self._ended = 0.0
        self._done = asyncio.Event()

    @property
    def progress(self) -> int:
        return self._work.progress

    async def published(self, outcome: Outcome) -> None:
        await self._work.published(outcome)

    async def assigned(self, partitions: Collection[tuple[str, int]]) -> None:
        await self._work.assigned(partitions)

    async def do(self, batch: Sequence[Incoming]) -> Outcome:
        self._began = self._began or time.perf_counter()
        outcome = await self._work.do(batch)
        self._left -= len(batch)
        if self._left <= 0:
            self._ended = time.perf_counter()
            self._done.set()
        return outcome

    async def book(self, bodies: Sequence[Any]) -> float:
        """Publish these inputs; changes a second from the first batch to the last."""
        self._began, self._left = 0.0, len(bodies)
        self._done.clear()
        values = [steps._message(self._number + number, body) for number, body in enumerate(bodies)]
        self._number += len(bodies)
        await self._publisher.publish([steps._outgoing(value) for value in values])
        await asyncio.wait_for(self._done.wait(), 300)
        return len(bodies) / (self._ended - self._began)

    async def round(self, customer: str, number: int) -> float:
        """Changes a second of one round."""
        return await self.book([self._read(raw) for raw in revisions(customer, number)])

    def beginning(self) -> list[Any]:
        """Two customers with a project each, and their first documents."""
        found: list[Any] = []
        for customer in (SMALL, LARGE):
            found.append(self._read({"Id": customer, "DisplayName": "A customer", "CurrencyRef": {"value": "USD"}}))
            found.append(changes.ProjectDeclared(project_id=f"P{customer}", name="A project"))
            found.append(
                changes.MapCustomer(
                    decision_id=f"d{customer}",
                    person="bench",
                    customer_id=customer,
                    project_id=f"P{customer}",
                    reference_number="",
                    from_on=None,
                    mapping_version=0,
                )
            )
            found += [self._read(raw) for raw in revisions(customer, 0)[:DOCUMENTS]]
        return found

    def _read(self, raw: dict[str, Any]) -> changes.RecordRead:
        self._moment += 1
        sealed = self._sealer.seal(steps.COMPANY, "record", json.dumps(raw).encode())
        return change_of(raw, sealed, self._moment)


async def _whole_rounds(bootstrap: str, url: str) -> tuple[list[float], list[float]]:
    stop, ready = asyncio.Event(), asyncio.Event()
    async with AsyncExitStack() as stack:
        connections = await stack.enter_async_context(pool(url))
        sealer = Sealer(connections, steps.MASTER_KEYS)
        await sealer.load([steps.COMPANY])
        work, publisher = await steps._ledger(stack, bootstrap, url)
        whole = Whole(work, publisher, sealer)
        step = Step(name="ledger-v1-g1", reads=(steps.TOPICS.changes,), work=whole)
        running = asyncio.create_task(
            steps._delivery(bootstrap, publisher.publish).run([step], stop=stop, ready=ready.set)
        )
        await asyncio.wait_for(ready.wait(), 60)
        await whole.book(whole.beginning())
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(_FILL, (LARGE, LARGE_DOCUMENTS))
            connection.execute("ANALYZE")
        small, large = [], []
        for number in range(1, ROUNDS + 1):
            small.append(await whole.round(SMALL, number))
            large.append(await whole.round(LARGE, number))
        stop.set()
        await running
    return small, large


def run() -> list[Row]:
    """Measure; the rows for the common table. Deciding is measured alone on the machine, before and after the step."""
    gc.set_threshold(*COLLECT_AFTER)  # as the delivery loop does
    few, many = Alone(SMALL, DOCUMENTS), Alone(LARGE, LARGE_DOCUMENTS)
    alone_few, alone_many = [], []

    def decide_alone(first: int) -> None:
        for number in range(first, first + ROUNDS):
            alone_few.append(few.round(number))
            alone_many.append(many.round(number))

    decide_alone(1)
    with (
        tempfile.TemporaryDirectory(prefix="intoaec-bench-") as folder,
        Broker.start(Path(folder) / "kafka") as broker,
        Database.start(Path(folder) / "postgres") as database,
    ):
        url = database.create("meaning")
        migrate(url)
        reads = {"ledger-v1-g1": [steps.TOPICS.changes.name]}
        asyncio.run(create_topics(broker.bootstrap, steps.TOPICS.all(), reads))
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as in production
            whole_few, whole_many = runner.run(_whole_rounds(broker.bootstrap, url))
    decide_alone(ROUNDS + 1)
    return [
        _row("decided alone, beside the whole ledger step", alone_few, whole_few, 10.0),
        _row("decided, customer of 100,000 documents beside one of 10", alone_many, alone_few, 0.8),
        _row("booked, customer of 100,000 documents beside one of 10", whole_many, whole_few, 0.8),
    ]


def _row(name: str, values: list[float], baselines: list[float], at_least: float) -> Row:
    value, baseline = median(values), median(baselines)
    ratio = ratio_of(value, baseline)
    met = bool(ratio is not None and ratio >= at_least)
    return Row(
        name=name, value=value, unit="/s", baseline=baseline, ratio=ratio, target=f"at least {at_least:g}", met=met
    )


if __name__ == "__main__":
    found = run()
    show("Meaning", found)
    sys.exit(not all_met(found))
