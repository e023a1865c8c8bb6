"""May a contract be released beside all that were released before it?

Pure. Two judges must both agree, over every pair of versions: the rule of this project (a version only adds fields, and
each added field has a default), and Avro itself (what either version writes, the other reads without a loss).
Guarantees: FULL_TRANSITIVE as Confluent's registries mean it, and stricter: nothing is ever removed or renamed.
Source: Avro 1.12, "Schema Resolution"; design, "Schema versions"; docs/decisions/0007 (file-backed schema ids).
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import fastavro
from fastavro.schema import SchemaParseException

Schema = Mapping[str, Any]  # a record, as it stands in an .avsc file
_NOT_MEANING = ("doc", "aliases", "order")  # what readers and writers do not look at; a rename by alias is refused


class Version(NamedTuple):
    """One version of one contract."""

    number: int
    schema: Schema


def refusals(versions: Sequence[Version]) -> list[str]:
    """Why these versions of one contract cannot live in one topic, each a sentence; empty: they can."""
    pairs = list(combinations(sorted(versions, key=lambda version: version.number), 2))
    return [f"{_pair(older, newer)}: {reason}" for older, newer in pairs for reason in _between(older, newer)]


def _pair(older: Version, newer: Version) -> str:
    return f"{_full_name(newer.schema)} v{newer.number} beside v{older.number}"


def _between(older: Version, newer: Version) -> list[str]:
    by_rule = list(_not_additive(_named(older.schema), _named(newer.schema)))
    if _full_name(older.schema) != _full_name(newer.schema):
        by_rule.append(f"its name was {_full_name(older.schema)}; another name is another contract")
    return by_rule or [*_unreadable(older, newer), *_unreadable(newer, older)]


# --- the rule: additive, with defaults ---------------------------------------------------------------------------


def _named(schema: Any) -> dict[str, Schema]:
    """Every record within a contract, by its name."""
    found: dict[str, Schema] = {}
    if isinstance(schema, list):
        for branch in schema:
            found |= _named(branch)
    elif isinstance(schema, Mapping) and schema["type"] == "record":
        found[_full_name(schema)] = schema
        for field in schema["fields"]:
            found |= _named(field["type"])
    elif isinstance(schema, Mapping):
        found |= _named(schema.get("items", schema.get("values", "null")))
        found |= {} if isinstance(schema["type"], str) else _named(schema["type"])
    return found


def _full_name(schema: Schema) -> str:
    namespace = schema.get("namespace")
    return f"{namespace}.{schema['name']}" if namespace else str(schema["name"])


def _not_additive(older: Mapping[str, Schema], newer: Mapping[str, Schema]) -> Iterator[str]:
    for name in older.keys() & newer.keys():
        yield from _fields_not_additive(name, _fields(older[name]), _fields(newer[name]))


def _fields(record: Schema) -> dict[str, Any]:
    return {field["name"]: field for field in record["fields"]}


def _fields_not_additive(record: str, older: Mapping[str, Any], newer: Mapping[str, Any]) -> Iterator[str]:
    for name, field in older.items():
        if name not in newer:
            yield f"{record}.{name} is gone; a field stays for ever"
        elif _meaning(field) != _meaning(newer[name]):
            yield f"{record}.{name} has another type or default; what means something else needs a name of its own"
    for name in newer.keys() - older.keys():
        if "default" not in newer[name]:
            yield f"{record}.{name} is new and has no default, so what was written before cannot be read"


def _meaning(schema: Any) -> Any:
    """A type without its documentation; a record within it by its name, since records are compared one by one."""
    if isinstance(schema, list):
        return [_meaning(branch) for branch in schema]
    if not isinstance(schema, Mapping):
        return schema
    if schema.get("type") == "record":
        return _full_name(schema)
    return {key: _meaning(value) for key, value in schema.items() if key not in _NOT_MEANING}


# --- Avro itself: write with one, read with the other ------------------------------------------------------------


def _unreadable(writer: Version, reader: Version) -> Iterator[str]:
    for full in (True, False):
        reason = _why_unreadable(writer, reader, full)
        if reason:
            yield f"what v{writer.number} writes, v{reader.number} cannot read: {reason}"
            return


def _why_unreadable(writer: Version, reader: Version, full: bool) -> str:
    try:
        written = fastavro.parse_schema(dict(writer.schema), named_schemas={})
        wanted = fastavro.parse_schema(dict(reader.schema), named_schemas={})
        value = _specimen(writer.schema, full, {})
        out = io.BytesIO()
        fastavro.schemaless_writer(out, written, value)
        same: Any = fastavro.schemaless_reader(io.BytesIO(out.getvalue()), written, None)
        seen: Any = fastavro.schemaless_reader(io.BytesIO(out.getvalue()), written, wanted)
    except (SchemaParseException, fastavro.read.SchemaResolutionError, ValueError, TypeError, KeyError) as error:
        return str(error) or type(error).__name__
    return "" if _agree(same, seen) else "a value came out as another one"


def _agree(one: Any, other: Any) -> bool:
    """Whether two readings of the same bytes say the same, in the fields that both know."""
    if isinstance(one, dict) and isinstance(other, dict):
        return all(_agree(one[name], other[name]) for name in one.keys() & other.keys())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_agree, one, other))
    return bool(one == other)


_SPECIMENS: Mapping[str, Any] = {
    "null": None,
    "boolean": True,
    "int": 7,
    "long": 7,
    "float": 0.5,
    "double": 0.5,
    "bytes": b"\x07",
    "string": "7",
}
_LOGICAL_SPECIMENS: Mapping[str, Any] = {"uuid": "11111111-2222-5333-8444-555555555555"}


def _specimen(schema: Any, full: bool, records: dict[str, Schema]) -> Any:
    """A value that follows a schema: with everything optional in it, or with nothing of it."""
    if isinstance(schema, list):
        wanted = [branch for branch in schema if (branch != "null") == full] or schema
        return _specimen(wanted[0], full, records)
    if isinstance(schema, str):
        return _SPECIMENS[schema] if schema in _SPECIMENS else _specimen(records[schema], full, records)
    match schema["type"]:
        case "record":
            records[_full_name(schema)] = schema
            return {field["name"]: _specimen(field["type"], full, records) for field in schema["fields"]}
        case "array":
            return [_specimen(schema["items"], full, records)] if full else []
        case _:
            return _LOGICAL_SPECIMENS.get(schema.get("logicalType", ""), _specimen(schema["type"], full, records))
