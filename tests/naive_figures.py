"""The figures of the naive model: every document and payment posted anew by the posting table of design section 3.

Shares no code with the rules. Each figure is kept by project, currency and accounting date; amounts in home currency
stand beside them under names that begin with `home_`. What reaches no project stands in `waits` with its cause.
"""

from collections import defaultdict
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from itertools import product
from typing import NamedTuple

from tests.naive import ZERO, Key, Naive, Paid, Place, Sale

Figures = dict[str, Decimal]
Part = tuple[str, str, str]  # record type, record id, and which part of it: "" the whole


class Waits(NamedTuple):
    """What waits, and why; the last rules say its worth in home currency, too."""

    amount: Decimal
    cause: str
    home: Decimal | None = None


class Piece(NamedTuple):
    """What one source of a payment pays of one invoice; the source is a memo, or None: cash."""

    memo: Key | None
    invoice: Key | None  # None: credit that no invoice takes
    amount: Decimal


class WorkedOut:
    """All figures of a company as it is now."""

    def __init__(self, company: Naive) -> None:
        self.company = company
        self.by_date: dict[tuple[str, str, date], Figures] = defaultdict(lambda: defaultdict(lambda: ZERO))
        self.waits: dict[Part, Waits] = {}
        self.reasons: dict[Part, str] = {}  # of documents and shares, by record and project
        for key in company.readings:
            record = company.record(key)
            if company.counts(key) and isinstance(record, Paid):
                _Division(self, key, record).post()
            elif company.counts(key) and isinstance(record, Sale):
                self._sale(key, record)

    def post(self, project: str, currency: str, on: date, **amounts: Decimal) -> None:
        """Add these amounts to a project's figures; nothing is said in home currency of home currency itself."""
        for name, amount in amounts.items():
            if self.company.is_abroad(currency) or not name.startswith("home_"):
                self.by_date[project, currency, on][name] += amount

    def wait(self, part: Part, record: Sale | Paid, amount: Decimal, cause: str) -> None:
        """So much of a record reaches no project."""
        says_home = self.company.rules >= 3 and self.company.is_abroad(record.currency)
        self.waits[part] = Waits(amount, cause, at_home(amount, record.rate) if says_home else None)

    def _sale(self, key: Key, sale: Sale) -> None:
        project, why = self.company.place(key)
        if project is None:
            self.wait((*key, ""), sale, sale.total, why)
            return
        self.reasons[*key, project] = why
        total, deposit = at_home(sale.total, sale.rate), at_home(sale.deposit, sale.rate)
        match key[0]:
            case "Invoice":
                self.post(
                    *(project, sale.currency, sale.on),
                    invoiced=sale.total, O=sale.total - sale.deposit, cash=sale.deposit,
                    home_invoiced=total, home_O=total - deposit, home_cash=deposit,
                )  # fmt: skip
            case "CreditMemo":
                figures = {"credited": sale.total, "C": sale.total, "home_credited": total, "home_C": total}
                self.post(project, sale.currency, sale.on, **figures)
            case _:
                self.post(project, sale.currency, sale.on, refunds=sale.total, home_refunds=total)


