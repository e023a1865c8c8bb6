"""A running system under test: the processes of one installation, and the ways to look at it from outside."""

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
from psycopg import conninfo, sql

from connectors.cluster import group_positions
from connectors.kafka import read_from
from schemas.wire import Incoming
from streams.demo import OPEN_AMOUNTS, differences
from streams.local_system import LocalSystem, new_environment
from streams.requests import Answered, Mapping, Requests
from streams.topology import groups, opened, prepare_topics, topics_of

FIRST, SECOND = "9130000000000001", "9130000000000002"


def installed(bootstrap: str, server_url: str, folder: Path, template_database: str) -> "Running":
    """An installation of its own on this broker and this database server, not begun yet."""
    name = f"acceptance_{secrets.token_hex(4)}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        connection.execute(create.format(sql.Identifier(name), sql.Identifier(template_database)))
    url = conninfo.make_conninfo(server_url, dbname=name)
    prefix = f"t{secrets.token_hex(4)}-"
    environment = new_environment(bootstrap, url, TOPIC_PREFIX=prefix, KAFKA_SESSION_TIMEOUT_S="6", BUILD="test")
    return Running(LocalSystem(folder, environment), url)


@dataclass
class Running:
    """One installation; `system` starts, kills and stops its processes."""

    system: LocalSystem
    database_url: str
    connected: list[str] = field(default_factory=list)

    # --- beginning -----------------------------------------------------------------------------------------------

    def begin(self, *, companies: int = 1, history: str = "small", workers: tuple[str, ...] = ("worker",)) -> None:
        """Start everything, connect the companies, read their history and sync their customers."""
        asyncio.run(prepare_topics(self.system.settings))
        self.system.simulator(history=history, companies=companies)
        self.simulator("PUT", "/webhooks", {"aggregation_ms": 50, "retry_scale": 0.02})
        self.system.ingress()
        with ThreadPoolExecutor() as at_once:
            list(at_once.map(self.system.worker, workers))
        for number, company_id in enumerate((FIRST, SECOND)[:companies]):
            asyncio.run(self.system.connect(f"organisation-{number}", company_id))
            self.connected.append(company_id)
        self.wait_for(lambda: self.rows("SELECT state FROM control.companies") == [("active",)] * companies, 180)
        for company_id in self.connected:
            self.sync(company_id)
        self.settle()

    def sync(self, company_id: str) -> None:
        """Declare the company's projects and map their customers."""
        answers = asyncio.run(self._sync(company_id))
        assert [answer for answer in answers if not answer.accepted] == []

    async def _sync(self, company_id: str) -> list[Answered]:
        catalogue = self.simulator("GET", f"/companies/{company_id}/projects")
        async with opened(self.system.settings) as system:
            requests = Requests(system.connections, system.publisher, system.topics)
            await requests.declare(company_id, [(p["project_id"], p["name"]) for p in catalogue])
            wanted = {p["customer_id"]: p["project_id"] for p in reversed(catalogue)}
            asked = await requests.map(company_id, "tester", [Mapping(c, p) for c, p in wanted.items()])
            return await requests.answers(company_id, asked, within_s=120)

    def ask_to_map(self, company_id: str, customer_id: str, project_id: str) -> str:
        """Declare a project and ask to map a customer into it; returns the decision's id without its answer."""

        async def ask() -> str:
            async with opened(self.system.settings) as system:
                requests = Requests(system.connections, system.publisher, system.topics)
                await requests.declare(company_id, [(project_id, project_id)])
                return (await requests.map(company_id, "tester", [Mapping(customer_id, project_id)]))[0]

        return asyncio.run(ask())

    # --- QuickBooks' side ----------------------------------------------------------------------------------------

    def simulator(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """The simulator's control API."""
        url = f"{self.system.urls['simulator']}/_sim{path}"
        answer = httpx.request(method, url, json=body, timeout=60, trust_env=False)
        assert answer.status_code < 400, answer.text
        return json.loads(answer.text, parse_float=Decimal)

    def change(self, company_id: str, count: int, seed: int, *kinds: str) -> list[dict[str, Any]]:
        """Let somebody work in QuickBooks; webhooks follow."""
        body: dict[str, Any] = {"count": count, "seed": seed} | ({"kinds": list(kinds)} if kinds else {})
        changed: list[dict[str, Any]] = self.simulator("POST", f"/companies/{company_id}/changes", body)
        return changed

    def deliver(self, body: bytes, *, signature: str | None = None) -> int:
        """Send one delivery to the ingress, signed as Intuit does; returns the status."""
        key = self.system.environment["WEBHOOK_VERIFIER_TOKENS"].encode()
        signed = base64.b64encode(hmac.digest(key, body, hashlib.sha256)).decode()
        headers = {"intuit-signature": signature or signed, "content-type": "application/json"}
        url = f"{self.system.urls['ingress']}/webhooks/quickbooks"
        return httpx.post(url, content=body, headers=headers, timeout=30, trust_env=False).status_code

    # --- our side ------------------------------------------------------------------------------------------------

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """What the database says."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            return connection.execute(query.encode(), parameters or None).fetchall()

    def records(self, topic: str) -> list[Incoming]:
        """Everything in one topic of this installation."""

        async def read() -> list[Incoming]:
            found: list[Incoming] = []
            async for batch in read_from(self.system.settings.kafka_bootstrap, topic):
                found += batch
            return found

        return asyncio.run(read())

    def differences(self, company_id: str) -> list[str]:
        """What is not as QuickBooks says, to the cent."""
        truth = self.simulator("GET", f"/companies/{company_id}/truth")
        return differences(truth, self.rows(OPEN_AMOUNTS, company_id, company_id))

    def settle(self, within_s: float = 180.0) -> None:
        """Wait until nothing is on its way any more."""
        self.wait_for(lambda: not self.unsettled(), within_s, self.unsettled)

    def unsettled(self) -> list[str]:
        """What is still on its way; the groups are asked last, and only when nothing else is: that takes its time."""
        found = [] if self.simulator("GET", "/webhooks")["idle"] else ["webhooks"]
        queries = {
            "gap": "SELECT FROM control.companies WHERE gap_since IS NOT NULL",
            "unread": "SELECT FROM control.unread",
            "unpublished": "SELECT FROM ledger.streams WHERE published < version",
            "unasked": "SELECT FROM ledger.read_requests",
            "unprojected": _UNPROJECTED,
        }
        found += [name for name, query in queries.items() if self.rows(query)]
        return found or [f"{group} lags" for group in asyncio.run(self._lagging())]

    async def _lagging(self) -> list[str]:
        settings = self.system.settings
        read = groups(settings)
        found = await asyncio.gather(
            *(group_positions(settings.kafka_bootstrap, group, names) for group, names in read.items())
        )
        return [
            group
            for group, positions in zip(read, found, strict=True)
            if any(position.lag for position in positions.values())
        ]

    def wait_for(self, found: Callable[[], Any], within_s: float = 120.0, detail: Callable[[], Any] = str) -> Any:
        """Poll until there is something, with a limit."""
        deadline = time.monotonic() + within_s
        while not (result := found()):
            assert time.monotonic() < deadline, f"not within {within_s} s: {detail()}"
            time.sleep(0.05)
        return result

    def assert_versions_are_whole(self) -> None:
        """Versions have no gap, and their first occurrences in the topics are in order."""
        assert self.rows(_GAPS) == []
        topics = topics_of(self.system.settings)
        for topic in (topics.accounting_events, topics.company_events):
            for key, versions in _first_occurrences(self.records(topic.name)).items():
                assert versions == list(range(1, len(versions) + 1)), key


_GAPS = """
    SELECT kind, stream_id FROM ledger.events GROUP BY 1, 2 HAVING max(version) <> count(*) OR min(version) <> 1
"""
_UNPROJECTED = """
    SELECT FROM ledger.streams s
    CROSS JOIN (VALUES ('project', 'project-balance-v1'), ('project', 'project-documents-v1'),
                       ('project', 'project-journal-v1'),
                       ('project', 'payments-v1'), ('company', 'customers-v1'), ('company', 'waiting-v1')) n(kind, name)
    LEFT JOIN read_positions p ON p.stream_id = s.stream_id AND p.projector = n.name
    WHERE n.kind = s.kind AND s.version > coalesce(p.version, 0)
"""


def _first_occurrences(records: list[Incoming]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    ordered = sorted(records, key=lambda record: (record.key, record.partition, record.offset))
    for key, of_key in groupby(ordered, key=lambda record: record.key):
        seen: dict[int, None] = {}
        for record in of_key:
            seen.setdefault(int(record.headers["version"]), None)
        found[key] = list(seen)
    return found


def cloud_event(
    company_id: str, entity: str, record_id: str, operation: str = "updated", **more: Any
) -> dict[str, Any]:
    """One change event as Intuit sends it."""
    return {
        "specversion": "1.0",
        "id": str(uuid4()),
        "source": "intuit.test",
        "type": f"qbo.{entity.lower()}.updated.v1",
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),  # better: when the record really changed
        "intuitentityid": record_id,
        "intuitaccountid": company_id,
        "data": {},
    } | more
