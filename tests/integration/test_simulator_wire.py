"""What of the simulator's trouble is only so on a real connection, and what outlives its process."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.pretend import FIRST

ROOT = Path(__file__).resolve().parents[2]
TEN_GIGABYTES = 10_000_000_000


class Process:
    """A simulator in a process of its own."""

    def __init__(self, child: subprocess.Popen[str], url: str) -> None:
        self.child = child
        self.url = url
        self.http = httpx.Client(base_url=url, timeout=30, trust_env=False)

    def sim(self, method: str, path: str, body: Any = None) -> Any:
        """One request of the control API."""
        answer = self.http.request(method, f"/_sim{path}", json=body)
        answer.raise_for_status()
        return answer.json()

    def headers(self) -> dict[str, str]:
        """A token."""
        return {"Authorization": f"Bearer {self.sim('POST', '/tokens', {'realm': FIRST})['access_token']}"}

    def memory_kb(self) -> int:
        """Resident memory of the process."""
        status = Path(f"/proc/{self.child.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))


@contextmanager
def process(*options: str) -> Iterator[Process]:
    command = [sys.executable, "-m", "connectors.simulator", "--port", "0", "--history", "small", "--no-limits"]
    child = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert child.stdout is not None
    made: Process | None = None
    try:
        made = Process(child, json.loads(child.stdout.readline())["url"])
        yield made
    finally:
        if made is not None:
            made.http.close()
        child.kill()
        child.wait()
        child.stdout.close()


@pytest.fixture(scope="module")
def shared() -> Iterator[Process]:
    with process() as made:
        yield made


@pytest.fixture
def intuit(shared: Process) -> Process:
    shared.sim("PUT", "/profile", {"name": "calm"})
    return shared


PATH = f"/v3/company/{FIRST}/preferences"


def test_reset_is_one_on_the_wire_and_the_server_goes_on(intuit: Process) -> None:
    headers = intuit.headers()
    intuit.sim("PUT", "/faults", [{"kind": "reset", "route": "GET preferences", "count": 1}])
    host, port = intuit.http.base_url.host, intuit.http.base_url.port
    with socket.create_connection((host, port or 80), timeout=30) as connection:
        connection.sendall(f"GET {PATH} HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
        with pytest.raises(ConnectionResetError) as caught:
            connection.recv(100)
    assert caught.value.errno == errno.ECONNRESET
    assert intuit.http.get(PATH, headers=headers).status_code == 200


def test_lost_answer_breaks_the_connection_without_a_byte(intuit: Process) -> None:
    headers = intuit.headers()
    intuit.sim("PUT", "/faults", [{"kind": "lost", "route": "GET preferences", "count": 1}])
    with pytest.raises(httpx.ReadError):
        intuit.http.get(PATH, headers=headers)
    assert intuit.http.get(PATH, headers=headers).status_code == 200


def test_cut_answer_promises_more_than_it_holds(intuit: Process) -> None:
    headers = intuit.headers()
    intuit.sim("PUT", "/faults", [{"kind": "cut", "route": "GET preferences", "count": 1}])
    received = b""
    with (
        pytest.raises(httpx.RemoteProtocolError),
        intuit.http.stream("GET", PATH, headers=headers) as answer,
    ):
        for part in answer.iter_bytes():
            received += part
    assert answer.status_code == 200 and 0 < len(received) < int(answer.headers["content-length"])


@pytest.mark.parametrize("kind", ["flood", "bomb"])
def test_body_of_ten_gigabytes_costs_the_simulator_nothing(intuit: Process, kind: str) -> None:
    headers = intuit.headers()
    intuit.sim("PUT", "/faults", [{"kind": kind, "route": "GET preferences", "bytes": TEN_GIGABYTES, "count": 1}])
    seen = 0
    with intuit.http.stream("GET", PATH, headers=headers) as answer:
        for part in answer.iter_bytes(1 << 20):
            seen += len(part)
            if seen > 50_000_000:
                break
    assert intuit.http.get(PATH, headers=headers).status_code == 200
    assert intuit.memory_kb() < 300 * 1024


def test_clock_the_profile_of_the_start_the_meter_and_the_signing_key_outlive_a_killed_process(tmp_path: Path) -> None:
    options = ("--data-dir", str(tmp_path))
    target = datetime.now(UTC) + timedelta(days=400)
    with process(*options, "--profile", "storm", "--seed", "5") as first:
        first.sim("PUT", "/clock", {"now": target.isoformat(), "speed": 2})
        shown = first.sim("GET", "/profile")
        assert (shown["name"], shown["seed"]) == ("storm", 5)
        drawn = shown["companies"]
        first.sim("PUT", "/profile", {"name": "calm"})
        assert first.http.get(PATH, headers=first.headers()).status_code == 200
        first.sim("PUT", "/profile", {"name": "storm", "seed": 5})
        keys = first.http.get("/op/v1/jwks").json()
        os.kill(first.child.pid, 9)
        first.child.wait()
    with process(*options) as second:
        clock = second.sim("GET", "/clock")
        assert clock["speed"] == 2 and target <= datetime.fromisoformat(clock["now"]) < target + timedelta(days=1)
        again = second.sim("GET", "/profile")["companies"]
        assert [_without_id(rule) for rule in again[FIRST]["rules"]] == [
            _without_id(rule) for rule in drawn[FIRST]["rules"]
        ]
        assert second.http.get("/op/v1/jwks").json() == keys
        assert second.sim("GET", "/calls")["metered_month_all"] == 1


def _without_id(rule: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in rule.items() if key != "id"}
