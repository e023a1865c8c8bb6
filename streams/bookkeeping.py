"""The ledger's edge: open the inputs, load the books, let the rules decide, and store all of it in one transaction.

Reads: company-changes. Writes: ledger.* (heads, bookings, events, trail, position) and, after each commit, the topics
accounting-events, company-events and read-requests from their outboxes.
Guarantees: position and rows move together, compare-and-set, so a second owner or a thawed zombie writes nothing; an
input twice adds nothing; dying anywhere loses nothing. Large inputs are worked in slices, each one transaction.
Source: design section 2, "The ledger"; docs/decisions/0006.
"""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol
from uuid import UUID, uuid4, uuid5

from psycopg_pool import AsyncConnectionPool

from connectors.postgres import Connection, queries, transaction
from schemas import accounting, changes
from schemas import company as company_schemas
from schemas.codec import Recorded
from schemas.errors import ForgottenError, TransientError, UnprocessableError
from schemas.journals import JOURNAL_ENTRY, parse_journal, receivables_account
from schemas.quickbooks import PAYMENT, Customer, Payment, parse_record
from schemas.topics import Topics
from schemas.wire import Incoming, Outcome, Outgoing, Unworkable
from streams.asking import accepted
from streams.book_store import Item, Loader, company_row, customer_row, document_row
from streams.books import Books, Company, CustomerState, Document, Key, QuickBooksProject
from streams.decision import REQUESTS, Decision, Opened, Progress, Reach
from streams.difference import Fact, Notice
from streams.event_log import COMPANY, EVENT_NAMESPACE, PROJECT, EventLog, Fenced, Publishes, Staged
from streams.journals import with_sides
from streams.ledger import absorb, decide, redecide, refuse_unknown

SLICE_DOCUMENTS = 500
_SQL = queries("ledger.sql")
STEP = "ledger"  # in control.parked
READ_REQUESTS_AT_ONCE = 1000  # as in the query
Position = tuple[int, str]  # the next offset, and how far a large input there is worked
_LARGE = (*REQUESTS, changes.ProjectDeclared, changes.CompanyFacts, changes.RulesChanged)


class Seals(Protocol):
    """Opens and seals with the companies' keys."""

    async def load(self, company_ids: Collection[str]) -> None: ...
    def open(self, company_id: str, purpose: str, sealed: bytes) -> bytes: ...
    def seal(self, company_id: str, purpose: str, plain: bytes) -> bytes: ...
    def mac(self, company_id: str, plain: bytes) -> bytes: ...


class Parks(Protocol):
    """Puts records aside inside the transaction that moves the position beyond them."""

    async def park(self, connection: Connection, step: str, unworkable: Sequence[Unworkable]) -> None: ...
    async def supersede(
        self, connection: Connection, step: str, reads: Sequence[tuple[str, str, str, int]]
    ) -> None: ...
    async def publish_unpublished(self) -> int: ...


@dataclass(slots=True)
class _Batch:
    """What one transaction will write."""

    staged: list[Staged] = field(default_factory=list)
    documents: dict[tuple[str, Key], Document] = field(default_factory=dict)
    customers: dict[tuple[str, str], CustomerState] = field(default_factory=dict)
    projects: dict[tuple[str, str], bool] = field(default_factory=dict)
    quickbooks_projects: dict[tuple[str, str], QuickBooksProject] = field(default_factory=dict)
    companies: dict[str, Company] = field(default_factory=dict)
    facts_of: dict[str, Company] = field(default_factory=dict)  # of every company of the batch, as it is now
    reads: dict[tuple[str, Key], Item] = field(default_factory=dict)
    answered: list[dict[str, Any]] = field(default_factory=list)
    trail: list[tuple[Any, ...]] = field(default_factory=list)
    causes: list[tuple[Any, ...]] = field(default_factory=list)
    unworkable: list[Unworkable] = field(default_factory=list)
    read_again: list[tuple[str, str, str, int]] = field(default_factory=list)


