"""What people ask of the ledger: map, release, exclude, assign, link, decide about a merge. Accept or refuse.

Pure. Each request carries the version of what the person saw; whoever was overtaken is refused and told.
An answer is given once for each decision id (the caller drops repeats).
Source: design section 2, "Requests of people are requests"; docs/decisions/0008 (the gate and assignments).
"""

from dataclasses import replace
from datetime import date, datetime
from typing import assert_never

from schemas import accounting as facts
from schemas import changes, company
from schemas.quickbooks import CUSTOMER
from streams.books import Books, CustomerState, Document, Key, QuickBooksProject, Reason, Scope
from streams.decision import PROJECT_REF, Decision, Reach, Request
from streams.difference import Fact, Notice
from streams.merges import APART, TOGETHER, is_together, merge_of, merged_with, replaced

OVERTAKEN = "Somebody else changed {what} in the meantime. Look at it again, then decide."
OfCustomer = changes.MapCustomer | changes.ReleaseCustomer | changes.ExcludeCustomer
OfDocument = changes.AssignDocument | changes.DismissWarning


def answer(books: Books, request: Request, recorded_at: datetime) -> tuple[Decision, dict[Key, Document]]:
    """The ledger's answer, and the documents that are other ones now and must be settled anew."""
    match request:
        case changes.MapCustomer() | changes.ReleaseCustomer() | changes.ExcludeCustomer():
            return _of_customer(books, request, recorded_at), {}
        case changes.AssignDocument() | changes.DismissWarning():
            return _of_document(books, request)
        case changes.LinkQuickBooksProject():
            return _link(books, request), {}
        case changes.ResolveMerge():
            return _resolve(books, request, recorded_at), {}
        case _:
            assert_never(request)


def accepted(request: Request, records_moved: int) -> Notice:
    """The last word on an accepted request, after the last slice of what it moves."""
    body = company.RequestAccepted(
        decision_id=request.decision_id, request=type(request).__name__, records_moved=records_moved
    )
    return Notice(subject(request), body)


def subject(request: Request) -> Key:
    """What the request speaks of."""
    match request:
        case changes.AssignDocument() | changes.DismissWarning():
            return request.record_type, request.record_id
        case changes.LinkQuickBooksProject():
            return PROJECT_REF, request.project_ref
        case changes.ResolveMerge():
            return CUSTOMER, request.vanished_customer_id
        case changes.MapCustomer() | changes.ReleaseCustomer() | changes.ExcludeCustomer():
            return CUSTOMER, request.customer_id
        case _:
            assert_never(request)


def _yes(request: Request) -> Decision:
    """Accepted; `RequestAccepted` follows when all that moves has moved (see `accepted`)."""
    return Decision(outcome="accepted", answered={request.decision_id: (True, "")})


def _no(request: Request, refusal: str) -> Decision:
    body = company.RequestRefused(decision_id=request.decision_id, request=type(request).__name__, refusal=refusal)
    notices = [Notice(subject(request), body)]
    return Decision(outcome="refused", answered={request.decision_id: (False, refusal)}, notices=notices)


# --- customers ---------------------------------------------------------------------------------------------------


def _of_customer(books: Books, request: OfCustomer, recorded_at: datetime) -> Decision:
    customer = books.customers.get(request.customer_id)
    refusal = _refusal(books, request, customer)
    if refusal is not None or customer is None:
        return _no(request, refusal or "The customer is not known.")
    decision = _yes(request)
    _change_mapping(decision, customer, _mapped(request, customer), recorded_at.date())
    _settle_merges(books, decision, customer.customer_id, recorded_at.date())
    decision.reach = decision.reach._replace(customers=merged_with(books.company, {customer.customer_id}))
    return decision


def _change_mapping(decision: Decision, before: CustomerState, after: CustomerState, on: date) -> None:
    decision.customers[after.customer_id] = after
    numbers = (scope.reference_number.lower() for scope in (*before.scopes, *after.scopes))
    references = decision.reach.references | {number for number in numbers if number}
    decision.reach = decision.reach._replace(references=references)
    decision.facts += _mapping_facts(before, after, on)
    decision.notices.append(Notice((CUSTOMER, after.customer_id), _mapping_changed(after)))


def _settle_merges(books: Books, decision: Decision, kept_id: str, on: date) -> None:
    """Whoever decides about the kept customer decides about those whose documents are together with its own."""
    merges = books.company.merges
    for merge in merges:
        if merge.sure and merge.kept_id == kept_id and not merge.decided and is_together(books, merge):
            merges = replaced(
                replace(books.company, merges=merges), merge._replace(decided=TOGETHER, version=merge.version + 1)
            )
            _release(books, decision, merge.vanished_id, on)
    if merges is not books.company.merges:
        decision.company = replace(books.company, merges=merges)


def _release(books: Books, decision: Decision, customer_id: str, on: date) -> None:
    """A vanished customer's own mapping ends when its documents go with the kept one's."""
    customer = books.customers.get(customer_id)
    if customer is not None and customer.mapping_state not in ("none", "released"):
        version = customer.mapping_version + 1
        released = replace(customer, mapping_state="released", scopes=(), mapping_version=version)
        _change_mapping(decision, customer, released, on)


