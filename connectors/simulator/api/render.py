"""A record as Intuit's REST API shows it: fields, order, names, time zone.

Reads: the book. Writes: the record's own cache of its JSON.
Guarantees: absent means no value; money has two digits and zero is `0`; times are in the company's zone, whole seconds.
Source: intuit.md 3.1, 3.2, 4, 5; recorded answers.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from connectors.simulator.books.book import Book
from connectors.simulator.books.catalogue import CHART, UNDEPOSITED
from connectors.simulator.books.records import SALES_FORMS, ZERO, Application, Kind, Record, money, plain
from connectors.simulator.wire import encode

_NAME_VALUE = {
    "name": "{http://schema.intuit.com/finance/v3}NameValue",
    "declaredType": "com.intuit.schema.finance.v3.NameValue",
    "scope": "javax.xml.bind.JAXBElement$GlobalScope",
}


ENHANCED = "enhancedallcustomfields"
NOTHING: frozenset[str] = frozenset()
_PRIVATE = frozenset({"CurrencyRef", "ExchangeRate", "Line", "InvoiceId", "SourceTxn", "Charged"})


class Renderer:
    """Writes the records of one company."""

    def __init__(self, book: Book, zone: ZoneInfo) -> None:
        self.book = book
        self.zone = zone

    def text(self, record: Record, include: frozenset[str] = NOTHING) -> str:
        """The record's JSON as of now; worked out once per revision, and each time where more is to be included."""
        if record.rendered is None:
            record.rendered = encode(self.fields(record))
        more = self._included(record, include) if include else {}
        return encode(self.fields(record) | more) if more else record.rendered

    def _included(self, record: Record, include: frozenset[str]) -> dict[str, Any]:
        """What `include=` adds to a record: enhanced custom fields, or an invoice's link for its customer."""
        more: dict[str, Any] = {}
        if ENHANCED in include and (found := self.book.fields.shown_enhanced(record.kind, record.custom)):
            more["CustomField"] = self.book.fields.shown_classic(record.kind, record.custom) + found
        if "invoicelink" in include and record.kind is Kind.INVOICE:
            more["InvoiceLink"] = f"https://connect.intuit.example/t/scs-v1-{record.id}"
        return more

    def moment(self, moment: datetime) -> str:
        """A time in the company's zone, whole seconds, as MetaData has it."""
        return moment.astimezone(self.zone).isoformat(timespec="seconds")

    def answer_time(self, moment: datetime) -> str:
        """The `time` of an answer: the company's zone, milliseconds."""
        return moment.astimezone(self.zone).isoformat(timespec="milliseconds")

    def deleted_stub(self, record: Record) -> dict[str, Any]:
        """What CDC says of a deleted record: no token, no amounts."""
        meta = {"LastUpdatedTime": self.moment(record.updated_at)}
        return {"domain": "QBO", "status": "Deleted", "Id": record.id, "MetaData": meta}

    def fields(self, record: Record) -> dict[str, Any]:
        """The record as a tree ready for encoding."""
        return _WRITERS.get(record.kind, Renderer._other)(self, record)

    def _identity(self, record: Record) -> dict[str, Any]:
        meta = {"CreateTime": self.moment(record.created_at)}
        if record.kind is Kind.INVOICE:
            meta["LastModifiedByRef"] = {"value": "9341457021722234"}  # type: ignore[assignment]
        meta["LastUpdatedTime"] = self.moment(record.updated_at)
        return {
            "domain": "QBO",
            "sparse": False,
            "Id": record.id,
            "SyncToken": str(record.sync_token),
            "MetaData": meta,
        }

    def _customer_ref(self, record: Record) -> dict[str, Any]:
        if record.customer_id is None:
            return {}
        name = self.book.customers.shown_name(self.book.customer(record.customer_id))
        return {"CustomerRef": {"value": record.customer_id, "name": name}}

    def _currency(self, record: Record) -> dict[str, Any]:
        written: dict[str, Any] = {"CurrencyRef": record.fields["CurrencyRef"]}
        if self.book.multicurrency:
            written["ExchangeRate"] = plain(record.rate)
        return written

    def _sales_form(self, record: Record) -> dict[str, Any]:
        kind, fields = record.kind, record.fields
        written: dict[str, Any] = {}
        if kind is Kind.INVOICE:
            written |= {f"Allow{way}Payment": False for way in ("IPN", "Online", "OnlineCreditCard", "OnlineACH")}
        if kind is Kind.CREDIT_MEMO:
            written["RemainingCredit"] = self.book.open_amount(record)
        written |= self._identity(record)
        written["CustomField"] = self.book.fields.shown_classic(kind, record.custom)
        written |= {key: fields[key] for key in ("DocNumber", "TxnDate") if key in fields} | self._currency(record)
        written |= _given(fields, ("PrivateNote", "ClassRef", "DepartmentRef", "ProjectRef"))
        if kind is Kind.INVOICE:
            written["LinkedTxn"] = [{"TxnId": payment, "TxnType": "Payment"} for payment in self.book.links_of(record)]
            written["LinkedTxn"] += fields.get("SourceTxn", [])
        if kind is Kind.ESTIMATE:
            written |= self._estimate_status(record)
        written |= {"Line": fields["Line"], "TxnTaxDetail": fields["TxnTaxDetail"]} | self._customer_ref(record)
        written |= _given(fields, _PASSED_ON)
        if kind is Kind.SALES_RECEIPT:
            written.setdefault("DepositToAccountRef", {"value": UNDEPOSITED, "name": CHART[UNDEPOSITED].name})
        return written | self._sales_totals(record)

    def _estimate_status(self, record: Record) -> dict[str, Any]:
        invoice_id = record.fields.get("InvoiceId")
        if invoice_id is None:
            return {"TxnStatus": record.fields.get("TxnStatus", "Pending")}
        return {"TxnStatus": "Closed", "LinkedTxn": [{"TxnId": invoice_id, "TxnType": "Invoice"}]}

    def _sales_totals(self, record: Record) -> dict[str, Any]:
        fields = record.fields
        open_now = self.book.open_amount(record)
        written: dict[str, Any] = {"TotalAmt": record.total}
        if self.book.multicurrency and record.kind is not Kind.REFUND_RECEIPT:
            written["HomeTotalAmt"] = money(record.total * record.rate)
        written["ApplyTaxAfterDiscount"] = bool(fields.get("ApplyTaxAfterDiscount", False))
        written["PrintStatus"] = fields.get("PrintStatus", "NeedToPrint")
        if record.kind is not Kind.REFUND_RECEIPT:
            written["EmailStatus"] = fields.get("EmailStatus", "NotSet")
        if record.kind is not Kind.ESTIMATE:
            written["Balance"] = open_now
        if "Deposit" in fields:
            written["Deposit"] = fields["Deposit"]
        if self.book.multicurrency and record.kind in (Kind.INVOICE, Kind.CREDIT_MEMO):
            written["HomeBalance"] = money(open_now * record.rate)
        return written

    def _payment(self, record: Record) -> dict[str, Any]:
        written = self._customer_ref(record) | _given(
            record.fields, ("DepositToAccountRef", "PaymentMethodRef", "PaymentRefNum")
        )
        written |= {"TotalAmt": record.total, "UnappliedAmt": record.unapplied, "ProcessPayment": False}
        written |= self._identity(record) | {"TxnDate": record.fields["TxnDate"]} | self._currency(record)
        written |= _given(record.fields, ("PrivateNote", "ProjectRef", "ARAccountRef"))
        if record.deposit_id:
            written["LinkedTxn"] = [{"TxnId": record.deposit_id, "TxnType": "Deposit"}]
        written["Line"] = [self._payment_line(line) for line in record.applications]
        return written

    def _payment_line(self, line: Application) -> dict[str, Any]:
        link = {"TxnId": line.item.id, "TxnType": line.txn_type}
        if line.item.line:
            link["TxnLineId"] = line.item.line
        document = self.book.records[line.item.kind].get(line.item.id)
        noise = {"txnId": line.item.id, "txnOpenBalance": format(line.open_before, "f")}
        if document is not None and "DocNumber" in document.fields:
            noise["txnReferenceNumber"] = document.fields["DocNumber"]
        values = [
            {
                **_NAME_VALUE,
                "value": {"Name": name, "Value": value},
                "nil": False,
                "globalScope": True,
                "typeSubstituted": False,
            }
            for name, value in noise.items()
        ]
        return {"Amount": line.amount, "LinkedTxn": [link], "LineEx": {"any": values}}

    def _customer(self, record: Record) -> dict[str, Any]:
        book, fields = self.book, record.fields
        parents = list(book.customers.ancestors(record.id))
        written: dict[str, Any] = {"Taxable": bool(fields["Taxable"])} | _given(
            fields, ("BillAddr", "ShipAddr", "Notes")
        )
        written |= {"Job": fields["Job"], "BillWithParent": bool(fields["BillWithParent"])}
        if parents:
            written |= {"ParentRef": fields["ParentRef"], "Level": len(parents)}
        written |= {"Balance": book.balance_shown(record.id), "BalanceWithJobs": book.balance_with_jobs(record.id)}
        written |= {"CurrencyRef": fields["CurrencyRef"], "PreferredDeliveryMethod": fields["PreferredDeliveryMethod"]}
        written |= {"IsProject": bool(fields.get("IsProject", False)), "ClientEntityId": "0"} | self._identity(record)
        written |= _given(fields, ("Title", "GivenName", "MiddleName", "FamilyName", "Suffix"))
        path = [book.customers.shown_name(one) for one in reversed(parents)] + [book.customers.shown_name(record)]
        written["FullyQualifiedName"] = ":".join(path)
        written |= _given(fields, ("CompanyName",)) | {"DisplayName": book.customers.shown_name(record)}
        written["PrintOnCheckName"] = fields.get("PrintOnCheckName", fields["DisplayName"])
        written |= {"Active": fields["Active"], "V4IDPseudonym": f"00{int(record.id):06d}aa"}
        return written | _given(fields, _CONTACT)

    def _other(self, record: Record) -> dict[str, Any]:
        """Journals, deposits, purchases and hours: what was written, and the total."""
        kept = {key: value for key, value in record.fields.items() if key not in _PRIVATE}
        written = self._identity(record) | kept | self._currency(record)
        if record.kind is Kind.TIME_ACTIVITY:
            billed = "HasBeenBilled" if "InvoiceId" in record.fields else kept.get("BillableStatus", "NotBillable")
            return written | {"BillableStatus": billed}
        if "Line" in record.fields:
            written["Line"] = record.fields["Line"]
        if record.kind is not Kind.JOURNAL_ENTRY:
            written["TotalAmt"] = record.total
        return written


