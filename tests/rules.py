"""A small world for the ledger's rules: QuickBooks records in, balances by the posting table out. No I/O."""

import json
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from schemas import accounting as facts
from schemas import changes
from schemas.quickbooks import Customer, Payment, parse_record
from streams.books import Books, Company, Key
from streams.difference import Fact, Notice
from streams.ledger import Decision, Opened, Reach, absorb, decide, redecide

START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Balance:
    """One project by the posting table; plain sums over events, as any consumer would keep them."""

    invoiced: Decimal = Decimal(0)
    tax: Decimal = Decimal(0)
    credited: Decimal = Decimal(0)
    cash: Decimal = Decimal(0)
    O: Decimal = Decimal(0)  # noqa: E741 (the design's letter)
    C: Decimal = Decimal(0)
    U: Decimal = Decimal(0)
    refunds: Decimal = Decimal(0)
    other: Decimal = Decimal(0)
    credit_in: Decimal = Decimal(0)
    credit_out: Decimal = Decimal(0)
    home_invoiced: Decimal = Decimal(0)
    home_credited: Decimal = Decimal(0)
    home_cash: Decimal = Decimal(0)
    home_O: Decimal = Decimal(0)
    home_C: Decimal = Decimal(0)
    home_U: Decimal = Decimal(0)
    home_refunds: Decimal = Decimal(0)
    home_other: Decimal = Decimal(0)
    gained: Decimal = Decimal(0)

    @property
    def N(self) -> Decimal:
        return self.O - self.C - self.U

    @property
    def home_N(self) -> Decimal:
        return self.home_O - self.home_C - self.home_U

    def post(self, body: Any) -> None:
        """Apply one event by the posting table."""
        name = type(body).__name__
        if isinstance(getattr(body, "before", None) or getattr(body, "after", None), facts.Figures | facts.Share):
            self._difference(name, getattr(body, "before", None), getattr(body, "after", None))
            return
        sign = -1 if "Unapplied" in name or "Reversed" in name else 1
        self._post_home(name, sign, body)
        match body:
            case facts.Application():
                self.O -= sign * body.applied.amount
                self.U -= sign * body.applied.amount
            case facts.OtherApplication():
                self.U -= sign * body.applied.amount
                self.other += sign * body.applied.amount
            case facts.CreditApplication():
                self.O -= sign * body.applied.amount
                self.C -= sign * body.applied.amount
            case facts.OtherCreditApplication():
                self.C -= sign * body.applied.amount
                self.U += sign * body.applied.amount
            case facts.CreditTransfer() if "In" in name.replace("Invoice", ""):
                self.C += sign * body.transferred.amount
                self.credit_in += sign * body.transferred.amount
            case facts.CreditTransfer():
                self.C -= sign * body.transferred.amount
                self.credit_out += sign * body.transferred.amount

    def _post_home(self, name: str, sign: int, body: Any) -> None:
        """The same in home currency, from what the events state; nothing stated adds nothing."""
        source, target = sign * _said(body, "home_source"), sign * _said(body, "home_target")
        match body:
            case facts.Application():
                self.home_U -= source
                self.home_O -= target
            case facts.OtherApplication():
                self.home_U -= source
                self.home_other += source
            case facts.CreditApplication():
                self.home_C -= source
                self.home_O -= target
            case facts.OtherCreditApplication():
                self.home_C -= source
                self.home_U += target
            case facts.CreditTransfer():
                comes_in = "TransferredIn" in name or "TransferIn" in name
                self.home_C += (sign if comes_in else -sign) * _said(body, "home_transferred")
            case facts.Exchanged():
                self.gained += sign * body.gained.amount

    def _home_figures(self, name: str, sign: int, figures: Any) -> None:
        total, deposit = sign * _said(figures, "home_total"), sign * _said(figures, "home_deposit")
        if isinstance(figures, facts.Share):
            self.home_cash += sign * _said(figures, "home_received")
            self.home_U += sign * _said(figures, "home_received")
        elif name.startswith("Invoice"):
            self.home_invoiced += total
            self.home_O += total - deposit
            self.home_cash += deposit
        elif name.startswith("CreditMemo"):
            self.home_credited += total
            self.home_C += total
        else:
            self.home_refunds += total

    def _difference(self, name: str, before: Any, after: Any) -> None:
        for figures, sign in ((before, -1), (after, 1)):
            if figures is None:
                continue
            self._home_figures(name, sign, figures)
            if isinstance(figures, facts.Share):
                self.cash += sign * figures.received.amount
                self.U += sign * figures.received.amount
            elif name.startswith("Invoice"):
                self.invoiced += sign * figures.total.amount
                self.tax += sign * figures.tax.amount
                self.O += sign * (figures.total.amount - figures.deposit.amount)
                self.cash += sign * figures.deposit.amount
            elif name.startswith("CreditMemo"):
                self.credited += sign * figures.total.amount
                self.C += sign * figures.total.amount
            else:
                self.refunds += sign * figures.total.amount


