"""An answer of QuickBooks taken apart: records as exact bytes, the server's time, faults in all their shapes.

Guarantees: a record's bytes are those that were sent, cut out and never written anew, so that numbers keep their form;
a body that was cut off or is no answer raises `NotAnAnswer`; one record that cannot be read does not hide the others.
Source: Intuit, REST API features; recorded answers (docs/glossary.md, "recordings").
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from connectors.quickbooks.http import Reply
from schemas import strict_json
from schemas.answers import Answer, Deleted, Record
from schemas.changes import RULES_VERSION, CompanyFacts, CustomFieldDefinition
from schemas.errors import UnprocessableError

# How deep a record stands:
# {"Invoice":{}}, {"QueryResponse":{"Invoice":[{}]}}, {"CDCResponse":[{"QueryResponse":[{"Invoice":[{}]}]}]}
READ_DEPTH, QUERY_DEPTH, CDC_DEPTH = 2, 4, 7

OPENING, CLOSING = (b"{", b"["), (b"}", b"]")
RECORD_ID = re.compile(r"[0-9]{1,20}", re.ASCII)
# The next bracket outside of texts; a lone quote is a text without its end.
_BRACKET = re.compile(rb'(?:[^"{}\[\]]++|"(?:[^"\\]++|\\.)*+")*+([{}\[\]"])', re.DOTALL)
_XML_CODE = re.compile(rb"<(?:\w+:)?Error\b[^>]{0,200}\bcode=\"(\d{1,10})\"", re.IGNORECASE)
_FIELD_NAME = re.compile(r"SalesFormsPrefs\.SalesCustomName(\d+)", re.ASCII)


class NotAnAnswer(Exception):
    """The body is not what this route answers: cut off, a page for people, or something new."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What Intuit says is wrong. Its texts are left out: they may hold tokens and names."""

    code: str  # without leading zeros; empty: none given
    kind: str


def answer_of(body: bytes, depth: int) -> Answer:
    """The records of an answer, in its order. Raises NotAnAnswer."""
    skeleton, parts = _split(body, depth)
    records: list[Record] = []
    deleted: list[Deleted] = []
    unreadable: list[str] = []
    for record_type, part in _placed(skeleton, len(parts)):
        head = _head(record_type, parts[part])
        match head:
            case Record():
                records.append(head)
            case Deleted():
                deleted.append(head)
            case str():
                unreadable.append(head)
    return Answer(
        answered_at=_time(skeleton), records=tuple(records), deleted=tuple(deleted), unreadable=tuple(unreadable)
    )


def fault_of(reply: Reply) -> Fault | None:
    """The fault that an answer holds, whatever its status: JSON in both spellings, XML; None: none."""
    if reply.body.lstrip()[:1] == b"<":
        code = _XML_CODE.search(reply.body[:100_000])
        return Fault(code.group(1).decode().lstrip("0"), "XML") if code else None
    if b'ault"' not in reply.body[:100_000]:
        return None
    try:
        return _json_fault(json.loads(reply.body))
    except (ValueError, RecursionError):
        return None


def time_of(reply: Reply) -> datetime:
    """When a fault was answered: Intuit's `time`, else the header that every answer has. Raises NotAnAnswer."""
    try:
        return _time(json.loads(reply.body))
    except (ValueError, RecursionError, NotAnAnswer):
        pass
    try:
        return parsedate_to_datetime(reply.headers["date"]).astimezone(UTC)
    except (KeyError, ValueError) as error:
        raise NotAnAnswer("the answer does not say when it was given") from error


@dataclass(frozen=True, slots=True)
class CompanyRead:
    """CompanyInfo and Preferences together."""

    name: str
    facts: CompanyFacts
    answered_at: datetime


def company_of(company_info: bytes, preferences: bytes) -> CompanyRead:
    """What both answers say about a company. Raises NotAnAnswer."""
    about, prefs = _parsed(company_info), _parsed(preferences)
    try:
        company, settings = about["CompanyInfo"], prefs["Preferences"]
        currency = settings.get("CurrencyPrefs", {})
        closed_on = settings.get("AccountingInfoPrefs", {}).get("BookCloseDate")
        facts = CompanyFacts(
            home_currency=currency["HomeCurrency"]["value"],
            several_currencies=bool(currency.get("MultiCurrencyEnabled", False)),
            plan=_plan(company),
            books_closed_on=None if not closed_on else date.fromisoformat(closed_on),
            custom_fields=tuple(_custom_fields(settings)),
            rules_version=RULES_VERSION,
        )
        return CompanyRead(str(company.get("CompanyName", "")), facts, _time(about))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NotAnAnswer(f"CompanyInfo or Preferences lack something: {type(error).__name__}") from error


