"""What happens in a construction firm's books: single plausible changes, chosen by a seeded dice.

Reads: the company as it is. Writes: the company, through the same operations that the REST API uses.
Guarantees: the same company, seed and clock give the same changes; every change is one that the books accept.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

from connectors.simulator.api.company import Company, Event, Project
from connectors.simulator.books.book import credit_link
from connectors.simulator.books.effects import Change
from connectors.simulator.books.notes import NOTHING, Note, below, known
from connectors.simulator.books.records import ZERO, ItemKey, Kind, OpenItem, Record, Refused, money

FIRST = (
    "Harbour",
    "Cedar",
    "Oak Hill",
    "Mission",
    "Lakeview",
    "Granite",
    "Redwood",
    "Alder",
    "Union",
    "Sutter",
    "Pacific",
    "Delta",
)
SECOND = (
    "Estates",
    "Schools",
    "Medical Group",
    "Logistics",
    "Properties",
    "Hotels",
    "Winery",
    "Holdings",
    "Partners",
    "Foods",
)
JOBS = (
    "Pier 9 refit",
    "North tower",
    "Parking deck",
    "Roof renewal",
    "Seismic retrofit",
    "Lobby",
    "Warehouse 3",
    "Wing B",
    "Atrium",
    "Clinic fit-out",
)
WORK = (
    "Stage {n}",
    "Progress claim {n}",
    "Design development",
    "Site supervision week {n}",
    "Variation {n}",
    "Demolition",
    "Electrical rough-in",
)
ITEM_IDS = ("1", "2", "5", "7", "9", "11", "12")

WEIGHTS: dict[str, int] = {
    "invoice_created": 26,
    "invoice_edited": 12,
    "invoice_voided": 3,
    "invoice_deleted": 2,
    "payment_created": 24,
    "payment_edited": 6,
    "payment_voided": 1,
    "payment_deleted": 3,
    "credit_memo_created": 6,
    "credit_linked": 6,
    "refund_given": 5,
    "customer_renamed": 3,
    "customer_created": 3,
}


class Impossible(Exception):
    """There is nothing in the books that this change could be made to."""


class Life:
    """Makes changes in one company."""

    def __init__(self, company: Company, seed: int | str) -> None:
        self.company = company
        self.book = company.book
        self.dice = random.Random(str(seed))  # noqa: S311 - a life that can be repeated, no secret
        self._seen: list[Event] = []

    def change(self, kinds: list[str] | None = None) -> list[Event]:
        """Make one change of the given kinds (all by default) and answer the events it caused."""
        names = kinds or list(WEIGHTS)
        unknown = sorted(set(names) - set(WEIGHTS))
        if unknown:
            raise ValueError(f"unknown kinds of change: {', '.join(unknown)}; known: {', '.join(WEIGHTS)}")
        weights = [WEIGHTS[name] for name in names]
        self._seen = []
        self.company.listeners.append(self._note)
        try:
            for _ in range(12):
                if self._make(self.dice.choices(names, weights)[0]):
                    return self._seen
            self._make("invoice_created")
            return self._seen
        finally:
            self.company.listeners.remove(self._note)

    def _make(self, name: str) -> bool:
        action: Callable[[], Record] = getattr(self, name)
        try:
            action()
        except (Impossible, Refused):
            return False
        return True

    def _note(self, company: Company, changes: list[Change], events: list[Event]) -> None:
        self._seen.extend(events)

    # ---- customers -----------------------------------------------------------------------------------------------

    def customer_created(self) -> Record:
        """A new client, or a new job of one."""
        parents = [one for one in self._customers() if not one.fields.get("ParentRef")]
        parent = self.dice.choice(parents) if parents and self.dice.random() < 0.7 else None
        return self.add_customer(parent)

    def add_customer(self, parent: Record | None) -> Record:
        """Make a client, or a job below `parent`."""
        number = self.book.next_ids["customer"]
        if parent is None:
            name = f"{self.dice.choice(FIRST)} {self.dice.choice(SECOND)}"
            return self.company.create(Kind.CUSTOMER, self._client(name, number), NOTHING)
        body = {
            "DisplayName": f"{self.dice.choice(JOBS)} {number}",
            "CompanyName": parent.fields.get("CompanyName"),
            **{"Job": True, "BillWithParent": True, "ParentRef": {"value": parent.id}},
        }
        return self.company.create(Kind.CUSTOMER, body, below(parent.note or NOTHING))

    def _client(self, name: str, number: int) -> dict[str, Any]:
        street = f"{self.dice.randint(1, 990)} {self.dice.choice(FIRST)} St"
        return {
            **{"DisplayName": f"{name} {number}", "CompanyName": name},
            "BillAddr": {
                "Line1": street,
                "City": "Oakland",
                "CountrySubDivisionCode": "CA",
                "PostalCode": f"946{number % 100:02d}",
            },
            "PrimaryPhone": {"FreeFormNumber": f"(510) 555-{self.dice.randint(100, 9999):04d}"},
            "PrimaryEmailAddr": {"Address": f"ap{number}@client.example"},
        }

    def customer_renamed(self) -> Record:
        """A client changes its name; nothing in the books moves."""
        customer = self.dice.choice(self._customers())
        name = str(customer.fields["DisplayName"]).split(" (")[0]
        body = self.company.token_body(Kind.CUSTOMER, customer.id) | {"sparse": True}
        return self.company.update(Kind.CUSTOMER, body | {"DisplayName": f"{name} ({self.dice.randint(2, 99999)})"})

    # ---- invoices ------------------------------------------------------------------------------------------------

    def invoice_created(self) -> Record:
        """A progress invoice to somebody."""
        return self.add_invoice(self.dice.choice(self._payers()))

    def add_invoice(self, customer: Record) -> Record:
        """A progress invoice to this customer, with the project it is meant for fixed first."""
        project = self._project_for(customer)
        body = {
            **{"CustomerRef": {"value": customer.id}, "Line": self._lines(), "TxnDate": self._today()},
            **{"DueDate": self._today(30), "SalesTermRef": {"value": "3", "name": "Net 30"}},
            **self._reference(project),
        }
        if self.dice.random() < 0.15:
            body["TxnTaxDetail"] = {"TxnTaxCodeRef": {"value": "2"}}
        if self.dice.random() < 0.05:
            body["Deposit"] = money(self.dice.randint(50, 100))
        return self.company.create(Kind.INVOICE, body, _noted(customer, project, body))

    def invoice_edited(self) -> Record:
        """An amount, a date or a note of an invoice is put right."""
        invoice = self._some(Kind.INVOICE, lambda one: not one.voided)
        body = self.company.token_body(Kind.INVOICE, invoice.id) | {"sparse": True}
        choice = self.dice.random()
        if choice < 0.6:
            body["Line"] = self._lines()
        elif choice < 0.8:
            body["TxnDate"] = self._today(-self.dice.randint(1, 20))
        else:
            body["PrivateNote"] = f"Checked {self.dice.randint(1, 999)}"
        return self.company.update(Kind.INVOICE, body)

    def invoice_voided(self) -> Record:
        """An invoice is voided; what was paid becomes unapplied."""
        invoice = self._some(Kind.INVOICE, lambda one: not one.voided)
        return self.company.void(Kind.INVOICE, self.company.token_body(Kind.INVOICE, invoice.id))

    def invoice_deleted(self) -> Record:
        """An invoice is deleted."""
        invoice = self._some(Kind.INVOICE, lambda one: True)
        return self.company.delete(Kind.INVOICE, self.company.token_body(Kind.INVOICE, invoice.id))

    # ---- payments ------------------------------------------------------------------------------------------------

    def payment_created(self) -> Record:
        """A payment: of one invoice, of a part, of several jobs at once, too much, or on account."""
        customer = self._with_open(credit=False)
        payer = (
            next(iter(list(self.book.customers.ancestors(customer.id))[::-1]), customer)
            if self.dice.random() < 0.5
            else customer
        )
        charges = self._open(payer, credit=False)[: self.dice.choice((1, 1, 1, 2, 3))]
        lines, paid = [], ZERO
        for item in charges:
            amount = (
                item.remaining if self.dice.random() < 0.75 else money(item.remaining * self.dice.randint(20, 80) / 100)
            )
            if amount > 0:
                lines.append(_line(amount, item))
                paid += amount
        extra = money(self.dice.randint(5, 400)) if self.dice.random() < 0.08 else ZERO
        if self.dice.random() < 0.03:
            lines, extra = [], money(self.dice.randint(200, 5000))
            paid = ZERO
        if not lines and not extra:
            raise Impossible
        body = {
            **{"CustomerRef": {"value": payer.id}, "TotalAmt": paid + extra, "Line": lines, "TxnDate": self._today()},
            **{"PaymentMethodRef": {"value": "2"}, "PaymentRefNum": str(self.dice.randint(1000, 99999))},
        }
        return self.company.create(Kind.PAYMENT, body, _noted(payer, None, body))

    def payment_edited(self) -> Record:
        """A payment's amount is raised, or one of its lines is taken away."""
        payment = self._some(Kind.PAYMENT, lambda one: not one.voided and one.total > 0)
        body = self.company.token_body(Kind.PAYMENT, payment.id) | {"sparse": True, "TotalAmt": payment.total}
        if payment.applications and self.dice.random() < 0.5:
            kept = [line for line in payment.applications if not self.book.items[line.item].is_credit][:-1]
            body["Line"] = [_line(line.amount, self.book.items[line.item]) for line in kept]
        else:
            body["TotalAmt"] = payment.total + money(self.dice.randint(1, 200))
        return self.company.update(Kind.PAYMENT, body)

    def payment_voided(self) -> Record:
        """A cheque bounced: its payment is voided."""
        payment = self._some(Kind.PAYMENT, lambda one: not one.voided and one.total > 0)
        return self.company.void(Kind.PAYMENT, self.company.token_body(Kind.PAYMENT, payment.id))

    def payment_deleted(self) -> Record:
        """A payment is deleted; its invoices are open again."""
        payment = self._some(Kind.PAYMENT, lambda one: True)
        return self.company.delete(Kind.PAYMENT, self.company.token_body(Kind.PAYMENT, payment.id))

    # ---- credits and refunds -------------------------------------------------------------------------------------

    def credit_memo_created(self) -> Record:
        """A customer is credited for something."""
        customer = self._with_open(credit=False)
        project = self._project_for(customer)
        body = {
            **{"CustomerRef": {"value": customer.id}, "TxnDate": self._today()},
            **{"Line": self._lines(most=600), **self._reference(project)},
        }
        return self.company.create(Kind.CREDIT_MEMO, body, _noted(customer, project, body))

    def credit_linked(self) -> Record:
        """A credit is used on an invoice: a payment of nothing that links the two."""
        customer = self._with_open(credit=True)
        credits_ = [item for item in self._open(customer, credit=True) if item.key.kind is Kind.CREDIT_MEMO]
        charges = self._open(customer, credit=False)
        if not credits_ or not charges:
            raise Impossible
        amount = min(credits_[0].remaining, charges[0].remaining)
        lines = [_line(amount, charges[0]), _line(amount, credits_[0])]
        body = credit_link(customer.id, lines, self._today())
        return self.company.create(Kind.PAYMENT, body, _noted(customer, None, body))

    def refund_given(self) -> Record:
        """A customer gets money back for something returned."""
        customer = self.dice.choice(self._payers())
        project = self._project_for(customer)
        body = {
            **{"CustomerRef": {"value": customer.id}, "TxnDate": self._today(), "Line": self._lines(most=300)},
            **{
                "DepositToAccountRef": {"value": "35", "name": "Checking"},
                "PaymentMethodRef": {"value": "2", "name": "Check"},
            },
            **self._reference(project),
        }
        return self.company.create(Kind.REFUND_RECEIPT, body, _noted(customer, project, body))

    # ---- choosing ------------------------------------------------------------------------------------------------

    def _today(self, days: int = 0) -> str:
        return (self.company.clock.now().astimezone(self.company.zone) + timedelta(days=days)).date().isoformat()

    def _customers(self) -> list[Record]:
        return [one for one in self.book.records[Kind.CUSTOMER].values() if one.fields["Active"]]

    def _payers(self) -> list[Record]:
        """Whom invoices go to: jobs, and clients without jobs; a client with jobs only now and then."""
        found = self._customers()
        if not found:
            raise Impossible
        leaves = [one for one in found if not self.book.customers.children.get(one.id)]
        return leaves if leaves and self.dice.random() < 0.95 else found

    def _some(self, kind: Kind, fits: Callable[[Record], bool]) -> Record:
        stored = self.book.records[kind]
        last = self.book.next_ids["transaction"]
        for _ in range(80):
            found = stored.get(str(self.dice.randrange(1001, max(last, 1002))))
            if found is not None and fits(found):
                return found
        raise Impossible

    def _with_open(self, *, credit: bool) -> Record:
        """A customer with an open charge (or an unused credit)."""
        customers = self._customers()
        for _ in range(30):
            found = self.dice.choice(customers) if customers else None
            if found is not None and self._open(found, credit=credit, jobs=False):
                return found
        raise Impossible

    def _open(self, customer: Record, *, credit: bool, jobs: bool = True) -> list[OpenItem]:
        """Open items of a customer and, for charges, of its jobs; oldest first."""
        family = [customer.id]
        if jobs:
            family += self._below(customer.id)
        keys = [key for one in family for key in list(self.book.open_items.get(one, ()))[:20]]
        items = [self.book.items[key] for key in keys]
        wanted = [item for item in items if item.is_credit == credit and item.key.kind in _LINK_WORDS]
        return sorted(wanted, key=lambda item: int(item.key.id))

    def _below(self, customer_id: str) -> list[str]:
        found: list[str] = []
        for child in self.book.customers.children.get(customer_id, ()):
            found += [child, *self._below(child)]
        return found

    def _project_for(self, customer: Record) -> Project | None:
        """The project that a document of this customer is meant for, decided before anything is written."""
        family = [customer.id, *(one.id for one in self.book.customers.ancestors(customer.id))]
        for one in family:
            found = [project for project in self.company.projects if project.customer_id == one]
            if found:
                return self.dice.choice(found)
        return None

    def _reference(self, project: Project | None) -> dict[str, Any]:
        """What the bookkeeper types into Reference Number: a careful one does, a hasty one does not."""
        if project is None:
            return {}
        alone = [one for one in self.company.projects if one.customer_id == project.customer_id] == [project]
        if alone and self.dice.random() > 0.35:
            return {}  # the customer says it already
        return {"CustomField": [{"DefinitionId": "1", "StringValue": project.project_id}]}

    def _lines(self, most: int = 9000) -> list[dict[str, Any]]:
        return [self._line(most, position) for position in range(1, self.dice.choice((1, 2, 2, 3, 4)) + 1)]

    def _line(self, most: int, position: int) -> dict[str, Any]:
        quantity = Decimal(self.dice.choice((1, 1, 2, 4, 8, 12)))
        price = (Decimal(self.dice.randint(2000, most * 100)) / 100 / quantity).quantize(Decimal("0.01"))
        detail = {
            **{"ItemRef": {"value": self.dice.choice(ITEM_IDS)}, "UnitPrice": price, "Qty": quantity},
            "TaxCodeRef": {"value": self.dice.choice(("NON", "NON", "TAX"))},
        }
        text = self.dice.choice(WORK).format(n=self.dice.randint(1, 12))
        amount = money(price * quantity)
        return {
            "Amount": amount,
            "Description": text,
            "DetailType": "SalesItemLineDetail",
            "SalesItemLineDetail": detail,
        }


_LINK_WORDS = {Kind.INVOICE: "Invoice", Kind.CREDIT_MEMO: "CreditMemo"}


def _noted(customer: Record, project: Project | None, body: dict[str, Any]) -> Note:
    """Where a document leads that this bookkeeper writes: what he types is always right."""
    meant = project.project_id if project else None
    return known(customer.note or NOTHING, meant, "careful", named=meant if "CustomField" in body else None)


def _line(amount: Decimal, item: OpenItem) -> dict[str, Any]:
    key: ItemKey = item.key
    return {"Amount": amount, "LinkedTxn": [{"TxnId": key.id, "TxnType": _LINK_WORDS[key.kind]}]}
