"""YAML as authors of situations mean it: every word stays as it is written, and everything knows its line.

Reads: text. Writes: nothing.
Guarantees: a number is exact and no float is ever made; `on`, `no` and `2026-01-05` are words; a key that stands twice
is refused instead of one of them being lost; nothing in a file is executed.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import yaml


class NotYaml(Exception):
    """The text is no YAML; the text of the error says where."""


class Fields(dict[str, Any]):
    """A mapping of YAML with the lines of its keys."""

    lines: Mapping[str, int] = MappingProxyType({})

    @property
    def line(self) -> int:
        """On which it begins; 0: nobody knows."""
        return min(self.lines.values(), default=0)


class Items(list[Any]):
    """A list of YAML with the lines of its items."""

    lines: Sequence[int] = ()


def documents(text: str) -> Iterator[Any]:
    """The documents of a YAML text. Raises NotYaml."""
    try:
        yield from yaml.load_all(text, Loader=_Exact)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = "" if mark is None else f"line {mark.line + 1}: "
        raise NotYaml(f"{where}{error.problem or error.context}{_hint(error)}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise NotYaml(f"this is no YAML: {error}") from error


def word(value: Any) -> str:
    """A scalar as its author wrote it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _hint(error: yaml.MarkedYAMLError) -> str:
    said = f"{error.problem}"
    if "\\t" in said:
        return " (indent with blanks, not with tabs)"
    if "mapping values are not allowed" in said:
        return " (a text that holds `: ` or `#` stands in quotes)"
    return ""


class _Exact(yaml.SafeLoader):
    """YAML without its surprises."""


def _decimal(loader: _Exact, node: Any) -> Decimal:
    return Decimal(loader.construct_scalar(node))


def _fields(loader: _Exact, node: yaml.MappingNode) -> Iterator[Fields]:
    """A mapping whose keys are words; a key that stands twice is refused."""
    fields, lines = Fields(), {}
    yield fields
    _refuse_twice(node)
    loader.flatten_mapping(node)
    for key_node, value_node in node.value:
        key = word(loader.construct_object(key_node, deep=True))
        fields[key] = loader.construct_object(value_node, deep=True)
        lines[key] = key_node.start_mark.line + 1
    fields.lines = lines


def _items(loader: _Exact, node: yaml.SequenceNode) -> Iterator[Items]:
    items = Items()
    yield items
    items.extend(loader.construct_object(each, deep=True) for each in node.value)
    items.lines = [each.start_mark.line + 1 for each in node.value]


def _refuse_twice(node: yaml.MappingNode) -> None:
    """YAML's readers keep the last of two equal keys and say nothing; an amount would be lost."""
    seen: set[str] = set()
    for key_node, _ in node.value:
        if key_node.value in seen and isinstance(key_node, yaml.ScalarNode):
            twice = f"`{key_node.value}` stands twice in one place: one of them would be lost"
            raise yaml.constructor.ConstructorError(None, None, twice, key_node.start_mark)
        seen.add(key_node.value if isinstance(key_node, yaml.ScalarNode) else "")


_CHANGED = (":bool", ":float", ":int", ":timestamp")
_Exact.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if not tag.endswith(_CHANGED)]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
NUMBER = re.compile(r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?$")  # 0042 is a number of somebody's, and no amount
_Exact.add_implicit_resolver("!amount", NUMBER, list("-0123456789"))
_Exact.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(true|false)$"), list("tf"))
_Exact.add_constructor("!amount", _decimal)
_Exact.add_constructor("tag:yaml.org,2002:map", _fields)
_Exact.add_constructor("tag:yaml.org,2002:seq", _items)
