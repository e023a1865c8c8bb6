"""A life on a running simulator: POST /_sim/live starts it, GET says how far it is, DELETE stops it.

Reads: requests of tests and people. Writes: companies, through the life generator; what they are besides their records
is kept as it changes. Guarantees: one life at a time; between two steps others are answered; a life that breaks off
says why.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from connectors.simulator.api.company import Company
from connectors.simulator.life.firm import Firm
from connectors.simulator.life.play import Pace, Play, found_firm, rate_of
from connectors.simulator.life.repertoire import Repertoire
from connectors.simulator.simulator import FIRST_REALM, Simulator
from connectors.simulator.wire import decode

STRETCH_S = 0.02  # so long steps are made in a row before others are answered
NIGHT_S = 24 * 3600 - 120  # every night changes the date; a token that lives a day can still be used in the morning
KNOWN = frozenset({"seed", "steps", "rate", "companies", "without", "check", "day_steps"})


class LiveControl:
    """`/_sim/live`."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self._play: Play | None = None
        self._task: asyncio.Task[None] | None = None
        self._state: dict[str, Any] = {"state": "none", "rate": None}
        self._day_steps = 0  # so many steps make a day; 0: days pass as they do
        self._started = 0.0
        self._ended = 0.0

    def routes(self) -> list[Route]:
        """The routes of a life."""
        return [Route("/_sim/live", self.live, methods=["GET", "POST", "DELETE"])]

    async def live(self, request: Request) -> Response:
        """Start a life (`seed`, `steps`, `rate`, `companies`, `without`, `check`, `day_steps`), see it, or stop it."""
        if request.method == "POST":
            await self._start(await request.body())
        elif request.method == "DELETE":
            await self.stop()
        return JSONResponse(self._report())

    async def stop(self) -> None:
        """End the life between two steps."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _start(self, raw: bytes) -> None:
        if self._task is not None and not self._task.done():
            raise HTTPException(409, "a life is under way; DELETE /_sim/live stops it")
        try:
            asked: dict[str, Any] = decode(raw) if raw else {}
            if unknown := sorted(set(asked) - KNOWN):
                raise ValueError(f"unknown: {', '.join(unknown)}; known: {', '.join(sorted(KNOWN))}")
            pace = Pace(rate_of(str(asked.get("rate", "1/s"))), time.monotonic)
            self._day_steps = int(asked.get("day_steps", 0))
            self._play = self._playing(asked)
        except (ValueError, TypeError) as error:
            raise HTTPException(400, str(error)) from error
        self._state = {"state": "running", "rate": str(asked.get("rate", "1/s")), "check": bool(asked.get("check"))}
        self._started = time.monotonic()
        self._task = asyncio.create_task(self._run(self._play, pace))

    def _playing(self, asked: dict[str, Any]) -> Play:
        repertoire = Repertoire(asked.get("without", ()))
        companies = self._companies(asked.get("companies"))
        steps = int(asked.get("steps", 100))
        for company in companies:
            found_firm(company, int(company.realm) - FIRST_REALM)
        seed = str(asked.get("seed", 1))
        return Play([Firm(one, seed, int(one.realm) - FIRST_REALM) for one in companies], repertoire, steps)

    def _companies(self, asked: Any) -> list[Company]:
        """All companies, the first so many, or those named."""
        known = self.simulator.companies
        if asked is None:
            return list(known.values())
        if isinstance(asked, int):
            return list(known.values())[:asked]
        if unknown := [str(realm) for realm in asked if str(realm) not in known]:
            raise ValueError(f"there is no company {', '.join(unknown)}; there are {', '.join(known)}")
        return [known[str(realm)] for realm in asked]

    async def _run(self, play: Play, pace: Pace) -> None:
        try:
            await self._play_on(play, pace)
            if self._state["check"]:
                play.check()
            self._state["state"] = "done"
        except asyncio.CancelledError:
            self._state["state"] = "stopped"
            raise
        finally:
            self._ended = time.monotonic()
            for firm in play.firms:
                firm.leave()

    async def _play_on(self, play: Play, pace: Pace) -> None:
        in_a_row = time.monotonic()
        while play.done < play.total:
            wait_s = pace.wait_s()
            if wait_s > 0 or time.monotonic() - in_a_row > STRETCH_S:
                await asyncio.sleep(wait_s)
                in_a_row = time.monotonic()
                continue
            with self.simulator.storage.together():
                self._step(play)
            pace.stepped()
            if self._day_steps and play.done % self._day_steps == 0:
                self._pass_night()

    def _pass_night(self) -> None:
        """Everything that is due before the next morning happens at once."""
        self.simulator.clock.set(advance_s=NIGHT_S)
        self.simulator.keep_clock()

    def _step(self, play: Play) -> None:
        firm = play.firms[play.done % len(play.firms)]
        before = self._besides(firm.company)
        play.step()
        if self._besides(firm.company) != before:
            self.simulator.keep_company(firm.company)

    def _besides(self, company: Company) -> tuple[Any, ...]:
        book = company.book
        names, credits_ = tuple(book.field_names.values()), company.switches.auto_apply_credits
        return len(company.projects), names, book.closed_until, credits_

    def _report(self) -> dict[str, Any]:
        if self._play is None or self._task is None:
            return dict(self._state)
        if self._task.done() and not self._task.cancelled() and (error := self._task.exception()) is not None:
            self._state |= {"state": "failed", "reason": repr(error)}
        until = time.monotonic() if self._state["state"] == "running" else self._ended
        spent_s = round(until - self._started, 3)
        measured = round(self._play.done / spent_s, 1) if spent_s else None
        found = {**self._state, "done": self._play.done, "total": self._play.total}
        return found | {"seconds": spent_s, "steps_per_s": measured, "summary": self._play.summary()}
