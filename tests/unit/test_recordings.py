"""Every recorded answer of Intuit is understood: records, faults, times."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from connectors.quickbooks.answers import (
    CDC_DEPTH,
    QUERY_DEPTH,
    READ_DEPTH,
    NotAnAnswer,
    answer_of,
    fault_of,
)
from connectors.quickbooks.http import Reply
from schemas import strict_json
from schemas.errors import UnprocessableError

FOLDER = os.environ.get("QBO_RECORDINGS", "")
FILES = sorted(Path(FOLDER).glob("*.json")) if FOLDER else []
pytestmark = pytest.mark.skipif(not FILES, reason="QBO_RECORDINGS names no folder with recorded answers of Intuit")


def exchanges(path: Path) -> list[tuple[dict[str, Any], Reply]]:
    return [
        (
            each["request"],
            Reply(
                each["response"]["status"],
                {name.lower(): value for name, value in each["response"]["headers"].items()},
                (each["response"]["body"] or "").encode(),
            ),
        )
        for each in json.loads(path.read_text())
    ]


def depth_of(request: dict[str, Any]) -> int:
    route = request["path"].rsplit("/", 1)[-1]
    return {"query": QUERY_DEPTH, "cdc": CDC_DEPTH}.get(route, READ_DEPTH)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_recorded_answer_is_understood(path: Path) -> None:
    for request, reply in exchanges(path):
        fault = fault_of(reply)
        assert (fault is not None) == (reply.status != 200)
        if fault is not None:
            assert fault.code.isdecimal() and fault.kind
            continue
        answer = answer_of(reply.body, depth_of(request))
        assert answer.answered_at.tzinfo is not None
        for record in answer.records:
            assert record.raw in reply.body
            assert record.revised_at <= answer.answered_at
            assert strict_json.parse(record.raw)["Id"] == record.record_id


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_beginning_of_a_recorded_answer_passes_for_a_whole_one(path: Path) -> None:
    for request, reply in exchanges(path):
        if reply.status == 200:
            for end in range(0, len(reply.body) - 1, max(1, len(reply.body) // 150)):
                with pytest.raises(NotAnAnswer):
                    answer_of(reply.body[:end], depth_of(request))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_intuit_answers_is_within_the_limits_of_json(path: Path) -> None:
    for _, reply in exchanges(path):
        try:
            strict_json.parse(reply.body)
        except UnprocessableError as error:
            pytest.fail(str(error))
