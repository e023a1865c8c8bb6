"""A pretend Intuit in its own process, and everything of ours that calls it, for tests."""

import json
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool
from pydantic import SecretStr

from connectors.config import Settings
from connectors.control import ControlTables
from connectors.postgres import Connection, pool
from connectors.quickbooks.client import QuickBooks
from connectors.quickbooks.http import Http
from connectors.quickbooks.limiter import Limiter
from connectors.quickbooks.oauth import Authorizations
from connectors.sealing import Sealer
from schemas.codec import Recorded, file_ids
from schemas.topics import Topics, topics
from schemas.wire import Incoming, Outgoing

REDIRECT_URL = "http://127.0.0.1:9/callback"


@dataclass
class Intuit:
    """The simulator, as a test steers it."""

    url: str
    companies: list[str] = field(default_factory=list)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """One request of the control API."""
        answer = httpx.request(method, f"{self.url}/_sim{path}", json=body, trust_env=False, timeout=60)
        answer.raise_for_status()
        return answer.json()

    def write(self, company_id: str, entity: str, **fields: Any) -> dict[str, Any]:
        """Create or change one record; returns it as QuickBooks shows it."""
        written: dict[str, Any] = self.ask("POST", f"/companies/{company_id}/records/{entity}", fields)["record"]
        return written

    def end(self, company_id: str, entity: str, record_id: str, operation: str) -> None:
        """Void or delete a record."""
        self.ask("POST", f"/companies/{company_id}/records/{entity}/{record_id}/{operation}", {})

    def newest(self, company_id: str, entity: str, limit: int = 50) -> list[dict[str, Any]]:
        """Records as the API shows them, the newest first."""
        found: list[dict[str, Any]] = self.ask("GET", f"/companies/{company_id}/records/{entity}?limit={limit}")
        return found

    def fault(self, **rule: Any) -> None:
        """One more fault."""
        self.ask("POST", "/faults", rule)

    def calls(self, company_id: str | None = None) -> Any:
        """What was called."""
        return self.ask("GET", "/calls" + (f"?realm={company_id}" if company_id else ""))

    def now(self) -> datetime:
        """Intuit's time."""
        return datetime.fromisoformat(self.ask("GET", "/clock")["now"]).astimezone(UTC)

    def invoice(self, company_id: str, amount: str = "100.00") -> dict[str, Any]:
        """A new invoice for some customer."""
        customer = next(each["Id"] for each in self.newest(company_id, "customer") if each["Active"])
        line = {
            "Amount": float(amount),
            "DetailType": "SalesItemLineDetail",
            "SalesItemLineDetail": {"ItemRef": {"value": "1"}, "Qty": 1, "UnitPrice": float(amount)},
        }
        return self.write(company_id, "invoice", CustomerRef={"value": customer}, Line=[line])


