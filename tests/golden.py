"""The golden examples: every message in every version as JSON, with the very bytes that stand in a topic.

Reads: the catalogues and the released contracts. Writes: `schemas/examples/<subject>/v<N>/<case>.json`, only files that
are not there yet: an example is what was once written and must be readable for ever, so none is ever edited.
`python -m tests.golden` writes the examples of a new message or version.

`message` is read from the bytes with Avro's own logical types and nothing of ours, so it is a second opinion on what
`schemas.codec` writes. Decimals, dates and ids are text; bytes are base64.
"""

import base64
import io
import json
import types
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import fastavro

import schemas
from schemas.accounting import ExchangeRate
from schemas.codec import HEADER_BYTES, MessageType, Recorded, file_ids, message_types
from schemas.money import Money

EXAMPLES = Path(schemas.__file__).parent / "examples"

ORDINARY: dict[str, Any] = {
    "closed_on": date(2026, 3, 31),  # one realistic value for each field of the catalogues, by the field's name
    "accounting_on": date(2026, 3, 31),
    "active": True,
    "after": None,  # records within records are made of their own fields
    "announced_at": datetime(2026, 4, 2, 14, 3, 5, 250_000, tzinfo=UTC),
    "applied": Money(Decimal("1250.00"), "USD"),
    "applied_on": date(2026, 3, 31),
    "amount": Money(Decimal("1250.00"), "USD"),
    "assignment_version": 1,
    "because": "the refresh token was refused: a person must connect again",
    "before": None,
    "books_closed_on": date(2025, 12, 31),
    "build": "2026.04.02-1f3c9ab",
    "caused_at": datetime(2026, 4, 2, 14, 3, 4, tzinfo=UTC),
    "causation_id": "5a0e9c57-8a44-5c86-9f5d-3d9a2f1c7b10",
    "cause": "invoice_waits",
    "cause_id": "08b5f7a1-5d1e-4a0e-8a7e-0d4f3c2b1a09",
    "causes": None,
    "change_id": UUID("5a0e9c57-8a44-5c86-9f5d-3d9a2f1c7b10"),
    "closed_until": datetime(2026, 4, 2, 15, 0, tzinfo=UTC),
    "code": "reference_unknown",
    "company_id": "9341453172058411",
    "correlation_id": "08b5f7a1-5d1e-4a0e-8a7e-0d4f3c2b1a09",
    "credit_memo_id": "311",
    "currency": "USD",
    "custom_fields": None,
    "customer_id": "58",
    "decision_id": "d-20260402-0007",
    "definition_id": "1000000001",
    "deposit": Money(Decimal("100.00"), "USD"),
    "detail": "P-9999",
    "doc_number": "INV-1042",
    "due_on": date(2026, 4, 30),
    "error_type": "UnprocessableError",
    "event_id": UUID("c1a6cf0e-53a5-5f0a-a6f7-5e2f9c8d7b61"),
    "exchange_rate": ExchangeRate(Decimal("1.083125")),
    "from_on": date(2026, 1, 1),
    "from_project_id": "P-1007",
    "gap_since": datetime(2026, 4, 2, 13, 0, tzinfo=UTC),
    "gained": Money(Decimal("118.20"), "EUR"),
    "gained_on": date(2026, 3, 31),
    "generation": 1,
    "home_amount": Money(Decimal("1353.91"), "EUR"),
    "home_currency": "USD",
    "home_deposit": Money(Decimal("108.31"), "EUR"),
    "home_received": Money(Decimal("2599.50"), "EUR"),
    "home_source": Money(Decimal("1472.11"), "EUR"),
    "home_target": Money(Decimal("1353.91"), "EUR"),
    "home_total": Money(Decimal("2931.21"), "EUR"),
    "home_transferred": Money(Decimal("324.94"), "EUR"),
    "invoice_id": "204",
    "issued_on": date(2026, 3, 31),
    "kept_customer_id": "58",
    "link_version": 1,
    "mapping_version": 3,
    "merge_version": 0,
    "name": "Harbour Street 12, new roof",
    "noticed_at": datetime(2026, 4, 2, 14, 3, 5, tzinfo=UTC),
    "offset": 48_213,
    "origin": "webhook",
    "other_id": "977",
    "other_project_id": "P-1007",
    "other_type": "JournalEntry",
    "parent_customer_id": "51",
    "part": "Invoice:204",
    "partition": 3,
    "path": "change data capture",
    "person": "user-17",
    "plan": "QuickBooks Online Plus",
    "project_id": "P-1042",
    "project_ref": "39298034",
    "read_at": datetime(2026, 4, 2, 14, 3, 6, 118_000, tzinfo=UTC),
    "reason": "customer",
    "received": Money(Decimal("2400.00"), "USD"),
    "received_on": date(2026, 3, 31),
    "record_id": "204",
    "record_type": "Invoice",
    "recorded_at": datetime(2026, 4, 2, 14, 3, 6, 118_000, tzinfo=UTC),
    "records": None,
    "records_moved": 12,
    "records_read": 41,
    "reference": "CHK 10482",
    "reference_number": "P-1042",
    "reference_only": True,
    "refusal": "somebody else changed this customer's mapping meanwhile",
    "related": None,
    "request": "MapCustomer",
    "revised_at": datetime(2026, 4, 2, 14, 3, 4, tzinfo=UTC),
    "rules_version": 2,
    "sealed": bytes.fromhex("01a3f09c55d2e88b7714"),
    "sealed_names": bytes.fromhex("0144be1207c9d35a60ff"),
    "settled": Money(Decimal("1250.00"), "USD"),
    "several_currencies": True,
    "state": "mapped",
    "step": "ledger",
    "sync_token": 2,
    "tax": Money(Decimal("206.25"), "USD"),
    "to_project_id": "P-1007",
    "together": True,
    "topic": "company-changes",
    "total": Money(Decimal("2706.25"), "USD"),
    "transferred": Money(Decimal("300.00"), "USD"),
    "transferred_on": date(2026, 4, 1),
    "value": b"\x00\x00\x00\x00\x35\xff",
    "vanished_customer_id": "73",
    "version": 17,
    "why": "a payment names it and it is not known yet",
}

