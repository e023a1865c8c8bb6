"""A simulator in a process of its own, whoever receives its webhooks, and the questions tests ask of both."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

FIRST, SECOND, THIRD, FOURTH = (f"913000000000000{number}" for number in range(1, 5))
TOKEN = "verify-me"
LINE = {"Amount": 100.0, "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": {"ItemRef": {"value": "1"}}}
BASIC = {"authorization": "Basic " + base64.b64encode(b"simulator-client:simulator-secret").decode()}
ROOT = Path(__file__).resolve().parents[1]


class Intuit:
    """A running simulator and a client of it."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url
        self.http = httpx.Client(base_url=url, timeout=10, trust_env=False)

    def sim(self, method: str, path: str, body: Any = None) -> Any:
        """One request of the control API."""
        answer = self.http.request(method, f"/_sim{path}", json=body)
        answer.raise_for_status()
        return answer.json(parse_float=Decimal)

    def token(self, realm: str = FIRST) -> dict[str, str]:
        """The header that a connected application sends."""
        return {"Authorization": f"Bearer {self.sim('POST', '/tokens', {'realm': realm})['access_token']}"}

    def get(self, path: str, realm: str = FIRST, **parameters: str) -> httpx.Response:
        """Read at Intuit's side."""
        return self.http.get(f"/v3/company/{realm}/{path}", params=parameters, headers=self.token(realm))

    def post(self, path: str, body: Any, realm: str = FIRST, **parameters: str) -> httpx.Response:
        """Write at Intuit's side."""
        return self.http.post(f"/v3/company/{realm}/{path}", json=body, params=parameters, headers=self.token(realm))

    def query(self, statement: str, realm: str = FIRST) -> dict[str, Any]:
        """What stands in QueryResponse, with exact numbers."""
        answer = self.get("query", realm, query=statement)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json(parse_float=Decimal)["QueryResponse"]
        return found

    def read(self, entity: str, record_id: str, realm: str = FIRST) -> dict[str, Any]:
        """One record, with exact numbers."""
        answer = self.get(f"{entity.lower()}/{record_id}", realm)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json(parse_float=Decimal)[entity]
        return found

    def write(self, entity: str, body: Any, realm: str = FIRST, **parameters: str) -> dict[str, Any]:
        """Create, update, void or delete one record through the API of Intuit."""
        answer = self.post(entity.lower(), body, realm, **parameters)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json(parse_float=Decimal)[entity]
        return found

    def record(self, entity: str, body: Any, realm: str = FIRST) -> dict[str, Any]:
        """Create or change one record through the control API."""
        found: dict[str, Any] = self.sim("POST", f"/companies/{realm}/records/{entity}", body)["record"]
        return found

    def invoice(self, customer: str = "5", realm: str = FIRST, **more: Any) -> dict[str, Any]:
        """A new invoice over a hundred."""
        return self.record("Invoice", {"CustomerRef": {"value": customer}, "Line": [LINE], **more}, realm)

    def customer(self, realm: str = FIRST, **more: Any) -> str:
        """The id of a new customer."""
        body = {"DisplayName": f"Customer {time.monotonic_ns()}"} | more
        return str(self.write("Customer", body, realm)["Id"])

    @contextmanager
    def switched(self, realm: str = FIRST, **switches: Any) -> Iterator[None]:
        """Switches of one company as given, until the block ends."""
        before = self.sim("GET", f"/companies/{realm}/switches")
        self.sim("PUT", f"/companies/{realm}/switches", switches)
        try:
            yield
        finally:
            self.sim("PUT", f"/companies/{realm}/switches", {name: before[name] for name in switches})

    def pay(self, customer: str, total: Any, *lines: tuple[str, str, Any], realm: str = FIRST, **more: Any) -> Any:
        """A payment with a line for each (type, id, amount)."""
        written = [{"Amount": amount, "LinkedTxn": [{"TxnId": one, "TxnType": kind}]} for kind, one, amount in lines]
        return self.write(
            "Payment", {"CustomerRef": {"value": customer}, "TotalAmt": total, "Line": written} | more, realm
        )

    def pass_seconds(self, seconds: float) -> None:
        """Let simulated time pass."""
        self.sim("PUT", "/clock", {"advance_s": seconds})

    def settled(self) -> dict[str, Any]:
        """The webhook state once everything is delivered."""
        return until(lambda: state if (state := self.sim("GET", "/webhooks"))["idle"] else None)

    def tries(self, endpoint: Endpoint) -> int:
        """How often the delivery that came last was tried, its answer included."""
        if not endpoint.received:
            return 0
        wanted = hashlib.sha256(endpoint.received[-1][1]).hexdigest()
        found = [one for one in self.sim("GET", "/deliveries?limit=5") if one["body_sha256"] == wanted]
        return len(found[0]["tries"]) if found else 0

    def calm(self) -> None:
        """No limits, faults, endpoint or counts left from the test before."""
        self.sim("PUT", "/limits", NO_LIMITS)
        self.sim("PUT", "/faults", [])
        self.sim("POST", "/calls/reset")
        for action in ("forget", "resume"):
            self.sim("POST", f"/webhooks/{action}")
        self.sim("PUT", "/webhooks", CALM | {"url": None, "only_connected": False})
        self.sim("PUT", "/oauth", {"refresh_takes_ms": 0, "revoke_on_race": False, "old_token_grace_s": 0})


