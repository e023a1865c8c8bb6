"""What tests may ask for, and what no test may do."""

import os
import socket

import psycopg
import pytest

from connectors.config import Settings


def test_a_connection_to_elsewhere_is_refused() -> None:
    with socket.socket() as refused, pytest.raises(AssertionError, match=r"must not connect to 127\.0\.0\.2"):
        refused.connect(("127.0.0.2", 9))


def test_no_setting_of_ours_is_left_in_the_environment() -> None:
    assert not {name.upper() for name in Settings.model_fields} & set(os.environ)


@pytest.mark.parametrize("who", ["one test", "another test"])
def test_every_test_has_a_database_of_its_own(database_url: str, who: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE TABLE mine AS SELECT 1")
        tables = connection.execute("SELECT count(*) FROM pg_tables WHERE tablename = 'migrations'").fetchone()
    assert tables == (1,)
