"""The buttons of the control page that change a company's books, through the same operations as the REST API.

Reads: forms. Writes: companies.
Guarantees: one form is one change; a refusal is shown in Intuit's own words; the page says what happened and which
events it caused.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from itertools import islice
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connectors.simulator.api.company import Company
from connectors.simulator.books.book import credit_link
from connectors.simulator.books.records import ZERO, Kind, Record, Refused, money
from connectors.simulator.pages.messages import Message, Messages
from connectors.simulator.pages.panel import SESSION
from connectors.simulator.pages.rendering import form_of
from connectors.simulator.simulator import Simulator

EVENTS_LINKED = 5
WORDS = {
    Kind.CUSTOMER: "Customer",
    Kind.INVOICE: "Invoice",
    Kind.CREDIT_MEMO: "Credit memo",
    Kind.PAYMENT: "Payment",
    Kind.REFUND_RECEIPT: "Refund",
}
Form = dict[str, str]
Made = tuple[Record, str]  # the record, and what happened to it


class Mistake(Exception):
    """The form cannot be understood; the text says why."""


class Changes:
    """Forms that change books."""

    def __init__(self, simulator: Simulator, messages: Messages) -> None:
        self.simulator = simulator
        self.messages = messages

    def routes(self) -> list[Route]:
        """Where the forms go."""
        return [Route("/_sim/page/companies/{realm}/changes", self.change, methods=["POST"])]

    async def change(self, request: Request) -> Response:
        """Make one change and go to where it can be seen."""
        company = self.simulator.companies.get(request.path_params["realm"])
        if company is None:
            raise HTTPException(404, f"there is no company {request.path_params['realm']}")
        form = await form_of(request, SESSION)
        if form is None:
            return self.messages.shown_at(f"/_sim/page/companies/{company.realm}", TOO_OLD)
        return self.messages.shown_at(form.get("back", "/_sim"), self._made(company, form))

    def _made(self, company: Company, form: Form) -> Message:
        make = CHANGES.get(form.get("change", ""))
        if make is None:
            return Message("There is no such button.", is_refusal=True)
        courier = self.simulator.courier
        before, late, announced = len(courier.queue), len(courier.late), courier.counts["events"]
        try:
            record, what = make(company, form)
        except Mistake as mistake:
            return Message(str(mistake), is_refusal=True)
        except Refused as refused:
            return Message(f"QuickBooks refused: {refused.detail or refused.message} ({refused.code})", is_refusal=True)
        queued = [one.id for one in islice(courier.queue, before, None)]
        caused = courier.counts["events"] - announced
        link = f"/_sim/page/companies/{company.realm}/{record.kind.value}/{record.id}"
        text = f"{_called(record)} {what}; {self._announced(caused, len(queued), len(courier.late) - late)}."
        return Message(text, event_ids=queued[:EVENTS_LINKED], link=link)

    def _announced(self, caused: int, queued: int, late: int) -> str:
        if late:
            return f"{_events(queued)} queued, {late} to come late"
        if queued or not caused:
            return f"{_events(queued)} queued"
        if self.simulator.courier.settings.url is None:
            return f"{_events(caused)} for nobody, since no webhook address is set"
        return f"{_events(caused)} not sent, by the profile, the faults or the settings of the webhooks"


TOO_OLD = Message("That form was from before a restart; nothing was done. Please try again.", is_refusal=True)


def _events(number: int) -> str:
    return f"{number} event{'s' * (number != 1)}"


def _called(record: Record) -> str:
    if record.kind is Kind.CUSTOMER:
        return f"Customer {record.fields['DisplayName']}"
    return f"{WORDS.get(record.kind, record.kind.value)} {record.fields.get('DocNumber') or record.id}"


# ---- reading forms ---------------------------------------------------------------------------------------------------


def _amount(form: Form, name: str = "amount") -> Decimal:
    text = form.get(name, "").strip().replace(",", "")
    try:
        found = money(text)
    except Refused as refused:
        raise Mistake(f"“{form.get(name, '')}” is not an amount; write it like 900.00.") from refused
    if found <= 0 or found != Decimal(text):
        raise Mistake("An amount is more than nothing, and has two digits at most.")
    return found


def _customer_of(company: Company, form: Form, name: str = "customer") -> Record:
    text = form.get(name, "").strip()
    customers = company.book.records[Kind.CUSTOMER]
    found = customers.get(text) or customers.get(company.book.customers.named(text) or "")
    if found is None:
        raise Mistake(f"There is no customer “{text}”.")
    return found


def _record_of(company: Company, form: Form, *kinds: Kind) -> Record:
    kind = next((one for one in kinds if one.value == form.get("kind", kinds[0].value)), None)
    if kind is None:
        raise Mistake("That cannot be done to a record of this type.")
    return company.book.get(kind, form.get("id", ""))


def _line(amount: Decimal, text: str) -> dict[str, Any]:
    detail = {"ItemRef": {"value": "1"}, "Qty": 1, "UnitPrice": amount, "TaxCodeRef": {"value": "NON"}}
    return {
        **{"Amount": amount, "Description": text},
        **{"DetailType": "SalesItemLineDetail", "SalesItemLineDetail": detail},
    }


def _link(amount: Decimal, record_id: str, kind: Kind) -> dict[str, Any]:
    return {"Amount": amount, "LinkedTxn": [{"TxnId": record_id, "TxnType": kind.value}]}


def _today(company: Company) -> str:
    return company.clock.now().astimezone(company.zone).date().isoformat()


def _sparse(company: Company, record: Record) -> dict[str, Any]:
    return company.token_body(record.kind, record.id) | {"sparse": True}


def _reference(text: str) -> dict[str, Any]:
    return {"CustomField": [{"DefinitionId": "1", "StringValue": text.strip()}]}


# ---- the buttons -----------------------------------------------------------------------------------------------------


def _new_document(kind: Kind, text: str) -> Callable[[Company, Form], Made]:
    """An invoice, a credit memo or a refund over one amount."""

    def make(company: Company, form: Form) -> Made:
        customer, amount = _customer_of(company, form), _amount(form)
        body = {
            **{"CustomerRef": {"value": customer.id}, "TxnDate": _today(company), "Line": [_line(amount, text)]},
            **(_reference(form["reference"]) if form.get("reference", "").strip() else {}),
        }
        if kind is Kind.REFUND_RECEIPT:
            body["DepositToAccountRef"] = {"value": "35", "name": "Checking"}
        record = company.create(kind, body)
        return record, f"made for {customer.fields['DisplayName']} over {record.total:,.2f}"

    return make


def _edit_amount(company: Company, form: Form) -> Made:
    record = _record_of(company, form, Kind.INVOICE, Kind.CREDIT_MEMO, Kind.REFUND_RECEIPT, Kind.PAYMENT)
    amount = _amount(form)
    changed = {"TotalAmt": amount} if record.kind is Kind.PAYMENT else {"Line": [_line(amount, "Amount put right")]}
    record = company.update(record.kind, _sparse(company, record) | changed)
    return record, f"changed to {record.total:,.2f}"


def _record_payment(company: Company, form: Form) -> Made:
    """A payment of an invoice, or of a customer on account; what is more than the invoice's rest stays unapplied."""
    amount = _amount(form)
    lines: list[dict[str, Any]] = []
    if form.get("id"):
        invoice = _record_of(company, form, Kind.INVOICE)
        owner = str(invoice.customer_id)
        paid = min(amount, company.book.open_amount(invoice))
        lines = [_link(paid, invoice.id, Kind.INVOICE)] if paid else []
        what = f"recorded over {amount:,.2f}, for invoice {invoice.fields.get('DocNumber') or invoice.id}"
    else:
        customer = _customer_of(company, form)
        owner, what = customer.id, f"recorded over {amount:,.2f}, on account of {customer.fields['DisplayName']}"
    body = {"CustomerRef": {"value": owner}, "TotalAmt": amount, "Line": lines, "TxnDate": _today(company)}
    record = company.create(Kind.PAYMENT, body)
    return record, what + (f"; {record.unapplied:,.2f} of it unapplied" if record.unapplied else "")


