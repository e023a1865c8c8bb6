"""The table of docs/simulator/conformance.md is what the tests say: one row for each, in their order."""

import ast
import re
from collections.abc import Iterator
from typing import NamedTuple

from tests.simulated import ROOT

DOCUMENT = ROOT / "docs/simulator/conformance.md"
MODULES = ("webhooks", "reading", "service", "books", "shapes", "companies")
FACT = re.compile(r"(?P<fact>.+) \[(?P<source>[^\]]+)\]")
BEHAVIOURS = {f"{number:02}" for number in range(1, 21)}


class Row(NamedTuple):
    """One fact, the test that shows it, and where it comes from."""

    behaviour: str  # 07, s9
    fact: str
    test: str
    source: str


def written() -> Iterator[Row]:
    """Every fact as the tests have it: the first line of the docstring, its source in brackets."""
    for module in MODULES:
        tree = ast.parse((ROOT / f"tests/conformance/test_intuit_{module}.py").read_text())
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                said = FACT.fullmatch((ast.get_docstring(node) or "").replace("|", "\\|"))
                assert said, f"{node.name} does not say its fact and [source]"
                yield Row(node.name.split("_")[1], said["fact"], node.name, said["source"])


def table() -> list[str]:
    """The rows as the document must have them."""
    return [f"| {row.behaviour} | {row.fact} | `{row.test}` | {row.source} |" for row in written()]


def test_document_has_a_row_for_every_test_and_a_test_for_every_row() -> None:
    rows = [line for line in DOCUMENT.read_text().splitlines() if re.match(r"\| (\d\d|s\d) \|", line)]
    assert rows == table()


def test_every_behaviour_has_tests_of_its_own_name() -> None:
    shown = {row.behaviour for row in written()}
    assert shown >= BEHAVIOURS | {"s3", "s5", "s9"}
    assert len(list(written())) >= 120


def test_no_test_is_named_twice() -> None:
    names = [row.test for row in written()]
    assert sorted(names) == sorted(set(names))


def test_document_lists_every_switch_with_the_tests_that_show_both_positions() -> None:
    switches = re.findall(
        r"^    (\w+): (?:bool|str) = ", (ROOT / "connectors/simulator/books/effects.py").read_text(), re.M
    )
    listed = re.findall(r"^\| `(\w+)` \|", DOCUMENT.read_text(), re.M)
    assert set(switches) <= set(listed), set(switches) - set(listed)
