"""What happens to money: payments of every kind, credits used, overpayments refunded, cash brought to the bank.

Reads: the firm and what is open. Writes: payments, and the deposits, cheques and journals that payments meet.
Guarantees: nothing is written that the books would refuse for its amounts.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from connectors.simulator.books.book import credit_link
from connectors.simulator.books.catalogue import CHECKING, OPENING_EQUITY, RECEIVABLE
from connectors.simulator.books.notes import Note
from connectors.simulator.books.records import ZERO, ItemKey, Kind, OpenItem, Record, money
from connectors.simulator.life.firm import Firm, Site, link, link_again
from connectors.simulator.life.happenings import Impossible

# ---- payments --------------------------------------------------------------------------------------------------------


def paid_in_full(firm: Firm) -> None:
    """A customer pays what is open, all of it or the oldest of it."""
    site = firm.site()
    charges = _charges(firm, [site.customer])[: firm.dice.choice((1, 1, 2, 3))]
    _pay(firm, site.customer, [(item, item.remaining) for item in charges], site=site)


def paid_in_part(firm: Firm) -> None:
    """A customer pays a part."""
    site = firm.site()
    item = _charges(firm, [site.customer])[0]
    _pay(firm, site.customer, [(item, _part(firm, item.remaining))], site=site)


def parent_pays(firm: Firm) -> None:
    """A client pays for several of its jobs at once, from its own name."""
    site = firm.site(lambda one: one.client != one.customer)
    jobs = list(firm.book.customers.below(site.client))[-12:]
    charges = _charges(firm, [site.client, *jobs])[: firm.dice.choice((1, 2, 3, 4))]
    extra = firm.amount(5, 300) if firm.likely(15) else ZERO
    paid = [(item, item.remaining if firm.likely(80) else _part(firm, item.remaining)) for item in charges]
    _pay(firm, site.client, paid, extra=extra)


def overpaid(firm: Firm) -> None:
    """A customer pays more than is open; the rest is unapplied."""
    site = firm.site()
    item = _charges(firm, [site.customer])[0]
    _pay(firm, site.customer, [(item, item.remaining)], extra=firm.amount(5, 400), site=site)


def paid_on_account(firm: Firm) -> None:
    """Money comes for which there is no invoice yet."""
    site = firm.site()
    _pay(firm, site.customer, [], extra=firm.amount(100, 5000), site=site)


def paid_at_another_rate(firm: Firm) -> None:
    """A foreign customer pays, at a rate that is not the invoice's."""
    site = firm.site(lambda one: firm.book.customer(one.customer).currency != firm.book.home_currency)
    rate = firm.rates[firm.book.customer(site.customer).currency]
    moved = (rate * (100 + firm.dice.randint(-9, 9)) / 100).quantize(Decimal("0.0001"))
    item = _charges(firm, [site.customer])[0]
    amount = item.remaining if firm.likely(60) else _part(firm, item.remaining)
    _pay(firm, site.customer, [(item, amount)], site=site, ExchangeRate=moved)


def rest_applied(firm: Firm) -> None:
    """Unapplied money is put to invoices that have come since."""
    payment = firm.paper(Kind.PAYMENT, lambda one: one.unapplied > 0)
    taken = {line.item for line in payment.applications}
    charges = [item for item in _charges(firm, _family(firm, payment)) if item.key not in taken]
    left, added = payment.unapplied, []
    for item in charges[:3]:
        amount = min(left, item.remaining)
        if amount > 0:
            added.append(link(item, amount))
            left -= amount
    if not added:
        raise Impossible
    _rewrite(firm, payment, [*(link_again(line) for line in payment.applications), *added])


def payment_raised(firm: Firm) -> None:
    """The amount of a payment was mistyped: it is more."""
    payment = firm.paper(Kind.PAYMENT, _is_cash)
    _rewrite(firm, payment, None, total=payment.total + firm.amount(1, 200))


def line_taken_out(firm: Firm) -> None:
    """A payment was put to the wrong invoice: its last line is taken away."""
    payment = firm.paper(Kind.PAYMENT, lambda one: _is_cash(one) and bool(one.applications))
    if any(firm.book.items[line.item].is_credit for line in payment.applications):
        raise Impossible
    _rewrite(firm, payment, [link_again(line) for line in payment.applications[:-1]])


def payer_changed(firm: Firm) -> None:
    """A payment was written under the wrong name; it is written anew, without its lines."""
    payment = firm.paper(Kind.PAYMENT, lambda one: _is_cash(one) and "ProjectRef" not in one.fields)
    site = firm.site(lambda one: firm.book.customer(one.customer).currency == payment.currency)
    given = {"CustomerRef": {"value": site.customer}, "TotalAmt": payment.total, "Line": []}
    firm.update(payment, given, firm.known(site.customer, site.project, ""))


def payment_voided(firm: Firm) -> None:
    """A cheque bounced: the payment is voided."""
    firm.void(firm.paper(Kind.PAYMENT, _is_cash))


