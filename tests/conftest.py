"""What every test may ask for: the real broker, the real database, names of its own; and what no test may do.

The broker and the database are, in this order: those named by KAFKA_BOOTSTRAP and DATABASE_URL; containers where
TEST_WITH=containers; local processes. One of each for the whole run; a test gets its own topics and its own database.
"""

import os
import secrets
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as of_properties
from psycopg import conninfo, sql

from connectors.config import Settings
from connectors.local import Broker, Database
from connectors.postgres import migrate

EXTERNAL = {name: os.environ.get(name, "") for name in ("DATABASE_URL", "KAFKA_BOOTSTRAP", "TEST_WITH")}
# The machine may be busy, and the first draw of text builds a table: neither says anything about our code.
of_properties.register_profile("calm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
of_properties.load_profile("calm")
LOCALHOST = ("127.0.0.1", "::1", "localhost", "", None)


@dataclass(frozen=True)
class RunningBroker:
    """The broker of this run."""

    bootstrap: str


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    """One broker for the whole run. A test that kills or freezes nodes starts its own with connectors.local."""
    if EXTERNAL["KAFKA_BOOTSTRAP"]:
        yield RunningBroker(EXTERNAL["KAFKA_BOOTSTRAP"])
    elif EXTERNAL["TEST_WITH"] == "containers":
        from tests.containers import kafka

        with kafka() as bootstrap:
            yield RunningBroker(bootstrap)
    else:
        with Broker.start(tmp_path_factory.mktemp("kafka")) as started:
            yield RunningBroker(started.bootstrap)


@pytest.fixture(scope="session")
def database() -> Iterator[str]:
    """The address of one server for the whole run, faster than safe. A test that kills a server starts its own."""
    if EXTERNAL["DATABASE_URL"]:
        yield EXTERNAL["DATABASE_URL"]
    elif EXTERNAL["TEST_WITH"] == "containers":
        from tests.containers import postgres

        with postgres() as url:
            yield url
    else:
        # Not below pytest's own folder: a second run beside this one closes that to the server's account.
        with (
            tempfile.TemporaryDirectory(prefix="intoaec-postgres-") as folder,
            Database.start(Path(folder), fsync=False) as started,
        ):
            yield started.url


@pytest.fixture(scope="session")
def template_database(database: str) -> Iterator[str]:
    """The name of a database with all tables and no rows, from which every test's own is copied."""
    name = f"template_{secrets.token_hex(4)}"
    _execute(database, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    migrate(_address(database, name))
    yield name
    _drop(database, name)


@pytest.fixture
def database_url(database: str, template_database: str) -> Iterator[str]:
    """The address of a database of the test's own, with all tables and no rows."""
    name = f"test_{secrets.token_hex(6)}"
    copy = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
    _execute(database, copy.format(sql.Identifier(name), sql.Identifier(template_database)))
    yield _address(database, name)
    _drop(database, name)


@pytest.fixture
def topic_prefix() -> str:
    """What the names of the test's own topics and groups begin with."""
    return f"t{secrets.token_hex(4)}-"


@pytest.fixture(autouse=True)
def _no_variables_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that wants one of our settings sets it."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(autouse=True)
def _no_sockets_but_localhost(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if isinstance(address, tuple) and address[0] not in LOCALHOST:
            raise AssertionError(f"a test must not connect to {address[0]}")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded)


def _address(url: str, database: str) -> str:
    return conninfo.make_conninfo(url, dbname=database)


def _drop(url: str, database: str) -> None:
    _execute(url, sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database)))


def _execute(url: str, statement: sql.Composed) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests in the order unit, conformance, integration, acceptance: what is cheap to run fails first."""
    order = ("unit", "conformance", "integration", "acceptance")
    items.sort(key=lambda item: next((i for i, part in enumerate(order) if part in Path(item.path).parts), -1))
