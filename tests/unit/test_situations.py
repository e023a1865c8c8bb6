"""Every accounting situation of tests/situations ends as its author expects; and the suite can refuse."""

import re
from pathlib import Path
from textwrap import dedent

import pytest

from schemas.accounting import EVENTS
from streams.books import Reason, WaitCause
from tests.situation.__main__ import OURS, main
from tests.situation.playing import play
from tests.situation.reading import FIELDS, FIGURES, HOME_FIGURES, WARNINGS, Situation, situations
from tests.situation.worked import EXAMPLE, PAGE, written

ALL = situations(OURS)


@pytest.mark.parametrize("situation", ALL, ids=lambda situation: situation.name)
def test_situation_ends_as_expected(situation: Situation) -> None:
    assert [str(difference) for difference in play(situation)] == []


def test_names_of_situations_are_unique() -> None:
    names = [situation.name for situation in ALL]
    assert sorted(names) == sorted(set(names))


INVOICE = "- name: one\n  history: [{invoice I1: {total: 10.10}}]\n  expect: "


@pytest.mark.parametrize(
    ("expectation", "said"),
    [
        ("{balances: {P1: {O: 10.11}}}", "P1 O: expected 10.11, found 10.10"),
        ("{balances: {P1: nothing}}", "P1 O: expected 0, found 10.10"),
        ("{waiting: {I1: 10.10}}", "what waits"),
        ("{events: [P1 InvoiceIssued I1 10]}", "events"),
        ("{events: []}", "events"),
        ("{reasons: {I1: assigned}}", "I1 stands because"),
        ("{warnings: {I1: reference_unknown}}", "warnings"),
        ("{asks to read: [I1]}", "records asked to be read"),
    ],
)
def test_a_wrong_expectation_is_told_with_both_values(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], expectation: str, said: str
) -> None:
    (tmp_path / "one.yaml").write_text(INVOICE + expectation)
    assert main(tmp_path) == 1
    assert said in capsys.readouterr().out


def test_a_right_expectation_is_told_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "one.yaml").write_text(INVOICE + "{balances: {P1: {O: 10.10}}, events: [P1 InvoiceIssued I1 10.1]}")
    assert main(tmp_path) == 0
    assert "1 situations end as expected, 0 do not" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- name: x\n  history: [{bill I1: {total: 1}}]\n  expect: {waiting: {}}", "begins with no command"),
        ("- name: x\n  history: [{invoice I1: {totl: 1}}]\n  expect: {waiting: {}}", "`totl` is not known here"),
        ("- name: x\n  history: [{invoice I1: {on: 2026-01-01}}]\n  expect: {waiting: {}}", "needs a `total`"),
        ("- name: x\n  history: [{void I1: {}}]\n  expect: {waiting: {}}", "'I1' names no record"),
        ("- name: x\n  history: [{invoice I1: {total: 1}}]\n  expect: {balances: {P1: {P: 1}}}", "`P` is not known"),
        ("- name: x\n  history: [{invoice I1: {total: 1}}]", "`expect` is missing"),
        ("- history: [{invoice I1: {total: 1}}]\n  expect: {waiting: {}}", "`name` is missing"),
        ("- name: x\n  history: [invoice]\n  expect: {waiting: {}}", "say once of what the line speaks"),
        ("- name: x\n  history: [{map A: {}}]\n  expect: {waiting: {}}", "needs a `project`"),
        ("- name: x\n  history: [{invoice I1: {total: ten}}]\n  expect: {waiting: {}}", "'ten' is no amount"),
        (
            "- name: x\n  history:\n    - invoice I1: {totl: 1}\n  expect: {waiting: {}}",
            "one.yaml, line 3: x: invoice I1",
        ),
        ("- name: x\n  history: [{invoice I1: {total: 1, id: A7}}]\n  expect: {waiting: {}}", "no id of QuickBooks"),
        ("- name: x\n  history: [{invoice I1: {total: 1, on: 31/1/26}}]\n  expect: {waiting: {}}", "no date"),
        ("- name: x\n  history: [{invoice I1: {total: 1}}]\n  expect: {balances: {P3: nothing}}", "`P3` is not known"),
        (
            "- name: x\n  history: [{invoice I1: {total: 1}}]\n  expect: {events: [P1 Issued I1]}",
            "`Issued` is not known",
        ),
        (
            "- name: x\n  history: [{invoice I1: {total: 1, customer: C}}]\n  expect: {waiting: {}}",
            "'C' names no record",
        ),
        ("- name: x\n  history: [{invoice A: {total: 1}}]\n  expect: {waiting: {}}", "A is a name of two records"),
        ("- name: x\n  history: [{customer A: {active: maybe}}]\n  expect: {waiting: {}}", "write true or false"),
        ("- name: x\n  history: [{merge B: {}}]\n  expect: {waiting: {}}", "`merge` needs a `into`"),
        ("- name: x\n  customers: [A]\n  history: [{void A: {}}]\n  expect: {waiting: {}}", "a line for each"),
        ("- name: x\n  history: [{quickbooks Invoice: {Id: 7}}]\n  expect: {waiting: {}}", "'TotalAmt' is missing"),
        (
            "- name: x\n  history: [{invoice I: {total: 1, total: 2}}]\n  expect: {waiting: {}}",
            "line 2: `total` stands twice",
        ),
        ("- name: x\n  history:\n\t- void A\n  expect: {waiting: {}}", "with blanks, not with tabs"),
        ("- name: [", "one.yaml"),
        ("!!python/object/apply:os.system [true]", "one.yaml"),
        ("just a text", "`name: value` is expected"),
        ("", "no situation is in it"),
    ],
)
def test_a_file_that_is_not_in_the_form_is_refused_with_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    (tmp_path / "one.yaml").write_text(text)
    assert main(tmp_path) == 2
    assert said in capsys.readouterr().out


