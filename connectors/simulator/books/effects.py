"""What one operation on the books touches, how strongly, and the switches for what nobody knows about Intuit.

Reads and writes: nothing; values that the book hands to whoever announces its changes.
Guarantees: a record touched twice keeps its strongest mark.
Source: intuit.md 3.9 (what moves SyncToken and what only LastUpdatedTime), 8 (open questions).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from connectors.simulator.books.records import Record


@dataclass(slots=True)
class Switches:
    """What nobody knows for sure about Intuit (UNSURE in intuit.md): each can be set either way."""

    memo_revision_on_apply: bool = True  # applying a memo raises its SyncToken, as it does an invoice's
    merge_moves_times: bool = True  # a merge gives the moved documents a new LastUpdatedTime
    merge_announces_documents: bool = False  # ... and a webhook each
    announce_unapplied_payment: bool = True  # voiding an invoice sends payment.updated
    announce_balance_changes: bool = False  # a customer whose balance moved sends customer.updated
    inactive_announced_as: str = "Update"  # or "Delete"
    inactive_writes_off: bool = True  # making a customer inactive with an open balance makes a credit memo
    changed_since_inclusive: bool = True  # CDC: >= rather than >
    payment_family_only: bool = True  # a payment may only link documents of its customer and that customer's jobs
    false_deletes: bool = False  # CDC reports an updated record as Deleted now and then
    auto_apply_credits: bool = False  # new invoices eat open credits at once, new memos pay open invoices
    unordered_newest_first: bool = False  # documents without ORDERBY: latest change first (recorded) or oldest first
    customer_change: str = "unlink_strangers"  # of a document that payments settle; or "unlink_all", "refused"
    project_unlinks: bool = True  # giving an invoice to a project takes its payments away
    project_customer_in_ref: bool = False  # documents of a project name the project-customer, not its parent
    parent_shows_jobs_billed: bool = False  # a parent's Balance holds its jobs' where BillWithParent is true
    opening_balance_as: str = "Invoice"  # or "JournalEntry"
    currency_digits: bool = False  # yen without and dinars with three digits; else two digits for all


class Mark(IntEnum):
    """How strongly an operation touches a record; the strongest counts."""

    SEEN = 0  # only what is shown changes (a name): no new revision
    BALANCE = 1  # LastUpdatedTime moves, SyncToken does not
    LINKED = 2  # both move: a payment was applied or taken away
    DIRECT = 3  # somebody wrote this record


@dataclass(frozen=True, slots=True)
class Change:
    """One record that an operation touched."""

    record: Record
    operation: str  # Create, Update, Void, Delete, Merge
    mark: Mark
    before: str | None = None  # the JSON last shown, where it had been shown
    gone_id: str | None = None  # Merge: the customer that vanished


class Effects:
    """Collects what one operation touches, strongest mark first."""

    def __init__(self) -> None:
        self.marks: dict[Record, Mark] = {}
        self.operations: dict[Record, str] = {}

    def mark(self, record: Record, mark: Mark) -> None:
        """Touch a record; a weaker mark never replaces a stronger one."""
        found = self.marks.get(record)
        if found is None or mark > found:
            self.marks[record] = mark

    def direct(self, record: Record, operation: str) -> None:
        """Say that the operation wrote this record itself."""
        self.marks[record] = Mark.DIRECT
        self.operations[record] = operation
