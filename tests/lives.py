"""Lives of a company for the ledger's rules: every input is kept, so that it can be heard again, in order or not.

`Life` reaches only the documents that a change says it reaches, as the ledger's query does, so a change that says too
little is found out. `in_disorder` shuffles a life within what the order rules allow.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple

from schemas import changes
from schemas.money import Money
from schemas.quickbooks import CUSTOMER
from streams.books import Booking, Key
from streams.decision import REQUESTS, Decision, Opened, Reach
from streams.placement import reference_of
from tests.linked import Linked, journal
from tests.naive import Paid, Sale
from tests.strict_reader import StrictReader

JOURNALS = {  # what journal entries say of their side; 93 and 94 cannot be read
    "91": journal(("Debit", "9999", "1")),
    "92": journal(("Credit", "9999", "1")),
}
AGAIN = 0.2  # of all that is heard of records comes twice
RECORDS = (changes.RecordRead, changes.RecordGone, changes.RecordAbsent, changes.MergeNotice)


class Heard(NamedTuple):
    """One input as it came."""

    minutes: int
    change: Any
    opened: Opened | None

    @property
    def key(self) -> Key:
        """The record that it speaks of; empty for what speaks of none."""
        return getattr(self.change, "record_type", ""), getattr(self.change, "record_id", "")

    @property
    def is_of_document(self) -> bool:
        """A read or delete of a document: these may come in any order."""
        return isinstance(self.change, RECORDS) and self.key[0] not in ("", CUSTOMER)


@dataclass
class Life(Linked):
    """A company whose inputs are kept, with a strict reader of its events."""

    inputs: list[Heard] = field(default_factory=list)
    reader: StrictReader = field(default_factory=StrictReader)
    waits: dict[tuple[str, str, str], Any] = field(default_factory=dict)  # from the notices alone
    warned: set[tuple[str, str, str]] = field(default_factory=set)  # likewise
    refused: list[Any] = field(default_factory=list)  # requests
    without_effect: list[Any] = field(default_factory=list)  # those, and what was missed before it was known
    read_so_far: tuple[int, int] = (0, 0)

    def take(self, change: Any, opened: Opened | None = None) -> Decision:
        self.inputs.append(Heard(self.minutes, change, opened))
        decision = super().take(change, opened)
        if decision.outcome in ("refused", "not known here"):
            self.without_effect.append(change)
        if decision.outcome == "refused":
            self.refused.append(change)
        self._read_news()
        return decision

    def hear(self, inputs: Iterable[Heard]) -> "Life":
        """Hear these inputs, at the times at which they came."""
        for minutes, change, opened in inputs:
            self.minutes = minutes
            self.take(change, opened)
        return self

    def _read_news(self) -> None:
        events, notices = self.read_so_far
        for fact in self.facts[events:]:
            self.reader.read(fact)
        for notice in self.notices[notices:]:
            self._read_notice(notice.record, notice.body)
        self.read_so_far = len(self.facts), len(self.notices)

    def _read_notice(self, record: Key, body: Any) -> None:
        match type(body).__name__:
            case "RecordWaiting":
                self.waits[*record, body.part] = _amount(body.amount), body.cause, _amount(body.home_amount)
            case "RecordResolved":
                del self.waits[*record, body.part]
            case "WarningRaised":
                self.warned.add((*record, body.code))
            case "WarningCleared":
                self.warned.remove((*record, body.code))

    def _reached(self, reach: Reach) -> list[Key]:
        """As the query `documents_reached` finds them: families with whom they were merged, references, projects."""
        customers = set(reach.customers)
        while more := {
            each
            for customer in self.books.customers.values()
            for each in self._relatives(customer.customer_id, customer.parent_id)
            if each[0] in customers and each[1] not in customers
        }:
            customers |= {other for _, other in more}
        documents = {key: d.head for key, d in self.books.documents.items() if d.head is not None}
        return sorted(
            key
            for key, head in documents.items()
            if reach.everything
            or head.customer_id in customers
            or head.project_ref in reach.project_refs
            or (reference_of(self.books.company, head) or "").lower() in reach.references - {""}
        )

    def _relatives(self, customer: str, parent: str | None) -> list[tuple[str, str]]:
        """Who takes this customer's documents along: its parent, and whoever it was merged with."""
        pairs = [(parent, customer)] if parent is not None else []
        for merge in self.books.company.merges:
            pairs += [(merge.kept_id, merge.vanished_id), (merge.vanished_id, merge.kept_id)]
        return pairs

    def settled_state(self) -> dict[str, dict[Any, Any]]:
        """All that must not depend on the order of arrival; versions and the way there may differ."""
        documents = {k: d for k, d in self.books.documents.items() if d.booked != Booking()}
        customers = self.books.customers.values()
        return {
            "booked": {key: document.booked._replace(ever=False) for key, document in documents.items()},
            "figures": dict(figures(self.reader)),
            "waits": dict(self.waits),
            "warnings": dict.fromkeys(self.warned),
            "merges": {
                m.vanished_id: (m.kept_id, m.sure, m.decided, m.asked) for m in self.books.company.merges if m.sure
            },
            "mappings": {c.customer_id: (c.mapping_state, c.scopes, c.parent_id) for c in customers},
        }

    def pin(self, definition_id: str) -> Decision:
        """Preferences say which field is the Reference Number."""
        fields = (changes.CustomFieldDefinition(definition_id=definition_id, name="Reference number "),)
        more: dict[str, Any] = {"several_currencies": True, "plan": "Plus", "books_closed_on": None}
        return self.take(changes.CompanyFacts(home_currency="USD", custom_fields=fields, **more))

    # --- records -----------------------------------------------------------------------------------------------------

    def read_sale(self, key: Key, sale: Sale, at: int, read_at: int) -> Decision:
        """A sales document, read."""
        self.minutes = read_at - 1
        more: dict[str, Any] = {
            "on": sale.on.isoformat(),
            "at": at,
            "Deposit": str(sale.deposit),
            **_shared(sale),
        }
        if sale.reference is not None:
            custom_field = {"DefinitionId": sale.field, "Name": "Reference Number", "StringValue": sale.reference}
            more["CustomField"] = [custom_field]
        if not sale.total and not sale.voided:
            more["Line"] = [{"Amount": "10"}, {"Amount": "-10"}]  # discounted by all of it, which is no void
        act = {"Invoice": self.invoice, "CreditMemo": self.memo, "RefundReceipt": self.refund}[key[0]]
        return act(key[1], str(sale.total), sale.customer, **more)

    def read_payment(self, key: Key, paid: Paid, at: int, read_at: int) -> Decision:
        """A payment, read with those journal entries that can be read."""
        self.minutes = read_at - 1
        raw = {
            "Id": key[1],
            "TxnDate": paid.on.isoformat(),
            "CustomerRef": {"value": paid.customer},
            "TotalAmt": str(paid.total),
            "UnappliedAmt": str(paid.unapplied),
            "Line": [
                {"Amount": str(amount), "LinkedTxn": [{"TxnType": kind, "TxnId": number}]}
                for (kind, number), amount in paid.lines.items()
            ],
            **_shared(paid),
        }
        named = {number for kind, number in paid.lines if kind == "JournalEntry"}
        return self.paid_with_journals(raw, {n: JOURNALS[n] for n in sorted(named & JOURNALS.keys())}, at=at)

    def read_customer(self, customer: str, parent: str | None, active: bool, at: int, read_at: int) -> Decision:
        """A customer, read."""
        self.minutes = read_at - 1
        raw: dict[str, Any] = {"Id": customer, "DisplayName": f"Customer {customer}", "Active": active}
        return self.read(CUSTOMER, raw | ({"ParentRef": {"value": parent}} if parent else {}), at=at)


