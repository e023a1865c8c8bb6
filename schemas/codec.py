"""Bytes <-> messages: Confluent wire format around Avro, one subject per message type.

Callers only ever see the newest version of a message: old bytes are upcast while they are decoded.
The contracts are the files `schemas/avro/<subject>/v<N>.avsc`; `ids.json` maps ids to them, append-only.
`python -m schemas.codec` writes the file of a new message or version and gives it an id.
Source: Confluent wire format (0, 4-byte big-endian schema id, Avro body); docs/decisions/0007 (file-backed schema ids).
"""

import hashlib
import io
import json
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import fastavro

from schemas import accounting, changes, company
from schemas.accounting import ExchangeRate
from schemas.errors import UnprocessableError
from schemas.money import DIGITS_MAX, RATE_SCALE, SCALE, Money

AVRO = Path(__file__).parent / "avro"
MAGIC = b"\x00"
HEADER_BYTES = 5

EnvelopeT = TypeVar("EnvelopeT")
BodyT = TypeVar("BodyT")
Builder = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Recorded(Generic[EnvelopeT, BodyT]):
    """A message: its envelope and its facts."""

    envelope: EnvelopeT
    body: BodyT


class Contract(NamedTuple):
    """One released version of one message type."""

    schema_id: int
    subject: str  # namespace and name of the message type
    version: int
    schema: dict[str, Any]  # Avro, as in the file


class SchemaIds:
    """Which schema id means which contract. By default our own files; a registry's ids when one is configured.

    Two id authorities never mix in one cluster.
    """

    def __init__(self, contracts: Mapping[int, Contract]) -> None:
        self._by_id = {
            schema_id: (contract, fastavro.parse_schema(_physical(contract.schema), named_schemas={}))
            for schema_id, contract in contracts.items()
        }
        self._ids = {(c.subject, c.version): (schema_id, parsed) for schema_id, (c, parsed) in self._by_id.items()}
        self._writers: dict[type, tuple[bytes, Any, Builder, Builder]] = {}
        self._readers: dict[int, Callable[[io.BytesIO], Recorded[Any, Any]]] = {}

    def encode(self, message: Recorded[Any, Any]) -> bytes:
        """The message in its newest version. Raises ValueError for a value that the contract cannot hold."""
        body_type = type(message.body)
        writer = self._writers.get(body_type)
        if writer is None:
            writer = self._writers[body_type] = self._writer(body_type)
        head, parsed, plain_envelope, plain_body = writer
        out = io.BytesIO()
        out.write(head)
        fastavro.schemaless_writer(out, parsed, plain_envelope(message.envelope) | plain_body(message.body))
        return out.getvalue()

    def decode(self, value: bytes | None) -> Recorded[Any, Any]:
        """The message in its newest shape. Raises UnprocessableError with the reason when it is none of ours."""
        if value is None:
            raise UnprocessableError("the record has no value (a tombstone), which no topic of ours uses")
        if value[:1] != MAGIC or len(value) < HEADER_BYTES:
            raise UnprocessableError("the record is not in the Confluent wire format")
        schema_id = int.from_bytes(value[1:HEADER_BYTES], "big")
        reader = self._readers.get(schema_id)
        if reader is None:
            reader = self._readers[schema_id] = self._reader(schema_id)
        try:
            return reader(io.BytesIO(value[HEADER_BYTES:]))
        except (ValueError, TypeError, KeyError, EOFError, IndexError, OverflowError) as error:
            raise UnprocessableError(f"the record does not follow schema {schema_id}: {error}") from error

    def contract(self, schema_id: int) -> Contract:
        """Raises UnprocessableError for an id that nobody gave."""
        if schema_id not in self._by_id:
            raise UnprocessableError(f"schema id {schema_id} is not known here; is another registry in use?")
        return self._by_id[schema_id][0]

    def _writer(self, body_type: type) -> tuple[bytes, Any, Builder, Builder]:
        message_type = message_types()[body_type]
        schema_id, parsed = self._ids[message_type.subject, message_type.version]
        head = MAGIC + schema_id.to_bytes(4, "big")
        return head, parsed, _plain(message_type.envelope), _plain(body_type)

    def _reader(self, schema_id: int) -> Callable[[io.BytesIO], Recorded[Any, Any]]:
        contract = self.contract(schema_id)
        parsed = self._by_id[schema_id][1]
        body_type = _types_by_subject()[contract.subject]
        message_type = message_types()[body_type]
        upcasters = [
            getattr(body_type, f"upcast_v{version}_v{version + 1}")
            for version in range(contract.version, message_type.version)
        ]
        build_envelope, build_body = _builder(message_type.envelope), _builder(body_type)

        def read(value: io.BytesIO) -> Recorded[Any, Any]:
            raw: Any = fastavro.schemaless_reader(value, parsed, None)
            for upcast in upcasters:
                raw = upcast(raw)
            return Recorded(build_envelope(raw), build_body(raw))

        return read


