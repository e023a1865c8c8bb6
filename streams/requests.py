"""Requests of people and declarations of IntoAEC, as inputs of the ledger; the answer is the ledger's.

Writes: company-changes, and control.project_owners (a project belongs to one company: it is claimed before it is
declared). Reads: ledger.requests, positions, causes and events, and the versions that a person sees.
Safe twice: a decision id is answered once.
Guarantees: a text that the ledger or Postgres could not keep raises RequestProblem before anything is written.
Source: design section 2, "Requests of people are requests".
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, LiteralString, NamedTuple
from uuid import uuid4

from psycopg_pool import AsyncConnectionPool

from connectors.postgres import Connection, transaction
from schemas import changes
from schemas.codec import Recorded
from schemas.quickbooks import CUSTOMER, RECORD_TYPES
from schemas.topics import Topics
from schemas.wire import Outgoing
from streams.book_store import Loader
from streams.decision import Progress
from streams.event_log import Publishes

ANSWER_POLL_S = 0.05
DOCUMENTS = tuple(record_type for record_type in RECORD_TYPES if record_type != CUSTOMER)
TEXT_MAX = 200


class RequestProblem(Exception):
    """A request that cannot be made; the text is for the person who asked."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What the ledger said."""

    decision_id: str
    accepted: bool
    answer: str  # why not; empty when accepted


class Moved(NamedTuple):
    """How far the ledger is with what an accepted request moves."""

    is_done: bool
    moved: int  # documents so far
    settled: int = 0  # documents looked at so far, while it is not done
    reached: int = 0  # documents to look at


@dataclass(frozen=True, slots=True)
class Mapping:
    """A customer into a project."""

    customer_id: str
    project_id: str
    reference_number: str = ""
    from_on: date | None = None


