"""Turn one change of a company into accounting events of the projects it touches.

Pure: `decide(books, change) -> Decision`, without clock, randomness or I/O. Idempotence comes from state, not from
ids: what a document asks for is compared with what is booked of it, and only the difference becomes events. The same
change twice, or an older one late, adds nothing; any order of arrival ends in the same books.
Reads: company-changes (opened and parsed by `streams.event_log`). Writes: nothing; the caller stores the decision.
Source: design section 3; docs/decisions/0006 (events are differences of states).
"""

from collections import ChainMap
from collections.abc import Collection, Iterable, Mapping, MutableMapping
from dataclasses import replace
from datetime import datetime
from typing import Any

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
    SalesDocument,
)
from streams.asking import answer
from streams.books import (
    Booking,
    Books,
    Company,
    CustomerState,
    Document,
    Ended,
    Key,
    Merge,
    Naming,
    Revision,
    Standing,
    WaitCause,
    Waiting,
)
from streams.decision import REQUESTS, Decision, Opened, Reach
from streams.difference import Fact, Notice, notices, settled, standing_facts, undone
from streams.exchange import at_home, at_stake, is_abroad, sharing, warnings_of
from streams.journals import keep_sides
from streams.merges import follow_up, known_merge, merged_with, no_longer_asked, oriented, replaced
from streams.payments import want_payment
from streams.placement import REFERENCE_FIELD, place


def decide(books: Books, change: changes.Change, recorded_at: datetime, opened: Opened | None = None) -> Decision:
    """What this change makes of these books. `opened` comes with a RecordRead. The books themselves are not touched."""
    decision = _decided(books, change, recorded_at, opened)
    merges = (decision.company or books.company).merges
    if merges and (decision.customers or isinstance(change, _FOR_MERGES)):
        follow_up(_view(books, decision, {}), decision)
    return decision.conclude()


def _decided(books: Books, change: changes.Change, recorded_at: datetime, opened: Opened | None) -> Decision:
    match change:
        case changes.RecordRead() if opened is not None and isinstance(opened.record, Customer):
            return _customer_read(books, change, opened.record, opened)
        case changes.RecordRead() if opened is not None and not isinstance(opened.record, Customer):
            return _document_read(books, change, opened.record)
        case changes.RecordGone() if change.record_type == CUSTOMER:
            return _customer_gone(books, change)
        case changes.RecordGone():
            return _document_gone(books, change)
        case changes.RecordAbsent():
            return _document_absent(books, change)
        case changes.MergeNotice():
            return _merge_noticed(books, change)
        case (
            changes.MapCustomer()
            | changes.ReleaseCustomer()
            | changes.ExcludeCustomer()
            | changes.AssignDocument()
            | changes.LinkQuickBooksProject()
            | changes.ResolveMerge()
            | changes.DismissWarning()
        ):
            decision, changed = answer(books, change, recorded_at)
            _settle(books, decision, changed)
            return decision
        case _:
            return _company_changed(books, change)


def _company_changed(books: Books, change: changes.Change) -> Decision:
    match change:
        case changes.CompanyFacts():
            return _company_facts(books, change)
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


_FOR_MERGES = (*REQUESTS, changes.RecordGone, changes.MergeNotice)


def absorb(books: Books, decision: Decision) -> None:
    """Carry a decision into the loaded books, so that the next change of the same batch sees it."""
    books.documents.update(decision.documents)
    for customer in decision.customers.values():
        _learn_references(books, customer)
    books.customers.update(decision.customers)
    books.projects.update(decision.projects)
    books.quickbooks_projects.update(decision.quickbooks_projects)
    books.company = decision.company or books.company
    for document in decision.documents.values():
        if isinstance(document.head, Payment):
            for line in document.head.lines:
                books.payers.setdefault((line.record_type, line.record_id), set()).add(document.record_id)
    for project_id in decision.projects:
        books.references.setdefault(project_id.lower(), set()).add(Naming(project_id, ""))


def _learn_references(books: Books, customer: CustomerState) -> None:
    """What the customer's mapping names from now on; what it named before is named by others only."""
    before = books.customers.get(customer.customer_id)
    for scope in before.scopes if before is not None else ():
        named = books.references.get(scope.reference_number.lower(), set())
        named.discard(Naming(scope.project_id, customer.customer_id))
    for scope in customer.scopes:
        if scope.reference_number:
            named = books.references.setdefault(scope.reference_number.lower(), set())
            named.add(Naming(scope.project_id, customer.customer_id))


