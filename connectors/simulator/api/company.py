"""One simulated QuickBooks company: its books, what is visible of them, and what it announces.

Reads: bodies from clients and the clock. Writes: its book; tells its listener every change.
Guarantees: reads show the present state, or, for as long as the delay says, the state before the latest change;
a change is announced once, with the moment it happened.
Source: intuit.md 3.3-3.5, 7.6-7.10.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from connectors.simulator.api import lists, settings
from connectors.simulator.api import query as language
from connectors.simulator.api.render import NOTHING, Renderer
from connectors.simulator.api.shelf_view import ShelfView
from connectors.simulator.books.book import Book
from connectors.simulator.books.custom_fields import Definition
from connectors.simulator.books.effects import Change, Mark, Switches
from connectors.simulator.books.notes import Note
from connectors.simulator.books.records import HIDDEN, Kind, Record, Refused, not_found
from connectors.simulator.clock import Clock
from connectors.simulator.wire import RawJson

CDC_DAYS = 30
CDC_MAX = 1000
NOT_CAPTURED = frozenset({"journalcode", "taxagency", "timeactivity", "taxcode", "taxrate"})
ANNOUNCED = frozenset(Kind)


@dataclass(frozen=True, slots=True)
class Event:
    """One thing a webhook would say."""

    realm: str
    entity: str
    id: str
    operation: str  # Create, Update, Void, Delete, Merge, Emailed
    at: datetime
    gone_id: str | None = None  # Merge only


@dataclass(frozen=True, slots=True)
class Project:
    """A project of IntoAEC, and the customer it is meant for."""

    project_id: str
    name: str
    customer_id: str


Listener = Callable[["Company", list[Change], list[Event]], None]


class Company:
    """A company with one writer at a time."""

    def __init__(self, realm: str, name: str, clock: Clock, zone: str = "America/Los_Angeles") -> None:
        self.realm = realm
        self.name = name
        self.clock = clock
        self.zone = ZoneInfo(zone)
        self.switches = Switches()
        self.book = Book(switches=self.switches)
        self.renderer = Renderer(self.book, self.zone)
        self.shelf = ShelfView(self.book, self.zone)
        self.plan = "Plus"
        self.projects: list[Project] = []
        self.listeners: list[Listener] = []
        self.visibility_delay_s = 0.0
        self.keeps_pictures = False  # whether there must be an old picture of whatever changes
        self.lag_s: Callable[[Company, Kind], float] = lambda company, kind: 0.0
        self._hidden: dict[tuple[Kind, str], tuple[datetime, str | None]] = {}

    # ---- writing -------------------------------------------------------------------------------------------------

    def create(self, kind: Kind, body: dict[str, Any], note: Note | None = None) -> Record:
        """Make a record, with its writer's note if there is one; raises Refused."""
        now = self.clock.now()
        if kind is not Kind.CUSTOMER and not body.get("TxnDate"):  # today is what it is in the company's zone
            body = body | {"TxnDate": now.astimezone(self.zone).date().isoformat()}
        return self._tell(self.book.create(kind, body, now, note))

    def create_project(self, name: str, customer_id: str, note: Note | None = None) -> Record:
        """Make a QuickBooks project of a customer; raises Refused."""
        return self._tell(self.book.create_project(name, customer_id, self.clock.now(), note))

    def define_fields(self, definitions: Iterable[Definition]) -> None:
        """Replace the definitions of enhanced custom fields; raises ValueError or TypeError."""
        self.book.fields.define(definitions)

    def update(self, kind: Kind, body: dict[str, Any]) -> Record:
        """Change a record; raises Refused."""
        return self._tell(self.book.update(kind, body, self.clock.now()))

    def void(self, kind: Kind, body: dict[str, Any]) -> Record:
        """Void a document; raises Refused."""
        return self._tell(self.book.void(kind, body, self.clock.now()))

    def delete(self, kind: Kind, body: dict[str, Any]) -> Record:
        """Delete a document; raises Refused."""
        return self._tell(self.book.delete(kind, body, self.clock.now()))

    def merge(self, kept_id: str, gone_id: str) -> Record:
        """Merge one customer into another; raises Refused."""
        return self._tell(self.book.merge(kept_id, gone_id, self.clock.now()))

    def write_on_shelf(self, entity: str, body: dict[str, Any], operation: str) -> dict[str, Any]:
        """Make, change or delete a record that the book knows nothing of; raises Refused."""
        written, word = self.shelf.write(entity, body, operation, self.clock.now().astimezone(self.zone))
        self.announce(entity, written["Id"], word)
        return written

    def token_body(self, kind: Kind, record_id: str) -> dict[str, Any]:
        """The smallest body that may write a record: its id and its present token. Raises Refused(610)."""
        return {"Id": record_id, "SyncToken": str(self.book.get(kind, record_id).sync_token)}

    def name_fields(self, names: dict[str, str]) -> None:
        """Give the custom fields their names, by definition; every form shows them, no revision moves."""
        self.book.field_names = dict(sorted(names.items()))
        for record in [one for kind in Kind for one in self.book.records[kind].values()]:
            record.rendered = None

    def announce(self, entity: str, record_id: str, operation: str) -> Event:
        """Make an event that no change stands behind, such as an e-mailed invoice or a burst of updates."""
        event = Event(self.realm, entity, record_id, operation, self.clock.now())
        for listener in self.listeners:
            listener(self, [], [event])
        return event

    def _tell(self, changes: list[Change]) -> Record:
        now = self.clock.now()
        delay_s = self.visibility_delay_s or self.lag_s(self, changes[0].record.kind)
        if delay_s:
            self._hide(changes, now + timedelta(seconds=delay_s))
        if self.keeps_pictures:
            self._picture(changes)
        events = [event for change in changes if (event := self._event(change, now))]
        for listener in self.listeners:
            listener(self, changes, events)
        return changes[0].record

    def _event(self, change: Change, now: datetime) -> Event | None:
        if change.mark <= Mark.SEEN or change.record.kind in HIDDEN or not self._is_announced(change):
            return None
        record = change.record
        return Event(self.realm, record.kind.value, record.id, change.operation, now, change.gone_id)

    def _is_announced(self, change: Change) -> bool:
        if change.mark is Mark.DIRECT:
            return change.gone_id is not None or change.operation != "Merge"
        if change.record.kind is Kind.PAYMENT:
            return self.switches.announce_unapplied_payment and change.mark is Mark.LINKED
        if change.record.kind is Kind.CUSTOMER:
            return self.switches.announce_balance_changes
        return change.mark is Mark.LINKED or self.switches.merge_announces_documents

    # ---- reading -------------------------------------------------------------------------------------------------

    def shown(self, record: Record, include: frozenset[str] = NOTHING) -> str:
        """The record's JSON as a reader sees it at this moment."""
        old = self._hidden_text(record.kind, record.id)
        return old[0] if old and old[0] is not None else self.renderer.text(record, include)

    def read(self, kind: Kind, record_id: str, include: frozenset[str] = NOTHING) -> str:
        """The JSON of one record. Raises Refused(610) where it is gone, never was, or cannot be seen yet."""
        old = self._hidden_text(kind, record_id)
        if old is None:
            return self.renderer.text(self.book.get(kind, record_id), include)
        if old[0] is None:
            raise not_found()
        return old[0]

    def query(self, text: str, include: frozenset[str] = NOTHING) -> dict[str, Any]:
        """Answer a statement as Intuit does: the body of `QueryResponse`. Raises Refused(4000, 4001)."""
        statement = language.parse(text)
        special = self._one_of_a_kind(statement)
        if special is not None:
            return special
        today = self.clock.now().astimezone(self.zone).date().isoformat()
        if shelved := self.shelf.entity_of(statement.entity):
            return self.shelf.answer(shelved, statement, today)
        if lists.entity_of(statement.entity):
            made = self.renderer.moment(settings.FOUNDED)
            return lists.answer(statement, self.book, self.zone, made, today)
        found = language.rows(statement, self.book, self.zone, today)
        if self._hidden:
            found = [record for record in found if self._hidden_text(record.kind, record.id) != (None,)]
        if statement.count:
            return {"totalCount": len(found)}
        page = found[statement.start - 1 : statement.start - 1 + statement.limit]
        if not page:
            return {}
        written = [RawJson(self.shown(record, include)) for record in page]
        return {page[0].kind.value: written, "startPosition": statement.start, "maxResults": len(page)}

    def _one_of_a_kind(self, statement: language.Statement) -> dict[str, Any] | None:
        """CompanyInfo and Preferences have one row each and no filters worth having."""
        for name, body in (("CompanyInfo", self.company_info), ("Preferences", self.preferences)):
            if statement.entity.lower() == name.lower():
                return {"totalCount": 1} if statement.count else {name: [body()], "startPosition": 1, "maxResults": 1}
        return None

    def changes_since(
        self,
        entities: list[str],
        since: datetime,
        lie: Callable[[int], int] | None = None,
        *,
        include: frozenset[str] = NOTHING,
    ) -> list[dict[str, Any]]:
        """Change data capture: one element per entity asked, at most 1000 objects in all. Raises Refused.

        `lie` chooses, of so many rows, one that is said to be Deleted though it is not.
        """
        now = self.clock.now()
        if since < now - timedelta(days=CDC_DAYS):
            # No recording of this fault exists; 4001 is what a validation of the same service answers.
            raise Refused(
                "4001", "Invalid query", f"changedSince may be at most {CDC_DAYS} days in the past", "changedSince"
            )
        left, answers = CDC_MAX, []
        for entity in entities:
            if entity.lower() in NOT_CAPTURED:
                raise Refused("4001", "Invalid query", f"Entity {entity} is not supported by change data capture")
            if shelved := self.shelf.entity_of(entity):
                changed = self.shelf.changed_since(shelved, since)[:left]
                left -= len(changed)
                shown = {shelved: changed, "startPosition": 1, "maxResults": len(changed)}
                answers.append(shown if changed else {})
                continue
            kind = language.kind_of(entity)
            found = self._changed(kind, since, left) if kind else []
            left -= len(found)
            chosen = found[lie(len(found))] if lie and found else None
            written = [self._cdc_row(record, include, lies=record is chosen) for record in found]
            answers.append(
                {kind.value: written, "startPosition": 1, "maxResults": len(found)} if kind and found else {}
            )
        return answers

    def _changed(self, kind: Kind, since: datetime, most: int) -> list[Record]:
        """What was changed since then, oldest first: `most` at most, and never the whole past to find them."""
        is_late = (lambda one: True) if self.switches.changed_since_inclusive else (lambda one: one.updated_at > since)
        late = filter(is_late, self.book.timelines[kind].since(since))
        seen = (one for one in late if self._hidden_text(kind, one.id) is None)  # hidden: not changed yet
        return list(islice(seen, most))

    def _cdc_row(self, record: Record, include: frozenset[str], *, lies: bool) -> Any:
        lies = lies or (self.switches.false_deletes and record.sync_token % 5 == 4)
        return self.renderer.deleted_stub(record) if record.deleted or lies else RawJson(self.shown(record, include))

    def company_info(self) -> dict[str, Any]:
        """The CompanyInfo record."""
        return settings.company_info(self.name, self.plan, self.renderer.moment(settings.FOUNDED))

    def preferences(self) -> dict[str, Any]:
        """The Preferences record."""
        return settings.preferences(self.book, self.plan, self.renderer.moment(settings.FOUNDED))

    # ---- stale reads ---------------------------------------------------------------------------------------------

    def delay_visibility(self, seconds: float) -> None:
        """From now on a change is seen by readers only so much later than it is announced."""
        self.visibility_delay_s = seconds
        if seconds:
            self.take_pictures()

    def take_pictures(self) -> None:
        """Write every record down, so that there is something to show of it while a change is hidden."""
        for record in [one for kind in Kind for one in self.book.records[kind].values()]:
            self.renderer.text(record)

    def show_all(self) -> None:
        """Let readers see the present at once."""
        self._hidden.clear()

    def _hide(self, changes: list[Change], until: datetime) -> None:
        for change in changes:
            key = (change.record.kind, change.record.id)
            is_new = change.operation == "Create"
            if self._hidden_text(*key) is None and (is_new or change.before is not None):
                self._hidden[key] = (until, change.before)
        self._picture(changes)

    def _picture(self, changes: list[Change]) -> None:
        for change in changes:
            if not change.record.deleted:
                self.renderer.text(change.record)

    def _hidden_text(self, kind: Kind, record_id: str) -> tuple[str | None] | None:
        """The old picture a reader still sees, as a tuple of one; None where the present is visible."""
        hidden = self._hidden.get((kind, record_id))
        if hidden is None:
            return None
        if hidden[0] <= self.clock.now():
            del self._hidden[kind, record_id]
            return None
        return (hidden[1],)
