"""Running systems: one for all tests that leave it whole, and a maker of others for tests that break theirs."""

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo, sql

from streams.local_system import LocalSystem, new_environment
from tests.acceptance.breaking import install_gates
from tests.acceptance.running import Running
from tests.conftest import RunningBroker

Start = Callable[..., Running]
PAIR = ("first", "second")


@pytest.fixture(scope="session")
def start(
    database: str, template_database: str, broker: RunningBroker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Start]:
    """Makes an installation of its own, with a database and topics of its own; not begun yet.

    All are stopped before the broker of the run, or their workers would wait for it.
    """
    made: list[Running] = []

    def make(bootstrap: str) -> Running:
        name = f"acceptance_{secrets.token_hex(4)}"
        with psycopg.connect(database, autocommit=True) as connection:
            create = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
            connection.execute(create.format(sql.Identifier(name), sql.Identifier(template_database)))
        url = conninfo.make_conninfo(database, dbname=name)
        prefix = f"t{secrets.token_hex(4)}-"
        environment = new_environment(bootstrap, url, TOPIC_PREFIX=prefix, KAFKA_SESSION_TIMEOUT_S="6", BUILD="test")
        running = Running(LocalSystem(tmp_path_factory.mktemp("system"), environment), url)
        made.append(running)
        return running

    yield make
    for running in made:
        running.system.stop()


@pytest.fixture(scope="session")
def system(start: Start, broker: RunningBroker) -> Running:
    """Two connected companies with a small history, customers synced; tests leave it whole."""
    running = start(broker.bootstrap)
    running.begin(companies=2)
    return running


@pytest.fixture(scope="session")
def pair(start: Start, broker: RunningBroker) -> Running:
    """One connected company and two workers, for tests that break them; each leaves them whole and running."""
    running = start(broker.bootstrap)
    install_gates(running)
    running.begin(workers=PAIR)
    return running


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A whole system takes its time to start."""
    for item in items:
        if "acceptance" in Path(item.path).parts:
            item.add_marker(pytest.mark.timeout(600))