def payment_deleted(firm: Firm) -> None:
    """A payment, or a link of credits, is deleted; what it settled is open again."""
    firm.delete(firm.paper(Kind.PAYMENT))


# ---- credits ---------------------------------------------------------------------------------------------------------


def credit_applied(firm: Firm) -> None:
    """A memo is used on an invoice of the same customer: a payment of nothing links the two."""
    memo = firm.paper(Kind.CREDIT_MEMO, lambda one: firm.book.open_amount(one) > 0)
    if not firm.book.customer(str(memo.customer_id)).fields["Active"]:
        raise Impossible
    _apply(
        firm, str(memo.customer_id), [firm.book.items[ItemKey(Kind.CREDIT_MEMO, memo.id)]], [str(memo.customer_id)], 1
    )


def credits_applied_together(firm: Firm) -> None:
    """Several memos and several invoices of a client's jobs are linked in one go."""
    site = firm.site()
    family = [site.client, *list(firm.book.customers.below(site.client))[-12:]]
    memos = [item for item in firm.open_items(family, credit=True) if item.key.kind is Kind.CREDIT_MEMO][:3]
    _apply(firm, site.client, memos, family, 3)


def credit_with_cash(firm: Firm) -> None:
    """A client pays what a memo leaves open: cash and credit in one payment, over one job or several."""
    site = firm.site()
    payer = site.client if firm.likely(60) else site.customer
    family = [payer, *list(firm.book.customers.below(payer))[-12:]]
    memos = firm.open_items(family, credit=True)[:1]
    charges = _charges(firm, family)[: firm.dice.choice((1, 2, 2))]
    due = sum((item.remaining for item in charges), ZERO)
    if not memos or memos[0].remaining >= due:
        raise Impossible
    used = [(item, item.remaining) for item in memos]
    _pay(firm, payer, [(item, item.remaining) for item in charges], credits_=used)


def automatic_credits(firm: Firm) -> None:
    """The company's wish that QuickBooks uses credits by itself is switched on or off."""
    firm.company.switches.auto_apply_credits = not firm.company.switches.auto_apply_credits


def _apply(firm: Firm, payer: str, memos: list[OpenItem], family: list[str], most: int) -> None:
    """A payment of nothing: as much of the memos as the charges can take."""
    charges = _charges(firm, family)[:most]
    credit, due = sum((one.remaining for one in memos), ZERO), sum((one.remaining for one in charges), ZERO)
    wanted = min(credit, due)
    if wanted <= 0:
        raise Impossible
    if firm.likely(25):
        wanted = _part(firm, wanted)
    body = credit_link(payer, [*_spread(charges, wanted), *_spread(memos, wanted)], firm.today.isoformat())
    firm.create(Kind.PAYMENT, body, firm.known(payer, None, ""))


def _spread(items: list[OpenItem], wanted: Decimal) -> list[dict[str, Any]]:
    written = []
    for item in items:
        amount = min(item.remaining, wanted)
        if amount > 0:
            written.append(link(item, amount))
            wanted -= amount
    return written


# ---- the bank, cheques, journals -------------------------------------------------------------------------------------


def banked(firm: Firm) -> None:
    """The day's payments are brought to the bank: they get a header link and no new token."""
    found: dict[str, Record] = {}
    for _ in range(firm.dice.randint(1, 4)):
        payment = firm.paper(Kind.PAYMENT, lambda one: _is_cash(one) and _is_home(firm, one) and not one.deposit_id)
        found[payment.id] = payment
    written = [{"Amount": one.total, "LinkedTxn": [{"TxnId": one.id, "TxnType": "Payment"}]} for one in found.values()]
    firm.create(Kind.DEPOSIT, {"DepositToAccountRef": {"value": CHECKING}, "Line": written})


def deposit_to_receivables(firm: Firm) -> None:
    """Money is booked straight to a customer's receivables from the bank's page."""
    customer = firm.home_customer()
    detail = {"AccountRef": {"value": RECEIVABLE}, "Entity": {"value": customer, "type": "Customer"}}
    line = {"Amount": firm.amount(20, 900), "DetailType": "DepositLineDetail", "DepositLineDetail": detail}
    firm.create(Kind.DEPOSIT, {"DepositToAccountRef": {"value": CHECKING}, "Line": [line]})


def overpayment_refunded(firm: Firm) -> None:
    """An overpayment goes back by cheque to receivables; the payment links it at once or, for a while, not."""
    payment = firm.paper(Kind.PAYMENT, lambda one: one.unapplied > 0 and _is_home(firm, one))
    detail = {"AccountRef": {"value": RECEIVABLE}, "CustomerRef": {"value": str(payment.customer_id)}}
    line = {
        "Amount": payment.unapplied,
        "DetailType": "AccountBasedExpenseLineDetail",
        "AccountBasedExpenseLineDetail": detail,
    }
    body = {
        "PaymentType": "Check",
        "AccountRef": {"value": CHECKING},
        "EntityRef": {"value": payment.customer_id},
    }
    cheque = firm.create(Kind.PURCHASE, body | {"Line": [line]})
    if firm.likely(60):
        _link_cheque(firm, payment, firm.book.items[firm.book.ledger.keys_of(cheque)[0]])


