"""What the system needs of a Confluent-compatible registry, over a stand-in and over the real Apicurio Registry.

The real one is a long proof: `make prove ARGS="-k registry"`.
"""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import psycopg
import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext
from fastavro.schema import to_parsing_canonical_form

from connectors.config import Settings
from connectors.registry import RegistryError, agree, contracts_by_id, schema_ids
from schemas.codec import SchemaIds, file_ids, released
from schemas.errors import TransientError
from tests.apicurio import registry as apicurio
from tests.golden import EXAMPLES, plain

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"
KEY = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
INVOICE_ISSUED = "intoaec.accounting.InvoiceIssued"

Answer = tuple[int, Any]
Answers = Callable[[str, str, dict[str, Any]], Answer]


class StandIn:
    """As much of the Confluent API as the system uses."""

    def __init__(self, first_id: int = 1001) -> None:
        self.subjects: dict[str, dict[str, int]] = {}
        self.compatibility: dict[str, str] = {}
        self._next_id = first_id

    def __call__(self, method: str, path: str, body: dict[str, Any]) -> Answer:
        match method, path.split("?")[0].strip("/").split("/"):
            case "GET", ["subjects"]:
                return 200, sorted(self.subjects)
            case "PUT", ["config", subject] if subject in self.compatibility and subject not in self.subjects:
                return 409, {"error_code": 409, "message": "A rule named 'COMPATIBILITY' already exists."}
            case "PUT", ["config", subject]:
                self.compatibility[subject] = body["compatibility"]
                return 200, body
            case "POST", ["subjects", subject, "versions"]:
                return 200, {"id": self._id(subject, body["schema"])}
            case "GET", ["schemas", "ids", schema_id]:
                found = [text for ids in self.subjects.values() for text, i in ids.items() if i == int(schema_id)]
                return 200, {"schema": found[0]}
            case _:
                return 404, {"error_code": 404, "message": "not found"}

    def _id(self, subject: str, text: str) -> int:
        ids = self.subjects.setdefault(subject, {})
        if text not in ids:
            ids[text], self._next_id = self._next_id, self._next_id + 1
        return ids[text]


