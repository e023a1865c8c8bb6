"""The system that tests.compose.bring_up has brought up, in place of one made of local processes."""

import os
from pathlib import Path

import pytest

from connectors.child import Child, Progress, silent
from streams.local_system import LocalSystem
from tests.acceptance.running import Running

OF_RUN = {name.removeprefix("SYSTEM_"): text for name, text in os.environ.items() if name.startswith("SYSTEM_")}
URLS = ("INGRESS_URL", "SIMULATOR_URL")


class ComposedSystem(LocalSystem):
    """All processes run already, as containers: there is nothing to start or stop."""

    def simulator(self, *, history: str = "", companies: int = 0, port: int = 0) -> str:
        """Its address on this machine; within the system it has another one."""
        return self.urls["simulator"]

    def ingress(self) -> str:
        """Its address on this machine."""
        return self.urls["ingress"]

    def worker(self, name: str = "worker", *, roles: str = "all", progress: Progress = silent) -> Child:
        """A worker of each role runs."""
        return self.children.get(name, NO_CHILD)


NO_CHILD = Child("a container", [], Path("/nonexistent"))


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Running:
    """As the acceptance tests want it: two connected companies with a small history, customers synced."""
    environment = {name: text for name, text in OF_RUN.items() if name not in URLS}
    environment["QUICKBOOKS_API_URL"] = OF_RUN["SIMULATOR_URL"]
    environment["QUICKBOOKS_DISCOVERY_URL"] = f"{OF_RUN['SIMULATOR_URL']}/.well-known/openid_configuration"
    urls = {"simulator": OF_RUN["SIMULATOR_URL"], "ingress": OF_RUN["INGRESS_URL"]}
    composed = ComposedSystem(tmp_path_factory.mktemp("system"), environment, urls=urls)
    running = Running(composed, OF_RUN["DATABASE_URL"])
    running.begin(companies=2)
    return running


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A whole system in containers takes its time."""
    for item in items:
        if "compose" in Path(item.path).parts:
            item.add_marker(pytest.mark.timeout(300))