class Requests:
    """Publishes requests and waits for their answers."""

    def __init__(
        self,
        connections: AsyncConnectionPool[Connection],
        publisher: Publishes,
        topics: Topics,
        *,
        generation: int = 1,
    ) -> None:
        self._connections, self._publisher, self._ids = connections, publisher, topics.ids
        self._topics, self._generation = topics, generation

    async def declare(self, company_id: str, projects: Sequence[tuple[str, str]]) -> None:
        """IntoAEC has these projects (id, name). Raises RequestProblem for one that is another company's."""
        projects = [(_named(project_id, "project id"), _text(name, "project name")) for project_id, name in projects]
        ids = [project_id for project_id, _ in projects]
        async with transaction(self._connections) as connection:
            claim = (
                "INSERT INTO control.project_owners (project_id, company_id) SELECT unnest(%s::text[]), %s "
                "ON CONFLICT (project_id) DO NOTHING"
            )
            await connection.execute(claim, (ids, company_id))
            owned = "SELECT project_id FROM control.project_owners WHERE project_id = ANY(%s) AND company_id <> %s"
            foreign = await (await connection.execute(owned, (ids, company_id))).fetchall()
            if foreign:
                names = ", ".join(sorted(project_id for (project_id,) in foreign))
                raise RequestProblem(f"These projects belong to another QuickBooks company: {names}.")
        await self._publish(company_id, [changes.ProjectDeclared(project_id=i, name=name) for i, name in projects])

    async def map(self, company_id: str, person: str, mappings: Sequence[Mapping]) -> list[str]:
        """Ask to map these customers; returns the decision ids. One request for each customer."""
        person, mappings = _named(person, "person"), [_checked(mapping) for mapping in mappings]
        versions = await self._mapping_versions(company_id, [mapping.customer_id for mapping in mappings])
        requests = [
            changes.MapCustomer(
                decision_id=str(uuid4()),
                person=person,
                customer_id=mapping.customer_id,
                project_id=mapping.project_id,
                reference_number=mapping.reference_number,
                from_on=mapping.from_on,
                mapping_version=versions.get(mapping.customer_id, 0),
            )
            for mapping in mappings
        ]
        return await self._ask(company_id, requests)

    async def release(self, company_id: str, person: str, customer_id: str) -> str:
        """Ask to take a customer's mapping back; returns the decision id."""
        person, customer_id = _named(person, "person"), _id(customer_id, "customer id")
        request = changes.ReleaseCustomer(
            decision_id=str(uuid4()),
            person=person,
            customer_id=customer_id,
            mapping_version=await self._mapping_version(company_id, customer_id),
        )
        return (await self._ask(company_id, [request]))[0]

    async def exclude(self, company_id: str, person: str, customer_id: str, *, reference_only: bool = False) -> str:
        """Ask to leave a customer out, or to map it by reference only; returns the decision id."""
        person, customer_id = _named(person, "person"), _id(customer_id, "customer id")
        request = changes.ExcludeCustomer(
            decision_id=str(uuid4()),
            person=person,
            customer_id=customer_id,
            reference_only=reference_only,
            mapping_version=await self._mapping_version(company_id, customer_id),
        )
        return (await self._ask(company_id, [request]))[0]

    async def assign(self, company_id: str, person: str, record: tuple[str, str], project_id: str | None) -> str:
        """Ask to assign one document (type, id) to a project, or to none; returns the decision id."""
        person, record_type, record_id = _of_record(person, record)
        project_id = None if project_id is None else _named(project_id, "project id")
        seen = (
            "SELECT assignment_version FROM ledger.documents "
            "WHERE generation = %s AND company_id = %s AND record_type = %s AND record_id = %s"
        )
        request = changes.AssignDocument(
            decision_id=str(uuid4()),
            person=person,
            record_type=record_type,
            record_id=record_id,
            project_id=project_id,
            assignment_version=await self._seen(seen, company_id, record_type, record_id),
        )
        return (await self._ask(company_id, [request]))[0]

    async def link_project(self, company_id: str, person: str, project_ref: str, project_id: str | None) -> str:
        """Ask to link a project of QuickBooks to one of IntoAEC, or to none; returns the decision id."""
        person, project_ref = _named(person, "person"), _named(project_ref, "QuickBooks project")
        project_id = None if project_id is None else _named(project_id, "project id")
        seen = (
            "SELECT version FROM ledger.quickbooks_projects "
            "WHERE generation = %s AND company_id = %s AND project_ref = %s"
        )
        request = changes.LinkQuickBooksProject(
            decision_id=str(uuid4()),
            person=person,
            project_ref=project_ref,
            project_id=project_id,
            link_version=await self._seen(seen, company_id, project_ref),
        )
        return (await self._ask(company_id, [request]))[0]

    async def resolve_merge(self, company_id: str, person: str, vanished_customer_id: str, *, together: bool) -> str:
        """Ask to send a merged customer's documents with the kept one's, or to leave them; returns the decision id."""
        person, vanished = _named(person, "person"), _id(vanished_customer_id, "customer id")
        seen = (
            "SELECT (merge ->> 'version')::integer FROM ledger.companies, jsonb_array_elements(merges) AS merge "
            "WHERE generation = %s AND company_id = %s AND merge ->> 'vanished_id' = %s"
        )
        request = changes.ResolveMerge(
            decision_id=str(uuid4()),
            person=person,
            vanished_customer_id=vanished,
            together=together,
            merge_version=await self._seen(seen, company_id, vanished),
        )
        return (await self._ask(company_id, [request]))[0]

    async def dismiss_warning(self, company_id: str, person: str, record: tuple[str, str]) -> str:
        """Say that somebody has looked at a document that came back after its delete; returns the decision id."""
        person, record_type, record_id = _of_record(person, record)
        request = changes.DismissWarning(
            decision_id=str(uuid4()), person=person, record_type=record_type, record_id=record_id
        )
        return (await self._ask(company_id, [request]))[0]

    async def close_project(self, company_id: str, project_id: str) -> None:
        """IntoAEC closed a project: nothing new is mapped to it. Raises RequestProblem for another company's."""
        project_id = _named(project_id, "project id")
        owned = "SELECT 1 FROM control.project_owners WHERE project_id = %s AND company_id = %s"
        async with transaction(self._connections) as connection:
            if await (await connection.execute(owned, (project_id, company_id))).fetchone() is None:
                raise RequestProblem(f"Project {project_id} does not belong to this QuickBooks company.")
        await self._publish(company_id, [changes.ProjectClosed(project_id=project_id)])

    async def answers(
        self, company_id: str, decision_ids: Collection[str], *, within_s: float = 30.0
    ) -> list[Answered]:
        """The ledger's answers, in the order of the ids; those that did not come in time are missing."""
        query = (
            "SELECT decision_id, accepted, answer FROM ledger.requests "
            "WHERE generation = %s AND company_id = %s AND decision_id = ANY(%s)"
        )
        deadline = asyncio.get_running_loop().time() + within_s
        while True:
            async with transaction(self._connections) as connection:
                cursor = await connection.execute(query, (self._generation, company_id, list(decision_ids)))
                found = {row[0]: Answered(*row) for row in await cursor.fetchall()}
            if len(found) == len(decision_ids) or asyncio.get_running_loop().time() > deadline:
                return [found[decision_id] for decision_id in decision_ids if decision_id in found]
            await asyncio.sleep(ANSWER_POLL_S)

    async def moved(self, company_id: str, decision_id: str, *, stands_s: float = 30.0) -> AsyncIterator[Moved]:
        """How far an accepted request is, again and again; ends when it is done or has stood still for so long."""
        clock, last, reached = asyncio.get_running_loop().time, None, 0
        while True:
            async with transaction(self._connections) as connection:
                now = await self._moved(connection, company_id, decision_id, reached)
            if now != last:
                last, reached, deadline = now, now.reached, clock() + stands_s
            yield now
            if now.is_done or clock() > deadline:
                return
            await asyncio.sleep(ANSWER_POLL_S)

    async def _moved(self, connection: Connection, company_id: str, decision_id: str, reached: int) -> Moved:
        """The ledger says what was moved in the transaction that moves its position beyond the request."""
        position = (  # later inputs of the same cause: what the request made the ledger read again
            'SELECT c."partition", c."offset", p.slice FROM ledger.causes c '
            'LEFT JOIN ledger.positions p ON (p.generation, p."partition", p.next_offset) '
            '= (c.generation, c."partition", c."offset") '
            'WHERE c.generation = %s AND c.cause_id = %s ORDER BY c."offset" LIMIT 1'
        )
        row = await (await connection.execute(position, (self._generation, decision_id))).fetchone()
        if row is not None and row[2]:
            progress = Progress.from_text(row[2])
            reached = reached or await Loader(connection, self._generation).count_reached(company_id, progress.reach)
            return Moved(False, progress.moved, progress.settled, reached)
        said = (
            'SELECT value FROM ledger.events WHERE generation = %s AND "partition" = %s AND input_offset = %s '
            "AND kind = 'company' AND event_type = 'RequestAccepted'"
        )
        found = None if row is None else await (await connection.execute(said, (self._generation, *row[:2]))).fetchone()
        return Moved(False, 0) if found is None else Moved(True, self._ids.decode(found[0]).body.records_moved)

    async def _mapping_version(self, company_id: str, customer_id: str) -> int:
        return (await self._mapping_versions(company_id, [customer_id])).get(customer_id, 0)

    async def _mapping_versions(self, company_id: str, customer_ids: list[str]) -> dict[str, int]:
        """What the person who asks sees now."""
        query = (
            "SELECT customer_id, mapping_version FROM ledger.customers "
            "WHERE generation = %s AND company_id = %s AND customer_id = ANY(%s)"
        )
        async with transaction(self._connections) as connection:
            cursor = await connection.execute(query, (self._generation, company_id, customer_ids))
            return dict(await cursor.fetchall())

    async def _seen(self, query: LiteralString, company_id: str, *key: str) -> int:
        """The version that the person who asks sees now; 0: there is nothing yet."""
        async with transaction(self._connections) as connection:
            row = await (await connection.execute(query, (self._generation, company_id, *key))).fetchone()
        return 0 if row is None else int(row[0])

    async def _ask(self, company_id: str, requests: Sequence[Any]) -> list[str]:
        await self._publish(company_id, requests)
        return [request.decision_id for request in requests]

    async def _publish(self, company_id: str, inputs: Sequence[Any]) -> None:
        now = datetime.now(UTC)
        await self._publisher.publish([self._outgoing(company_id, body, now) for body in inputs])

    def _outgoing(self, company_id: str, body: Any, now: datetime) -> Outgoing:
        change_id = uuid4()
        envelope = changes.Envelope(
            change_id=change_id,
            company_id=company_id,
            origin="request",
            recorded_at=now,
            correlation_id=getattr(body, "decision_id", str(change_id)),
            causes=(),
        )
        value = self._ids.encode(Recorded(envelope, body))
        return Outgoing(topic=self._topics.changes.name, key=company_id, value=value)


