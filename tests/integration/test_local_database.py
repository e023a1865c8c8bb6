"""The database of one machine."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from connectors.local import Database


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A server that these tests may kill; each leaves it running."""
    with Database.start(tmp_path_factory.mktemp("own")) as started:
        yield started


def value(url: str, query: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


@pytest.mark.parametrize(
    ("setting", "expected"),
    [("fsync", "on"), ("max_connections", "200"), ("server_encoding", "UTF8"), ("TimeZone", "UTC")],
)
def test_settings_are_those_of_a_database_that_keeps_money(own: Database, setting: str, expected: str) -> None:
    assert value(own.url, f"SELECT current_setting('{setting}')") == expected


def test_text_is_ordered_by_code_point_and_knows_letters_beyond_ascii(own: Database) -> None:
    assert value(own.url, "SELECT 'Z' < 'a' AND lower('ÄÉ') = 'äé'") is True


def test_it_is_version_18(own: Database) -> None:
    assert str(value(own.url, "SHOW server_version")).startswith("18.")


def test_what_was_committed_is_there_after_a_kill(own: Database) -> None:
    with psycopg.connect(own.url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    own.kill()
    assert not own.running
    own.restart()
    assert value(own.url, "SELECT answer FROM kept") == 42


def test_a_database_is_copied_from_a_template_and_dropped_under_its_users(own: Database) -> None:
    template = own.create("mould")
    with psycopg.connect(template) as connection:
        connection.execute("CREATE TABLE shape AS SELECT 1 AS one")
    copy = own.create("cast", template="mould")
    assert value(copy, "SELECT one FROM shape") == 1
    with psycopg.connect(copy) as still_connected:
        own.drop("cast")
        with pytest.raises(psycopg.OperationalError):
            still_connected.execute("SELECT 1")
    own.drop("cast")


def test_it_listens_on_this_machine_only_and_asks_for_a_password(own: Database) -> None:
    server = psutil.process_iter(["cmdline"])
    (postmaster,) = [each for each in server if str(own.folder / "pgdata") in (each.info["cmdline"] or [])]
    listening = [each.laddr.ip for each in postmaster.net_connections() if each.status == psutil.CONN_LISTEN]
    assert listening == ["127.0.0.1"]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(own.url, password="wrong")


def test_started_again_it_has_its_rows_and_its_address(tmp_path: Path) -> None:
    with Database.start(tmp_path, fsync=False) as first, psycopg.connect(first.url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS answer")
        connection.commit()
    with Database.start(tmp_path, fsync=False) as second:
        assert second.url == first.url
        assert value(second.url, "SELECT answer FROM kept") == 7


def test_a_preparation_that_was_cut_off_is_done_again(tmp_path: Path) -> None:
    (tmp_path / "pgdata").mkdir()
    (tmp_path / "pgdata" / "half").write_text("")
    with Database.start(tmp_path, fsync=False) as database:
        assert value(database.url, "SELECT 1") == 1
