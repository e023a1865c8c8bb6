"""Read JSON that a stranger wrote: exact numbers, and nothing that breaks a later step.

Guarantees: numbers with a point are Decimal, never float; duplicate keys, NaN, Infinity, NUL, lone surrogates, and
anything deeper, longer or larger than the limits raise UnprocessableError with the reason. No other exception leaves.
Source: docs/decisions/0003; the limits: RFC 8259 section 9 lets a parser set them.
"""

import json
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Any

from schemas.errors import UnprocessableError

DEPTH_MAX = 32
NODES_MAX = 250_000
STRING_MAX = 64 * 1024
DIGITS_MAX = 40
_TOO_LONG = f"a number is longer than {DIGITS_MAX} digits"


def parse(text: bytes) -> Any:
    """The value that this JSON text (UTF-8) holds. Raises UnprocessableError with the reason."""
    try:
        value = _DECODER.decode(text.decode("utf-8"))
        _check(value)
    except UnicodeDecodeError as error:
        raise UnprocessableError("the JSON is not UTF-8") from error
    except RecursionError as error:
        raise UnprocessableError("the JSON is nested too deeply") from error
    except ValueError as error:
        raise UnprocessableError(f"the JSON cannot be read: {_reason(error)}") from error
    return value


def _reason(error: ValueError) -> str:
    """Where, but never what: the text may hold customers' names."""
    return f"{error.msg} at character {error.pos}" if isinstance(error, json.JSONDecodeError) else str(error)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("an object has a key twice")
    return members


def _decimal(digits: str) -> Decimal:
    if len(digits) > DIGITS_MAX:
        raise ValueError(_TOO_LONG)
    try:
        value = Decimal(digits)
    except InvalidOperation as error:  # an exponent beyond what Decimal can hold
        raise ValueError(_TOO_LONG) from error
    if abs(value.adjusted()) > DIGITS_MAX:
        raise ValueError(_TOO_LONG)
    return value


def _integer(digits: str) -> int:
    if len(digits) > DIGITS_MAX:
        raise ValueError(_TOO_LONG)
    return int(digits)


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is no number")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_no_duplicates, parse_float=_decimal, parse_int=_integer, parse_constant=_no_constant
)


def _check(value: Any) -> None:
    """Level by level, so that no depth can exhaust the stack."""
    level, nodes = [value], 0
    for _depth in range(DEPTH_MAX + 1):
        if not level:
            return
        nodes += len(level)
        if nodes > NODES_MAX:
            raise ValueError(f"the JSON has more than {NODES_MAX} values")
        level = [child for parent in level for child in _children(parent)]
    raise ValueError(f"the JSON is nested deeper than {DEPTH_MAX}")


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, list):
        return value
    elif isinstance(value, dict):
        for key in value:
            _check_text(key)
        return value.values()
    return ()


def _check_text(text: str) -> None:
    if len(text) > STRING_MAX:
        raise ValueError(f"a text is longer than {STRING_MAX} characters")
    if text.isascii() and "\0" not in text:
        return
    if "\0" in text:
        raise ValueError("a text holds NUL")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("a text holds a lone surrogate")
