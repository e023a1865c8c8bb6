"""An ingress process for tests, what is sent to it, and what stands in its topics."""

import asyncio
import base64
import hmac
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

import httpx
import psutil

from connectors.config import Settings
from connectors.kafka import read_from
from connectors.quickbooks.webhook import PATH
from schemas.changes import Parked
from schemas.codec import file_ids
from schemas.topics import topics
from schemas.wire import Incoming

OLD_TOKEN = "old-verifier-token"
NEW_TOKEN = "new-verifier-token"
START_S_MAX = 90.0
LIMIT_S = 90.0


def settings(bootstrap: str, prefix: str) -> Settings:
    """Settings of an ingress on a free port, with four partitions, while tokens are rotated."""
    return Settings.from_environment(
        {
            "KAFKA_BOOTSTRAP": bootstrap,
            "DATABASE_URL": "postgresql://unused",
            "MASTER_KEYS": "unused:" + base64.b64encode(bytes(32)).decode(),
            "TOPIC_PREFIX": prefix,
            "TOPIC_PARTITIONS": "4",
            "WEBHOOK_VERIFIER_TOKENS": f"{OLD_TOKEN},{NEW_TOKEN}",
            "INGRESS_PORT": "0",
        }
    )


def company() -> str:
    """A company of this test's own, so that tests may share topics."""
    return str(secrets.randbelow(10**15) + 10**15)


def event(company_id: str, record_id: str = "1045", **changes: Any) -> bytes:
    fields = {
        "specversion": "1.0",
        "id": secrets.token_hex(16),
        "source": "intuit.dsnBgbseACLLRZNxo2dfc4evmEJdxde58xeeYcZliOU=",
        "type": "qbo.invoice.created.v1",
        "time": "2026-03-08T09:15:02.179851517Z",
        "intuitentityid": record_id,
        "intuitaccountid": company_id,
        "data": {},
    }
    return json.dumps(fields | changes).encode()


def delivery(*events: bytes) -> bytes:
    return b"[" + b" ,\n".join(events) + b"]"


def signature(body: bytes, token: str = NEW_TOKEN) -> str:
    return base64.b64encode(hmac.digest(token.encode(), body, "sha256")).decode()


def signed(
    body: bytes, token: str = NEW_TOKEN, content_type: str = "application/json; charset=utf-8"
) -> dict[str, str]:
    return {"intuit-signature": signature(body, token), "content-type": content_type, "intuit-t-id": "1-5759f3b4"}


def request_bytes(body: bytes, *fields: bytes, target: bytes = PATH.encode()) -> bytes:
    head = [b"POST " + target + b" HTTP/1.1", b"Host: x", b"Intuit-Signature: " + signature(body).encode(), *fields]
    return b"\r\n".join([*head, b"Content-Length: %d" % len(body), b"", body])


async def answer_of(address: tuple[str, int], *parts: bytes, within_s: float = LIMIT_S) -> bytes:
    """Everything that is answered to these bytes until the connection is closed."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        return await asyncio.wait_for(reader.read(), within_s)
    except ConnectionError:
        return b""
    finally:
        writer.close()


class Log:
    """What stands in the topics now."""

    def __init__(self, bootstrap: str, prefix: str):
        self._bootstrap = bootstrap
        self._topics = topics(4, prefix=prefix)

    async def notifications(self) -> list[Incoming]:
        return await self._all(self._topics.notifications.name)

    async def of(self, company_id: str) -> list[Incoming]:
        return [record for record in await self.notifications() if record.key == company_id]

    async def parked(self, value: bytes) -> list[Parked]:
        bodies = [file_ids().decode(record.value).body for record in await self._all(self._topics.parked.name)]
        return [body for body in bodies if body.value == value]

    async def _all(self, topic: str) -> list[Incoming]:
        return [record async for batch in read_from(self._bootstrap, topic) for record in batch]


class IngressProcess:
    """One process of `connectors.quickbooks.webhook`."""

    def __init__(self, chosen: Settings, folder: Path):
        self._log = folder / "ingress.log"
        self._environment = os.environ | {
            "KAFKA_BOOTSTRAP": chosen.kafka_bootstrap,
            "DATABASE_URL": "postgresql://unused",
            "MASTER_KEYS": "unused:" + base64.b64encode(bytes(32)).decode(),
            "TOPIC_PREFIX": chosen.topic_prefix,
            "TOPIC_PARTITIONS": str(chosen.topic_partitions),
            "WEBHOOK_VERIFIER_TOKENS": ",".join(t.get_secret_value() for t in chosen.webhook_verifier_tokens),
            "INGRESS_PORT": "0",
        }
        self.url = ""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        url = httpx.URL(self.url)
        return url.host, url.port or 0

    def log(self) -> str:
        """What it said until now."""
        return self._log.read_text()

    def peak_bytes(self) -> int:
        """The most memory that it ever held."""
        status = Path(f"/proc/{self._process.pid}/status")
        if not status.exists():
            return int(psutil.Process(self._process.pid).memory_info().rss)
        [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024

    def wait_until_ready(self, within_s: float = START_S_MAX) -> None:
        """Return when it would take deliveries."""
        deadline = time.monotonic() + within_s
        while not self._is_ready():
            assert time.monotonic() < deadline, f"not ready within {within_s} s: {self.log()}"
            time.sleep(0.05)

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/ready", timeout=START_S_MAX).status_code == 200
        except httpx.TransportError:  # it is about to listen, or about to end
            return False

    def wait_until_said(self, words: str) -> None:
        """Return when these words stand in its log."""
        deadline = time.monotonic() + START_S_MAX
        while words not in self.log():
            assert time.monotonic() < deadline, f"never said: {words}"
            time.sleep(0.05)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Ask it to stop and return without waiting."""
        self._process.send_signal(signal.SIGTERM)

    def wait(self, within_s: float = START_S_MAX) -> None:
        """Return when it has ended."""
        self._process.wait(within_s)

    def __enter__(self) -> Self:
        with self._log.open("w") as out:
            command = [sys.executable, "-m", "connectors.quickbooks.webhook"]
            self._process = subprocess.Popen(command, env=self._environment, stdout=out, stderr=out)
        deadline = time.monotonic() + START_S_MAX
        while not self.url:
            assert time.monotonic() < deadline and self._process.poll() is None, f"did not start: {self.log()}"
            self.url = next((line["url"] for line in self._lines() if line["event"] == "listening"), "")
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self.kill()

    def _lines(self) -> list[dict[str, str]]:
        return [json.loads(line) for line in self.log().splitlines() if line.startswith("{") and line.endswith("}")]
