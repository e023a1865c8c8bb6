"""Custom fields of one company: the classic ones, and the enhanced ones that only `include` shows.

Reads: `CustomField` entries as a client sends them. Writes: nothing; definitions are set by the book's owner.
Guarantees: what no definition knows, or knows on another form, is dropped without a word; Payment has none.
Source: intuit.md 5, 9.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from connectors.simulator.books.records import SALES_FORMS, Kind, Refused, number, plain

CLASSIC_SHOWN = 3  # the REST API shows the first three; a fourth exists in QuickBooks' own pages only
ENHANCED_MAX = 12
ENHANCED_FORMS = SALES_FORMS | {Kind.PURCHASE, Kind.CUSTOMER}
TYPES = {"STRING": "StringType", "NUMBER": "NumberType", "DATE": "DateType", "STRING_LIST": "StringType"}
_VALUES = {"NUMBER": "NumberValue", "DATE": "DateValue"}  # the key of the value; StringValue for the others
_LENGTH_MAX = 31


@dataclass(frozen=True, slots=True)
class Definition:
    """An enhanced custom field."""

    id: str  # its `legacyIDV2`, which REST calls DefinitionId
    name: str
    type: str = "STRING"  # or NUMBER, DATE, STRING_LIST
    forms: tuple[str, ...] = tuple(sorted(kind.value for kind in ENHANCED_FORMS))
    choices: tuple[str, ...] = ()  # STRING_LIST only


def definition_from(state: dict[str, Any]) -> Definition:
    """A definition from its JSON; raises TypeError where a key is unknown."""
    made = Definition(**state)
    return replace(made, forms=tuple(made.forms), choices=tuple(made.choices))


class CustomFields:
    """What fields there are, and how their values are read and shown."""

    def __init__(self) -> None:
        self.classic: dict[str, str] = {"1": "Reference Number"}  # DefinitionId -> name
        self.enhanced: dict[str, Definition] = {}

    def define(self, definitions: Iterable[Definition]) -> None:
        """Replace the enhanced definitions; values of vanished ones stay in the records and are not shown.

        Raises ValueError where there are too many, or one has an unknown type or form.
        """
        found = {one.id: one for one in definitions}
        if len(found) > ENHANCED_MAX:
            raise ValueError(f"there are {ENHANCED_MAX} enhanced custom fields at most")
        for one in found.values():
            allowed = {kind.value for kind in ENHANCED_FORMS}
            if one.type not in TYPES or not set(one.forms) <= allowed or one.id in self.classic:
                raise ValueError(f"{one.id}: types are {', '.join(TYPES)}; forms are {', '.join(sorted(allowed))}")
        self.enhanced = found

    def read(self, kind: Kind, entries: Any, kept: dict[str, str]) -> dict[str, str]:
        """Values by definition after a write; `entries` is None where the body has no CustomField."""
        found = dict(kept)
        for entry in entries or []:
            definition = str(entry.get("DefinitionId", ""))
            if definition in self.classic and kind in SALES_FORMS:
                found[definition] = _text(entry.get("StringValue"))
            elif self._is_known(kind, definition):
                found[definition] = self._value(self.enhanced[definition], entry)
        return {key: value for key, value in found.items() if value}

    def _is_known(self, kind: Kind, definition: str) -> bool:
        return definition in self.enhanced and kind.value in self.enhanced[definition].forms

    def _value(self, definition: Definition, entry: dict[str, Any]) -> str:
        given = entry.get(_VALUES.get(definition.type, "StringValue"))
        if given is None:
            return ""
        try:
            if definition.type == "NUMBER":
                return format(plain(given), "f")
            if definition.type == "DATE":
                return date.fromisoformat(str(given)).isoformat()
        except ValueError as error:
            raise _wrong(given, definition) from error
        if definition.type == "STRING_LIST" and str(given) not in definition.choices:
            raise _wrong(given, definition)
        return _text(given)

    def shown_classic(self, kind: Kind, values: dict[str, str]) -> list[dict[str, Any]]:
        """What REST shows without `include`: the first three, with or without a value."""
        if kind not in SALES_FORMS:
            return []
        written: list[dict[str, Any]] = []
        for definition in sorted(self.classic, key=int)[:CLASSIC_SHOWN]:
            entry = {"DefinitionId": definition, "Name": self.classic[definition], "Type": "StringType"}
            written.append(entry | ({"StringValue": values[definition]} if values.get(definition) else {}))
        return written

    def shown_enhanced(self, kind: Kind, values: dict[str, str]) -> list[dict[str, Any]]:
        """What `include=enhancedAllCustomFields` adds: fields of this form that have a value."""
        written: list[dict[str, Any]] = []
        for one in self.enhanced.values():
            if not self._is_known(kind, one.id) or one.id not in values:
                continue
            value: Any = number(values[one.id]) if one.type == "NUMBER" else values[one.id]
            entry = {"DefinitionId": one.id, "Name": one.name, "Type": TYPES[one.type]}
            written.append(entry | {_VALUES.get(one.type, "StringValue"): value})
        return written


def _text(given: Any) -> str:
    value = str(given or "")
    if len(value) > _LENGTH_MAX:
        raise Refused(
            "2050",
            "String length is either shorter or longer than supported by specification",
            f"Max allowed length is {_LENGTH_MAX}. Supplied value:{value}",
            "CustomField",
        )
    return value


def _wrong(given: Any, definition: Definition) -> Refused:
    detail = f"Property Name:CustomField specified is unsupported or invalid: {given!r} for {definition.type}"
    return Refused("2010", "Request has invalid or unsupported property", detail, "CustomField")
