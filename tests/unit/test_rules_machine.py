"""Random lives against a naive model that works everything out from scratch: after each step both say the same.

The machine reads records in disorder, late and twice, and lets people map, release, exclude, assign and declare.
Properties after every step: figures and what waits equal the model's (convergence under any order, since the model
knows the latest only); QuickBooks' own sums are conserved; the same input again adds nothing. At the end: a replay of
all inputs makes the same events, and events are numbered without gaps in the order in which they were made.
"""

import os
from dataclasses import asdict
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.naive import ZERO, Key, Mapping, Money, Naive, Sale
from tests.rules import World

CUSTOMERS = st.sampled_from("12345")
PROJECTS = st.sampled_from(["P1", "P2", "P3", "p4"])
CENTS = st.integers(0, 40_000).map(lambda cents: Decimal(cents) / 100)
DAYS = st.integers(0, 3).map(lambda quarters: date(2025, 10, 1) + timedelta(days=91 * quarters))
SALES = st.sampled_from([("Invoice", n) for n in ["11", "12", "13", "14"]] + [("CreditMemo", n) for n in ("21", "22")]
                        + [("RefundReceipt", "31")])  # fmt: skip
PAYMENTS = st.sampled_from(["41", "42", "43"])
DOCUMENTS = st.one_of(SALES, PAYMENTS.map(lambda number: ("Payment", number)))
REFERENCES = st.sampled_from([None, None, None, "P1", " p2 ", "P4", "nowhere"])
LATE = st.sampled_from([0, 0, 0, 0, 3, 7])  # so many steps ago the record was so