class _Division:
    """One payment over the projects: TotalAmt + sources = uses + UnappliedAmt."""

    def __init__(self, books: WorkedOut, key: Key, payment: Paid) -> None:
        self.books, self.company, self.key, self.payment = books, books.company, key, payment
        self.own, self.own_why = self.company.place(key)
        self.memos, self.invoices = payment.lines_to("CreditMemo"), payment.lines_to("Invoice")

    def post(self) -> None:
        """Book what can be booked; the rest waits."""
        others = signed_others(self.payment)
        if others is None:
            journals = any(kind == "JournalEntry" for kind, _ in self.payment.lines)
            self._wait("", self.payment.total, "journal_sign_open" if journals else "does_not_add_up")
            return
        spare = max(sum(self.memos.values(), ZERO) - sum(self.invoices.values(), ZERO), ZERO)
        blocked = next((why for stands, why in map(self._stand, self.memos) if stands is None), None)
        on_account = self._waits_on_account()
        if spare and (blocked or self.own is None or on_account):  # it becomes money of this payment: where, is open
            self._wait("", self.payment.total, blocked or on_account or self.own_why)
            return
        self._divide(others, spare, blocked)
        self._rest(others, spare, on_account)

    def _waits_on_account(self) -> str:
        """Why money on account waits: it has no project, or (rules 3) none but that of a parent."""
        if not self.payment.unapplied:
            return ""
        if self.own is not None and self.own_why == "parent_customer" and self.company.rules >= 3:
            return "not_mapped_itself"
        return self.own_why if self.own is None else ""

    # --- lines to invoices and memos ---------------------------------------------------------------------------------

    def _divide(self, others: dict[Key, Decimal], spare: Decimal, blocked: str | None) -> None:
        if blocked is None:
            used = dict(self._used_before())  # how much of each document earlier payments took
            money = self.payment.unapplied + sum(others.values(), ZERO) - spare  # comes before the invoices
            back = self.payment.unapplied  # after it, credit that becomes money goes back
            for piece in self._pieces():
                taken = self._take(used, piece.memo, piece.amount)
                if piece.invoice is None:
                    given = -self._money_between(back, back - piece.amount)
                    back -= piece.amount
                    self._spare_credit(piece, taken, given)
                    continue
                settled = self._take(used, piece.invoice, piece.amount)
                if piece.memo is None:
                    taken = self._money_between(money, money + piece.amount)
                    money += piece.amount
                self._settle(piece, taken, settled)
        for invoice, amount in self.invoices.items():
            stands, why = self._stand(invoice)
            if blocked or stands is None:
                self._wait(f"Invoice:{invoice[1]}", amount, blocked or why)

    def _pieces(self) -> list[Piece]:
        """Credit goes to invoices of its own project first, then by number; cash takes the rest."""
        left, due, found = dict(self.memos), dict(self.invoices), []
        for own_project in (True, False):
            for memo, invoice in product(_by_number(self.memos), _by_number(self.invoices)):
                if not own_project or self._stand(memo)[0] == self._stand(invoice)[0]:
                    amount = min(left[memo], due[invoice])
                    left[memo] -= amount
                    due[invoice] -= amount
                    found.append(Piece(memo, invoice, amount))
        found += [Piece(None, invoice, due[invoice]) for invoice in _by_number(self.invoices)]
        found += [Piece(memo, None, left[memo]) for memo in _by_number(self.memos)]
        return [piece for piece in found if piece.amount]

    def _settle(self, piece: Piece, taken: Decimal, settled: Decimal) -> None:
        """One piece, where the invoice stands; `taken` and `settled` are its home values on both sides."""
        invoice, payment, amount = piece.invoice or self.key, self.payment, piece.amount
        project, _ = self._stand(invoice)
        if project is None:
            return
        if piece.memo is None:
            figures = {"cash": amount, "U": amount, "home_cash": taken, "home_U": taken}
            self._post(project, payment.on, **figures)
            self.books.reasons[*self.key, project] = "invoice"
            if self.company.counts(invoice):
                on = max(payment.on, self.company.record(invoice).on)
                self._post(project, on, U=-amount, O=-amount, home_U=-taken, home_O=-settled, gained=taken - settled)
        elif self.company.counts(piece.memo) and self.company.counts(invoice):
            on = max(self.company.record(piece.memo).on, self.company.record(invoice).on)
            self._transfer(piece.memo, project, amount, taken, on)
            self._post(project, on, C=-amount, O=-amount, home_C=-taken, home_O=-settled, gained=taken - settled)

    def _spare_credit(self, piece: Piece, taken: Decimal, given: Decimal) -> None:
        """Credit that no invoice takes becomes money of the payment, in the payment's own project."""
        memo, project, amount = piece.memo or self.key, str(self.own), piece.amount
        if self.company.counts(memo):
            on = max(self.payment.on, self.company.record(memo).on)
            self._transfer(memo, project, amount, taken, on)
            figures = {"C": -amount, "U": amount, "credit_to_other": amount, "home_C": -taken, "home_U": given}
            self._post(project, on, **figures, gained=taken - given)

    def _transfer(self, memo: Key, project: str, amount: Decimal, taken: Decimal, on: date) -> None:
        """Credit that goes to another project is said on both sides before it is used there."""
        home = str(self._stand(memo)[0])
        if home != project:
            self._post(home, on, C=-amount, credit_out=amount, home_C=-taken)
            self._post(project, on, C=amount, credit_in=amount, home_C=taken)

    # --- money on account, and what is not kept here -----------------------------------------------------------------

    def _rest(self, others: dict[Key, Decimal], spare: Decimal, on_account: str) -> None:
        unapplied, on = self.payment.unapplied, self.payment.on
        if on_account:
            self._wait("unapplied", unapplied, on_account)
        if self.own is None:
            for (kind, number), amount in others.items():
                self._wait(f"{kind}:{number}", amount, self.own_why)
            return
        waits, end = unapplied if on_account else ZERO, unapplied + sum(others.values(), ZERO) - spare
        counts = self._money_between(waits, end)
        self._post(self.own, on, cash=end - waits, U=end - waits, home_cash=counts, home_U=counts)
        self.books.reasons.setdefault((*self.key, self.own), self.own_why)
        used = unapplied - spare
        for amount in others.values():
            counts = self._money_between(used, used + amount)
            used += amount
            self._post(self.own, on, U=-amount, other=amount, home_U=-counts)

    # --- small things ------------------------------------------------------------------------------------------------

    def _stand(self, target: Key) -> Place:
        """Where an invoice or memo stands; a voided or deleted one stands where it would."""
        kind = "invoice" if target[0] == "Invoice" else "credit_memo"
        if target not in self.company.readings:
            return None, f"{kind}_unknown"
        if self.company.record(target).currency != self.payment.currency:
            return None, "currency_differs"
        project, _ = self.company.place(target)
        return project, "" if project is not None else f"{kind}_waits"

    def _used_before(self) -> dict[Key, Decimal]:
        """Of each target: the deposit, and what payments with lower numbers take, booked or waiting."""
        used = {target: self._deposit(target) for target in (*self.memos, *self.invoices)}
        for other in self.company.readings:
            earlier = self.company.record(other)
            if not isinstance(earlier, Paid) or not self.company.counts(other) or int(other[1]) >= int(self.key[1]):
                continue
            for target in used.keys() & earlier.lines.keys():
                if earlier.currency == self.payment.currency:
                    used[target] += earlier.lines[target]
        return used

    def _deposit(self, target: Key) -> Decimal:
        sale = self.company.record(target) if target in self.company.readings else None
        return sale.deposit if isinstance(sale, Sale) else ZERO

    def _take(self, used: dict[Key, Decimal], target: Key | None, amount: Decimal) -> Decimal:
        """What the next piece of a document counts at home, at the document's rate."""
        if target is None or target not in self.company.readings:
            return ZERO
        before, used[target] = used[target], used[target] + amount
        rate = self.company.record(target).rate
        return at_home(used[target], rate) - at_home(before, rate)

    def _money_between(self, start: Decimal, end: Decimal) -> Decimal:
        """What a stretch of the payment's own money counts at home: first what is unapplied, last the invoices."""
        return at_home(end, self.payment.rate) - at_home(start, self.payment.rate)

    def _post(self, project: str, on: date, **amounts: Decimal) -> None:
        gained = amounts.pop("gained", ZERO)
        self.books.post(project, self.payment.currency, on, **amounts, home_gained=gained)

    def _wait(self, part: str, amount: Decimal, cause: str) -> None:
        self.books.wait((*self.key, part), self.payment, amount, cause)


