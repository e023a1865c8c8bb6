"""What a request would move, before it is made: the ledger's own rules over its own books, and nothing is written.

Reads: ledger.*, read_project_balance, in one read-only transaction. Writes: nothing.
Guarantees: it decides and moves exactly what the ledger would if the request came now, in the same slices; memory is
bounded by a slice, and by some 300 bytes for each payment of which something else is booked or waits.
"""

import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

from psycopg_pool import AsyncConnectionPool

from connectors.postgres import Connection, transaction
from schemas.codec import SchemaIds
from schemas.quickbooks import PAYMENT
from schemas.wire import Incoming, Outgoing
from streams.book_store import Item, Loader
from streams.bookkeeping import SLICE_DOCUMENTS
from streams.books import Booking, Books, Key, booking_from_plain, booking_to_plain
from streams.decision import Decision, Progress
from streams.difference import Fact
from streams.ledger import absorb, decide, redecide
from streams.posting import postings

FIGURES = (
    *("invoiced_gross", "credited", "cash_received", "open_invoices", "unused_credit", "unapplied", "refunds"),
    *("credit_in", "credit_out", "applied_to_other"),
)
Figures = Mapping[str, Decimal]  # by the names of FIGURES


class Amounts(NamedTuple):
    """A project's figures in one currency, as the read tables show them and as they would be."""

    before: Figures
    after: Figures


class Waits(NamedTuple):
    """How much more waits; below zero: less."""

    parts: int  # records, or parts of payments
    amount: Decimal  # of those whose amount is known


@dataclass(slots=True)
class Preview:
    """What is known so far; the last one is the whole."""

    refusal: str = ""  # why the request would be refused; empty: it would be accepted
    reached: int = 0  # documents to look at
    settled: int = 0  # looked at so far
    moved: Counter[str] = field(default_factory=Counter)  # documents by type
    added: dict[tuple[str, str], dict[str, Decimal]] = field(default_factory=dict)  # by project and currency
    amounts: Mapping[tuple[str, str], Amounts] = field(default_factory=dict)  # the same; only in the last one
    waiting: dict[tuple[str, str], Waits] = field(default_factory=dict)  # by cause and currency; no amount, no currency

    def add(self, books: Books, decision: Decision) -> None:
        """Count what one slice moves, and what waits after it; the books are as they were before."""
        self.moved.update(record_type for record_type, _ in decision.moved)
        self.add_amounts(decision.facts)
        for key, document in decision.documents.items():
            self.add_waiting(books.document(key).booked, -1)
            self.add_waiting(document.booked, 1)

    def add_amounts(self, facts: Sequence[Fact]) -> None:
        """Post these events."""
        for fact in facts:
            for posting in postings(fact.body):
                figures = self.added.setdefault((fact.project_id, posting.currency), dict.fromkeys(FIGURES, Decimal(0)))
                for name in FIGURES:
                    figures[name] += getattr(posting, name)

    def add_waiting(self, booked: Booking, sign: int) -> None:
        """Count what waits of a document, or take it off."""
        for each in booked.waiting.values():
            amount, currency = (Decimal(0), "") if each.amount is None else (each.amount.amount, each.amount.currency)
            key = (each.cause.value, currency)
            before = self.waiting.get(key, Waits(0, Decimal(0)))
            self.waiting[key] = Waits(before.parts + sign, before.amount + sign * amount)


class Held:
    """Takes what would be published, and publishes nothing: the requests of a preview."""

    def __init__(self) -> None:
        self.records: list[Outgoing] = []

    async def publish(self, records: Sequence[Outgoing]) -> None:
        """Keep them."""
        self.records += records


class Previews:
    """Shows what requests would do."""

    def __init__(self, connections: AsyncConnectionPool[Connection], ids: SchemaIds, *, generation: int = 1) -> None:
        self._connections, self._ids, self._generation = connections, ids, generation

    async def of(self, request: Outgoing) -> AsyncIterator[Preview]:
        """The same preview after every slice. Raises TransientError when the database is away."""
        message = self._ids.decode(request.value)
        record = Incoming(request.topic, 0, 0, request.key, request.value, {}, 0)
        item = Item(record, message.envelope, message.body, None)
        async with transaction(self._connections) as connection:
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            async for preview in self._slices(connection, item):
                yield preview

    async def _slices(self, connection: Connection, item: Item) -> AsyncIterator[Preview]:
        loader, company_id = Loader(connection, self._generation), item.envelope.company_id
        books = (await loader.books([item], await loader.companies({company_id})))[company_id]
        decision = decide(books, item.change, item.envelope.recorded_at)
        ((is_accepted, refusal),) = decision.answered.values()
        preview = Preview(refusal=refusal)
        if not is_accepted:
            yield preview
            return
        preview.add(books, decision)
        absorb(books, decision)
        if decision.reach:
            preview.moved.clear()  # the mapping itself moves nothing; its slices do
            preview.reached = await loader.count_reached(company_id, decision.reach)
            async for _ in self._settled(loader, books, Progress(decision.reach, ("", "")), preview):
                yield preview
        preview.amounts = await self._amounts(connection, preview.added)
        yield preview

    async def _settled(self, loader: Loader, books: Books, progress: Progress, preview: Preview) -> AsyncIterator[None]:
        """Settle slice by slice, as the ledger does, with what it would have written by then."""
        payments: dict[Key, bytes] = {}
        changed = dict(books.customers)
        while True:
            keys = await loader.reached(books.company.company_id, progress.reach, progress.after, SLICE_DOCUMENTS)
            books.customers, books.documents, books.payers = dict(changed), {}, {}
            await loader.extend(books, keys)
            for key in payments.keys() & books.documents.keys():
                booked = booking_from_plain(json.loads(payments[key]))
                books.documents[key] = books.documents[key].with_booked(booked)
            decision = redecide(books, keys, progress.reach)
            payments |= _payments(books, decision)
            preview.add(books, decision)
            absorb(books, decision)
            changed.update(decision.customers)
            preview.settled += len(keys)
            yield
            if len(keys) < SLICE_DOCUMENTS:
                return
            progress = progress._replace(after=keys[-1])

    async def _amounts(
        self, connection: Connection, added: Mapping[tuple[str, str], Mapping[str, Decimal]]
    ) -> dict[tuple[str, str], Amounts]:
        """Before: what the read tables show now."""
        names = ", ".join(FIGURES)  # constants of this module
        query = (
            f"SELECT project_id, currency, {names} FROM read_project_balance "  # noqa: S608
            "WHERE generation = %s AND project_id = ANY(%s)"
        )
        projects = sorted({project_id for project_id, _ in added})
        cursor = await connection.execute(query.encode(), (self._generation, projects))
        before: dict[Any, Figures] = defaultdict(lambda: dict.fromkeys(FIGURES, Decimal(0)))
        before |= {row[:2]: dict(zip(FIGURES, row[2:], strict=True)) for row in await cursor.fetchall()}
        return {
            key: Amounts(before[key], {name: before[key][name] + more[name] for name in FIGURES})
            for key, more in sorted(added.items())
        }


def _payments(books: Books, decision: Decision) -> dict[Key, bytes]:
    """What would be booked of payments where it is another thing: they may be met again, in a slice of their own."""
    return {
        key: json.dumps(booking_to_plain(document.booked)).encode()
        for key, document in decision.documents.items()
        if key[0] == PAYMENT and document.booked != books.document(key).booked
    }
