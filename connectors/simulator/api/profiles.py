"""Named profiles of trouble: how much of each fault an ordinary day brings, and a storm.

Reads: a name or rules, a seed. Writes: the rules drawn for each company; which profile is in force, through `keep`.
Guarantees: the same seed draws the same rules for the same company, with dice of their own; each company draws its own
rates, some of them none at all, so that rare paths show; none of the named profiles makes repair impossible: what a
webhook does not say change data capture says, what is refused once is answered later, no grant is lost.
Source: intuit.md 1.6, 2, 3.4, 3.6, 3.8, 7; the rates are ours, nobody published any.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from connectors.simulator.api.trouble import KINDS, FaultRule, Faults, rule_from

NONE_OF_IT = 0.3  # the share of faults that a company is spared
CALM = "calm"

STORM: tuple[dict[str, Any], ...] = (
    {"kind": "silence", "rate": 0.05},
    {"kind": "late", "rate": 0.2, "seconds": 600},
    {"kind": "duplicate", "rate": 0.1},
    {"kind": "again", "rate": 0.05, "seconds": 120},
    {"kind": "resend", "rate": 0.05, "seconds": 120},
    {"kind": "coalesce", "rate": 0.3},
    {"kind": "reorder", "rate": 0.3},
    {"kind": "few", "rate": 0.2},
    {"kind": "hold", "rate": 0.2, "seconds": 60},
    {"kind": "bad_signature", "rate": 0.02},
    {"kind": "no_signature", "rate": 0.01},
    {"kind": "shuffled_json", "rate": 0.1},
    {"kind": "stale", "rate": 0.2, "seconds": 10},
    {"kind": "answer", "status": 429, "rate": 0.01},
    {"kind": "answer", "status": 429, "body": "lower", "retry_after": "seconds", "rate": 0.005},
    {"kind": "answer", "status": 429, "body": "xml", "retry_after": "date", "rate": 0.01},
    {"kind": "answer", "status": 403, "body": "throttle", "rate": 0.005},
    {"kind": "answer", "status": 500, "route": "GET *", "rate": 0.02},
    {"kind": "answer", "status": 500, "route": "* query", "rate": 0.02},
    {"kind": "answer", "status": 500, "body": "auth120", "rate": 0.01},
    {"kind": "answer", "status": 502, "body": "html", "rate": 0.02},
    {"kind": "answer", "status": 503, "body": "xml", "rate": 0.02},
    {"kind": "answer", "status": 504, "body": "html", "rate": 0.01},
    {"kind": "answer", "status": 200, "route": "GET *", "rate": 0.01},
    {"kind": "delay", "latency_ms": 1500, "rate": 0.05},
    {"kind": "hang", "seconds": 120, "route": "GET *", "rate": 0.003},
    {"kind": "reset", "rate": 0.01},
    {"kind": "cut", "route": "GET *", "rate": 0.01},
    {"kind": "lost", "route": "GET *", "rate": 0.01},
    {"kind": "answer", "status": 503, "body": "html", "route": "POST token", "rate": 0.1},
    {"kind": "answer", "status": 500, "route": "POST token", "rate": 0.05},
    {"kind": "reset", "route": "POST token", "rate": 0.05},
    {"kind": "lost", "route": "POST token", "rotate": True, "seconds": 86400, "rate": 0.05},
    {"kind": "rotate", "route": "POST token", "rate": 0.2},
    {"kind": "missing", "route": "GET *", "rate": 0.02},
    {"kind": "false_delete", "route": "GET cdc", "rate": 0.1},
    {"kind": "expire", "seconds": 60, "rate": 0.01},
)
ORDINARY_SHARE = 0.1  # an ordinary day has a tenth of a storm
PROFILES: dict[str, tuple[dict[str, Any], ...]] = {
    CALM: (),
    "ordinary day": tuple(one | {"rate": round(one["rate"] * ORDINARY_SHARE, 4)} for one in STORM),
    "storm": STORM,
}


class Profiles:
    """Which profile is in force for which company."""

    def __init__(self, faults: Faults, realms: list[str], keep: Callable[[str, Any], None]) -> None:
        self.faults = faults
        self.realms = realms
        self._keep = keep
        self.state: dict[str, dict[str, Any]] = {realm: {"name": CALM, "seed": 0} for realm in realms}

    def put(self, asked: dict[str, Any], seed: int) -> None:
        """Put a profile in force: a `name`, or `rules` of one's own; `seed`, `realm`. Raises ValueError."""
        name = str(asked.get("name") or ("custom" if "rules" in asked else CALM))
        if "rules" not in asked and name not in PROFILES:
            raise ValueError(f"no profile {name}; there are {', '.join(PROFILES)}, or give rules")
        kept: dict[str, Any] = {"name": name, "seed": int(asked.get("seed", seed))}
        if "rules" in asked:
            kept |= {"rules": asked["rules"], "swarm": bool(asked.get("swarm", True))}
        realms = [str(asked["realm"])] if asked.get("realm") else self.realms
        if unknown := set(realms) - set(self.realms):
            raise ValueError(f"there is no company {', '.join(unknown)}")
        drawn = {realm: rules_of(kept, realm) for realm in realms}
        for realm, rules in drawn.items():
            self.faults.draw(rules, realm)
            self.state[realm] = kept
        self._keep("profile", _text_rates(self.state))

    def restore(self, state: dict[str, dict[str, Any]] | None, name: str | None, seed: int) -> None:
        """Take up the profile of an earlier run, or the one that was asked for at the start."""
        if name is not None:
            self.put({"name": name}, seed)
            return
        for realm, kept in (state or {}).items():
            if realm in self.state and kept["name"] != CALM:
                self.put(kept | {"realm": realm}, seed)

    def report(self) -> dict[str, Any]:
        """Each company's profile and the rates that it drew."""
        names = {kept["name"] for kept in self.state.values()}
        seeds = {kept["seed"] for kept in self.state.values()}
        return {
            "name": names.pop() if len(names) == 1 else "several",
            "seed": seeds.pop() if len(seeds) == 1 else None,
            "companies": {realm: self._company(realm) for realm in self.realms},
            "made": self.faults.made_by_company(),
        }

    def _company(self, realm: str) -> dict[str, Any]:
        kept = self.state[realm]
        rules = [rule.report() for rule in self.faults.drawn if rule.realm == realm]
        return {"name": kept["name"], "seed": kept["seed"], "rules": rules}