def _given(fields: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: fields[key] for key in keys if fields.get(key) not in (None, "")}


_PASSED_ON = (
    *("CustomerMemo", "BillAddr", "ShipAddr", "FreeFormAddress", "SalesTermRef", "DueDate", "ShipDate", "BillEmail"),
    *("PaymentMethodRef", "PaymentRefNum", "DepositToAccountRef", "InvoiceRef", "DeliveryInfo", "ShipMethodRef"),
    *("TrackingNum", "BillEmailCc", "BillEmailBcc", "ShipFromAddr", "PaymentType", "CheckPayment", "TxnSource"),
    *("CreditCardPayment", "GlobalTaxCalculation", "TaxExemptionRef"),
)
_CONTACT = (
    *("PrimaryPhone", "AlternatePhone", "Mobile", "Fax", "PrimaryEmailAddr", "WebAddr"),
    *("SalesTermRef", "PaymentMethodRef", "CustomerTypeRef", "ResaleNum", "DefaultTaxCodeRef", "ARAccountRef"),
)
_WRITERS: dict[Kind, Callable[[Renderer, Record], dict[str, Any]]] = {
    Kind.CUSTOMER: Renderer._customer,
    Kind.PAYMENT: Renderer._payment,
    **dict.fromkeys(SALES_FORMS, Renderer._sales_form),
}


def key_amounts(book: Book, record: Record) -> dict[str, str]:
    """The oracle's figures of one record, as text to the cent."""
    figures = {"total": record.total}
    if record.kind in (Kind.INVOICE, Kind.CREDIT_MEMO):
        figures["balance" if record.kind is Kind.INVOICE else "remaining_credit"] = book.open_amount(record)
    if record.kind is Kind.INVOICE:
        figures["deposit"] = money(record.fields.get("Deposit", ZERO))
    if record.kind in SALES_FORMS:
        figures["tax"] = record.fields["TxnTaxDetail"]["TotalTax"]
    if record.kind is Kind.PAYMENT:
        figures["unapplied"] = record.unapplied
    return {name: format(amount, "f") for name, amount in figures.items()}
