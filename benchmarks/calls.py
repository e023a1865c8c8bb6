"""How many calls to QuickBooks a burst of notifications costs: they are metered, so every one is money.

Run: `python -m benchmarks.calls`. The whole system as processes; one company's bookkeeper edits invoices at full speed.
"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import psycopg

from benchmarks.table import Row, all_met, show
from connectors.cluster import group_positions
from connectors.local import Broker, Database
from connectors.postgres import migrate
from streams.local_system import LocalSystem, new_environment
from streams.topology import ENRICH, groups, prepare_topics

CHANGES = 2000
COMPANY = "9130000000000001"
WAIT_S_MAX = 180.0
PER_CALL_MIN = 50


def run() -> list[Row]:
    """Measure; the row for the common table."""
    with (
        tempfile.TemporaryDirectory(prefix="intoaec-bench-") as folder,
        Broker.start(Path(folder) / "kafka") as broker,
        Database.start(Path(folder) / "postgres") as database,
    ):
        migrate(database.url)
        system = LocalSystem(Path(folder), new_environment(broker.bootstrap, database.url))
        try:
            notifications, calls = _burst(system, database.url)
        finally:
            system.stop()
    per_call = notifications / max(calls, 1)
    return [
        Row(
            name="notifications for each call to QuickBooks, in a burst",
            value=per_call,
            unit="",
            target=f"at least {PER_CALL_MIN}",
            met=per_call >= PER_CALL_MIN,
        )
    ]


def _burst(system: LocalSystem, database_url: str) -> tuple[int, int]:
    asyncio.run(prepare_topics(system.settings))
    url = system.simulator(history="small")
    system.ingress()
    system.worker()
    asyncio.run(system.connect("bench", COMPANY))
    _wait(lambda: _count(database_url, "SELECT count(*) FROM control.companies WHERE state = 'active'") == 1)
    _wait(lambda: _count(database_url, "SELECT count(*) FROM control.companies WHERE gap_since IS NOT NULL") == 0)
    httpx.post(f"{url}/_sim/calls/reset", trust_env=False).raise_for_status()
    changed = {"count": CHANGES, "seed": 1, "kinds": ["invoice_edited"]}
    asked = httpx.post(f"{url}/_sim/companies/{COMPANY}/changes", json=changed, timeout=120, trust_env=False)
    notifications = len(asked.json())
    _wait(lambda: _get(url, "/webhooks")["idle"] and not asyncio.run(_lag(system)))
    return notifications, int(_get(url, "/calls")["metered"])


async def _lag(system: LocalSystem) -> int:
    """Notifications that enrich has not finished."""
    positions = await group_positions(system.settings.kafka_bootstrap, ENRICH, groups(system.settings)[ENRICH])
    return sum(position.lag for position in positions.values())


def _wait(done: Any) -> None:
    deadline = time.monotonic() + WAIT_S_MAX
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not done within {WAIT_S_MAX} s")
        time.sleep(0.1)


def _get(url: str, path: str) -> Any:
    return httpx.get(f"{url}/_sim{path}", timeout=30, trust_env=False).json()


def _count(database_url: str, query: str) -> int:
    with psycopg.connect(database_url, autocommit=True) as connection:
        row = connection.execute(query.encode()).fetchone()
    return int(row[0]) if row else 0


if __name__ == "__main__":
    found = run()
    show("Calls", found)
    sys.exit(not all_met(found))