def signed_others(payment: Paid) -> dict[Key, Decimal] | None:
    """Lines to what is not kept here: uses positive, sources negative. None: the equation leaves it open, or fails.

    A journal stands on either side. Where the equation leaves several answers, the journals say it themselves.
    """
    others = payment.other_lines()
    uses, credits = sum(payment.lines_to("Invoice").values(), ZERO), sum(payment.lines_to("CreditMemo").values(), ZERO)
    signs = [{"JournalEntry": (1, -1), "CreditCardCredit": (-1,)}.get(kind, (1,)) for kind, _ in others]
    answers = [dict(zip(others, choice, strict=True)) for choice in product(*signs)]
    answers = [
        answer
        for answer in answers
        if payment.total + credits == uses + payment.unapplied + sum(others[k] * answer[k] for k in others)
    ]
    if len(answers) > 1:
        said = payment.sides
        answers = [answer for answer in answers if all(said.get(key, sign) == sign for key, sign in answer.items())]
    if len(answers) != 1:
        return None
    return {key: amount * answers[0][key] for key, amount in others.items()}


def at_home(amount: Decimal, rate: Decimal | None) -> Decimal:
    """In home currency, to the cent; without a rate one to one, as QuickBooks does."""
    usable = rate if rate is not None and rate > 0 else Decimal(1)
    return (amount * usable).quantize(Decimal("0.01"), ROUND_HALF_UP)


def _by_number(keys: dict[Key, Decimal]) -> list[Key]:
    return sorted(keys, key=lambda key: int(key[1]))


def said(figures: Figures) -> Figures:
    """Without those that are zero."""
    return {name: amount for name, amount in figures.items() if amount}
