"""Everything that can happen in a firm, how often, and one step of its life.

Reads and writes: a firm. Guarantees: one step is one happening that the books accepted; what they refused is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from itertools import accumulate

from connectors.simulator.books.records import Refused
from connectors.simulator.life import charges, jobs, receipts, sales
from connectors.simulator.life.firm import REFERENCE_FIELD, SITES_UNDER_WAY, Firm
from connectors.simulator.life.happenings import Impossible

TRIES = 15
FIELD_NAMES = ("Reference Number", "IntoAEC No.", "Project ID")


def books_closed(firm: Firm) -> None:
    """The accountant closes the books up to the end of a month some time ago."""
    last = (firm.today - timedelta(days=firm.dice.randint(100, 130))).replace(day=1) - timedelta(days=1)
    if firm.book.closed_until is not None and last.isoformat() <= firm.book.closed_until:
        raise Impossible
    firm.book.closed_until = last.isoformat()


def definition_renamed(firm: Firm) -> None:
    """Somebody calls the field Reference Number otherwise; its definition stays the same."""
    names = dict(firm.book.field_names)
    names[REFERENCE_FIELD] = firm.dice.choice([name for name in FIELD_NAMES if name != names.get(REFERENCE_FIELD)])
    firm.company.name_fields(names)


# One in ten thousand steps has weight 1.
WEIGHTS: dict[Callable[[Firm], None], int] = {
    jobs.new_client: 60,
    jobs.new_job: 280,
    jobs.phase_added: 60,
    jobs.job_closed: 20,
    jobs.customer_renamed: 120,
    jobs.address_changed: 60,
    jobs.customer_retired: 60,
    jobs.customer_active_again: 25,
    jobs.duplicate_made: 30,
    jobs.duplicates_merged: 28,
    sales.progress_invoice: 1750,
    sales.taxed_invoice: 260,
    sales.discounted_invoice: 160,
    sales.invoice_with_deposit: 100,
    sales.retainage_invoice: 160,
    sales.retainage_released: 60,
    sales.duplicate_billed: 60,
    sales.opening_invoice: 40,
    sales.credit_memo: 420,
    sales.refund_receipt: 180,
    sales.sales_receipt: 120,
    sales.lines_edited: 620,
    sales.redated: 260,
    sales.note_added: 120,
    sales.customer_changed: 130,
    sales.reference_typed_later: 150,
    sales.reference_corrected: 110,
    sales.reference_changed: 90,
    sales.reference_spoilt: 50,
    sales.reference_cleared: 70,
    sales.form_voided: 190,
    sales.void_taken_back: 90,
    sales.form_deleted: 130,
    sales.emailed: 420,
    receipts.paid_in_full: 900,
    receipts.paid_in_part: 260,
    receipts.parent_pays: 520,
    receipts.overpaid: 130,
    receipts.paid_on_account: 110,
    receipts.paid_at_another_rate: 160,
    receipts.rest_applied: 200,
    receipts.payment_raised: 90,
    receipts.line_taken_out: 90,
    receipts.payer_changed: 40,
    receipts.payment_voided: 60,
    receipts.payment_deleted: 120,
    receipts.credit_applied: 260,
    receipts.credits_applied_together: 90,
    receipts.credit_with_cash: 130,
    receipts.automatic_credits: 4,
    receipts.banked: 160,
    receipts.deposit_to_receivables: 50,
    receipts.overpayment_refunded: 60,
    receipts.cheque_linked: 40,
    receipts.journal_charge: 60,
    receipts.journal_credit: 60,
    receipts.journal_paid: 60,
    receipts.journal_deleted: 12,
    charges.statement_charge: 80,
    charges.estimate: 60,
    charges.hours_worked: 60,
    charges.made_into_invoice: 120,
    charges.card_credit: 20,
    charges.opening_balance: 20,
    books_closed: 6,
    definition_renamed: 3,
}
HAPPENINGS: dict[str, Callable[[Firm], None]] = {one.__name__: one for one in WEIGHTS}
WAYS = tuple(way.__name__ for way, _ in jobs.SHAPES)  # in which a firm keeps a job in QuickBooks


class Repertoire:
    """The happenings of a life, with some of them, or some ways of keeping a job, left out where that was asked for."""

    def __init__(self, without: Iterable[str] = ()) -> None:
        left_out = set(without)
        if unknown := sorted(left_out - set(HAPPENINGS) - set(WAYS)):
            known = ", ".join((*HAPPENINGS, *WAYS))
            raise ValueError(f"unknown happenings: {', '.join(unknown)}; known: {known}")
        self.left_out = frozenset(left_out)
        self.chosen = [one for one in WEIGHTS if one.__name__ not in left_out]
        self._up_to = list(accumulate(WEIGHTS[one] for one in self.chosen))

    def step(self, firm: Firm) -> str:
        """Let one thing happen and answer its name; raises Impossible where nothing at all could."""
        firm.left_out = self.left_out
        firm.begin()
        for _ in range(TRIES):
            few = len(firm.sites) < SITES_UNDER_WAY // 4
            happening = jobs.new_job if few else firm.dice.choices(self.chosen, cum_weights=self._up_to)[0]
            try:
                happening(firm)
            except Impossible:
                continue
            except Refused as refused:
                firm.refusals[f"{happening.__name__}: {refused.code} {refused.message}"] += 1
                continue
            firm.tally[happening.__name__] += 1
            return happening.__name__
        raise Impossible
