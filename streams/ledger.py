"""Turn one change of a company into accounting events of the projects it touches.

Pure: `decide(books, change) -> Decision`, without clock, randomness or I/O. Idempotence comes from state, not from
ids: what a document asks for is compared with what is booked of it, and only the difference becomes events. The same
change twice, or an older one late, adds nothing; any order of arrival ends in the same books.
Reads: company-changes (opened and parsed by `streams.event_log`). Writes: nothing; the caller stores the decision.
Source: design section 3; docs/decisions/0006 (events are differences of states).
"""

from collections import ChainMap
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any, NamedTuple

from schemas import accounting as facts
from schemas import changes, company
from schemas.accounting import Figures
from schemas.errors import UnprocessableError
from schemas.quickbooks import (
    CUSTOMER,
    PAYMENT,
    RECORD_TYPES,
    SALES,
    Customer,
    Payment,
    Record,
    SalesDocument,
)
from streams.books import (
    Booking,
    Books,
    Company,
    CustomerState,
    Document,
    Ended,
    Key,
    Reason,
    Revision,
    Scope,
    Standing,
    WaitCause,
    Waiting,
)
from streams.difference import Fact, Notice, notices, settled, standing_facts, undone
from streams.exchange import at_home, is_abroad, sharing, warnings_of
from streams.payments import want_payment
from streams.placement import REFERENCE_FIELD, place

REQUESTS = (changes.MapCustomer, changes.ReleaseCustomer, changes.ExcludeCustomer, changes.AssignDocument)
Request = changes.MapCustomer | changes.ReleaseCustomer | changes.ExcludeCustomer | changes.AssignDocument


class Reach(NamedTuple):
    """Further documents whose project a change may have changed: the caller loads them and calls `redecide`."""

    customers: frozenset[str] = frozenset()  # their documents and those of all their descendants
    references: frozenset[str] = frozenset()  # documents that name one of these (lower case)
    everything: bool = False

    def __bool__(self) -> bool:
        return bool(self.customers or self.references or self.everything)


@dataclass(slots=True)
class Decision:
    """What one change makes of the books."""

    outcome: str = "no difference"
    facts: list[Fact] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    documents: dict[Key, Document] = field(default_factory=dict)  # as they are from now on
    customers: dict[str, CustomerState] = field(default_factory=dict)
    projects: dict[str, bool] = field(default_factory=dict)
    company: Company | None = None
    reads: set[Key] = field(default_factory=set)  # records to read again
    answered: dict[str, tuple[bool, str]] = field(default_factory=dict)  # decision id -> accepted, answer
    reach: Reach = field(default_factory=Reach)

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


def decide(books: Books, change: changes.Change, recorded_at: datetime, opened: Opened | None = None) -> Decision:
    """What this change makes of these books. `opened` comes with a RecordRead. The books themselves are not touched."""
    match change:
        case changes.RecordRead() if opened is not None and isinstance(opened.record, Customer):
            return _customer_read(books, change, opened.record, opened).conclude()
        case changes.RecordRead() if opened is not None and not isinstance(opened.record, Customer):
            return _document_read(books, change, opened.record).conclude()
        case changes.RecordGone():
            return _document_gone(books, change).conclude()
        case changes.MergeNotice():
            kept, vanished = change.kept_customer_id, change.vanished_customer_id
            return Decision(outcome="read again", reads={(CUSTOMER, kept), (CUSTOMER, vanished)})
        case changes.CompanyFacts():
            return _company_facts(books, change)
        case changes.MapCustomer() | changes.ReleaseCustomer() | changes.ExcludeCustomer() | changes.AssignDocument():
            return _request(books, change, recorded_at)
        case changes.ProjectDeclared() if change.project_id in books.foreign:
            return Decision(outcome="refused: the project belongs to another company")
        case changes.ProjectDeclared():
            reach = Reach(references=frozenset({change.project_id.lower()}))
            return Decision(outcome="noted", projects={change.project_id: False}, reach=reach)
        case changes.ProjectClosed():
            return Decision(outcome="noted", projects={change.project_id: True})
        case changes.CompanyActivated():
            return Decision(outcome="noted", company=replace(books.company, active=True))
        case changes.CompanyDisconnected():
            return Decision(outcome="noted", company=replace(books.company, active=False))
        case changes.RulesChanged() if change.rules_version == books.company.rules_version:
            return Decision()
        case changes.RulesChanged():
            ruled = replace(books.company, rules_version=change.rules_version)
            return Decision(outcome="noted", company=ruled, reach=Reach(everything=True))
        case _:
            raise ValueError(f"{type(change).__name__} came without its record")


