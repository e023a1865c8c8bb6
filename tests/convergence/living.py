"""One life of several companies in front of the whole system, in a storm, until nothing is on its way any more.

Steers: the simulator, through its control API, and the workers of one installation; people's requests. Reads and writes
the control tables of the installation where time is cut short.
Guarantees: the seed says what happens and how the storm blows; nothing of ours runs otherwise than in service, but that
nobody waits for more than WAIT_S_MAX after a refusal: as if that time had passed.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from connectors.child import Progress, silent
from streams.requests import Answered, Mapping, Requests
from streams.topology import opened, prepare_topics
from tests.acceptance.breaking import not_kept
from tests.acceptance.running import Running
from tests.convergence.comparing import Comparison, Difference, compare
from tests.intuit import execute

PAST_SHARE = 5  # one step in so many is lived before the companies are connected: their history
DAYS = {"past": 4, "life": 8}  # in a night on Intuit's clock what is late comes, tokens end, rates move
DAY_STEPS_MIN = 400  # in a storm: a grant whose renewal was lost in the night must be renewed before the next one
MAPPED_AT = (0.25, 0.5, 0.75)  # of the life, people map half of what is new
WAIT_S_MAX = 3
POLL_S = 0.2
SETTLED_S_MAX = 900.0
ANSWERED_S_MAX = 300.0
PERSON = "convergence"
FIRST_COMPANY = 9130000000000001


@dataclass(frozen=True, slots=True)
class Asked:
    """A life as it was asked for."""

    seed: int
    companies: int = 3
    steps: int = 5000
    profile: str = "storm"
    rate: str = "80/s"


class Lived(NamedTuple):
    """What was lived, what the storm did, and how each company's read tables compare with the truth."""

    life: dict[str, Any]
    faults: dict[str, int]
    comparisons: list[Comparison]

    @property
    def differences(self) -> list[Difference]:
        """Of all companies."""
        return [difference for comparison in self.comparisons for difference in comparison.differences]