def _void(company: Company, form: Form) -> Made:
    record = _record_of(company, form, Kind.INVOICE, Kind.CREDIT_MEMO, Kind.REFUND_RECEIPT, Kind.PAYMENT)
    return company.void(record.kind, company.token_body(record.kind, record.id)), "voided"


def _delete(company: Company, form: Form) -> Made:
    record = _record_of(company, form, *(kind for kind in Kind if kind is not Kind.CUSTOMER))
    return company.delete(record.kind, company.token_body(record.kind, record.id)), "deleted"


def _use_credit(company: Company, form: Form) -> Made:
    """A payment of nothing links a credit memo to an invoice."""
    memo = _record_of(company, form, Kind.CREDIT_MEMO)
    invoice = company.book.get(Kind.INVOICE, form.get("invoice", ""))
    amount = min(company.book.open_amount(memo), company.book.open_amount(invoice))
    if amount == ZERO:
        raise Mistake("There is nothing left of the credit memo, or of the invoice.")
    lines = [_link(amount, invoice.id, Kind.INVOICE), _link(amount, memo.id, Kind.CREDIT_MEMO)]
    record = company.create(Kind.PAYMENT, credit_link(str(memo.customer_id), lines, _today(company)))
    number = invoice.fields.get("DocNumber") or invoice.id
    return record, f"of nothing uses {amount:,.2f} of credit memo {memo.fields.get('DocNumber')} on invoice {number}"


