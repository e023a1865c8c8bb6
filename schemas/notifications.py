"""What Intuit's webhook says: a delivery cut into its change events, and one change event understood.

Reads: the raw body of a delivery; later the exact bytes of one event with the headers that the ingress gave it.
Guarantees: pure; cutting keeps each event's bytes as Intuit sent them and never drops one in silence; whatever is
wrong with a body or an event, only UnprocessableError is raised.
Cutting is lenient, understanding is strict: one odd event is parked alone and never its whole delivery.
Source: design, topic `quickbooks-notifications`; Intuit's webhook pages; CloudEvents 1.0, batched JSON.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, NamedTuple, TypeGuard

from schemas.errors import UnprocessableError

EVENTS_MAX = 10_000  # of one delivery; Intuit sends up to 100
DEPTH_MAX = 32
NODES_MAX = 250_000
STRING_MAX = 64 * 1024
NUMBER_MAX = 40  # characters
CAUSE_ID_MAX = 256

_ID = re.compile(r"[0-9]{1,20}")
_SPACES = (" ", "\t", "\n", "\r")
_SPACE = re.compile(r"[ \t\n\r]*")
_TYPE = re.compile(r"qbo\.([a-z0-9]{1,64})\.([a-z]{1,32})\.v[0-9]{1,4}", re.IGNORECASE | re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9]{1,64}")
_INSTANT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:?[0-9]{2})")
_RECORD_TYPES = {
    name.lower(): name
    for name in (
        *("Account", "Bill", "BillPayment", "Budget", "ChangeOrder", "Class", "CompanyCurrency", "CreditMemo"),
        *("Currency", "Customer", "Department", "Deposit", "Employee", "Estimate", "Invoice", "Item", "JournalCode"),
        *("JournalEntry", "Payment", "PaymentMethod", "Preferences", "Purchase", "PurchaseOrder", "RefundReceipt"),
        *("SalesReceipt", "TaxAgency", "Term", "TimeActivity", "Transfer", "Vendor", "VendorCredit"),
    )
}


class Format(Enum):
    """How Intuit wrote a delivery. One app sends one format at a time."""

    CLOUDEVENTS = "cloudevents"
    LEGACY = "legacy"


class Operation(Enum):
    """What Intuit says happened to the record. Only a reason to read it: the record itself says what it is now."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    MERGE = "merge"
    VOID = "void"
    EMAILED = "emailed"


_OPERATIONS = {
    **{"create": Operation.CREATE, "created": Operation.CREATE, "update": Operation.UPDATE},
    **{"updated": Operation.UPDATE, "delete": Operation.DELETE, "deleted": Operation.DELETE},
    **{"merge": Operation.MERGE, "merged": Operation.MERGE, "void": Operation.VOID, "voided": Operation.VOID},
    **{"emailed": Operation.EMAILED},
}


class Entry(NamedTuple):
    """One change event of a delivery, not understood yet."""

    value: bytes  # exactly Intuit's bytes: a slice of the body
    company_id: str  # Intuit's realmId
    cause_id: str  # CloudEvents id, else SHA-256 of the bytes and the company id
    format: Format


class Unreadable(NamedTuple):
    """One event of a delivery that names no company, so that it has no place in the topic; it is parked."""

    value: bytes
    reason: str


class Split(NamedTuple):
    """A delivery, cut. Every event of the body is in one of the two."""

    entries: list[Entry]
    unreadable: list[Unreadable]


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """Intuit says that one record of one company changed."""

    company_id: str
    record_type: str  # QuickBooks' casing (CreditMemo); a type that we do not know keeps the wire's
    record_id: str
    operation: Operation
    occurred_at: datetime  # UTC; cut to microseconds
    vanished_id: str | None  # merge: the customer that is no more
    cause_id: str


# ------------------------------------------------------------------------------------------------------------ cutting

# Numbers stay text: their size costs nothing here, and what is wrong with one is said when the event is understood.
_LENIENT = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str, strict=False)


def split_delivery(body: bytes) -> Split:
    """Cut the body of a delivery, of either format, into its change events.

    Raises UnprocessableError with the reason when the body as a whole cannot be read.
    """
    # Bytes that are no UTF-8 survive the way to text and back, so they spoil their own event only.
    text = body.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    split = Split([], [])
    try:
        _cut(text, split)
    except RecursionError as error:
        raise UnprocessableError("the body is nested too deeply") from error
    except ValueError as error:
        raise UnprocessableError(f"the body is not JSON: {_without_text(error)}") from error
    return split


def _cut(text: str, split: Split) -> None:
    start = _skip(text, 0)
    cut = _cut_cloudevents if text.startswith("[", start) else _cut_object
    end = cut(text, start, split)
    if _skip(text, end) != len(text):
        raise UnprocessableError(f"the body is not one JSON value: more follows at character {end}")


def _cut_cloudevents(text: str, start: int, split: Split) -> int:
    end = start + 1
    for event, first, end in _elements(text, start):
        _add(split, _bytes(text[first:end]), event.get("intuitaccountid") if isinstance(event, dict) else None, event)
    return text.index("]", end) + 1


