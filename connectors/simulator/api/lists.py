"""The lists that documents refer to, as entities to read and query: accounts, items, taxes, terms, ways of paying.

Reads: the catalogue, and the general ledger for the balances of accounts. Writes: nothing; the lists never change.
Guarantees: what a document may refer to is found here under the same id.
Source: Intuit's reference pages of these entities.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from connectors.simulator.api import query as language
from connectors.simulator.books import catalogue
from connectors.simulator.books.book import Book
from connectors.simulator.books.records import ZERO, not_found, plain

Row = dict[str, Any]


def entity_of(name: str) -> str | None:
    """The list of that name, whatever its case."""
    return next((entity for entity in _ROWS if entity.lower() == name.lower()), None)


def one(entity: str, record_id: str, book: Book, made: str) -> Row:
    """One row; `made` is when the company was founded. Raises Refused(610)."""
    for row in rows(entity, book, made):
        if row["Id"] == record_id:
            return row
    raise not_found()


def answer(statement: language.Statement, book: Book, zone: ZoneInfo, made: str, today: str) -> dict[str, Any]:
    """The body of QueryResponse for one of the lists. Raises Refused(4001)."""
    entity = str(entity_of(statement.entity))
    found = language.chosen(statement, rows(entity, book, made), _PROPERTIES, book, zone, today)
    if statement.count:
        return {"totalCount": len(found)}
    page = found[statement.start - 1 : statement.start - 1 + statement.limit]
    return {entity: page, "startPosition": statement.start, "maxResults": len(page)} if page else {}


def rows(entity: str, book: Book, made: str) -> list[Row]:
    """Every row of one list."""
    meta = {"CreateTime": made, "LastUpdatedTime": made}
    tail = {"domain": "QBO", "sparse": False, "SyncToken": "0", "MetaData": meta}
    return [{**row, "Active": True, **tail} for row in _ROWS[entity](book)]


def _accounts(book: Book) -> list[Row]:
    return [
        {
            **{"Id": one.id, "Name": one.name, "FullyQualifiedName": one.name, "SubAccount": False},
            **{"Classification": one.classification, "AccountType": one.type, "AccountSubType": one.sub_type},
            "CurrentBalance": _shown(one, book.ledger.account_totals.get(one.id, ZERO)),
            "CurrencyRef": {"value": book.home_currency},
        }
        for one in catalogue.CHART.values()
    ]


def _shown(account: catalogue.Account, total: Decimal) -> Decimal:
    """Accounts that grow on the credit side are shown with their own sign."""
    return total if account.classification in ("Asset", "Expense") else -total


def _items(book: Book) -> list[Row]:
    return [
        {
            **{"Id": one.id, "Name": one.name, "FullyQualifiedName": one.name, "Taxable": False},
            **{"UnitPrice": plain(one.price), "Type": "Service", "PurchaseCost": 0, "TrackQtyOnHand": False},
            "IncomeAccountRef": {"value": one.account, "name": catalogue.CHART[one.account].name},
        }
        for one in catalogue.ITEMS.values()
    ]


def _tax_codes(book: Book) -> list[Row]:
    rows: list[Row] = [
        {"Id": word, "Name": word, "Description": text, "Taxable": word == "TAX", "TaxGroup": False}
        for word, text in (("TAX", "Taxable"), ("NON", "Non-Taxable"))
    ]
    for code in catalogue.TAX_CODES.values():
        details = [
            {
                "TaxRateRef": {"value": rate, "name": catalogue.TAX_RATES[rate].name},
                **{"TaxTypeApplicable": "TaxOnAmount", "TaxOrder": 0},
            }
            for rate in code.rates
        ]
        row = {"Id": code.id, "Name": code.name, "Description": code.name, "Taxable": True, "TaxGroup": True}
        rows.append(row | {"SalesTaxRateList": {"TaxRateDetail": details}})
    return rows


def _tax_rates(book: Book) -> list[Row]:
    return [
        {
            **{"Id": one.id, "Name": one.name, "Description": one.name, "RateValue": plain(one.percent)},
            **{"AgencyRef": {"value": "1"}, "SpecialTaxType": "NONE", "DisplayType": "ReadOnly"},
        }
        for one in catalogue.TAX_RATES.values()
    ]


def _terms(book: Book) -> list[Row]:
    return [
        {"Id": key, "Name": name, "Type": "STANDARD", "DiscountPercent": 0, "DueDays": days}
        for key, (name, days) in catalogue.TERMS.items()
    ]


def _payment_methods(book: Book) -> list[Row]:
    cards = {"Visa", "MasterCard"}
    return [
        {"Id": key, "Name": name, "Type": "CREDIT_CARD" if name in cards else "NON_CREDIT_CARD"}
        for key, name in catalogue.PAYMENT_METHODS.items()
    ]


_ROWS: dict[str, Callable[[Book], list[Row]]] = {
    "Account": _accounts,
    "Item": _items,
    "TaxCode": _tax_codes,
    "TaxRate": _tax_rates,
    "Term": _terms,
    "PaymentMethod": _payment_methods,
}


def _property(name: str, literal: str, *, sortable: bool = True) -> language.Property:
    return language.Property(lambda book, row: row.get(name), literal, sortable)


_PROPERTIES = {
    "id": _property("Id", "text", sortable=False),
    "active": _property("Active", "bool", sortable=False),
    "taxable": _property("Taxable", "bool", sortable=False),
    **{
        name.lower(): _property(name, "text")
        for name in ("Name", "FullyQualifiedName", "Type", "AccountType", "AccountSubType", "Classification")
    },
    **{name.lower(): _property(name, "number") for name in ("CurrentBalance", "UnitPrice")},
}
