"""CompanyInfo and Preferences: what a company says about itself and its plan.

Reads: the book's settings. Writes: nothing.
Guarantees: both follow from the company's plan, currency, closing date and custom fields as they are now.
Source: Intuit's CompanyInfo and Preferences pages; intuit.md 3.9, 5, 9.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from connectors.simulator.books.book import Book
from connectors.simulator.books.custom_fields import CLASSIC_SHOWN

FOUNDED = datetime(2024, 1, 15, 17, 0, tzinfo=UTC)
PLANS = ("Simple Start", "Essentials", "Plus", "Advanced")


def company_info(name: str, plan: str, made: str) -> dict[str, Any]:
    """The CompanyInfo record."""
    address = {
        "Id": "1",
        "Line1": "1 Builders Way",
        "City": "Oakland",
        "CountrySubDivisionCode": "CA",
        "PostalCode": "94607",
    }
    return {
        **{"CompanyName": name, "LegalName": name, "CompanyAddr": address, "LegalAddr": address},
        **{"CustomerCommunicationAddr": address, "PrimaryPhone": {}},
        **{"CompanyStartDate": "2024-01-15", "FiscalYearStartMonth": "January", "Country": "US"},
        **{"Email": {"Address": "books@builders.example"}, "WebAddr": {}, "SupportedLanguages": "en"},
        "NameValue": [
            {"Name": "OfferingSku", "Value": f"QuickBooks Online {plan}"},
            {"Name": "SubscriptionStatus", "Value": "PAID"},
        ],
        **{"domain": "QBO", "sparse": False, "Id": "1", "SyncToken": "4"},
        "MetaData": {"CreateTime": made, "LastUpdatedTime": made},
    }


def preferences(book: Book, plan: str, made: str) -> dict[str, Any]:
    """The Preferences record: what the plan allows, currency, closing date, names of custom fields."""
    has_classes = plan in ("Plus", "Advanced")
    accounting: dict[str, Any] = {
        "UseAccountNumbers": False,
        "TrackDepartments": has_classes,
        "ClassTrackingPerTxn": False,
        "ClassTrackingPerTxnLine": has_classes,
        "CustomerTerminology": "Customers",
        "FirstMonthOfFiscalYear": "January",
    }
    if book.closed_until:
        accounting["BookCloseDate"] = book.closed_until
    return {
        "AccountingInfoPrefs": accounting,
        "ProductAndServicesPrefs": {"ForSales": True, "QuantityOnHand": has_classes},
        "SalesFormsPrefs": {
            "CustomField": _sales_fields(book),
            **{"CustomTxnNumbers": False, "AllowDeposit": True, "AllowDiscount": True, "AllowEstimates": True},
            "AutoApplyCredit": book.switches.auto_apply_credits,
        },
        "TimeTrackingPrefs": {"UseServices": plan != "Simple Start", "BillCustomers": plan != "Simple Start"},
        "CurrencyPrefs": {
            "HomeCurrency": {"value": book.home_currency},
            "MultiCurrencyEnabled": book.multicurrency,
        },
        "OtherPrefs": {"NameValue": [{"Name": "SalesFormsPrefs.DefaultItem", "Value": "1"}]},
        **{"domain": "QBO", "sparse": False, "Id": "1", "SyncToken": "7"},
        "MetaData": {"CreateTime": made, "LastUpdatedTime": made},
    }


def _sales_fields(book: Book) -> list[dict[str, Any]]:
    """Which of the three classic fields are in use, and what they are called."""
    shown = sorted(book.fields.classic, key=int)[:CLASSIC_SHOWN]
    in_use = [
        {"Name": f"SalesFormsPrefs.UseSalesCustom{key}", "BooleanValue": key in shown, "Type": "BooleanType"}
        for key in ("1", "2", "3")
    ]
    names = [
        {
            "Name": f"SalesFormsPrefs.SalesCustomName{key}",
            "StringValue": book.fields.classic[key],
            "Type": "StringType",
        }
        for key in shown
    ]
    return [{"CustomField": in_use}, {"CustomField": names}]
