"""The records of one kind in the order in which they were last changed.

Reads: records and their times. Writes: its own index and each record's stamp.
Guarantees: a window of time is found by bisection; a record appears once, at its latest change; deleted ones too.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from datetime import datetime

from connectors.simulator.books.records import Record

_Entry = tuple[datetime, int, int, Record]  # changed at, id as a number, stamp, the record


class Timeline:
    """Records by (LastUpdatedTime, Id), oldest first."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self._stamps = 0
        self._stale = 0

    def note(self, record: Record) -> None:
        """Put a record where its present time says; its earlier place no longer counts."""
        self._stamps += 1
        self._stale += bool(record.stamp)
        record.stamp = self._stamps
        entry = (record.updated_at, int(record.id), record.stamp, record)
        if not self._entries or self._entries[-1] < entry:
            self._entries.append(entry)
        else:
            insort(self._entries, entry)
        if self._stale > 1000 and self._stale * 2 > len(self._entries):
            self._entries = [one for one in self._entries if one[2] == one[3].stamp]
            self._stale = 0

    def between(self, start: datetime | None, end: datetime | None) -> list[Record]:
        """Records changed at or after `start` and before `end`, oldest change first, by id within one second."""
        entries = self._entries
        low = 0 if start is None else bisect_left(entries, (start,))
        high = len(entries) if end is None else bisect_left(entries, (end,))
        return [one[3] for one in entries[low:high] if one[2] == one[3].stamp]

    def since(self, start: datetime) -> Iterator[Record]:
        """The same without an end, one by one, for whoever needs only the first few."""
        entries = self._entries
        for position in range(bisect_left(entries, (start,)), len(entries)):
            if entries[position][2] == entries[position][3].stamp:
                yield entries[position][3]
