"""An auditor's look at one company's books: everything that must add up, worked out again from the documents.

Reads: the book's records, postings, items and indexes. Writes: nothing.
Guarantees: pure; one pass over the records (a hundred thousand documents take a few seconds); an empty answer means
that debits equal credits, balances are sums, links are seen from both ends, and nothing is settled beyond its worth.
Source: intuit.md 4.4 (the payment equation), 9 (the formula of Customer.Balance); double entry.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal

from connectors.simulator.books import catalogue, forms
from connectors.simulator.books.book import Book
from connectors.simulator.books.records import (
    SALES_FORMS,
    SOURCES,
    ZERO,
    ItemKey,
    Kind,
    OpenItem,
    Record,
    money,
)

VIOLATIONS_MAX = 100  # a broken book breaks everywhere; nobody reads more
_LISTED = frozenset({Kind.INVOICE, Kind.CREDIT_MEMO})  # one item each, even when it is worth nothing


def violations(book: Book) -> list[str]:
    """Everything in the books that is not as it must be, in plain sentences; empty where all is well."""
    found: list[str] = []
    for check in (_entries, _items, _payments, _balances, _deposits, _sources, _indexes):
        for sentence in check(book):
            found.append(sentence)
            if len(found) >= VIOLATIONS_MAX:
                return found
    return found


def _documents(book: Book) -> Iterator[Record]:
    for kind in Kind:
        if kind is not Kind.CUSTOMER:
            yield from book.records[kind].values()


def _name(record: Record) -> str:
    return f"{record.kind} {record.id}"


# ---- the general ledger ----------------------------------------------------------------------------------------------


def _entries(book: Book) -> Iterator[str]:
    """Debits equal credits in every document, and the accounts hold the sums of the entries."""
    accounts: dict[str, Decimal] = defaultdict(lambda: ZERO)
    owed: dict[str, Decimal] = defaultdict(lambda: ZERO)
    for record in _documents(book):
        home = own = ZERO
        for entry in record.postings:
            accounts[entry.account] += entry.home
            home += entry.home
            own += entry.amount
            if entry.customer is not None:
                owed[entry.customer] += entry.amount
            elif entry.account == catalogue.RECEIVABLE:
                yield f"{_name(record)} posts {entry.amount} to receivables for nobody"
        if home or own:
            yield f"{_name(record)}: debits and credits differ by {home} at home, {own} in its currency"
        yield from _figures(record)
    for dead in book.gone.values():
        if dead.postings or dead.applications:
            yield f"{_name(dead)} is deleted and still in the ledger"
    yield from _differences("account", accounts, book.ledger.account_totals)
    yield from _differences("the ledger's balance of customer", owed, book.ledger.receivable)


def _figures(record: Record) -> Iterator[str]:
    """A document's total follows from its lines; a void has nothing left."""
    if record.voided:
        if record.total or record.postings or record.unapplied:
            yield f"{_name(record)} is void and still worth {record.total}"
        return
    if record.kind in SALES_FORMS:
        total = record.fields["TxnTaxDetail"]["TotalTax"] + record.fields.get("Charged", ZERO)
        for line in record.fields["Line"]:
            if line["DetailType"] != "SubTotalLineDetail":
                total += -line["Amount"] if line["DetailType"] == "DiscountLineDetail" else line["Amount"]
        if total != record.total:
            yield f"{_name(record)}: TotalAmt {record.total}, its lines and tax make {total}"


def _differences(what: str, expected: dict[str, Decimal], kept: dict[str, Decimal]) -> Iterator[str]:
    for key in {*expected, *kept}:
        if expected.get(key, ZERO) != kept.get(key, ZERO):
            yield f"{what} {key}: kept {kept.get(key, ZERO)}, the documents make {expected.get(key, ZERO)}"


# ---- open items and payments -----------------------------------------------------------------------------------------


def _items(book: Book) -> Iterator[str]:
    """Every charge and credit to receivables is one item, and no item is settled for more than it is."""
    expected: set[ItemKey] = set()
    for record in _documents(book):
        if record.kind in _LISTED:
            expected.add(ItemKey(record.kind, record.id))
        for entry in record.postings:
            if entry.item is None:
                continue
            key = ItemKey(record.kind, record.id, entry.item)
            expected.add(key)
            item = book.items.get(key)
            if item is None:
                yield f"{_name(record)} makes an item {entry.item!r} that is not there"
            elif (item.original, item.customer, item.rate) != (entry.amount, entry.customer, record.rate):
                yield f"{_name(record)}: its item {entry.item!r} is not what it posts"
    for key, item in book.items.items():
        if key not in expected:
            yield f"item {key} belongs to no document"
        yield from _settled(book, key, item)


def _settled(book: Book, key: ItemKey, item: OpenItem) -> Iterator[str]:
    if item.applied != sum(item.links.values(), ZERO):
        yield f"item {key}: {item.applied} applied, its links make {sum(item.links.values(), ZERO)}"
    if not 0 <= item.applied <= abs(item.original):
        yield f"item {key}: {item.applied} applied of {item.original}"
    if (item.remaining > 0) != (key in book.open_items.get(item.customer, {})):
        yield f"item {key} has {item.remaining} left and is listed wrongly among open items"
    for payment_id, amount in item.links.items():
        payment = book.records[Kind.PAYMENT].get(payment_id)
        if payment is None or not any(line.item == key and line.amount == amount for line in payment.applications):
            yield f"item {key} names payment {payment_id}, which does not name it for {amount}"