@dataclass(slots=True)
class Life:
    """A life under way on a running installation."""

    running: Running
    asked: Asked
    show: Progress = silent
    since: str = ""  # on Intuit's clock, when the storm began
    mapped: dict[tuple[str, str, str], Any] = field(default_factory=dict)  # what people said and the ledger accepted
    declared: set[str] = field(default_factory=set)
    refused: list[tuple[str, Answered]] = field(default_factory=list)  # with the company

    @property
    def companies(self) -> list[str]:
        """Their ids."""
        return [str(FIRST_COMPANY + number) for number in range(self.asked.companies)]

    def live(self) -> Lived:
        """From nothing to the comparison; every process keeps running."""
        self._begin()
        self._play("past", self.asked.steps // PAST_SHARE)
        self._connect()
        self.running.simulator("PUT", "/profile", {"name": self.asked.profile, "seed": self.asked.seed})
        self.since = self.running.simulator("GET", "/clock")["now"]
        self._play("life", self.asked.steps - self.asked.steps // PAST_SHARE)
        life = self.running.simulator("GET", "/live")
        faults = self._faults()
        self._settle()
        return Lived(life, faults, [self._compare(company_id) for company_id in self.companies])

    # --- the life -------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self.show("starting", 0, 0)
        system = self.running.system
        asyncio.run(prepare_topics(system.settings))
        system.simulator(history="none", companies=self.asked.companies)
        settings = {"aggregation_ms": 200, "retry_scale": 0.02, "only_connected": True}
        self.running.simulator("PUT", "/webhooks", settings)

    def _connect(self) -> None:
        self.show("connecting", 0, 0)
        system = self.running.system
        system.ingress()
        system.worker()
        for number, company_id in enumerate(self.companies):
            asyncio.run(system.connect(f"organisation-{number}", company_id))

    def _play(self, part: str, steps: int) -> None:
        """One life after another: the past at once, the rest at its pace, with nights and people in between."""
        rate = "max" if part == "past" else self.asked.rate
        body = {"seed": f"{self.asked.seed}/{part}", "steps": steps, "rate": rate, "check": True}
        if part == "past":  # a field that was never called by its name while anybody looked cannot be found by it
            body["without"] = ["definition_renamed"]
        day_steps = max(steps // DAYS[part], 1 if part == "past" else DAY_STEPS_MIN)
        self.running.simulator("POST", "/live", body | {"day_steps": day_steps})
        mappings = [] if part == "past" else list(MAPPED_AT)
        while (state := self.running.simulator("GET", "/live"))["state"] == "running":
            self.show(f"living ({part})", state["done"], steps)
            if mappings and state["done"] > mappings[0] * steps:
                mappings.pop(0)
                self._say_all(half=True)
            self._cut_waits_short()
            time.sleep(POLL_S)
        assert (state["state"], state["summary"]["violations"]) == ("done", []), state

    def _faults(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for of_company in self.running.simulator("GET", "/profile")["made"].values():
            for kind, count in of_company.items():
                found[kind] = found.get(kind, 0) + int(count)
        return dict(sorted(found.items()))

    # --- people ---------------------------------------------------------------------------------------------------

    def _say_all(self, *, half: bool) -> None:
        """People in IntoAEC say what the truth says that they would have to say: all that is new, or half of it."""
        with ThreadPoolExecutor() as at_once:
            list(at_once.map(lambda company_id: asyncio.run(self._say(company_id, half=half)), self.companies))

    async def _say(self, company_id: str, *, half: bool) -> None:
        truth = self.running.simulator("GET", f"/companies/{company_id}/truth")
        projects = self.running.simulator("GET", f"/companies/{company_id}/projects")
        async with opened(self.running.system.settings) as system:
            requests = Requests(system.connections, system.publisher, system.topics)
            new = [(one["project_id"], one["name"]) for one in projects if one["project_id"] not in self.declared]
            await requests.declare(company_id, new)
            self.declared |= {project_id for project_id, _ in new}
            wanted = [
                each for each in _said_of(truth["mapping"]) if self.mapped.get((company_id, *each[:2])) != each[2]
            ]
            wanted = wanted[::2] if half else wanted
            ids = [await _ask(requests, company_id, *each) for each in wanted]
            answers = {one.decision_id: one for one in await requests.answers(company_id, ids, within_s=ANSWERED_S_MAX)}
        for decision_id, (kind, number, said) in zip(ids, wanted, strict=True):
            answer = answers.get(decision_id, Answered(decision_id, False, "the ledger did not answer"))
            if answer.accepted:
                self.mapped[company_id, kind, number] = said
            elif not half:
                self.refused.append((company_id, answer))

    # --- until all is still ---------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """The weather is calm again: what was late comes, what was lost is found, and people have said everything."""
        self.running.simulator("PUT", "/profile", {"name": "calm"})
        for company_id in self.companies:
            execute(self.running.database_url, _NOTE_GAP, self.since, company_id)
        self._wait_until_still()
        self._say_all(half=False)
        self._wait_until_still()

    def _wait_until_still(self) -> None:
        deadline = time.monotonic() + SETTLED_S_MAX
        while moving := self.running.unsettled():
            self.show(f"settling ({', '.join(moving)[:60]})", 0, 0)
            assert time.monotonic() < deadline, f"not settled within {SETTLED_S_MAX:.0f} s: {moving}"
            self._cut_waits_short()
            time.sleep(POLL_S)

    def _cut_waits_short(self) -> None:
        """Intuit asked to wait for a minute, or until a time on its clock, which is ahead: as if that had passed."""
        execute(self.running.database_url, _UNBLOCK, WAIT_S_MAX, WAIT_S_MAX)
        execute(self.running.database_url, _RETRY, WAIT_S_MAX, WAIT_S_MAX)

    def _compare(self, company_id: str) -> Comparison:
        self.show("comparing", 0, 0)
        truth = self.running.simulator("GET", f"/companies/{company_id}/truth")
        (self.running.system.folder / f"truth-{company_id}.json").write_text(json.dumps(truth, default=str, indent=1))
        found = compare(company_id, truth, self.running.rows)
        unsound = [Difference(company_id, "what was found", each, "nothing") for each in self._unsound(company_id)]
        found.differences = unsound + found.differences
        return found

    def _unsound(self, company_id: str) -> Iterator[str]:
        """What must not be, whatever the figures say."""
        yield from not_kept(self.running, company_id)
        yield from (f"refused: {one.answer}" for company, one in self.refused if company == company_id)
        yield from (f"state {state}" for (state,) in self.running.rows(_STATE, company_id) if state != "active")
        yield from (f"parked: {reason}" for (reason,) in self.running.rows(_PARKED))
        yield from (f"blocked: {reason}" for (reason,) in self.running.rows("SELECT reason FROM read_blocked"))


def _said_of(mapping: dict[str, Any]) -> list[tuple[str, str, Any]]:
    """What people must say, as (kind, number, what)."""
    customers = [("customer", number, said) for number, said in sorted(mapping["customers"].items())]
    return customers + [("project", ref, said) for ref, said in sorted(mapping["quickbooks_projects"].items())]


async def _ask(requests: Requests, company_id: str, kind: str, number: str, said: Any) -> str:
    if kind == "project":
        return await requests.link_project(company_id, PERSON, number, said)
    if "reference_only" in said:
        return await requests.exclude(company_id, PERSON, number, reference_only=True)
    mapping = Mapping(number, said["project_id"], said["reference_number"] or "")
    return (await requests.map(company_id, PERSON, [mapping]))[0]


@contextmanager
def stopped(running: Running) -> Iterator[Running]:
    """The installation, until the block ends; no process is left."""
    try:
        yield running
    finally:
        running.system.stop()


_NOTE_GAP = (
    "UPDATE control.companies SET gap_since = least(gap_since, %s), gaps_noted = gaps_noted + 1 WHERE company_id = %s"
)
_UNBLOCK = (
    "UPDATE control.limiter SET blocked_until = now() + make_interval(secs => %s) "
    "WHERE blocked_until > now() + make_interval(secs => %s)"
)
_RETRY = (
    "UPDATE control.jobs SET lease_until = now() + make_interval(secs => %s) "
    "WHERE lease_id IS NULL AND lease_until > now() + make_interval(secs => %s)"
)
_STATE = "SELECT state FROM control.companies WHERE company_id = %s"
_PARKED = "SELECT reason FROM control.parked WHERE resolution IS NULL"