def test_one_situation_that_is_not_understood_takes_nothing_from_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "bad.yml").write_text("- name: [")
    (tmp_path / "one.yaml").write_text(INVOICE + "{balances: {P1: {O: 10.10}}}")
    assert main(tmp_path) == 2
    said = capsys.readouterr().out
    assert "below/bad.yml: line 1" in said
    assert "1 situations end as expected, 0 do not, 1 not understood" in said


def test_a_folder_that_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(tmp_path / "nowhere") == 2
    assert "no such file or folder" in capsys.readouterr().out


def test_amounts_are_exact_and_words_stay_words(tmp_path: Path) -> None:
    text = """
        name: exact
        customers: {A: {project: no}}
        history:
          - invoice I1: {total: 1234.10, on: 2026-01-31}
        expect: {balances: {no: {O: 1234.1}}}
    """
    (tmp_path / "one.yaml").write_text(dedent(text))
    (situation,) = situations(tmp_path)
    assert str(situation.history[0].fields["total"]) == "1234.10"
    assert play(situation) == []


def test_a_rule_that_depended_on_the_order_of_arrival_would_be_told(tmp_path: Path) -> None:
    """Two revisions with one time and one token: which came last decides, so such a history is no situation."""
    text = """
        name: two truths of one moment
        history:
          - invoice I1: {total: 1, at: 5}
          - invoice I1: {total: 2, at: 5}
        expect: {balances: {P1: {O: 2}}}
    """
    (tmp_path / "one.yaml").write_text(dedent(text))
    (situation,) = situations(tmp_path)
    assert any("another order" in difference.what for difference in play(situation))


FORM = (Path(__file__).parents[2] / "docs/situations.md").read_text()


def test_the_example_of_the_form_ends_as_expected(tmp_path: Path) -> None:
    text = FORM.partition("<!-- example -->")[2].partition("<!-- end of example -->")[0]
    (tmp_path / "one.yaml").write_text(text.replace("```yaml", "").replace("```", ""))
    (situation,) = situations(tmp_path)
    assert play(situation) == []


def test_the_form_names_every_word_that_a_file_may_hold() -> None:
    words = {*FIELDS, *FIGURES, *HOME_FIGURES, *(word for words in FIELDS.values() for word in words)}
    words |= {cause.value for cause in WaitCause} | {reason.value for reason in Reason} | {*WARNINGS}
    words |= {event.__name__ for event in EVENTS if not event.__name__.startswith("Customer")}
    assert sorted(word for word in words if not re.search(rf"(?<![\w]){re.escape(word)}(?![\w])", FORM)) == []


def test_the_worked_examples_of_the_meaning_are_what_the_rules_make() -> None:
    known = {situation.name: situation for situation in ALL}
    page = PAGE.read_text()
    assert written(page, known) == page, "python -m tests.situation.worked writes the tables anew"
    assert len(EXAMPLE.findall(page)) >= 45