def redecide(books: Books, keys: Iterable[Key], reach: Reach | None = None) -> Decision:
    """Settle these documents anew, and the payments that name them, as after a change of mapping."""
    decision = Decision()
    changed = {key: books.document(key) for key in keys}
    _settle(books, decision, changed)
    if reach is not None and reach.read_again:
        decision.reads |= {key for key, document in changed.items() if _names_one_of(document, reach.read_again)}
    if books.company.merges:
        follow_up(books, decision)
    return decision.conclude()


def _names_one_of(document: Document, customer_ids: Collection[str]) -> bool:
    return document.head is not None and document.head.customer_id in customer_ids


# --- documents ---------------------------------------------------------------------------------------------------


def refuse_unknown(change: changes.Change) -> None:
    """Raises UnprocessableError for what the ledger cannot keep: another type of record, no id, rules it has not."""
    if isinstance(change, changes.RulesChanged | changes.CompanyFacts):
        _refuse_unknown_rules(1 if change.rules_version is None else change.rules_version)
    for record_type, record_id in _named_by(change):
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


def _named_by(change: changes.Change) -> list[Key]:
    match change:
        case changes.RecordRead() | changes.RecordGone() | changes.RecordAbsent():
            return [(change.record_type, change.record_id)]
        case changes.AssignDocument() | changes.DismissWarning():
            return [(change.record_type, change.record_id)]
        case changes.MapCustomer() | changes.ReleaseCustomer() | changes.ExcludeCustomer():
            return [(CUSTOMER, change.customer_id)]
        case changes.MergeNotice():
            return [(CUSTOMER, change.kept_customer_id), (CUSTOMER, change.vanished_customer_id)]
        case _:
            return []


def _document_read(books: Books, change: changes.RecordRead, head: SalesDocument | Payment) -> Decision:
    """Deleted stays deleted unless Intuit shows a later revision, in whatever order both are heard of."""
    known = books.document((change.record_type, change.record_id))
    revision = Revision(change.revised_at, change.sync_token, change.read_at)
    if known.revision is not None and revision <= known.revision:
        return _older_read(books, known, head, change.revised_at)
    document = known.with_head(keep_sides(head, known.head), revision)
    decision = Decision(outcome="older than its delete" if document.ended is Ended.DELETED else "no difference")
    _settle(books, decision, {document.key: document})
    return decision


def _older_read(books: Books, known: Document, head: SalesDocument | Payment, revised_at: datetime) -> Decision:
    """It overwrites nothing; that the document named another customer then matters when both are merged."""
    decision = Decision(outcome="older than known")
    named = known.named_with(head.customer_id, revised_at)
    if named is not known.named:
        _settle(books, decision, {known.key: known._replace(named=named)})
    return decision


def _document_gone(books: Books, change: changes.RecordGone) -> Decision:
    """The time of the answer 610 is the delete's: only a revision after it is later."""
    known = books.document((change.record_type, change.record_id))
    if known.gone_at is not None and known.gone_at >= change.read_at:
        return Decision(outcome="no difference")
    document = known._replace(gone_at=change.read_at)
    decision = Decision(outcome="older than known" if document.came_back else "no difference")
    _settle(books, decision, {document.key: document})
    return decision


def _document_absent(books: Books, change: changes.RecordAbsent) -> Decision:
    """A 610 that no delete announced decides nothing; it is listed until the record is read or its delete is told."""
    known = books.document((change.record_type, change.record_id))
    if known.revision is None:
        return Decision(outcome="not known here")
    if known.revision.read_at >= change.read_at or (known.absent_at is not None and known.absent_at >= change.read_at):
        return Decision(outcome="older than known")
    decision = Decision()
    _settle(books, decision, {known.key: known._replace(absent_at=change.read_at)})
    return decision


def _settle(books: Books, decision: Decision, changed: Mapping[Key, Document]) -> None:
    """Bring what is booked of these documents, and of the payments that name them, to what they ask for now.

    Payments that settle the same foreign documents as a changed one follow it: their cents hang together.
    """
    view = _view(books, decision, changed)
    payers = {(PAYMENT, payment_id) for key in changed for payment_id in view.payers.get(key, ())}
    if paid := {key: document for key, document in changed.items() if key[0] == PAYMENT}:
        payers |= sharing(view, map(books.document, paid), paid.values())
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
        ChainMap(decision.customers, books.customers) if decision.customers else books.customers,
        ChainMap(dict(changed), books.documents),
        _payers(books, changed.values()),
        books.projects,
        books.foreign,
        books.references,
        books.quickbooks_projects,
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
    """What it asks for; an alarm about a document is listed with its warnings."""
    wanted, alarms = _booking(books, document), document.alarms
    return wanted._replace(warnings={**wanted.warnings, **alarms}) if alarms else wanted


