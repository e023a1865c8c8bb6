"""Keeps the simulator's state in one SQLite file, so that a restart goes on where it stopped.

Reads and writes: `simulator.sqlite` in the data directory; without a directory it keeps nothing.
Guarantees: a change and the events it causes are kept together; killing the process loses nothing that was answered.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from connectors.simulator.api.authority import Grant
from connectors.simulator.api.company import Event
from connectors.simulator.api.webhooks import Delivery, Queued, Try
from connectors.simulator.books.notes import Note, Why
from connectors.simulator.books.records import Application, ItemKey, Kind, Record, money
from connectors.simulator.wire import decode, encode

_TABLES = """
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, state TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS records (realm TEXT, kind TEXT, id TEXT, state TEXT NOT NULL, PRIMARY KEY (realm, kind, id));
CREATE TABLE IF NOT EXISTS queued (position INTEGER PRIMARY KEY, id TEXT NOT NULL, state TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS queued_id ON queued (id);
CREATE TABLE IF NOT EXISTS deliveries (
    position INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, state TEXT NOT NULL, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS grants (id TEXT PRIMARY KEY, state TEXT NOT NULL);
"""
_KEEP_DELIVERY = """
INSERT INTO deliveries (id, state, body) VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET state = excluded.state
"""


class Storage:
    """One SQLite file, or nothing."""

    def __init__(self, directory: Path | None) -> None:
        self.db: sqlite3.Connection | None = None
        if directory is None:
            return
        directory.mkdir(parents=True, exist_ok=True)
        self.db = sqlite3.connect(directory / "simulator.sqlite", isolation_level=None, check_same_thread=False)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute(
            "PRAGMA synchronous=OFF"
        )  # survives a killed process; a power cut is not the simulator's concern
        self.db.executescript(_TABLES)

    def close(self) -> None:
        """Close the file."""
        if self.db is not None:
            self.db.close()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Keep everything written inside, or nothing of it."""
        if self.db is None or self.db.in_transaction:
            yield
            return
        self.db.execute("BEGIN")
        try:
            yield
        except BaseException:
            self.db.execute("ROLLBACK")
            raise
        self.db.execute("COMMIT")

    def _write(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        if self.db is not None:
            self.db.executemany(statement, rows)

    def _read(self, statement: str) -> list[tuple[Any, ...]]:
        return self.db.execute(statement).fetchall() if self.db is not None else []

    # ---- notes: settings, companies ------------------------------------------------------------------------------

    def keep_note(self, name: str, state: Any) -> None:
        """Keep a small JSON document under a name."""
        if self.db is not None:
            self._write("INSERT OR REPLACE INTO notes VALUES (?, ?)", [(name, encode(state))])

    def notes(self) -> dict[str, Any]:
        """All small documents by name."""
        return {name: decode(state) for name, state in self._read("SELECT name, state FROM notes ORDER BY name")}

    # ---- records -------------------------------------------------------------------------------------------------

    def keep_records(self, realm: str, records: Iterable[Record]) -> None:
        """Keep records as they are now."""
        if self.db is not None:
            rows = [(realm, record.kind.value, record.id, encode(_record_state(record))) for record in records]
            self._write("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?)", rows)

    def records(self, realm: str) -> list[Record]:
        """Every record of a company, deleted ones too."""
        if self.db is None:
            return []
        rows = self.db.execute("SELECT state FROM records WHERE realm = ?", (realm,))
        return [_record(decode(state)) for (state,) in rows]

    # ---- webhooks: the courier's journal -------------------------------------------------------------------------

    def keep_queued(self, queued: list[Queued]) -> None:
        """Keep events that are in no delivery yet."""
        if self.db is not None:
            rows = [(one.id, encode(_event_state(one.event))) for one in queued]
            self._write("INSERT INTO queued (id, state) VALUES (?, ?)", rows)

    def keep_delivery(self, delivery: Delivery, taken: list[str]) -> None:
        """Keep a delivery (or forget it once acknowledged) and drop the events it took up."""
        if self.db is None:
            return
        with self.together():
            self._write("DELETE FROM queued WHERE id = ?", [(one,) for one in taken])
            if delivery.acknowledged:
                self._write("DELETE FROM deliveries WHERE id = ?", [(delivery.id,)])
                return
            row = (delivery.id, encode(_delivery_state(delivery)), delivery.body)
            self._write(_KEEP_DELIVERY, [row])

    def forget_queued(self) -> None:
        """Drop every event that is in no delivery yet."""
        self._write("DELETE FROM queued", [()])

    def queued(self) -> list[Queued]:
        """Events that were in no delivery, in order."""
        rows = self._read("SELECT id, state FROM queued ORDER BY position")
        return [Queued(one, _event(decode(state))) for one, state in rows]

    def deliveries(self) -> list[Delivery]:
        """Deliveries that were not acknowledged, in order."""
        rows = self._read("SELECT state, body FROM deliveries ORDER BY position")
        return [_delivery(decode(state), body) for state, body in rows]

    # ---- grants: the authority's vault ---------------------------------------------------------------------------

    def keep_grant(self, grant: Grant) -> None:
        """Keep the grant as it is now."""
        if self.db is not None:
            state = asdict(grant)
            for key in ("rotated_at", "refresh_expires_at", "hard_expires_at"):
                state[key] = state[key].isoformat()
            for key in ("access", "previous"):
                state[key] = {token: moment.isoformat() for token, moment in state[key].items()}
            self._write("INSERT OR REPLACE INTO grants VALUES (?, ?)", [(grant.id, encode(state))])

    def grants(self) -> list[Grant]:
        """Every grant ever given."""
        return [_grant(decode(state)) for (state,) in self._read("SELECT state FROM grants")]


def _record_state(record: Record) -> dict[str, Any]:
    lines = [[*line.item, line.txn_type, line.amount, line.open_before] for line in record.applications]
    return {
        **{"kind": record.kind.value, "id": record.id, "fields": record.fields, "sync_token": record.sync_token},
        **{"created_at": record.created_at.isoformat(), "updated_at": record.updated_at.isoformat()},
        **{"voided": record.voided, "deleted": record.deleted, "custom": record.custom, "applications": lines},
        **{"deposit_id": record.deposit_id, "note": list(record.note) if record.note else None, "total": record.total},
    }


def _record(state: dict[str, Any]) -> Record:
    moments: Any = {key: datetime.fromisoformat(state[key]) for key in ("created_at", "updated_at")}
    lines = [
        Application(ItemKey(Kind(kind), one, line), txn_type, _amount(amount), _amount(before))
        for kind, one, line, txn_type, amount, before in state.pop("applications")
    ]
    kept = {key: state[key] for key in ("id", "sync_token", "voided", "deleted", "custom", "deposit_id")}
    return Record(
        Kind(state["kind"]),
        fields=_exact(state["fields"]),
        applications=lines,
        note=_note(state["note"]) if state.get("note") else None,
        total=_amount(state["total"]),
        **kept,
        **moments,
    )


def _note(state: list[Any]) -> Note:
    intended, determined, why, *rest = state
    return Note(intended, determined, Why(why), *rest)


def _amount(value: Any) -> Decimal:
    """An amount as it was: two digits, or three where its currency has them."""
    found = money(value)
    return found if found == value else Decimal(value)


def _exact(value: Any, key: str = "") -> Any:
    """Numbers that JSON wrote without a point are Decimals again; positions and flags are not amounts."""
    if isinstance(value, dict):
        return {name: _exact(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_exact(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool) and key != "LineNum":
        return money(value) if value == 0 else Decimal(value)
    return value


def _event_state(event: Event) -> dict[str, Any]:
    return asdict(event) | {"at": event.at.isoformat()}


def _event(state: dict[str, Any]) -> Event:
    return Event(**(state | {"at": datetime.fromisoformat(state["at"])}))


def _delivery_state(delivery: Delivery) -> dict[str, Any]:
    return {
        **{
            "id": delivery.id,
            "content_type": delivery.content_type,
            "event_ids": delivery.event_ids,
            "realms": delivery.realms,
        },
        **{"created_at": delivery.created_at.isoformat(), "tries": [asdict(one) for one in delivery.tries]},
        "next_try_at": delivery.next_try_at.isoformat() if delivery.next_try_at else None,
    }


def _delivery(state: dict[str, Any], body: bytes) -> Delivery:
    state["tries"] = [Try(**one) for one in state["tries"]]
    state["created_at"] = datetime.fromisoformat(state["created_at"])
    state["next_try_at"] = datetime.fromisoformat(state["next_try_at"]) if state["next_try_at"] else None
    return Delivery(body=body, **state)


def _grant(state: dict[str, Any]) -> Grant:
    for key in ("rotated_at", "refresh_expires_at", "hard_expires_at"):
        state[key] = datetime.fromisoformat(state[key])
    for key in ("access", "previous"):
        state[key] = {token: datetime.fromisoformat(moment) for token, moment in state[key].items()}
    return Grant(**state)
