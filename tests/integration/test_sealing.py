"""Sealing with a key per company, on a real database."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from psycopg_pool import AsyncConnectionPool

from connectors.config import SettingsError
from connectors.postgres import Connection, pool
from connectors.sealing import Sealer
from schemas.errors import UnprocessableError

MASTERS = {"k1": b"1" * 32}


@pytest.fixture
async def connections(database_url: str) -> AsyncIterator[AsyncConnectionPool[Connection]]:
    async with pool(database_url) as opened:
        yield opened


@pytest.fixture
async def sealer(connections: AsyncConnectionPool[Connection]) -> Sealer:
    loaded = Sealer(connections, MASTERS)
    await loaded.load(["1", "2"])
    return loaded


async def test_what_is_sealed_opens_in_another_process(
    sealer: Sealer, connections: AsyncConnectionPool[Connection]
) -> None:
    sealed = sealer.seal("1", "record", b"Harbour Estates")
    other = Sealer(connections, MASTERS)
    await other.load(["1"])
    assert b"Harbour" not in sealed
    assert other.open("1", "record", sealed) == b"Harbour Estates"


async def test_what_is_sealed_opens_for_its_company_and_purpose_only(sealer: Sealer) -> None:
    sealed = sealer.seal("1", "record", b"secret")
    for company_id, purpose in (("2", "record"), ("1", "names")):
        with pytest.raises(UnprocessableError, match="was changed or belongs elsewhere"):
            sealer.open(company_id, purpose, sealed)


async def test_every_changed_byte_is_noticed(sealer: Sealer) -> None:
    sealed = sealer.seal("1", "record", b"secret")
    for at in range(len(sealed)):
        forged = sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]
        with pytest.raises(UnprocessableError):
            sealer.open("1", "record", forged)
    with pytest.raises(UnprocessableError, match="unknown format"):
        sealer.open("1", "record", sealed[:20])


async def test_the_same_text_is_sealed_differently_each_time_but_has_one_mac(sealer: Sealer) -> None:
    assert sealer.seal("1", "record", b"same") != sealer.seal("1", "record", b"same")
    assert sealer.mac("1", b"same") == sealer.mac("1", b"same")
    assert sealer.mac("1", b"same") != sealer.mac("2", b"same")


async def test_a_destroyed_key_opens_and_seals_nothing_any_more(
    sealer: Sealer, connections: AsyncConnectionPool[Connection]
) -> None:
    sealed = sealer.seal("1", "record", b"secret")
    await sealer.destroy("1")
    late = Sealer(connections, MASTERS)
    await late.load(["1", "2"])
    for each in (sealer, late):
        with pytest.raises(UnprocessableError, match="was forgotten"):
            each.open("1", "record", sealed)
        with pytest.raises(UnprocessableError, match="was forgotten"):
            each.seal("1", "record", b"more")
        each.seal("2", "record", b"others go on")


async def test_processes_that_meet_a_company_at_once_agree_on_its_key(
    connections: AsyncConnectionPool[Connection],
) -> None:
    sealers = [Sealer(connections, MASTERS) for _ in range(6)]
    await asyncio.gather(*(each.load(["7", "8", "9"]) for each in sealers))
    sealed = sealers[0].seal("8", "record", b"secret")
    assert {each.open("8", "record", sealed) for each in sealers} == {b"secret"}


async def test_rotation_wraps_every_key_anew_and_the_old_master_key_is_not_needed_after(
    sealer: Sealer, connections: AsyncConnectionPool[Connection]
) -> None:
    sealed = sealer.seal("1", "record", b"secret")
    rotating = Sealer(connections, {"k2": b"2" * 32, **MASTERS})
    assert await rotating.rewrap(at_once=1) == 2
    assert await rotating.rewrap() == 0
    new = Sealer(connections, {"k2": b"2" * 32})
    await new.load(["1"])
    assert new.open("1", "record", sealed) == b"secret"


async def test_a_missing_or_wrong_master_key_is_named(
    sealer: Sealer, connections: AsyncConnectionPool[Connection]
) -> None:
    with pytest.raises(SettingsError, match="lacks the key 'k1'"):
        await Sealer(connections, {"k2": b"2" * 32}).load(["1"])
    with pytest.raises(SettingsError, match="'k1' is not the one"):
        await Sealer(connections, {"k1": b"x" * 32}).load(["1"])