def _reassign(company: Company, form: Form) -> Made:
    record = _record_of(company, form, Kind.INVOICE, Kind.CREDIT_MEMO, Kind.REFUND_RECEIPT, Kind.PAYMENT)
    customer = _customer_of(company, form)
    record = company.update(record.kind, _sparse(company, record) | {"CustomerRef": {"value": customer.id}})
    return record, f"now belongs to {customer.fields['DisplayName']}"


def _set_reference(company: Company, form: Form) -> Made:
    record = _record_of(company, form, Kind.INVOICE, Kind.CREDIT_MEMO, Kind.REFUND_RECEIPT)
    text = form.get("reference", "").strip()
    if "1" not in company.book.field_names:
        raise Mistake("This company has no custom field 1 for the Reference Number.")
    record = company.update(record.kind, _sparse(company, record) | _reference(text))
    return record, f"now has the Reference Number {text}" if text else "has no Reference Number any more"


def _new_customer(company: Company, form: Form) -> Made:
    name = form.get("name", "").strip()
    if not name:
        raise Mistake("A customer needs a name.")
    body: dict[str, Any] = {"DisplayName": name}
    if form.get("customer", "").strip():
        parent = _customer_of(company, form)
        body |= {"Job": True, "BillWithParent": True, "ParentRef": {"value": parent.id}}
        return company.create(Kind.CUSTOMER, body), f"made as a job of {parent.fields['DisplayName']}"
    return company.create(Kind.CUSTOMER, body), "made"


def _rename(company: Company, form: Form) -> Made:
    record = _record_of(company, form | {"kind": "Customer"}, Kind.CUSTOMER)
    name, old = form.get("name", "").strip(), record.fields["DisplayName"]
    if not name:
        raise Mistake("A customer needs a name.")
    return company.update(Kind.CUSTOMER, _sparse(company, record) | {"DisplayName": name}), f"was called {old} before"


def _set_active(company: Company, form: Form) -> Made:
    record = _record_of(company, form | {"kind": "Customer"}, Kind.CUSTOMER)
    is_active = form.get("active") == "yes"
    record = company.update(Kind.CUSTOMER, _sparse(company, record) | {"Active": is_active})
    return record, "is active again" if is_active else "is inactive now"


def _merge(company: Company, form: Form) -> Made:
    gone, kept = company.book.customer(form.get("id", "")), _customer_of(company, form)
    company.merge(kept.id, gone.id)
    return kept, f"now holds everything of {gone.fields['DisplayName']}, which is no more"


CHANGES: dict[str, Callable[[Company, Form], Made]] = {
    "new-invoice": _new_document(Kind.INVOICE, "Work done"),
    "new-credit-memo": _new_document(Kind.CREDIT_MEMO, "Credited"),
    "new-refund": _new_document(Kind.REFUND_RECEIPT, "Given back"),
    "new-customer": _new_customer,
    "edit-amount": _edit_amount,
    "record-payment": _record_payment,
    "void": _void,
    "delete": _delete,
    "use-credit": _use_credit,
    "reassign": _reassign,
    "set-reference": _set_reference,
    "rename": _rename,
    "set-active": _set_active,
    "merge": _merge,
}
