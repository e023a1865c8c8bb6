"""Recorded exchanges with Intuit: our client understands every answer, and the simulator gives answers alike.

The folder comes from QBO_RECORDINGS; any folder of such files will do. The differences that are known and explained
stand in docs/simulator/recordings.md, which these tests hold to what they find.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.recordings import Exchange, differences, exchanges, notation, shape, tree
from tests.replaying import Difference, Replay
from tests.simulated import ROOT, Intuit, running

FOLDER = os.environ.get("QBO_RECORDINGS", "")
FILES = sorted(Path(FOLDER).glob("*.json")) if FOLDER else []
needs_recordings = pytest.mark.skipif(
    not FILES, reason="QBO_RECORDINGS names no folder with recorded answers of Intuit"
)
Found = Callable[[str], list[Difference]]
FIRST_REALM = 9130000000000001


class Known(NamedTuple):
    """A difference that is explained in the documents."""

    where: str  # patterns, as in file names
    what: str
    seen_in: str  # a file whose replay shows it

    def is_of(self, found: Difference) -> bool:
        """Whether this row explains that difference."""
        return fnmatchcase(found.where, self.where.replace("[]", "[[]]")) and fnmatchcase(found.what, self.what)


def known() -> list[Known]:
    """The table of the document."""
    text = (ROOT / "docs/simulator/recordings.md").read_text()
    rows = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \| ([\w-]+) \| .{15,} \|$", text, re.MULTILINE)
    return [Known(*row) for row in rows]


@pytest.fixture(scope="module")
def simulator() -> Iterator[Intuit]:
    """One empty company for each file, and one more that stands for a stranger's."""
    with running("--companies", str(len(FILES) + 1), "--history", "none", "--no-limits") as intuit:
        yield intuit


@pytest.fixture(scope="module")
def found(simulator: Intuit) -> Callable[[str], list[Difference]]:
    """What differs in one file; each is played once."""
    numbers = {path.stem: number for number, path in enumerate(FILES, 1)}

    @cache
    def differences_in(stem: str) -> list[Difference]:
        series = exchanges(FILES[numbers[stem] - 1])
        return Replay(simulator, str(FIRST_REALM + numbers[stem]), series).differences()

    return differences_in


@needs_recordings
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_recorded_requests_get_answers_of_the_recorded_shape(
    path: Path, found: Callable[[str], list[Difference]]
) -> None:
    unexplained = [str(one) for one in found(path.stem) if not any(row.is_of(one) for row in known())]
    assert not unexplained, "\n".join(unexplained)


@needs_recordings
@pytest.mark.parametrize("row", known(), ids=lambda row: f"{row.where}-{row.what}")
def test_a_difference_that_is_explained_still_occurs(row: Known, found: Found) -> None:
    if row.seen_in not in {path.stem for path in FILES}:
        pytest.skip(f"the recording {row.seen_in} is not in the folder")
    assert any(row.is_of(one) for one in found(row.seen_in))


# --- the comparer itself ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("theirs", "ours", "said"),
    [
        ('{"a":1}', '{"a":1,"b":"x"}', [("b", "added")]),
        ('{"a":1,"b":{"c":"x"}}', '{"a":1}', [("b", "missing")]),
        ('{"a":"1"}', '{"a":1}', [("a", "type text became number")]),
        ('{"a":[{"b":true}]}', '{"a":[{"b":null}]}', [("a[].b", "type boolean became null")]),
        ('{"a":100.00}', '{"a":100}', [("a", "notation cents became plain")]),
        ('{"a":0}', '{"a":0.00}', [("a", "notation zero became odd")]),
        ('{"a":4.5}', '{"a":4.50}', [("a", "notation plain became cents")]),
        (
            "<R><Fault type='X'/></R>",
            "<R><Fault/></R>",
            [("R.Fault[]", "type object became text"), ("R.Fault[].@type", "missing")],
        ),
        ('{"a":100.00,"b":0,"c":12.25}', '{"a":0,"b":5.00,"c":3}', []),
        ('{"a":[]}', '{"a":[]}', []),
    ],
)
def test_shapes_differ_where_they_should_and_nowhere_else(theirs: str, ours: str, said: list[tuple[str, str]]) -> None:
    assert list(differences(shape(tree(theirs)), shape(tree(ours)))) == said


@pytest.mark.parametrize(
    ("number", "how"),
    [("0", "zero"), ("100.00", "cents"), ("337.50", "cents"), ("12.25", "either"), ("75", "plain"), ("4.5", "plain"),
     ("0.00", "odd"), ("1.500", "odd"), ("1e3", "odd"), ("-85.00", "cents"), ("0.125", "plain")],
)  # fmt: skip
def test_the_notation_of_numbers_is_seen(number: str, how: str) -> None:
    assert notation(number) == how


def an_exchange(**changed: object) -> Exchange:
    body = '{"Customer":{"DisplayName":"A","Id":"7","SyncToken":"0"},"time":"2020-09-29T05:58:16.187-07:00"}'
    given: dict[str, object] = {
        **{"source": "made up", "number": 0, "method": "GET", "parts": ("customer", "7"), "parameters": {}},
        **{"content_type": "application/json", "sent": "", "status": 200, "headers": {}, "answered": body},
    }
    return Exchange(**(given | changed))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def empty() -> Iterator[Intuit]:
    with running("--companies", "6", "--history", "none", "--no-limits") as intuit:
        yield intuit


def found_by(intuit: Intuit, number: int, exchange: Exchange) -> list[str]:
    return [f"{one.where}: {one.what}" for one in Replay(intuit, str(FIRST_REALM + number), [exchange]).differences()]


def test_a_field_that_the_simulator_does_not_show_is_a_difference(empty: Intuit) -> None:
    body = '{"Customer":{"DisplayName":"A","Shoe":"42","Id":"7","SyncToken":"0"},"time":"2020-09-29T05:58:16-07:00"}'
    assert any("Shoe" in one for one in found_by(empty, 1, an_exchange(answered=body)))


def test_another_status_and_another_code_are_differences(empty: Intuit) -> None:
    body = '{"Fault":{"Error":[{"Message":"x","Detail":"y","code":"2020"}],"type":"ValidationFault"}}'
    refused = an_exchange(status=400, answered=body, parts=("customer", "1.5"))
    assert any("2030" in one for one in found_by(empty, 2, refused))
    missing = an_exchange(status=404, answered="{}")
    assert "(status): GET customer/{id}: 404 became 400 610" in found_by(empty, 3, missing)


def test_an_entity_that_is_not_kept_has_a_clear_outcome(empty: Intuit) -> None:
    body = '{"QueryResponse":{"Spaceship":[{"Id":"1"}],"startPosition":1},"time":"2020-09-29T05:58:16-07:00"}'
    asked = an_exchange(parts=("query",), parameters={"query": "select * from Spaceship"}, answered=body)
    assert found_by(empty, 4, asked) == ["(status): GET query: 200 became 400 4001"]
