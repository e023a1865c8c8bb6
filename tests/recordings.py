"""Recorded exchanges with Intuit, and the shape of an answer: what two answers to like requests must have in common.

A shape is every path of an answer with the JSON types that stand there and how its numbers are written; texts, ids
and amounts are left out. XML is read into the same tree, so that one comparer serves both.
"""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_plus


@dataclass(frozen=True)
class Exchange:
    """One recorded request and its answer."""

    source: str  # the file, without its ending
    number: int
    method: str
    parts: tuple[str, ...]  # of the path, below the company: ("invoice", "12")
    parameters: dict[str, str]
    content_type: str
    sent: str
    status: int
    headers: dict[str, str]  # names in lower case
    answered: str

    @property
    def name(self) -> str:
        """How it is called in a report."""
        return f"{self.source}[{self.number}] {self.method} {'/'.join(self.parts)}"

    @property
    def answer(self) -> Any:
        """The answer as a tree; None where it is no JSON and no XML."""
        return tree(self.answered)


def exchanges(path: Path) -> list[Exchange]:
    """What one file holds."""
    return [_exchange(path.stem, number, each) for number, each in enumerate(json.loads(path.read_text()))]


def _exchange(source: str, number: int, each: dict[str, Any]) -> Exchange:
    request, response = each["request"], each["response"]
    return Exchange(
        source,
        number,
        str(request["method"]).upper(),
        tuple(_parts(request["path"])),
        dict(_parameters(request.get("query") or "")),
        request.get("content_type") or "",
        request.get("body") or "",
        int(response["status"]),
        {name.lower(): _header(value) for name, value in (response.get("headers") or {}).items()},
        response.get("body") or "",
    )


def _header(value: Any) -> str:
    return str(value[0] if isinstance(value, list) else value)


def _parts(path: str) -> Iterator[str]:
    """Without version and company, which some recordings have and some had removed."""
    parts = [part for part in path.split("/") if part]
    while parts and re.fullmatch(r"v\d+", parts[0]):
        parts.pop(0)
    if parts and parts[0] == "company":
        parts = parts[2:]
    yield from parts


def _parameters(query: str | dict[str, Any]) -> Iterator[tuple[str, str]]:
    if isinstance(query, dict):
        yield from ((name, _header(value)) for name, value in query.items())
        return
    for pair in query.split("&"):
        if pair:
            name, _, value = pair.partition("=")
            blanks = name == "query" and "%20" not in value  # where blanks are written as plus signs
            yield name, unquote_plus(value) if blanks else unquote(value)


# --- trees and shapes --------------------------------------------------------------------------------------------


class Number(str):
    """A number as it was written."""


def tree(text: str) -> Any:
    """The answer as dictionaries, lists, texts and written numbers; None where it is neither JSON nor XML."""
    if text.lstrip().startswith("<"):
        try:
            root = ET.fromstring(text.strip())
        except ET.ParseError:
            return None
        return None if _local(root.tag).lower() == "html" else {_local(root.tag): _element(root)}
    try:
        return json.loads(text, parse_float=Number, parse_int=Number)
    except ValueError:
        return None


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _element(element: ET.Element) -> Any:
    found: dict[str, Any] = {f"@{_local(name)}": value for name, value in element.attrib.items()}
    for child in element:
        found.setdefault(_local(child.tag), []).append(_element(child))
    return found or (element.text or "")


Shape = dict[str, set[str]]


def shape(value: Any, path: str = "") -> Shape:
    """Every path with the types that stand there."""
    found: Shape = {}
    _collect(value, path, found)
    return found


def _collect(value: Any, path: str, found: Shape) -> None:
    found.setdefault(path, set()).add(_type(value))
    if isinstance(value, dict):
        for name, part in value.items():
            _collect(part, f"{path}.{name}" if path else name, found)
    elif isinstance(value, list):
        for part in value:
            _collect(part, f"{path}[]", found)


def _type(value: Any) -> str:
    if isinstance(value, Number):
        return f"number {notation(value)}"
    kinds = ((bool, "boolean"), (str, "text"), (dict, "object"), (list, "list"), (type(None), "null"))
    return next(name for kind, name in kinds if isinstance(value, kind))


def notation(number: str) -> str:
    """How a number is written: zero, with two digits for cents, plainly, or in a way that fits both (`12.25`)."""
    if re.fullmatch(r"-?0", number):
        return "zero"
    if re.fullmatch(r"-?0\.0+", number):
        return "odd"
    if re.fullmatch(r"-?\d+\.\d0", number):
        return "cents"
    if re.fullmatch(r"-?\d+\.\d[1-9]", number):
        return "either"
    return "plain" if re.fullmatch(r"-?(0|[1-9]\d*)(\.\d*[1-9])?", number) else "odd"


def differences(recorded: Shape, ours: Shape) -> Iterator[tuple[str, str]]:
    """Where two shapes differ and how. What stands in an object or list that one side lacks is not said again."""
    for path in sorted(recorded.keys() | ours.keys()):
        if path not in ours or path not in recorded:
            here, side = (recorded, "missing") if path not in ours else (ours, "added")
            if _parent(path) in (recorded.keys() & ours.keys()) and here:
                yield path, side
        elif said := _types_differ(recorded[path], ours[path]):
            yield path, said


def _parent(path: str) -> str:
    if path.endswith("[]"):
        return path[:-2]
    return path.rpartition(".")[0]


def _types_differ(recorded: set[str], ours: set[str]) -> str:
    plain = [{each.split()[0] for each in side} for side in (recorded, ours)]
    if plain[0] != plain[1]:
        return f"type {'/'.join(sorted(plain[0]))} became {'/'.join(sorted(plain[1]))}"
    told = [_notations(side) for side in (recorded, ours)]
    if "odd" in told[1] - told[0] or (told[0] and told[1] and not told[0] & told[1]):
        return f"notation {'/'.join(sorted(told[0])) or 'zero'} became {'/'.join(sorted(told[1]))}"
    return ""


def _notations(types: set[str]) -> set[str]:
    """How numbers are written here, as far as they tell: zero and `12.25` fit every notation."""
    return {each.split()[1] for each in types if each.startswith("number")} - {"zero", "either"}
