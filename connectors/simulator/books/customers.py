"""The customers of one company: who belongs to whom, and what each is called.

Reads: bodies as a client sends them. Writes: its own index of names and jobs.
Guarantees: a full name is used once; nobody is their own ancestor; jobs are five levels deep at most.
Source: intuit.md 4.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from connectors.simulator.books.records import Record, Refused, against_rules, bad_reference, missing


class Customers:
    """Names and the tree of jobs."""

    def __init__(self, records: dict[str, Record]) -> None:
        self.records = records  # the book's own, by id
        self.children: dict[str, dict[str, None]] = {}
        self.projects: dict[str, str] = {}  # the id that ProjectRef names -> Customer.Id
        self._names: dict[str, str] = {}

    def remember(self, record: Record) -> None:
        """Take a customer into the index."""
        self._names.setdefault(_name_key(record.fields), record.id)
        if parent := record.fields.get("ParentRef"):
            self.children.setdefault(parent["value"], {})[record.id] = None
        if project_id := record.fields.get("ProjectId"):
            self.projects[project_id] = record.id

    def project_of(self, customer_id: str | None) -> str | None:
        """The project that a project-customer stands for."""
        customer = self.records.get(customer_id or "")
        return customer.fields.get("ProjectId") if customer else None

    def below(self, customer_id: str) -> Iterator[str]:
        """Ids of all jobs of a customer, at any depth."""
        for child in self.children.get(customer_id, ()):
            yield child
            yield from self.below(child)

    def ancestors(self, customer_id: str) -> Iterator[Record]:
        """Parents of a customer, nearest first."""
        current = self.records.get(customer_id)
        while current is not None and (parent := current.fields.get("ParentRef")):
            current = self.records.get(parent["value"])
            if current is not None:
                yield current

    def is_within(self, customer_id: str, family: str) -> bool:
        """Whether a customer is `family` itself or one of its jobs, at any depth."""
        return customer_id == family or any(record.id == family for record in self.ancestors(customer_id))

    def named(self, name: str) -> str | None:
        """The id of the customer with this DisplayName, whatever its case; of several, one without a parent first."""
        wanted = name.strip().lower()
        jobs = (one for key, one in self._names.items() if key.partition(":")[2] == wanted)
        return self._names.get(f":{wanted}") or next(jobs, None)

    def shown_name(self, customer: Record) -> str:
        """DisplayName as QuickBooks shows it: an inactive one carries a suffix."""
        name = str(customer.fields["DisplayName"])
        return name if customer.fields["Active"] else name + " (deleted)"

    def checked(self, raw: dict[str, Any], own_id: str | None) -> dict[str, Any]:
        """A customer's fields, complete and allowed. Raises Refused."""
        fields = dict(raw)
        names = [str(fields[key]) for key in ("GivenName", "FamilyName") if fields.get(key)]
        fields.setdefault("DisplayName", " ".join(names) or fields.get("CompanyName"))
        if not fields["DisplayName"]:
            raise missing("DisplayName")
        fields["Job"] = self._checked_parent(fields, own_id)
        holder = self._names.get(_name_key(fields))
        if holder is not None and holder != own_id:
            raise Refused("6240", "Duplicate Name Exists Error", f"The name supplied already exists. : Id={holder}")
        fields.setdefault("Active", True)
        fields.setdefault("BillWithParent", False)
        fields.setdefault("Taxable", True)
        fields.setdefault("PreferredDeliveryMethod", "Print")
        for key in ("BillAddr", "ShipAddr"):
            if fields.get(key):
                fields[key] = fields[key] | {"Id": str(fields[key].get("Id") or 1)}
        return fields

    def _checked_parent(self, fields: dict[str, Any], own_id: str | None) -> bool:
        parent = fields.get("ParentRef")
        if not parent or not fields.get("Job", True):
            fields.pop("ParentRef", None)
            return False
        found = self.records.get(str(parent.get("value")))
        if found is None:
            raise bad_reference(f"Names element id {parent.get('value')} not found", "ParentRef")
        if own_id is not None and self.is_within(found.id, own_id):
            raise against_rules("Business Validation Error: a customer cannot be its own parent.")
        if len(list(self.ancestors(found.id))) >= 4:
            raise against_rules("Business Validation Error: sub-customers may be five levels deep at most.")
        fields["ParentRef"] = {"value": found.id}
        return True

    def rename(self, record: Record, fields: dict[str, Any]) -> None:
        """Let names and parents follow the fields a customer is about to have."""
        if self._names.get(_name_key(record.fields)) == record.id:
            del self._names[_name_key(record.fields)]
        self._names[_name_key(fields)] = record.id
        old, new = record.fields.get("ParentRef"), fields.get("ParentRef")
        if old != new:
            self.children.get((old or {}).get("value", ""), {}).pop(record.id, None)
            if new:
                self.children.setdefault(new["value"], {})[record.id] = None


def _name_key(fields: dict[str, Any]) -> str:
    """A job may be called what another customer is called: full names are what must differ (recorded 2020)."""
    parent = (fields.get("ParentRef") or {}).get("value", "")
    return f"{parent}:{str(fields['DisplayName']).lower()}"
