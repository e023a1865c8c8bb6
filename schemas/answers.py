"""What a call to QuickBooks gives: records as exact bytes, or the reason why a company cannot be read now.

The words between the connector, which calls Intuit, and the steps, which decide what to ask for.
Source: docs/decisions/0010, which says why a company that cannot be read is no failure of the loop.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

# In the order in which history is read: what others refer to comes first.
RECORD_TYPES = ("Customer", "Invoice", "CreditMemo", "Payment", "RefundReceipt")


@dataclass(frozen=True, slots=True)
class Record:
    """One record as QuickBooks returned it."""

    record_type: str
    record_id: str
    revised_at: datetime  # MetaData.LastUpdatedTime: whole seconds
    sync_token: int
    raw: bytes  # its JSON, byte for byte


@dataclass(frozen=True, slots=True)
class Deleted:
    """Change data capture says that a record was deleted. It has been wrong: only a read confirms it."""

    record_type: str
    record_id: str
    deleted_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer of QuickBooks."""

    answered_at: datetime  # Intuit's own `time`
    records: tuple[Record, ...] = ()  # in the order of the answer
    deleted: tuple[Deleted, ...] = ()
    unreadable: tuple[str, ...] = ()  # why a record of this answer could not be told from others, one text each

    @property
    def size(self) -> int:
        """How many objects Intuit put into the answer."""
        return len(self.records) + len(self.deleted) + len(self.unreadable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """QuickBooks says that there is no such record (fault 610)."""

    answered_at: datetime


class Unreadable(Enum):
    """Why a company cannot be read now."""

    THROTTLED = "throttled"  # over Intuit's limits: wait
    BUDGET = "budget"  # the month's calls are spent
    RECONNECT = "reconnect needed"  # the grant is gone: only a person can mend it
    NOT_CONNECTED = "not connected"
    TROUBLE = "trouble at Intuit"  # no answer, or none that can be read
    REFUSED = "refused"  # an answer that says no, and will say so again


class CompanyUnreadable(Exception):
    """One company cannot be read now; its gap is noted and closed later, and no other company waits."""

    def __init__(self, company_id: str, why: Unreadable, detail: str, *, until: datetime | None = None) -> None:
        super().__init__(f"company {company_id} cannot be read now ({why.value}): {detail}")
        self.company_id = company_id
        self.why = why
        self.until = until  # trying again before is of no use; None: not known