class Books(RuleBasedStateMachine):
    """The rules beside the model."""

    def __init__(self) -> None:
        super().__init__()
        self.world, self.naive = World(), Naive()
        self.moment = 1000
        self.inputs: list[Any] = []
        self.asked = False  # the last input was a request of a person

    def _at(self, late: int) -> int:
        """A time of its own for each record: equal times with other content have no right answer."""
        self.moment += 10
        return self.moment - 10 * late + (1 if late else 0) * (self.moment // 10 % 9 + 1)

    def _both(self, act: Any) -> Any:
        self.inputs.append(act)
        decision = act(self.world)
        self.asked = bool(decision.answered)
        return decision

    @initialize()
    def begin(self) -> None:
        for project in ("P1", "P2"):
            self.declare(project)

    @rule(project=PROJECTS)
    def declare(self, project: str) -> None:
        self._both(lambda world: world.declare(project))
        self.naive.projects.setdefault(project, False)

    @rule(customer=CUSTOMERS, parent=st.one_of(st.none(), CUSTOMERS))
    def read_customer(self, customer: str, parent: str | None) -> None:
        above = parent if parent is not None and int(parent) < int(customer) else None
        at = self._at(0)
        self._both(lambda world: world.read("Customer", _customer(customer, above), at=at))
        self.naive.parents[customer] = above

    @rule(customer=CUSTOMERS, project=PROJECTS, from_on=st.one_of(st.none(), DAYS))
    def map(self, customer: str, project: str, from_on: date | None) -> None:
        decision = self._both(lambda world: world.map(customer, project, from_on=from_on))
        if _accepted(decision):
            self.naive.map(customer, project, from_on)
        assert _accepted(decision) == (customer in self.naive.parents and project in self.naive.projects)

    @rule(customer=CUSTOMERS, state=st.sampled_from(["released", "excluded", "reference_only"]))
    def decide(self, customer: str, state: str) -> None:
        if customer not in self.naive.parents:
            return
        if state == "released":
            self._both(lambda world: world.release(customer))
        else:
            self._both(lambda world: world.exclude(customer, state == "reference_only"))
        self.naive.mappings[customer] = Mapping(state)

    @rule(key=SALES, customer=CUSTOMERS, total=CENTS, on=DAYS, reference=REFERENCES, late=LATE)
    def read_sale(self, key: Key, customer: str, total: Decimal, on: date, reference: str | None, late: int) -> None:
        at = self._at(late)
        more: dict[str, Any] = {"on": on.isoformat(), "reference": reference, "at": at}
        act = {"Invoice": World.invoice, "CreditMemo": World.memo, "RefundReceipt": World.refund}[key[0]]
        self._both(lambda world: act(world, key[1], str(total), customer, **dict(more)))
        sale = Sale(customer, total, on, reference=reference, voided=not total)
        self.naive.read(key, sale, at)

    @rule(
        number=PAYMENTS,
        customer=CUSTOMERS,
        lines=st.dictionaries(SALES.filter(lambda key: key[0] != "RefundReceipt"), CENTS.filter(bool), max_size=4),
        other=st.one_of(st.none(), st.tuples(st.sampled_from(["Check", "CreditCardCredit"]), CENTS.filter(bool))),
        extra=CENTS,
        on=DAYS,
        late=LATE,
    )
    def read_payment(
        self, number: str, customer: str, lines: dict[Key, Decimal], other: Any, extra: Decimal, on: date, late: int
    ) -> None:
        given = dict(lines)
        if other is not None:
            given[other[0], "91"] = other[1]
        payment = Money(customer, ZERO, on, given)
        sources, uses = payment.sum_of("CreditMemo", "CreditCardCredit"), payment.sum_of("Invoice", "Check")
        payment.total = max(uses - sources, ZERO) + extra
        at = self._at(late)
        more = {"on": on.isoformat(), "at": at, "unapplied": str(payment.total + sources - uses)}
        told = [(kind, record_id, str(amount)) for (kind, record_id), amount in given.items()]
        self._both(lambda world: world.payment(number, str(payment.total), customer, *told, **dict(more)))
        self.naive.read(("Payment", number), payment, at)

    @rule(key=DOCUMENTS, late=LATE)
    def delete(self, key: Key, late: int) -> None:
        at = self._at(late)
        self._both(lambda world: world.gone(*key, at=at))
        self.naive.delete(key, at)

    @rule(
        key=st.one_of(SALES, PAYMENTS.map(lambda number: ("Payment", number))), project=st.one_of(st.none(), PROJECTS)
    )
    def assign(self, key: Key, project: str | None) -> None:
        decision = self._both(lambda world: world.assign(*key, project))
        if _accepted(decision) and project is not None:
            self.naive.assigned[key] = project
        elif _accepted(decision):
            self.naive.assigned.pop(key, None)

    @rule()
    def the_last_input_again(self) -> None:
        """The same record once more adds nothing. A request asked again is another request: its answer is kept."""
        if not self.inputs or self.asked:
            return
        before = len(self.world.facts), len(self.world.notices)
        self._both(self.inputs[-1])
        assert (len(self.world.facts), len(self.world.notices)) == before

    @invariant()
    def figures_are_the_models(self) -> None:
        assert _figures(self.world) == self.naive.figures()

    @invariant()
    def what_waits_is_the_models(self) -> None:
        assert self.world.waiting() == self.naive.waiting()

    @invariant()
    def quickbooks_own_sums_are_conserved(self) -> None:
        """All projects and what waits: what is invoiced, credited and refunded is what the documents say."""
        of_projects = list(self.world.balances().values())
        for name, kind in (("invoiced", "Invoice"), ("credited", "CreditMemo"), ("refunds", "RefundReceipt")):
            booked = sum((getattr(balance, name) for balance in of_projects), ZERO)
            waits = sum((a for (k, _, _), a in self.naive.waiting().items() if k == kind), ZERO)
            truth = sum((r.total for k, r in self.naive.records.items() if k[0] == kind and self.naive.counts(k)), ZERO)
            assert booked + waits == truth

    def teardown(self) -> None:
        again = World()
        for act in self.inputs:
            act(again)
        assert [fact._replace(revision=None) for fact in again.facts] == [
            fact._replace(revision=None) for fact in self.world.facts
        ]


def _customer(customer: str, parent: str | None) -> dict[str, Any]:
    raw: dict[str, Any] = {"Id": customer, "DisplayName": f"Customer {customer}"}
    return raw | ({"ParentRef": {"value": parent}} if parent else {})


def _accepted(decision: Any) -> bool:
    ((accepted, _),) = decision.answered.values()
    return bool(accepted)


def _figures(world: World) -> dict[str, dict[str, Decimal]]:
    found = {p: {n: a for n, a in asdict(b).items() if a} for p, b in world.balances().items()}
    return {p: figures for p, figures in found.items() if figures}


def _run(lives: int, steps: int) -> None:
    run_state_machine_as_test(
        Books,
        settings=settings(
            max_examples=lives,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )


def test_random_lives_mean_what_a_naive_model_says() -> None:
    _run(lives=60, steps=30)


@pytest.mark.prove
@pytest.mark.timeout(3000)
def test_two_hundred_thousand_steps_mean_what_a_naive_model_says() -> None:
    steps = int(os.environ.get("STEPS", "200000"))
    _run(lives=steps // 50, steps=50)