def _amount(money: Money | None) -> Decimal | None:
    return None if money is None else money.amount


def _shared(record: Sale | Paid) -> dict[str, Any]:
    found: dict[str, Any] = {"CurrencyRef": {"value": record.currency}}
    if record.rate is not None:
        found["ExchangeRate"] = str(record.rate)
    if record.project_ref is not None:
        found["ProjectRef"] = {"value": record.project_ref}
    return found


def differences(found: dict[Any, Any], expected: dict[Any, Any]) -> dict[Any, tuple[Any, Any]]:
    """What stands in one and not in the other, or not like that."""
    keys = [*found, *(key for key in expected if key not in found)]
    return {key: (found.get(key), expected.get(key)) for key in keys if found.get(key) != expected.get(key)}


def figures(reader: StrictReader) -> dict[tuple[str, str, date], dict[str, Decimal]]:
    """By project, currency and date; what is zero is left out."""
    found = {place: {n: a for n, a in each.items() if a} for place, each in reader.by_date.items()}
    return {place: each for place, each in found.items() if each}


def in_disorder(life: Life, seed: int) -> list[Heard]:
    """The inputs of a life in another order, some of them twice, without those that had no effect.

    People, projects and rules keep their order: what is accepted depends on it. So does what is heard of customers, but
    between two of those anything may come first. Reads and deletes of documents come whenever they come; only one that
    a person speaks of is read before, or it would be refused.
    """
    order = random.Random(seed)
    inputs = [each for each in life.inputs if each.change not in life.without_effect]
    dismissed = {each.key for each in inputs if isinstance(each.change, changes.DismissWarning)}
    free = [each for each in inputs if each.is_of_document and each.key not in dismissed]
    found = _customers_shuffled([each for each in inputs if each not in free], order)
    free += [each for each in free if order.random() < AGAIN]
    order.shuffle(free)
    for each in free:
        found.insert(order.randint(0, len(found)), each)
    return _read_first(inputs, found)


def _customers_shuffled(inputs: Sequence[Heard], order: random.Random) -> list[Heard]:
    """What is heard of customers and merges between two other inputs, in any order and partly twice.

    Once a merge was heard of, people decide by what is known of it, so only what comes after the last of them is
    shuffled. That a customer is gone is the answer to a read that the notice of its merge asked for: it stays.
    """
    found: list[Heard] = []
    run: list[Heard] = []
    for each in (*inputs, None):
        if each is not None and isinstance(each.change, changes.RecordRead | changes.MergeNotice):
            run += [each] * (2 if order.random() < AGAIN else 1)
            continue
        if each is None or not any(isinstance(i.change, changes.MergeNotice) for i in (*found, *run)):
            order.shuffle(run)
        found += run + ([] if each is None else [each])
        run = []
    return found


def _read_first(inputs: Sequence[Heard], shuffled: list[Heard]) -> list[Heard]:
    """Where somebody speaks of a document before it was read, it is read right before."""
    read: set[Key] = set()
    found: list[Heard] = []
    for each in shuffled:
        if isinstance(each.change, changes.RecordRead):
            read.add(each.key)
        elif each.key[1] and each.key not in read and isinstance(each.change, (*REQUESTS, changes.RecordAbsent)):
            first = next((i for i in inputs if i.key == each.key and isinstance(i.change, changes.RecordRead)), None)
            if first is not None:
                read.add(each.key)
                found.append(first)
        found.append(each)
    return found
