"""The difference between what is booked of a document and what it asks for now, as accounting and company events.

Pure. The only place where a difference gets the name of an event: issued, revised, voided, moved, applied ...
Source: design section 3, "Events"; docs/decisions/0006 (events are differences of states).
"""

from collections.abc import Iterator
from datetime import date
from typing import Any, NamedTuple

from schemas import accounting as facts
from schemas import company
from schemas.accounting import Share
from schemas.quickbooks import CREDIT_MEMO, INVOICE, PAYMENT, REFUND
from streams.books import Booking, Document, Ended, Key, Link, LinkKey, Reason, Revision, Standing, Waiting


class Fact(NamedTuple):
    """An accounting event that has no version yet."""

    project_id: str
    record: Key
    revision: Revision | None
    reason: Reason
    accounting_on: date
    body: Any  # one of schemas.accounting.EVENTS


class Notice(NamedTuple):
    """A company event that has no version yet."""

    record: Key
    body: Any  # one of schemas.company.EVENTS


class _Names(NamedTuple):
    """The events of one record type."""

    added: type
    revised: type
    voided: type
    reinstated: type
    deleted: type
    moved_in: type
    moved_out: type


_NAMES = {
    INVOICE: _Names(
        facts.InvoiceIssued,
        facts.InvoiceRevised,
        facts.InvoiceVoided,
        facts.InvoiceReinstated,
        facts.InvoiceDeleted,
        facts.InvoiceMovedIn,
        facts.InvoiceMovedOut,
    ),
    CREDIT_MEMO: _Names(
        facts.CreditMemoIssued,
        facts.CreditMemoRevised,
        facts.CreditMemoVoided,
        facts.CreditMemoReinstated,
        facts.CreditMemoDeleted,
        facts.CreditMemoMovedIn,
        facts.CreditMemoMovedOut,
    ),
    REFUND: _Names(
        facts.RefundGiven,
        facts.RefundRevised,
        facts.RefundVoided,
        facts.RefundReinstated,
        facts.RefundDeleted,
        facts.RefundMovedIn,
        facts.RefundMovedOut,
    ),
    PAYMENT: _Names(
        facts.PaymentReceived,
        facts.PaymentRevised,
        facts.PaymentVoided,
        facts.PaymentReinstated,
        facts.PaymentDeleted,
        facts.PaymentMovedIn,
        facts.PaymentMovedOut,
    ),
}


def standing_facts(document: Document, wanted: Booking) -> Iterator[Fact]:
    """Documents and shares that end, change, move or begin, in this order."""
    booked, names = document.booked, _NAMES[document.record_type]
    gone = sorted(booked.standings.keys() - wanted.standings.keys())
    new = sorted(wanted.standings.keys() - booked.standings.keys())
    for project_id in gone:
        before = booked.standings[project_id]
        yield _fact(document, project_id, before, _removal(names, wanted, before, _only(new)))
    for project_id in sorted(booked.standings.keys() & wanted.standings.keys()):
        before, after = booked.standings[project_id], wanted.standings[project_id]
        if before.figures != after.figures:
            yield _fact(document, project_id, after, names.revised(before=before.figures, after=after.figures))
    for project_id in new:
        after = wanted.standings[project_id]
        yield _fact(document, project_id, after, _addition(names, booked, after, gone))


def _removal(names: _Names, wanted: Booking, before: Standing, to_project_id: str | None) -> Any:
    if wanted.ended is Ended.VOIDED:
        return names.voided(before=before.figures)
    if wanted.ended is Ended.DELETED:
        return names.deleted(before=before.figures)
    return names.moved_out(before=before.figures, to_project_id=to_project_id)


def _addition(names: _Names, booked: Booking, after: Standing, gone: list[str]) -> Any:
    if booked.ended is not Ended.NO and booked.ever:
        return names.reinstated(after=after.figures)
    returns = booked.ever and not booked.standings and not booked.links
    if gone or returns:
        return names.moved_in(after=after.figures, from_project_id=_only(gone))
    return names.added(after=after.figures)


def _only(project_ids: list[str]) -> str | None:
    return project_ids[0] if len(project_ids) == 1 else None


def _fact(document: Document, project_id: str, standing: Standing, body: Any) -> Fact:
    on = standing.figures.received_on if isinstance(standing.figures, Share) else standing.figures.issued_on
    return Fact(project_id, document.key, document.revision, standing.reason, on, body)


def undone(document: Document, wanted: Booking) -> Iterator[Fact]:
    """Settlements that are not asked for any more, or not like this."""
    for key, link in document.booked.links.items():
        if not _same(wanted.links.get(key), link):
            yield from _link_facts(document, key, link, undo=True)


