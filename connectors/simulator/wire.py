"""JSON as Intuit writes it: money as `100.00`, zero as `0`, and no float anywhere.

Reads and writes: text only.
Guarantees: a Decimal is written with exactly the digits it has; reading gives Decimals for every number with a point.
Source: intuit.md 3.1 (recorded raw bytes).
"""

from __future__ import annotations

import json
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any


def encode(value: Any) -> str:
    """Write a value as compact JSON. Floats are refused: they have no place here."""
    if isinstance(value, str):
        return encode_basestring(value)
    if isinstance(value, dict):
        return "{" + ",".join([f"{encode_basestring(key)}:{encode(item)}" for key, item in value.items()]) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join([encode(item) for item in value]) + "]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return format(value, "f") if value else "0"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, RawJson):
        return value.text
    raise TypeError(f"{type(value).__name__} cannot be written as Intuit's JSON")


class RawJson:
    """JSON that is already written, put into a larger answer as it is."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


def decode(text: str | bytes) -> Any:
    """Read JSON with exact numbers. Raises ValueError where it is not JSON."""
    return json.loads(text, parse_float=Decimal, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number that money can be")