def absorb(books: Books, decision: Decision) -> None:
    """Carry a decision into the loaded books, so that the next change of the same batch sees it."""
    books.documents.update(decision.documents)
    books.customers.update(decision.customers)
    books.projects.update(decision.projects)
    books.company = decision.company or books.company
    for document in decision.documents.values():
        if isinstance(document.head, Payment):
            for line in document.head.lines:
                books.payers.setdefault((line.record_type, line.record_id), set()).add(document.record_id)
    for project_id in decision.projects:
        books.references[project_id.lower()] = {project_id}
    for customer in decision.customers.values():
        _learn_references(books, customer)


def _learn_references(books: Books, customer: CustomerState) -> None:
    """A project's own id wins over a number given at a mapping."""
    own = {project_id.lower() for project_id in books.projects}
    for scope in customer.scopes:
        number = scope.reference_number.lower()
        if number and number not in own:
            books.references.setdefault(number, set()).add(scope.project_id)


def redecide(books: Books, keys: Iterable[Key]) -> Decision:
    """Settle these documents anew, and the payments that name them, as after a change of mapping."""
    decision = Decision()
    _settle(books, decision, {key: books.document(key) for key in keys})
    return decision.conclude()


# --- documents ---------------------------------------------------------------------------------------------------


def refuse_unknown(change: changes.Change) -> None:
    """Raises UnprocessableError for what the ledger cannot keep: another type of record, no id, rules it has not."""
    if isinstance(change, changes.RulesChanged | changes.CompanyFacts):
        _refuse_unknown_rules(1 if change.rules_version is None else change.rules_version)
    if isinstance(change, changes.RecordRead | changes.RecordGone | changes.AssignDocument):
        names = [(change.record_type, change.record_id)]
    elif isinstance(change, changes.MapCustomer | changes.ReleaseCustomer | changes.ExcludeCustomer):
        names = [(CUSTOMER, change.customer_id)]
    else:
        return
    for record_type, record_id in names:
        if record_type not in RECORD_TYPES:
            raise UnprocessableError(f"records of type {record_type} are not kept here")
        if not (record_id.isascii() and record_id.isdigit()):
            raise UnprocessableError(f"{record_id[:40]!r} is not an id of QuickBooks")


def _refuse_unknown_rules(rules_version: int) -> None:
    if not 1 <= rules_version <= changes.RULES_VERSION:
        raise UnprocessableError(
            f"rules {rules_version} are not known to this build, which knows 1 to {changes.RULES_VERSION}: "
            "redrive it with a build that does"
        )


def _document_read(books: Books, change: changes.RecordRead, head: SalesDocument | Payment) -> Decision:
    """Deleted stays deleted unless Intuit shows a later revision, in whatever order both are heard of."""
    key = (change.record_type, change.record_id)
    known = books.document(key)
    revision = Revision(change.revised_at, change.sync_token, change.read_at)
    if known.revision is not None and revision <= known.revision:
        return Decision(outcome="older than known")
    stays_gone = known.gone_at is not None and change.revised_at <= known.gone_at
    decision = Decision(outcome="older than its delete" if stays_gone else "no difference")
    if known.gone_at is not None and not stays_gone:
        reopened = company.WarningRaised(code="reopened_after_delete", detail=f"{key[0]} {key[1]}")
        decision.notices.append(Notice(key, reopened))
    _settle(books, decision, {key: known.with_head(head, revision, known.gone_at if stays_gone else None)})
    return decision


def _document_gone(books: Books, change: changes.RecordGone) -> Decision:
    """The time of the answer 610 is the delete's: only a revision after it is later."""
    key = (change.record_type, change.record_id)
    known = books.document(key)
    if change.record_type == CUSTOMER:
        return Decision(outcome="customers are never deleted")
    if known.revision is not None and known.revision.revised_at > change.read_at:
        return Decision(outcome="older than known")
    if known.gone_at is not None and known.gone_at >= change.read_at:
        return Decision(outcome="no difference")
    decision = Decision()
    _settle(books, decision, {key: replace(known, gone_at=change.read_at)})
    return decision