def _split(body: bytes, depth: int) -> tuple[Any, list[bytes]]:
    """The answer with {"": number} in place of each record, and the records' own bytes.

    Every object at that depth is one of ours then, so that no text of Intuit's can be taken for a number of ours.
    """
    parts: list[bytes] = []
    frame: list[bytes] = []
    at = 0
    for start, end in _objects_at(body, depth):
        frame += [body[at:start], b'{"":%d}' % len(parts)]
        parts.append(body[start:end])
        at = end
    return _parsed(b"".join([*frame, body[at:]])), parts


def _objects_at(body: bytes, depth: int) -> Iterator[tuple[int, int]]:
    level, start = 0, 0
    for bracket in _BRACKET.finditer(body):
        sign, end = bracket[1], bracket.end()
        if sign in OPENING:
            level += 1
            start = end - 1 if level == depth else start
        elif sign in CLOSING:
            if level == depth and body[start] == 0x7B:  # an object; a list at this depth holds no record
                yield start, end
            level -= 1
        else:
            raise NotAnAnswer("the body was cut off inside a text")
    if level != 0:
        raise NotAnAnswer("the body was cut off")


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        value = strict_json.parse(text)
    except UnprocessableError as error:
        raise NotAnAnswer(str(error)) from error
    if not isinstance(value, dict):
        raise NotAnAnswer("the body is no JSON object")
    return value


def _placed(skeleton: dict[str, Any], count: int) -> Iterator[tuple[str, int]]:
    """Record type and number of each record, wherever this route puts them. Raises NotAnAnswer."""
    if "QueryResponse" in skeleton:
        holders = [skeleton["QueryResponse"]]
    elif "CDCResponse" in skeleton:
        holders = [holder for each in _list(skeleton["CDCResponse"]) for holder in _list(each.get("QueryResponse"))]
    else:
        holders = [{key: [part] for key, part in skeleton.items() if isinstance(part, dict)}]
    for holder in _list(holders):
        for record_type, records in holder.items():
            if isinstance(records, list):
                yield from ((record_type, _number_of(record, count)) for record in _list(records))


def _number_of(record: dict[str, Any], count: int) -> int:
    number = record.get("")
    if type(number) is not int or not 0 <= number < count or len(record) != 1:
        raise NotAnAnswer("the answer holds a record where this route has none")
    return number


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise NotAnAnswer("the answer holds something else than lists of records")
    return value


def _head(record_type: str, raw: bytes) -> Record | Deleted | str:
    """What orders the record, or why it has none. The rest of it is judged by whoever books it."""
    try:
        fields = json.loads(raw, parse_float=str)
        record_id, revised_at = fields["Id"], _instant(fields["MetaData"]["LastUpdatedTime"])
        if not isinstance(record_id, str) or not RECORD_ID.fullmatch(record_id):
            return f"a record of type {record_type} has an Id that is no number"
        if fields.get("status") == "Deleted":
            return Deleted(record_type, record_id, revised_at)
        return Record(record_type, record_id, revised_at, int(fields["SyncToken"]), raw)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        return f"a record of type {record_type} lacks its Id, SyncToken or LastUpdatedTime ({type(error).__name__})"


def _instant(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without its zone")
    return moment.astimezone(UTC)


def _time(answer: Any) -> datetime:
    try:
        return _instant(answer["time"])
    except (KeyError, TypeError, ValueError) as error:
        raise NotAnAnswer("the answer does not say when it was given") from error


def _json_fault(answer: Any) -> Fault | None:
    """`Fault` as documented, `fault` with lower-case members as authentication faults have it."""
    if not isinstance(answer, dict):
        return None
    fault = answer.get("Fault") or answer.get("fault")
    if not isinstance(fault, dict):
        return None
    errors = fault.get("Error") or fault.get("error") or [{}]
    first = errors[0] if isinstance(errors, list) and isinstance(errors[0], dict) else {}
    return Fault(str(first.get("code") or "").lstrip("0")[:10], str(fault.get("type") or "")[:40])


def _plan(company: dict[str, Any]) -> str:
    named = {pair.get("Name"): pair.get("Value") for pair in company.get("NameValue", [])}
    return str(named.get("OfferingSku") or "")


def _custom_fields(preferences: dict[str, Any]) -> Iterator[CustomFieldDefinition]:
    """Classic fields of sales forms: their number is the DefinitionId, and a switch says whether it is in use."""
    groups = preferences.get("SalesFormsPrefs", {}).get("CustomField", [])
    entries = {entry["Name"]: entry for group in groups for entry in group.get("CustomField", [])}
    for name, entry in sorted(entries.items()):
        number = _FIELD_NAME.fullmatch(name)
        if number is None or not entry.get("StringValue"):
            continue
        used = entries.get(f"SalesFormsPrefs.UseSalesCustom{number.group(1)}", {})
        if used.get("BooleanValue", True):
            yield CustomFieldDefinition(definition_id=number.group(1), name=entry["StringValue"])
