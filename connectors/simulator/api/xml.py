"""Answers in XML for whoever asks for it: the same tree as the JSON, as Intuit's schema writes it.

Reads: an answer's JSON. Writes: XML text.
Guarantees: amounts keep their digits; references, faults and records carry their attributes as in recorded XML.
Source: intuit.md 3.1, 3.6, 3.8 (XML faults), XSD of the v3 namespace.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from connectors.simulator.wire import decode

NAMESPACE = "http://schema.intuit.com/finance/v3"
XML_TYPE = "application/xml;charset=UTF-8"
_HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
# What the schema makes attributes of, by element; records carry the first line's wherever they stand.
_RECORD = ("domain", "status", "sparse")
_ATTRIBUTES = {
    "QueryResponse": ("startPosition", "maxResults", "totalCount"),
    "Fault": ("type",),
    "Error": ("code", "element"),
    "BatchItemResponse": ("bId",),
}


def is_wanted(accept: str) -> bool:
    """Whether an Accept header asks for XML; no header, or anything, means JSON here (a guess)."""
    asked = accept.lower()
    return ("application/xml" in asked or "text/xml" in asked) and "json" not in asked


def rewritten(answer: str) -> str:
    """An answer's JSON as XML. What is not JSON, or a fault in lower case, stays as it is."""
    try:
        tree = decode(answer)
    except ValueError:
        return answer
    if not isinstance(tree, dict) or "fault" in tree or "error" in tree:
        return answer
    time = tree.pop("time", None)
    stamp = f" time={quoteattr(str(time))}" if time else ""
    if "Header" in tree:
        tree = {"Report": tree}
    inner = "".join(_element(name, value) for name, value in tree.items())
    return f'{_HEAD}<IntuitResponse{stamp} xmlns="{NAMESPACE}">{inner}</IntuitResponse>'


def _element(name: str, value: Any) -> str:
    if isinstance(value, list):
        return "".join(_element(name, one) for one in value)
    if not isinstance(value, dict):
        return f"<{name}>{_text(value)}</{name}>"
    if name.endswith("Ref") and set(value) <= {"value", "name", "type"}:
        return _reference(name, value)
    if set(value) == {"any"}:  # LineEx: values whose own elements are named in them
        return f"<{name}>{''.join(_element('NameValue', one['value']) for one in value['any'])}</{name}>"
    attributes = _ATTRIBUTES.get(name, _RECORD if "domain" in value else ())
    written = "".join(f" {key}={quoteattr(_plain(value[key]))}" for key in attributes if key in value)
    inner = "".join(_element(key, one) for key, one in value.items() if key not in attributes)
    return f"<{name}{written}>{inner}</{name}>"


def _reference(name: str, value: dict[str, Any]) -> str:
    written = "".join(f" {key}={quoteattr(str(value[key]))}" for key in ("name", "type") if key in value)
    return f"<{name}{written}>{_text(value.get('value', ''))}</{name}>"


def _text(value: Any) -> str:
    return escape(_plain(value))


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return format(value, "f") if isinstance(value, Decimal) else str(value)
