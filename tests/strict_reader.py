"""A strict reader of a company's accounting events: keeps balances from them alone, and refuses what does not fit.

Each project's events are numbered as they come. An event that begins a document must find none there, one that revises
or ends it must find exactly what it says was there before; the same for settlements. Its figures are kept twice: by the
posting table of the tests (`tests.rules.Balance`), and by that of the read tables, which knows dates.
"""

from collections import defaultdict
from dataclasses import asdict
from datetime import date
from decimal import Decimal
from typing import Any

from schemas import accounting as facts
from streams.difference import Fact
from streams.posting import FIGURES, postings
from tests.rules import Balance

Figures = dict[str, Decimal]
NAMES = {
    "invoiced_gross": "invoiced",
    "credited": "credited",
    "cash_received": "cash",
    "open_invoices": "O",
    "unused_credit": "C",
    "unapplied": "U",
    "refunds": "refunds",
    "credit_in": "credit_in",
    "credit_out": "credit_out",
    "applied_to_other": "other",
    "credit_to_other": "credit_to_other",
}
HOME_NAMES = {
    "invoiced_gross": "home_invoiced",
    "credited": "home_credited",
    "cash_received": "home_cash",
    "open_invoices": "home_O",
    "unused_credit": "home_C",
    "unapplied": "home_U",
    "refunds": "home_refunds",
    "exchange_difference": "home_gained",
}
OPPOSITES = ("Unapplied", "Reversed")


class StrictReader:
    """What a consumer of all projects of one company knows."""

    def __init__(self) -> None:
        self.versions: dict[str, int] = defaultdict(int)
        self.by_date: dict[tuple[str, str, date], Figures] = defaultdict(lambda: defaultdict(Decimal))
        self.balances: dict[tuple[str, str], Balance] = defaultdict(Balance)
        self._stands: dict[tuple[str, ...], Any] = {}
        self._settled: dict[tuple[Any, ...], Any] = {}

    def read(self, fact: Fact) -> None:
        """One event of one project, in its order."""
        self.versions[fact.project_id] += 1
        self._check(fact)
        for posting in postings(fact.body):
            figures = self.by_date[fact.project_id, posting.currency, posting.on]
            for name, ours in NAMES.items():
                figures[ours] += getattr(posting, name)
            for name, ours in HOME_NAMES.items() if posting.home is not None else ():
                figures[ours] += getattr(posting.home, name)
        self._post(fact.project_id, fact.body)

    def _post(self, project_id: str, body: Any) -> None:
        """By the tests' own posting table; a document may change its currency with its customer."""
        before, after = getattr(body, "before", None), getattr(body, "after", None)
        for figures, pair in ((before, (before, None)), (after, (None, after))):
            if figures is not None:
                amount = figures.received if isinstance(figures, facts.Share) else figures.total
                self.balances[project_id, amount.currency].difference(type(body).__name__, *pair)
        settled = next((a for name in ("applied", "transferred", "settled") if (a := getattr(body, name, None))), None)
        if settled is not None:
            self.balances[project_id, settled.currency].post(body)

    def _check(self, fact: Fact) -> None:
        body, place = fact.body, (fact.project_id, *fact.record)
        if isinstance(body, facts.LinkEvent | facts.Exchanged):
            self._check_settlement(place, body)
            return
        before, after = getattr(body, "before", None), getattr(body, "after", None)
        if before is None and after is None:
            return
        assert self._stands.pop(place, None) == before, f"{type(body).__name__} of {place} does not fit"
        if after is not None:
            self._stands[place] = after

    def _check_settlement(self, place: tuple[str, ...], body: Any) -> None:
        name = type(body).__name__
        family = next(each for each in type(body).__mro__ if each.__name__ in FAMILIES).__name__
        said = asdict(body)
        side = "in" if "TransferIn" in name or "TransferredIn" in name else ""
        key = (*place, family, side, *(said.get(each, "") for each in IDENTITY))
        if any(word in name for word in OPPOSITES):
            assert self._settled.pop(key, None) == said, f"{name} of {place} takes back what was not said"
        else:
            assert key not in self._settled, f"{name} of {place} was said before"
            self._settled[key] = said


FAMILIES = (
    *("Application", "OtherApplication", "CreditApplication", "OtherCreditApplication"),
    *("CreditTransfer", "Exchanged"),
)
IDENTITY = ("invoice_id", "credit_memo_id", "other_type", "other_id", "other_project_id")
assert set(NAMES) | {"invoiced_tax"} == set(FIGURES)
