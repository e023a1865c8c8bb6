"""Intuit's query language: its grammar, its limits, and its refusals.

Reads: a statement and the book. Writes: nothing.
Guarantees: what Intuit refuses is refused with the same code; `Id IN (...)` never scans.
Source: intuit.md 3.3.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from connectors.simulator.books.book import Book
from connectors.simulator.books.records import HIDDEN, Kind, Record, Refused, money, number

PAGE_DEFAULT = 100
PAGE_MAX = 1000
_CHANGED = "metadata.lastupdatedtime"
_TICK = timedelta(microseconds=1)  # times are whole seconds: one tick later is after all of that second's changes

# Entities that exist in QuickBooks but hold nothing here: a query on them is answered with no rows.
# (api/lists.py knows those that are lists.)
EMPTY_ENTITIES = frozenset(
    {"Attachable", "Bill", "BillPayment", "Budget", "Class", "CompanyCurrency", "CreditCardPayment", "Department"}
    | {"Employee", "JournalCode", "PurchaseOrder", "TaxAgency", "Transfer", "Vendor", "VendorCredit"}
)
_WORDS = frozenset({"and", "or", "order", "orderby", "startposition", "maxresults", "where", "from", "select"})
_TOKEN = re.compile(r"\s*(?:('(?:[^'\\]|\\.)*')|(<=|>=|!=|[=<>(),*])|([^\s=<>(),'!*]+))")


@dataclass(slots=True)
class Condition:
    """One comparison; all of a statement's conditions must hold."""

    property: str
    operator: str
    values: list[str]


@dataclass(slots=True)
class Statement:
    """A query, read."""

    entity: str
    count: bool = False
    conditions: list[Condition] = field(default_factory=list)
    order: list[tuple[str, bool]] = field(default_factory=list)  # property, descending
    start: int = 1
    limit: int = PAGE_DEFAULT


def unreadable(detail: str) -> Refused:
    """Fault 4000: the statement cannot be parsed."""
    return Refused("4000", "Error parsing query", f"QueryParserError: {detail}")


def invalid(detail: str) -> Refused:
    """Fault 4001: the statement can be parsed but not be answered."""
    return Refused("4001", "Invalid query", f"QueryValidationError: {detail}")


class _Reader:
    def __init__(self, text: str) -> None:
        self.tokens: list[str] = []
        position = 0
        text = text.strip()
        while position < len(text):
            found = _TOKEN.match(text, position)
            if found is None:
                raise unreadable(f'Encountered " {text[position]} " at column {position + 1}.')
            self.tokens.append(found.group(1) or found.group(2) or found.group(3))
            position = found.end()
        self.at = 0

    def peek(self) -> str:
        return self.tokens[self.at].lower() if self.at < len(self.tokens) else ""

    def take(self) -> str:
        if self.at >= len(self.tokens):
            raise unreadable('Encountered "<EOF>"')
        self.at += 1
        return self.tokens[self.at - 1]

    def accept(self, word: str) -> bool:
        if self.peek() != word:
            return False
        self.at += 1
        return True

    def expect(self, word: str) -> None:
        if not self.accept(word):
            raise unreadable(f'Encountered "{self.peek() or "<EOF>"}". Was expecting: "{word}"')


def parse(text: str) -> Statement:
    """Read a statement. Raises Refused(4000) or Refused(4001)."""
    reader = _Reader(text)
    reader.expect("select")
    count = _projection(reader)
    reader.expect("from")
    statement = Statement(reader.take(), count)
    if reader.accept("where"):
        statement.conditions.append(_condition(reader))
        while reader.accept("and"):
            statement.conditions.append(_condition(reader))
    _order(reader, statement)
    while (word := reader.peek()) in ("startposition", "maxresults"):
        reader.take()
        _page(statement, word, reader.take())
    if reader.peek():
        raise unreadable(f'Encountered " {reader.take()} "')
    return statement


