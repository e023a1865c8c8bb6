"""How one payment is divided over projects, to the cent: TotalAmt + sources = uses + UnappliedAmt.

Pure. QuickBooks does not say which source paid which use: credits go first to invoices of their own project, then by
numeric invoice id; cash takes the rest. Journal entries stand on either side; the equation says on which. Money on
account goes by what is decided about the payment or its own customer; a parent's mapping does not take it.
Source: design section 3, "Payments"; intuit.md section 4.4.
"""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from itertools import product
from typing import NamedTuple

from schemas.accounting import Share
from schemas.money import Money, zero
from schemas.quickbooks import CREDIT_MEMO, INVOICE, Payment, PaymentLine, SalesDocument
from streams.books import Booking, Books, Document, Ended, Key, Link, LinkKey, Reason, Standing, WaitCause, Waiting
from streams.exchange import Measure, Sides, at_stake, measure, measure_of, warnings_of
from streams.placement import Placement, place

_SOURCES = frozenset({"CreditCardCredit"})
_EITHER = frozenset({"JournalEntry"})
_SIGNS_MAX = 12  # journal lines whose signs are searched: 4,096 combinations
_OWN_MAPPINGS = 3  # the rules from which on money on account does not follow a parent's mapping


class _Target(NamedTuple):
    """An invoice or memo that the payment names, and where it stands."""

    line: PaymentLine
    head: SalesDocument | None
    project_id: str | None
    cause: WaitCause | None
    counts: bool  # False: voided or deleted, so nothing can be applied to it


class _Part(NamedTuple):
    """What one source pays of one invoice."""

    invoice: _Target
    memo: _Target | None  # None: cash
    amount: Money


def want_payment(books: Books, document: Document, payment: Payment) -> Booking:
    """What this payment amounts to in each project, and what of it waits."""
    if document.ended is not Ended.NO:
        return Booking(ended=document.ended, ever=document.booked.ever)
    placement = place(books, document)
    own = placement._replace(warnings=placement.warnings | warnings_of(books.company, payment))
    signed = _signed_others(payment)
    if signed is None:
        return _all_waits(books, document, payment, own, _unbalanced(payment))
    invoices = [_target(books, line, payment) for line in _lines(payment, INVOICE)]
    memos = [_target(books, line, payment) for line in _lines(payment, CREDIT_MEMO)]
    blocked = next((memo for memo in memos if memo.project_id is None), None)
    credits, uses = (_total([target.line.amount for target in targets], payment) for targets in (memos, invoices))
    spare = max(credits - uses, zero(credits.currency))  # credit that becomes money of this payment
    on_account = _waits_on_account(books, payment, own)
    if spare and (blocked is not None or own.project_id is None or on_account is not None):
        cause = (on_account or own.cause) if blocked is None else blocked.cause
        return _all_waits(books, document, payment, own, cause or WaitCause.CREDIT_MEMO_WAITS)
    rest = payment.unapplied + _total([amount for _, amount in signed], payment) - spare
    entry = _Entry(books, document, payment, own, rest)
    if blocked is not None:
        entry.wait_for_lines(invoices, blocked.cause)
    else:
        entry.divide(invoices, memos)
    entry.settle_rest(signed, on_account)
    return entry.booking()


def _waits_on_account(books: Books, payment: Payment, own: Placement) -> WaitCause | None:
    """Why this payment's unapplied money waits; None: it does not, or there is none."""
    if not payment.unapplied:
        return None
    if own.project_id is None or own.reason is None:
        return own.cause or WaitCause.CUSTOMER_NOT_SYNCED
    if own.reason is Reason.PARENT_CUSTOMER and books.company.rules_version >= _OWN_MAPPINGS:
        return WaitCause.NOT_MAPPED_ITSELF
    return None