def _settle(books: Books, decision: Decision, changed: Mapping[Key, Document]) -> None:
    """Bring what is booked of these documents, and of the payments that name them, to what they ask for now.

    Payments that settle the same foreign documents as a changed one follow it: their cents hang together.
    """
    view = _view(books, decision, changed)
    payers = {(PAYMENT, payment_id) for key in changed for payment_id in view.payers.get(key, ())}
    payers |= sharing(view, map(books.document, changed), changed.values())
    moved = dict(changed) | {key: view.document(key) for key in payers if key not in changed}
    undo: list[Fact] = []
    stand: list[Fact] = []
    settle: list[Fact] = []
    for key in sorted(moved, key=lambda k: (k[0] == PAYMENT, k[0], int(k[1]))):
        document = moved[key]
        wanted = _want(view, document)
        decision.documents[key] = document.with_booked(wanted)
        undo += undone(document, wanted)
        stand += standing_facts(document, wanted)
        settle += settled(document, wanted)
        decision.notices += notices(document, wanted)
        decision.reads |= _to_read(view, document, wanted)
    decision.facts += undo + stand + settle


def _view(books: Books, decision: Decision, changed: Mapping[Key, Document]) -> Books:
    """The books as they are after the change; the caller's books stay as they are."""
    return Books(
        decision.company or books.company,
        books.customers,
        ChainMap(dict(changed), books.documents),
        _payers(books, changed.values()),
        books.projects,
        books.foreign,
        books.references,
    )


def _payers(books: Books, changed: Iterable[Document]) -> MutableMapping[Key, set[str]]:
    """Which payments name a document, the changed ones in a foreign currency included: only theirs are looked up."""
    new: dict[Key, set[str]] = {}
    for document in changed:
        abroad = is_abroad(books.company, document)
        for line in document.head.lines if abroad and isinstance(document.head, Payment) else ():
            key = (line.record_type, line.record_id)
            new[key] = new.get(key, books.payers.get(key, set())) | {document.record_id}
    return ChainMap(new, books.payers) if new else books.payers


def _want(books: Books, document: Document) -> Booking:
    if isinstance(document.head, Payment):
        return want_payment(books, document, document.head)
    if document.head is None or document.ended is not Ended.NO:
        return Booking(ended=document.ended, ever=document.booked.ever)
    placement = place(books, document)
    figures = _figures(books.company, document.head)
    warnings = placement.warnings | warnings_of(books.company, document.head)
    if placement.project_id is None or placement.reason is None:
        cause = placement.cause or WaitCause.CUSTOMER_NOT_SYNCED
        waiting = {"": Waiting(cause, figures.customer_id, figures.total, figures.issued_on)}
        return Booking(waiting=waiting, warnings=warnings, ever=document.booked.ever)
    standing = Standing(placement.reason, figures)
    return Booking(standings={placement.project_id: standing}, warnings=warnings, ever=True)


def _figures(company: Company, head: SalesDocument) -> Figures:
    return Figures(
        customer_id=head.customer_id,
        doc_number=head.doc_number,
        issued_on=head.issued_on,
        due_on=head.due_on,
        total=head.total,
        tax=head.tax,
        deposit=head.deposit,
        exchange_rate=head.exchange_rate,
        home_total=at_home(company, head.total, head.exchange_rate),
        home_deposit=at_home(company, head.deposit, head.exchange_rate),
    )


def _to_read(books: Books, document: Document, wanted: Booking) -> set[Key]:
    """Counterparts that nobody has read: asked for once, when the waiting begins."""
    found: set[Key] = set()
    for part, waiting in wanted.waiting.items():
        if part in document.booked.waiting and document.booked.waiting[part].cause is waiting.cause:
            continue
        if waiting.cause is WaitCause.CUSTOMER_UNKNOWN:
            found.add((CUSTOMER, waiting.customer_id))
        elif waiting.cause in (WaitCause.INVOICE_UNKNOWN, WaitCause.CREDIT_MEMO_UNKNOWN):
            found |= _unread_targets(books, document)
    return found


def _unread_targets(books: Books, document: Document) -> set[Key]:
    lines = document.head.lines if isinstance(document.head, Payment) else ()
    targets = (books.document((line.record_type, line.record_id)) for line in lines if line.record_type in SALES)
    return {target.key for target in targets if target.head is None and target.gone_at is None}


# --- customers and the company -----------------------------------------------------------------------------------


