"""One company's books: customers, documents, payments, and the double entry that ties them together.

Reads: bodies as a client sends them, and the moment of each operation (`at`): it has no clock and does no I/O.
Writes: its own records; every operation answers the list of records it touched and how.
Guarantees: debits equal credits after every operation; no item is settled for more than it is; for every payment
TotalAmt + sources = uses + UnappliedAmt; a refused operation changes nothing.
Source: intuit.md 3.9, 4, 9; measured balances of section 9.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any

from connectors.simulator.books import forms
from connectors.simulator.books.catalogue import OPENING_EQUITY, OPENING_ITEM, RECEIVABLE
from connectors.simulator.books.custom_fields import CustomFields
from connectors.simulator.books.customers import Customers
from connectors.simulator.books.drafts import DOC_NUMBERED, Drafts, deposited
from connectors.simulator.books.effects import Change, Effects, Mark, Switches
from connectors.simulator.books.ledger import Ledger
from connectors.simulator.books.notes import Note
from connectors.simulator.books.records import (
    SALES_FORMS,
    ZERO,
    Application,
    ItemKey,
    Kind,
    Record,
    Refused,
    against_rules,
    copy_tree,
    missing,
    money,
    not_found,
    number,
)
from connectors.simulator.books.settlement import Settlement
from connectors.simulator.books.sources import Sources
from connectors.simulator.books.timeline import Timeline

READ_ONLY = frozenset(
    {"Id", "SyncToken", "MetaData", "domain", "sparse", "status", "TotalAmt", "Balance", "HomeBalance", "HomeTotalAmt"}
    | {"UnappliedAmt", "RemainingCredit", "LinkedTxn", "CustomField", "BalanceWithJobs", "FullyQualifiedName", "Level"}
    | {"IsProject", "V4IDPseudonym", "ClientEntityId", "time"}
    | {"ProjectId", "SourceTxn", "Charged", "InvoiceId", "OpenBalanceDate"}  # the simulator's own, and orders to it
)
VOIDABLE = (SALES_FORMS - {Kind.ESTIMATE}) | {Kind.PAYMENT, Kind.PURCHASE}


class Book:
    """The books of one company."""

    def __init__(self, home_currency: str = "USD", switches: Switches | None = None) -> None:
        self.home_currency = home_currency
        self.switches = switches or Switches()
        self.fields = CustomFields()
        self.multicurrency = False
        self.closed_until: str | None = None  # Preferences.AccountingInfoPrefs.BookCloseDate
        self.records: dict[Kind, dict[str, Record]] = {kind: {} for kind in Kind}
        self.gone: dict[tuple[Kind, str], Record] = {}
        self.ledger = Ledger()
        self.customers = Customers(self.records[Kind.CUSTOMER])
        self.settlement = Settlement(self.ledger, self.records, self.customers, self.switches)
        self.sources = Sources(self.records, self.settlement)
        self.drafts = Drafts(self)
        self.timelines = {kind: Timeline() for kind in Kind}
        self.items = self.ledger.items
        self.open_items = self.ledger.open_items
        self.documents_of: dict[str, dict[Record, None]] = {}
        self._in_deposit: dict[str, list[str]] = {}
        self._doc_numbers: dict[tuple[Kind, str], int] = {}
        self.next_ids = {"customer": 1, "transaction": 1001, "document": 1001, "project": 39298034}

    @property
    def field_names(self) -> dict[str, str]:
        """Names of the classic custom fields by DefinitionId."""
        return self.fields.classic

    @field_names.setter
    def field_names(self, names: dict[str, str]) -> None:
        self.fields.classic = names

    # ---- reading -------------------------------------------------------------------------------------------------

    def get(self, kind: Kind, record_id: str) -> Record:
        """The record as it is now. Raises Refused(610) where it is deleted or never was."""
        record = self.records[kind].get(record_id)
        if record is None:
            raise not_found()
        return record

    def customer(self, customer_id: str) -> Record:
        """A customer by id; raises Refused(610) where there is none."""
        return self.get(Kind.CUSTOMER, customer_id)

    def open_amount(self, record: Record) -> Decimal:
        """What is still open of an invoice, or unused of a memo; nothing for other documents."""
        item = self.items.get(ItemKey(record.kind, record.id))
        return item.remaining if item else ZERO

    def links_of(self, record: Record) -> list[str]:
        """Ids of the payments that touch a document, newest first."""
        item = self.items.get(ItemKey(record.kind, record.id))
        return sorted(item.links, key=int, reverse=True) if item else []

    def balance(self, customer_id: str) -> Decimal:
        """The customer's own balance, from the general ledger; may be negative."""
        return self.ledger.receivable.get(customer_id, ZERO)

    def balance_with_jobs(self, customer_id: str) -> Decimal:
        """The customer's balance and those of everything below it."""
        below = (self.balance_with_jobs(child) for child in self.customers.children.get(customer_id, ()))
        return self.balance(customer_id) + sum(below, ZERO)

    def balance_shown(self, customer_id: str) -> Decimal:
        """`Customer.Balance`: the own balance, and by switch that of the jobs whose bills the parent gets."""
        found = self.balance(customer_id)
        if self.switches.parent_shows_jobs_billed:
            for child in self.customers.children.get(customer_id, ()):
                if self.customer(child).fields.get("BillWithParent"):
                    found += self.balance_shown(child)
        return found

    def is_number_taken(self, kind: Kind, number: str) -> bool:
        """Whether a document of the kind has this number already."""
        return self._doc_numbers.get((kind, number), 0) > 0

    # ---- writing -------------------------------------------------------------------------------------------------

    def create(self, kind: Kind, body: dict[str, Any], at: datetime, note: Note | None = None) -> list[Change]:
        """Make a record from a body as a client sends it; `note` is what its writer knows of it. Raises Refused."""
        if kind is Kind.CUSTOMER and body.get("Balance"):
            money(body["Balance"])
            self._check_open_period({"TxnDate": body.get("OpenBalanceDate") or at.date().isoformat()})
        effects = Effects()
        record = self._add(kind, body, at, effects)
        record.note = note
        if kind in (Kind.INVOICE, Kind.CREDIT_MEMO) and self.switches.auto_apply_credits:
            self._apply_credits(record, at, effects)
        if kind is Kind.CUSTOMER and body.get("Balance"):
            self._open_balance(record, body, at, effects)
        return self._commit(effects, at)

    def create_project(self, name: str, customer_id: str, at: datetime, note: Note | None = None) -> list[Change]:
        """Make a QuickBooks project of a customer, as its own page does: a project-customer, and an id for ProjectRef.

        Raises Refused.
        """
        effects = Effects()
        body = {"DisplayName": name, "Job": True, "ParentRef": {"value": customer_id}}
        body["CurrencyRef"] = self.customer(customer_id).fields["CurrencyRef"]
        record = self._add(Kind.CUSTOMER, body, at, effects)
        record.note = note
        record.fields |= {"IsProject": True, "ProjectId": self._take_id("project")}
        self.customers.remember(record)
        return self._commit(effects, at)

    def update(self, kind: Kind, body: dict[str, Any], at: datetime) -> list[Change]:
        """Change a record: given fields only where the body says `sparse`, else all. Raises Refused."""
        record = self._current(kind, body)
        if kind is Kind.CUSTOMER:
            return self._update_customer(record, body, at)
        fields = _merged(record.fields, body, sparse=bool(body.get("sparse")))
        if kind is Kind.PAYMENT and body.get("sparse") and "Line" not in body:
            fields["Line"] = self._kept_lines(record, fields)
        self._check_open_period(record.fields, fields)
        self._check_not_billed(record)
        effects = Effects()
        draft = self.drafts.draft(record, fields, body)
        self._check_new_customer(record, draft)
        effects.direct(record, "Update")
        self._replace(record, draft, effects)
        return self._commit(effects, at)

    def void(self, kind: Kind, body: dict[str, Any], at: datetime) -> list[Change]:
        """Zero a document's amounts and take its links away; it stays readable. Raises Refused."""
        record = self._current(kind, body)
        if kind not in VOIDABLE:
            raise against_rules(f"Business Validation Error: a {kind} cannot be voided.")
        self._check_open_period(record.fields, *self._deposit_of(record))
        effects = Effects()
        effects.direct(record, "Void")
        if not record.voided:
            note = record.fields.get("PrivateNote")
            record.fields["PrivateNote"] = f"Voided - {note}" if note else "Voided"
        self._let_go(record, effects)
        _zero(record)
        self.settlement.post(record, effects)
        return self._commit(effects, at)

    def delete(self, kind: Kind, body: dict[str, Any], at: datetime) -> list[Change]:
        """Remove a transaction for good; customers cannot be. Raises Refused."""
        record = self._current(kind, body)
        if kind is Kind.CUSTOMER:
            raise Refused("500", "Unsupported Operation", "Operation delete is not supported.")
        self._check_open_period(record.fields, *self._deposit_of(record))
        if record.fields.get("InvoiceId"):
            raise against_rules(f"Business Validation Error: {kind} {record.id} is billed by an invoice.")
        effects = Effects()
        effects.direct(record, "Delete")
        self._let_go(record, effects)
        if kind is Kind.DEPOSIT:
            self._mark_deposited(record, [], effects)
        _zero(record)
        record.deleted = True
        self.settlement.post(record, effects)
        self._forget(record)
        return self._commit(effects, at)

    def merge(self, kept_id: str, gone_id: str, at: datetime) -> list[Change]:
        """Move everything of one customer to another and make it inactive, for good. Raises Refused."""
        kept, gone = self.customer(kept_id), self.customer(gone_id)
        self._check_merge(kept, gone)
        effects = Effects()
        mark = Mark.BALANCE if self.switches.merge_moves_times else Mark.SEEN
        moved = list(self.documents_of.get(gone_id, ()))
        for record in moved:
            self._move(record, gone_id, kept_id)
            effects.mark(record, mark)
        payments = {record.id for record in moved if record.kind is Kind.PAYMENT}
        for record in moved:
            if record.kind is not Kind.PAYMENT:
                payments |= self.ledger.payments_of(record)
                self.settlement.post(record, effects)
        self.settlement.settle(payments, effects)
        gone.fields["Active"] = False
        effects.direct(gone, "Update")
        effects.direct(kept, "Merge")
        return self._commit(effects, at, gone_id=gone_id)

    def restore(self, records: Iterable[Record]) -> None:
        """Take records as they were kept, in any order, and work out everything that follows from them."""
        ordered = sorted(records, key=lambda record: (record.kind is Kind.PAYMENT, int(record.id)))
        for record in ordered:
            self._remember(record)
        for record in sorted(ordered, key=lambda one: one.updated_at):
            self.timelines[record.kind].note(record)
        effects = Effects()
        for record in ordered:
            if not record.deleted and record.kind is not Kind.CUSTOMER:
                for line in record.applications:
                    self.ledger.link(record.id, line)
                self.settlement.post(record, effects)

    # ---- customers -----------------------------------------------------------------------------------------------

    def _update_customer(self, record: Record, body: dict[str, Any], at: datetime) -> list[Change]:
        fields = _merged(record.fields, body, sparse=bool(body.get("sparse")))
        fields = self.customers.checked(fields, record.id) | {"CurrencyRef": record.fields["CurrencyRef"]}
        was_active = record.fields["Active"]
        if was_active and not fields["Active"] and self._is_written_off(record):
            self._check_open_period({"TxnDate": at.date().isoformat()})
        custom = self.drafts.custom_fields(record, body)
        effects = Effects()
        self.customers.rename(record, fields)
        record.fields, record.custom = fields, custom
        operation = "Update"
        if was_active and not fields["Active"]:
            operation = self.switches.inactive_announced_as
            self._write_off(record, at, effects)
        effects.direct(record, operation)
        self._show_again(record.id, effects)
        return self._commit(effects, at)

    def _show_again(self, customer_id: str, effects: Effects) -> None:
        """Names are shown inside documents and below jobs: what is shown changes, the revisions do not."""
        for parent in self.customers.ancestors(customer_id):
            effects.mark(parent, Mark.SEEN)
        for child in self.customers.below(customer_id):
            effects.mark(self.customer(child), Mark.SEEN)
        for one in (customer_id, *self.customers.below(customer_id)):
            for record in self.documents_of.get(one, ()):
                effects.mark(record, Mark.SEEN)

    def _is_written_off(self, customer: Record) -> bool:
        """Whether making a customer inactive needs a memo for what it owes."""
        return self.switches.inactive_writes_off and self.balance(customer.id) > 0

    def _write_off(self, customer: Record, at: datetime, effects: Effects) -> None:
        if not self._is_written_off(customer):
            return
        balance = self.balance(customer.id)
        line = {
            "Amount": balance,
            "DetailType": "SalesItemLineDetail",
            "SalesItemLineDetail": {"ItemRef": {"value": "1"}},
        }
        body = {"CustomerRef": {"value": customer.id}, "Line": [line], "TxnDate": at.date().isoformat()}
        customer.fields["Active"] = True  # a document needs an active customer; this one is the last
        try:
            note = {"PrivateNote": "Created by QB Online to adjust balance for deletion"}
            self._add(Kind.CREDIT_MEMO, body | note, at, effects, for_project=False)
        finally:
            customer.fields["Active"] = False

    def _check_merge(self, kept: Record, gone: Record) -> None:
        if kept is gone:
            raise against_rules("Business Validation Error: a customer cannot be merged with itself.")
        if self.customers.children.get(kept.id) or self.customers.children.get(gone.id):
            raise against_rules(
                "Business Validation Error: a customer with sub-customers or projects cannot be merged."
            )
        if kept.fields["CurrencyRef"]["value"] != gone.fields["CurrencyRef"]["value"]:
            raise against_rules("Business Validation Error: customers with different currencies cannot be merged.")

    def _move(self, record: Record, gone_id: str, kept_id: str) -> None:
        for reference in forms.customer_references(record.fields):
            if reference["value"] == gone_id:
                reference["value"] = kept_id
        self.documents_of.get(gone_id, {}).pop(record, None)
        self.documents_of.setdefault(kept_id, {})[record] = None

    # ---- documents and payments ----------------------------------------------------------------------------------

    def _add(
        self, kind: Kind, body: dict[str, Any], at: datetime, effects: Effects, *, for_project: bool = True
    ) -> Record:
        fields = {key: value for key, value in copy_tree(body).items() if key not in READ_ONLY}
        if kind is Kind.PAYMENT and body.get("TotalAmt") is not None:
            fields["TotalAmt"] = number(body["TotalAmt"])
        if kind is not Kind.CUSTOMER:
            fields.setdefault("TxnDate", at.date().isoformat())
            self._check_open_period(fields)
        blank = Record(kind, "", {}, created_at=at, updated_at=at)
        if kind is Kind.CUSTOMER:
            currency = self.drafts.currency(fields.get("CurrencyRef"))
            fields = self.customers.checked(fields, None) | {"CurrencyRef": currency}
        draft = self.drafts.draft(blank, fields, body, for_project=for_project)
        record = blank
        record.id = self._take_id("customer" if kind is Kind.CUSTOMER else "transaction")
        if kind in DOC_NUMBERED:
            draft.fields.setdefault("DocNumber", self._next_document_number(kind))
        effects.direct(record, "Create")
        self._adopt(record, draft)
        self._remember(record)
        if kind is Kind.CUSTOMER:
            self._show_again(record.id, effects)
            return record
        self.sources.bind(record, effects)
        self.settlement.relink(record, draft.applications, effects)
        self._after_change(record, effects)
        return record

    def _check_open_period(self, *versions: dict[str, Any]) -> None:
        for fields in versions:
            if self.closed_until and str(fields.get("TxnDate", "9999")) <= self.closed_until:
                raise Refused(
                    "6210",
                    "Account Period Closed, Cannot Update Through Services Error",
                    "The account period has closed and the account books cannot be updated through the QBO Services "
                    f"API. Please use the QBO website to make these changes. Closed until {self.closed_until}",
                )

    def _kept_lines(self, payment: Record, fields: dict[str, Any]) -> list[Application]:
        """Lines of a payment that a sparse update does not mention; a new payer leaves those of strangers behind."""
        payer = str((fields.get("CustomerRef") or {}).get("value"))
        if payer == payment.customer_id or self.switches.customer_change == "refused":
            return payment.applications
        if self.switches.customer_change == "unlink_all":
            return []
        lines = [(line, self.items[line.item].customer) for line in payment.applications]
        return self.settlement.trimmed(
            payment, [line for line, owner in lines if self.settlement.may_settle(owner, payer)]
        )

    def _check_not_billed(self, record: Record) -> None:
        if record.kind is Kind.STATEMENT_CHARGE and record.fields.get("InvoiceId"):
            raise against_rules("Business Validation Error: the charge is billed by an invoice.")

    def _check_new_customer(self, record: Record, draft: Record) -> None:
        """A document that payments settle goes to another customer: by switch that is refused."""
        if record.customer_id in (None, draft.customer_id) or self.switches.customer_change != "refused":
            return
        if record.applications or self.ledger.payments_of(record):
            raise against_rules(
                "Business Validation Error: the customer of a transaction that is linked to others cannot be changed."
            )

    def _let_go(self, record: Record, effects: Effects) -> None:
        """Undo every tie of a document that is voided or deleted."""
        self.settlement.unlink(record, effects)
        if record.kind is Kind.INVOICE:
            self.sources.release(record, effects)
        if record.kind is Kind.PAYMENT and record.deposit_id:
            self._leave_deposit(record, effects)

    def _deposit_of(self, record: Record) -> list[dict[str, Any]]:
        """The fields of the deposit that took a payment to the bank: it changes when the payment is no more."""
        return [self.records[Kind.DEPOSIT][record.deposit_id].fields] if record.deposit_id else []

    def _leave_deposit(self, payment: Record, effects: Effects) -> None:
        """A payment that is no more was not taken to the bank either: its deposit loses the line."""
        deposit = self.records[Kind.DEPOSIT][str(payment.deposit_id)]
        named = {"TxnId": payment.id, "TxnType": "Payment"}
        lines = [line for line in deposit.fields["Line"] if not _names(line, named)]
        deposit.fields["Line"] = lines
        deposit.total = sum((line["Amount"] for line in lines), ZERO)
        self._mark_deposited(deposit, deposited(deposit), effects)
        self.settlement.post(deposit, effects)
        effects.mark(deposit, Mark.LINKED)

    def _replace(self, record: Record, draft: Record, effects: Effects) -> None:
        if self._must_unlink(record, draft):
            self.settlement.unlink(record, effects)
        self._uncount_number(record)
        self._unindex_document(record)
        self._adopt(record, draft)
        self._count_number(record)
        self._index_document(record)
        self.sources.bind(record, effects)
        self.settlement.relink(record, draft.applications, effects)
        self._after_change(record, effects)

    def _must_unlink(self, record: Record, draft: Record) -> bool:
        """Whether an update takes a document's payments away even where they would still fit."""
        if record.kind is Kind.PAYMENT:
            return False
        if record.customer_id != draft.customer_id and self.switches.customer_change == "unlink_all":
            return True
        project = draft.fields.get("ProjectRef")
        if record.kind is not Kind.INVOICE or not project or not self.switches.project_unlinks:
            return False
        return bool(project["value"] != (record.fields.get("ProjectRef") or {}).get("value"))

    def _adopt(self, record: Record, draft: Record) -> None:
        record.fields, record.custom, record.total = draft.fields, draft.custom, draft.total
        record.voided = draft.voided

    def _after_change(self, record: Record, effects: Effects) -> None:
        """Post a changed record again; what no longer fits its links is given back to the payments."""
        if record.kind is Kind.PAYMENT:
            self.settlement.leave_family(record, effects)
            self.settlement.post(record, effects)
            return
        if record.kind is Kind.DEPOSIT:
            self._mark_deposited(record, deposited(record), effects)
        self.settlement.unlink_turned(record, effects)
        linked = self.ledger.payments_of(record)
        self.settlement.post(record, effects)
        self.settlement.settle(linked, effects)
        for key in self.ledger.keys_of(record):
            self.settlement.fit(key, effects)

    def _mark_deposited(self, deposit: Record, payment_ids: list[str], effects: Effects) -> None:
        for payment_id in self._in_deposit.get(deposit.id, []):
            payment = self.records[Kind.PAYMENT].get(payment_id)
            if payment is not None and payment_id not in payment_ids:
                payment.deposit_id = None
                effects.mark(payment, Mark.BALANCE)
        for payment_id in payment_ids:
            payment = self.get(Kind.PAYMENT, payment_id)
            if payment.deposit_id != deposit.id:
                payment.deposit_id = deposit.id
                effects.mark(payment, Mark.BALANCE)
        self._in_deposit[deposit.id] = payment_ids

    def _apply_credits(self, made: Record, at: datetime, effects: Effects) -> None:
        """What QuickBooks does by itself where a company asked for it: a zero payment links the oldest that fit."""
        own = self.items[ItemKey(made.kind, made.id)]
        wanted_kind = Kind.INVOICE if own.is_credit else Kind.CREDIT_MEMO
        wanted = own.remaining
        lines: list[dict[str, Any]] = []
        for key in list(self.open_items.get(str(made.customer_id), ())):
            item = self.items[key]
            if key.kind is wanted_kind and item.is_credit != own.is_credit and wanted > 0:
                used = min(wanted, item.remaining)
                lines.append({"Amount": used, "LinkedTxn": [{"TxnId": key.id, "TxnType": key.kind.value}]})
                wanted -= used
        if not lines:
            return
        linked = {"TxnId": made.id, "TxnType": made.kind.value}
        lines.insert(0, {"Amount": own.remaining - wanted, "LinkedTxn": [linked]})
        body = credit_link(str(made.customer_id), lines, str(made.fields["TxnDate"]))
        if "ExchangeRate" in made.fields:
            body["ExchangeRate"] = made.fields["ExchangeRate"]
        self._add(Kind.PAYMENT, body, at, effects)

    def _open_balance(self, customer: Record, body: dict[str, Any], at: datetime, effects: Effects) -> None:
        """What a customer owed before the books began: an invoice, or by switch a journal entry."""
        amount = money(body["Balance"])
        on = str(body.get("OpenBalanceDate") or at.date().isoformat())
        if amount <= 0:
            return
        if self.switches.opening_balance_as == "JournalEntry":
            entity = {"Type": "Customer", "EntityRef": {"value": customer.id}}
            owed = {"PostingType": "Debit", "AccountRef": {"value": RECEIVABLE}, "Entity": entity}
            equity = {"PostingType": "Credit", "AccountRef": {"value": OPENING_EQUITY}}
            lines = [{"Amount": amount, "JournalEntryLineDetail": detail} for detail in (owed, equity)]
            journal = {"Line": lines, "TxnDate": on, "PrivateNote": "Opening Balance"}
            self._add(Kind.JOURNAL_ENTRY, journal | {"CurrencyRef": customer.fields["CurrencyRef"]}, at, effects)
            return
        detail = {"ItemRef": {"value": OPENING_ITEM}}
        line = {"Amount": amount, "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": detail}
        invoice = {"CustomerRef": {"value": customer.id}, "Line": [line], "TxnDate": on}
        self._add(Kind.INVOICE, invoice | {"PrivateNote": "Opening Balance"}, at, effects)

    # ---- bookkeeping of the book itself --------------------------------------------------------------------------

    def _current(self, kind: Kind, body: dict[str, Any]) -> Record:
        """The record a write means, if the writer has seen its latest revision."""
        if body.get("Id") is None:
            raise missing("Id")
        if not str(body["Id"]).isdigit():
            raise Refused("2030", "Invalid ID", f"Id should be a valid number. Supplied value:{body['Id']}", "Id")
        record = self.get(kind, str(body["Id"]))
        if body.get("SyncToken") is None:
            raise missing("SyncToken")
        if str(body["SyncToken"]) != str(record.sync_token):
            raise Refused(
                "5010",
                "Stale Object Error",
                "Stale Object Error : You and Sam Bookkeeper were working on this at the same time. "
                "Sam Bookkeeper finished before you did, so your work was not saved.",
                "",
            )
        return record

    def _commit(self, effects: Effects, at: datetime, gone_id: str | None = None) -> list[Change]:
        """Give every touched record its new revision; strongest marks first, in the order they were touched."""
        changes = []
        moment = at.replace(microsecond=0)
        for record, mark in sorted(effects.marks.items(), key=lambda entry: -entry[1]):
            operation = effects.operations.get(record, "Update")
            before, record.rendered = record.rendered, None
            if mark >= Mark.BALANCE:
                record.updated_at = moment
            if mark >= Mark.LINKED and operation != "Create":
                record.sync_token += 1
            if operation == "Create":
                record.created_at, record.sync_token = moment, 0
            if mark >= Mark.BALANCE:
                self.timelines[record.kind].note(record)
            changes.append(Change(record, operation, mark, before, gone_id if operation == "Merge" else None))
        return changes

    def _remember(self, record: Record) -> None:
        if record.deleted:
            self.gone[record.kind, record.id] = record
        else:
            self.records[record.kind][record.id] = record
        counter = "customer" if record.kind is Kind.CUSTOMER else "transaction"
        self.next_ids[counter] = max(self.next_ids[counter], int(record.id) + 1)
        if record.kind is Kind.CUSTOMER:
            self.customers.remember(record)
            return
        if not record.deleted:
            self._count_number(record)
            self._index_document(record)
            self.sources.remember(record)
        if record.kind is Kind.DEPOSIT:
            self._in_deposit[record.id] = deposited(record)

    def _forget(self, record: Record) -> None:
        del self.records[record.kind][record.id]
        self.gone[record.kind, record.id] = record
        self._unindex_document(record)
        self._uncount_number(record)

    def _index_document(self, record: Record) -> None:
        for reference in forms.customer_references(record.fields):
            self.documents_of.setdefault(reference["value"], {})[record] = None

    def _unindex_document(self, record: Record) -> None:
        for reference in forms.customer_references(record.fields):
            self.documents_of.get(reference["value"], {}).pop(record, None)

    def _count_number(self, record: Record) -> None:
        if number := record.fields.get("DocNumber"):
            key = (record.kind, str(number))
            self._doc_numbers[key] = self._doc_numbers.get(key, 0) + 1
            if str(number).isdigit() and len(str(number)) < 10:
                self.next_ids["document"] = max(self.next_ids["document"], int(number) + 1)

    def _uncount_number(self, record: Record) -> None:
        key = (record.kind, str(record.fields.get("DocNumber")))
        if self._doc_numbers.get(key, 0) > 0:
            self._doc_numbers[key] -= 1

    def _next_document_number(self, kind: Kind) -> str:
        found = self.next_ids["document"]
        self.next_ids["document"] += 1
        return str(found)

    def _take_id(self, counter: str) -> str:
        found = self.next_ids[counter]
        self.next_ids[counter] += 1
        return str(found)