class _Entry:
    """The booking of one payment while it is put together."""

    def __init__(self, books: Books, document: Document, payment: Payment, own: Placement, rest: Money) -> None:
        self._books, self._document, self._payment, self._own, self._rest = books, document, payment, own, rest
        self._cash: dict[str, Money] = {}
        self._home: dict[str, Money] = {}
        self._reasons: dict[str, Reason] = {}
        self._measures: dict[Key, Measure] = {}
        self._others_at_home = self._own_measure(payment.unapplied)
        self._cash_at_home = self._own_measure(rest)
        self._links: dict[LinkKey, Link] = {}
        self._waiting: dict[str, Waiting] = {}

    def wait_for_lines(self, invoices: list[_Target], cause: WaitCause | None) -> None:
        """A credit that is not placed yet: which invoice it pays is open, so all lines wait."""
        for invoice in invoices:
            self._wait(_part_name(invoice.line), cause or WaitCause.CREDIT_MEMO_WAITS, invoice.line.amount)

    def divide(self, invoices: list[_Target], memos: list[_Target]) -> None:
        """Credits first, cash for the rest."""
        parts, unused = _parts(invoices, memos)
        for part in parts:
            sides = self._sides(part)  # of what waits, too: it keeps its place, and the others their cents
            if part.invoice.project_id is None:
                continue  # the whole line waits, below
            self._settle(part, sides)
        for memo, amount in unused:
            self._credit_to_other(memo, amount)
        for invoice in invoices:
            if invoice.project_id is None:
                self._wait(_part_name(invoice.line), invoice.cause or WaitCause.INVOICE_WAITS, invoice.line.amount)

    def _settle(self, part: _Part, sides: Sides) -> None:
        project_id = part.invoice.project_id or ""
        if part.memo is None:
            self._receive(project_id, part.amount, sides.source, Reason.INVOICE)
            if part.invoice.counts:
                key = LinkKey("payment", project_id, INVOICE, part.invoice.line.record_id)
                self._link(key, part.amount, _later(self._payment.received_on, part.invoice.head), sides)
        elif part.invoice.counts and part.memo.counts and part.memo.head is not None:
            key = LinkKey(
                "credit",
                project_id,
                INVOICE,
                part.invoice.line.record_id,
                part.memo.line.record_id,
                part.memo.project_id or "",
            )
            self._link(key, part.amount, _later(part.memo.head.issued_on, part.invoice.head), sides)

    def _sides(self, part: _Part) -> Sides:
        source = self._cash_at_home if part.memo is None else self._measure(part.memo)
        return Sides(source.take(part.amount), self._measure(part.invoice).take(part.amount))

    def _measure(self, target: _Target) -> Measure:
        key = (target.line.record_type, target.line.record_id)
        if key not in self._measures:
            self._measures[key] = measure_of(self._books, target.head, self._payment)
        return self._measures[key]

    def _own_measure(self, so_far: Money) -> Measure:
        """Of the payment's own money: what is unapplied, then what is not kept here, then the invoices by number."""
        rate = self._payment.exchange_rate
        return measure(self._books.company, so_far.currency, rate, so_far.amount)

    def _credit_to_other(self, memo: _Target, amount: Money) -> None:
        """Credit that no invoice of this payment takes becomes its money: it pays what is not kept here."""
        back = self._others_at_home.take(-amount)
        sides = Sides(self._measure(memo).take(amount), None if back is None else -back)
        if memo.counts and memo.head is not None:
            own = self._own.project_id or ""
            key = LinkKey("credit_other", own, "", "", memo.line.record_id, memo.project_id or "")
            self._link(key, amount, _later(self._payment.received_on, memo.head), sides)

    def settle_rest(self, signed: list[tuple[PaymentLine, Money]], on_account: WaitCause | None) -> None:
        """What is unapplied, unless it waits, and lines to what is not kept here follow the payment's own project."""
        payment, project_id = self._payment, self._own.project_id
        waits = zero(payment.total.currency) if on_account is None else payment.unapplied
        if on_account is not None:
            self._wait("unapplied", on_account, waits)
        if project_id is None or self._own.reason is None:
            cause = self._own.cause or WaitCause.CUSTOMER_NOT_SYNCED
            for line, amount in signed:
                self._wait(_part_name(line), cause, amount)
            return
        booked = self._rest - waits
        self._receive(project_id, booked, self._own_measure(waits).take(booked), self._own.reason)
        for line, amount in signed:
            key = LinkKey("other", project_id, line.record_type, line.record_id)
            self._link(key, amount, payment.received_on, Sides(self._others_at_home.take(amount), None))

    def booking(self) -> Booking:
        """What was put together; a project that gets no cash has no share."""
        standings = {
            project_id: Standing(self._reasons[project_id], self._share(cash, self._home.get(project_id)))
            for project_id, cash in sorted(self._cash.items())
            if cash or self._home.get(project_id)
        }
        return Booking(
            standings=standings,
            links=self._links,
            waiting=self._waiting,
            warnings=self._own.warnings,
            ended=Ended.NO,
            ever=self._document.booked.ever or bool(standings) or bool(self._links),
        )

    def _share(self, cash: Money, home: Money | None) -> Share:
        return Share(
            customer_id=self._payment.customer_id,
            reference=self._payment.reference,
            received_on=self._payment.received_on,
            received=cash,
            exchange_rate=self._payment.exchange_rate,
            home_received=home,
        )

    def _receive(self, project_id: str, amount: Money, home: Money | None, reason: Reason) -> None:
        self._cash[project_id] = self._cash.get(project_id, zero(amount.currency)) + amount
        if home is not None:
            self._home[project_id] = self._home.get(project_id, zero(home.currency)) + home
        self._reasons.setdefault(project_id, reason)

    def _link(self, key: LinkKey, amount: Money, on: date, sides: Sides) -> None:
        reason = Reason.INVOICE if key.kind in ("payment", "credit") else self._own.reason or Reason.INVOICE
        self._links[key] = Link(amount, on, reason, sides.source, sides.target)

    def _wait(self, part: str, cause: WaitCause, amount: Money) -> None:
        self._waiting[part] = _waiting(self._books, self._payment, cause, amount)