WITHIN: dict[str, dict[str, Any]] = {  # what is different in a record within a record
    "before": {  # what a document said before it was revised
        "issued_on": date(2026, 3, 28),
        "received_on": date(2026, 3, 28),
        "total": Money(Decimal("2165.00"), "USD"),
        "tax": Money(Decimal("165.00"), "USD"),
        "received": Money(Decimal("2000.00"), "USD"),
        "home_total": Money(Decimal("2344.97"), "EUR"),
        "home_received": Money(Decimal("2166.25"), "EUR"),
    },
    "related": {"record_type": "JournalEntry", "record_id": "977"},
}

# Which record decides an event, by how the event's name begins. A credit is linked by a payment.
DECIDED_BY = (
    ("Invoice", "Invoice", "204"),
    ("CreditMemo", "CreditMemo", "311"),
    ("Refund", "RefundReceipt", "402"),
    (("Payment", "Credit", "Exchange", "RecordWaiting", "RecordResolved"), "Payment", "233"),
    (("Customer", "Request", "Warning"), "Customer", "58"),
    ("BooksClosed", "", ""),
)


def write_missing() -> list[Path]:
    """Write every example that is not there yet; return which."""
    written = []
    for path, message in examples():
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(example(file_ids().encode(message)), indent=2) + "\n")
        written.append(path)
    return written


def examples() -> Iterator[tuple[Path, Recorded[Any, Any]]]:
    """The newest version of every message: with everything that may be in it, and with nothing that may be left out."""
    for body_type, message_type in message_types().items():
        folder = EXAMPLES / message_type.subject / f"v{message_type.version}"
        full = _message(body_type, message_type, _values(body_type), full=True)
        least = _message(body_type, message_type, _values(body_type), full=False)
        yield folder / "full.json", full
        if least != full:
            yield folder / "least.json", least


def example(wire: bytes) -> dict[str, Any]:
    """What stands in an example's file: the contract, the message as Avro itself reads it, the bytes in hex."""
    contract = file_ids().contract(int.from_bytes(wire[1:HEADER_BYTES], "big"))
    schema = fastavro.parse_schema(contract.schema, named_schemas={})
    message: Any = fastavro.schemaless_reader(io.BytesIO(wire[HEADER_BYTES:]), schema, None)
    return {
        "subject": contract.subject,
        "version": contract.version,
        "message": plain(message),
        "wire": wire.hex(),
    }


def _values(body_type: type) -> dict[str, Any]:
    for start, record_type, record_id in DECIDED_BY:
        if body_type.__name__.startswith(start):
            return ORDINARY | {"record_type": record_type, "record_id": record_id}
    return ORDINARY


def _message(body_type: type, message_type: MessageType, values: dict[str, Any], *, full: bool) -> Recorded[Any, Any]:
    return Recorded(_instance(message_type.envelope, values, full), _instance(body_type, values, full))


def _instance(shape: type, values: dict[str, Any], full: bool) -> Any:
    hints = get_type_hints(shape)
    return shape(**{field.name: _value(field.name, hints[field.name], values, full) for field in fields(shape)})


def _value(name: str, hint: Any, values: dict[str, Any], full: bool) -> Any:
    if get_origin(hint) in (types.UnionType, Union):
        inner = next(each for each in get_args(hint) if each is not type(None))
        return _value(name, inner, values, full) if full else None
    if get_origin(hint) is tuple:
        return (_value(name, get_args(hint)[0], values, full),) if full else ()
    if hint is not Money and isinstance(hint, type) and is_dataclass(hint):
        return _instance(hint, values | WITHIN.get(name, {}), full)
    return values[name]  # a KeyError here: give the new field a realistic value in ORDINARY


def plain(value: Any) -> Any:
    """What Avro read, as it stands in an example's JSON."""
    match value:
        case dict():
            return {name: plain(inner) for name, inner in value.items()}
        case list():
            return [plain(inner) for inner in value]
        case bytes():
            return base64.b64encode(value).decode()
        case datetime() | date():
            return value.isoformat()
        case Decimal() | UUID():
            return str(value)
        case _:
            return value


if __name__ == "__main__":
    for path in write_missing():
        print(path.relative_to(EXAMPLES))  # noqa: T201
