"""What belongs to no project: customers seen, requests answered, records waiting for a decision, warnings.

Feeds the customer, waiting and decision tables. One stream per company, with its own version without gaps.
A customer's name travels sealed with the company's key.
Source: design, topic `company-events`.
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, ClassVar
from uuid import UUID

from schemas.money import Money

NAMESPACE = "intoaec.company"


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What every event of a company carries beside its own facts."""

    event_id: UUID  # UUIDv5 of generation, company and version
    generation: int
    company_id: str
    version: int  # 1, 2, 3 ... without gaps within the company and generation
    rules_version: int
    record_type: str
    record_id: str
    origin: str
    recorded_at: datetime
    correlation_id: str
    causation_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerProfile:
    """A customer as last read."""

    schema_version: ClassVar[int] = 1
    parent_customer_id: str | None
    active: bool
    currency: str  # fixed for the customer's life
    sealed_names: bytes  # JSON with display_name and full_name, sealed with the company's key


class CustomerSeen(CustomerProfile):
    """A customer of the company is known for the first time."""


class CustomerChanged(CustomerProfile):
    """A customer was renamed, moved under another parent, made inactive or active again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerMappingChanged:
    """Where this customer's documents go from now on."""

    schema_version: ClassVar[int] = 1
    state: str  # mapped, released, excluded or reference_only
    project_id: str | None
    reference_number: str
    from_on: date | None
    mapping_version: int  # rises by one with each change of this customer's mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestAccepted:
    """A person's request was carried out."""

    schema_version: ClassVar[int] = 1
    decision_id: str
    request: str  # MapCustomer, ReleaseCustomer ...
    records_moved: int  # documents whose project was decided anew


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRefused:
    """A person's request was not carried out, and why."""

    schema_version: ClassVar[int] = 1
    decision_id: str
    request: str
    refusal: str  # a sentence for the person who asked


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordWaiting:
    """A record, or a part of a payment, reaches no project until somebody or something decides."""

    schema_version: ClassVar[int] = 2
    part: str  # "" the whole record, "unapplied", or "Invoice:17" for the line to that invoice
    cause: str  # see streams.books.WaitCause
    customer_id: str
    amount: Money | None  # what is at stake
    home_amount: Money | None  # the same at the record's own rate; None: it is in home currency, or was not stated
    accounting_on: date | None

    @staticmethod
    def upcast_v1_v2(body: dict[str, Any]) -> dict[str, Any]:
        """v1 said nothing in home currency."""
        return body | {"home_amount": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordResolved:
    """What waited has gone to its project, or does not exist any more."""

    schema_version: ClassVar[int] = 1
    part: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WarningRaised:
    """Something a person should look at, which blocks nothing."""

    schema_version: ClassVar[int] = 1
    code: str  # reference_unknown, quickbooks_project_unlinked ...
    detail: str  # the number or id that the warning is about


@dataclass(frozen=True, slots=True, kw_only=True)
class WarningCleared:
    """What was warned about is no longer so."""

    schema_version: ClassVar[int] = 1
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BooksClosed:
    """From here on the company's books are closed up to a day: later changes dated on or before it are listed."""

    schema_version: ClassVar[int] = 1
    closed_on: date | None  # Preferences.AccountingInfoPrefs.BookCloseDate; None: they are open again


CompanyEvent = (
    CustomerProfile
    | CustomerMappingChanged
    | RequestAccepted
    | RequestRefused
    | RecordWaiting
    | RecordResolved
    | WarningRaised
    | WarningCleared
    | BooksClosed
)

EVENTS: tuple[type, ...] = (
    *(CustomerSeen, CustomerChanged, CustomerMappingChanged, RequestAccepted, RequestRefused),
    *(RecordWaiting, RecordResolved, WarningRaised, WarningCleared, BooksClosed),
)