def _projection(reader: _Reader) -> bool:
    if reader.accept("*"):
        while reader.accept(","):  # `select *, Sku from Item`, as clients write it
            reader.take()
        return False
    if reader.peek() == "count":
        for word in ("count", "(", "*", ")"):
            reader.expect(word)
        return True
    while reader.peek() not in ("from", ""):  # a named projection is read and ignored
        reader.take()
    return False


def _condition(reader: _Reader) -> Condition:
    name = reader.take()
    operator = reader.take().lower()
    if operator not in ("=", "<", ">", "<=", ">=", "in", "like", "!="):
        raise unreadable(f'Encountered " {operator} ". Was expecting one of: "IN" "LIKE" "=" "<" ">" "<=" ">="')
    if operator != "in":
        return Condition(name, operator, [_literal(reader.take())])
    reader.expect("(")
    values = [_literal(reader.take())]
    while reader.accept(","):
        values.append(_literal(reader.take()))
    reader.expect(")")
    return Condition(name, operator, values)


def _literal(token: str) -> str:
    if token.startswith("'"):
        return re.sub(r"\\(.)", r"\1", token[1:-1])
    if token[0] in '"=<>!(),*' or token.lower() in _WORDS:
        raise unreadable(f'Encountered " {token} ". Was expecting one of: <STRING> <NUMBER> <BOOLEAN>')
    return token


def _order(reader: _Reader, statement: Statement) -> None:
    if reader.accept("order"):
        reader.expect("by")
    elif not reader.accept("orderby"):
        return
    while True:
        name = reader.take()
        descending = reader.accept("desc")
        if not descending:
            reader.accept("asc")
        statement.order.append((name, descending))
        if not reader.accept(","):
            return


def _page(statement: Statement, word: str, token: str) -> None:
    if not token.lstrip("-").isdigit():
        raise unreadable(f'Encountered " {token} " after {word.upper()}')
    value = int(token)
    if value < 1:
        raise invalid(f"value {value} is too small. Min allowed value is 1")
    if word == "startposition":
        statement.start = value
    else:
        statement.limit = min(value, PAGE_MAX)


@dataclass(frozen=True, slots=True)
class Property:
    """A property that may be asked for: how to read it, how to read a literal, whether it sorts."""

    read: Callable[[Book, Any], Any]
    literal: str  # text, date, moment, number, bool
    sortable: bool = True


def _field(name: str) -> Callable[[Book, Record], Any]:
    return lambda book, record: record.fields.get(name)


_EVERYWHERE = {
    "id": Property(lambda book, record: record.id, "text", sortable=False),
    "metadata.createtime": Property(lambda book, record: record.created_at, "moment"),
    "metadata.lastupdatedtime": Property(lambda book, record: record.updated_at, "moment"),
}
_DOCUMENT = _EVERYWHERE | {
    "txndate": Property(_field("TxnDate"), "date"),
    "customerref": Property(lambda book, record: record.customer_id, "text", sortable=False),
    "totalamt": Property(lambda book, record: record.total, "number"),
}
_NUMBERED = _DOCUMENT | {"docnumber": Property(_field("DocNumber"), "text")}
_CUSTOMER = _EVERYWHERE | {
    "active": Property(_field("Active"), "bool", sortable=False),
    "displayname": Property(lambda book, record: book.customers.shown_name(record), "text"),
    "fullyqualifiedname": Property(lambda book, record: _full_name(book, record), "text"),
    "balance": Property(lambda book, record: book.balance_shown(record.id), "number"),
    "balancewithjobs": Property(lambda book, record: book.balance_with_jobs(record.id), "number"),
    "job": Property(_field("Job"), "bool", sortable=False),
    **{
        name.lower(): Property(_field(name), "text")
        for name in ("CompanyName", "GivenName", "FamilyName", "MiddleName")
    },
    "printoncheckname": Property(_field("PrintOnCheckName"), "text"),
    "parentref": Property(
        lambda book, record: (record.fields.get("ParentRef") or {}).get("value"), "text", sortable=False
    ),
}
_OPEN = {
    "balance": Property(lambda book, record: book.open_amount(record), "number"),
    "homebalance": Property(lambda book, record: money(book.open_amount(record) * record.rate), "number"),
    "duedate": Property(_field("DueDate"), "date"),
}
PROPERTIES: dict[Kind, dict[str, Property]] = {
    Kind.CUSTOMER: _CUSTOMER,
    Kind.PAYMENT: _DOCUMENT,  # no DocNumber, no UnappliedAmt
    Kind.INVOICE: _NUMBERED | _OPEN,
    Kind.CREDIT_MEMO: _NUMBERED | _OPEN,
    Kind.TIME_ACTIVITY: _DOCUMENT,
}
for _kind in set(Kind) - HIDDEN - set(PROPERTIES):
    PROPERTIES[_kind] = _NUMBERED


