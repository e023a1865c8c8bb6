"""What must hold of the composed system before anything else is asked of it. Run by tests.compose.bring_up."""

import base64
import hashlib
import hmac
import json
import os
import secrets
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psycopg

from connectors.kafka import read_from
from schemas.codec import released
from schemas.topics import topics

ROOT = Path(__file__).parents[2]
SYSTEM = {name: value for name, value in os.environ.items() if name.startswith("SYSTEM_")}
ENGINE = dict(os.environ)  # as the run gave it: tests themselves see an environment without our variables
TOPICS = topics(4)


def signed(body: bytes) -> dict[str, str]:
    digest = hmac.digest(SYSTEM["SYSTEM_WEBHOOK_VERIFIER_TOKENS"].encode(), body, hashlib.sha256)
    return {"content-type": "application/json", "intuit-signature": base64.b64encode(digest).decode()}


def delivery(cause_id: str) -> bytes:
    event = {
        "specversion": "1.0",
        "id": cause_id,
        "source": "intuit.test",
        "type": "qbo.invoice.updated.v1",
        "datacontenttype": "application/json",
        "time": datetime.now(UTC).isoformat(),
        "intuitentityid": "1",
        "intuitaccountid": "9999999999999999999",
        "data": {},
    }
    return json.dumps([event]).encode()


def post(body: bytes, headers: dict[str, str]) -> int:
    return httpx.post(f"{SYSTEM['SYSTEM_INGRESS_URL']}/webhooks/quickbooks", content=body, headers=headers).status_code


async def values() -> list[bytes]:
    found = read_from(SYSTEM["SYSTEM_KAFKA_BOOTSTRAP"], TOPICS.notifications.name)
    return [record.value or b"" async for batch in found for record in batch]


async def test_signed_delivery_is_durable_when_it_is_answered() -> None:
    cause_id = secrets.token_hex(16)
    body = delivery(cause_id)
    assert post(body, signed(body)) == 200
    assert [json.loads(value)["id"] for value in await values() if cause_id.encode() in value] == [cause_id]


async def test_bad_signature_is_refused_and_publishes_nothing() -> None:
    cause_id = secrets.token_hex(16)
    assert post(delivery(cause_id), signed(b"something else")) == 401
    assert not [value for value in await values() if cause_id.encode() in value]


def test_simulator_answers() -> None:
    assert httpx.get(f"{SYSTEM['SYSTEM_SIMULATOR_URL']}/.well-known/openid_configuration").is_success


def test_tables_are_there() -> None:
    with psycopg.connect(SYSTEM["SYSTEM_DATABASE_URL"]) as connection:
        assert connection.execute("SELECT count(*) FROM control.companies").fetchone() == (0,)


def test_registry_has_every_contract_with_the_ids_that_are_in_use() -> None:
    registry = SYSTEM["SYSTEM_SCHEMA_REGISTRY_URL"]
    assert set(httpx.get(f"{registry}/subjects").json()) == {contract.subject for contract in released().values()}
    with psycopg.connect(SYSTEM["SYSTEM_DATABASE_URL"]) as connection:
        in_use = connection.execute("SELECT schema_id, subject, version FROM control.schema_ids").fetchall()
    with httpx.Client(base_url=registry) as client:
        kept = {(found["id"], *key) for key in _keys() if (found := client.get(_path(*key)).json())}
    assert set(in_use) == kept


def _keys() -> list[tuple[str, int]]:
    return [(contract.subject, contract.version) for contract in released().values()]


def _path(subject: str, version: int) -> str:
    return f"subjects/{subject}/versions/{version}"


def test_containers_run_as_users_that_are_not_root() -> None:
    listed = _docker("compose", "--env-file", "/dev/null", "ps", "--quiet").split()
    assert listed
    for container in listed:
        uids = {line.split()[0] for line in _docker("top", container, "-eo", "uid,pid").splitlines()[1:]}
        assert uids, container
        assert "0" not in uids, _docker("inspect", "--format", "{{.Name}}", container)


def _docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], cwd=ROOT, env=ENGINE, capture_output=True, text=True, check=True)
    return done.stdout
