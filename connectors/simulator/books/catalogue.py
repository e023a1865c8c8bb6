"""The lists of one company that documents refer to: accounts, items, taxes, terms, ways of paying, currencies.

Reads and writes: nothing; the lists are the same in every company and never change.
Guarantees: ids are Intuit's own from its sample company where there is one; percentages are exact.
Source: intuit.md 4 and 9; the lists of Intuit's sample company.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Account:
    """One line of the chart of accounts."""

    id: str
    name: str
    type: str
    sub_type: str = ""
    classification: str = "Asset"


@dataclass(frozen=True, slots=True)
class Item:
    """A product or service; its sales go to one account."""

    id: str
    name: str
    account: str
    price: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class TaxRate:
    """One authority's percentage."""

    id: str
    name: str
    percent: Decimal


@dataclass(frozen=True, slots=True)
class TaxCode:
    """What a sales form names in TxnTaxCodeRef: one or several rates at once."""

    id: str
    name: str
    rates: tuple[str, ...]  # TaxRate.Id


RECEIVABLE = "84"
UNDEPOSITED = "4"
CHECKING = "35"
CREDIT_CARD = "41"
INCOME = "52"
PRODUCTS = "79"
DISCOUNTS = "86"
REIMBURSED = "50"
TAX_PAYABLE = "90"
OPENING_EQUITY = "34"
EXCHANGE = "101"
RETAINAGE = "105"
EXPENSES = "13"

CHART = {
    account.id: account
    for account in (
        Account(UNDEPOSITED, "Undeposited Funds", "Other Current Asset", "UndepositedFunds"),
        Account(EXPENSES, "Job Expenses", "Expense", "CostOfLabor", "Expense"),
        Account(OPENING_EQUITY, "Opening Balance Equity", "Equity", "OpeningBalanceEquity", "Equity"),
        Account(CHECKING, "Checking", "Bank", "Checking"),
        Account(CREDIT_CARD, "Mastercard", "Credit Card", "CreditCard", "Liability"),
        Account(REIMBURSED, "Billable Expense Income", "Income", "ServiceFeeIncome", "Revenue"),
        Account(INCOME, "Services", "Income", "ServiceFeeIncome", "Revenue"),
        Account(PRODUCTS, "Sales of Product Income", "Income", "SalesOfProductIncome", "Revenue"),
        Account(RECEIVABLE, "Accounts Receivable (A/R)", "Accounts Receivable", "AccountsReceivable"),
        Account(DISCOUNTS, "Discounts given", "Income", "DiscountsRefundsGiven", "Revenue"),
        Account(
            TAX_PAYABLE, "Board of Equalization Payable", "Other Current Liability", "SalesTaxPayable", "Liability"
        ),
        Account(EXCHANGE, "Exchange Gain or Loss", "Other Expense", "ExchangeGainOrLoss", "Expense"),
        Account(RETAINAGE, "Retainage Receivable", "Other Current Asset", "Retainage"),
    )
}

OPENING_ITEM = "99"
ITEMS = {
    item.id: item
    for item in (
        Item("1", "Services", INCOME),
        Item("2", "Hours", INCOME, Decimal(65)),
        Item("4", "Design", INCOME, Decimal(75)),
        Item("5", "Drawings", INCOME, Decimal(75)),
        Item("7", "Installation", INCOME, Decimal(50)),
        Item("9", "Site supervision", INCOME, Decimal(90)),
        Item("11", "Pump", PRODUCTS, Decimal(15)),
        Item("12", "Structural steel", PRODUCTS, Decimal(1200)),
        Item("15", "Retainage", RETAINAGE),
        Item("16", "Billable Expense", REIMBURSED),
        Item(OPENING_ITEM, "Opening Balance", OPENING_EQUITY),
    )
}

TAX_RATES = {
    rate.id: rate
    for rate in (
        TaxRate("3", "California", Decimal(8)),
        TaxRate("4", "Tucson City", Decimal("9.75")),
        TaxRate("5", "Arizona State", Decimal("5.6")),
        TaxRate("6", "Pima County", Decimal("0.5")),
        TaxRate("7", "Marana City", Decimal("2.625")),
    )
}
TAX_CODES = {
    code.id: code
    for code in (
        TaxCode("2", "California", ("3",)),
        TaxCode("3", "Tucson", ("4",)),
        TaxCode("4", "Marana", ("5", "6", "7")),
    )
}

TERMS = {"1": ("Due on receipt", 0), "2": ("Net 15", 15), "3": ("Net 30", 30), "4": ("Net 60", 60)}
PAYMENT_METHODS = {"1": "Cash", "2": "Check", "3": "Visa", "4": "MasterCard"}

CURRENCIES = {
    "USD": "United States Dollar",
    "EUR": "Euro",
    "GBP": "British Pound Sterling",
    "CAD": "Canadian Dollar",
    "JPY": "Japanese Yen",
    "KWD": "Kuwaiti Dinar",
}
# Digits behind the point where they are not two; used only by the switch `currency_digits`.
DIGITS = {"JPY": 0, "KWD": 3}
