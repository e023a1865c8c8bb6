"""The books in their tables: load what a batch needs with every neighbour, and turn states into rows and back.

Reads: ledger.companies, projects, customers, documents, links, requests. Writes: nothing; `streams.bookkeeping` does.
Guarantees: the number of queries does not depend on the size of the batch.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

from connectors.postgres import Connection, queries
from schemas import changes
from schemas.quickbooks import CUSTOMER, PAYMENT, SALES, Customer, Payment
from schemas.wire import Incoming
from streams.asking import subject
from streams.books import (
    Books,
    Company,
    CustomerState,
    Document,
    Key,
    Merge,
    Naming,
    QuickBooksProject,
    Revision,
    Scope,
    booking_from_plain,
    booking_to_plain,
    head_from_plain,
    head_to_plain,
)
from streams.decision import PROJECT_REF, REQUESTS, Opened, Reach
from streams.exchange import abroad
from streams.merges import merged_with
from streams.placement import reference_of

_SQL = queries("ledger.sql")


class Item(NamedTuple):
    """One input, decoded; `opened` for a record as read."""

    record: Incoming
    envelope: changes.Envelope
    change: Any
    opened: Opened | None

    @property
    def key(self) -> Key:
        """The record that the input speaks of."""
        change = self.change
        if isinstance(change, changes.RecordRead | changes.RecordGone | changes.RecordAbsent):
            return change.record_type, change.record_id
        if isinstance(change, REQUESTS):
            return subject(change)
        if isinstance(change, changes.MergeNotice):
            return CUSTOMER, change.kept_customer_id
        return "", ""


class Loader:
    """Loads the books that a batch needs, with every neighbour, in a constant number of queries."""

    def __init__(self, connection: Connection, generation: int) -> None:
        self._connection, self._generation = connection, generation

    async def companies(self, company_ids: set[str]) -> dict[str, Company]:
        """Known or not: an unknown company has no facts yet."""
        found = {company_id: Company(company_id) for company_id in company_ids}
        parameters = {"generation": self._generation, "company_ids": sorted(company_ids)}
        cursor = await self._connection.execute(_SQL["companies"], parameters)
        for company_id, home, several, closed_on, fields, active, rules, merges in await cursor.fetchall():
            merged = tuple(map(merge_from_row, merges))
            found[company_id] = Company(company_id, home, several, closed_on, tuple(fields), active, rules, merged)
        return found

    async def books(self, items: Sequence[Item], companies: dict[str, Company]) -> dict[str, Books]:
        """The books of every company of the batch."""
        books = {company_id: Books(company) for company_id, company in companies.items()}
        changed = {(item.envelope.company_id, item.key) for item in items if item.key[0] in (*SALES, PAYMENT)}
        named = {
            (item.envelope.company_id, (line.record_type, line.record_id))
            for item in items
            if item.opened is not None and isinstance(item.opened.record, Payment)
            for line in item.opened.record.lines
        }
        await self._documents(books, changed, named)
        await self._sharing(books, items)
        customers = {(item.envelope.company_id, item.key[1]) for item in items if item.key[0] == CUSTOMER}
        customers |= {
            (item.envelope.company_id, item.opened.record.customer_id)
            for item in items
            if item.opened is not None and not isinstance(item.opened.record, Customer)
        }
        parents = {
            (item.envelope.company_id, item.opened.record.parent_id)
            for item in items
            if item.opened is not None and isinstance(item.opened.record, Customer) and item.opened.record.parent_id
        }
        merged = {
            (item.envelope.company_id, item.change.vanished_customer_id)
            for item in items
            if isinstance(item.change, changes.MergeNotice)
        }
        await self._customers(books, customers | parents | merged)
        await self._references(books, items)
        await self._quickbooks_projects(books, items)
        return books

    async def extend(self, books: Books, keys: Sequence[Key]) -> None:
        """Load further documents with their neighbours, customers and references."""
        company_id = books.company.company_id
        more = {company_id: books}
        await self._documents(more, {(company_id, key) for key in keys}, set())
        await self._sharing(more, [])
        await self._customers(more, set())
        await self._references(more, [])
        await self._quickbooks_projects(more, [])

    async def reached(self, company_id: str, reach: Reach, after: Key, at_most: int) -> list[Key]:
        """The next documents that a change reaches, in a fixed order."""
        parameters = self._reached(company_id, reach, after, at_most)
        cursor = await self._connection.execute(_SQL["documents_reached"], parameters)
        return [(record_type, record_id) for record_type, record_id in await cursor.fetchall()]

    async def count_reached(self, company_id: str, reach: Reach) -> int:
        """How many documents a change reaches."""
        statement = "SELECT count(*) FROM (" + _SQL["documents_reached"] + ") AS reached"  # noqa: S608 (constants)
        cursor = await self._connection.execute(statement, self._reached(company_id, reach, ("", ""), None))
        ((count,),) = await cursor.fetchall()
        return int(count)

    def _reached(self, company_id: str, reach: Reach, after: Key, at_most: int | None) -> dict[str, Any]:
        return {
            "generation": self._generation,
            "company_id": company_id,
            "customers": sorted(reach.customers),
            "references": sorted(reach.references),
            "everything": reach.everything,
            "project_refs": sorted(reach.project_refs),
            "after_type": after[0],
            "after_length": len(after[1]),
            "after_id": after[1],
            "at_most": at_most,
        }

    async def without_documents(self, items: Sequence[Item], books: dict[str, Books]) -> set[tuple[str, str]]:
        """Customers of the batch that no kept document belongs to: reading them for the first time moves nothing."""
        customers = {
            (item.envelope.company_id, item.key[1])
            for item in items
            if isinstance(item.change, changes.RecordRead) and item.key[0] == CUSTOMER
        }
        new = {(c, i) for c, i in customers if _is_new(items, books[c].customers.get(i), i)}
        if not new:
            return set()
        rows = await self._rows("customers_with_documents", [{"company_id": c, "customer_id": i} for c, i in new])
        return new - {(company_id, customer_id) for company_id, customer_id in rows}

    async def answered(self, items: Sequence[Item]) -> set[str]:
        """Decision ids of the batch that have their answer already."""
        asked = [
            {"company_id": item.envelope.company_id, "decision_id": item.change.decision_id}
            for item in items
            if isinstance(item.change, REQUESTS)
        ]
        return {decision_id for _, decision_id in await self._rows("requests_answered", asked)}

    async def _documents(
        self, books: dict[str, Books], changed: set[tuple[str, Key]], named: set[tuple[str, Key]]
    ) -> None:
        for company_id, record_type, record_id, payment_id in await self._rows("payers", _asked(changed)):
            books[company_id].payers.setdefault((record_type, record_id), set()).add(payment_id)
            named = named | {(company_id, (PAYMENT, payment_id))}
        for row in await self._rows("documents", _asked(changed | named)):
            company_id, document = row[0], _document(row)
            books[company_id].documents.setdefault(document.key, document)

    async def _sharing(self, books: dict[str, Books], items: Sequence[Item]) -> None:
        """All payments of the foreign documents in reach, and of what those settle: their cents hang together."""
        seen: set[tuple[str, Key]] = set()
        for _ in range(2):
            new = _foreign_targets(books, items) - seen
            if not new:
                return
            seen |= new
            await self._documents(books, new, set())

    async def _customers(self, books: dict[str, Books], customers: set[tuple[str, str]]) -> None:
        of_documents = {
            (company_id, document.head.customer_id)
            for company_id, of_company in books.items()
            for document in of_company.documents.values()
            if document.head is not None
        }
        wanted = _with_merged(books, customers | of_documents)
        asked = [{"company_id": company_id, "customer_id": i} for company_id, i in sorted(wanted)]
        for row in await self._rows("customers", asked):
            books[row[0]].customers.setdefault(row[1], _customer_state(row))

    async def _references(self, books: dict[str, Books], items: Sequence[Item]) -> None:
        """Which projects the references of these documents and requests name."""
        asked = {
            (company_id, text.lower())
            for company_id, of_company in books.items()
            for head in _heads(of_company, items, company_id)
            if (text := reference_of(of_company.company, head)) is not None
        } | {(item.envelope.company_id, text.lower()) for item in items for text in _projects_of(item.change)}
        rows = [{"company_id": company_id, "project_id": text} for company_id, text in sorted(asked)]
        for company_id, number, project_id, customer_id in await self._rows("reference_numbers", rows):
            if not _is_superseded(books[company_id], customer_id, number, project_id):
                books[company_id].references.setdefault(number, set()).add(Naming(project_id, customer_id))
        for company_id, project_id, closed, own in await self._rows("projects", rows):
            if own:
                books[company_id].projects.setdefault(project_id, closed)
                books[company_id].references.setdefault(project_id.lower(), set()).add(Naming(project_id, ""))
            else:
                books[company_id].foreign.add(project_id)

    async def _quickbooks_projects(self, books: dict[str, Books], items: Sequence[Item]) -> None:
        """What is linked to the projects of QuickBooks that these documents and requests name."""
        asked = {
            (company_id, head.project_ref)
            for company_id, of_company in books.items()
            for head in _heads(of_company, items, company_id)
            if head.project_ref is not None
        } | {(item.envelope.company_id, item.key[1]) for item in items if item.key[0] == PROJECT_REF}
        rows = [{"company_id": company_id, "project_ref": ref} for company_id, ref in sorted(asked)]
        for company_id, ref, project_id, version in await self._rows("quickbooks_projects", rows):
            books[company_id].quickbooks_projects.setdefault(ref, QuickBooksProject(project_id, version))

    async def _rows(self, query: str, asked: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
        if not asked:
            return []
        parameters = {"generation": self._generation, "asked": json.dumps(asked)}
        return await (await self._connection.execute(_SQL[query], parameters)).fetchall()


def _heads(books: Books, items: Sequence[Item], company_id: str) -> Iterable[Any]:
    for document in books.documents.values():
        if document.head is not None:
            yield document.head
    for item in items:
        opened = item.opened
        if opened is not None and item.envelope.company_id == company_id and not isinstance(opened.record, Customer):
            yield opened.record


def _foreign_targets(books: dict[str, Books], items: Sequence[Item]) -> set[tuple[str, Key]]:
    """What payments in a foreign currency settle."""
    return {
        (company_id, (line.record_type, line.record_id))
        for company_id, of_company in books.items()
        for head in _heads(of_company, items, company_id)
        if isinstance(head, Payment) and abroad(of_company.company, head.total.currency)
        for line in head.lines
        if line.record_type in SALES
    }


def _with_merged(books: dict[str, Books], customers: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """These customers, and those that QuickBooks merged with them."""
    merging = {company_id: of_company.company for company_id, of_company in books.items() if of_company.company.merges}
    if not merging:
        return customers
    return customers | {
        (company_id, other)
        for company_id, state in merging.items()
        for other in merged_with(state, {i for owner, i in customers if owner == company_id})
    }


def _is_superseded(books: Books, customer_id: str, number: str, project_id: str) -> bool:
    """The books hold a newer mapping of this customer, not written yet, that does not give this number."""
    loaded = books.customers.get(customer_id)
    return loaded is not None and (number, project_id) not in {
        (scope.reference_number.lower(), scope.project_id) for scope in loaded.scopes
    }


def _projects_of(change: Any) -> list[str]:
    if isinstance(change, changes.MapCustomer):
        return [text.strip() for text in (change.project_id, change.reference_number) if text.strip()]
    if isinstance(change, changes.ProjectDeclared | changes.ProjectClosed):
        return [change.project_id]
    if isinstance(change, changes.AssignDocument | changes.LinkQuickBooksProject) and change.project_id:
        return [change.project_id]
    return []


def _is_new(items: Sequence[Item], known: CustomerState | None, customer_id: str) -> bool:
    """Its place in the family is not what is known: only then can reading it move documents."""
    read = (item.opened.record for item in items if item.opened is not None)
    parents = {r.parent_id for r in read if isinstance(r, Customer) and r.record_id == customer_id}
    return known is None or parents != {known.parent_id}


def _asked(keys: set[tuple[str, Key]]) -> list[dict[str, Any]]:
    return [{"company_id": c, "record_type": t, "record_id": i} for c, (t, i) in sorted(keys)]


def _document(row: tuple[Any, ...]) -> Document:
    _, record_type, record_id, revised_at, sync_token, read_at, gone_at, assigned, head, booked, *more = row
    named, absent_at, assignment_version = more
    return Document(
        record_type=record_type,
        record_id=record_id,
        revision=None if revised_at is None else Revision(revised_at, sync_token, read_at),
        gone_at=gone_at,
        head=None if head is None else head_from_plain((record_type, record_id), head),
        assigned=assigned,
        booked=booking_from_plain(booked),
        named={i: (datetime.fromisoformat(first), datetime.fromisoformat(last)) for i, (first, last) in named.items()},
        absent_at=absent_at,
        assignment_version=assignment_version,
    )


def _customer_state(row: tuple[Any, ...]) -> CustomerState:
    _, customer_id, revised_at, sync_token, read_at, parent_id, active, currency, mac, state, scopes, version = row
    return CustomerState(
        customer_id=customer_id,
        revision=Revision(revised_at, sync_token, read_at),
        parent_id=parent_id,
        active=active,
        currency=currency,
        names_mac=bytes(mac),
        mapping_state=state,
        scopes=tuple(Scope(s["project_id"], _day(s["from_on"]), s["reference_number"]) for s in scopes),
        mapping_version=version,
    )


def _day(text: str | None) -> date | None:
    return None if text is None else date.fromisoformat(text)


def _instant(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat()


def merge_from_row(plain: dict[str, Any]) -> Merge:
    """A merge as `company_row` wrote it. Whatever a later version adds has its default here."""
    given = {name: plain[name] for name in Merge._fields if name in plain}
    given |= {name: tuple(plain[name]) for name in ("told", "gone") if name in plain}
    given |= {"noticed_at": datetime.fromisoformat(plain["noticed_at"])}
    return Merge(**given)


def company_row(state: Company) -> dict[str, Any]:
    """A row of ledger.companies, as JSON."""
    return {
        "company_id": state.company_id,
        "home_currency": state.home_currency,
        "several_currencies": state.several_currencies,
        "books_closed_on": None if state.books_closed_on is None else state.books_closed_on.isoformat(),
        "reference_fields": list(state.reference_fields),
        "active": state.active,
        "rules_version": state.rules_version,
        "merges": [merge._asdict() | {"noticed_at": _instant(merge.noticed_at)} for merge in state.merges],
    }


def customer_row(company_id: str, state: CustomerState) -> dict[str, Any]:
    """A row of ledger.customers, as JSON."""
    return {
        "company_id": company_id,
        "customer_id": state.customer_id,
        "revised_at": _instant(state.revision.revised_at),
        "sync_token": state.revision.sync_token,
        "read_at": _instant(state.revision.read_at),
        "parent_id": state.parent_id,
        "active": state.active,
        "currency": state.currency,
        "names_mac": state.names_mac.hex(),
        "mapping_state": state.mapping_state,
        "scopes": [
            {
                "project_id": scope.project_id,
                "from_on": None if scope.from_on is None else scope.from_on.isoformat(),
                "reference_number": scope.reference_number,
            }
            for scope in state.scopes
        ],
        "mapping_version": state.mapping_version,
    }


def document_row(company: Company, document: Document) -> dict[str, Any]:
    """A row of ledger.documents, as JSON; the company says which field is the Reference Number."""
    head, revision = document.head, document.revision
    reference = None if head is None else reference_of(company, head)
    read_at = revision.read_at if revision is not None else document.gone_at
    return {
        "company_id": company.company_id,
        "record_type": document.record_type,
        "record_id": document.record_id,
        "revised_at": None if revision is None else _instant(revision.revised_at),
        "sync_token": None if revision is None else revision.sync_token,
        "read_at": _instant(read_at),
        "gone_at": _instant(document.gone_at),
        "customer_id": None if head is None else head.customer_id,
        "reference": None if reference is None else reference.lower(),
        "assigned": document.assigned,
        "head": None if head is None else head_to_plain(head),
        "booked": booking_to_plain(document.booked),
        "project_ref": None if head is None else head.project_ref,
        "named": {i: [first.isoformat(), last.isoformat()] for i, (first, last) in document.named.items()},
        "absent_at": _instant(document.absent_at),
        "assignment_version": document.assignment_version,
    }
