"""The simulator as a process: its control API, its deliveries under control, restarts.

What it shows of Intuit stands in docs/simulator/conformance.md, with tests of its own.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.simulated import FIRST, SECOND, TOKEN, Endpoint, Intuit, listening, running, until


@pytest.fixture(scope="module")
def shared() -> Iterator[Intuit]:
    with running("--companies", "2", "--verifier-token", TOKEN) as intuit:
        yield intuit


@pytest.fixture
def intuit(shared: Intuit) -> Intuit:
    shared.calm()
    return shared


@pytest.fixture
def endpoint(intuit: Intuit) -> Iterator[Endpoint]:
    with listening(intuit) as made:
        yield made


@pytest.mark.parametrize(
    ("rule", "status", "kind"),
    [
        ({"route": "invoice", "status": 503, "body": "html"}, 503, "text/html"),
        ({"route": "GET *", "status": 500, "body": "xml"}, 500, "application/xml"),
        ({"route": "*", "status": 429, "body": "xml"}, 429, "application/xml"),
        ({"realm": FIRST, "status": 401}, 401, "application/json"),
        ({"status": 403}, 403, "application/json"),
    ],
)
def test_faults_are_made_as_often_as_asked(intuit: Intuit, rule: dict[str, Any], status: int, kind: str) -> None:
    intuit.sim("PUT", "/faults", [rule | {"count": 1}])
    first, second = intuit.get("invoice/1001"), intuit.get("invoice/1001")
    assert (first.status_code, first.headers["content-type"].split(";")[0]) == (status, kind)
    assert second.status_code == 200


def test_deliveries_that_wait_can_be_retried_now_or_forgotten(intuit: Intuit, endpoint: Endpoint) -> None:
    intuit.sim("PUT", "/webhooks", {"retry_scale": 1})
    endpoint.answers = [500, 500]
    intuit.invoice()
    for tries, action in ((1, "retry"), (2, "forget")):
        until(lambda tries=tries: intuit.tries(endpoint) == tries)
        intuit.sim("POST", f"/webhooks/{action}")
    intuit.settled()
    assert len(endpoint.received) == 2
    assert intuit.sim("GET", "/health")["status"] == "ok"


def test_two_thousand_events_are_delivered_once_each(intuit: Intuit, endpoint: Endpoint) -> None:
    intuit.sim("POST", "/burst", {"realm": FIRST, "id": "1001", "count": 2000})
    until(lambda: intuit.sim("GET", "/webhooks")["idle"], seconds=60)
    ids = [event["id"] for body in endpoint.bodies() for event in body]
    assert len(ids) == len(set(ids)) == 2000


def test_paused_deliveries_wait_and_companies_without_connection_are_silent_by_switch(
    intuit: Intuit, endpoint: Endpoint
) -> None:
    intuit.sim("POST", "/webhooks/pause")
    intuit.invoice()
    assert intuit.sim("GET", "/webhooks")["queued"] == 1 and endpoint.received == []
    intuit.sim("POST", "/webhooks/resume")
    intuit.settled()
    assert len(endpoint.received) == 1
    intuit.sim("POST", f"/companies/{SECOND}/disconnect")
    intuit.sim("PUT", "/webhooks", {"only_connected": True})
    intuit.invoice(realm=SECOND)
    intuit.settled()
    assert len(endpoint.received) == 1


def test_random_changes_are_listed_announced_and_add_up(intuit: Intuit, endpoint: Endpoint) -> None:
    made = intuit.sim("POST", f"/companies/{FIRST}/changes", {"count": 200, "seed": 7})
    intuit.settled()
    assert len(made) >= 200 and len(endpoint.events()) == len(made)
    truth = intuit.sim("GET", f"/companies/{FIRST}/truth")
    assert sum(Decimal(total) for total in truth["accounts"].values()) == 0
    for customer in truth["customers"].values():
        own = (
            Decimal(customer["open_invoices"]) - Decimal(customer["remaining_credit"]) - Decimal(customer["unapplied"])
        )
        assert Decimal(customer["balance"]) == own


def test_truth_is_what_the_api_shows(intuit: Intuit) -> None:
    truth = intuit.sim("GET", f"/companies/{FIRST}/truth")
    shown = intuit.get("query", query="select * from Invoice maxresults 1000").json(parse_float=Decimal)
    invoices = {one["Id"]: one for one in shown["QueryResponse"]["Invoice"]}
    alive = {key: one for key, one in truth["Invoice"].items() if not one["deleted"]}
    assert {key: Decimal(one["balance"]) for key, one in alive.items()} == {
        key: Decimal(one["Balance"]) for key, one in invoices.items()
    }


def test_changes_of_an_unknown_kind_are_refused_with_the_known_ones(intuit: Intuit) -> None:
    answer = intuit.http.post(f"/_sim/companies/{FIRST}/changes", json={"kinds": ["nonsense"]})
    assert (answer.status_code, "invoice_created" in answer.text) == (400, True)


def test_projects_are_listed_with_the_customer_they_are_meant_for(intuit: Intuit) -> None:
    found = intuit.sim("GET", f"/companies/{SECOND}/projects")
    assert found[0]["project_id"] == "PRJ-0101" and set(found[0]) == {"project_id", "name", "customer_id"}


def test_killed_simulator_goes_on_with_records_tokens_and_undelivered_webhooks(tmp_path: Path) -> None:
    endpoint = Endpoint()
    try:
        options = ("--data-dir", str(tmp_path), "--webhook-url", endpoint.url, "--companies", "2")
        with running(*options) as first:
            headers = first.token()
            first.sim("PUT", "/webhooks", {"aggregation_ms": 0})
            first.sim("POST", "/webhooks/pause")
            first.sim("POST", f"/companies/{FIRST}/changes", {"count": 50, "seed": 1})
            queued = first.sim("GET", "/webhooks")["queued"]
            truth = first.sim("GET", f"/companies/{FIRST}/truth")
            picture = first.http.get(f"/v3/company/{FIRST}/query?query=select * from Payment", headers=headers).json()
            first.process.kill()
            first.process.wait()
        with running(*options) as second:
            assert second.sim("GET", f"/companies/{FIRST}/truth") == truth
            again = second.http.get(f"/v3/company/{FIRST}/query?query=select * from Payment", headers=headers).json()
            assert again["QueryResponse"] == picture["QueryResponse"]
            second.settled()
            assert len(endpoint.events()) == queued > 50
    finally:
        endpoint.close()


def test_sigterm_ends_it_cleanly_and_it_stays_small() -> None:
    with running() as intuit:
        status = Path(f"/proc/{intuit.process.pid}/status")
        if status.exists():
            resident = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
            assert int(resident.split()[1]) < 300 * 1024
        intuit.process.send_signal(signal.SIGTERM)
        assert intuit.process.wait(30) == 0