def rules_of(profile: dict[str, Any], realm: str) -> list[FaultRule]:
    """The rules that one company draws from a profile. Raises ValueError."""
    given = profile.get("rules", PROFILES.get(profile["name"], ()))
    found = []
    for position, asked in enumerate(given):
        rule = rule_from({"realm": realm} | dict(asked))
        rule.dice = random.Random(f"{profile['seed']}|{realm}|{position}")  # noqa: S311 - repeatable, no secret
        if profile.get("swarm", True):
            share = 0.0 if rule.dice.random() < NONE_OF_IT else rule.dice.uniform(0.3, 1.0)
            rule.rate = min(1.0, round(rule.rate * share, 5))
        found.append(rule)
    return [rule for rule in found if rule.rate > 0]


def _text_rates(value: Any) -> Any:
    """Numbers with a point as text: the simulator's JSON writes no floats."""
    if isinstance(value, dict):
        return {key: _text_rates(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_text_rates(one) for one in value]
    return str(value) if isinstance(value, float) else value


def needs_a_person(rule: FaultRule) -> bool:
    """Whether a rule may end a grant, hide a truth or lie in a way that no retry repairs."""
    lies = {"stranger", "wrong_id", "wrong_company", "revoke", "redirect", "bomb", "flood"}
    refused = rule.kind == "answer" and (rule.status in (400, 401) or (rule.status == 403 and rule.body == "json"))
    loses = rule.kind == "lost" and rule.rotate and not rule.whole_seconds
    return rule.kind in lies or refused or loses or rule.kind not in KINDS