def serve(answers: Answers) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one packet an answer

        def _answer(self) -> None:
            length = int(self.headers.get("content-length", 0))
            body = json.loads(self.rfile.read(length)) if length else {}
            status, answer = answers(self.command, self.path, body)
            text = answer if isinstance(answer, str) else json.dumps(answer)
            self.send_response(status)
            self.send_header("content-type", "text/html" if isinstance(answer, str) else "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = do_PUT = _answer

        def log_message(self, *_: object) -> None:
            """Tests are silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module", params=["stand-in", pytest.param("apicurio", marks=pytest.mark.prove)])
def registry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a registry that this module's tests share."""
    if request.param == "stand-in":
        yield from serve(StandIn())
    else:
        with apicurio(tmp_path_factory.mktemp("apicurio")) as url:
            yield url


@pytest.fixture
def another_registry() -> Iterator[str]:
    yield from serve(StandIn(first_id=5))


def settings(url: str = "", database_url: str = NOWHERE) -> Settings:
    environment = {"KAFKA_BOOTSTRAP": "127.0.0.1:1", "MASTER_KEYS": f"k1:{KEY}", "SCHEMA_REGISTRY_URL": url}
    return Settings.from_environment(environment | {"DATABASE_URL": database_url})


def example(subject: str) -> bytes:
    return bytes.fromhex(json.loads((EXAMPLES / subject / "v1" / "full.json").read_text())["wire"])


# --- over the stand-in and the real registry ---------------------------------------------------------------------


def test_processes_that_start_at_once_beside_an_empty_registry_get_the_same_ids(
    registry: str, database_url: str
) -> None:
    """The first test of this file, so that the registry is still empty."""
    message = file_ids().decode(example(INVOICE_ISSUED))
    with ThreadPoolExecutor(4) as processes:
        checked = [processes.submit(schema_ids, settings(registry, database_url)) for _ in range(3)]
        unchecked = processes.submit(contracts_by_id, settings(registry))  # an ingress asks no database
        written = {each.result().encode(message) for each in checked}
    assert written == {SchemaIds(unchecked.result()).encode(message)}


def test_every_contract_is_registered_under_its_full_name(registry: str) -> None:
    contracts_by_id(settings(registry))
    subjects = httpx.get(f"{registry}/subjects").json()
    assert set(subjects) == {contract.subject for contract in released().values()}


def test_ids_are_those_of_the_registry(registry: str) -> None:
    contracts = contracts_by_id(settings(registry))
    with httpx.Client(base_url=registry) as client:
        kept = {key: json.loads(client.get(f"schemas/ids/{key}").json()["schema"]) for key in contracts}
    for schema_id, contract in contracts.items():
        assert contract.schema_id == schema_id
        assert to_parsing_canonical_form(kept[schema_id]) == to_parsing_canonical_form(contract.schema)


def test_registering_again_changes_nothing(registry: str) -> None:
    assert contracts_by_id(settings(registry)) == contracts_by_id(settings(registry))


def test_what_is_written_with_the_registrys_ids_is_read_with_them(registry: str, database_url: str) -> None:
    ids = schema_ids(settings(registry, database_url))
    message = file_ids().decode(example(INVOICE_ISSUED))
    assert ids.decode(ids.encode(message)) == message


def test_a_client_that_none_of_us_wrote_reads_every_example_through_the_registry(
    registry: str, database_url: str
) -> None:
    ids = schema_ids(settings(registry, database_url))
    with SchemaRegistryClient({"url": registry}) as client:
        read = AvroDeserializer(client)
        newest = [max(of_one.iterdir(), key=lambda version: int(version.name[1:])) for of_one in EXAMPLES.iterdir()]
        for path in sorted(path for version in newest for path in version.glob("*.json")):
            kept = json.loads(path.read_text())
            wire = ids.encode(file_ids().decode(bytes.fromhex(kept["wire"])))
            found = read(wire, SerializationContext("accounting-events-g1", MessageField.VALUE))
            assert plain(found) == kept["message"]


def test_that_client_sees_exact_amounts_and_dates(registry: str, database_url: str) -> None:
    ids = schema_ids(settings(registry, database_url))
    wire = ids.encode(file_ids().decode(example(INVOICE_ISSUED)))
    with SchemaRegistryClient({"url": registry}) as client:
        read = AvroDeserializer(client)
        found = read(wire, SerializationContext("accounting-events-g1", MessageField.VALUE))
    assert (str(found["after"]["total"]["amount"]), found["after"]["total"]["currency"]) == ("2706.250000", "USD")
    assert found["accounting_on"].isoformat() == "2026-03-31"


@pytest.mark.prove
def test_the_registry_itself_refuses_a_version_that_ours_cannot_read(registry: str) -> None:
    contracts_by_id(settings(registry))
    if httpx.get(f"{registry}/config/{INVOICE_ISSUED}").status_code == 404:
        pytest.skip("the stand-in compares nothing")
    other = {"type": "record", "name": INVOICE_ISSUED, "fields": [{"name": "amount", "type": "double"}]}
    answer = httpx.post(f"{registry}/subjects/{INVOICE_ISSUED}/versions", json={"schema": json.dumps(other)})
    assert answer.status_code == 409


# --- two authorities never mix -----------------------------------------------------------------------------------


def test_without_a_registry_the_ids_of_our_files_are_used(database_url: str) -> None:
    assert schema_ids(settings(database_url=database_url)) is file_ids()


def test_registry_is_refused_where_the_ids_of_our_files_are_in_use(another_registry: str, database_url: str) -> None:
    schema_ids(settings(database_url=database_url))
    with pytest.raises(RegistryError, match=r"must not mix: set SCHEMA_REGISTRY_URL as it was"):
        schema_ids(settings(another_registry, database_url))
    assert schema_ids(settings(database_url=database_url)) is file_ids()


def test_files_are_refused_where_a_registrys_ids_are_in_use(another_registry: str, database_url: str) -> None:
    schema_ids(settings(another_registry, database_url))
    with pytest.raises(RegistryError, match="must not mix"):
        schema_ids(settings(database_url=database_url))


def test_registry_that_forgot_its_ids_is_refused(database_url: str) -> None:
    for first in serve(StandIn(first_id=1)):
        schema_ids(settings(first, database_url))
    for emptied in serve(StandIn(first_id=2)):
        with pytest.raises(RegistryError, match="must not mix"):
            schema_ids(settings(emptied, database_url))


def test_contract_that_is_new_in_this_release_is_added_to_those_in_use(database_url: str) -> None:
    newest = max(released())
    agree(database_url, {key: contract for key, contract in released().items() if key != newest})
    agree(database_url, released())
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT schema_id, subject, version FROM control.schema_ids ORDER BY 1").fetchall()
    assert rows == [(key, contract.subject, contract.version) for key, contract in sorted(released().items())]


def test_contract_of_a_newer_release_is_no_contradiction(database_url: str) -> None:
    newest = max(released())
    agree(database_url, released())
    agree(database_url, {key: contract for key, contract in released().items() if key != newest})


def test_refused_ids_leave_no_trace(database_url: str) -> None:
    older, newest = released()[1], released()[2]
    agree(database_url, {1: older})
    with pytest.raises(RegistryError):
        agree(database_url, {2: older, 1: newest, 3: released()[3]})
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT schema_id FROM control.schema_ids").fetchall() == [(1,)]


# --- a registry that does not do what it should ------------------------------------------------------------------


def asked(answers: Answers) -> None:
    for url in serve(answers):
        contracts_by_id(settings(url))


def test_address_that_is_no_registry_is_said_plainly() -> None:
    with pytest.raises(RegistryError, match="SCHEMA_REGISTRY_URL must be the address of a Confluent-compatible API"):
        asked(lambda method, path, body: (200, "<html>hello</html>"))


def test_registry_that_is_away_may_come_back() -> None:
    with pytest.raises(TransientError, match=r"127\.0\.0\.1 does not answer"):
        contracts_by_id(settings("http://127.0.0.1:1"))


def test_registry_that_fails_may_recover() -> None:
    with pytest.raises(TransientError, match="answered 503"):
        asked(lambda method, path, body: (503, {"message": "later"}))


def test_contract_that_the_registry_refuses_is_named() -> None:
    def refusing(method: str, path: str, body: dict[str, Any]) -> Answer:
        return (409, {"error_code": 409, "message": "incompatible"}) if method == "POST" else (200, [])

    with pytest.raises(RegistryError, match=r"refuses intoaec\.accounting\.\w+: .* It says: incompatible"):
        asked(refusing)


def test_registry_that_gives_two_contracts_one_id_is_refused() -> None:
    with pytest.raises(RegistryError, match="the same id 7"):
        asked(lambda method, path, body: (200, {"id": 7} if method == "POST" else []))


def test_password_in_the_address_is_not_told() -> None:
    with pytest.raises(TransientError) as failure:
        contracts_by_id(settings("http://someone:hunter2@127.0.0.1:1"))
    assert "hunter2" not in str(failure.value)
