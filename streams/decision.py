"""What one change makes of the books, and which further documents it reaches: pure data.

Written by `streams.ledger` and `streams.asking`; read by whoever stores it or only shows it (`streams.preview`).
"""

import json
from dataclasses import dataclass, field
from typing import NamedTuple

from schemas import changes
from schemas.quickbooks import CUSTOMER, Record
from streams.books import Company, CustomerState, Document, Key, QuickBooksProject
from streams.difference import Fact, Notice

PROJECT_REF = "ProjectRef"  # the record type of a project of QuickBooks in events; it is no record that is kept

Request = (
    changes.MapCustomer
    | changes.ReleaseCustomer
    | changes.ExcludeCustomer
    | changes.AssignDocument
    | changes.LinkQuickBooksProject
    | changes.ResolveMerge
    | changes.DismissWarning
)
REQUESTS = (
    *(changes.MapCustomer, changes.ReleaseCustomer, changes.ExcludeCustomer, changes.AssignDocument),
    *(changes.LinkQuickBooksProject, changes.ResolveMerge, changes.DismissWarning),
)


class Reach(NamedTuple):
    """Further documents whose project a change may have changed: the caller loads them and calls `redecide`."""

    customers: frozenset[str] = frozenset()  # their documents and those of all their descendants
    references: frozenset[str] = frozenset()  # documents that name one of these (lower case)
    everything: bool = False
    project_refs: frozenset[str] = frozenset()  # documents of these projects of QuickBooks
    read_again: frozenset[str] = frozenset()  # documents that still name one of these customers are read again

    def __bool__(self) -> bool:
        return bool(self.customers or self.references or self.everything or self.project_refs)


_NOWHERE = Reach()


class Progress(NamedTuple):
    """Where a large input stands between its slices."""

    reach: Reach
    after: Key
    moved: int = 0
    settled: int = 0  # documents that were looked at

    def to_text(self) -> str:
        """As it stands beside the position."""
        reach = self.reach
        sets = (reach.customers, reach.references, reach.project_refs)
        plain = [*map(sorted, sets), reach.everything, sorted(reach.read_again)]
        return json.dumps([plain, list(self.after), self.moved, self.settled])

    @classmethod
    def from_text(cls, text: str) -> "Progress":
        """What `to_text` wrote, or an earlier build."""
        plain, (record_type, record_id), moved, *settled = json.loads(text)
        if len(plain) == 3:  # before projects of QuickBooks were linked
            plain = [*plain[:2], [], plain[2], ""]
        customers, references, project_refs, everything, again = plain
        read_again = frozenset({again} - {""} if isinstance(again, str) else again)  # once it was one customer
        reach = Reach(frozenset(customers), frozenset(references), everything, frozenset(project_refs), read_again)
        return cls(reach, (record_type, record_id), moved, *settled)


@dataclass(slots=True)
class Decision:
    """What one change makes of the books."""

    outcome: str = "no difference"
    facts: list[Fact] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    documents: dict[Key, Document] = field(default_factory=dict)  # as they are from now on
    customers: dict[str, CustomerState] = field(default_factory=dict)
    projects: dict[str, bool] = field(default_factory=dict)
    quickbooks_projects: dict[str, QuickBooksProject] = field(default_factory=dict)
    company: Company | None = None
    reads: set[Key] = field(default_factory=set)  # records to read again
    answered: dict[str, tuple[bool, str]] = field(default_factory=dict)  # decision id -> accepted, answer
    reach: Reach = _NOWHERE

    @property
    def moved(self) -> set[Key]:
        """The documents of which something is booked."""
        return {fact.record for fact in self.facts if fact.record[0] != CUSTOMER}

    def conclude(self) -> "Decision":
        """Say in one word what became of the change, where nothing has been said yet."""
        if self.outcome == "no difference" and (self.facts or self.notices):
            self.outcome = "booked"
        return self


class Opened(NamedTuple):
    """A record as read, opened and parsed, with what is kept of a customer's names."""

    record: Record
    names: bytes = b""  # sealed JSON of a customer's names
    names_mac: bytes = b""
