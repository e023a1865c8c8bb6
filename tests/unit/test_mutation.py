"""`make mutate` tries mutants that say something, and tells which of them a test notices and which none does."""

import tempfile
from pathlib import Path
from textwrap import dedent

import pytest

from tests.mutation.__main__ import TESTS, explanations
from tests.mutation.killing import ROOT, BaselineFailed, runs
from tests.mutation.mutants import Mutant, mutants_of


def changes(source: str) -> list[tuple[str, str]]:
    return [(mutant.before, mutant.after) for mutant in mutants_of("rule.py", dedent(source))]


def test_a_rule_is_made_wrong_in_every_word_that_decides() -> None:
    assert changes(
        """
        def rest(total: int, parts: list[int]) -> int:
            used = min(parts)
            used += len([part for part in parts if part])
            return total - used if total > used else 0
        """
    ) == [
        ("used = min(parts)", "used = max(parts)"),
        (
            "used += len([part for part in parts if part])",
            "used += len([part for part in parts if not (part)])",
        ),
        ("used += len([part for part in parts if part])", "pass"),
        ("return total - used if total > used else 0", "return total - used if not total > used else 0"),
        ("return total - used if total > used else 0", "return total - used if total > used else 1"),
        ("return total - used if total > used else 0", "return total - used if total > used else -1"),
        ("return total - used if total > used else 0", "return total + used if total > used else 0"),
        ("return total - used if total > used else 0", "return total & used if total > used else 0"),
        ("return total - used if total > used else 0", "return total - used if total >= used else 0"),
    ]


@pytest.mark.parametrize(
    "source",
    [
        "def ask(name: str | None = None, *, seen: int | None) -> str | None: ...\n",
        "Request = Map | Release\n",
        "@dataclass(frozen=True)\nclass Row:\n    name: str | None\n",
        "def is_sale(head: object) -> bool:\n    return isinstance(head, Invoice | Payment)\n",
        "def told(kind: Kind) -> None:\n    assert_never(kind)\n",
    ],
)
def test_types_are_no_rules(source: str) -> None:
    assert changes(source) == []


def test_a_mutant_that_does_the_same_as_another_is_not_counted_again() -> None:
    """`not a is b` and `a is not b`."""
    assert len(changes("def known(a: object) -> bool:\n    if a is None:\n        return a\n")) == 1


def test_a_mutant_is_told_with_its_place() -> None:
    (mutant,) = mutants_of("rule.py", "class Entry:\n    def close(self):\n        self.lines.clear()\n")
    assert (mutant.place, mutant.line, mutant.before, mutant.after) == (
        "Entry.close",
        3,
        "self.lines.clear()",
        "pass",
    )


def test_every_explanation_is_of_a_line_that_is_there() -> None:
    """What it says is checked by `make mutate`; a line that changed needs a new look."""
    for (module, place, before, after), why in explanations().items():
        assert module in TESTS
        lines = " ".join(line.strip() for line in (ROOT / module).read_text().splitlines())
        assert before in lines, f"{module} {place}: {before}"
        assert len(why) > 20, f"{module} {place}: {after}"


def test_tests_that_mutants_meet_are_there() -> None:
    assert [name for tests in TESTS.values() for name in tests if not (ROOT / name.partition("::")[0]).is_file()] == []


NAMES = ("tests/unit/test_books.py",)
MODULE = "streams/books.py"


def wrong(before: str, after: str) -> Mutant:
    source = (ROOT / MODULE).read_text()
    assert source.count(before) == 1
    return Mutant(MODULE, "", 1, "", before, after, source.replace(before, after))


@pytest.mark.slow
def test_what_no_test_notices_survives_and_what_one_does_is_killed_by_it(tmp_path: Path) -> None:
    noticed = wrong("return own or {", "return {")
    unnoticed = wrong("len(found) < 10", "10 > len(found)")
    broken = wrong("def projects_named(", "def projects_name(")
    ended = {run.mutant: run.failed for run in runs([noticed, unnoticed, broken], NAMES, 1, tmp_path)}
    assert ended[unnoticed] == ""
    assert "test_a_projects_own_id_wins" in ended[noticed]
    assert "test_a_projects_own_id_wins" in ended[broken]
    assert (tmp_path / "0" / MODULE).read_text() == (ROOT / MODULE).read_text()


@pytest.mark.slow
def test_tests_that_fail_without_a_mutant_say_nothing_about_one() -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.raises(BaselineFailed):
        list(runs([wrong("len(found) < 10", "True")], ("tests/unit/no_such_test.py",), 1, Path(folder)))
