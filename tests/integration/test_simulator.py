"""The simulator as a process: its API, sign-in, webhooks, faults and restarts, over HTTP (intuit.md 7)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

FIRST, SECOND = "9130000000000001", "9130000000000002"
TOKEN = "verify-me"
LINE = {"Amount": 100.0, "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": {"ItemRef": {"value": "1"}}}
ROOT = Path(__file__).resolve().parents[2]


class Intuit:
    """A running simulator and a client of it."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url
        self.http = httpx.Client(base_url=url, timeout=10, trust_env=False)

    def sim(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.http.request(method, f"/_sim{path}", json=body)
        answer.raise_for_status()
        return answer.json(parse_float=Decimal)

    def token(self, realm: str = FIRST) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.sim('POST', '/tokens', {'realm': realm})['access_token']}"}

    def get(self, path: str, realm: str = FIRST, **parameters: str) -> httpx.Response:
        return self.http.get(f"/v3/company/{realm}/{path}", params=parameters, headers=self.token(realm))

    def post(self, path: str, body: Any, realm: str = FIRST, **parameters: str) -> httpx.Response:
        return self.http.post(f"/v3/company/{realm}/{path}", json=body, params=parameters, headers=self.token(realm))

    def record(self, entity: str, body: Any, realm: str = FIRST) -> dict[str, Any]:
        found: dict[str, Any] = self.sim("POST", f"/companies/{realm}/records/{entity}", body)["record"]
        return found

    def invoice(self, customer: str = "5", realm: str = FIRST, **more: Any) -> dict[str, Any]:
        return self.record("Invoice", {"CustomerRef": {"value": customer}, "Line": [LINE], **more}, realm)

    def settled(self) -> dict[str, Any]:
        """The webhook state once everything is delivered."""
        return until(lambda: state if (state := self.sim("GET", "/webhooks"))["idle"] else None)


def until(look: Callable[[], Any], seconds: float = 10) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.01)
    raise AssertionError("it did not happen in time")


@contextmanager
def running(*options: str) -> Iterator[Intuit]:
    command = [sys.executable, "-m", "connectors.simulator", "--port", "0", "--history", "small", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    intuit: Intuit | None = None
    try:
        ready = json.loads(process.stdout.readline())
        assert ready["event"] == "ready"
        intuit = Intuit(process, ready["url"])
        yield intuit
    finally:
        if intuit is not None:
            intuit.http.close()
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="module")
def shared() -> Iterator[Intuit]:
    with running("--companies", "2", "--verifier-token", TOKEN) as intuit:
        yield intuit


@pytest.fixture
def intuit(shared: Intuit) -> Intuit:
    """The shared simulator, calm: no limits, faults, endpoint or counts left from the test before."""
    shared.sim("PUT", "/limits", {"enabled": False, "shape": "json", "per_second": 10, "metering_blocks": False})
    shared.sim("PUT", "/faults", [])
    shared.sim("POST", "/calls/reset")
    for action in ("forget", "resume"):
        shared.sim("POST", f"/webhooks/{action}")
    calm = {
        "duplicate_rate": 0,
        "loss_rate": 0,
        "resend_rate": 0,
        "reorder": False,
        "coalesce": False,
        "batch_max": 100,
    }
    calm |= {
        "aggregation_ms": 20,
        "format": "cloudevents",
        "retry_scale": 0.001,
        "in_flight": 1,
        "bad_signature_next": 0,
    }
    shared.sim("PUT", "/webhooks", calm | {"url": None, "only_connected": False})
    shared.sim("PUT", "/oauth", {"refresh_takes_ms": 0, "revoke_on_race": False})
    return shared