def _booking(books: Books, document: Document) -> Booking:
    if isinstance(document.head, Payment):
        return want_payment(books, document, document.head)
    if document.head is None or document.ended is not Ended.NO:
        return Booking(ended=document.ended, ever=document.booked.ever)
    placement = place(books, document)
    figures = _figures(books.company, document.head)
    warnings = placement.warnings | warnings_of(books.company, document.head)
    if placement.project_id is None or placement.reason is None:
        cause = placement.cause or WaitCause.CUSTOMER_NOT_SYNCED
        home = at_stake(books.company, figures.total, document.head.exchange_rate)
        waiting = {"": Waiting(cause, figures.customer_id, figures.total, figures.issued_on, home)}
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
        elif waiting.cause is WaitCause.JOURNAL_SIGN_OPEN:
            found.add(document.key)  # its journal entries are read with it
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
        decision.reach = Reach(customers=merged_with(books.company, {customer.record_id}))
    if state.parent_id is not None and state.parent_id not in books.customers:
        decision.reads.add((CUSTOMER, state.parent_id))
    _orient_merges(books, decision, books.company.merges)
    return decision


def _orient_merges(books: Books, decision: Decision, merges: tuple[Merge, ...]) -> None:
    """These are the merges now, and records may say which customers vanished: from then on a merge has its effect."""
    for now in oriented(merges, ChainMap(decision.customers, books.customers)):
        before = known_merge(books.company, now.kept_id, now.vanished_id)
        if now == before:
            continue
        state = replace(books.company, merges=replaced(decision.company or books.company, now))
        had_vanished, has_vanished = _vanished(before), _vanished(now)
        if before is not None and before.asked and had_vanished != has_vanished:
            decision.notices.append(no_longer_asked(before))
            state = replace(state, merges=replaced(state, now._replace(asked="")))
        decision.company = state
        # Where it is not sure any more who vanished, another merge has become so, and reaches these documents, too.
        if has_vanished:
            decision.reach = decision.reach._replace(
                customers=decision.reach.customers | merged_with(state, {now.kept_id}),
                read_again=decision.reach.read_again | (has_vanished - had_vanished),
            )


def _vanished(merge: Merge | None) -> frozenset[str]:
    """Nobody, as long as that is not sure."""
    return frozenset({merge.vanished_id}) if merge is not None and merge.sure else frozenset()


def _merge_noticed(books: Books, change: changes.MergeNotice) -> Decision:
    """Intuit says that two customers were merged; their records say which of them vanished."""
    kept_id, vanished_id = change.kept_customer_id, change.vanished_customer_id
    if kept_id == vanished_id:
        return Decision(outcome="a merge of a customer with itself")
    known = known_merge(books.company, kept_id, vanished_id)
    noticed_at = change.noticed_at if known is None else min(known.noticed_at, change.noticed_at)
    merge = (known or Merge(vanished_id, kept_id, noticed_at))._replace(noticed_at=noticed_at)
    decision = Decision()
    if known is None:
        decision = Decision(outcome="read again", reads={(CUSTOMER, kept_id), (CUSTOMER, vanished_id)})
    _orient_merges(books, decision, replaced(books.company, merge))
    return decision


def _customer_gone(books: Books, change: changes.RecordGone) -> Decision:
    """Customers are never deleted; one that is not there and was merged has vanished."""
    decision = Decision(outcome="customers are never deleted")
    merges = tuple(
        merge._replace(gone=(*merge.gone, change.record_id))
        if change.record_id in merge.pair - {*merge.gone}
        else merge
        for merge in books.company.merges
    )
    if merges != books.company.merges:
        decision.outcome = "merged away"
        _orient_merges(books, decision, merges)
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
    decision = Decision(outcome="noted", company=state, reach=reach)
    if change.books_closed_on != books.company.books_closed_on:
        decision.notices.append(Notice(("", ""), company.BooksClosed(closed_on=change.books_closed_on)))
    return decision


def _decides(company: Company) -> tuple[object, ...]:
    """The facts of a company from which documents are decided."""
    return company.reference_fields, company.home_currency, company.rules_version
