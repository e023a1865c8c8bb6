"""The control API of trouble: faults, profiles of faults, and the clock.

Reads: requests of tests, benchmarks and people; no token is needed. Writes: rules, profiles, the clock.
Guarantees: what is not understood is refused with what there is; `calm` ends all trouble that can be ended.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from connectors.simulator.api.profiles import CALM, PROFILES
from connectors.simulator.api.trouble import KINDS, rule_from
from connectors.simulator.simulator import Simulator
from connectors.simulator.wire import decode

STEP_S_MAX = 10.0  # of real time: how long a walking clock waits for one thing that is due


class TroubleControl:
    """`/_sim/faults`, `/_sim/profile` and `/_sim/clock`."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator

    def routes(self) -> list[Route]:
        """The routes of trouble."""
        return [
            Route("/_sim/faults", self.fault_rules, methods=["GET", "PUT", "POST", "DELETE"]),
            Route("/_sim/faults/kinds", self.fault_kinds, methods=["GET"]),
            Route("/_sim/profile", self.profile, methods=["GET", "PUT"]),
            Route("/_sim/clock", self.clock, methods=["GET", "PUT"]),
        ]

    # ---- faults --------------------------------------------------------------------------------------------------

    async def fault_rules(self, request: Request) -> Response:
        """See, replace (PUT), add to (POST) or clear (DELETE) the faults set by hand."""
        asked = await _body(request)
        if request.method in ("PUT", "DELETE"):
            self.simulator.faults.replace([])
            self._delay(None, 0)
        if request.method in ("PUT", "POST"):
            for one in asked.get("rules", [asked]) if isinstance(asked, dict) else asked:
                self._add_rule(dict(one))
        companies = self.simulator.companies.values()
        delays = {one.realm: one.visibility_delay_s for one in companies if one.visibility_delay_s}
        faults = self.simulator.faults
        return JSONResponse({"rules": faults.report(), "visibility_delay_s": delays, "made": faults.made_by_company()})

    async def fault_kinds(self, request: Request) -> Response:
        """Every kind of fault, what it befalls and what it does."""
        return JSONResponse({name: {"place": one.place, "meaning": one.meaning} for name, one in KINDS.items()})

    def _add_rule(self, asked: dict[str, Any]) -> None:
        if "visibility_delay_s" in asked:
            self._delay(asked.get("realm"), float(asked.pop("visibility_delay_s")))
            if not set(asked) - {"realm"}:
                return
        try:
            self.simulator.faults.add(rule_from(asked))
        except (ValueError, TypeError) as error:
            raise HTTPException(400, str(error)) from error

    def _delay(self, realm: str | None, seconds: float) -> None:
        for company in self.simulator.companies.values():
            if realm in (None, company.realm):
                company.delay_visibility(seconds)

    # ---- profiles ------------------------------------------------------------------------------------------------

    async def profile(self, request: Request) -> Response:
        """See or set the profile: `name` or `rules`, `seed`, `realm`. `calm` ends all trouble."""
        if request.method == "PUT":
            asked = await _body(request)
            try:
                self.simulator.profiles.put(asked, self.simulator.options.seed)
            except (ValueError, TypeError, AttributeError) as error:
                raise HTTPException(400, str(error)) from error
            if asked.get("name", CALM) == CALM and "rules" not in asked:
                self.simulator.heal(asked.get("realm"))
        return JSONResponse(self.simulator.profiles.report() | {"known": list(PROFILES)})

    # ---- clock ---------------------------------------------------------------------------------------------------

    async def clock(self, request: Request) -> Response:
        """See or set the simulated time: `now`, `advance_s`, `speed`; `walk` stops at everything due on the way."""
        clock = self.simulator.clock
        if request.method == "PUT":
            asked = await _body(request)
            until = _moment(asked["now"]) if asked.get("now") else clock.now()
            until += timedelta(seconds=float(asked.get("advance_s", asked.get("offset_s", 0))))
            if asked.get("walk"):
                await walk(self.simulator, until)
            moved = until if asked.get("now") else max(until, clock.now())
            clock.set(now=moved, speed=float(asked["speed"]) if "speed" in asked else None)
            self.simulator.keep_clock()
        due = self._next_due()
        return JSONResponse(
            {"now": clock.now().isoformat(), "speed": clock.speed, "next_due": due.isoformat() if due else None}
        )

    def _next_due(self) -> datetime | None:
        return next_due(self.simulator)


def next_due(simulator: Simulator) -> datetime | None:
    """When the next thing happens by itself: a delivery, a retry, the end of a wait."""
    found = [one for one in (simulator.courier.next_due(), simulator.clock.next_due()) if one is not None]
    return min(found, default=None)


async def walk(simulator: Simulator, until: datetime) -> None:
    """Move the clock from one thing that is due to the next, and let each happen before the next is due."""
    clock = simulator.clock
    while (due := next_due(simulator)) is not None and due <= until:
        clock.set(now=max(due, clock.now()))
        if not await _happened(simulator):
            return


async def _happened(simulator: Simulator) -> bool:
    """Wait until nothing is due any more at this moment; False where it takes too long in real time."""
    loop = asyncio.get_running_loop()
    end = loop.time() + STEP_S_MAX
    while (due := next_due(simulator)) is not None and due <= simulator.clock.now():
        if loop.time() > end:
            return False
        await asyncio.sleep(0.001)
    return True


def _moment(text: Any) -> datetime:
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise HTTPException(400, f"not a moment: {text}") from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


async def _body(request: Request) -> Any:
    raw = await request.body()
    try:
        return decode(raw) if raw else {}
    except ValueError as error:
        raise HTTPException(400, f"the body is not JSON: {error}") from error
