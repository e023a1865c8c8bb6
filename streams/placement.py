"""Which project a document belongs to, and why: the gate, then rules 0 to 5, in this order.

Pure. Nothing is dropped and nothing is guessed: what no rule places waits for a decision.
Source: design section 3, "The gate" and "Which project?"; docs/decisions/0008 (the gate and assignments).
"""

from datetime import date
from typing import NamedTuple

from schemas.quickbooks import Payment, SalesDocument
from streams.books import Books, Company, CustomerState, Document, QuickBooksProject, Reason, WaitCause
from streams.merges import mapped_as

REFERENCE_FIELD = "reference number"  # the field's name, trimmed and in lower case


class Placement(NamedTuple):
    """A project with the reason, or the cause of waiting; and warnings that block nothing."""

    project_id: str | None
    reason: Reason | None
    cause: WaitCause | None
    warnings: dict[str, str]


def place(books: Books, document: Document) -> Placement:
    """Where this document belongs by its own facts. A payment's lines follow their invoices instead."""
    head = document.head
    if head is None:
        return Placement(None, None, WaitCause.CUSTOMER_UNKNOWN, {})
    family = books.family(mapped_as(books, document))
    if not family:
        return Placement(None, None, WaitCause.CUSTOMER_UNKNOWN, {})
    gate = _gate(family)
    if gate is WaitCause.CUSTOMER_NOT_SYNCED:
        return Placement(None, None, gate, {})
    if document.assigned is not None:
        return Placement(document.assigned, Reason.ASSIGNED, None, {})
    if gate is WaitCause.EXCLUDED:
        return Placement(None, None, gate, {})
    return _by_own_facts(books, head, family, gate)


def _gate(family: list[CustomerState]) -> WaitCause | None:
    """None: open. The nearest customer of the family about which a person decided opens or closes it."""
    for customer in family:
        if customer.mapping_state == "mapped":
            return None
        if customer.mapping_state == "excluded":
            return WaitCause.EXCLUDED
        if customer.mapping_state == "reference_only":
            return WaitCause.REFERENCE_ONLY
    return WaitCause.CUSTOMER_NOT_SYNCED


def _by_own_facts(
    books: Books, head: SalesDocument | Payment, family: list[CustomerState], gate: WaitCause | None
) -> Placement:
    """Rules 1 and 2, then the rest. A number or a QuickBooks project that matches nothing is warned about only."""
    warnings: dict[str, str] = {}
    text = reference_of(books.company, head)
    if text is not None:
        matches = books.projects_named(text)
        if len(matches) == 1:
            return Placement(next(iter(matches)), Reason.REFERENCE_NUMBER, None, warnings)
        warnings["reference_ambiguous" if matches else "reference_unknown"] = text
    linked = None
    if head.project_ref is not None:
        linked = books.quickbooks_projects.get(head.project_ref, QuickBooksProject(None, 0)).project_id
        if linked is None:
            warnings["quickbooks_project_unlinked"] = head.project_ref
    if gate is not None:
        return Placement(None, None, gate, warnings)
    if linked is not None:
        return Placement(linked, Reason.QUICKBOOKS_PROJECT, None, warnings)
    return _by_customer(family, _day(head), warnings)


def _by_customer(family: list[CustomerState], day: date, warnings: dict[str, str]) -> Placement:
    """Rules 3 and 4: the customer's own mapping, else that of its nearest ancestor."""
    for distance, customer in enumerate(family):
        scope = customer.scope_on(day) if customer.mapping_state == "mapped" else None
        if scope is not None:
            reason = Reason.CUSTOMER if distance == 0 else Reason.PARENT_CUSTOMER
            return Placement(scope.project_id, reason, None, warnings)
    return Placement(None, None, WaitCause.OUT_OF_SCOPE, warnings)


def reference_of(company: Company, head: SalesDocument | Payment) -> str | None:
    """The text of the Reference Number field, by its pinned definition, else by its name. Payments have none."""
    if isinstance(head, Payment):
        return None
    for custom_field in head.custom_fields:
        if custom_field.definition_id in company.reference_fields:
            return custom_field.text
        if not company.reference_fields and custom_field.name.lower() == REFERENCE_FIELD:
            return custom_field.text
    return None


def _day(head: SalesDocument | Payment) -> date:
    return head.received_on if isinstance(head, Payment) else head.issued_on
