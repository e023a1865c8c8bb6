"""The records that the book knows nothing of, as Intuit's API reads, lists and writes them.

Reads: the shelf. Writes: the shelf, on behalf of clients.
Guarantees: tokens, times, queries and change data capture are those of every other record.
Source: intuit.md 3.1-3.4; recorded vendors, employees and accounts.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from connectors.simulator.api import lists, settings
from connectors.simulator.api import query as language
from connectors.simulator.books import shelf
from connectors.simulator.books.book import Book
from connectors.simulator.books.records import Kind
from connectors.simulator.books.shelf import Leaf, Shelf

_BY_LOWER_NAME = {entity.lower(): entity for entity in shelf.ENTITIES if entity not in set(Kind)}


class ShelfView:
    """One company's shelf, at the edge."""

    def __init__(self, book: Book, zone: ZoneInfo) -> None:
        self.shelf = Shelf()
        self.book = book
        self.zone = zone

    def entity_of(self, name: str) -> str | None:
        """The entity of that name, whatever its case, if it is kept here."""
        return _BY_LOWER_NAME.get(name.lower())

    def read(self, entity: str, record_id: str) -> dict[str, Any]:
        """One record. Raises Refused(610)."""
        standing = {leaf.id: leaf for leaf in self._standing(entity)}
        return self._shown(standing.get(record_id) or self.shelf.get(entity, record_id))

    def _standing(self, entity: str) -> list[Leaf]:
        """What every company has of this entity, and nobody changes."""
        if lists.entity_of(entity) is None:
            return []
        rows = lists.rows(entity, self.book, self._moment(settings.FOUNDED))
        return [Leaf(entity, row["Id"], row, settings.FOUNDED, settings.FOUNDED) for row in rows]

    def write(self, entity: str, body: Any, operation: str, at: datetime) -> tuple[dict[str, Any], str]:
        """Make, change or delete a record: what Intuit answers, and the word of its webhook. Raises Refused."""
        if not isinstance(body, dict):
            raise ValueError("the body is no object")
        if operation == "delete":
            gone = self.shelf.delete(entity, body, at)
            return {"domain": "QBO", "status": "Deleted", "Id": gone.id}, "Delete"
        if body.get("Id") is None:
            return self._shown(self.shelf.create(entity, body, at, self.book.home_currency)), "Create"
        return self._shown(self.shelf.update(entity, body, at, self.book.home_currency)), "Update"

    def answer(self, entity: str, statement: language.Statement, today: str) -> dict[str, Any]:
        """The body of QueryResponse. Raises Refused(4001)."""
        known = self._properties(entity)
        candidates = [
            leaf
            for leaf in (*self._standing(entity), *self.shelf.leaves[entity].values())
            if language.asks_for_inactive(statement) or leaf.fields.get("Active", True)
        ]
        found = language.chosen(statement, candidates, known, self.book, self.zone, today)
        if statement.count:
            return {"totalCount": len(found)}
        page = found[statement.start - 1 : statement.start - 1 + statement.limit]
        written = [self._shown(leaf) for leaf in page]
        return {entity: written, "startPosition": statement.start, "maxResults": len(page)} if page else {}

    def changed_since(self, entity: str, since: datetime) -> list[dict[str, Any]]:
        """What change data capture says of this entity, oldest first."""
        leaves = [*self.shelf.leaves[entity].values(), *self.shelf.gone[entity].values()]
        found = sorted((leaf for leaf in leaves if leaf.updated_at >= since), key=lambda leaf: leaf.updated_at)
        return [self._stub(leaf) if leaf.deleted else self._shown(leaf) for leaf in found]

    def _properties(self, entity: str) -> dict[str, language.Property]:
        """What may be asked for: times, and whatever plain fields and references records of this entity have."""
        known = dict(_EVERYWHERE)
        for leaf in (*self._standing(entity), *self.shelf.leaves[entity].values()):
            for name, value in leaf.fields.items():
                if name.lower() not in known and (literal := _literal_of(value)):
                    known[name.lower()] = _property(name, literal)
        for name in ("Name", "DisplayName", "Active", "TxnDate", "DocNumber"):
            known.setdefault(name.lower(), _property(name, {"Active": "bool", "TxnDate": "date"}.get(name, "text")))
        return known

    def _shown(self, leaf: Leaf) -> dict[str, Any]:
        meta = {"CreateTime": self._moment(leaf.created_at), "LastUpdatedTime": self._moment(leaf.updated_at)}
        identity = {
            "domain": "QBO",
            "sparse": False,
            "Id": leaf.id,
            "SyncToken": str(leaf.sync_token),
            "MetaData": meta,
        }
        return leaf.shown_fields | identity

    def _stub(self, leaf: Leaf) -> dict[str, Any]:
        meta = {"LastUpdatedTime": self._moment(leaf.updated_at)}
        return {"domain": "QBO", "status": "Deleted", "Id": leaf.id, "MetaData": meta}

    def _moment(self, moment: datetime) -> str:
        return moment.astimezone(self.zone).isoformat(timespec="seconds")


_EVERYWHERE = {
    "id": language.Property(lambda book, leaf: leaf.id, "text", sortable=False),
    "metadata.createtime": language.Property(lambda book, leaf: leaf.created_at, "moment"),
    "metadata.lastupdatedtime": language.Property(lambda book, leaf: leaf.updated_at, "moment"),
}


def _property(name: str, literal: str) -> language.Property:
    def read(book: Book, leaf: Any) -> Any:
        value = leaf.fields.get(name)
        return value.get("value") if isinstance(value, dict) else value

    return language.Property(read, literal)


def _literal_of(value: Any) -> str | None:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | Decimal):
        return "number"
    if isinstance(value, str):
        return "date" if _is_date(value) else "text"
    return "text" if isinstance(value, dict) and "value" in value else None


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return len(text) == 10