def _full_name(book: Book, record: Record) -> str:
    names = [book.customers.shown_name(parent) for parent in book.customers.ancestors(record.id)]
    return ":".join([*reversed(names), book.customers.shown_name(record)])


_EMPTY = {name.lower() for name in EMPTY_ENTITIES} | {"account", "item", "taxcode", "taxrate", "term", "paymentmethod"}


def kind_of(entity: str) -> Kind | None:
    """The kind an entity name means, whatever its case; None for entities that are always empty here."""
    for kind in Kind:
        if kind.value.lower() == entity.lower() and kind not in HIDDEN:
            return kind
    if entity.lower() in _EMPTY:
        return None
    raise invalid(f"Invalid context declaration: {entity}")


def rows(statement: Statement, book: Book, zone: ZoneInfo, today: str) -> list[Record]:
    """Every record that the statement means, in its order, before paging. Raises Refused(4001)."""
    kind = kind_of(statement.entity)
    if kind is None:
        return []
    if kind is Kind.CUSTOMER and not asks_for_inactive(statement):
        statement = replace(statement, conditions=[*statement.conditions, Condition("Active", "=", ["true"])])
    in_window = _in_window(statement, book, kind, zone, today)
    if in_window is not None:
        statement, found = in_window
        return chosen(statement, found, PROPERTIES[kind], book, zone, today)
    found = chosen(statement, _candidates(statement, book, kind), PROPERTIES[kind], book, zone, today)
    return found if statement.order else _in_unasked_order(found, kind, book)


def _in_unasked_order(found: list[Record], kind: Kind, book: Book) -> list[Record]:
    """Names come by their full name (recorded); of documents sources disagree, so a switch decides."""
    if kind is Kind.CUSTOMER:
        return sorted(found, key=lambda one: _full_name(book, one).lower())
    if book.switches.unordered_newest_first:
        return sorted(found, key=lambda one: one.updated_at, reverse=True)
    return found


def asks_for_inactive(statement: Statement) -> bool:
    """Whether the statement says itself which of the active and inactive names it wants."""
    return any(condition.property.lower() == "active" for condition in statement.conditions)


def chosen(
    statement: Statement, candidates: Iterable[Any], known: dict[str, Property], book: Book, zone: ZoneInfo, today: str
) -> list[Any]:
    """Those of the candidates for which every condition holds, in the statement's order. Raises Refused(4001)."""
    kind = statement.entity
    tests = [_test(condition, known, kind, zone, today) for condition in statement.conditions]
    for name, _ in statement.order:
        if not _known(known, name, kind).sortable:
            raise invalid(f"Property {name} is not sortable for Entity {kind}")
    found = list(candidates)
    for test in tests:
        found = [one for one in found if test(book, one)]
    for name, descending in reversed(statement.order):
        read = _known(known, name, kind).read
        found.sort(key=lambda one: _sort_key(read(book, one)), reverse=descending)
    return found


def _sort_key(value: Any) -> tuple[bool, Any]:
    return (value is not None, value.lower() if isinstance(value, str) else value)


def _candidates(statement: Statement, book: Book, kind: Kind) -> Iterable[Record]:
    """The smallest set that is cheap to name: by id, by customer, else everything, oldest first."""
    stored = book.records[kind]
    for condition in statement.conditions:
        name = condition.property.lower()
        if name == "id":
            wanted = sorted({value for value in condition.values if value.isdigit()}, key=int)
            return [stored[value] for value in wanted if value in stored]
        if name == "customerref" and condition.operator in ("=", "in"):
            lists = [book.documents_of.get(value, {}) for value in condition.values]
            return sorted({one for found in lists for one in found if one.kind is kind}, key=lambda one: int(one.id))
    return list(stored.values())


