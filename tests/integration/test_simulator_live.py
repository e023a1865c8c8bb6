"""A life on a running simulator: started, followed and stopped over HTTP, and by the command `live`."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

FIRST, SECOND = "9130000000000001", "9130000000000002"


class Sim:
    """The control API in one line per call."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=f"{url}/_sim", trust_env=False, timeout=60)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.http.request(method, path, json=body)
        answer.raise_for_status()
        return answer.json()

    def ended(self) -> dict[str, Any]:
        """The life's state once it is over."""
        found: dict[str, Any] = {}

        def is_over() -> bool:
            found.update(self.ask("GET", "/live"))
            return bool(found["state"] != "running")

        until(is_over)
        return found


def until(fact: Callable[[], bool], limit_s: float = 90) -> None:
    """Poll until something is so."""
    deadline = time.monotonic() + limit_s
    while not fact():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.05)


def started(*options: str) -> tuple[subprocess.Popen[str], Sim]:
    command = [sys.executable, "-m", "connectors.simulator", "--port", "0", "--companies", "2", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, Sim(json.loads(process.stdout.readline())["url"])


def ended(process: subprocess.Popen[str], sim: Sim) -> None:
    sim.http.close()
    process.terminate()
    process.wait(20)
    assert process.stdout is not None
    process.stdout.close()


@pytest.fixture(scope="module")
def sim() -> Iterator[Sim]:
    process, found = started("--history", "small")
    yield found
    ended(process, found)


def test_life_is_played_on_the_companies_asked_for_and_the_oracle_knows_it(sim: Sim) -> None:
    before = sim.ask("GET", f"/companies/{SECOND}/truth")
    sim.ask("POST", "/live", {"seed": 4, "steps": 300, "rate": "max", "companies": [FIRST], "check": True})
    state = sim.ended()
    assert (state["state"], state["done"], state["total"], state["summary"]["violations"]) == ("done", 300, 300, [])
    assert sim.ask("GET", f"/companies/{SECOND}/truth") == before
    said = sim.ask("GET", f"/companies/{FIRST}/truth")
    catalogue = {project["project_id"] for project in sim.ask("GET", f"/companies/{FIRST}/projects")}
    assert set(said["projects"]) <= catalogue and 5 < len(catalogue) <= 5 + state["summary"]["happenings"]["new_job"]
    assert {form["why"] for form in said["Invoice"].values()} >= {"customer", "reference number"}
    net = sum(Decimal(f["net_receivable"]) for found in said["projects"].values() for f in found.values())
    rest = sum(Decimal(part["net"]) for part in said["waiting"])
    rest += sum(Decimal(customer["other_receivables"]) for customer in said["customers"].values())
    assert net + rest == sum(Decimal(customer["balance"]) for customer in said["customers"].values())


def test_slow_life_can_be_seen_and_stopped_and_only_one_is_played_at_a_time(sim: Sim) -> None:
    sim.ask("POST", "/live", {"steps": 100000, "rate": "20/s"})
    until(lambda: sim.ask("GET", "/live")["done"] >= 3)
    assert sim.http.post("/live", json={"steps": 1}).status_code == 409
    stopped = sim.ask("DELETE", "/live")
    assert stopped["state"] == "stopped" and 3 <= stopped["done"] < 100000 and stopped["rate"] == "20/s"
    assert sim.ask("DELETE", "/live")["done"] == stopped["done"]


def test_so_many_steps_make_a_day_and_every_night_is_a_new_date(sim: Sim) -> None:
    before = datetime.fromisoformat(sim.ask("GET", "/clock")["now"])
    sim.ask("POST", "/live", {"seed": 5, "steps": 60, "rate": "max", "companies": [FIRST], "day_steps": 20})
    assert sim.ended()["state"] == "done"
    after = datetime.fromisoformat(sim.ask("GET", "/clock")["now"])
    assert timedelta(hours=71) < after - before < timedelta(hours=73)
    newest = sim.ask("GET", f"/companies/{FIRST}/records/invoice?limit=20")
    assert len({invoice["MetaData"]["CreateTime"][:10] for invoice in newest}) > 1


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"rate": "fast"}, "is no rate"),
        ({"companies": ["1"]}, "there is no company 1"),
        ({"without": ["earthquake"]}, "unknown happenings: earthquake"),
        ({"sped": 1}, "unknown: sped"),
        ({"day_steps": "few"}, "invalid literal"),
    ],
)
def test_life_that_cannot_be_understood_is_refused_with_what_there_is(sim: Sim, asked: Any, said: str) -> None:
    answer = sim.http.post("/live", json=asked)
    assert (answer.status_code, said in answer.text) == (400, True)


def test_killed_simulator_still_knows_what_the_writers_knew(tmp_path: Path) -> None:
    process, first = started("--history", "none", "--data-dir", str(tmp_path))
    first.ask("POST", "/live", {"steps": 120, "rate": "max"})
    first.ended()
    said = first.ask("GET", f"/companies/{SECOND}/truth")
    process.kill()
    first.http.close()
    process.wait(20)
    assert process.stdout is not None
    process.stdout.close()
    process, second = started("--history", "none", "--data-dir", str(tmp_path))
    try:
        assert second.ask("GET", f"/companies/{SECOND}/truth") == said
        second.ask("POST", "/live", {"steps": 50, "rate": "max", "check": True})
        assert second.ended()["summary"]["violations"] == []
    finally:
        ended(process, second)


class Sink(BaseHTTPRequestHandler):
    """An endpoint that takes every webhook."""

    taken: list[int]

    def do_POST(self) -> None:
        events = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.taken.append(len(events))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Silence."""


def test_live_command_plays_in_front_of_an_endpoint_and_ends_when_every_webhook_is_out() -> None:
    Sink.taken = []
    endpoint = ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    thread = threading.Thread(target=endpoint.serve_forever, daemon=True)
    thread.start()
    try:
        url = f"http://127.0.0.1:{endpoint.server_port}/webhooks"
        command = [sys.executable, "-m", "connectors.simulator", "live", "--steps", "80", "--rate", "200/s"]
        done = subprocess.run([*command, "--webhook-url", url], capture_output=True, text=True, timeout=100, check=True)
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        assert (lines[0]["event"], lines[-1]["state"], lines[-1]["steps"]) == ("ready", "done", 80)
        assert sum(Sink.taken) == lines[-1]["events"] > 80
    finally:
        endpoint.shutdown()
        endpoint.server_close()
        thread.join(10)
