"""What the ledger decides from: one input log per company, in one order; a replay needs nothing else.

Also what is asked to be read again (`ReadRequest`), what is parked (`Parked`), and how the connection lives.
Raw records are sealed with the company's key; the plain fields order and route them.
Source: design, topics `company-changes`, `read-requests`, `parked`, `sync-events`.
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, ClassVar
from uuid import UUID

NAMESPACE = "intoaec.changes"
RULES_VERSION = 3  # the newest rules of meaning
# 1: nothing in home currency. 2: home sides and exchange differences.
# 3: money on account goes by own mappings alone; what waits is stated in home currency, too.


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """The notification or request that led to a change."""

    cause_id: str  # CloudEvents id, SHA-256 of a legacy entry, or a decision id
    partition: int | None  # where it stands in its topic; None: not from a topic
    offset: int | None
    caused_at: datetime | None  # when Intuit says that it happened


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What every input carries beside its own facts."""

    change_id: UUID
    company_id: str  # also the key of the record
    origin: str  # webhook, capture, sweep or request
    recorded_at: datetime  # Intuit's `time` of the answer, or when the person asked: never the ledger's clock
    correlation_id: str  # the first cause of the chain
    causes: tuple[Cause, ...]  # all notifications that one read answered


@dataclass(frozen=True, slots=True, kw_only=True)
class RelatedRecord:
    """A record that the meaning of another needs, such as the journal entry that a payment line names."""

    record_type: str
    record_id: str
    sealed: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRead:
    """A record as QuickBooks returned it."""

    schema_version: ClassVar[int] = 1
    record_type: str
    record_id: str
    revised_at: datetime  # MetaData.LastUpdatedTime
    sync_token: int
    read_at: datetime  # Intuit's own `time` of the answer
    sealed: bytes  # the record's JSON, byte for byte, sealed
    related: tuple[RelatedRecord, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordGone:
    """Announced as deleted, and QuickBooks answered 610 on reading."""

    schema_version: ClassVar[int] = 1
    record_type: str
    record_id: str
    announced_at: datetime
    read_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordAbsent:
    """QuickBooks answered 610 on reading, and nobody had announced a delete: it decides nothing, but is listed."""

    schema_version: ClassVar[int] = 1
    record_type: str
    record_id: str
    read_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeNotice:
    """Intuit says that one customer vanished in another."""

    schema_version: ClassVar[int] = 1
    kept_customer_id: str
    vanished_customer_id: str
    noticed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomFieldDefinition:
    """A custom field of the company's sales forms."""

    definition_id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CompanyFacts:
    """What CompanyInfo and Preferences say."""

    schema_version: ClassVar[int] = 2
    home_currency: str
    several_currencies: bool
    plan: str
    books_closed_on: date | None
    custom_fields: tuple[CustomFieldDefinition, ...]
    rules_version: int | None = None  # the newest rules when this was said; a company's first facts start it with them

    @staticmethod
    def upcast_v1_v2(body: dict[str, Any]) -> dict[str, Any]:
        """Whoever wrote v1 knew rules 1 alone (decision 0015)."""
        return body | {"rules_version": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class MapCustomer:
    """A person syncs a customer into a project."""

    schema_version: ClassVar[int] = 1
    decision_id: str
    person: str  # IntoAEC's user id
    customer_id: str
    project_id: str
    reference_number: str  # empty: none
    from_on: date | None
    mapping_version: int  # the mapping version that the person saw; 0: not mapped


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseCustomer:
    """A person takes a customer's mapping back."""

    schema_version: ClassVar[int] = 1
    decision_id: str
    person: str
    customer_id: str
    mapping_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExcludeCustomer:
    """A person says that a customer belongs to no project, or to projects by reference only."""

    schema_version: ClassVar[int] = 1
    decision_id: str
    person: str
    customer_id: str
    reference_only: bool
    mapping_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignDocument:
    """A person says which project one document belongs to; None takes the assignment back."""

    schema_version: ClassVar[int] = 2
    decision_id: str
    person: str
    record_type: str
    record_id: str
    project_id: str | None
    assignment_version: int | None = None  # of the document, as the person saw it; None: not said

    @staticmethod
    def upcast_v1_v2(body: dict[str, Any]) -> dict[str, Any]:
        """Version 1 did not say what the person had seen."""
        return body | {"assignment_version": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkQuickBooksProject:
    """A person says which project of IntoAEC a project of QuickBooks is; None takes the link back."""

    schema_version: ClassVar[int] = 1
    decision_id: str
    person: str
    project_ref: str  # an id space of its own, not a customer id
    project_id: str | None
    link_version: int  # the link version that the person saw; 0: never linked


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolveMerge:
    """A person says where the documents of a customer go that QuickBooks merged into one of another project."""

    schema_version: ClassVar[int] = 1
    decision_id: str
    person: str
    vanished_customer_id: str
    together: bool  # True: with the kept customer's; False: they stay where the vanished customer's went
    merge_version: int  # the version of the merge that the person saw; 0: nobody has decided


@dataclass(frozen=True, slots=True, kw_only=True)
class DismissWarning:
    """A person has looked at a document that came back after its delete: the warning ends."""

    schema_version: ClassVar[int] = 1
    decision_id: str
    person: str
    record_type: str
    record_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectDeclared:
    """IntoAEC has a project of this company's organisation."""

    schema_version: ClassVar[int] = 1
    project_id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectClosed:
    """IntoAEC closed a project: nothing new is mapped to it."""

    schema_version: ClassVar[int] = 1
    project_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CompanyActivated:
    """Capture and catch-up are done."""

    schema_version: ClassVar[int] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CompanyDisconnected:
    """The grant is gone or was given back."""

    schema_version: ClassVar[int] = 1
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesChanged:
    """From here on these rules decide; the difference is booked as adjusting events."""

    schema_version: ClassVar[int] = 1
    rules_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordName:
    """Which record of the company."""

    record_type: str
    record_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRequest:
    """Records to read again, and why. A replay ignores it."""

    schema_version: ClassVar[int] = 1
    records: tuple[RecordName, ...]
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Parked:
    """A record that could not be worked, for a person to look at."""

    schema_version: ClassVar[int] = 1
    step: str
    topic: str
    partition: int
    offset: int
    reason: str
    error_type: str
    build: str
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionChanged:
    """The connection is in another state of its life."""

    schema_version: ClassVar[int] = 1
    state: str
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GapClosed:
    """A sweep read everything that changed since the gap was noted."""

    schema_version: ClassVar[int] = 1
    gap_since: datetime
    closed_until: datetime
    records_read: int
    path: str  # change data capture or page queries


Change = (
    RecordRead
    | RecordGone
    | RecordAbsent
    | MergeNotice
    | CompanyFacts
    | MapCustomer
    | ReleaseCustomer
    | ExcludeCustomer
    | AssignDocument
    | LinkQuickBooksProject
    | ResolveMerge
    | DismissWarning
    | ProjectDeclared
    | ProjectClosed
    | CompanyActivated
    | CompanyDisconnected
    | RulesChanged
)

MESSAGES: tuple[type, ...] = (
    *(RecordRead, RecordGone, MergeNotice, CompanyFacts, MapCustomer, ReleaseCustomer, ExcludeCustomer),
    *(AssignDocument, ProjectDeclared, ProjectClosed, CompanyActivated, CompanyDisconnected, RulesChanged),
    *(ReadRequest, Parked, ConnectionChanged, GapClosed),
    *(RecordAbsent, LinkQuickBooksProject, ResolveMerge, DismissWarning),
)
