"""The simulator within the test's own process, with a clock that stands still and an endpoint that answers as told."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from connectors.simulator.app import build
from connectors.simulator.simulator import Options, Simulator

FIRST, SECOND = "9130000000000001", "9130000000000002"
BASIC = {"authorization": "Basic " + base64.b64encode(b"simulator-client:simulator-secret").decode()}
LINE = {"Amount": 100.0, "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": {"ItemRef": {"value": "1"}}}
TURNS_MAX = 200_000


class Hook:
    """Somebody who receives webhooks within this process and answers as told."""

    def __init__(self) -> None:
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []  # statuses for the next requests, then 200

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.received.append(({key.decode(): value.decode() for key, value in scope["headers"]}, body))
        status = self.answers.pop(0) if self.answers else 200
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def events(self) -> list[dict[str, Any]]:
        """Every event of every body that was answered 200 or not, in order."""
        return [event for _, body in self.received for event in json.loads(body)]

    def ids(self) -> list[str]:
        """The records that were announced, in order."""
        return [event["intuitentityid"] for event in self.events()]


class Pretend:
    """A simulator and a client of it, in one process."""

    def __init__(self, simulator: Simulator, hook: Hook) -> None:
        self.simulator = simulator
        self.hook = hook
        transport = httpx.ASGITransport(app=build(simulator))
        self.http = httpx.AsyncClient(transport=transport, base_url="http://intuit.test")
        self._tokens: dict[str, dict[str, str]] = {}

    async def sim(self, method: str, path: str, body: Any = None) -> Any:
        """One request of the control API."""
        answer = await self.http.request(method, f"/_sim{path}", json=body)
        answer.raise_for_status()
        return answer.json()

    async def fault(self, **rule: Any) -> None:
        """One more rule."""
        await self.sim("POST", "/faults", rule)

    async def advance(self, seconds: float, **more: Any) -> None:
        """Jump, then let happen what is due."""
        await self.sim("PUT", "/clock", {"advance_s": seconds, **more})
        await self.settle()

    async def headers(self, realm: str = FIRST) -> dict[str, str]:
        """A token of the company, good for an hour."""
        if realm not in self._tokens:
            self._tokens[realm] = await self.sim("POST", "/tokens", {"realm": realm})
        return {"Authorization": f"Bearer {self._tokens[realm]['access_token']}"}

    async def get(self, path: str, realm: str = FIRST, **parameters: str) -> httpx.Response:
        """One read."""
        headers = await self.headers(realm)
        return await self.http.get(f"/v3/company/{realm}/{path}", params=parameters, headers=headers)

    async def post(self, path: str, body: Any, realm: str = FIRST, **parameters: str) -> httpx.Response:
        """One write."""
        headers = await self.headers(realm)
        return await self.http.post(f"/v3/company/{realm}/{path}", json=body, params=parameters, headers=headers)

    async def invoice(self, realm: str = FIRST, **more: Any) -> dict[str, Any]:
        """A new invoice, or a changed one."""
        body = {"CustomerRef": {"value": "5"}, "Line": [LINE], **more}
        made: dict[str, Any] = (await self.sim("POST", f"/companies/{realm}/records/Invoice", body))["record"]
        return made

    async def ask_token(self, headers: dict[str, str] | None = None, **form: str) -> httpx.Response:
        """One request of the token endpoint."""
        return await self.http.post("/oauth2/v1/tokens/bearer", data=form, headers=BASIC | (headers or {}))

    async def refresh(self, token: str) -> httpx.Response:
        """One refresh."""
        return await self.ask_token(grant_type="refresh_token", refresh_token=token)

    async def settle(self) -> None:
        """Let the courier do whatever is due at this moment."""
        await until(lambda: (due := self.simulator.courier.next_due()) is None or due > self.simulator.clock.now())


async def until(look: Callable[[], Any]) -> Any:
    """Give way until something is so; the number of turns is limited, not the time."""
    for _ in range(TURNS_MAX):
        if found := look():
            return found
        await asyncio.sleep(0)
    raise AssertionError("it did not happen")


@asynccontextmanager
async def pretend(data_dir: Path | None = None, **options: Any) -> AsyncIterator[Pretend]:
    """A simulator of two companies that stands still; its courier runs."""
    hook = Hook()
    given = {"history": "small", "companies": 2, "limits": False, "webhook_url": "http://hook.test/q"} | options
    simulator = Simulator(Options(data_dir=data_dir, **given), transport=httpx.ASGITransport(app=hook))
    simulator.clock.set(speed=0)
    simulator.courier.settings.aggregation_ms = 0
    courier = asyncio.create_task(simulator.courier.run())
    made = Pretend(simulator, hook)
    try:
        yield made
    finally:
        await made.http.aclose()
        courier.cancel()
        with suppress(asyncio.CancelledError):
            await courier
        simulator.close()