def _in_window(
    statement: Statement, book: Book, kind: Kind, zone: ZoneInfo, today: str
) -> tuple[Statement, list[Record]] | None:
    """What was changed in a window of time, found by bisection, and the statement without the conditions that meant it.

    None where the statement names no window, or something that is narrower still.
    """
    names = [condition.property.lower() for condition in statement.conditions]
    by_time = [one for one in statement.conditions if one.property.lower() == _CHANGED and one.operator in _COMPARE]
    is_sorted = [name.lower() for name, _ in statement.order] == [_CHANGED]
    if "id" in names or "customerref" in names or not (by_time or is_sorted):
        return None
    low, high = None, None
    for condition in by_time:
        moment = _read_literal(condition.values[0], "moment", zone, today)
        if condition.operator in (">", ">="):
            start = moment if condition.operator == ">=" else moment + _TICK
            low = start if low is None else max(low, start)
        else:
            end = moment if condition.operator == "<" else moment + _TICK
            high = end if high is None else min(high, end)
    found = [record for record in book.timelines[kind].between(low, high) if not record.deleted]
    rest = [one for one in statement.conditions if one not in by_time]
    order = statement.order
    if is_sorted:
        found, order = found[::-1] if order[0][1] else found, []
    elif not order:
        found.sort(key=lambda one: int(one.id))
    return replace(statement, conditions=rest, order=order), found


def _known(known: dict[str, Property], name: str, kind: str) -> Property:
    asked = known.get(name.lower())
    if asked is None:
        raise invalid(f"Property {name} not found for Entity {kind}")
    return asked


def _test(
    condition: Condition, known: dict[str, Property], kind: str, zone: ZoneInfo, today: str
) -> Callable[[Book, Record], bool]:
    asked = _known(known, condition.property, kind)
    operator = condition.operator
    if condition.property.lower() == "id" and operator not in ("=", "in"):
        raise invalid(f"operator {operator.upper()} is not supported for Property Id")
    if operator == "!=":
        raise invalid("operator != is not supported")
    if operator == "like":
        pattern = re.compile(re.escape(condition.values[0]).replace("%", ".*"), re.IGNORECASE | re.DOTALL)
        return lambda book, record: bool(pattern.fullmatch(str(asked.read(book, record) or "")))
    values = [_read_literal(value, asked.literal, zone, today) for value in condition.values]
    if operator in ("=", "in"):
        wanted = set(values)
        return lambda book, record: _comparable(asked.read(book, record)) in wanted
    compare = _COMPARE[operator]
    return lambda book, record: (
        (value := _comparable(asked.read(book, record))) is not None and compare(value, values[0])
    )


def _comparable(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
}


def _read_literal(text: str, kind: str, zone: ZoneInfo, today: str) -> Any:
    if text.upper() == "CURRENT_DATE":
        text = today
    try:
        return _LITERALS[kind](text, zone)
    except (ValueError, ArithmeticError, Refused) as error:
        raise invalid(f"Invalid value {text!r} for a {kind}") from error


def read_moment(text: str, zone: ZoneInfo) -> datetime:
    """A moment as clients write it; without an offset it is in the company's zone. Raises ValueError."""
    found = datetime.fromisoformat(text.strip().replace(" ", "+") if "T" in text else text.strip())
    return found if found.tzinfo else found.replace(tzinfo=zone)


def _read_number(text: str, zone: ZoneInfo) -> Decimal:
    return number(text)


def _read_bool(text: str, zone: ZoneInfo) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _read_date(text: str, zone: ZoneInfo) -> str:
    return datetime.fromisoformat(text).date().isoformat()


_LITERALS: dict[str, Callable[[str, ZoneInfo], Any]] = {
    "text": lambda text, zone: text.lower(),
    "date": _read_date,
    "moment": read_moment,
    "number": _read_number,
    "bool": _read_bool,
}