class Bookkeeper:
    """The work of the ledger step; one instance for each process."""

    def __init__(
        self,
        connections: AsyncConnectionPool[Connection],
        sealer: Seals,
        parking: Parks,
        publisher: Publishes,
        topics: Topics,
        *,
        generation: int = 1,
    ) -> None:
        self._connections, self._sealer, self._parking, self._publisher = connections, sealer, parking, publisher
        self._ids, self._topics, self._generation = topics.ids, topics, generation
        self._log = EventLog(topics, generation, publisher)
        self._positions: dict[int, Position] = {}  # what this worker wrote last: another value is another owner
        self._attempted: dict[int, Position] = {}  # what it tried to write last: its commit may have gone through
        self._writer = uuid4().hex  # stands beside what this process wrote
        self._parked = True  # an earlier process may have parked what is not in the topic yet
        self.progress = 0  # transactions: a batch may need several, a large input one for each slice

    async def assigned(self, partitions: Collection[tuple[str, int]]) -> None:
        """Newly owned: forget what was remembered, publish what an earlier owner stored and could not publish."""
        self._positions.clear()
        self._attempted.clear()
        await self._publish([partition for _, partition in partitions])

    async def do(self, batch: Sequence[Incoming]) -> Outcome:
        """Book a batch. Raises Fenced when another worker owns a partition, TransientError when Postgres is away."""
        by_partition: dict[int, list[Incoming]] = defaultdict(list)
        for record in batch:
            by_partition[record.partition].append(record)
        for partition, records in by_partition.items():
            await self._book(partition, records)
            await self._publish([partition])
        return Outcome()

    async def published(self, outcome: Outcome) -> None:
        """Nothing to do: the ledger publishes from its outboxes itself."""

    async def _book(self, partition: int, records: list[Incoming]) -> None:
        position = await self._position(partition)
        due = [record for record in records if record.offset >= position[0]]
        for expected, record in enumerate(due, start=position[0]):
            if record.offset != expected:
                raise RuntimeError(f"{record.topic}[{partition}] jumps from {expected} to {record.offset}")
        inputs = [self._decode(record) for record in due]
        while inputs:
            together = 1 if position[1] else _together(inputs)  # a large input is resumed alone
            position, booked = await self._transaction(partition, position, inputs[:together])
            inputs = inputs[booked:]
            if not booked:
                await self._publish([partition])  # between the slices of a large input

    async def _position(self, partition: int) -> Position:
        if partition not in self._positions:
            parameters = {"generation": self._generation, "partition": partition}
            async with transaction(self._connections) as connection:
                await connection.execute(_SQL["position_create"], parameters)
                row = await (await connection.execute(_SQL["position_lock"], parameters)).fetchone()
            if row is None:
                raise RuntimeError(f"the position of partition {partition} cannot be created")
            self._positions[partition] = (row[0], row[1])
        return self._positions[partition]

    async def _transaction(
        self, partition: int, expected: Position, due: "list[Item | Unworkable]"
    ) -> tuple[Position, int]:
        """Book as many inputs as go together; the new position, and how many are finished: 0 after a mere slice."""
        await self._sealer.load({each.envelope.company_id for each in due if isinstance(each, Item)})
        async with transaction(self._connections) as connection:
            await self._lock(connection, partition, expected)
            batch, finished, slice_text = await self._decide(connection, due, expected[1])
            await self._write(connection, partition, batch)
            after = (due[finished - 1].record.offset + 1 if finished else expected[0], slice_text)
            await self._advance(connection, partition, expected, after)
            self._attempted[partition] = after
        self._positions[partition] = after
        self._parked = self._parked or bool(batch.unworkable)
        self.progress += 1
        return after, finished

    async def _lock(self, connection: Connection, partition: int, expected: Position) -> None:
        parameters = {"generation": self._generation, "partition": partition}
        row = await (await connection.execute(_SQL["position_lock"], parameters)).fetchone()
        found = None if row is None else (row[0], row[1])
        if found == expected:
            return
        self._positions.pop(partition, None)
        if row is not None and row[2] == self._writer and found == self._attempted.get(partition):
            raise TransientError(f"partition {partition}: the last commit went through, though nobody said so")
        raise Fenced(f"partition {partition} stands at {found}, not at {expected}: another worker owns it")

    async def _advance(self, connection: Connection, partition: int, expected: Position, after: Position) -> None:
        parameters = {
            "generation": self._generation,
            "partition": partition,
            "expected_offset": expected[0],
            "expected_slice": expected[1],
            "next_offset": after[0],
            "slice": after[1],
            "writer": self._writer,
        }
        cursor = await connection.execute(_SQL["position_set"], parameters)
        if cursor.rowcount != 1:
            raise Fenced(f"partition {partition} moved while it was worked: another worker owns it")

    # --- deciding ------------------------------------------------------------------------------------------------

    async def _decide(
        self, connection: Connection, due: "list[Item | Unworkable]", slice_text: str
    ) -> tuple[_Batch, int, str]:
        batch = _Batch(unworkable=[each for each in due if isinstance(each, Unworkable)])
        items = [each for each in due if isinstance(each, Item)]
        loader = Loader(connection, self._generation)
        companies = await loader.companies({item.envelope.company_id for item in items})
        items = [opened for item in items if (opened := self._open(item, companies, batch)) is not None]
        books = await loader.books(items, companies)
        harmless = await loader.without_documents(items, books)
        answered = await loader.answered(items)
        for item in items:
            if slice_text and item.record.offset == due[0].record.offset:
                return await self._slice(loader, batch, item, books, Progress.from_text(slice_text))
            if _decision_id(item) in answered:
                self._trace(batch, item, "answered before")
                continue
            decision = decide(books[item.envelope.company_id], item.change, item.envelope.recorded_at, item.opened)
            reaches = decision.reach and not _is_harmless(decision.reach, item, harmless, batch)
            if reaches and due[0].record.offset < item.record.offset:
                _forget_from(batch, item.record.offset)
                return batch, sum(each.record.offset < item.record.offset for each in due), ""
            self._take(batch, books, item, decision)
            if reaches:
                await self._write_heads(connection, batch)
                return await self._slice(loader, batch, item, books, Progress(decision.reach, ("", ""), 0))
        return batch, len(due), ""

    async def _slice(
        self, loader: "Loader", batch: _Batch, item: Item, books: dict[str, Books], progress: Progress
    ) -> tuple[_Batch, int, str]:
        """Settle the next documents that a change reaches; the last slice finishes the input."""
        company_id = item.envelope.company_id
        keys = await loader.reached(company_id, progress.reach, progress.after, SLICE_DOCUMENTS)
        await loader.extend(books[company_id], keys)
        decision = redecide(books[company_id], keys, progress.reach)
        moved = progress.moved + len(decision.moved)
        more = len(keys) == SLICE_DOCUMENTS
        if not more and isinstance(item.change, REQUESTS):
            decision.notices.append(accepted(item.change, moved))
        self._stage(batch, books, item, decision)
        if more:
            return batch, 0, Progress(progress.reach, keys[-1], moved, progress.settled + len(keys)).to_text()
        return batch, 1, ""

    def _decode(self, record: Incoming) -> "Item | Unworkable":
        try:
            message = self._ids.decode(record.value)
            if not isinstance(message.body, changes.Change):
                raise UnprocessableError(f"{type(message.body).__name__} is no input of the ledger")
            if message.envelope.company_id != record.key:
                raise UnprocessableError(f"an input of company {message.envelope.company_id} has the key {record.key}")
            refuse_unknown(message.body)
            return Item(record, message.envelope, message.body, None)
        except UnprocessableError as error:
            return Unworkable(record=record, error=error)

    def _open(self, item: Item, companies: dict[str, Company], batch: _Batch) -> Item | None:
        if not isinstance(item.change, changes.RecordRead):
            return item
        company_id, change = item.envelope.company_id, item.change
        try:
            raw = self._sealer.open(company_id, "record", change.sealed)
            record = parse_record(change.record_type, raw, companies[company_id].home_currency)
            if record.record_id != change.record_id:
                raise UnprocessableError(f"the record inside is {record.record_id}, not {change.record_id}")
        except ForgottenError:
            self._trace(batch, item, "forgotten")
            return None
        except UnprocessableError as error:
            batch.unworkable.append(
                Unworkable(record=item.record, error=error, record_type=change.record_type, record_id=change.record_id)
            )
            self._trace(batch, item, "parked")
            return None
        if isinstance(record, Payment) and change.related:
            record = self._with_journals(company_id, record, raw, change.related)
        return item._replace(opened=self._opened(company_id, record))

    def _with_journals(
        self, company_id: str, payment: Payment, raw: bytes, related: Sequence[changes.RelatedRecord]
    ) -> Payment:
        """What its journal entries say of their side; one that cannot be understood leaves its side open."""
        journals = {}
        for each in related:
            if each.record_type == JOURNAL_ENTRY:
                with suppress(UnprocessableError):
                    journals[each.record_id] = parse_journal(self._sealer.open(company_id, "record", each.sealed))
        return with_sides(payment, receivables_account(raw), journals)

    def _opened(self, company_id: str, record: Any) -> Opened:
        if not isinstance(record, Customer):
            return Opened(record)
        names = json.dumps({"display_name": record.display_name, "full_name": record.full_name}).encode()
        return Opened(record, self._sealer.seal(company_id, "names", names), self._sealer.mac(company_id, names))

    def _take(self, batch: _Batch, books: dict[str, Books], item: Item, decision: Decision) -> None:
        """Keep what was decided for writing, and say what became of the input."""
        self._stage(batch, books, item, decision)
        company_id = item.envelope.company_id
        for decision_id, (is_accepted, answer) in decision.answered.items():
            batch.answered.append(
                {"company_id": company_id, "decision_id": decision_id, "accepted": is_accepted, "answer": answer}
            )
            if is_accepted and not decision.reach:
                notice = accepted(item.change, len(decision.moved))
                self._stage(batch, books, item, Decision(notices=[notice]))
        self._trace(batch, item, decision.outcome)
        if isinstance(item.change, changes.RecordRead) and not decision.outcome.startswith("older"):
            batch.read_again.append((company_id, *item.key, item.record.offset))

    def _stage(self, batch: _Batch, books: dict[str, Books], item: Item, decision: Decision) -> None:
        company_id, offset = item.envelope.company_id, item.record.offset
        absorb(books[company_id], decision)
        rules_version = books[company_id].company.rules_version
        batch.documents.update({(company_id, key): document for key, document in decision.documents.items()})
        batch.customers.update({(company_id, key): customer for key, customer in decision.customers.items()})
        batch.projects.update({(company_id, key): closed for key, closed in decision.projects.items()})
        batch.quickbooks_projects.update({(company_id, ref): to for ref, to in decision.quickbooks_projects.items()})
        batch.facts_of[company_id] = books[company_id].company
        if decision.company is not None:
            batch.companies[company_id] = decision.company
        for key in decision.reads:
            batch.reads.setdefault((company_id, key), item)
        for fact in decision.facts:
            make = partial(self._accounting_event, item, rules_version, fact)
            batch.staged.append(Staged(PROJECT, fact.project_id, company_id, offset, make))
        for notice in decision.notices:
            make_notice = partial(self._company_event, item, rules_version, notice)
            batch.staged.append(Staged(COMPANY, company_id, company_id, offset, make_notice))

    def _accounting_event(
        self, item: Item, rules_version: int, fact: Fact, event_id: UUID, version: int
    ) -> Recorded[Any, Any]:
        envelope = accounting.Envelope(
            event_id=event_id,
            generation=self._generation,
            project_id=fact.project_id,
            version=version,
            rules_version=rules_version,
            company_id=item.envelope.company_id,
            record_type=fact.record[0],
            record_id=fact.record[1],
            revised_at=None if fact.revision is None else fact.revision.revised_at,
            sync_token=None if fact.revision is None else fact.revision.sync_token,
            origin=item.envelope.origin,
            reason=fact.reason,
            accounting_on=fact.accounting_on,
            recorded_at=item.envelope.recorded_at,
            correlation_id=item.envelope.correlation_id,
            causation_id=str(item.envelope.change_id),
        )
        return Recorded(envelope, fact.body)

    def _company_event(
        self, item: Item, rules_version: int, notice: Notice, event_id: UUID, version: int
    ) -> Recorded[Any, Any]:
        envelope = company_schemas.Envelope(
            event_id=event_id,
            generation=self._generation,
            company_id=item.envelope.company_id,
            version=version,
            rules_version=rules_version,
            record_type=notice.record[0],
            record_id=notice.record[1],
            origin=item.envelope.origin,
            recorded_at=item.envelope.recorded_at,
            correlation_id=item.envelope.correlation_id,
            causation_id=str(item.envelope.change_id),
        )
        return Recorded(envelope, notice.body)

    def _trace(self, batch: _Batch, item: Item, outcome: str) -> None:
        envelope, record = item.envelope, item.record
        batch.trail.append(
            (
                self._generation,
                record.partition,
                record.offset,
                envelope.change_id,
                envelope.company_id,
                type(item.change).__name__,
                *item.key,
                envelope.origin,
                envelope.recorded_at,
                envelope.correlation_id,
                outcome,
            )
        )
        causes = {envelope.correlation_id, *(cause.cause_id for cause in envelope.causes)}
        batch.causes += [(self._generation, cause, record.partition, record.offset) for cause in sorted(causes)]

    # --- writing -------------------------------------------------------------------------------------------------

    async def _write(self, connection: Connection, partition: int, batch: _Batch) -> None:
        await self._log.append(connection, partition, batch.staged, partial(self._write_heads, connection, batch))
        await _copy(connection, "inputs", _TRAIL, _TRAIL_TYPES, batch.trail)
        await _copy(connection, "causes", _CAUSES, _CAUSES_TYPES, batch.causes)
        await self._execute(connection, "requests_insert", batch.answered)
        await self._execute(connection, "read_requests_insert", _read_requests(batch), partition=partition)
        if batch.unworkable:
            await self._parking.park(connection, STEP, batch.unworkable)
        if batch.read_again:
            await self._parking.supersede(connection, STEP, batch.read_again)

    async def _write_heads(self, connection: Connection, batch: _Batch) -> None:
        """Companies, projects, customers, documents; emptied, so that a second call writes nothing twice."""
        rows = [
            {"project_id": project_id, "company_id": company_id, "closed": closed}
            for (company_id, project_id), closed in batch.projects.items()
        ]
        await self._execute(connection, "companies_upsert", [company_row(c) for c in batch.companies.values()])
        await self._execute(connection, "projects_upsert", rows)
        links = [
            {"company_id": company_id, "project_ref": ref, **link._asdict()}
            for (company_id, ref), link in batch.quickbooks_projects.items()
        ]
        await self._execute(connection, "quickbooks_projects_upsert", links)
        customers = [customer_row(company_id, state) for (company_id, _), state in batch.customers.items()]
        await self._execute(connection, "customers_upsert", customers)
        documents = [
            document_row(batch.facts_of[company_id], document) for (company_id, _), document in batch.documents.items()
        ]
        await self._execute(connection, "documents_upsert", documents)
        await self._write_links(connection, batch)
        for written in (batch.companies, batch.projects, batch.quickbooks_projects, batch.customers, batch.documents):
            written.clear()

    async def _write_links(self, connection: Connection, batch: _Batch) -> None:
        payments, rows = [], []
        for (company_id, (record_type, record_id)), document in batch.documents.items():
            if record_type != PAYMENT or not isinstance(document.head, Payment):
                continue
            payments.append({"company_id": company_id, "record_id": record_id})
            for line in document.head.lines:
                row = {"company_id": company_id, "payment_id": record_id}
                rows.append(row | {"record_type": line.record_type, "record_id": line.record_id})
        if payments:
            parameters = {"generation": self._generation, "payments": json.dumps(payments)}
            await connection.execute(_SQL["links_delete"], parameters)
        await self._execute(connection, "links_insert", rows)

    async def _execute(self, connection: Connection, query: str, rows: list[dict[str, Any]], **more: object) -> None:
        if rows:
            parameters = {"generation": self._generation, "rows": json.dumps(rows), **more}
            await connection.execute(_SQL[query], parameters)

    # --- publishing ----------------------------------------------------------------------------------------------

    async def _publish(self, partitions: Iterable[int]) -> None:
        """Both outboxes. What is published twice is recognised by its version, or costs one more read."""
        owned = sorted(partitions)
        if owned:
            await self._log.publish(self._connections, owned)
            while await self._publish_read_requests(owned):
                pass
        if self._parked:
            await self._parking.publish_unpublished()
            self._parked = False

    async def _publish_read_requests(self, partitions: list[int]) -> bool:
        """Some of them; whether there may be more."""
        parameters = {"generation": self._generation, "partitions": partitions}
        async with transaction(self._connections) as connection:
            due = await (await connection.execute(_SQL["read_requests_due"], parameters)).fetchall()
        if not due:
            return False
        await self._publisher.publish(_read_request_messages(due, self._topics))
        names = ("company_id", "record_type", "record_id", "change_id")
        rows = json.dumps([dict(zip(names, map(str, row[:4]), strict=True)) for row in due])
        async with transaction(self._connections) as connection:
            await connection.execute(_SQL["read_requests_done"], parameters | {"rows": rows})
        return len(due) == READ_REQUESTS_AT_ONCE