def _of_record(person: str, record: tuple[str, str]) -> tuple[str, str, str]:
    """Person, type and id of a document; the ledger would only put another one aside."""
    record_type, record_id = _named(record[0], "record type"), _id(record[1], "record id")
    if record_type not in DOCUMENTS:
        raise RequestProblem(f"{record_type} is no type of a document here: {', '.join(DOCUMENTS)} are.")
    return _named(person, "person"), record_type, record_id


def _id(text: str, field: str) -> str:
    named = _named(text, field)
    if not (named.isascii() and named.isdigit()):
        raise RequestProblem(f"The {field} {named} is no id of QuickBooks: digits are.")
    return named


def _checked(mapping: Mapping) -> Mapping:
    return Mapping(
        customer_id=_id(mapping.customer_id, "customer id"),
        project_id=_named(mapping.project_id, "project id"),
        reference_number=_text(mapping.reference_number, "reference number"),
        from_on=mapping.from_on,
    )


def _named(text: str, field: str) -> str:
    """The same text, trimmed, for what must not be empty."""
    trimmed = _text(text, field)
    if not trimmed:
        raise RequestProblem(f"The {field} is empty.")
    return trimmed


def _text(text: str, field: str) -> str:
    """The same text, trimmed. Raises RequestProblem for what Avro or Postgres cannot hold."""
    trimmed = text.strip()
    if len(trimmed) > TEXT_MAX:
        raise RequestProblem(f"The {field} is longer than {TEXT_MAX} characters.")
    if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in trimmed):
        raise RequestProblem(f"The {field} holds a character that cannot be stored.")
    return trimmed