def _customer_read(books: Books, change: changes.RecordRead, customer: Customer, opened: Opened) -> Decision:
    revision = Revision(change.revised_at, change.sync_token, change.read_at)
    known = books.customers.get(customer.record_id)
    if known is not None and revision <= known.revision:
        return Decision(outcome="older than known")
    state = _customer_state(customer, revision, opened, known)
    decision = Decision(customers={customer.record_id: state})
    if known is None or _profile(known) != _profile(state):
        event = company.CustomerSeen if known is None else company.CustomerChanged
        decision.notices.append(Notice((CUSTOMER, customer.record_id), _profile_event(event, state, opened)))
    if known is None or known.parent_id != state.parent_id:
        decision.reach = Reach(customers=frozenset({customer.record_id}))
    if state.parent_id is not None and state.parent_id not in books.customers:
        decision.reads.add((CUSTOMER, state.parent_id))
    return decision


def _customer_state(
    customer: Customer, revision: Revision, opened: Opened, known: CustomerState | None
) -> CustomerState:
    state = CustomerState(
        customer_id=customer.record_id,
        revision=revision,
        parent_id=customer.parent_id,
        active=customer.active,
        currency=customer.currency,
        names_mac=opened.names_mac,
    )
    if known is None:
        return state
    return replace(state, mapping_state=known.mapping_state, scopes=known.scopes, mapping_version=known.mapping_version)


def _profile(state: CustomerState) -> tuple[object, ...]:
    return state.parent_id, state.active, state.currency, state.names_mac


def _profile_event(event: Any, state: CustomerState, opened: Opened) -> Any:
    return event(
        parent_customer_id=state.parent_id,
        active=state.active,
        currency=state.currency,
        sealed_names=opened.names,
    )


def _company_facts(books: Books, change: changes.CompanyFacts) -> Decision:
    """A field found by its name once stays pinned by its definition, however it is called later.

    The first facts say with which rules the company starts; later ones change no rules: see docs/decisions/0015.
    """
    first = not books.company.home_currency
    named = tuple(f.definition_id for f in change.custom_fields if f.name.strip().lower() == REFERENCE_FIELD)
    fields = books.company.reference_fields or named
    state = replace(
        books.company,
        home_currency=change.home_currency,
        several_currencies=change.several_currencies,
        books_closed_on=change.books_closed_on,
        reference_fields=fields,
        rules_version=(change.rules_version or 1) if first else books.company.rules_version,
    )
    reach = Reach(everything=_decides(state) != _decides(books.company))
    return Decision(outcome="noted", company=state, reach=reach)


def _decides(company: Company) -> tuple[object, ...]:
    """The facts of a company from which documents are decided."""
    return company.reference_fields, company.home_currency, company.rules_version


# --- requests of people ------------------------------------------------------------------------------------------


def _request(books: Books, request: Request, recorded_at: datetime) -> Decision:
    """Accept or refuse; an answer is given once for each decision id (the caller drops repeats)."""
    if isinstance(request, changes.AssignDocument):
        return _assign(books, request)
    customer = books.customers.get(request.customer_id)
    refusal = _refusal(books, request, customer)
    if refusal is not None or customer is None:
        return _answer(request, False, refusal or "The customer is not known.")
    state = _mapped(request, customer)
    decision = _answer(request, True, "")
    decision.customers[customer.customer_id] = state
    decision.facts += _mapping_facts(customer, state, recorded_at.date())
    decision.notices.insert(0, Notice((CUSTOMER, customer.customer_id), _mapping_changed(state)))
    references = {s.reference_number.lower() for s in (*customer.scopes, *state.scopes) if s.reference_number}
    decision.reach = Reach(customers=frozenset({customer.customer_id}), references=frozenset(references))
    return decision


def _refusal(books: Books, request: Any, customer: CustomerState | None) -> str | None:
    if customer is None:
        return f"Customer {request.customer_id} is not known in this QuickBooks company."
    if request.mapping_version != customer.mapping_version:
        return "Somebody else changed this customer's mapping in the meantime. Look at it again, then decide."
    if not isinstance(request, changes.MapCustomer):
        return None
    if request.project_id not in books.projects:
        return f"Project {request.project_id} does not belong to this QuickBooks company."
    if books.projects[request.project_id]:
        return f"Project {request.project_id} is closed."
    return _reference_refusal(books, request)


