"""Requests of people: what cannot be kept is said to the person, and nothing is published."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import pytest
from psycopg_pool import AsyncConnectionPool

from connectors.postgres import Connection
from schemas import changes
from schemas.codec import file_ids
from schemas.topics import topics
from schemas.wire import Outgoing
from streams.requests import TEXT_MAX, Mapping, RequestProblem, Requests

Ask = Callable[[Requests, str], Awaitable[object]]


@dataclass
class Kept:
    """Keeps what is published."""

    records: list[Outgoing] = field(default_factory=list)

    async def publish(self, records: Sequence[Outgoing]) -> None:
        self.records += records


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def requests(kept: Kept) -> Requests:
    """With a pool that was never opened: who asks the database first fails with another error."""
    never_opened: AsyncConnectionPool[Connection] = AsyncConnectionPool("", open=False)
    return Requests(never_opened, kept, topics(4))


IDS: dict[str, Ask] = {
    "declared project": lambda requests, text: requests.declare("1", [(text, "Bay House")]),
    "mapped customer": lambda requests, text: requests.map("1", "ann", [Mapping("12", "P-1"), Mapping(text, "P-2")]),
    "mapped project": lambda requests, text: requests.map("1", "ann", [Mapping("12", text)]),
    "mapping person": lambda requests, text: requests.map("1", text, [Mapping("12", "P-1")]),
    "released customer": lambda requests, text: requests.release("1", "ann", text),
    "releasing person": lambda requests, text: requests.release("1", text, "12"),
    "excluded customer": lambda requests, text: requests.exclude("1", "ann", text),
    "excluding person": lambda requests, text: requests.exclude("1", text, "12"),
    "assigned type": lambda requests, text: requests.assign("1", "ann", (text, "17"), None),
    "assigned record": lambda requests, text: requests.assign("1", "ann", ("Invoice", text), None),
    "assigned project": lambda requests, text: requests.assign("1", "ann", ("Invoice", "17"), text),
    "linked QuickBooks project": lambda requests, text: requests.link_project("1", "ann", text, "P-1"),
    "linked project": lambda requests, text: requests.link_project("1", "ann", "39298034", text),
    "merged customer": lambda requests, text: requests.resolve_merge("1", "ann", text, together=True),
    "dismissed record": lambda requests, text: requests.dismiss_warning("1", "ann", ("Invoice", text)),
    "closed project": lambda requests, text: requests.close_project("1", text),
    "assigning person": lambda requests, text: requests.assign("1", text, ("Invoice", "17"), None),
}
TEXTS: dict[str, Ask] = IDS | {
    "project name": lambda requests, text: requests.declare("1", [("P-1", text)]),
    "reference number": lambda requests, text: requests.map("1", "ann", [Mapping("12", "P-1", text)]),
}


@pytest.mark.parametrize("ask", TEXTS.values(), ids=TEXTS.keys())
@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a\0b", "holds a character that cannot be stored"),
        ("a\ud800", "holds a character that cannot be stored"),
        ("x" * (TEXT_MAX + 1), f"is longer than {TEXT_MAX} characters"),
    ],
    ids=["nul", "surrogate", "long"],
)
async def test_text_that_cannot_be_kept_is_refused_and_publishes_nothing(
    requests: Requests, kept: Kept, ask: Ask, text: str, sentence: str
) -> None:
    with pytest.raises(RequestProblem, match=sentence):
        await ask(requests, text)
    assert kept.records == []


@pytest.mark.parametrize("ask", IDS.values(), ids=IDS.keys())
async def test_empty_id_is_refused_and_publishes_nothing(requests: Requests, kept: Kept, ask: Ask) -> None:
    with pytest.raises(RequestProblem, match="is empty"):
        await ask(requests, "  ")
    assert kept.records == []


async def test_texts_are_trimmed(requests: Requests, kept: Kept) -> None:
    decision_id = await requests.dismiss_warning("1", " ann ", ("Invoice", "17\n"))
    (record,) = kept.records
    assert file_ids().decode(record.value).body == changes.DismissWarning(
        decision_id=decision_id, person="ann", record_type="Invoice", record_id="17"
    )
