"""What a company keeps besides its receivables: vendors, items, accounts, bills, classes and the like.

Reads: bodies as clients send them, and the moment of each operation. Writes: its own records.
Guarantees: ids, tokens, names and times behave as everywhere; nothing here is posted, so no figure of the book moves.
A bill or purchase order adds up; balances of vendors and accounts stay zero.
Source: intuit.md 1.4, 3.9, 4; recorded vendors, employees and accounts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from connectors.simulator.books.catalogue import CURRENCIES
from connectors.simulator.books.records import Refused, copy_tree, missing, money, not_found

PEOPLE = frozenset({"Vendor", "Employee"})
NAMED = frozenset({"Item", "Account", "Class", "Department", "Term", "PaymentMethod", "CustomerType", "TaxAgency"})
SUMS = frozenset({"PurchaseOrder", "Bill", "VendorCredit", "BillPayment"})
PLAIN = frozenset({"Transfer", "CompanyCurrency", "Budget", "Attachable"})
ENTITIES = PEOPLE | NAMED | SUMS | PLAIN
NEVER_DELETED = PEOPLE | NAMED  # only made inactive
DELETED = " (deleted)"
_NAMES = ("Name", "DisplayName", "FullyQualifiedName")
_ALWAYS_KEPT = frozenset({"Active", "CurrencyRef", "TxnDate", "DocNumber"})  # by a full update that leaves them out
_COMPUTED = frozenset(
    {"Id", "SyncToken", "MetaData", "domain", "sparse", "status", "time", "Balance", "TotalAmt", "FullyQualifiedName"}
    | {"CurrentBalance", "CurrentBalanceWithSubAccounts", "Level", "HomeTotalAmt", "HomeBalance", "V4IDPseudonym"}
)


@dataclass(slots=True, eq=False)
class Leaf:
    """One record of the shelf."""

    entity: str
    id: str
    fields: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    sync_token: int = 0
    deleted: bool = False

    @property
    def shown_fields(self) -> dict[str, Any]:
        """The fields as QuickBooks shows them: the name of what is inactive carries a suffix."""
        if self.entity not in NEVER_DELETED or self.fields.get("Active", True):
            return self.fields
        suffixed = [key for key in _NAMES if key in self.fields]
        return self.fields | {key: f"{self.fields[key]}{DELETED}" for key in suffixed}


class Shelf:
    """The records of one company that its book knows nothing of."""

    def __init__(self) -> None:
        self.leaves: dict[str, dict[str, Leaf]] = {entity: {} for entity in ENTITIES}
        self.gone: dict[str, dict[str, Leaf]] = {entity: {} for entity in ENTITIES}
        self.next_id = 1001  # below are the lists that every company has
        self.is_kept = True  # whether everything here is also in the storage

    def get(self, entity: str, record_id: str) -> Leaf:
        """The record as it is now. Raises Refused(610)."""
        found = self.leaves[entity].get(record_id)
        if found is None:
            raise not_found()
        return found

    def create(self, entity: str, body: dict[str, Any], at: datetime, home_currency: str) -> Leaf:
        """Make a record. Raises Refused."""
        fields = self._complete(entity, _own(body), at, home_currency, None)
        moment = at.replace(microsecond=0)
        leaf = Leaf(entity, str(self.next_id), fields, moment, moment)
        self.next_id += 1
        self.leaves[entity][leaf.id] = leaf
        self.is_kept = False
        return leaf

    def update(self, entity: str, body: dict[str, Any], at: datetime, home_currency: str) -> Leaf:
        """Change a record, sparsely where the body says so. Raises Refused."""
        leaf = self._current(entity, body)
        given = _own(body)
        always = {key: value for key, value in leaf.fields.items() if key in _ALWAYS_KEPT}
        merged: dict[str, Any] = {**copy_tree(leaf.fields), **given} if body.get("sparse") else {**always, **given}
        leaf.fields = self._complete(entity, merged, at, home_currency, leaf.id)
        self._touch(leaf, at)
        return leaf

    def delete(self, entity: str, body: dict[str, Any], at: datetime) -> Leaf:
        """Remove a transaction for good. Raises Refused; names are only made inactive."""
        leaf = self._current(entity, body)
        if entity in NEVER_DELETED:
            raise Refused("500", "Unsupported Operation", "Operation delete is not supported.")
        leaf.deleted = True
        self.gone[entity][leaf.id] = self.leaves[entity].pop(leaf.id)
        self._touch(leaf, at)
        return leaf

    def _touch(self, leaf: Leaf, at: datetime) -> None:
        leaf.sync_token += 1
        leaf.updated_at = at.replace(microsecond=0)
        self.is_kept = False

    def _current(self, entity: str, body: dict[str, Any]) -> Leaf:
        leaf = self.get(entity, str(body.get("Id")))
        if body.get("SyncToken") is None:
            raise missing("SyncToken")
        if str(body["SyncToken"]) != str(leaf.sync_token):
            raise Refused(
                "5010",
                "Stale Object Error",
                "Stale Object Error : You and Sam Bookkeeper were working on this at the same time. "
                "Sam Bookkeeper finished before you did, so your work was not saved.",
                "",
            )
        return leaf

    # ---- what a record holds by itself ---------------------------------------------------------------------------

    def _complete(
        self, entity: str, fields: dict[str, Any], at: datetime, home_currency: str, own_id: str | None
    ) -> dict[str, Any]:
        if entity in NEVER_DELETED:
            self._check_name(entity, fields, own_id)
        filled = _DEFAULTS.get(entity, _nothing)(fields) | fields
        if entity in SUMS | {"Vendor", "Account"}:
            filled.setdefault(
                "CurrencyRef", {"value": home_currency, "name": CURRENCIES.get(home_currency, home_currency)}
            )
        if entity in NEVER_DELETED:
            filled.setdefault("Active", True)
        if entity in SUMS | {"Transfer"}:
            filled.setdefault("TxnDate", at.date().isoformat())
        return _COMPUTING.get(entity, dict)(filled)

    def _check_name(self, entity: str, fields: dict[str, Any], own_id: str | None) -> None:
        key = "DisplayName" if entity in PEOPLE else "Name"
        if entity in PEOPLE and not fields.get("DisplayName"):
            parts = [str(fields[part]) for part in ("GivenName", "FamilyName") if fields.get(part)]
            fields["DisplayName"] = " ".join(parts) or fields.get("CompanyName")
        if not fields.get(key):
            raise missing(key)
        for other in self.leaves[entity].values():
            if other.id != own_id and str(other.fields[key]).lower() == str(fields[key]).lower():
                raise Refused(
                    "6240", "Duplicate Name Exists Error", f"The name supplied already exists. : Id={other.id}"
                )

    # ---- storage -------------------------------------------------------------------------------------------------

    def state(self) -> list[dict[str, Any]]:
        """Everything, as it is kept."""
        records = [leaf for found in (self.leaves, self.gone) for of in found.values() for leaf in of.values()]
        moments = ("created_at", "updated_at")
        return [asdict(leaf) | {key: getattr(leaf, key).isoformat() for key in moments} for leaf in records]

    def restore(self, state: list[dict[str, Any]]) -> None:
        """Take up what was kept."""
        for kept in state:
            moments = {key: datetime.fromisoformat(kept[key]) for key in ("created_at", "updated_at")}
            leaf = Leaf(**(kept | moments))
            (self.gone if leaf.deleted else self.leaves)[leaf.entity][leaf.id] = leaf
            self.next_id = max(self.next_id, int(leaf.id) + 1)


def _own(body: dict[str, Any]) -> dict[str, Any]:
    given = {key: value for key, value in copy_tree(body).items() if key not in _COMPUTED and value is not None}
    return given | {key: str(given[key]).removesuffix(DELETED) for key in _NAMES if key in given}


def _nothing(fields: dict[str, Any]) -> dict[str, Any]:
    return {}


def _vendor(fields: dict[str, Any]) -> dict[str, Any]:
    return {"Vendor1099": False, "PrintOnCheckName": fields.get("CompanyName") or fields["DisplayName"]}


def _item(fields: dict[str, Any]) -> dict[str, Any]:
    return {"Type": "Service", "Taxable": False, "UnitPrice": 0, "PurchaseCost": 0, "TrackQtyOnHand": False}


def _account(fields: dict[str, Any]) -> dict[str, Any]:
    kind = str(fields.get("AccountType") or "Expense")
    side = next((side for side, words in _CLASSES.items() if any(word in kind for word in words)), "Asset")
    return {"SubAccount": "ParentRef" in fields, "AccountType": kind, "Classification": side}


def _bill(fields: dict[str, Any]) -> dict[str, Any]:
    if not fields.get("VendorRef"):
        raise missing("VendorRef")
    return {"APAccountRef": {"value": "33", "name": "Accounts Payable (A/P)"}}


_CLASSES = {
    "Revenue": ("Income",),
    "Expense": ("Expense", "Cost"),
    "Liability": ("Liability", "Credit Card", "Payable"),
    "Equity": ("Equity",),
}
_DEFAULTS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "Vendor": _vendor,
    "Employee": lambda fields: {"BillableTime": False, "PrintOnCheckName": fields["DisplayName"]},
    "Item": _item,
    "Account": _account,
    "Class": lambda fields: {"SubClass": "ParentRef" in fields},
    "Department": lambda fields: {"SubDepartment": "ParentRef" in fields},
    "Term": lambda fields: {"Type": "STANDARD", "DiscountPercent": 0},
    "PaymentMethod": lambda fields: {"Type": "NON_CREDIT_CARD"},
    "Bill": _bill,
    "VendorCredit": _bill,
    "PurchaseOrder": _bill,
}


def _summed(fields: dict[str, Any]) -> dict[str, Any]:
    lines = fields.get("Line") or []
    for position, line in enumerate(lines, 1):
        line |= {"Id": str(line.get("Id") or position), "LineNum": line.get("LineNum", position)}
        line["Amount"] = money(line.get("Amount", 0))
    total = sum((line["Amount"] for line in lines), Decimal("0.00"))
    return fields | {"TotalAmt": total}


def _due(fields: dict[str, Any]) -> dict[str, Any]:
    day = datetime.fromisoformat(fields["TxnDate"]) + timedelta(days=30)
    summed = _summed(fields)
    return {"DueDate": day.date().isoformat()} | summed | {"Balance": summed["TotalAmt"]}


def _with_path(fields: dict[str, Any]) -> dict[str, Any]:
    return fields | {"FullyQualifiedName": fields["Name"]}


_COMPUTING: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "Vendor": lambda fields: fields | {"Balance": 0},
    "Item": _with_path,
    "Account": lambda fields: _with_path(fields) | {"CurrentBalance": 0, "CurrentBalanceWithSubAccounts": 0},
    "Class": _with_path,
    "Department": _with_path,
    "Bill": _due,
    "PurchaseOrder": _summed,
    "VendorCredit": _summed,
    "BillPayment": lambda fields: fields | {"TotalAmt": money(fields.get("TotalAmt", 0))},
}