def _together(inputs: "list[Item | Unworkable]") -> int:
    """How many of the first inputs one transaction may take: what can reach many documents stands alone."""
    alone = (i for i, each in enumerate(inputs) if isinstance(each, Item) and isinstance(each.change, _LARGE))
    return max(1, next(alone, len(inputs)))


def _is_harmless(reach: Reach, item: Item, harmless: set[tuple[str, str]], batch: _Batch) -> bool:
    """Nobody's documents are reached, neither stored ones nor those of this batch."""
    company_id = item.envelope.company_id
    if (
        reach.everything
        or reach.references
        or reach.project_refs
        or not all((company_id, c) in harmless for c in reach.customers)
    ):
        return False
    return not any(owner == company_id for owner, _ in batch.documents)


def _forget_from(batch: _Batch, offset: int) -> None:
    """A large input and what comes after it are met again, with the next transaction."""
    batch.unworkable = [unworkable for unworkable in batch.unworkable if unworkable.record.offset < offset]
    batch.trail = [row for row in batch.trail if row[2] < offset]
    batch.causes = [row for row in batch.causes if row[3] < offset]


def _decision_id(item: Item) -> str | None:
    return item.change.decision_id if isinstance(item.change, REQUESTS) else None


# --- rows --------------------------------------------------------------------------------------------------------