def _reference_refusal(books: Books, request: changes.MapCustomer) -> str | None:
    """A reference number names one project of the company; a project's own id always wins."""
    number = request.reference_number.strip().lower()
    replaced = books.customers[request.customer_id].scopes if request.from_on is None else ()
    free = {request.project_id, *(s.project_id for s in replaced if s.reference_number.lower() == number)}
    others = books.references.get(number, set()) - free if number else set()
    if others:
        return f"Reference number {request.reference_number} already names project {', '.join(sorted(others))}."
    return None


def _mapped(request: Any, customer: CustomerState) -> CustomerState:
    version = customer.mapping_version + 1
    match request:
        case changes.MapCustomer():
            scope = Scope(request.project_id, request.from_on, request.reference_number.strip())
            scopes = _with_scope(customer.scopes, scope)
            return replace(customer, mapping_state="mapped", scopes=scopes, mapping_version=version)
        case changes.ReleaseCustomer():
            return replace(customer, mapping_state="released", scopes=(), mapping_version=version)
        case changes.ExcludeCustomer():
            state = "reference_only" if request.reference_only else "excluded"
            return replace(customer, mapping_state=state, scopes=(), mapping_version=version)
        case _:
            raise ValueError(f"{type(request).__name__} maps nothing")


def _with_scope(scopes: tuple[Scope, ...], scope: Scope) -> tuple[Scope, ...]:
    """A mapping from the beginning replaces all; one from a day on keeps what lies before that day."""
    kept = [s for s in scopes if scope.from_on is not None and (s.from_on is None or s.from_on < scope.from_on)]
    return (*kept, scope)


def _mapping_facts(before: CustomerState, after: CustomerState, on: date) -> list[Fact]:
    old, new = {s.project_id: s for s in before.scopes}, {s.project_id: s for s in after.scopes}
    record = (CUSTOMER, after.customer_id)
    found = []
    for project_id in sorted(set(old) - set(new)):
        released = facts.CustomerReleased(customer_id=after.customer_id, mapping_version=after.mapping_version)
        found.append(Fact(project_id, record, after.revision, Reason.CUSTOMER, on, released))
    for project_id, scope in sorted(new.items()):
        if old.get(project_id) == scope:
            continue
        mapped = facts.CustomerMapped(
            customer_id=after.customer_id,
            reference_number=scope.reference_number,
            from_on=scope.from_on,
            mapping_version=after.mapping_version,
        )
        found.append(Fact(project_id, record, after.revision, Reason.CUSTOMER, on, mapped))
    return found


def _mapping_changed(state: CustomerState) -> company.CustomerMappingChanged:
    latest = state.scopes[-1] if state.scopes else None
    return company.CustomerMappingChanged(
        state=state.mapping_state,
        project_id=None if latest is None else latest.project_id,
        reference_number="" if latest is None else latest.reference_number,
        from_on=None if latest is None else latest.from_on,
        mapping_version=state.mapping_version,
    )


def _assign(books: Books, request: changes.AssignDocument) -> Decision:
    key = (request.record_type, request.record_id)
    document = books.documents.get(key)
    if document is None or document.head is None:
        return _answer(request, False, f"{request.record_type} {request.record_id} is not known here.")
    if request.project_id is not None and books.projects.get(request.project_id, True):
        return _answer(request, False, f"Project {request.project_id} is closed or not this company's.")
    decision = _answer(request, True, "")
    _settle(books, decision, {key: replace(document, assigned=request.project_id)})
    return decision


def _answer(request: Request, accepted: bool, refusal: str) -> Decision:
    """The answer itself; `RequestAccepted` follows when all that moves has moved (see `accepted`)."""
    decision = Decision(outcome="accepted" if accepted else "refused")
    decision.answered[request.decision_id] = (accepted, refusal)
    if not accepted:
        body = company.RequestRefused(decision_id=request.decision_id, request=type(request).__name__, refusal=refusal)
        decision.notices.append(Notice(_subject(request), body))
    return decision


def accepted(request: Request, records_moved: int) -> Notice:
    """The last word on an accepted request, after the last slice of what it moves."""
    body = company.RequestAccepted(
        decision_id=request.decision_id, request=type(request).__name__, records_moved=records_moved
    )
    return Notice(_subject(request), body)


def _subject(request: Request) -> Key:
    if isinstance(request, changes.AssignDocument):
        return request.record_type, request.record_id
    return CUSTOMER, request.customer_id
