"""The simulator's machinery of trouble without HTTP: rules, profiles, clock, limits, grants (intuit.md 2, 3.6, 7)."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from connectors.simulator.api import faults
from connectors.simulator.api.authority import ACCOUNTING, Authority, Grant, OAuthRefused
from connectors.simulator.api.limits import Limits
from connectors.simulator.api.profiles import ORDINARY_SHARE, PROFILES, STORM, Profiles, needs_a_person, rules_of
from connectors.simulator.api.trouble import EVENT, KINDS, FaultRule, Faults, rule_from
from connectors.simulator.clock import ClockSetting, RunningClock

START = datetime(2027, 3, 1, 12, tzinfo=UTC)
DAY = 24 * 3600
DOCUMENT = (Path(__file__).parents[2] / "docs/simulator/trouble.md").read_text()


def clock() -> RunningClock:
    made = RunningClock(not_before=START)
    made.set(now=START, speed=0)
    return made


def kinds_taken(found: Faults, count: int, realm: str = "1", route: str = "GET invoice") -> list[str | None]:
    taken = [found.take(realm, route) for _ in range(count)]
    return [rule.kind if rule else None for rule in taken]


# ---- rules -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"kind": "nonsense"}, "no kind nonsense; there are answer"),
        ({"colour": "red"}, "unknown: colour"),
        ({"spread": "wide"}, "spread is one of"),
        ({"retry_after": "later"}, "retry_after is"),
        ({"rate": "often"}, "often"),
        ({"from": "yesterday"}, "yesterday"),
    ],
)
def test_rule_that_is_not_understood_is_refused_with_the_reason(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        rule_from(asked)


@pytest.mark.parametrize(
    ("rule", "route", "fits"),
    [
        ({}, "GET invoice", True),
        ({"route": "invoice"}, "POST invoice", True),
        ({"route": "GET *"}, "POST query", False),
        ({"route": "get QUERY"}, "GET query", True),
        ({"realm": "2"}, "GET invoice", False),
        ({"kind": "silence"}, "GET invoice", False),
        ({"rate": 0}, "GET invoice", False),
        ({}, "POST token", False),
        ({"route": "token"}, "POST token", True),
        ({"route": "GET *"}, "GET discovery", False),
        ({"route": "GET discovery"}, "GET discovery", True),
    ],
)
def test_rule_fits_its_company_and_route_only(rule: dict[str, Any], route: str, fits: bool) -> None:
    found = Faults(clock(), 1)
    found.add(rule_from(rule))
    assert (found.take("1", route) is not None) is fits


def test_rule_is_in_force_within_its_window_of_simulated_time_and_as_often_as_its_count_says() -> None:
    time = clock()
    found = Faults(time, 1)
    window = {"from": (START + timedelta(hours=1)).isoformat(), "until": (START + timedelta(hours=2)).isoformat()}
    found.add(rule_from({"kind": "reset", "count": 2, **window}))
    assert kinds_taken(found, 1) == [None]
    time.set(advance_s=3600)
    assert kinds_taken(found, 3) == ["reset", "reset", None]
    found.add(rule_from({"kind": "cut", **window}))
    time.set(advance_s=3600)
    assert kinds_taken(found, 1) == [None]


def test_same_seed_makes_the_same_faults_and_another_seed_others() -> None:
    def run(seed: int) -> list[str | None]:
        found = Faults(clock(), seed)
        for kind in ("reset", "cut"):
            found.add(rule_from({"kind": kind, "rate": 0.3}))
        return kinds_taken(found, 200)

    assert run(1) == run(1) != run(2)
    assert 20 < run(1).count("reset") < 100


def test_every_rule_that_fits_befalls_an_event_and_is_counted() -> None:
    found = Faults(clock(), 1)
    for kind in ("duplicate", "late", "reorder"):
        found.add(rule_from({"kind": kind}))
    taken = found.take_all("1", "WEBHOOK Invoice", EVENT)
    assert [rule.kind for rule in taken] == ["duplicate", "late"]
    assert found.made_by_company() == {"1": {"duplicate": 1, "late": 1}}


def test_seconds_are_drawn_short_mostly_even_or_fixed() -> None:
    def drawn(spread: str) -> list[float]:
        found = Faults(clock(), 1)
        rule = found.add(rule_from({"kind": "late", "seconds": 60, "spread": spread}))
        return [rule.drawn_seconds() for _ in range(500)]

    assert set(drawn("fixed")) == {60}
    assert 25 < sum(drawn("uniform")) / 500 < 35
    short = drawn("exponential")
    assert max(short) <= 60 and 10 < sum(short) / 500 < 25


async def test_who_is_held_up_goes_on_when_the_clock_says_so_or_trouble_ends() -> None:
    time = clock()
    found = Faults(time, 1)
    for end in (lambda: time.set(advance_s=121), lambda: found.heal(None)):
        held = asyncio.create_task(found.wait(120))
        await asyncio.sleep(0)
        time.set(advance_s=60)
        await asyncio.sleep(0)
        assert not held.done()
        end()
        await asyncio.wait_for(held, 5)


# ---- profiles --------------------------------------------------------------------------------------------------------


def test_companies_draw_rates_of_their_own_and_each_fault_is_spared_some() -> None:
    profile = {"name": "storm", "seed": 7}
    drawn = {
        str(realm): {(rule.kind, rule.status, rule.route, rule.body) for rule in rules_of(profile, str(realm))}
        for realm in range(60)
    }
    for fault in set().union(*drawn.values()):
        having = sum(fault in rules for rules in drawn.values())
        assert 20 < having < 60, fault
    assert len({frozenset(rules) for rules in drawn.values()}) == 60


def test_profile_of_one_seed_is_the_same_every_time_and_does_not_depend_on_other_companies() -> None:
    def run(realms: list[str], others: int) -> list[str | None]:
        found = Faults(clock(), 1)
        profiles = Profiles(found, realms, lambda name, state: None)
        profiles.put({"name": "storm", "seed": 7}, 1)
        taken = []
        for _ in range(300):
            taken += kinds_taken(found, 1, "a")
            kinds_taken(found, others, "b")
        return taken

    first = run(["a", "b"], 1)
    assert first == run(["b", "a"], 3) and len(set(first)) > 3


def test_no_named_profile_needs_a_person_afterwards() -> None:
    rules = [
        rule
        for name in PROFILES
        for rule in rules_of({"name": name, "seed": 1, "swarm": False, "rules": PROFILES[name]}, "1")
    ]
    assert len(rules) == 2 * len(STORM)
    assert [rule for rule in rules if needs_a_person(rule)] == []
    assert needs_a_person(rule_from({"status": 401})) and needs_a_person(rule_from({"kind": "revoke"}))
    assert needs_a_person(rule_from({"kind": "lost", "rotate": True}))


def test_storm_has_every_kind_that_heals() -> None:
    used = {one["kind"] for one in STORM}
    assert set(KINDS) - used == {"stranger", "wrong_id", "wrong_company", "revoke", "redirect", "bomb", "flood"}


def test_document_names_every_kind_and_every_rate() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.+?) \|$", DOCUMENT, re.MULTILINE)
    assert {name: (place, meaning) for name, place, meaning in rows} == {
        name: (one.place, one.meaning) for name, one in KINDS.items()
    }
    rates = re.findall(r"^\| (\w+) \| (.*?) \| ([\d.]+) % \| ([\d.]+) % \|$", DOCUMENT, re.MULTILINE)
    said = [(kind, what, float(day), float(storm)) for kind, what, day, storm in rates]
    assert said == [_row(one) for one in STORM]


def _row(one: dict[str, Any]) -> tuple[str, str, float, float]:
    what = ", ".join(f"{key} {value}" for key, value in one.items() if key not in ("kind", "rate"))
    return (one["kind"], what, round(one["rate"] * ORDINARY_SHARE * 100, 4), round(one["rate"] * 100, 4))


# ---- bodies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "status", "holds"),
    [
        ("json", 429, '{"Fault":{"Error":[{"Message":"message=ThrottleExceeded; errorCode=003001; statusCode=429"'),
        ("lower", 429, '"fault":{"error":[{"message":"message=ThrottleExceeded; errorCode=003001; statusCode=429"'),
        ("xml", 429, '<Fault type="SERVICE"><Error code="3001"><Message>message=ThrottleExceeded; errorCode=003001'),
        ("forbidden", 403, '<Fault type="SERVICE"><Error code="3001">'),
        ("html", 429, "<h1>429 Too Many Requests</h1>"),
    ],
)
def test_throttle_has_every_shape_it_was_seen_in(shape: str, status: int, holds: str) -> None:
    plain = faults.throttled(shape, "2027-03-01", START)
    dated = faults.throttled(shape, "2027-03-01", START, retry_after="date")
    seconds = faults.throttled(shape, "2027-03-01", START, retry_after="seconds")
    assert (plain.status, holds in plain.body, "retry-after" in plain.headers) == (status, True, False)
    assert dated.headers["retry-after"] == "Mon, 01 Mar 2027 12:01:00 GMT"
    assert seconds.headers["retry-after"] == "60"


@pytest.mark.parametrize(
    ("status", "body", "holds"),
    [
        (500, "auth120", '"code":"120"'),
        (500, "json", '"code":"10000"'),
        (502, "html", "<h1>502 Bad Gateway</h1>"),
        (503, "xml", 'code="10000"'),
        (504, "html", "<h1>504 Gateway Timeout</h1>"),
        (200, "json", '{"Fault":{"Error"'),
        (401, "json", '"fault":{"error":[{"message":"message=AuthenticationFailed'),
        (401, "xml", "SRV-110"),
        (403, "json", "errorCode=003100"),
    ],
)
def test_refusal_has_the_body_that_belongs_to_it(status: int, body: str, holds: str) -> None:
    found = faults.answer_for(status, body, "", "2027-03-01", START)
    assert (found.status, holds in found.body) == (status, True)


def test_token_endpoint_refuses_in_its_own_words() -> None:
    bare = faults.token_answer_for(400, "json", "", "", START)
    assert bare.body == '{"error":"invalid_grant"}' and len(bare.body) == 25
    described = faults.token_answer_for(400, "described", "", "", START)
    assert described.body == '{"error":"invalid_grant","error_description":"Token invalid"}'
    assert faults.token_answer_for(401, "json", "", "", START).body == '{"error":"invalid_client"}'


# ---- clock -----------------------------------------------------------------------------------------------------------


async def test_jump_wakes_who_sleeps_in_the_order_in_which_they_are_due() -> None:
    time, woken = clock(), []

    async def sleeper(hours: int) -> None:
        await time.sleep_until(START + timedelta(hours=hours), asyncio.Event())
        woken.append(hours)

    sleepers = [asyncio.create_task(sleeper(hours)) for hours in (5, 1, 3)]
    await asyncio.sleep(0)
    assert time.next_due() == START + timedelta(hours=1)
    time.set(advance_s=6 * 3600)
    await asyncio.wait_for(asyncio.gather(*sleepers), 5)
    assert woken == [1, 3, 5] and time.next_due() is None


def test_clock_runs_at_its_speed_and_goes_on_after_a_stop() -> None:
    still = clock()
    assert still.now() == still.now() == START
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    again = RunningClock(kept=ClockSetting(START, hour_ago, 24.0))
    assert timedelta(0) <= again.now() - (START + timedelta(days=1)) < timedelta(hours=2)
    assert RunningClock(kept=still.setting()).now() == START


# ---- limits ----------------------------------------------------------------------------------------------------------


def allowed(limits: Limits, count: int, **more: Any) -> int:
    return sum(
        limits.refuses(more.get("realm", "1"), batch=more.get("batch", False), application=more.get("app", "")) is None
        for _ in range(count)
    )


def test_ten_a_second_are_for_one_application_and_five_hundred_a_minute_for_the_company() -> None:
    time = clock()
    limits = Limits(time)
    assert [allowed(limits, 11, app=app) for app in ("ours", "theirs")] == [10, 10]
    assert allowed(limits, 11, realm="2") == 10
    total = 20
    for _ in range(58):
        time.set(advance_s=1)
        total += allowed(limits, 10, app="ours")
    assert total == 500
    time.set(advance_s=1)
    assert allowed(limits, 1, app="new") == 0, "whatever the application"
    time.set(advance_s=60)
    assert allowed(limits, 1, app="new") == 1


def test_batches_are_forty_a_minute_for_an_application_and_a_hundred_and_twenty_for_the_company() -> None:
    limits = Limits(clock())
    limits.settings.per_second = 1000
    assert [allowed(limits, 50, app=app, batch=True) for app in "abcd"] == [40, 40, 40, 0]
    assert allowed(limits, 1, app="d") == 1, "other calls go on"


def test_other_apis_of_intuit_count_against_eight_hundred_by_switch() -> None:
    limits = Limits(clock())
    limits.settings.per_second = 1000
    limits.settings.other_calls_per_minute = 700
    limits.settings.combined = True
    assert allowed(limits, 200) == 100
    limits.settings.combined = False
    assert allowed(limits, 500) == 400


def test_refused_calls_prolong_the_throttle_by_switch_only() -> None:
    for too, after in ((False, 1), (True, 0)):
        time = clock()
        limits = Limits(time)
        limits.settings.refused_count_too = too
        assert allowed(limits, 10) == 10
        time.set(advance_s=0.5)
        allowed(limits, 10)
        time.set(advance_s=0.6)
        assert allowed(limits, 1) == after


def test_metered_calls_are_blocked_at_the_cap_and_free_in_the_next_month() -> None:
    time = clock()
    limits = Limits(time)
    limits.settings.metering_blocks, limits.settings.tier_cap = True, 3
    limits.count("1", "GET invoice", 200, metered=1)
    limits.count("2", "GET query", 200, metered=1)
    limits.count("1", "GET invoice", 400, metered=1)
    limits.count("1", "POST invoice", 200)
    assert limits.refuses("1", batch=False) is None
    limits.count("1", "GET cdc", 200, metered=1)
    assert limits.refuses("2", batch=False) == "metering", "one cap for all companies of the workspace"
    time.set(now=datetime(2027, 4, 1, tzinfo=UTC))
    assert limits.refuses("2", batch=False) is None
    report = limits.report(None)
    assert report["months"] == {"2027-03": 3} and report["metered"] == 0
    assert report["companies"]["1"]["routes"] == {"GET invoice": 2, "POST invoice": 1, "GET cdc": 1}


# ---- grants ----------------------------------------------------------------------------------------------------------


class Nowhere:
    def keep_grant(self, grant: Grant) -> None:
        return


def authority() -> tuple[Authority, RunningClock]:
    time = clock()
    return Authority(time, Nowhere()), time


async def refused(found: Authority, token: str) -> dict[str, str]:
    with pytest.raises(OAuthRefused) as caught:
        await found.refresh(token)
    return caught.value.body


async def test_refresh_token_rotates_on_the_first_refresh_after_a_day_and_not_before() -> None:
    found, time = authority()
    grant = found.open_grant("1", ACCOUNTING)
    first = grant.refresh_token
    for _ in range(23):
        time.set(advance_s=3600)
        assert (await found.refresh(first)).refresh_token == first
    time.set(advance_s=3600)
    second = (await found.refresh(first)).refresh_token
    assert second != first
    assert await refused(found, first) == {"error": "invalid_grant"}
    assert (await found.refresh(second)).refresh_token == second


async def test_old_refresh_token_lives_on_for_the_grace_that_is_set() -> None:
    found, time = authority()
    found.settings.old_token_grace_s = DAY
    first = found.open_grant("1").refresh_token
    time.set(advance_s=DAY)
    second = (await found.refresh(first)).refresh_token
    assert (await found.refresh(first)).refresh_token == second != first
    time.set(advance_s=DAY)
    await refused(found, first)


async def test_refresh_token_dies_after_a_hundred_days_unused_and_after_five_years_for_good() -> None:
    found, time = authority()
    unused = found.open_grant("1").refresh_token
    time.set(advance_s=100 * DAY - 1)
    unused = (await found.refresh(unused)).refresh_token
    time.set(advance_s=100 * DAY)
    await refused(found, unused)
    grant = found.open_grant("1")
    for _ in range(20):
        time.set(advance_s=90 * DAY)
        grant = await found.refresh(grant.refresh_token)
    told = found.answer(grant, with_hard_expiry=True)
    assert told["x_refresh_token_hard_expires_in"] == told["x_refresh_token_expires_in"] == 25 * DAY
    time.set(advance_s=25 * DAY)
    await refused(found, grant.refresh_token)
    assert not found.is_connected("1")


@pytest.mark.parametrize("revokes", [False, True])
async def test_of_two_refreshes_at_once_the_second_loses_and_may_cost_the_winner_its_token(revokes: bool) -> None:
    found, time = authority()
    found.settings.refresh_takes_ms, found.settings.revoke_on_race = 500, revokes
    token = found.open_grant("1").refresh_token
    winner = asyncio.create_task(found.refresh(token))
    await asyncio.sleep(0)
    assert await refused(found, token) == {"error": "invalid_grant"}
    time.set(advance_s=1)
    if revokes:
        with pytest.raises(OAuthRefused):
            await winner
    else:
        assert (await winner).refresh_token == token
    assert found.is_connected("1") is not revokes


async def test_description_of_invalid_grant_comes_by_switch() -> None:
    found, _ = authority()
    found.settings.describes_errors = True
    assert await refused(found, "\u00e9") == {"error": "invalid_grant", "error_description": "Token invalid"}


@pytest.mark.parametrize("which", ["access", "refresh"])
async def test_either_token_revokes_the_grant_once(which: str) -> None:
    found, _ = authority()
    grant = found.open_grant("1")
    access = next(iter(grant.access))
    token = access if which == "access" else grant.refresh_token
    assert [found.revoke(token), found.revoke(token), found.revoke("unknown")] == [True, False, False]
    assert found.grant_of(access) is None
    await refused(found, grant.refresh_token)


def test_access_token_lives_an_hour_and_can_be_ended_when_it_is_old() -> None:
    found, time = authority()
    grant = found.open_grant("1")
    access = next(iter(grant.access))
    assert found.expire_access("1", older_than_s=60) == 0 and found.grant_of(access) is grant
    time.set(advance_s=3599)
    assert found.grant_of(access) is grant
    time.set(advance_s=1)
    assert found.grant_of(access) is None
    other = found.open_grant("1")
    time.set(advance_s=61)
    assert found.expire_access("1", older_than_s=60) == 1 and found.grant_of(next(iter(other.access))) is None


def test_rule_is_reported_with_the_names_it_is_asked_by() -> None:
    asked = {"kind": "late", "rate": 0.5, "from": START.isoformat(), "until": None, "seconds": 5}
    report = rule_from(asked).report()
    assert {key: report[key] for key in asked} == asked
    assert rule_from({key: value for key, value in report.items() if key != "id"}) == rule_from(asked)
    assert FaultRule().report()["kind"] == "answer"
