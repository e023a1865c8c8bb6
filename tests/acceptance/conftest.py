"""Running systems: one for all tests that leave it whole, and a maker of others for tests that break theirs."""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.breaking import install_gates
from tests.acceptance.running import Running, installed
from tests.conftest import RunningBroker

Start = Callable[..., Running]
PAIR = ("first", "second")
FAILED = pytest.StashKey[bool]()


@pytest.fixture(scope="session")
def start(
    database: str, template_database: str, broker: RunningBroker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Start]:
    """Makes an installation of its own, with a database and topics of its own; not begun yet.

    All are stopped before the broker of the run, or their workers would wait for it.
    """
    made: list[Running] = []

    def make(bootstrap: str) -> Running:
        running = installed(bootstrap, database, tmp_path_factory.mktemp("system"), template_database)
        made.append(running)
        return running

    yield make
    for running in made:
        running.system.stop()


def begun(running: Running, **chosen: Any) -> Running:
    """The same system, running; one that cannot begin leaves no process behind."""
    try:
        running.begin(**chosen)
    except BaseException:
        running.system.stop()
        raise
    return running


class Kept:
    """One running system for many tests, as long as each leaves it whole: after a failure the next gets a new one."""

    def __init__(self, begin: Callable[[], Running]) -> None:
        self._begin = begin
        self._running: Running | None = None

    @contextmanager
    def lent(self, request: pytest.FixtureRequest) -> Iterator[Running]:
        """The system, for one test."""
        self._running = self._running or self._begin()
        yield self._running
        if request.node.stash.get(FAILED, False):
            self.stop()

    def stop(self) -> None:
        """Whoever comes next gets a new one."""
        if self._running is not None:
            self._running.system.stop()
            self._running = None


@pytest.fixture(scope="session")
def kept_system(start: Start, broker: RunningBroker) -> Kept:
    return Kept(lambda: begun(start(broker.bootstrap), companies=2))


@pytest.fixture
def system(kept_system: Kept, request: pytest.FixtureRequest) -> Iterator[Running]:
    """Two connected companies with a small history, customers synced; tests leave it whole."""
    with kept_system.lent(request) as running:
        yield running


@pytest.fixture(scope="session")
def kept_pair(start: Start, broker: RunningBroker) -> Kept:
    def begin() -> Running:
        running = start(broker.bootstrap)
        install_gates(running)
        return begun(running, workers=PAIR)

    return Kept(begin)


@pytest.fixture
def pair(kept_pair: Kept, request: pytest.FixtureRequest) -> Iterator[Running]:
    """One connected company and two workers, for tests that break them; each leaves them whole and running."""
    with kept_pair.lent(request) as running:
        yield running


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fixtures learn whether their test failed."""
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A whole system takes its time to start."""
    for item in items:
        if "acceptance" in Path(item.path).parts:
            item.add_marker(pytest.mark.timeout(600))