def _cut_object(text: str, start: int, split: Split) -> int:
    tree, end = _LENIENT.raw_decode(text, start)
    if isinstance(tree, dict) and "eventNotifications" in tree:
        _cut_legacy(text, start, split)
    elif isinstance(tree, dict) and "specversion" in tree:
        _add(split, _bytes(text[start:end]), tree.get("intuitaccountid"), tree)
    else:
        raise UnprocessableError("the body is neither a list of CloudEvents nor an object with eventNotifications")
    return end


def _cut_legacy(text: str, start: int, split: Split) -> None:
    for name, at in _members(text, start):
        if name == "eventNotifications":
            for notification, first, past in _elements(text, at):
                _cut_legacy_company(text, notification, slice(first, past), split)


def _cut_legacy_company(text: str, notification: Any, span: slice, split: Split) -> None:
    if not isinstance(notification, dict):
        return _add(split, _bytes(text[span]), None, None)
    lists = [
        at
        for outer, outer_at in _members(text, span.start)
        if outer == "dataChangeEvent" and text[outer_at] == "{"
        for inner, at in _members(text, outer_at)
        if inner == "entities" and text[at] == "["
    ]
    if not lists:  # nothing that we know how to cut: kept whole for a person to look at
        split.unreadable.append(Unreadable(_bytes(text[span]), "the notification has no list of entities"))
    for at in lists:
        for _, first, past in _elements(text, at):
            _add(split, _bytes(text[first:past]), notification.get("realmId"), None)


def _add(split: Split, value: bytes, company: object, event: Any) -> None:
    """Put one event where it belongs. `event` is its tree for CloudEvents, None for legacy."""
    if len(split.entries) + len(split.unreadable) >= EVENTS_MAX:
        raise UnprocessableError(f"the body holds more than {EVENTS_MAX} change events")
    if not _is_id(company):
        field = "realmId" if event is None else "intuitaccountid"
        split.unreadable.append(Unreadable(value, f"the event names no company: {field} is missing or no number"))
        return
    wire_format = Format.LEGACY if event is None else Format.CLOUDEVENTS
    split.entries.append(Entry(value, company, _cause_id(value, company, event), wire_format))


def _cause_id(value: bytes, company_id: str, event: Any) -> str:
    """Not always a UUID, and Intuit suffixes some, so it is text; what no table or header could hold is replaced."""
    given = event.get("id") if isinstance(event, dict) else None
    if isinstance(given, str) and 0 < len(given) <= CAUSE_ID_MAX and given.isprintable():
        return given
    return hashlib.sha256(value + company_id.encode()).hexdigest()


def _elements(text: str, at: int) -> Iterator[tuple[Any, int, int]]:
    """Each element of the list that starts here, with its span. Raises ValueError when the list is none."""
    _expect(text, at, "[")
    at = _skip(text, at + 1)
    more = not text.startswith("]", at)
    while more:
        value, end = _LENIENT.raw_decode(text, at)
        yield value, at, end
        at = _skip(text, end)
        more = text.startswith(",", at)
        if not more:
            _expect(text, at, "]")
        at = _skip(text, at + 1)


def _members(text: str, at: int) -> Iterator[tuple[str, int]]:
    """Each member of the object that starts here, a repeated name too: its name and where its value starts."""
    at = _skip(text, at + 1)
    more = not text.startswith("}", at)
    while more:
        name, end = _LENIENT.raw_decode(text, at)
        at = _skip(text, _skip(text, end) + 1)
        yield name, at
        at = _skip(text, _LENIENT.raw_decode(text, at)[1])
        more = text.startswith(",", at)
        at = _skip(text, at + 1)


def _expect(text: str, at: int, wanted: str) -> None:
    if not text.startswith(wanted, at):
        raise json.JSONDecodeError(f"Expecting '{wanted}'", text, at)


def _skip(text: str, at: int) -> int:
    if not text.startswith(_SPACES, at):
        return at
    match = _SPACE.match(text, at)
    assert match is not None  # it matches the empty text too
    return match.end()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _without_text(error: ValueError) -> str:
    """What json says is wrong and where; never what stands there, since reasons are shown and logged."""
    return f"{error.msg} at character {error.pos}" if isinstance(error, json.JSONDecodeError) else "it cannot be read"


# ------------------------------------------------------------------------------------------------------ understanding


def parse_notification(value: bytes | None, headers: Mapping[str, bytes]) -> Notification:
    """Understand one record of `quickbooks-notifications`. Raises UnprocessableError with the reason.

    A legacy event does not hold its company: it stands in the header `company_id`.
    """
    event = _strict(value)
    cloud = "specversion" in event or "intuitentityid" in event
    company_id = _company_id(event, headers, cloud)
    record_type, operation = _cloud_type(event) if cloud else _legacy_type(event)
    holder = event.get("data") if cloud else event
    return Notification(
        company_id=company_id,
        record_type=record_type,
        record_id=_record_id(event, "intuitentityid" if cloud else "id"),
        operation=operation,
        occurred_at=_instant(event, "time" if cloud else "lastUpdated"),
        vanished_id=_vanished_id(holder) if operation is Operation.MERGE else None,
        cause_id=_known_cause_id(value or b"", headers, company_id, event if cloud else None),
    )


