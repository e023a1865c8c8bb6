"""What happens to sales forms: progress invoices, retainage, memos, refunds and cash sales, and all that is put right.

Reads: the firm. Writes: its sales forms, each by a bookkeeper who was told first which job it is for.
Guarantees: an edit changes the note exactly where it changes what the paper leads to.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from connectors.simulator.books.notes import NOTHING, Note
from connectors.simulator.books.records import ZERO, Kind, Record, money
from connectors.simulator.life.bookkeepers import Writing, misspelling, spelling, typed, write_up
from connectors.simulator.life.firm import REFERENCE_FIELD, Firm, Site
from connectors.simulator.life.happenings import ITEM_IDS, WORK, Impossible

RETAINAGE_ITEM = "15"


# ---- new papers ------------------------------------------------------------------------------------------------------


def progress_invoice(firm: Firm) -> None:
    """A stage of a job is billed."""
    site = firm.site()
    new_invoice(firm, write_up(firm, site), lines(firm))


def taxed_invoice(firm: Firm) -> None:
    """An invoice with tax on some of its lines, and a discount now and then."""
    more: dict[str, Any] = {"TxnTaxDetail": {"TxnTaxCodeRef": {"value": firm.dice.choice(("2", "3"))}}}
    written = [line | {"SalesItemLineDetail": line["SalesItemLineDetail"] | _TAXED} for line in lines(firm)]
    if firm.likely(40):
        written.append(_discount(firm))
        more["ApplyTaxAfterDiscount"] = firm.likely(50)
    new_invoice(firm, write_up(firm, firm.site()), written, **more)


def discounted_invoice(firm: Firm) -> None:
    """An invoice with something taken off, in percent or as an amount."""
    new_invoice(firm, write_up(firm, firm.site()), [*lines(firm), _discount(firm)])


def invoice_with_deposit(firm: Firm) -> None:
    """An invoice on which money was taken at once."""
    written = lines(firm)
    deposit = money(written[0]["Amount"] * firm.dice.randint(5, 60) / 100)
    new_invoice(firm, write_up(firm, firm.site()), written, Deposit=deposit)


def retainage_invoice(firm: Firm) -> None:
    """A stage is billed and a part of it held back until the job is done: a negative line."""
    site = firm.site(lambda one: not firm.book.multicurrency or _is_home(firm, one.customer))
    written = lines(firm)
    held = money(sum((line["Amount"] for line in written), ZERO) / 10)
    new_invoice(firm, write_up(firm, site), [*written, _item_line(RETAINAGE_ITEM, -held, "Retainage 10%")])
    site.retained += held


def retainage_released(firm: Firm) -> None:
    """The job is done and what was held back is billed."""
    site = firm.site(lambda one: one.retained > 0)
    new_invoice(firm, write_up(firm, site), [_item_line(RETAINAGE_ITEM, site.retained, "Retainage released")])
    site.retained = ZERO


def duplicate_billed(firm: Firm) -> None:
    """An invoice goes to the double of a customer."""
    if not firm.duplicates:
        raise Impossible
    customer, site = firm.duplicates[firm.dice.randrange(len(firm.duplicates))]
    note = firm.known(customer, site.project, "hasty")
    new_invoice(firm, Writing(customer, {}, note), lines(firm))


def opening_invoice(firm: Firm) -> None:
    """What a customer owed before the books began, entered as an invoice."""
    site = firm.site()
    written = _item_line("1", firm.amount(500, 9000), "Opening balance")
    new_invoice(firm, write_up(firm, site), [written], TxnDate=firm.day(-firm.dice.randint(20, 60)))


def credit_memo(firm: Firm) -> None:
    """A customer is credited for something; the memo is used later."""
    written = write_up(firm, firm.site())
    _sale(firm, Kind.CREDIT_MEMO, written, lines(firm, most=900))


def refund_receipt(firm: Firm) -> None:
    """A customer gets money back for something returned."""
    more = {
        "DepositToAccountRef": {"value": "35", "name": "Checking"},
        "PaymentMethodRef": {"value": "2", "name": "Check"},
    }
    _sale(firm, Kind.REFUND_RECEIPT, write_up(firm, firm.site()), lines(firm, most=400), **more)


def sales_receipt(firm: Firm) -> None:
    """Something is sold for cash; it never touches receivables."""
    _sale(firm, Kind.SALES_RECEIPT, write_up(firm, firm.site()), lines(firm, most=600))


def new_invoice(firm: Firm, writing: Writing, written: list[dict[str, Any]], **more: Any) -> Record:
    """An invoice as a bookkeeper wrote it up, due in thirty days."""
    due = {"DueDate": firm.day(30), "SalesTermRef": {"value": "3", "name": "Net 30"}}
    return _sale(firm, Kind.INVOICE, writing, written, **due, **more)


def _sale(firm: Firm, kind: Kind, writing: Writing, written: list[dict[str, Any]], **more: Any) -> Record:
    body = {"CustomerRef": {"value": writing.customer}, "Line": written, **writing.fields, **more}
    return firm.create(kind, body, writing.note)


def lines(firm: Firm, most: int = 9000) -> list[dict[str, Any]]:
    """Some lines of work done."""
    return [_work(firm, most) for _ in range(firm.dice.choice((1, 1, 1, 2, 3)))]


def _work(firm: Firm, most: int) -> dict[str, Any]:
    quantity = firm.dice.choice((1, 1, 2, 4, 8, 12))
    price = firm.amount(5, most // quantity)
    text = firm.dice.choice(WORK).format(n=firm.dice.randint(1, 12))
    written = _item_line(firm.dice.choice(ITEM_IDS), price * quantity, text)
    written["SalesItemLineDetail"] |= {"UnitPrice": price, "Qty": Decimal(quantity)}
    return written


def _item_line(item: str, amount: Decimal, text: str) -> dict[str, Any]:
    detail = {"ItemRef": {"value": item}, "TaxCodeRef": {"value": "NON"}}
    return {"Amount": amount, "Description": text, "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": detail}


_TAXED = {"TaxCodeRef": {"value": "TAX"}}


def _discount(firm: Firm) -> dict[str, Any]:
    if firm.likely(60):
        detail = {"PercentBased": True, "DiscountPercent": Decimal(firm.dice.choice(("5", "10", "2.5")))}
        return {"DetailType": "DiscountLineDetail", "DiscountLineDetail": detail}
    return {
        "Amount": firm.amount(1, 5),
        "DetailType": "DiscountLineDetail",
        "DiscountLineDetail": {"PercentBased": False},
    }


def _is_home(firm: Firm, customer: str) -> bool:
    return firm.book.customer(customer).currency == firm.book.home_currency


# ---- papers put right ------------------------------------------------------------------------------------------------


def lines_edited(firm: Firm) -> None:
    """Amounts of a form are put right."""
    kind = firm.dice.choice((Kind.INVOICE, Kind.INVOICE, Kind.INVOICE, Kind.CREDIT_MEMO, Kind.REFUND_RECEIPT))
    found = firm.paper(kind, _is_filled)
    firm.update(found, {"Line": lines(firm, most=9000 if kind is Kind.INVOICE else 600)})


def redated(firm: Firm) -> None:
    """A document gets another date, often in another month."""
    kind = firm.dice.choice((Kind.INVOICE, Kind.INVOICE, Kind.CREDIT_MEMO, Kind.REFUND_RECEIPT, Kind.PAYMENT))
    found = firm.paper(kind, lambda one: not one.voided)
    more = {"TotalAmt": found.total} if kind is Kind.PAYMENT else {}
    firm.update(found, {"TxnDate": firm.day(-firm.dice.randint(1, 40)), **more})


def note_added(firm: Firm) -> None:
    """Somebody writes a remark into a document; no amount moves."""
    firm.update(firm.paper(Kind.INVOICE), {"PrivateNote": f"Checked {firm.dice.randint(1, 999)}"})


def customer_changed(firm: Firm) -> None:
    """A form was written for the wrong customer; it goes to another, and its payments are unlinked."""
    found = firm.paper(_a_form(firm), lambda one: _is_filled(one) and "ProjectRef" not in one.fields)
    site = firm.site(lambda one: _may_take(firm, found, one))
    old = found.note or NOTHING
    note = firm.known(site.customer, site.project, old.writer, old.named, old.linked)
    # The number and the project that were typed for the old customer stay: a careful one would have looked.
    firm.update(found, {"CustomerRef": {"value": site.customer}}, note)


def _may_take(firm: Firm, found: Record, site: Site) -> bool:
    return site.customer != found.customer_id and firm.book.customer(site.customer).currency == found.currency


def reference_typed_later(firm: Firm) -> None:
    """A form without a number gets the number of the job it is meant for."""
    found = firm.paper(_a_form(firm), lambda one: _is_meant(one) and REFERENCE_FIELD not in one.custom)
    _refer(firm, found, _site_of(firm, found))


def reference_corrected(firm: Firm) -> None:
    """A wrong or mistyped number is put right."""
    found = firm.paper(_a_form(firm), lambda one: _is_meant(one) and REFERENCE_FIELD in one.custom and _is_astray(one))
    _refer(firm, found, _site_of(firm, found))


def reference_changed(firm: Firm) -> None:
    """A right number is made another job's: it was that job's all the time, or somebody errs."""
    found = firm.paper(_a_form(firm), lambda one: _is_meant(one) and REFERENCE_FIELD in one.custom)
    other = firm.site(lambda one: one.project is not None)
    meant = other.project if firm.likely(60) else (found.note or NOTHING).intended
    note = _noted(firm, found, meant, other.project)
    firm.update(found, typed(spelling(firm, other)), note if note.intended == other.project else _erring(note))


def reference_spoilt(firm: Firm) -> None:
    """A right number is mistyped when the form is written again."""
    found = firm.paper(_a_form(firm), lambda one: REFERENCE_FIELD in one.custom and _is_meant(one))
    note = found.note or NOTHING
    firm.update(found, typed(misspelling(firm, _site_of(firm, found))), _noted(firm, found, note.intended, None))


def reference_cleared(firm: Firm) -> None:
    """The number is taken out; the form goes where its customer goes."""
    found = firm.paper(_a_form(firm), lambda one: REFERENCE_FIELD in one.custom)
    firm.update(found, typed(""), _noted(firm, found, (found.note or NOTHING).intended, None))


def _refer(firm: Firm, found: Record, site: Site) -> None:
    firm.update(found, typed(spelling(firm, site)), _noted(firm, found, site.project, site.project))


def _erring(note: Note) -> Note:
    return note._replace(writer="wrong")


def _noted(firm: Firm, found: Record, intended: str | None, named: str | None) -> Note:
    old = found.note or NOTHING
    return firm.known(str(found.customer_id), intended, old.writer, named, old.linked)


def _a_form(firm: Firm) -> Kind:
    return firm.dice.choice((Kind.INVOICE, Kind.INVOICE, Kind.CREDIT_MEMO, Kind.REFUND_RECEIPT))


def _site_of(firm: Firm, found: Record) -> Site:
    intended = (found.note or NOTHING).intended
    for site in (*firm.sites, *firm.closed):
        if site.project == intended:
            return site
    raise Impossible


def _is_meant(record: Record) -> bool:
    return record.note is not None and record.note.intended is not None


def _is_astray(record: Record) -> bool:
    return record.note is not None and record.note.named != record.note.intended


def _is_filled(record: Record) -> bool:
    return not record.voided and record.total > 0


# ---- ends and returns ------------------------------------------------------------------------------------------------


def form_voided(firm: Firm) -> None:
    """A form is voided; what was paid on it is unapplied again."""
    kind = firm.dice.choice(
        (Kind.INVOICE, Kind.INVOICE, Kind.INVOICE, Kind.CREDIT_MEMO, Kind.REFUND_RECEIPT, Kind.SALES_RECEIPT)
    )
    firm.void(firm.paper(kind, _is_filled))


def void_taken_back(firm: Firm) -> None:
    """A voided form is filled in again."""
    if not firm.voided:
        raise Impossible
    kind, record_id = firm.voided[firm.dice.randrange(len(firm.voided))]
    found = firm.book.records[kind].get(record_id)
    if found is None or not found.voided or kind is Kind.PAYMENT:
        raise Impossible
    firm.update(found, {"Line": lines(firm, most=900)})


def form_deleted(firm: Firm) -> None:
    """A form is deleted for good."""
    kind = firm.dice.choice((Kind.INVOICE, Kind.INVOICE, Kind.CREDIT_MEMO, Kind.REFUND_RECEIPT, Kind.SALES_RECEIPT))
    firm.delete(firm.paper(kind))


def emailed(firm: Firm) -> None:
    """A form is sent to its customer; nothing in the books moves."""
    found = firm.paper(firm.dice.choice((Kind.INVOICE, Kind.INVOICE, Kind.CREDIT_MEMO)))
    firm.company.announce(found.kind.value, found.id, "Emailed")