def _refusal(books: Books, request: OfCustomer, customer: CustomerState | None) -> str | None:
    if customer is None:
        return f"Customer {request.customer_id} is not known in this QuickBooks company."
    merge = merge_of(books.company, customer.customer_id)
    if merge is not None and is_together(books, merge):
        return f"Customer {customer.customer_id} was merged into customer {merge.kept_id}. Decide about that one."
    if request.mapping_version != customer.mapping_version:
        return OVERTAKEN.format(what="this customer's mapping")
    if not isinstance(request, changes.MapCustomer):
        return None
    return _project_refusal(books, request.project_id) or _reference_refusal(books, request)


def _project_refusal(books: Books, project_id: str) -> str | None:
    if project_id not in books.projects:
        return f"Project {project_id} does not belong to this QuickBooks company."
    return f"Project {project_id} is closed." if books.projects[project_id] else None


def _reference_refusal(books: Books, request: changes.MapCustomer) -> str | None:
    """A reference number names one project of the company; a project's own id always wins."""
    number = request.reference_number.strip().lower()
    namings = books.references.get(number, set()) if number else set()
    own = {naming.project_id for naming in namings if not naming.customer_id}
    given = {naming.project_id for naming in namings if naming.customer_id != request.customer_id}
    kept = _kept_scopes(books.customers[request.customer_id].scopes, request.from_on)
    given |= {scope.project_id for scope in kept if scope.reference_number.lower() == number}
    others = (own or given) - {request.project_id} if number else set()
    if others:
        return f"Reference number {request.reference_number} already names project {', '.join(sorted(others))}."
    return None


def _mapped(request: OfCustomer, customer: CustomerState) -> CustomerState:
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
            assert_never(request)


def _with_scope(scopes: tuple[Scope, ...], scope: Scope) -> tuple[Scope, ...]:
    return (*_kept_scopes(scopes, scope.from_on), scope)


def _kept_scopes(scopes: tuple[Scope, ...], from_on: date | None) -> list[Scope]:
    """A mapping from the beginning replaces all; one from a day on keeps what lies before that day."""
    return [s for s in scopes if from_on is not None and (s.from_on is None or s.from_on < from_on)]


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


# --- documents, projects of QuickBooks, merges ---------------------------------------------------------------------


def _of_document(books: Books, request: OfDocument) -> tuple[Decision, dict[Key, Document]]:
    document = books.documents.get((request.record_type, request.record_id))
    if document is None or document.head is None:
        return _no(request, f"{request.record_type} {request.record_id} is not known here."), {}
    if isinstance(request, changes.DismissWarning):
        if not document.came_back:
            return _no(request, f"Nothing is left to dismiss about {request.record_type} {request.record_id}."), {}
        return _yes(request), {document.key: document._replace(gone_at=None)}
    refusal = _assignment_refusal(books, request, document)
    if refusal is not None:
        return _no(request, refusal), {}
    version = document.assignment_version + 1
    return _yes(request), {document.key: document._replace(assigned=request.project_id, assignment_version=version)}


def _assignment_refusal(books: Books, request: changes.AssignDocument, document: Document) -> str | None:
    if request.assignment_version not in (None, document.assignment_version):
        return OVERTAKEN.format(what="this document's assignment")
    if request.project_id is not None and books.projects.get(request.project_id, True):
        return f"Project {request.project_id} is closed or not this company's."
    return None


def _link(books: Books, request: changes.LinkQuickBooksProject) -> Decision:
    known = books.quickbooks_projects.get(request.project_ref, QuickBooksProject(None, 0))
    if request.link_version != known.version:
        return _no(request, OVERTAKEN.format(what="this project's link"))
    if request.project_id is None and known.project_id is None:
        return _no(request, f"QuickBooks project {request.project_ref} is not linked.")
    refusal = None if request.project_id is None else _project_refusal(books, request.project_id)
    if refusal is not None:
        return _no(request, refusal)
    decision = _yes(request)
    decision.quickbooks_projects[request.project_ref] = QuickBooksProject(request.project_id, known.version + 1)
    decision.reach = Reach(project_refs=frozenset({request.project_ref}))
    return decision


def _resolve(books: Books, request: changes.ResolveMerge, recorded_at: datetime) -> Decision:
    vanished_id = request.vanished_customer_id
    merge = merge_of(books.company, vanished_id)
    if merge is None:
        return _no(request, f"No merge is known in which customer {vanished_id} vanished.")
    if request.merge_version != merge.version:
        return _no(request, OVERTAKEN.format(what="this merge"))
    if merge.decided == TOGETHER:
        return _no(request, f"Customer {vanished_id} is together with customer {merge.kept_id} already.")
    decision = _yes(request)
    decided = TOGETHER if request.together else APART
    now = merge._replace(decided=decided, version=merge.version + 1)
    decision.company = replace(books.company, merges=replaced(books.company, now))
    if request.together:
        _release(books, decision, vanished_id, recorded_at.date())
    decision.reach = decision.reach._replace(customers=merged_with(books.company, {vanished_id}))
    return decision