def _parts(invoices: list[_Target], memos: list[_Target]) -> tuple[list[_Part], list[tuple[_Target, Money]]]:
    """Who pays whom; second: credit that is left over."""
    due = {invoice.line.record_id: invoice.line.amount for invoice in invoices}
    left = {memo.line.record_id: memo.line.amount for memo in memos}
    parts = []
    for same_project in (True, False):
        for memo, invoice in product(_by_number(memos), _by_number(invoices)):
            if same_project and memo.project_id != invoice.project_id:
                continue
            amount = min(left[memo.line.record_id], due[invoice.line.record_id])
            if amount:
                left[memo.line.record_id] -= amount
                due[invoice.line.record_id] -= amount
                parts.append(_Part(invoice, memo, amount))
    cash = [_Part(i, None, due[i.line.record_id]) for i in _by_number(invoices) if due[i.line.record_id]]
    return parts + cash, [(memo, left[memo.line.record_id]) for memo in _by_number(memos) if left[memo.line.record_id]]


def _target(books: Books, line: PaymentLine, payment: Payment) -> _Target:
    document = books.document((line.record_type, line.record_id))
    is_invoice = line.record_type == INVOICE
    if not isinstance(document.head, SalesDocument):
        gone = document.gone_at is not None
        unknown = WaitCause.INVOICE_UNKNOWN if is_invoice else WaitCause.CREDIT_MEMO_UNKNOWN
        return _Target(line, None, None, unknown, not gone)
    if document.head.total.currency != payment.total.currency:
        return _Target(line, document.head, None, WaitCause.CURRENCY_DIFFERS, True)
    placement = place(books, document)
    waits = WaitCause.INVOICE_WAITS if is_invoice else WaitCause.CREDIT_MEMO_WAITS
    cause = None if placement.project_id is not None else waits
    return _Target(line, document.head, placement.project_id, cause, document.ended is Ended.NO)


def _signed_others(payment: Payment) -> list[tuple[PaymentLine, Money]] | None:
    """Lines to what is not kept here, uses positive and sources negative; None when their signs are open.

    The equation decides; only where it leaves several answers, what the journal entries say themselves.
    """
    others = [line for line in payment.lines if line.record_type not in (INVOICE, CREDIT_MEMO)]
    uses = _total([line.amount for line in _lines(payment, INVOICE)], payment)
    credits = _total([line.amount for line in _lines(payment, CREDIT_MEMO)], payment)
    net = payment.total + credits - uses - payment.unapplied
    open_signs = sum(line.record_type in _EITHER for line in others)
    solutions = list(_solutions(others, net)) if open_signs <= _SIGNS_MAX else []
    if len(solutions) > 1:
        solutions = [signs for signs in solutions if all(map(_fits_journal, others, signs))]
    if len(solutions) != 1:
        return None
    return [(line, line.amount if sign > 0 else -line.amount) for line, sign in zip(others, solutions[0], strict=True)]


def _solutions(others: list[PaymentLine], net: Money) -> Iterator[tuple[int, ...]]:
    for signs in product(*(_signs(line) for line in others)):
        sides = zip(signs, others, strict=True)
        if sum((sign * line.amount.amount for sign, line in sides), Decimal(0)) == net.amount:
            yield signs


def _signs(line: PaymentLine) -> tuple[int, ...]:
    if line.record_type in _EITHER:
        return 1, -1
    return (-1,) if line.record_type in _SOURCES else (1,)


def _fits_journal(line: PaymentLine, sign: int) -> bool:
    return line.side == "" or line.side == ("use" if sign > 0 else "source")


def _unbalanced(payment: Payment) -> WaitCause:
    journals = any(line.record_type in _EITHER for line in payment.lines)
    return WaitCause.JOURNAL_SIGN_OPEN if journals else WaitCause.DOES_NOT_ADD_UP


def _waiting(books: Books, payment: Payment, cause: WaitCause, amount: Money) -> Waiting:
    home = at_stake(books.company, amount, payment.exchange_rate)
    return Waiting(cause, payment.customer_id, amount, payment.received_on, home)


def _all_waits(books: Books, document: Document, payment: Payment, own: Placement, cause: WaitCause) -> Booking:
    waiting = {"": _waiting(books, payment, cause, payment.total)}
    return Booking(waiting=waiting, warnings=own.warnings, ever=document.booked.ever)


def _lines(payment: Payment, record_type: str) -> list[PaymentLine]:
    return [line for line in payment.lines if line.record_type == record_type]


def _by_number(targets: list[_Target]) -> list[_Target]:
    return sorted(targets, key=lambda target: int(target.line.record_id))


def _later(day: date, head: SalesDocument | None) -> date:
    return day if head is None else max(day, head.issued_on)


def _total(amounts: list[Money], payment: Payment) -> Money:
    return sum(amounts, zero(payment.total.currency))


def _part_name(line: PaymentLine) -> str:
    return f"{line.record_type}:{line.record_id}"