NO_LIMITS = {
    **{"enabled": False, "shape": "json", "per_second": 10, "per_minute": 500, "metering_blocks": False},
    **{"retry_after": "", "tier_cap": 500_000, "refused_count_too": False, "batch_counts_items": False},
}
CALM = {
    **{"no_signature_next": 0, "mixed_companies": True, "void_word": "void"},
    **{"duplicate_rate": 0, "loss_rate": 0, "resend_rate": 0, "reorder": False, "coalesce": False, "batch_max": 100},
    **{"aggregation_ms": 20, "format": "cloudevents", "retry_scale": 0.001, "in_flight": 1, "bad_signature_next": 0},
}


def until(look: Callable[[], Any], seconds: float = 20) -> Any:
    """What `look` finds, as soon as it finds something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.01)
    raise AssertionError("it did not happen in time")


@contextmanager
def running(*options: str) -> Iterator[Intuit]:
    """A simulator with a small history, unless the options say otherwise."""
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
        """Stop receiving."""
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def bodies(self) -> list[Any]:
        """Every body received, parsed."""
        return [json.loads(body) for _, body in self.received]

    def events(self) -> list[tuple[str, str]]:
        """Type and entity of every CloudEvent received."""
        return [(event["type"], event["intuitentityid"]) for body in self.bodies() for event in body]


@contextmanager
def listening(intuit: Intuit) -> Iterator[Endpoint]:
    """An endpoint that the simulator delivers to, as long as the block lasts."""
    made = Endpoint()
    intuit.sim("PUT", "/webhooks", {"url": made.url})
    try:
        yield made
    finally:
        intuit.sim("PUT", "/webhooks", {"url": None})
        intuit.sim("POST", "/webhooks/forget")
        made.close()


def fault(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal."""
    return answer.status_code, answer.json()["Fault"]["Error"][0]["code"]


def consent(intuit: Intuit, **more: str) -> dict[str, list[str]]:
    """What the redirect after the consent page carries."""
    asked = {"client_id": "simulator-client", "redirect_uri": "http://localhost/cb?x=1", "state": "s1"} | more
    answer = intuit.http.get("/connect/oauth2", params=asked)
    assert answer.status_code == 302
    return parse_qs(urlsplit(answer.headers["location"]).query)


def ask_token(intuit: Intuit, **form: str) -> httpx.Response:
    """One request of the token endpoint."""
    return intuit.http.post("/oauth2/v1/tokens/bearer", data=form, headers=BASIC)


def signed_in(intuit: Intuit, realm: str = FIRST) -> dict[str, Any]:
    """A pair of tokens, from the consent page to the code's exchange."""
    code = consent(intuit, auto="1", realmId=realm)["code"][0]
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": "http://localhost/cb?x=1"}
    answer = ask_token(intuit, **form)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found