def _payments(book: Book) -> Iterator[str]:
    """TotalAmt + sources = uses + UnappliedAmt, and every line is known to its document."""
    for payment in book.records[Kind.PAYMENT].values():
        left = payment.total
        for line in payment.applications:
            item = book.items.get(line.item)
            if item is None or item.links.get(payment.id) != line.amount:
                yield f"{_name(payment)} names {line.item} for {line.amount}, which does not know it"
                continue
            left += line.amount if item.is_credit else -line.amount
            if line.amount <= 0:
                yield f"{_name(payment)} has a line of {line.amount}"
        if left != payment.unapplied:
            yield f"{_name(payment)}: UnappliedAmt {payment.unapplied}, its lines leave {left}"
        if not 0 <= payment.unapplied <= payment.total:
            yield f"{_name(payment)}: UnappliedAmt {payment.unapplied} of {payment.total}"


# ---- balances --------------------------------------------------------------------------------------------------------


def _balances(book: Book) -> Iterator[str]:
    """Customer.Balance is the sum of what is open, and the receivables account is the sum of that at home."""
    own: dict[str, Decimal] = defaultdict(lambda: ZERO)
    home = ZERO
    for item in book.items.values():
        sign = -1 if item.is_credit else 1
        own[item.customer] += sign * item.remaining
        home += money(item.original * item.rate) - sign * money(item.applied * item.rate)
    for payment in book.records[Kind.PAYMENT].values():
        own[str(payment.customer_id)] -= payment.unapplied
        home -= money(payment.unapplied * payment.rate)
    kept = book.ledger.account_totals.get(catalogue.RECEIVABLE, ZERO)
    if kept != home:
        yield f"receivables hold {kept}, what is open is worth {home} at home"
    below: dict[str, Decimal] = defaultdict(lambda: ZERO)
    for customer_id in book.records[Kind.CUSTOMER]:
        if book.balance(customer_id) != own.get(customer_id, ZERO):
            yield f"Customer {customer_id}: Balance {book.balance(customer_id)}, open is {own.get(customer_id, ZERO)}"
        for family in (customer_id, *(parent.id for parent in book.customers.ancestors(customer_id))):
            below[family] += own.get(customer_id, ZERO)
    for customer_id, amount in below.items():
        if book.balance_with_jobs(customer_id) != amount:
            yield f"Customer {customer_id}: BalanceWithJobs is not {amount}"
    for customer_id in own.keys() - book.records[Kind.CUSTOMER].keys():
        yield f"customer {customer_id} is owed or owes {own[customer_id]} and does not exist"


def _deposits(book: Book) -> Iterator[str]:
    """A payment taken to the bank is known to its deposit, and the other way round."""
    named: dict[str, str] = {}
    for deposit in book.records[Kind.DEPOSIT].values():
        for line in deposit.fields["Line"]:
            for link in line.get("LinkedTxn") or []:
                if link.get("TxnType") == "Payment" and not deposit.voided:
                    named[str(link["TxnId"])] = deposit.id
    for payment in book.records[Kind.PAYMENT].values():
        if payment.deposit_id != named.get(payment.id):
            yield f"{_name(payment)} says deposit {payment.deposit_id}, deposits say {named.get(payment.id)}"


def _sources(book: Book) -> Iterator[str]:
    """What an invoice bills is known to both, and its statement charges are in its total."""
    billed: dict[str, set[tuple[str, str]]] = defaultdict(set)
    charged: dict[str, Decimal] = defaultdict(lambda: ZERO)
    for kind in SOURCES:
        for source in book.records[kind].values():
            if invoice_id := source.fields.get("InvoiceId"):
                billed[invoice_id].add((kind.value, source.id))
                charged[invoice_id] += source.total if kind is Kind.STATEMENT_CHARGE else ZERO
    for invoice in book.records[Kind.INVOICE].values():
        named = {(link["TxnType"], link["TxnId"]) for link in invoice.fields.get("SourceTxn", ())}
        if named != billed.pop(invoice.id, set()):
            yield f"{_name(invoice)} and what it bills do not know each other"
        if invoice.fields.get("Charged", ZERO) != charged[invoice.id]:
            yield f"{_name(invoice)} holds {invoice.fields.get('Charged')} of charges, they are {charged[invoice.id]}"
    for invoice_id, sources in billed.items():
        yield f"{sorted(sources)} are billed by invoice {invoice_id}, which is not there"


def _indexes(book: Book) -> Iterator[str]:
    """Documents are found under every customer they name, and under no other."""
    expected: dict[str, set[str]] = defaultdict(set)
    for record in _documents(book):
        for reference in forms.customer_references(record.fields):
            expected[reference["value"]].add(_name(record))
    for customer_id in {*expected, *book.documents_of}:
        kept = {_name(record) for record in book.documents_of.get(customer_id, ())}
        if kept != expected.get(customer_id, set()):
            yield f"customer {customer_id}: documents {sorted(kept ^ expected[customer_id])[:3]} are indexed wrongly"