def settled(document: Document, wanted: Booking) -> Iterator[Fact]:
    """Settlements that are new, or new like this."""
    for key, link in wanted.links.items():
        if not _same(document.booked.links.get(key), link):
            yield from _link_facts(document, key, link, undo=False)


def _same(one: Link | None, other: Link) -> bool:
    """Whatever the reason: a link for another reason is no event."""
    return one is not None and one._replace(reason=other.reason) == other


def _link_facts(document: Document, key: LinkKey, link: Link, *, undo: bool) -> Iterator[Fact]:
    """One settlement, or its opposite. Credit of another project is transferred first and applied then."""
    bodies = [*_link_bodies(key, link, undo=undo), *_exchanged(key, link, undo=undo)]
    for project_id, body in reversed(bodies) if undo else bodies:
        yield Fact(project_id, document.key, document.revision, link.reason, link.on, body)


def _link_bodies(key: LinkKey, link: Link, *, undo: bool) -> list[tuple[str, Any]]:
    said: dict[str, Any] = {"applied": link.amount, "applied_on": link.on, "home_source": link.home_source}
    sides = said | {"home_target": link.home_target}
    match key.kind:
        case "payment":
            applied = facts.PaymentUnapplied if undo else facts.PaymentApplied
            return [(key.project_id, applied(invoice_id=key.target_id, **sides))]
        case "other":
            other = facts.PaymentUnappliedFromOther if undo else facts.PaymentAppliedToOther
            return [(key.project_id, other(other_type=key.target_type, other_id=key.target_id, **said))]
        case "credit_other":
            paid_out = facts.CreditUnappliedFromOther if undo else facts.CreditAppliedToOther
            converted = paid_out(credit_memo_id=key.credit_memo_id, **sides)
            return [*_transfers(key, link, undo=undo), (key.project_id, converted)]
        case "credit":
            credited = facts.CreditUnapplied if undo else facts.CreditApplied
            used = credited(credit_memo_id=key.credit_memo_id, invoice_id=key.target_id, **sides)
            return [*_transfers(key, link, undo=undo), (key.project_id, used)]
        case _:
            raise ValueError(f"a link of kind {key.kind} is not known")


def _exchanged(key: LinkKey, link: Link, *, undo: bool) -> list[tuple[str, Any]]:
    """What the settlement gains where its two sides have different rates."""
    if link.gained is None:
        return []
    exchange = facts.ExchangeDifferenceReversed if undo else facts.ExchangeDifference
    body = exchange(
        invoice_id=key.target_id,
        credit_memo_id=key.credit_memo_id,
        settled=link.amount,
        gained=link.gained,
        gained_on=link.on,
    )
    return [(key.project_id, body)]


def _transfers(key: LinkKey, link: Link, *, undo: bool) -> list[tuple[str, Any]]:
    if key.credit_project_id == key.project_id:
        return []
    out = facts.CreditTransferOutReversed if undo else facts.CreditTransferredOut
    into = facts.CreditTransferInReversed if undo else facts.CreditTransferredIn
    return [
        (key.credit_project_id, _transfer(out, key, link, key.project_id)),
        (key.project_id, _transfer(into, key, link, key.credit_project_id)),
    ]


def _transfer(body: Any, key: LinkKey, link: Link, other_project_id: str) -> Any:
    return body(
        credit_memo_id=key.credit_memo_id,
        invoice_id=key.target_id,
        other_project_id=other_project_id,
        transferred=link.amount,
        transferred_on=link.on,
        home_transferred=link.home_source,
    )


def notices(document: Document, wanted: Booking) -> Iterator[Notice]:
    """What begins and ends to wait, and what begins and ends to be warned about."""
    booked = document.booked
    for part in sorted(booked.waiting.keys() - wanted.waiting.keys()):
        yield Notice(document.key, company.RecordResolved(part=part))
    for part, waiting in sorted(wanted.waiting.items()):
        if booked.waiting.get(part) != waiting:
            yield Notice(document.key, _waiting(part, waiting))
    for code in sorted(booked.warnings.keys() - wanted.warnings.keys()):
        yield Notice(document.key, company.WarningCleared(code=code))
    for code, detail in sorted(wanted.warnings.items()):
        if booked.warnings.get(code) != detail:
            yield Notice(document.key, company.WarningRaised(code=code, detail=detail))


def _waiting(part: str, waiting: Waiting) -> company.RecordWaiting:
    return company.RecordWaiting(
        part=part,
        cause=waiting.cause,
        customer_id=waiting.customer_id,
        amount=waiting.amount,
        home_amount=waiting.home,
        accounting_on=waiting.on,
    )