def _company_id(event: dict[str, Any], headers: Mapping[str, bytes], cloud: bool) -> str:
    header = headers.get("company_id", b"").decode("utf-8", "replace")
    stated = event.get("intuitaccountid") if cloud else header
    if not _is_id(stated):
        raise UnprocessableError("the event names no company, or its id is no number of up to 20 digits")
    if header not in ("", stated):
        raise UnprocessableError("the event names another company than the header of its record")
    return stated


def _cloud_type(event: dict[str, Any]) -> tuple[str, Operation]:
    given = event.get("type")
    match = _TYPE.fullmatch(given) if isinstance(given, str) else None
    if match is None:
        raise UnprocessableError("the CloudEvents type is not qbo.<record type>.<operation>.v<number>")
    return _RECORD_TYPES.get(match[1].lower(), match[1]), _operation(match[2])


def _legacy_type(event: dict[str, Any]) -> tuple[str, Operation]:
    name = event.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UnprocessableError("the event's name is missing or no record type")
    return _RECORD_TYPES.get(name.lower(), name), _operation(event.get("operation"))


def _operation(word: object) -> Operation:
    operation = _OPERATIONS.get(word.lower()) if isinstance(word, str) else None
    if operation is None:
        raise UnprocessableError("the operation is none that Intuit documents")
    return operation


def _record_id(event: dict[str, Any], field: str) -> str:
    record_id = event.get(field)
    if not _is_id(record_id):
        raise UnprocessableError(f"{field} is missing or no number of up to 20 digits")
    return record_id


def _vanished_id(holder: object) -> str | None:
    """`deletedid` in CloudEvents, `deletedId` in legacy; a merge that names none still says that a record changed."""
    fields = holder if isinstance(holder, dict) else {}
    vanished = fields.get("deletedid", fields.get("deletedId"))
    if vanished is not None and not _is_id(vanished):
        raise UnprocessableError("the id of the customer that was merged away is no number of up to 20 digits")
    return vanished


def _instant(event: dict[str, Any], field: str) -> datetime:
    given = event.get(field)
    if not isinstance(given, str) or not _INSTANT.fullmatch(given):
        raise UnprocessableError(f"{field} is missing or not a date and time with its offset")
    try:
        return datetime.fromisoformat(given).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise UnprocessableError(f"{field} is no possible date and time") from error


def _known_cause_id(value: bytes, headers: Mapping[str, bytes], company_id: str, event: Any) -> str:
    return (
        headers["cause_id"].decode("utf-8", "replace")
        if headers.get("cause_id")
        else _cause_id(value, company_id, event)
    )


def _is_id(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and _ID.fullmatch(value) is not None


# ------------------------------------------------------------------------------------------------------- strict JSON


def _strict(value: bytes | None) -> dict[str, Any]:
    """One JSON object of bounded size, in which each name stands once and all text can be stored anywhere."""
    if value is None:
        raise UnprocessableError("the record has no value (a tombstone), which no topic of ours uses")
    try:
        tree = _STRICT.decode(value.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise UnprocessableError(f"the event is not UTF-8 at byte {error.start}") from error
    except RecursionError as error:
        raise UnprocessableError("the event is nested too deeply") from error
    except ValueError as error:
        raise UnprocessableError(f"the event is not JSON: {_without_text(error)}") from error
    if not isinstance(tree, dict):
        raise UnprocessableError("the event is not a JSON object")
    _check(tree)
    return tree


def _check(tree: Any) -> None:
    """Depth, number of nodes and every text; without recursion, so that no input can exhaust the stack."""
    level, seen = [tree], 0
    for _ in range(DEPTH_MAX):
        seen += len(level)
        if seen > NODES_MAX:
            raise UnprocessableError(f"the event has more than {NODES_MAX} nodes")
        level = [child for node in level for child in _children(node)]
        if not level:
            return
    raise UnprocessableError(f"the event is nested more than {DEPTH_MAX} deep")


def _children(node: Any) -> Iterator[Any]:
    if isinstance(node, dict):
        yield from node.keys()
        yield from node.values()
    elif isinstance(node, list):
        yield from node
    elif isinstance(node, str):
        _check_text(node)


def _check_text(text: str) -> None:
    if len(text) > STRING_MAX:
        raise UnprocessableError(f"a text of the event is longer than {STRING_MAX} characters")
    if "\x00" in text:
        raise UnprocessableError("a text of the event holds a NUL character, which no table can store")
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise UnprocessableError("a text of the event holds half a character (a lone surrogate)")


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) != len(members):
        raise UnprocessableError("the event names a field twice")
    return found


def _number(text: str) -> str:
    if len(text) > NUMBER_MAX:
        raise UnprocessableError(f"a number of the event has more than {NUMBER_MAX} characters")
    return text


def _no_number(text: str) -> str:
    raise UnprocessableError(f"{text} stands where a number must stand")


_STRICT = json.JSONDecoder(object_pairs_hook=_unique, parse_int=_number, parse_float=_number, parse_constant=_no_number)
