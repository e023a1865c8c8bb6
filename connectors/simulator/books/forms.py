"""The documents of the books: what a body must hold, what it adds up to, and how it is posted.

Reads: a body as sent, the chart of accounts. Writes: nothing; every function is pure.
Guarantees: the postings of every document add up to zero, in its own currency and at home.
Source: intuit.md 4.2-4.5, 9; D-LINK; double entry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from connectors.simulator.books.catalogue import (
    CHART,
    CHECKING,
    CREDIT_CARD,
    DISCOUNTS,
    EXCHANGE,
    EXPENSES,
    INCOME,
    ITEMS,
    RECEIVABLE,
    TAX_CODES,
    TAX_PAYABLE,
    TAX_RATES,
    UNDEPOSITED,
)
from connectors.simulator.books.records import (
    CENT,
    ONE,
    ZERO,
    Kind,
    Posting,
    Record,
    Refused,
    against_rules,
    missing,
    money,
    number,
    plain,
)


@dataclass(slots=True)
class SalesFigures:
    """What a sales form adds up to."""

    lines: list[dict[str, Any]]
    tax_detail: dict[str, Any]
    total: Decimal


def sales_figures(fields: dict[str, Any], unit: Decimal = CENT) -> SalesFigures:
    """Work out lines, subtotal, discount, tax and total of a sales form; the client's own totals are ignored.

    `unit` is the currency's smallest coin. Statement charges billed on an invoice (`Charged`) are in the total and in
    no line.
    """
    lines, discount = _own_lines(fields.get("Line"), unit)
    subtotal = sum((line["Amount"] for line in lines), ZERO)
    shown = [*lines, {"Amount": subtotal, "DetailType": "SubTotalLineDetail", "SubTotalLineDetail": {}}]
    taken_off = ZERO
    if discount is not None:
        taken_off = _discount_amount(discount, subtotal, unit)
        shown.append({**discount, "Amount": taken_off})
    tax = _tax_detail(fields, lines, taken_off if fields.get("ApplyTaxAfterDiscount") else ZERO, unit)
    total = subtotal - taken_off + tax["TotalTax"] + fields.get("Charged", ZERO)
    if total < 0:
        raise against_rules("Business Validation Error: Transaction amount must be 0 or greater.")
    return SalesFigures(shown, tax, total)


def _own_lines(raw: Any, unit: Decimal) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    if not isinstance(raw, list) or not raw:
        raise missing("Line")
    taken = [int(line["Id"]) for line in raw if str(line.get("Id", "")).isdigit()]
    next_id = max(taken, default=0) + 1
    lines: list[dict[str, Any]] = []
    discount: dict[str, Any] | None = None
    for line in raw:
        kind = line.get("DetailType")
        if kind == "SubTotalLineDetail":
            continue
        if kind == "DiscountLineDetail":
            discount = line
            continue
        line_id = str(line.get("Id") or next_id)
        next_id += 0 if line.get("Id") else 1
        lines.append(_own_line(line, line_id, len(lines) + 1, unit))
    return lines, discount


def _own_line(line: dict[str, Any], line_id: str, position: int, unit: Decimal) -> dict[str, Any]:
    kind = line.get("DetailType")
    if kind not in ("SalesItemLineDetail", "DescriptionOnly", "GroupLineDetail"):
        raise (
            missing("Line.DetailType")
            if not kind
            else Refused("2010", "Request has invalid or unsupported property", f"DetailType {kind}")
        )
    detail = _item_detail(line.get(kind) or {}) if kind == "SalesItemLineDetail" else (line.get(kind) or {})
    written: dict[str, Any] = {"Id": line_id, "LineNum": position}
    if line.get("Description"):
        written["Description"] = line["Description"]
    written |= {"Amount": _line_amount(line, detail, unit), "DetailType": kind, kind: detail, "CustomExtensions": []}
    return written


# Nobody writes into a reference to a list, so all lines of a long life share these.
_ITEM_REFS = {item.id: {"value": item.id, "name": item.name} for item in ITEMS.values()}
_ACCOUNT_REFS = {account.id: {"value": account.id, "name": account.name} for account in CHART.values()}
_TAX_REFS = {code: {"value": code} for code in ("TAX", "NON")}


def _item_detail(detail: dict[str, Any]) -> dict[str, Any]:
    item_id = str((detail.get("ItemRef") or {"value": "1"}).get("value", "1"))
    if item_id not in ITEMS:
        raise Refused(
            "2500", "Invalid Reference Id", f"Invalid Reference Id : Item element id {item_id} not found", "ItemRef"
        )
    written: dict[str, Any] = {"ItemRef": _ITEM_REFS[item_id]}
    for key in ("UnitPrice", "Qty"):
        if detail.get(key) is not None:
            written[key] = plain(detail[key])
    written["ItemAccountRef"] = _ACCOUNT_REFS[ITEMS[item_id].account]
    tax_code = str((detail.get("TaxCodeRef") or {}).get("value", "NON"))
    written["TaxCodeRef"] = _TAX_REFS.get(tax_code) or {"value": tax_code}
    return written | {key: detail[key] for key in ("ServiceDate", "ClassRef") if key in detail}


def _line_amount(line: dict[str, Any], detail: dict[str, Any], unit: Decimal) -> Decimal:
    by_count = money(detail["UnitPrice"] * detail["Qty"], unit) if "UnitPrice" in detail and "Qty" in detail else None
    if line.get("Amount") is None:
        return by_count if by_count is not None else ZERO
    amount = money(line["Amount"], unit)
    if by_count is not None and by_count != amount:
        detail_text = "Amount is not equal to UnitPrice * Qty. Supplied value:" + format(amount, "f")
        raise Refused("6070", "Amount calculation incorrect in the request", detail_text, "Line.Amount")
    return amount


def _discount_amount(line: dict[str, Any], subtotal: Decimal, unit: Decimal) -> Decimal:
    detail = line.get("DiscountLineDetail") or {}
    line["DiscountLineDetail"] = {"DiscountAccountRef": {"value": DISCOUNTS, "name": CHART[DISCOUNTS].name}} | detail
    if detail.get("PercentBased"):
        line["DiscountLineDetail"]["DiscountPercent"] = plain(detail.get("DiscountPercent", 0))
        return money(subtotal * number(detail.get("DiscountPercent", 0)) / 100, unit)
    return money(line.get("Amount", 0), unit)


def _tax_detail(
    fields: dict[str, Any], lines: list[dict[str, Any]], discount: Decimal, unit: Decimal
) -> dict[str, Any]:
    given = fields.get("TxnTaxDetail") or {}
    code = TAX_CODES.get(str((given.get("TxnTaxCodeRef") or {}).get("value", "")))
    if code is None:
        return {"TotalTax": money(given.get("TotalTax", 0), unit)}
    taxable = sum((line["Amount"] for line in lines if _is_taxable(line)), ZERO)
    everything = sum((line["Amount"] for line in lines), ZERO)
    if discount and everything:
        taxable -= money(discount * taxable / everything, unit)
    written = [_tax_line(rate_id, taxable, unit) for rate_id in code.rates]
    total = sum((line["Amount"] for line in written), ZERO)
    return {"TxnTaxCodeRef": {"value": code.id}, "TotalTax": total, "TaxLine": written}


def _tax_line(rate_id: str, taxable: Decimal, unit: Decimal) -> dict[str, Any]:
    percent = TAX_RATES[rate_id].percent
    detail = {
        "TaxRateRef": {"value": rate_id},
        "PercentBased": True,
        "TaxPercent": plain(percent),
        "NetAmountTaxable": taxable,
    }
    return {"Amount": money(taxable * percent / 100, unit), "DetailType": "TaxLineDetail", "TaxLineDetail": detail}


def _is_taxable(line: dict[str, Any]) -> bool:
    return bool(line.get("SalesItemLineDetail", {}).get("TaxCodeRef", {}).get("value") == "TAX")


def journal_total(fields: dict[str, Any], unit: Decimal = CENT) -> Decimal:
    """Check that debits equal credits and answer the sum of debits; gives every line an id."""
    lines = fields.get("Line")
    if not isinstance(lines, list) or not lines:
        raise missing("Line")
    debits = credits_ = ZERO
    for position, line in enumerate(lines, 1):
        line["Id"] = str(line.get("Id") or position - 1)
        line["Amount"] = money(line.get("Amount", 0), unit)
        detail = line.get("JournalEntryLineDetail") or {}
        _checked_account(detail)
        if detail.get("PostingType") == "Debit":
            debits += line["Amount"]
        else:
            credits_ += line["Amount"]
    if debits != credits_:
        raise against_rules("Business Validation Error: Please balance debits and credits.")
    return debits


def cash_total(fields: dict[str, Any], unit: Decimal = CENT) -> Decimal:
    """Add up a deposit's or purchase's lines and give them ids."""
    lines = fields.get("Line")
    if not isinstance(lines, list) or not lines:
        raise missing("Line")
    for position, line in enumerate(lines, 1):
        line["Id"] = str(line.get("Id") or position)
        line["Amount"] = money(line.get("Amount", 0), unit)
        for detail in ("DepositLineDetail", "AccountBasedExpenseLineDetail"):
            if detail in line:
                _checked_account(line[detail])
    return sum((line["Amount"] for line in lines), ZERO)


def _checked_account(detail: dict[str, Any]) -> None:
    account = str((detail.get("AccountRef") or {}).get("value", ""))
    if account not in CHART:
        raise Refused(
            "2500",
            "Invalid Reference Id",
            f"Invalid Reference Id : Accounts element id {account} not found",
            "AccountRef",
        )
    detail["AccountRef"] = {"value": account, "name": CHART[account].name}


def postings(record: Record) -> tuple[Posting, ...]:
    """The general ledger entries of a document that is no payment. Nothing for a voided one."""
    if record.voided:
        return ()
    sides = [side for side in _SIDES[record.kind](record) if side.amount]
    return _at_home(sides, record.rate)


def customer_references(fields: dict[str, Any]) -> list[dict[str, Any]]:
    """Every place in a document that names a customer, as the very dictionaries, so that a merge can rewrite them."""
    found = [fields.get("CustomerRef"), fields.get("EntityRef")]
    for line in fields.get("Line") or []:
        journal = line.get("JournalEntryLineDetail") or {}
        found.append((journal.get("Entity") or {}).get("EntityRef"))
        found.append((line.get("DepositLineDetail") or {}).get("Entity"))
        found.append((line.get("AccountBasedExpenseLineDetail") or {}).get("CustomerRef"))
    return [reference for reference in found if reference]


def receivable_references(fields: dict[str, Any]) -> list[dict[str, Any]]:
    """The customers whose balance the lines of a journal, deposit or purchase move."""
    found: list[Any] = []
    for line in fields.get("Line") or []:
        for key in ("JournalEntryLineDetail", "DepositLineDetail", "AccountBasedExpenseLineDetail"):
            detail = line.get(key) or {}
            if (detail.get("AccountRef") or {}).get("value") == RECEIVABLE:
                entity = detail.get("Entity") or {}
                found += [entity.get("EntityRef"), entity if "value" in entity else None, detail.get("CustomerRef")]
                found.append(fields.get("EntityRef"))
    return [reference for reference in found if reference]


def _at_home(sides: list[Posting], rate: Decimal) -> tuple[Posting, ...]:
    if rate == ONE:
        return tuple(sides)
    written = [side._replace(home=money(side.amount * rate)) for side in sides]
    rest = sum((side.home for side in written), ZERO)
    if rest:  # rounding falls on an account that nobody's balance hangs on
        written.append(Posting(EXCHANGE, ZERO, -rest))
    return tuple(written)


def _side(account: str, amount: Decimal, customer: str | None = None, item: str | None = None) -> Posting:
    return Posting(account, amount, amount, customer, item)


def _invoice(record: Record) -> list[Posting]:
    deposit = record.fields.get("Deposit", ZERO)
    bank = _reference(record, "DepositToAccountRef", UNDEPOSITED)
    owed = _side(RECEIVABLE, record.total - deposit, record.customer_id, "")
    return [owed, _side(bank, deposit), *_earned(record, -1)]


def _credit_memo(record: Record) -> list[Posting]:
    return [_side(RECEIVABLE, -record.total, record.customer_id, ""), *_earned(record, 1)]


def _refund(record: Record) -> list[Posting]:
    return [_side(_reference(record, "DepositToAccountRef", CHECKING), -record.total), *_earned(record, 1)]


def _cash_sale(record: Record) -> list[Posting]:
    return [_side(_reference(record, "DepositToAccountRef", UNDEPOSITED), record.total), *_earned(record, -1)]


def _earned(record: Record, sign: int) -> list[Posting]:
    """Income, discount and tax of a sales form; sign -1 where it earns, +1 where it gives back."""
    sides = [_side(TAX_PAYABLE, sign * record.fields["TxnTaxDetail"]["TotalTax"])]
    sides.append(_side(INCOME, sign * record.fields.get("Charged", ZERO)))
    for line in record.fields["Line"]:
        if line["DetailType"] == "SubTotalLineDetail":
            continue
        if line["DetailType"] == "DiscountLineDetail":
            sides.append(_side(DISCOUNTS, -sign * line["Amount"]))
            continue
        account = line.get("SalesItemLineDetail", {}).get("ItemAccountRef", {}).get("value", INCOME)
        sides.append(_side(account, sign * line["Amount"]))
    return sides


def _reference(record: Record, key: str, default: str) -> str:
    return str((record.fields.get(key) or {}).get("value", default))


def _journal(record: Record) -> list[Posting]:
    sides = []
    for line in record.fields["Line"]:
        detail = line["JournalEntryLineDetail"]
        amount = line["Amount"] if detail.get("PostingType") == "Debit" else -line["Amount"]
        customer = ((detail.get("Entity") or {}).get("EntityRef") or {}).get("value")
        sides.append(_receivable_or(detail["AccountRef"]["value"], amount, customer, line["Id"]))
    return sides


def _deposit(record: Record) -> list[Posting]:
    sides = [_side(_reference(record, "DepositToAccountRef", CHECKING), record.total)]
    for line in record.fields["Line"]:
        detail = line.get("DepositLineDetail")
        if detail is None:
            sides.append(_side(UNDEPOSITED, -line["Amount"]))
            continue
        customer = (detail.get("Entity") or {}).get("value")
        sides.append(_receivable_or(detail["AccountRef"]["value"], -line["Amount"], customer, line["Id"]))
    return sides


def _purchase(record: Record) -> list[Posting]:
    """Cash, cheque or card; a credit card credit (`Credit`) is the same the other way round."""
    sign = -1 if record.fields.get("Credit") else 1
    paid_from = CREDIT_CARD if record.fields.get("PaymentType") == "CreditCard" else CHECKING
    sides = [_side(_reference(record, "AccountRef", paid_from), -sign * record.total)]
    payee = (record.fields.get("EntityRef") or {}).get("value")
    for line in record.fields["Line"]:
        detail = line.get("AccountBasedExpenseLineDetail") or {}
        customer = (detail.get("CustomerRef") or {}).get("value") or payee
        account = (detail.get("AccountRef") or {}).get("value", EXPENSES)
        sides.append(_receivable_or(account, sign * line["Amount"], customer, line["Id"]))
    return sides


def link_word(record: Record) -> str:
    """The word by which a payment line names a document (D-LINK)."""
    if record.kind is not Kind.PURCHASE:
        return record.kind.value
    if record.fields.get("Credit"):
        return "CreditCardCredit"
    return "Check" if record.fields.get("PaymentType") == "Check" else "Expense"


def _statement_charge(record: Record) -> list[Posting]:
    """A charge in the receivables register; once an invoice bills it, the invoice stands for it."""
    if record.fields.get("InvoiceId"):
        return []
    return [_side(RECEIVABLE, record.total, record.customer_id, ""), _side(INCOME, -record.total)]


def _nothing(record: Record) -> list[Posting]:
    return []


def _receivable_or(account: str, amount: Decimal, customer: str | None, line: str) -> Posting:
    if account != RECEIVABLE:
        return _side(account, amount)
    if customer is None:
        raise against_rules(
            "Business Validation Error: a line to Accounts Receivable needs a customer in the Name field."
        )
    return _side(account, amount, customer, line)


_SIDES: dict[Kind, Callable[[Record], list[Posting]]] = {
    Kind.INVOICE: _invoice,
    Kind.CREDIT_MEMO: _credit_memo,
    Kind.REFUND_RECEIPT: _refund,
    Kind.SALES_RECEIPT: _cash_sale,
    Kind.JOURNAL_ENTRY: _journal,
    Kind.DEPOSIT: _deposit,
    Kind.PURCHASE: _purchase,
    Kind.STATEMENT_CHARGE: _statement_charge,
    **dict.fromkeys((Kind.ESTIMATE, Kind.TIME_ACTIVITY, Kind.REIMBURSE_CHARGE), _nothing),
}