class MessageType(NamedTuple):
    """A class of the catalogue, as a contract names it."""

    subject: str
    version: int
    envelope: type


@cache
def message_types() -> dict[type, MessageType]:
    """Every message type of the catalogues, with its subject, newest version and envelope."""
    found: dict[type, MessageType] = {}
    for catalogue, bodies in (
        (accounting, accounting.EVENTS),
        (company, company.EVENTS),
        (changes, changes.MESSAGES),
    ):
        for body in bodies:
            subject = f"{catalogue.NAMESPACE}.{body.__name__}"
            found[body] = MessageType(subject, getattr(body, "schema_version"), catalogue.Envelope)  # noqa: B009 (a type here)
    return found


@cache
def _types_by_subject() -> dict[str, type]:
    return {message_type.subject: body for body, message_type in message_types().items()}


@cache
def released() -> dict[int, Contract]:
    """Every contract ever released, by id, from the files."""
    ids = json.loads((AVRO / "ids.json").read_text())
    return {
        int(schema_id): Contract(int(schema_id), entry["subject"], entry["version"], _file(entry))
        for schema_id, entry in ids.items()
    }


def _file(entry: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((AVRO / entry["subject"] / f"v{entry['version']}.avsc").read_text())
    if digest(schema) != entry["sha256"]:
        raise ValueError(f"{entry['subject']} v{entry['version']} was changed after its release")
    return schema


@cache
def file_ids() -> SchemaIds:
    """The ids of our own files: what is used where no registry is configured."""
    return SchemaIds(released())


def digest(schema: dict[str, Any]) -> str:
    """SHA-256 of a contract's text, whatever its layout."""
    return hashlib.sha256(json.dumps(schema, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


# --- classes -> Avro ---------------------------------------------------------------------------------------------

_LEAVES: dict[Any, Any] = {
    str: "string",
    int: "long",
    bool: "boolean",
    bytes: "bytes",
    date: {"type": "int", "logicalType": "date"},
    datetime: {"type": "long", "logicalType": "timestamp-micros"},
    UUID: {"type": "string", "logicalType": "uuid"},
    Decimal: {"type": "bytes", "logicalType": "decimal", "precision": DIGITS_MAX, "scale": SCALE},
    ExchangeRate: {"type": "bytes", "logicalType": "decimal", "precision": DIGITS_MAX, "scale": RATE_SCALE},
}


def contract_of(body_type: type) -> dict[str, Any]:
    """The Avro schema that the newest version of this class must have: envelope and body in one flat record."""
    message_type = message_types()[body_type]
    namespace, _, name = message_type.subject.rpartition(".")
    named: set[str] = set()
    members = _fields(message_type.envelope, named) + _fields(body_type, named)
    doc = (body_type.__doc__ or "").strip().splitlines()[0]
    return {"type": "record", "name": name, "namespace": namespace, "doc": doc, "fields": members}


def _fields(shape: type, named: set[str]) -> list[dict[str, Any]]:
    hints = get_type_hints(shape)
    return [_field(field.name, hints[field.name], named) for field in fields(shape)]


def _field(name: str, hint: Any, named: set[str]) -> dict[str, Any]:
    if _is_optional(hint):
        return {"name": name, "type": ["null", _avro(_inner(hint), named)], "default": None}
    return {"name": name, "type": _avro(hint, named)}


def _avro(hint: Any, named: set[str]) -> Any:
    if hint in _LEAVES:
        return _LEAVES[hint]
    if get_origin(hint) is tuple:
        return {"type": "array", "items": _avro(get_args(hint)[0], named)}
    if not _is_shape(hint):
        raise TypeError(f"{hint} has no Avro type here")
    name = f"intoaec.{hint.__name__}"
    if name in named:
        return name
    named.add(name)
    return {"type": "record", "name": name, "fields": _fields(hint, named)}


def _is_optional(hint: Any) -> bool:
    return get_origin(hint) in (types.UnionType, Union) and type(None) in get_args(hint)


def _is_shape(hint: Any) -> bool:
    return isinstance(hint, type) and is_dataclass(hint)


def _inner(hint: Any) -> Any:
    return next(arg for arg in get_args(hint) if arg is not type(None))


# --- instances <-> plain values ----------------------------------------------------------------------------------
# fastavro turns logical types into Python values one by one and slowly (half of an event's cost), so it sees the
# physical types only and the few logical types we use are turned here.

_EXACT = Context(prec=2 * DIGITS_MAX)  # a shift of the decimal point must never round
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_EPOCH_DAY = date(1970, 1, 1).toordinal()


def _physical(schema: Any) -> Any:
    """The same schema without its logical types."""
    if isinstance(schema, list):
        return [_physical(branch) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    if "logicalType" in schema:
        return schema["type"]
    return {key: _physical(value) if key in ("type", "fields", "items") else value for key, value in schema.items()}


def _decimal_writer(scale: int) -> Builder:
    def write(value: Decimal) -> bytes:
        shifted = _EXACT.scaleb(value, scale)
        unscaled = int(shifted)
        if unscaled != shifted:
            raise ValueError(f"{value} has more than {scale} decimal places")
        return unscaled.to_bytes((unscaled.bit_length() + 8) // 8, "big", signed=True)

    return write


def _decimal_reader(scale: int) -> Builder:
    def read(value: bytes) -> Decimal:
        return _EXACT.scaleb(Decimal(int.from_bytes(value, "big", signed=True)), -scale)

    return read


_write_amount, _read_amount = _decimal_writer(SCALE), _decimal_reader(SCALE)
_WRITE: dict[Any, Builder] = {
    date: lambda value: value.toordinal() - _EPOCH_DAY,
    datetime: lambda value: (value - _EPOCH) // _MICROSECOND,
    UUID: str,
    Decimal: _write_amount,
    ExchangeRate: _decimal_writer(RATE_SCALE),
}
_READ: dict[Any, Builder] = {
    date: lambda value: date.fromordinal(value + _EPOCH_DAY),
    datetime: lambda value: _EPOCH + value * _MICROSECOND,
    UUID: UUID,
    Decimal: _read_amount,
    ExchangeRate: _decimal_reader(RATE_SCALE),
}


@cache
def _plain(shape: type) -> Builder:
    """Instance -> dict of what Avro writes, without a look at the types for each message."""
    names = tuple(field.name for field in fields(shape))
    hints = get_type_hints(shape)
    steps = [(name, step) for name in names if (step := _plain_value(hints[name])) is not None]
    several: Builder = attrgetter(*names) if len(names) > 1 else lambda one: tuple(getattr(one, n) for n in names)

    def plain(instance: Any) -> dict[str, Any]:
        values = dict(zip(names, several(instance), strict=True))
        for name, step in steps:
            values[name] = step(values[name])
        return values

    return plain


def _plain_value(hint: Any) -> Builder | None:
    if hint in _WRITE:
        return _WRITE[hint]
    if _is_optional(hint):
        inner = _plain_value(_inner(hint))
        return None if inner is None else lambda value: None if value is None else inner(value)
    if get_origin(hint) is tuple:
        item = _plain_value(get_args(hint)[0])
        return list if item is None else lambda values: [item(value) for value in values]
    if hint is Money:
        return lambda money: {"amount": _write_amount(money.amount), "currency": money.currency}
    return _plain(hint) if _is_shape(hint) else None


@cache
def _builder(shape: type) -> Builder:
    """Dict as Avro read it -> instance."""
    steps = [(field.name, _build_value(get_type_hints(shape)[field.name])) for field in fields(shape)]

    def build(raw: dict[str, Any]) -> Any:
        return shape(**{name: raw[name] if step is None else step(raw[name]) for name, step in steps})

    return build


def _build_value(hint: Any) -> Builder | None:
    if hint in _READ:
        return _READ[hint]
    if _is_optional(hint):
        inner = _build_value(_inner(hint))
        return None if inner is None else lambda value: None if value is None else inner(value)
    if get_origin(hint) is tuple:
        item = _build_value(get_args(hint)[0])
        return tuple if item is None else lambda values: tuple(item(value) for value in values)
    if hint is Money:
        return lambda raw: Money(_read_amount(raw["amount"]), raw["currency"])
    return _builder(hint) if _is_shape(hint) else None


# --- releasing ---------------------------------------------------------------------------------------------------


def release() -> list[str]:
    """Write the contract of every message version that has none yet; return what was written. Never changes a file."""
    index = AVRO / "ids.json"
    ids = json.loads(index.read_text()) if index.exists() else {}
    known = {(entry["subject"], entry["version"]) for entry in ids.values()}
    written = []
    for body_type, message_type in message_types().items():
        if (message_type.subject, message_type.version) in known:
            continue
        schema = contract_of(body_type)
        path = AVRO / message_type.subject / f"v{message_type.version}.avsc"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(schema, indent=2) + "\n")
        entry = {"subject": message_type.subject, "version": message_type.version, "sha256": digest(schema)}
        ids[str(len(ids) + 1)] = entry
        written.append(f"{message_type.subject} v{message_type.version}")
    index.write_text(json.dumps(ids, indent=2) + "\n")
    return written


if __name__ == "__main__":
    print("\n".join(release()) or "every message has its contract")  # noqa: T201