@pytest.fixture(scope="module")
def _simulator() -> Iterator[Intuit]:
    command = [sys.executable, "-m", "connectors.simulator", "--port", "0", "--history", "small", "--companies", "3"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        intuit = Intuit(ready["url"])
        intuit.companies = [company["realm"] for company in intuit.ask("GET", "/companies")]
        yield intuit
    finally:
        process.terminate()
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture
def intuit(_simulator: Intuit) -> Iterator[Intuit]:
    """The simulator without faults, with all its calls forgotten."""
    _simulator.ask("DELETE", "/faults")
    _simulator.ask("POST", "/calls/reset")
    _simulator.ask("PUT", "/limits", {"enabled": False})  # each test has a limiter of its own
    before = {path: _simulator.ask("GET", path) for path in ("/limits", "/oauth")}
    yield _simulator
    for path, settings in before.items():
        _simulator.ask("PUT", path, settings)


@dataclass
class Ours:
    """What of ours calls Intuit, as one process has it."""

    settings: Settings
    connections: AsyncConnectionPool[Connection]
    http: Http
    sealer: Sealer
    authorizations: Authorizations
    quickbooks: QuickBooks
    control: ControlTables
    limiter: Limiter
    topics: Topics
    published: list[Outgoing]

    async def publish(self, records: Sequence[Outgoing]) -> None:
        """Keep what is published."""
        self.published.extend(records)

    def messages(self, topic: str = "company-changes") -> list[Recorded[Any, Any]]:
        """What was published so far, decoded."""
        return [file_ids().decode(each.value) for each in self.published if each.topic == topic]

    async def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Rows of the database."""
        async with self.connections.connection() as connection:
            cursor = await connection.execute(statement, values)
            return await cursor.fetchall() if cursor.description else []

    async def connect(self, intuit: Intuit, company_id: str, organisation_id: str = "") -> None:
        """A person connects a company, from the settings page to the callback."""
        address = await self.authorizations.start(organisation_id or f"organisation of {company_id}")
        callback = consent(address, company_id)
        await self.authorizations.finish(callback["code"], callback["state"], callback["realmId"])


def consent(address: str, company_id: str) -> dict[str, str]:
    """What the browser brings back after the person has authorised the company."""
    answer = httpx.get(address + f"&auto=1&realmId={company_id}", trust_env=False)
    assert answer.status_code == 302, answer.text
    return {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}


def settings_for(intuit: Intuit, database_url: str, **changed: Any) -> Settings:
    """Settings of an installation that takes the simulator for Intuit."""
    values: dict[str, Any] = {
        "kafka_bootstrap": "127.0.0.1:9",
        "database_url": SecretStr(database_url),
        "master_keys": {"k1": b"1" * 32},
        "topic_partitions": 4,
        "quickbooks_api_url": intuit.url,
        "quickbooks_discovery_url": f"{intuit.url}/.well-known/openid_configuration",
        "quickbooks_client_id": "simulator-client",
        "quickbooks_client_secret": SecretStr("simulator-secret"),
        "quickbooks_redirect_url": REDIRECT_URL,
    }
    return Settings(**(values | changed))


@asynccontextmanager
async def ours(intuit: Intuit, database_url: str, *, patience_s: float = 0.8, **changed: Any) -> AsyncIterator[Ours]:
    """One process of ours, within this one; several of them share only the database."""
    settings, names, published = settings_for(intuit, database_url, **changed), topics(4), list[Outgoing]()

    async def publish(records: Sequence[Outgoing]) -> None:
        published.extend(records)

    async with pool(database_url, connections_max=4) as connections, Http(settings) as http:
        sealer = Sealer(connections, settings.master_keys)
        authorizations = Authorizations(settings, connections, http, sealer, publish, names)
        limiter = Limiter(connections, settings.quickbooks_calls_per_month_max)
        quickbooks = QuickBooks(settings, http, authorizations, limiter, patience_s=patience_s)
        control = ControlTables(connections)
        yield Ours(settings, connections, http, sealer, authorizations, quickbooks, control, limiter, names, published)


@pytest.fixture
async def process(intuit: Intuit, database_url: str) -> AsyncIterator[Ours]:
    """One process of ours."""
    async with ours(intuit, database_url) as found:
        yield found


def notification(
    company_id: str, entity: str, record_id: str, operation: str, at: datetime, *, offset: int = 0, vanished: str = ""
) -> Incoming:
    """One record of quickbooks-notifications, as Intuit's CloudEvents have it."""
    cause_id = f"{secrets.token_hex(8)}-{entity}-{record_id}"
    event = {
        "specversion": "1.0",
        "id": cause_id,
        "source": "intuit.simulated",
        "type": f"qbo.{entity.lower()}.{operation}.v1",
        "time": at.isoformat().replace("+00:00", "Z"),
        "intuitentityid": record_id,
        "intuitaccountid": company_id,
        "data": {"deletedid": vanished} if vanished else {},
    }
    headers = {"format": b"cloudevents", "company_id": company_id.encode(), "cause_id": cause_id.encode()}
    headers["received_at"] = at.isoformat().encode()
    return Incoming("quickbooks-notifications", 0, offset, company_id, json.dumps(event).encode(), headers, 0)


def execute(database_url: str, statement: str, *values: object) -> None:
    """Change the database behind everybody's back."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(statement, values)