def cheque_linked(firm: Firm) -> None:
    """A refund by cheque is linked in the payment that it gives back."""
    payment = firm.paper(Kind.PAYMENT, lambda one: one.unapplied > 0)
    items = firm.open_items([str(payment.customer_id)], credit=False)
    cheques = [item for item in items if item.key.kind is Kind.PURCHASE]
    if not cheques:
        raise Impossible
    _link_cheque(firm, payment, cheques[0])


def _link_cheque(firm: Firm, payment: Record, item: OpenItem) -> None:
    if item.key in {line.item for line in payment.applications}:
        raise Impossible
    added = link(item, min(item.remaining, payment.unapplied))
    _rewrite(firm, payment, [*(link_again(line) for line in payment.applications), added])


def journal_charge(firm: Firm) -> None:
    """A journal debits a customer's receivables: an opening balance, or an interest."""
    _journal(firm, "Debit", firm.amount(50, 9000))


def journal_credit(firm: Firm) -> None:
    """A journal credits a customer's receivables: a bad debt, or a correction."""
    _journal(firm, "Credit", firm.amount(10, 600))


def journal_paid(firm: Firm) -> None:
    """A customer pays what a journal charged, wholly or in part."""
    journal = firm.paper(Kind.JOURNAL_ENTRY)
    items = [firm.book.items[key] for key in firm.book.ledger.keys_of(journal)]
    due = [item for item in items if not item.is_credit and item.remaining > 0]
    if not due:
        raise Impossible
    amount = due[0].remaining if firm.likely(50) else _part(firm, due[0].remaining)
    _pay(firm, due[0].customer, [(due[0], amount)])


def journal_deleted(firm: Firm) -> None:
    """A journal is deleted; what paid it is unapplied again."""
    firm.delete(firm.paper(Kind.JOURNAL_ENTRY))


def _journal(firm: Firm, side: str, amount: Decimal) -> None:
    customer = firm.site().customer
    currency = firm.book.customer(customer).currency
    entity = {"Type": "Customer", "EntityRef": {"value": customer}}
    own = {"PostingType": side, "AccountRef": {"value": RECEIVABLE}, "Entity": entity}
    against = {"PostingType": "Credit" if side == "Debit" else "Debit", "AccountRef": {"value": OPENING_EQUITY}}
    written = [
        {"Amount": amount, "DetailType": "JournalEntryLineDetail", "JournalEntryLineDetail": detail}
        for detail in (own, against)
    ]
    firm.create(Kind.JOURNAL_ENTRY, {"Line": written, "CurrencyRef": {"value": currency}})


# ---- writing ---------------------------------------------------------------------------------------------------------


def _pay(
    firm: Firm,
    payer: str,
    uses: list[tuple[OpenItem, Decimal]],
    *,
    extra: Decimal = ZERO,
    credits_: list[tuple[OpenItem, Decimal]] | None = None,
    site: Site | None = None,
    **more: Any,
) -> None:
    """A payment of so much of each item, out of credits first, and something over."""
    sources = credits_ or []
    total = sum((amount for _, amount in uses), extra) - sum((amount for _, amount in sources), ZERO)
    body = {
        **{"CustomerRef": {"value": payer}, "TotalAmt": total, "PaymentMethodRef": {"value": "2"}},
        **{"PaymentRefNum": str(firm.dice.randint(1000, 99999)), **more},
        "Line": [link(item, amount) for item, amount in (*uses, *sources)],
    }
    linked = None
    if site is not None and site.quickbooks_project is not None and firm.likely(70):
        body["ProjectRef"] = {"value": site.quickbooks_project}
        linked = site.linked
    firm.create(Kind.PAYMENT, body, _note(firm, payer, site, linked))


def _note(firm: Firm, payer: str, site: Site | None, linked: str | None) -> Note:
    return firm.known(payer, site.project if site else None, "", linked=linked)


def _rewrite(firm: Firm, payment: Record, written: list[dict[str, Any]] | None, total: Decimal | None = None) -> None:
    given: dict[str, Any] = {"TotalAmt": payment.total if total is None else total}
    if written is not None:
        given["Line"] = written
    firm.update(payment, given)


def _charges(firm: Firm, customers: list[str]) -> list[OpenItem]:
    """What these customers owe on invoices and journals. Raises Impossible where it is nothing."""
    found = [item for item in firm.open_items(customers, credit=False) if item.key.kind is not Kind.PURCHASE]
    if not found:
        raise Impossible
    return found


def _family(firm: Firm, payment: Record) -> list[str]:
    payer = str(payment.customer_id)
    return [payer, *list(firm.book.customers.below(payer))[-12:]]


def _part(firm: Firm, amount: Decimal) -> Decimal:
    return money(amount * firm.dice.randint(20, 80) / 100) or amount


def _is_cash(record: Record) -> bool:
    return not record.voided and record.total > 0


def _is_home(firm: Firm, record: Record) -> bool:
    return record.currency == firm.book.home_currency