class Endpoint:
    """Somebody who receives webhooks and answers as told."""

    def __init__(self) -> None:
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []  # statuses for the next requests, then 200
        self.delays: list[float] = []
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                endpoint.received.append(({key.lower(): value for key, value in self.headers.items()}, body))
                if endpoint.delays:
                    time.sleep(endpoint.delays.pop(0))
                status = endpoint.answers.pop(0) if endpoint.answers else 200
                try:
                    self.send_response(status)
                    self.send_header("content-length", "0")
                    self.end_headers()
                except OSError:
                    self.close_connection = True  # the sender did not wait for the answer

            def log_message(self, *_: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/webhooks/quickbooks"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def bodies(self) -> list[Any]:
        return [json.loads(body) for _, body in self.received]

    def events(self) -> list[tuple[str, str]]:
        return [(event["type"], event["intuitentityid"]) for body in self.bodies() for event in body]


@pytest.fixture
def endpoint(intuit: Intuit) -> Iterator[Endpoint]:
    made = Endpoint()
    intuit.sim("PUT", "/webhooks", {"url": made.url})
    try:
        yield made
    finally:
        intuit.sim("PUT", "/webhooks", {"url": None})
        intuit.sim("POST", "/webhooks/forget")
        made.close()


def fault(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["Fault"]["Error"][0]["code"]


# ---- reading and writing ---------------------------------------------------------------------------------------------


def test_record_is_read_in_intuits_shape_with_exact_numbers(intuit: Intuit) -> None:
    made = intuit.invoice()
    answer = intuit.get(f"invoice/{made['Id']}", minorversion="75")
    assert answer.status_code == 200 and answer.headers["intuit_tid"]
    assert '"TotalAmt":100.00' in answer.text and '"TotalTax":0' in answer.text
    body = answer.json()
    assert set(body) == {"Invoice", "time"} and "." in body["time"]
    invoice = body["Invoice"]
    assert (invoice["domain"], invoice["sparse"], invoice["SyncToken"]) == ("QBO", False, "0")
    assert invoice["CustomField"] == [{"DefinitionId": "1", "Name": "Reference Number", "Type": "StringType"}]
    assert "." not in invoice["MetaData"]["LastUpdatedTime"]


def test_company_and_preferences_are_read(intuit: Intuit) -> None:
    assert intuit.get(f"companyinfo/{FIRST}").json()["CompanyInfo"]["CompanyName"] == "Bayside Builders"
    assert intuit.get("preferences").json()["Preferences"]["CurrencyPrefs"]["HomeCurrency"] == {"value": "USD"}


def test_deleted_missing_and_impossible_ids_are_refused_as_recorded(intuit: Intuit) -> None:
    made = intuit.invoice()
    answer = intuit.post("invoice", {"Id": made["Id"], "SyncToken": "0"}, operation="delete")
    assert answer.json()["Invoice"] == {"domain": "QBO", "status": "Deleted", "Id": made["Id"]}
    assert fault(intuit.get(f"invoice/{made['Id']}")) == (400, "610")
    assert fault(intuit.get("invoice/1.5")) == (400, "2030")
    assert fault(intuit.get("invoice/1/5")) == (400, "500")
    assert fault(intuit.post("invoice", {"BadJson": True})) == (400, "2010")
    assert fault(intuit.post("customer", {"DisplayName": intuit_name(intuit)})) == (400, "6240")


def intuit_name(intuit: Intuit) -> str:
    return str(intuit.get("customer/1").json()["Customer"]["DisplayName"])


def test_void_leaves_the_document_with_nothing_on_it(intuit: Intuit) -> None:
    made = intuit.invoice(CustomField=[{"DefinitionId": "1", "StringValue": "PRJ-0001"}])
    voided = intuit.post("invoice", {"Id": made["Id"], "SyncToken": "0"}, operation="void").json()["Invoice"]
    assert (voided["SyncToken"], voided["PrivateNote"], voided["LinkedTxn"]) == ("1", "Voided", [])
    assert {voided["TotalAmt"], voided["Balance"], *(line["Amount"] for line in voided["Line"])} == {0}
    assert voided["CustomField"][0]["StringValue"] == "PRJ-0001"


def test_payment_is_voided_by_update_with_include(intuit: Intuit) -> None:
    invoice = intuit.invoice()
    link = {"Amount": 100, "LinkedTxn": [{"TxnId": invoice["Id"], "TxnType": "Invoice"}]}
    body = {"CustomerRef": {"value": "5"}, "TotalAmt": 100, "Line": [link]}
    payment = intuit.post("payment", body).json()["Payment"]
    assert payment["Line"][0]["LineEx"]["any"][1]["value"] == {"Name": "txnOpenBalance", "Value": "100.00"}
    assert intuit.get(f"invoice/{invoice['Id']}").json()["Invoice"]["LinkedTxn"] == [
        {"TxnId": payment["Id"], "TxnType": "Payment"}
    ]
    key = {"Id": payment["Id"], "SyncToken": "0", "sparse": True}
    voided = intuit.post("payment", key, operation="update", include="void").json()["Payment"]
    assert (voided["TotalAmt"], voided["UnappliedAmt"], voided["Line"], voided["sparse"]) == (0, 0, [], True)
    assert intuit.get(f"invoice/{invoice['Id']}").json()["Invoice"]["Balance"] == 100


def test_stale_token_is_refused_with_5010(intuit: Intuit) -> None:
    made = intuit.invoice()
    body = {"Id": made["Id"], "SyncToken": "0", "sparse": True, "PrivateNote": "one"}
    assert intuit.post("invoice", body).json()["Invoice"]["SyncToken"] == "1"
    assert fault(intuit.post("invoice", body)) == (400, "5010")


def test_request_id_repeats_the_first_answer_even_after_the_delete(intuit: Intuit) -> None:
    body = {"CustomerRef": {"value": "5"}, "Line": [LINE]}
    first = intuit.post("invoice", body, requestid="abc")
    made = first.json()["Invoice"]
    intuit.post("invoice", {"Id": made["Id"], "SyncToken": "0"}, operation="delete")
    assert intuit.post("invoice", body, requestid="abc").text == first.text


def test_batch_answers_each_item_and_faults_alone(intuit: Intuit) -> None:
    made = intuit.invoice()
    items = [
        {"bId": "1", "operation": "create", "Customer": {"DisplayName": f"Batch {made['Id']}"}},
        {"bId": "2", "operation": "delete", "Invoice": {"Id": "99999", "SyncToken": "0"}},
        {"bId": "3", "operation": "update", "optionsData": "void", "Invoice": {"Id": made["Id"], "SyncToken": "0"}},
        {"bId": "4", "Query": "select * from Invoice maxresults 1"},
    ]
    answer = intuit.post("batch", {"BatchItemRequest": items})
    created, refused, voided, queried = answer.json()["BatchItemResponse"]
    assert answer.status_code == 200
    assert created["Customer"]["Active"] is True and created["bId"] == "1"
    assert refused["Fault"]["Error"][0]["code"] == "610"
    assert voided["Invoice"]["TotalAmt"] == 0
    assert queried["QueryResponse"]["maxResults"] == 1


def test_query_is_answered_by_get_and_by_post(intuit: Intuit) -> None:
    statement = "select count(*) from Customer"
    got = intuit.get("query", query=statement).json()["QueryResponse"]
    headers = intuit.token() | {"content-type": "application/text"}
    posted = intuit.http.post(f"/v3/company/{FIRST}/query", content=statement, headers=headers).json()
    assert got == posted["QueryResponse"] and got["totalCount"] >= 10
    assert fault(intuit.get("query", query="select * from Invoice startposition 0")) == (400, "4001")


def test_change_data_capture_names_what_changed(intuit: Intuit) -> None:
    since = intuit.sim("GET", "/clock")["now"]
    made = intuit.invoice()
    body = intuit.get("cdc", entities="Invoice,Payment", changedSince=since[:19] + "+00:00").json()
    invoices, payments = body["CDCResponse"][0]["QueryResponse"]
    assert made["Id"] in [one["Id"] for one in invoices["Invoice"]]
    assert payments == {} or payments["Payment"]


# ---- authentication, limits, faults ----------------------------------------------------------------------------------


def test_dead_token_gets_lower_case_fault_and_challenge(intuit: Intuit) -> None:
    headers = intuit.token()
    intuit.sim("POST", f"/companies/{FIRST}/expire-access")
    answer = intuit.http.get(f"/v3/company/{FIRST}/preferences", headers=headers)
    body = answer.json()
    assert (answer.status_code, body["fault"]["error"][0]["code"], type(body["time"])) == (401, "3200", int)
    assert answer.headers["www-authenticate"] == 'Bearer realm="Intuit", error="invalid_token"'


def test_token_of_another_company_gets_xml(intuit: Intuit) -> None:
    answer = intuit.http.get(f"/v3/company/{SECOND}/preferences", headers=intuit.token(FIRST))
    assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (401, "application/xml")
    assert 'code="100"' in answer.text


def test_eleventh_request_in_a_second_is_throttled(intuit: Intuit) -> None:
    headers = intuit.token()
    intuit.sim("PUT", "/limits", {"enabled": True})
    statuses = [intuit.http.get(f"/v3/company/{FIRST}/preferences", headers=headers) for _ in range(11)]
    assert [one.status_code for one in statuses] == [200] * 10 + [429]
    assert fault(statuses[-1]) == (429, "3001") and "retry-after" not in statuses[-1].headers
    intuit.sim("PUT", "/limits", {"shape": "forbidden"})
    again = intuit.http.get(f"/v3/company/{FIRST}/preferences", headers=headers)
    assert (again.status_code, 'code="3001"' in again.text) == (403, True)
    intuit.sim("PUT", "/clock", {"advance_s": 61})
    assert intuit.http.get(f"/v3/company/{FIRST}/preferences", headers=headers).status_code == 200


def test_only_successful_reads_are_metered(intuit: Intuit) -> None:
    intuit.get("preferences")
    intuit.get("query", query="select * from Invoice")
    intuit.get("invoice/99999")
    intuit.post("invoice", {"CustomerRef": {"value": "5"}, "Line": [LINE]})
    report = intuit.sim("GET", f"/calls?realm={FIRST}")
    assert report["metered"] == 2
    assert report["routes"] == {"GET preferences": 1, "GET query": 1, "GET invoice": 1, "POST invoice": 1}


def test_metering_blocks_at_the_cap_until_the_next_month(intuit: Intuit) -> None:
    intuit.sim("PUT", "/limits", {"metering_blocks": True, "tier_cap": 1})
    assert [intuit.get("preferences").status_code for _ in range(2)] == [200, 429]


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


def test_cut_answer_breaks_the_connection(intuit: Intuit) -> None:
    intuit.sim("PUT", "/faults", [{"route": "preferences", "kind": "cut", "count": 1}])
    with pytest.raises(httpx.RemoteProtocolError):
        intuit.get("preferences")
    assert intuit.get("preferences").status_code == 200


def test_lost_answer_is_work_done_without_a_word(intuit: Intuit) -> None:
    intuit.sim("PUT", "/faults", [{"route": "POST customer", "kind": "lost", "count": 1}])
    name = f"Lost {time.monotonic_ns()}"
    with pytest.raises(httpx.ReadError):
        intuit.post("customer", {"DisplayName": name})
    assert fault(intuit.post("customer", {"DisplayName": name})) == (400, "6240")


# ---- sign-in ---------------------------------------------------------------------------------------------------------

BASIC = {"authorization": "Basic " + base64.b64encode(b"simulator-client:simulator-secret").decode()}


def consent(intuit: Intuit, **more: str) -> dict[str, list[str]]:
    asked = {"client_id": "simulator-client", "redirect_uri": "http://localhost/cb?x=1", "state": "s1"} | more
    answer = intuit.http.get("/connect/oauth2", params=asked)
    assert answer.status_code == 302
    return parse_qs(urlsplit(answer.headers["location"]).query)


def ask_token(intuit: Intuit, **form: str) -> httpx.Response:
    return intuit.http.post("/oauth2/v1/tokens/bearer", data=form, headers=BASIC)


def signed_in(intuit: Intuit, realm: str = FIRST) -> dict[str, Any]:
    code = consent(intuit, auto="1", realmId=realm)["code"][0]
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": "http://localhost/cb?x=1"}
    answer = ask_token(intuit, **form)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def test_redirect_carries_code_state_and_company(intuit: Intuit) -> None:
    found = consent(intuit, auto="1", realmId=SECOND)
    assert (found["state"], found["realmId"], found["x"]) == (["s1"], [SECOND], ["1"])


def test_unknown_application_sees_the_same_page_for_every_cause(intuit: Intuit) -> None:
    answer = intuit.http.get("/connect/oauth2", params={"client_id": "invented", "redirect_uri": "http://localhost"})
    assert (answer.status_code, "Something went wrong" in answer.text) == (400, True)


def test_code_works_once_and_token_reads(intuit: Intuit) -> None:
    code = consent(intuit, auto="1")["code"][0]
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": "http://localhost/cb?x=1"}
    first, second = ask_token(intuit, **form), ask_token(intuit, **form)
    body = first.json()
    assert (body["token_type"], body["expires_in"], "x_refresh_token_hard_expires_in" in body) == (
        "bearer",
        3600,
        False,
    )
    assert body["x_refresh_token_expires_in"] in (8_640_000, 8_639_999)
    assert (second.status_code, second.json()["error"]) == (400, "invalid_grant")
    headers = {"Authorization": f"Bearer {body['access_token']}"}
    assert intuit.http.get(f"/v3/company/{FIRST}/preferences", headers=headers).status_code == 200


def test_wrong_client_is_refused_with_401(intuit: Intuit) -> None:
    wrong = {"authorization": "Basic " + base64.b64encode(b"simulator-client:wrong").decode()}
    answer = intuit.http.post("/oauth2/v1/tokens/bearer", data={"grant_type": "refresh_token"}, headers=wrong)
    assert (answer.status_code, answer.json()) == (401, {"error": "invalid_client"})


def test_refresh_token_changes_after_a_day_and_the_old_one_dies(intuit: Intuit) -> None:
    old = signed_in(intuit)["refresh_token"]
    same = ask_token(intuit, grant_type="refresh_token", refresh_token=old).json()
    assert same["refresh_token"] == old
    intuit.sim("PUT", "/clock", {"advance_s": 24 * 3600 + 1})
    new = ask_token(intuit, grant_type="refresh_token", refresh_token=old).json()
    assert new["refresh_token"] != old
    dead = ask_token(intuit, grant_type="refresh_token", refresh_token=old)
    assert (dead.status_code, dead.content) == (400, b'{"error":"invalid_grant"}')


def test_hard_expiry_is_told_only_to_who_asks_and_ends_the_grant(intuit: Intuit) -> None:
    token = signed_in(intuit)["refresh_token"]
    form = {"grant_type": "refresh_token", "refresh_token": token}
    headers = BASIC | {"x-include-refresh-token-hard-expires-in": "true"}
    body = intuit.http.post("/oauth2/v1/tokens/bearer", data=form, headers=headers).json()
    assert body["x_refresh_token_hard_expires_in"] <= 157_680_000
    intuit.sim("PUT", "/clock", {"advance_s": 101 * 24 * 3600})
    assert ask_token(intuit, **form).status_code == 400  # a hundred days unused


def test_of_two_refreshes_at_once_one_loses_and_by_switch_both_do(intuit: Intuit) -> None:
    token = signed_in(intuit)["refresh_token"]
    for revoke, survivors in ((False, 1), (True, 0)):
        intuit.sim("PUT", "/oauth", {"refresh_takes_ms": 200, "revoke_on_race": revoke})
        with ThreadPoolExecutor(2) as pool:
            asks = [pool.submit(ask_token, intuit, grant_type="refresh_token", refresh_token=token) for _ in range(2)]
            statuses = [one.result().status_code for one in asks]
        assert statuses.count(200) == survivors


def test_revoked_and_disconnected_grants_are_gone(intuit: Intuit) -> None:
    pair = signed_in(intuit)
    revoke = intuit.http.post("/v2/oauth2/tokens/revoke", json={"token": pair["refresh_token"]}, headers=BASIC)
    again = intuit.http.post("/v2/oauth2/tokens/revoke", json={"token": pair["refresh_token"]}, headers=BASIC)
    assert (revoke.status_code, again.status_code) == (200, 400)
    other = signed_in(intuit, SECOND)
    assert intuit.sim("POST", f"/companies/{SECOND}/disconnect")["grants_ended"] >= 1
    headers = {"Authorization": f"Bearer {other['access_token']}"}
    assert intuit.http.get(f"/v3/company/{SECOND}/preferences", headers=headers).status_code == 401


def test_discovery_names_this_simulators_endpoints(intuit: Intuit) -> None:
    body = intuit.http.get("/.well-known/openid_configuration").json()
    assert body["token_endpoint"] == f"{intuit.url}/oauth2/v1/tokens/bearer"
    assert body["authorization_endpoint"] == f"{intuit.url}/connect/oauth2"


# ---- webhooks --------------------------------------------------------------------------------------------------------


def test_payment_sends_a_signed_array_of_cloud_events(intuit: Intuit, endpoint: Endpoint) -> None:
    invoice = intuit.invoice()
    link = {"Amount": 100, "LinkedTxn": [{"TxnId": invoice["Id"], "TxnType": "Invoice"}]}
    body = {"CustomerRef": {"value": "5"}, "TotalAmt": 100, "Line": [link]}
    payment = intuit.post("payment", body).json()["Payment"]["Id"]
    intuit.settled()
    assert endpoint.events() == [
        ("qbo.invoice.created.v1", invoice["Id"]),
        ("qbo.payment.created.v1", payment),
        ("qbo.invoice.updated.v1", invoice["Id"]),
    ]
    headers, raw = endpoint.received[0]
    expected = base64.b64encode(hmac.new(TOKEN.encode(), raw, hashlib.sha256).digest()).decode()
    assert headers["intuit-signature"] == expected
    assert {"intuit-t-id", "intuit-created-time", "intuit-notification-schema-version"} <= set(headers)
    event = json.loads(raw)[0]
    assert set(event) == {
        *("specversion", "id", "source", "type", "datacontenttype", "time"),
        *("intuitentityid", "intuitaccountid", "data"),
    }
    assert (event["specversion"], event["intuitaccountid"], event["data"]) == ("1.0", FIRST, {})
    assert event["time"].endswith("Z")


def test_legacy_body_groups_events_by_company(intuit: Intuit, endpoint: Endpoint) -> None:
    intuit.sim("PUT", "/webhooks", {"format": "legacy", "aggregation_ms": 200})
    first, second = intuit.invoice(), intuit.invoice(realm=SECOND)
    intuit.sim("POST", f"/companies/{FIRST}/records/Invoice/{first['Id']}/void")
    intuit.settled()
    (body,) = endpoint.bodies()
    found = {
        note["realmId"]: [(one["name"], one["id"], one["operation"]) for one in note["dataChangeEvent"]["entities"]]
        for note in body["eventNotifications"]
    }
    assert found == {
        FIRST: [("Invoice", first["Id"], "Create"), ("Invoice", first["Id"], "Void")],
        SECOND: [("Invoice", second["Id"], "Create")],
    }


def test_one_delivery_carries_events_of_two_companies(intuit: Intuit, endpoint: Endpoint) -> None:
    intuit.sim("PUT", "/webhooks", {"aggregation_ms": 200})
    intuit.invoice()
    intuit.invoice(realm=SECOND)
    intuit.settled()
    (body,) = endpoint.bodies()
    assert [event["intuitaccountid"] for event in body] == [FIRST, SECOND]


def test_merge_names_the_customer_that_vanished(intuit: Intuit, endpoint: Endpoint) -> None:
    kept, gone = (intuit.record("Customer", {"DisplayName": f"{one} {time.monotonic_ns()}"})["Id"] for one in "AB")
    intuit.sim("POST", f"/companies/{FIRST}/merge", {"kept": kept, "gone": gone})
    intuit.settled()
    (merged,) = [event for body in endpoint.bodies() for event in body if event["type"] == "qbo.customer.merged.v1"]
    assert (merged["intuitentityid"], merged["data"]) == (kept, {"deletedid": gone})


@pytest.mark.parametrize("operation", ["void", "delete", "email"])
def test_operations_have_their_own_words(intuit: Intuit, endpoint: Endpoint, operation: str) -> None:
    made = intuit.invoice()
    intuit.sim("POST", f"/companies/{FIRST}/records/Invoice/{made['Id']}/{operation}")
    intuit.settled()
    word = {"void": "void", "delete": "deleted", "email": "emailed"}[operation]
    assert endpoint.events()[-1] == (f"qbo.invoice.{word}.v1", made["Id"])


def test_failed_delivery_is_repeated_byte_for_byte_and_holds_back_what_follows(
    intuit: Intuit, endpoint: Endpoint
) -> None:
    endpoint.answers = [500, 404, 202]
    first = intuit.invoice()
    until(lambda: len(endpoint.received) >= 1)
    second = intuit.invoice()
    intuit.settled()
    bodies = [body for _, body in endpoint.received]
    assert len(bodies) == 5 and len(set(bodies[:4])) == 1, "only 200 counts, and the same bytes are sent again"
    assert [event["intuitentityid"] for event in json.loads(bodies[3])] == [first["Id"]]
    assert [event["intuitentityid"] for event in json.loads(bodies[4])] == [second["Id"]]
    newest = intuit.sim("GET", "/deliveries?limit=2")[1]
    assert [one["status"] for one in newest["tries"]] == [500, 404, 202, 200]
    assert newest["body_sha256"] == hashlib.sha256(bodies[0]).hexdigest()


def test_answer_after_three_seconds_does_not_count(intuit: Intuit, endpoint: Endpoint) -> None:
    endpoint.delays = [3.3]
    intuit.invoice()
    intuit.settled()
    assert len(endpoint.received) == 2
    assert intuit.sim("GET", "/deliveries?limit=1")[0]["tries"][0]["status"] is None


def test_ladder_of_retries_runs_on_the_simulated_clock(intuit: Intuit, endpoint: Endpoint) -> None:
    intuit.sim("PUT", "/webhooks", {"retry_scale": 1})
    endpoint.answers = [500] * 9
    intuit.invoice()
    for tries, wait in enumerate((10, 20, 30, 300, 1200, 7200, 14400, 21600, 21600), start=1):
        until(lambda tries=tries: len(intuit.sim("GET", "/deliveries?limit=1")[0]["tries"]) == tries)
        intuit.sim("PUT", "/clock", {"advance_s": wait - 2})
        assert len(endpoint.received) == tries
        intuit.sim("PUT", "/clock", {"advance_s": 2})
    intuit.settled()
    assert len(endpoint.received) == 10


def test_deliveries_that_wait_can_be_retried_now_or_forgotten(intuit: Intuit, endpoint: Endpoint) -> None:
    intuit.sim("PUT", "/webhooks", {"retry_scale": 1})
    endpoint.answers = [500, 500]
    intuit.invoice()
    for tries, action in ((1, "retry"), (2, "forget")):
        until(lambda tries=tries: len(intuit.sim("GET", "/deliveries?limit=1")[0]["tries"]) == tries)
        intuit.sim("POST", f"/webhooks/{action}")
    intuit.settled()
    assert len(endpoint.received) == 2
    assert intuit.sim("GET", "/health")["status"] == "ok"


def test_bad_and_missing_signatures_are_sent_on_demand(intuit: Intuit, endpoint: Endpoint) -> None:
    intuit.sim("PUT", "/webhooks", {"bad_signature_next": 1})
    endpoint.answers = [401]
    intuit.invoice()
    intuit.settled()
    signatures = [headers["intuit-signature"] for headers, _ in endpoint.received]
    assert len(set(signatures)) == 2
    intuit.sim("PUT", "/webhooks", {"no_signature_next": 1})
    intuit.invoice()
    intuit.settled()
    assert "intuit-signature" not in endpoint.received[-1][0]


def test_duplicates_keep_their_id_and_losses_are_silent(intuit: Intuit, endpoint: Endpoint) -> None:
    intuit.sim("PUT", "/webhooks", {"duplicate_rate": 1})
    intuit.invoice()
    intuit.settled()
    ids = [event["id"] for event in endpoint.bodies()[0]]
    assert len(ids) == 2 and len(set(ids)) == 1
    intuit.sim("PUT", "/webhooks", {"duplicate_rate": 0, "loss_rate": 1})
    intuit.invoice()
    assert intuit.settled()["counts"]["lost"] == 1
    assert len(endpoint.received) == 1


def test_burst_is_cut_into_deliveries_of_a_hundred_and_repeats_can_be_coalesced(
    intuit: Intuit, endpoint: Endpoint
) -> None:
    burst = {"realm": FIRST, "entity": "Invoice", "id": "1001", "count": 250}
    intuit.sim("POST", "/burst", burst)
    intuit.settled()
    assert [len(body) for body in endpoint.bodies()] == [100, 100, 50]
    intuit.sim("PUT", "/webhooks", {"coalesce": True, "aggregation_ms": 300})
    intuit.sim("POST", "/burst", burst | {"count": 50})
    intuit.settled()
    assert len(endpoint.bodies()[-1]) == 1


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


# ---- control ---------------------------------------------------------------------------------------------------------


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


def test_stale_reads_can_be_asked_for(intuit: Intuit) -> None:
    intuit.sim("PUT", "/faults", [{"realm": FIRST, "visibility_delay_s": 60}])
    made = intuit.invoice()
    assert fault(intuit.get(f"invoice/{made['Id']}")) == (400, "610")
    intuit.sim("PUT", "/clock", {"advance_s": 61})
    assert intuit.get(f"invoice/{made['Id']}").status_code == 200


# ---- the process -----------------------------------------------------------------------------------------------------


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


def test_sigterm_ends_it_cleanly_within_two_seconds_and_it_stays_small() -> None:
    with running() as intuit:
        status = Path(f"/proc/{intuit.process.pid}/status")
        if status.exists():
            resident = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
            assert int(resident.split()[1]) < 300 * 1024
        started = time.monotonic()
        intuit.process.send_signal(signal.SIGTERM)
        assert intuit.process.wait(2) == 0
        assert time.monotonic() - started < 2
