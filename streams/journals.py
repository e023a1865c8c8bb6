"""On which side of a payment a journal entry stands, by its own lines to receivables.

Pure. A payment's journal lines are positive on either side; the equation says which, and where it leaves that open, the
journal does: a debit to receivables is paid (use), a credit is spent (source). What stays open is left open.
Source: design section 3, "Payments"; intuit.md section 9 ("Journals occur with both signs").
"""

from collections.abc import Mapping
from dataclasses import replace

from schemas.journals import JOURNAL_ENTRY, JournalLine
from schemas.quickbooks import Payment, PaymentLine, SalesDocument

USE, SOURCE = "use", "source"


def with_sides(payment: Payment, account_id: str | None, journals: Mapping[str, tuple[JournalLine, ...]]) -> Payment:
    """The payment with what its journals say; `account_id`: the receivables account that it names, if any."""
    lines = tuple(_with_side(line, payment.customer_id, account_id, journals) for line in payment.lines)
    return replace(payment, lines=lines)


def _with_side(
    line: PaymentLine, customer_id: str, account_id: str | None, journals: Mapping[str, tuple[JournalLine, ...]]
) -> PaymentLine:
    if line.record_type != JOURNAL_ENTRY or line.record_id not in journals:
        return line
    receivable = [each for each in journals[line.record_id] if each.customer_id is not None]
    if account_id is not None:
        receivable = [each for each in receivable if each.account_id == account_id]
    own = [each for each in receivable if each.customer_id == customer_id]
    return replace(line, side=_side(own or receivable, line))


def _side(receivable: list[JournalLine], line: PaymentLine) -> str:
    """One side only, else the side of the lines with this very amount, else of those that it fits into."""
    fits = (
        receivable,
        [each for each in receivable if each.amount == line.amount.amount],
        [each for each in receivable if each.amount >= line.amount.amount],
    )
    for lines in fits:
        sides = {USE if each.is_debit else SOURCE for each in lines}
        if len(sides) == 1:
            return sides.pop()
    return ""


def keep_sides(head: SalesDocument | Payment, known: SalesDocument | Payment | None) -> SalesDocument | Payment:
    """A read whose journals could not be read forgets nothing that an earlier one said."""
    if not isinstance(head, Payment) or not isinstance(known, Payment):
        return head
    sides = {(line.record_type, line.record_id): line.side for line in known.lines if line.side}
    if not sides:
        return head
    lines = (replace(line, side=line.side or sides.get((line.record_type, line.record_id), "")) for line in head.lines)
    return replace(head, lines=tuple(lines))