def _said(body: Any, field_name: str) -> Decimal:
    stated = getattr(body, field_name, None)
    return Decimal(0) if stated is None else stated.amount


def books_of_a_new_company(rules_version: int = changes.RULES_VERSION) -> Books:
    """Nothing yet; decided by the newest rules unless said otherwise."""
    return Books(Company("9130000000000001", home_currency="USD", rules_version=rules_version))


@dataclass
class World:
    """One company whose records are read in the order of the calls; time goes on by a minute each."""

    books: Books = field(default_factory=books_of_a_new_company)
    facts: list[Fact] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    minutes: int = 0

    @classmethod
    def with_projects(cls, *project_ids: str) -> "World":
        """Customers 1, 2 ... are mapped to these projects, in their order."""
        world = cls()
        for number, project_id in enumerate(project_ids, start=1):
            world.declare(project_id)
            world.customer(str(number))
            world.map(str(number), project_id)
        return world

    def read(
        self,
        record_type: str,
        raw: dict[str, Any],
        *,
        at: int | datetime | None = None,
        sync_token: int = 0,
        read_at: datetime | None = None,
    ) -> Decision:
        """A record as read; `at` is its LastUpdatedTime, in minutes or as a moment, by default now."""
        self.minutes += 1
        opened = Opened(
            parse_record(record_type, json.dumps(raw, default=str).encode(), self.books.company.home_currency)
        )
        if isinstance(opened.record, Customer):
            opened = opened._replace(names=b"sealed", names_mac=opened.record.display_name.encode())
        change = changes.RecordRead(
            record_type=record_type,
            record_id=str(raw["Id"]),
            revised_at=self.moment(at),
            sync_token=sync_token,
            read_at=read_at or self.moment(None),
            sealed=b"",
            related=(),
        )
        return self.take(change, opened)

    def moment(self, at: int | datetime | None) -> datetime:
        """Minutes since the beginning as a moment; None: now."""
        return at if isinstance(at, datetime) else START + timedelta(minutes=self.minutes if at is None else at)

    def customer(self, record_id: str, *, parent: str | None = None, name: str | None = None) -> Decision:
        raw: dict[str, Any] = {"Id": record_id, "DisplayName": name or f"Customer {record_id}"}
        return self.read("Customer", raw | ({"ParentRef": {"value": parent}} if parent else {}))

    def invoice(self, record_id: str, total: str, customer: str = "1", **more: Any) -> Decision:
        return self._sale("Invoice", record_id, total, customer, more)

    def memo(self, record_id: str, total: str, customer: str = "1", **more: Any) -> Decision:
        return self._sale("CreditMemo", record_id, total, customer, more)

    def refund(self, record_id: str, total: str, customer: str = "1", **more: Any) -> Decision:
        return self._sale("RefundReceipt", record_id, total, customer, more)

    def payment(
        self, record_id: str, total: str, customer: str = "1", *lines: tuple[str, str, str], **more: Any
    ) -> Decision:
        """Lines are (type, id, amount); the unapplied rest follows from them, or is given."""
        sources = sum((Decimal(amount) for kind, _, amount in lines if kind == "CreditMemo"), Decimal(0))
        uses = sum((Decimal(amount) for kind, _, amount in lines if kind != "CreditMemo"), Decimal(0))
        unapplied = more.pop("unapplied", str(Decimal(total) + sources - uses))
        raw = {
            "Id": record_id,
            "TxnDate": more.pop("on", "2026-02-01"),
            "CustomerRef": {"value": customer},
            "TotalAmt": total,
            "UnappliedAmt": unapplied,
            "Line": [{"Amount": a, "LinkedTxn": [{"TxnType": t, "TxnId": i}]} for t, i, a in lines],
        }
        at = more.pop("at", None)
        return self.read("Payment", raw | more, at=at)

    def _sale(self, record_type: str, record_id: str, total: str, customer: str, more: dict[str, Any]) -> Decision:
        reference, at = more.pop("reference", None), more.pop("at", None)
        raw: dict[str, Any] = {
            "Id": record_id,
            "TxnDate": more.pop("on", "2026-01-15"),
            "CustomerRef": {"value": customer},
            "TotalAmt": total,
            "Line": [{"Amount": total}],
        }
        if reference is not None:
            raw["CustomField"] = [{"DefinitionId": "1", "Name": "Reference Number", "StringValue": reference}]
        return self.read(record_type, raw | more, at=at)

    def gone(self, record_type: str, record_id: str, *, at: int | None = None) -> Decision:
        """Deleted in QuickBooks; `at` is the time of the answer 610, in minutes, by default now."""
        self.minutes += 1
        now = START + timedelta(minutes=self.minutes if at is None else at)
        change = changes.RecordGone(record_type=record_type, record_id=record_id, announced_at=now, read_at=now)
        return self.take(change)

    def declare(self, project_id: str) -> Decision:
        return self.take(changes.ProjectDeclared(project_id=project_id, name=project_id))

    def map(
        self,
        customer_id: str,
        project_id: str,
        *,
        reference: str = "",
        from_on: date | None = None,
        seen: int | None = None,
    ) -> Decision:
        """`seen` is the mapping version that the person saw, by default the present one."""
        request = changes.MapCustomer(
            decision_id=f"d{len(self.decisions)}",
            person="somebody",
            customer_id=customer_id,
            project_id=project_id,
            reference_number=reference,
            from_on=from_on,
            mapping_version=self._seen(customer_id, seen),
        )
        return self.take(request)

    def adopt_rules(self, rules_version: int) -> Decision:
        return self.take(changes.RulesChanged(rules_version=rules_version))

    def _seen(self, customer_id: str, seen: int | None) -> int:
        known = self.books.customers.get(customer_id)
        return seen if seen is not None else 0 if known is None else known.mapping_version

    def release(self, customer_id: str, *, seen: int | None = None) -> Decision:
        request = changes.ReleaseCustomer(
            decision_id=f"d{len(self.decisions)}",
            person="somebody",
            customer_id=customer_id,
            mapping_version=self._seen(customer_id, seen),
        )
        return self.take(request)

    def exclude(self, customer_id: str, reference_only: bool = False, *, seen: int | None = None) -> Decision:
        request = changes.ExcludeCustomer(
            decision_id=f"d{len(self.decisions)}",
            person="somebody",
            customer_id=customer_id,
            reference_only=reference_only,
            mapping_version=self._seen(customer_id, seen),
        )
        return self.take(request)

    def assign(self, record_type: str, record_id: str, project_id: str | None, *, seen: int | None = None) -> Decision:
        request = changes.AssignDocument(
            decision_id=f"d{len(self.decisions)}",
            person="somebody",
            record_type=record_type,
            record_id=record_id,
            project_id=project_id,
            assignment_version=seen,
        )
        return self.take(request)

    def take(self, change: Any, opened: Opened | None = None) -> Decision:
        decision = decide(self.books, change, START + timedelta(minutes=self.minutes), opened)
        self._keep(decision)
        if decision.reach:
            self._keep(redecide(self.books, self._reached(decision.reach), decision.reach))
        return decision

    def _keep(self, decision: Decision) -> None:
        absorb(self.books, decision)
        self.decisions.append(decision)
        self.facts += decision.facts
        self.notices += decision.notices

    def _reached(self, reach: Reach) -> list[Key]:
        """All documents: settling one that nothing moves adds nothing, which is a property worth testing."""
        return sorted(key for key, document in self.books.documents.items() if document.head is not None)

    @property
    def names(self) -> list[str]:
        """The types of all events so far, in order."""
        return [type(fact.body).__name__ for fact in self.facts]

    @property
    def money_names(self) -> list[str]:
        """Without the mapping of customers."""
        return [name for name in self.names if not name.startswith("Customer")]

    def balances(self) -> dict[str, Balance]:
        """Every project by the posting table, from the events alone."""
        found: dict[str, Balance] = defaultdict(Balance)
        for fact in self.facts:
            found[fact.project_id].post(fact.body)
        return found

    def waiting(self) -> dict[tuple[str, str, str], Any]:
        """What waits now, by record and part, with its amount."""
        return {
            (*key, part): None if waiting.amount is None else waiting.amount.amount
            for key, document in self.books.documents.items()
            for part, waiting in document.booked.waiting.items()
        }

    def payments(self) -> list[Payment]:
        return [d.head for d in self.books.documents.values() if isinstance(d.head, Payment)]
