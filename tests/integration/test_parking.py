"""Parked records in the real database: kept once, told once, repeated or put away by a person."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from connectors.postgres import pool, transaction
from schemas.codec import file_ids
from schemas.errors import TransientError, UnprocessableError
from schemas.topics import topics
from schemas.wire import Incoming, Outgoing, Unworkable
from streams.parking import Parking, Place, TooManyParked

TOPICS = topics(4)
PLACE = Place("ledger-v1", "company-changes", 3, 7)


class Published:
    """A broker that remembers; `away` refuses."""

    def __init__(self) -> None:
        self.records: list[Outgoing] = []
        self.away = False

    async def publish(self, records: Sequence[Outgoing]) -> None:
        if self.away:
            raise TransientError("the broker is away")
        self.records += records


@pytest.fixture
def published() -> Published:
    return Published()


@pytest.fixture
async def parking(database_url: str, published: Published) -> AsyncIterator[Parking]:
    async with pool(database_url) as connections:
        yield Parking(connections, published, TOPICS, "build-1", parked_max=3)


def unworkable(offset: int = 7, **more: Any) -> Unworkable:
    headers = {"delivery_id": b"d-1", "binary": b"\x00\xff"}
    record = Incoming("company-changes", 3, offset, "9130", b"bytes", headers, 0)
    return Unworkable(record=record, error=UnprocessableError("the record has no Id"), **more)


async def test_parking_twice_is_one_row_and_one_message(parking: Parking, published: Published) -> None:
    await parking.park_now("ledger-v1", [unworkable()])
    await parking.park_now("ledger-v1", [unworkable()])
    (listed,) = await parking.listed()
    assert (listed.place, listed.reason, listed.error_type) == (PLACE, "the record has no Id", "UnprocessableError")
    (message,) = published.records
    body = file_ids().decode(message.value).body
    assert (message.topic, message.key, body.value, body.build) == ("parked", "9130", b"bytes", "build-1")


async def test_what_could_not_be_published_is_published_later(parking: Parking, published: Published) -> None:
    published.away = True
    with pytest.raises(TransientError):
        await parking.park_now("ledger-v1", [unworkable()])
    published.away = False
    await parking.park_now("ledger-v1", [])
    assert len(published.records) == 1
    assert await parking.publish_unpublished() == 0


async def test_too_many_parked_stop_the_step_and_keep_none_of_the_batch(parking: Parking) -> None:
    await parking.park_now("ledger-v1", [unworkable(1), unworkable(2)])
    with pytest.raises(TooManyParked, match="ledger-v1 parked 4 records within 60 s"):
        await parking.park_now("ledger-v1", [unworkable(3), unworkable(4)])
    assert len(await parking.listed()) == 2
    await parking.park_now("enrich-v1", [unworkable(3), unworkable(4)])


async def test_newer_read_of_a_record_supersedes_what_is_parked_of_it(parking: Parking) -> None:
    await parking.park_now(
        "ledger-v1",
        [unworkable(1, record_type="Invoice", record_id="17"), unworkable(2, record_type="Invoice", record_id="18")],
    )
    async with transaction(parking._connections) as connection:
        reads = [("9130", "Invoice", "17", 10**9), ("1", "Invoice", "18", 10**9)]
        await parking.supersede(connection, "ledger-v1", reads)
    assert [listed.record_id for listed in await parking.listed()] == ["18"]
    assert [listed.resolution for listed in await parking.listed(resolved_too=True)] == [None, "superseded"]


async def test_redrive_publishes_the_same_bytes_under_the_same_key_once(parking: Parking, published: Published) -> None:
    await parking.park_now("ledger-v1", [unworkable()])
    await parking.redrive(PLACE)
    assert published.records[-1] == Outgoing(
        topic="company-changes",
        key="9130",
        value=b"bytes",
        headers=(
            ("binary", b"\x00\xff"),
            ("delivery_id", b"d-1"),
            ("redriven_from", b"ledger-v1/company-changes/3/7"),
        ),
    )
    with pytest.raises(UnprocessableError, match="it was redriven"):
        await parking.redrive(PLACE)
    assert len(published.records) == 2


async def test_dismissed_record_is_not_listed_and_not_repeated(parking: Parking) -> None:
    await parking.park_now("ledger-v1", [unworkable()])
    await parking.dismiss(PLACE, "a test of ours")
    assert await parking.listed() == []
    with pytest.raises(UnprocessableError, match="it was dismissed"):
        await parking.redrive(PLACE)


@pytest.mark.parametrize("text", ["", "ledger-v1", "ledger-v1/company-changes/3", "ledger-v1/company-changes/x/7"])
def test_text_that_names_no_place_is_refused(text: str) -> None:
    with pytest.raises(UnprocessableError, match="does not name a parked record"):
        Place.parse(text)


def test_place_is_read_back_from_its_text() -> None:
    assert Place.parse(str(PLACE)) == PLACE