_TRAIL = (
    'generation, "partition", "offset", change_id, company_id, change_type, record_type, record_id, origin, '
    "recorded_at, correlation_id, outcome"
)
_TRAIL_TYPES = "int4 int4 int8 uuid text text text text text timestamptz text text".split()  # noqa: SIM905 (a table)
_CAUSES = 'generation, cause_id, "partition", "offset"'
_CAUSES_TYPES = ["int4", "text", "int4", "int8"]


async def _copy(
    connection: Connection, table: str, columns: str, types: list[str], rows: list[tuple[Any, ...]]
) -> None:
    if not rows:
        return
    statement = f"COPY ledger.{table} ({columns}) FROM STDIN (FORMAT BINARY)"  # constants of this module
    async with connection.cursor().copy(statement.encode()) as copy:
        copy.set_types(types)
        for row in rows:
            await copy.write_row(row)


def _read_requests(batch: _Batch) -> list[dict[str, Any]]:
    return [
        {
            "company_id": company_id,
            "record_type": record_type,
            "record_id": record_id,
            "change_id": str(item.envelope.change_id),
            "correlation_id": item.envelope.correlation_id,
            "requested_at": item.envelope.recorded_at.isoformat(),
            "why": f"{item.key[0]} {item.key[1]} needs it".strip(),
        }
        for (company_id, (record_type, record_id)), item in sorted(batch.reads.items(), key=lambda entry: entry[0])
    ]


def _read_request_messages(due: list[tuple[Any, ...]], topics: Topics) -> list[Outgoing]:
    """One message for each company and cause."""
    grouped: dict[tuple[Any, ...], list[changes.RecordName]] = defaultdict(list)
    for company_id, record_type, record_id, *cause in due:
        grouped[company_id, *cause].append(changes.RecordName(record_type=record_type, record_id=record_id))
    messages = []
    for (company_id, change_id, correlation_id, requested_at, why), records in grouped.items():
        envelope = changes.Envelope(
            change_id=uuid5(EVENT_NAMESPACE, f"read/{change_id}/{records}"),
            company_id=company_id,
            origin="request",
            recorded_at=requested_at,
            correlation_id=correlation_id,
            causes=(),
        )
        message = Recorded(envelope, changes.ReadRequest(records=tuple(records), why=why))
        messages.append(Outgoing(topic=topics.read_requests.name, key=company_id, value=topics.ids.encode(message)))
    return messages