def credit_link(customer_id: str, lines: list[dict[str, Any]], on: str) -> dict[str, Any]:
    """The zero payment by which QuickBooks links credits to charges."""
    return {
        "CustomerRef": {"value": customer_id},
        "TotalAmt": ZERO,
        "TxnDate": on,
        "PrivateNote": "Created by QB Online to link credits to charges.",
        "Line": lines,
    }


_NEVER_CLEARED = (
    *("TxnDate", "DocNumber", "CurrencyRef", "ExchangeRate", "TotalAmt", "Active", "DisplayName"),
    *("IsProject", "ProjectId", "InvoiceId"),
)


def _merged(kept: dict[str, Any], body: dict[str, Any], *, sparse: bool) -> dict[str, Any]:
    """A record's fields after an update: a full one clears what it does not give, but never the number or currency."""
    given = {key: value for key, value in copy_tree(body).items() if key not in READ_ONLY}
    if body.get("TotalAmt") is not None and "TotalAmt" in kept:
        given["TotalAmt"] = number(body["TotalAmt"])
    if sparse:
        return {**copy_tree(kept), **given}
    return {**{key: kept[key] for key in _NEVER_CLEARED if key in kept}, **given}


def _zero(record: Record) -> None:
    """What a void does to the amounts of a document (recorded: intuit.md 4.6)."""
    record.voided = True
    record.total = record.unapplied = ZERO
    for line in record.fields.get("Line", []):
        line["Amount"] = ZERO
        for key in ("UnitPrice", "Qty"):
            line.get("SalesItemLineDetail", {}).pop(key, None)
    if "TotalAmt" in record.fields:
        record.fields["TotalAmt"] = ZERO
    if "TxnTaxDetail" in record.fields:
        record.fields["TxnTaxDetail"] = {"TotalTax": ZERO}
    record.fields.pop("Deposit", None)


def _names(line: dict[str, Any], wanted: dict[str, str]) -> bool:
    return any({key: link.get(key) for key in wanted} == wanted for link in line.get("LinkedTxn") or [])
