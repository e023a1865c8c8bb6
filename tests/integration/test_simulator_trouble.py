"""The simulator's faults, profiles, tokens and webhooks as a client meets them, on a clock that stands still."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from connectors.simulator.api.notices import signature
from connectors.simulator.books.records import Kind
from tests.pretend import BASIC, FIRST, LINE, SECOND, Pretend, pretend, until

SECRET = "simulator-verifier-token"
DAY = 24 * 3600
ALL_SCOPES = "com.intuit.quickbooks.accounting openid profile email phone address"


@pytest.fixture
async def intuit() -> AsyncIterator[Pretend]:
    async with pretend() as made:
        yield made


def fault(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["Fault"]["Error"][0]["code"]


# ---- faults of requests ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "status", "kind", "holds"),
    [
        ({"status": 401}, 401, "application/json", '"fault":{"error"'),
        ({"status": 401, "body": "xml"}, 401, "application/xml", "SRV-110"),
        ({"status": 403}, 403, "application/json", "003100"),
        ({"status": 403, "body": "throttle"}, 403, "application/xml", "3001"),
        ({"status": 429, "body": "lower", "retry_after": "date"}, 429, "application/json", '"fault":{'),
        ({"status": 500, "body": "auth120"}, 500, "application/json", '"code":"120"'),
        ({"status": 502, "body": "html"}, 502, "text/html", "502 Bad Gateway"),
        ({"status": 503, "body": "xml", "retry_after": "seconds"}, 503, "application/xml", "10000"),
        ({"status": 200}, 200, "application/json", '{"Fault":'),
    ],
)
async def test_refusal_asked_for_is_given_on_its_route_alone_and_always_named(
    intuit: Pretend, rule: dict[str, Any], status: int, kind: str, holds: str
) -> None:
    await intuit.fault(route="GET query", **rule)
    spoilt = await intuit.get("query", query="select * from Customer")
    assert (spoilt.status_code, spoilt.headers["content-type"].split(";")[0], holds in spoilt.text) == (
        status,
        kind,
        True,
    )
    assert ("retry-after" in spoilt.headers) is ("retry_after" in rule)
    assert {"intuit_tid", "qbo-version", "cache-control"} <= set(spoilt.headers)
    assert (await intuit.get("preferences")).status_code == 200
    calls = await intuit.sim("GET", f"/calls?realm={FIRST}")
    assert calls["statuses"] == {"200": 2} if status == 200 else calls["statuses"] == {str(status): 1, "200": 1}


async def test_every_answer_has_a_name_of_its_own(intuit: Pretend) -> None:
    answers = [await intuit.get(path) for path in ("preferences", "invoice/77777", "nonsense")]
    answers.append(await intuit.http.get("/.well-known/openid_configuration"))
    answers.append(await intuit.http.get(f"/v3/company/{FIRST}/preferences"))
    assert len({one.headers["intuit_tid"] for one in answers}) == 5


async def test_hang_lasts_until_intuit_gives_up_after_two_minutes(intuit: Pretend) -> None:
    await intuit.fault(kind="hang", count=1)
    asked = asyncio.create_task(intuit.get("preferences"))
    await until(lambda: intuit.simulator.clock.next_due())
    await intuit.sim("PUT", "/clock", {"advance_s": 119})
    assert not asked.done()
    await intuit.sim("PUT", "/clock", {"advance_s": 1})
    assert (await asked).status_code == 504
    assert (await intuit.get("preferences")).status_code == 200


@pytest.mark.parametrize(("seconds", "status"), [(120, 200), (121, 504)])
async def test_answer_that_takes_over_two_minutes_is_none(intuit: Pretend, seconds: int, status: int) -> None:
    await intuit.fault(latency_ms=seconds * 1000)
    asked = asyncio.create_task(intuit.get("preferences"))
    await until(lambda: intuit.simulator.clock.next_due())
    await intuit.sim("PUT", "/clock", {"advance_s": seconds})
    assert (await asked).status_code == status


async def test_reset_does_nothing_and_lost_does_the_work(intuit: Pretend) -> None:
    for kind, made in (("reset", 0), ("lost", 1)):
        await intuit.fault(kind=kind, route="POST customer", count=1)
        before = len(intuit.simulator.companies[FIRST].book.records[Kind.CUSTOMER])
        with pytest.raises(ConnectionResetError):
            await intuit.post("customer", {"DisplayName": f"Customer {kind}"})
        assert len(intuit.simulator.companies[FIRST].book.records[Kind.CUSTOMER]) == before + made


async def test_record_can_be_missing_once_wrong_or_anothers(intuit: Pretend) -> None:
    path = "invoice/1001"
    await intuit.fault(kind="missing", count=1)
    await intuit.fault(kind="false_delete", count=1)
    for other in ("query", "companyinfo/1", "preferences"):
        assert (await intuit.get(other, query="select * from Invoice")).status_code == 200, "only of a single record"
    assert fault(await intuit.get(path)) == (400, "610")
    truly = (await intuit.get(path)).json()["Invoice"]
    await intuit.fault(kind="wrong_id", count=1)
    assert (await intuit.get(path)).json()["Invoice"] == truly | {"Id": "1002"}
    await intuit.fault(kind="wrong_company", count=1)
    other = (await intuit.get(path)).json()["Invoice"]
    assert other == (await intuit.get(path, SECOND)).json()["Invoice"] != truly


async def test_change_data_capture_can_call_a_living_record_deleted(intuit: Pretend) -> None:
    made = await intuit.invoice()
    since = (intuit.simulator.clock.now() - timedelta(seconds=1)).isoformat()
    await intuit.fault(kind="false_delete", count=1)
    for expected in ("Deleted", None):
        answer = (await intuit.get("cdc", entities="Invoice", changedSince=since)).json()
        (row,) = answer["CDCResponse"][0]["QueryResponse"][0]["Invoice"]
        assert (row["Id"], row.get("status")) == (made["Id"], expected)
    assert (await intuit.get(f"invoice/{made['Id']}")).status_code == 200


async def test_hostile_answers_lead_astray_or_never_end(intuit: Pretend) -> None:
    await intuit.fault(kind="redirect", count=1)
    astray = await intuit.get("preferences")
    assert (astray.status_code, astray.headers["location"][:24]) == (302, "http://169.254.169.254/l")
    await intuit.fault(kind="bomb", bytes=30_000_000, count=1)
    bomb = await intuit.get("preferences")
    assert len(bomb.content) == 30_000_000
    await intuit.fault(kind="flood", bytes=3_000_001, count=1)
    flood = await intuit.get("preferences")
    assert len(flood.content) == int(flood.headers["content-length"]) == 3_000_001


async def test_faults_that_are_not_understood_are_refused_with_what_there_is(intuit: Pretend) -> None:
    answer = await intuit.http.post("/_sim/faults", json={"kind": "nonsense"})
    assert (answer.status_code, "there are answer, delay" in answer.text) == (400, True)
    kinds = await intuit.sim("GET", "/faults/kinds")
    assert kinds["hang"] == {"place": "request", "meaning": "nothing for `seconds`, then a 504"}


@pytest.mark.parametrize(
    "body",
    ["", "nonsense", "[]", "5", "[" * 100_000, '{"Line": 5}', '{"CustomerRef": "5"}', '{"Id": {"a": 1}}']
    + [json.dumps({"CustomerRef": {"value": "5"}, "Line": [LINE | {"Amount": one}]}) for one in (10**30, "x", [], {})],
)
async def test_body_that_makes_no_sense_is_refused_as_a_fault(intuit: Pretend, body: str) -> None:
    headers = await intuit.headers()
    for path in ("invoice", "journalentry", "batch"):
        answer = await intuit.http.post(f"/v3/company/{FIRST}/{path}", content=body, headers=headers)
        assert answer.status_code == 400 or path == "batch", (path, answer.text)
        assert answer.status_code in (200, 400) and answer.headers["intuit_tid"]


async def test_operation_that_is_not_there_is_refused_and_does_nothing(intuit: Pretend) -> None:
    made = await intuit.invoice()
    asked = {"Id": made["Id"], "SyncToken": "0", "sparse": True, "PrivateNote": "exploded"}
    assert fault(await intuit.post("invoice", asked, operation="explode")) == (400, "500")
    batch = {"BatchItemRequest": [{"bId": "1", "operation": "explode", "Invoice": asked}]}
    (item,) = (await intuit.post("batch", batch)).json()["BatchItemResponse"]
    assert item["Fault"]["Error"][0]["code"] == "500"
    assert "PrivateNote" not in (await intuit.get(f"invoice/{made['Id']}")).json()["Invoice"]


# ---- stale reads -----------------------------------------------------------------------------------------------------


async def test_change_is_announced_first_and_seen_later_by_every_way_of_reading(intuit: Pretend) -> None:
    old = (await intuit.invoice(PrivateNote="old"))["Id"]
    await intuit.advance(60)
    since = (intuit.simulator.clock.now() - timedelta(seconds=1)).isoformat()
    await intuit.fault(kind="stale", route="invoice", seconds=10, spread="fixed")
    await intuit.invoice(Id=old, PrivateNote="new")
    new = (await intuit.invoice())["Id"]
    await intuit.settle()
    assert intuit.hook.ids() == [old, old, new]

    async def seen() -> tuple[Any, list[str], int, list[str]]:
        one = (await intuit.get(f"invoice/{old}")).json()["Invoice"]["PrivateNote"]
        listed = (await intuit.get("query", query=f"select * from Invoice where Id in ('{old}','{new}')")).json()
        changes = (await intuit.get("cdc", entities="Invoice", changedSince=since)).json()
        rows = changes["CDCResponse"][0]["QueryResponse"][0].get("Invoice", [])
        found = [row["Id"] for row in listed["QueryResponse"]["Invoice"]]
        return one, found, (await intuit.get(f"invoice/{new}")).status_code, [row["Id"] for row in rows]

    assert await seen() == ("old", [old], 400, [])
    await intuit.advance(9.9)
    assert await seen() == ("old", [old], 400, [])
    await intuit.advance(0.1)
    assert await seen() == ("new", [old, new], 200, [old, new])


async def test_record_that_is_there_is_never_missing_because_a_change_is_hidden(intuit: Pretend) -> None:
    await intuit.fault(kind="stale", seconds=10)
    await intuit.sim("PUT", f"/companies/{FIRST}/custom-fields", {"1": "Reference Number"})
    await intuit.invoice(Id="1001", PrivateNote="new")
    assert (await intuit.get("invoice/1001")).status_code == 200


# ---- tokens ----------------------------------------------------------------------------------------------------------


async def signed_in(intuit: Pretend, scope: str = ALL_SCOPES, **more: str) -> dict[str, Any]:
    asked = {
        "client_id": "simulator-client",
        "redirect_uri": "http://localhost/cb",
        "state": "s",
        "scope": scope,
        **more,
    }
    answer = await intuit.http.get("/connect/oauth2", params=asked | {"auto": "1", "realmId": FIRST})
    code = parse_qs(urlsplit(answer.headers["location"]).query)["code"][0]
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": "http://localhost/cb"}
    found: dict[str, Any] = (await intuit.ask_token(**form)).json()
    return found


@pytest.mark.parametrize(("seconds", "survives"), [(DAY, True), (0, False)])
async def test_answer_lost_after_rotation_leaves_the_old_token_as_long_as_the_rule_says(
    intuit: Pretend, seconds: int, survives: bool
) -> None:
    token = (await signed_in(intuit))["refresh_token"]
    await intuit.fault(route="POST token", kind="lost", rotate=True, seconds=seconds, count=1)
    with pytest.raises(ConnectionResetError):
        await intuit.refresh(token)
    answer = await intuit.refresh(token)
    assert answer.status_code == (200 if survives else 400)
    if survives:
        assert answer.json()["refresh_token"] != token
        await intuit.advance(DAY)
        assert (await intuit.refresh(token)).content == b'{"error":"invalid_grant"}'


async def test_token_faults_are_of_one_company_and_have_oauths_words(intuit: Pretend) -> None:
    pairs = [await intuit.sim("POST", "/tokens", {"realm": realm}) for realm in (FIRST, SECOND)]
    await intuit.fault(route="POST token", realm=FIRST, status=400, body="described")
    refused, given = [await intuit.refresh(pair["refresh_token"]) for pair in pairs]
    assert refused.json() == {"error": "invalid_grant", "error_description": "Token invalid"}
    assert given.status_code == 200
    await intuit.sim("PUT", "/faults", [{"route": "POST token", "status": 503, "body": "html", "count": 1}])
    assert (await intuit.refresh(pairs[0]["refresh_token"])).headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("route", ["GET discovery", "GET jwks", "GET userinfo", "POST revoke"])
async def test_every_route_of_the_sign_in_can_be_in_trouble(intuit: Pretend, route: str) -> None:
    addresses = {
        **{"GET discovery": "/.well-known/openid_configuration", "GET jwks": "/op/v1/jwks"},
        **{"GET userinfo": "/v1/openid_connect/userinfo", "POST revoke": "/v2/oauth2/tokens/revoke"},
    }
    pair = await signed_in(intuit)
    headers = BASIC if route == "POST revoke" else {"Authorization": f"Bearer {pair['access_token']}"}
    body = {"token": pair["refresh_token"]} if route == "POST revoke" else None
    await intuit.fault(route=route, status=503, body="html", count=1)
    method, address = route.split()[0], addresses[route]
    spoilt = await intuit.http.request(method, address, headers=headers, json=body)
    assert (spoilt.status_code, spoilt.headers["content-type"].split(";")[0]) == (503, "text/html")
    assert (await intuit.http.request(method, address, headers=headers, json=body)).status_code == 200


async def test_expired_tokens_are_renewed_and_revoked_ones_are_not(intuit: Pretend) -> None:
    pair = await intuit.sim("POST", "/tokens", {"realm": FIRST})
    headers = {"Authorization": f"Bearer {pair['access_token']}"}
    await intuit.fault(kind="expire", seconds=60, realm=FIRST)
    path = f"/v3/company/{FIRST}/preferences"
    assert (await intuit.http.get(path, headers=headers)).status_code == 200, "younger than a minute"
    await intuit.advance(61)
    assert (await intuit.http.get(path, headers=headers)).json()["fault"]["error"][0]["code"] == "3200"
    again = (await intuit.refresh(pair["refresh_token"])).json()
    headers = {"Authorization": f"Bearer {again['access_token']}"}
    assert (await intuit.http.get(path, headers=headers)).status_code == 200
    await intuit.sim("PUT", "/faults", [{"kind": "revoke", "realm": FIRST}])
    assert (await intuit.http.get(path, headers=headers)).status_code == 401
    assert (await intuit.refresh(again["refresh_token"])).content == b'{"error":"invalid_grant"}'


async def test_id_token_is_signed_with_the_published_key_and_only_for_openid(intuit: Pretend) -> None:
    told = await signed_in(intuit, nonce="n-1")
    keys = KeySet.import_key_set((await intuit.http.get("/op/v1/jwks")).json())
    assert "d" not in (await intuit.http.get("/op/v1/jwks")).json()["keys"][0]
    claims = jwt.decode(told["id_token"], keys, algorithms=["RS256"]).claims
    discovery = [(await intuit.http.get(f"/.well-known/openid_{one}configuration")).json() for one in ("", "sandbox_")]
    assert discovery[0] == discovery[1] and discovery[0]["jwks_uri"] == "http://intuit.test/op/v1/jwks"
    now = int(intuit.simulator.clock.now().timestamp())
    assert claims == {
        **{"iss": discovery[0]["issuer"], "aud": ["simulator-client"], "realmid": FIRST, "nonce": "n-1"},
        **{"sub": claims["sub"], "auth_time": now, "iat": now, "exp": now + 3600},
    }
    assert "id_token" not in await signed_in(intuit, scope="com.intuit.quickbooks.accounting")


async def test_userinfo_tells_what_the_scopes_allow(intuit: Pretend) -> None:
    async def told(scope: str) -> httpx.Response:
        token = (await signed_in(intuit, scope))["access_token"]
        return await intuit.http.get("/v1/openid_connect/userinfo", headers={"Authorization": f"Bearer {token}"})

    everything = (await told(ALL_SCOPES)).json()
    assert set(everything) == {
        *("sub", "email", "emailVerified", "givenName", "familyName", "phoneNumber", "phoneNumberVerified", "address")
    }
    assert (await told("openid email")).json() == {key: everything[key] for key in ("sub", "email", "emailVerified")}
    assert (await told("com.intuit.quickbooks.accounting")).status_code == 401


async def test_client_may_name_itself_in_the_form_and_hard_expiry_is_told_on_request_only(intuit: Pretend) -> None:
    token = (await signed_in(intuit))["refresh_token"]
    form = {"grant_type": "refresh_token", "refresh_token": token}
    client = {"client_id": "simulator-client", "client_secret": "simulator-secret"}
    plain = await intuit.http.post("/oauth2/v1/tokens/bearer", data=form | client)
    wrong = await intuit.http.post("/oauth2/v1/tokens/bearer", data=form | client | {"client_secret": "no"})
    assert (wrong.status_code, wrong.json()) == (401, {"error": "invalid_client"})
    assert "x_refresh_token_hard_expires_in" not in plain.json()
    told = await intuit.ask_token({"x-include-refresh-token-hard-expires-in": "true"}, **form)
    assert told.json()["x_refresh_token_hard_expires_in"] == 157_680_000


# ---- limits ----------------------------------------------------------------------------------------------------------


async def test_throttle_is_per_company_and_application_and_clears_with_the_second(intuit: Pretend) -> None:
    await intuit.sim("PUT", "/limits", {"enabled": True, "shape": "lower", "retry_after": "seconds"})
    path = f"/v3/company/{FIRST}/preferences"
    ours = await intuit.headers()
    other = await intuit.sim("POST", "/tokens", {"realm": FIRST, "client_id": "another application"})
    theirs = {"Authorization": f"Bearer {other['access_token']}"}
    statuses = [(await intuit.http.get(path, headers=ours)).status_code for _ in range(11)]
    assert statuses == [200] * 10 + [429]
    refused = await intuit.http.get(path, headers=ours)
    assert refused.json()["fault"]["error"][0]["code"] == "3001" and refused.headers["retry-after"] == "60"
    assert (await intuit.http.get(path, headers=theirs)).status_code == 200
    assert (await intuit.get("preferences", SECOND)).status_code == 200
    await intuit.advance(1)
    assert (await intuit.http.get(path, headers=ours)).status_code == 200


async def test_meter_counts_what_gives_out_records_and_blocks_until_the_next_month(intuit: Pretend) -> None:
    since = intuit.simulator.clock.now().isoformat()
    await intuit.get("preferences")
    await intuit.get("cdc", entities="Invoice", changedSince=since)
    headers = await intuit.headers() | {"content-type": "application/text"}
    await intuit.http.post(f"/v3/company/{FIRST}/query", content="select * from Invoice", headers=headers)
    items = [{"bId": str(one), "Query": "select * from Customer"} for one in range(3)]
    await intuit.post("batch", {"BatchItemRequest": items})
    await intuit.get("invoice/77777")
    await intuit.post("customer", {"DisplayName": "New"})
    assert (await intuit.sim("GET", f"/calls?realm={FIRST}"))["metered"] == 4
    await intuit.sim("PUT", "/limits", {"batch_counts_items": True})
    await intuit.post("batch", {"BatchItemRequest": items})
    assert (await intuit.sim("GET", "/calls"))["companies"][FIRST]["metered"] == 7
    await intuit.sim("PUT", "/limits", {"metering_blocks": True, "tier_cap": 7})
    assert fault(await intuit.get("preferences")) == (429, "3001")
    await intuit.advance(32 * DAY)
    intuit._tokens.clear()
    assert (await intuit.get("preferences")).status_code == 200


# ---- change data capture and batch -----------------------------------------------------------------------------------


async def test_changes_are_told_for_thirty_days_and_of_entities_that_have_them(intuit: Pretend) -> None:
    made = await intuit.invoice()
    since = intuit.simulator.clock.now().replace(microsecond=0)
    await intuit.sim("POST", f"/companies/{FIRST}/records/Invoice/{made['Id']}/delete")
    await intuit.advance(30 * DAY)
    intuit._tokens.clear()
    within = await intuit.get(
        "cdc", entities="Invoice,Estimate,Customer", changedSince=(since + timedelta(seconds=1)).isoformat()
    )
    assert within.json()["CDCResponse"][0]["QueryResponse"] == [{}, {}, {}], "all of it happened a second before"
    assert fault(await intuit.get("cdc", entities="Invoice", changedSince=since.isoformat())) == (400, "4001")
    for entity in ("JournalCode", "TaxAgency", "TimeActivity", "TaxCode", "TaxRate", "Nonsense"):
        now = intuit.simulator.clock.now().isoformat()
        assert fault(await intuit.get("cdc", entities=f"Invoice,{entity}", changedSince=now)) == (400, "4001")


async def test_batch_is_thirty_items_with_an_id_each_and_faults_alone(intuit: Pretend) -> None:
    async def batch(items: list[Any], **more: str) -> httpx.Response:
        return await intuit.post("batch", {"BatchItemRequest": items}, **more)

    query = {"Query": "select * from Customer maxresults 1"}
    thirty = [{"bId": str(one), **query} for one in range(31)]
    answer = await batch(thirty[:30])
    assert [one["bId"] for one in answer.json()["BatchItemResponse"]] == [str(one) for one in range(30)]
    assert fault(await batch(thirty))[0] == 400
    assert fault(await batch([{"bId": "1", **query}, query])) == (400, "2020")
    assert fault(await batch([{"bId": "1", **query}, {"bId": "1", **query}]))[0] == 400
    made = await intuit.invoice()
    items = [
        {"bId": "a", "operation": "create", "Invoice": {"CustomerRef": {"value": "5"}, "Line": [LINE]}},
        {"bId": "b", "operation": "create", "Invoice": {"CustomerRef": "5", "Line": [LINE]}},
        {"bId": "c", "operation": "update", "optionsData": "void", "Invoice": {"Id": made["Id"], "SyncToken": "0"}},
        {"bId": "d", "operation": "delete", "Invoice": {"Id": "77777", "SyncToken": "0"}},
        {"bId": "e", "operation": "create"},
    ]
    first = (await batch(items, requestid="r-1")).json()["BatchItemResponse"]
    kinds = [next(key for key in one if key != "bId") for one in first]
    assert kinds == ["Invoice", "Fault", "Invoice", "Fault", "Fault"]
    assert (first[2]["Invoice"]["TotalAmt"], first[3]["Fault"]["Error"][0]["code"]) == (0, "610")
    assert (await batch(items, requestid="r-1")).json()["BatchItemResponse"] == first, "repeated, not done again"


# ---- webhooks --------------------------------------------------------------------------------------------------------


async def test_every_header_of_a_delivery_is_there_in_its_odd_form(intuit: Pretend) -> None:
    await intuit.sim("PUT", "/clock", {"now": "2027-01-15T12:00:00Z"})
    await intuit.invoice()
    await intuit.settle()
    headers, body = intuit.hook.received[0]
    assert headers["intuit-created-time"] == "2027-01-15T04:00:00-0800"
    assert headers["intuit-notification-schema-version"] == "0.1"
    assert headers["user-agent"] == "intuit_notification_server/0.1"
    assert headers["content-type"].split(";")[0] in ("application/json", "application/cloudevents+json")
    assert headers["intuit-signature"] == signature(SECRET, body) and len(headers["intuit-t-id"]) == 36


async def test_times_are_true_in_every_form_that_was_seen(intuit: Pretend) -> None:
    await intuit.sim("PUT", "/clock", {"now": "2027-07-15T12:00:00.25Z"})
    at = datetime(2027, 7, 15, 12, 0, 0, 250_000, tzinfo=UTC)
    await intuit.sim("POST", "/burst", {"realm": FIRST, "id": "1001", "count": 60})
    await intuit.settle()
    times = {event["time"] for event in intuit.hook.events()}
    assert {len(one) for one in times} == {20, 24, 30} and all(
        abs(_moment(one) - at) < timedelta(seconds=1) for one in times
    )
    await intuit.sim("PUT", "/webhooks", {"format": "legacy"})
    await intuit.sim("POST", "/burst", {"realm": FIRST, "id": "1001", "count": 60})
    await intuit.settle()
    legacy = json.loads(intuit.hook.received[-1][1])["eventNotifications"][0]["dataChangeEvent"]["entities"]
    assert {one["lastUpdated"] for one in legacy} == {
        *("2027-07-15T12:00:00.250Z", "2027-07-15T12:00:00.000Z", "2027-07-15T05:00:00-0700")
    }


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def test_silence_is_of_the_company_and_entity_that_it_was_asked_for(intuit: Pretend) -> None:
    await intuit.fault(kind="silence", route="invoice", realm=FIRST)
    await intuit.invoice()
    heard = await intuit.invoice(SECOND)
    customer = await intuit.post("customer", {"DisplayName": "Heard"})
    await intuit.settle()
    assert intuit.hook.ids() == [heard["Id"], customer.json()["Customer"]["Id"]]
    assert (await intuit.sim("GET", "/faults"))["made"] == {FIRST: {"silence": 1}}


async def test_copies_come_in_the_same_delivery_or_later_with_the_same_id_or_a_new_one(intuit: Pretend) -> None:
    for kind, at_once, later, ids in (("duplicate", 2, 2, 1), ("again", 1, 2, 1), ("resend", 1, 2, 2)):
        intuit.hook.received.clear()
        await intuit.sim("PUT", "/faults", [{"kind": kind, "seconds": 30, "spread": "fixed"}])
        await intuit.invoice()
        await intuit.settle()
        assert len(intuit.hook.events()) == at_once, kind
        await intuit.advance(30)
        events = intuit.hook.events()
        assert (len(events), len({one["id"] for one in events})) == (later, ids), kind
        assert len({one["intuitentityid"] for one in events}) == 1


async def test_event_may_come_again_under_a_company_that_nobody_knows(intuit: Pretend) -> None:
    await intuit.fault(kind="stranger")
    made = await intuit.invoice()
    await intuit.settle()
    companies = [(one["intuitaccountid"], one["intuitentityid"]) for one in intuit.hook.events()]
    assert companies == [(FIRST, made["Id"]), ("9999999999999999", made["Id"])]


async def test_late_events_come_in_the_order_in_which_they_are_due_whatever_the_jump(intuit: Pretend) -> None:
    made = []
    for seconds in (300, 60, 200):
        rule = {"kind": "late", "seconds": seconds, "spread": "fixed"}
        await intuit.sim("PUT", "/faults", [rule])
        made.append((await intuit.invoice())["Id"])
    await intuit.sim("PUT", "/faults", [])
    prompt = (await intuit.invoice())["Id"]
    await intuit.settle()
    assert intuit.hook.ids() == [prompt]
    assert (await intuit.sim("GET", "/webhooks"))["queued"] == 3
    await intuit.advance(3600)
    assert intuit.hook.ids() == [prompt, made[1], made[2], made[0]]
    times = [_moment(one["time"]) for one in intuit.hook.events()]
    assert max(times) - min(times) < timedelta(seconds=1), "the time of the change stays true"


async def test_repeated_updates_are_one_where_a_rule_says_so(intuit: Pretend) -> None:
    await intuit.sim("PUT", "/webhooks", {"aggregation_ms": 60_000})
    await intuit.fault(kind="coalesce", realm=FIRST)
    for realm in (FIRST, SECOND):
        await intuit.sim("POST", "/burst", {"realm": realm, "id": "1001", "count": 5})
    await intuit.advance(59.9)
    assert intuit.hook.received == [], "gathered for up to a minute of simulated time"
    await intuit.advance(0.1)
    assert Counter(one["intuitaccountid"] for one in intuit.hook.events()) == {FIRST: 1, SECOND: 5}
    assert len(intuit.hook.received) == 1


async def test_deliveries_can_be_small_mixed_up_and_held(intuit: Pretend) -> None:
    await intuit.sim("PUT", "/webhooks", {"aggregation_ms": 1000})
    await intuit.fault(kind="few")
    await intuit.fault(kind="reorder")
    made = [(await intuit.invoice())["Id"] for _ in range(60)]
    for _ in range(20):
        await intuit.advance(1)
    sizes = [len(json.loads(body)) for _, body in intuit.hook.received]
    assert sum(sizes) == 60 and min(sizes) >= 1
    assert sorted(intuit.hook.ids()) == sorted(made) and intuit.hook.ids() != made
    await intuit.sim("PUT", "/faults", [{"kind": "hold", "seconds": 50, "spread": "fixed"}])
    before = len(intuit.hook.received)
    await intuit.invoice()
    await intuit.advance(49)
    assert len(intuit.hook.received) == before
    await intuit.advance(1)
    assert len(intuit.hook.received) == before + 1


async def test_one_delivery_may_be_kept_to_one_company(intuit: Pretend) -> None:
    await intuit.sim("PUT", "/webhooks", {"aggregation_ms": 1000, "mixed_companies": False})
    for realm in (FIRST, SECOND, FIRST):
        await intuit.invoice(realm)
    await intuit.advance(1)
    await intuit.advance(1)
    assert [[one["intuitaccountid"] for one in json.loads(body)] for _, body in intuit.hook.received] == [
        [FIRST, FIRST],
        [SECOND],
    ]


async def test_first_events_of_a_company_come_up_to_five_minutes_after_it_was_connected(intuit: Pretend) -> None:
    await intuit.sim("PUT", "/webhooks", {"first_after_s": 300})
    await intuit.headers()
    early, other = (await intuit.invoice())["Id"], (await intuit.invoice(SECOND))["Id"]
    await intuit.settle()
    assert intuit.hook.ids() == [other]
    await intuit.advance(300)
    assert intuit.hook.ids() == [other, early]
    prompt = (await intuit.invoice())["Id"]
    await intuit.settle()
    assert intuit.hook.ids()[-1] == prompt


async def test_data_may_carry_the_whole_record_and_void_another_word(intuit: Pretend) -> None:
    await intuit.sim("PUT", "/webhooks", {"full_data": True, "void_word": "voided", "aggregation_ms": 1000})
    await intuit.fault(kind="shuffled_json")
    made = await intuit.invoice()
    await intuit.sim("POST", f"/companies/{FIRST}/records/Invoice/{made['Id']}/void")
    await intuit.advance(1)
    created, voided = intuit.hook.events()
    assert (created["type"], voided["type"]) == ("qbo.invoice.created.v1", "qbo.invoice.voided.v1")
    assert created["data"]["Id"] == made["Id"] and voided["data"]["TotalAmt"] == 0


@pytest.mark.parametrize("kind", ["bad_signature", "no_signature"])
async def test_spoilt_signature_is_right_at_the_next_try_of_the_same_bytes(intuit: Pretend, kind: str) -> None:
    await intuit.fault(kind=kind, count=1)
    intuit.hook.answers = [401]
    await intuit.invoice()
    await intuit.settle()
    headers, body = intuit.hook.received[0]
    assert headers.get("intuit-signature") != signature(SECRET, body)
    await intuit.advance(10)
    again, same = intuit.hook.received[1]
    assert (again["intuit-signature"], same, again["intuit-t-id"]) == (
        signature(SECRET, body),
        body,
        headers["intuit-t-id"],
    )


async def test_shuffled_json_says_the_same_under_a_right_signature(intuit: Pretend) -> None:
    await intuit.fault(kind="shuffled_json")
    made = await intuit.invoice()
    await intuit.settle()
    headers, body = intuit.hook.received[0]
    assert headers["intuit-signature"] == signature(SECRET, body)
    (event,) = json.loads(body)
    plain = json.dumps([event], separators=(",", ":")).encode()
    assert (
        event["intuitentityid"] == made["Id"]
        and body != plain
        and signature(SECRET, plain) != headers["intuit-signature"]
    )


async def test_ladder_is_walked_at_its_own_moments_and_then_every_six_hours(intuit: Pretend) -> None:
    intuit.hook.answers = [503] * 20
    await intuit.invoice()
    await intuit.settle()
    first = intuit.simulator.clock.now()
    held = await intuit.invoice()
    await intuit.sim("PUT", "/clock", {"advance_s": 40 * 3600, "walk": True})
    (delivery,) = [one for one in await intuit.sim("GET", "/deliveries") if len(one["tries"]) > 1]
    moments = [round((_moment(one["at"]) - first).total_seconds()) for one in delivery["tries"]]
    waits = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert waits == [10, 20, 30, 300, 1200, 7200, 14400, 21600, 21600, 21600, 21600, 21600][: len(waits)]
    assert len(moments) == 13 and len({body for _, body in intuit.hook.received}) == 1
    assert held["Id"] not in intuit.hook.ids(), "what is newer waits"
    intuit.hook.answers = []
    await intuit.sim("PUT", "/clock", {"advance_s": 6 * 3600, "walk": True})
    await intuit.settle()
    assert intuit.hook.ids()[-1] == held["Id"]


async def test_only_connected_companies_are_announced_by_switch(intuit: Pretend) -> None:
    await intuit.sim("PUT", "/webhooks", {"only_connected": True})
    await intuit.headers(SECOND)
    await intuit.invoice()
    heard = await intuit.invoice(SECOND)
    await intuit.settle()
    assert intuit.hook.ids() == [heard["Id"]]


# ---- profiles --------------------------------------------------------------------------------------------------------


async def statuses(intuit: Pretend, count: int) -> list[int]:
    found = []
    for one in range(count):
        try:
            path = "cdc" if one % 5 == 4 else "query" if one % 2 else "invoice/1001"
            more = {"query": "select * from Invoice", "entities": "Invoice"}
            more["changedSince"] = intuit.simulator.clock.now().isoformat()
            asked = asyncio.create_task(intuit.get(path, **more))
            while not asked.done():
                await asyncio.sleep(0)
                if intuit.simulator.faults._held:
                    await intuit.sim("PUT", "/clock", {"advance_s": 120})
            found.append((await asked).status_code)
        except ConnectionResetError:
            found.append(0)
    return found


async def test_storm_of_one_seed_is_the_same_storm() -> None:
    async def run(seed: int) -> list[int]:
        async with pretend(profile="storm", seed=seed) as intuit:
            return await statuses(intuit, 150)

    first = await run(7)
    assert first == await run(7) != await run(8)
    assert {200, 429} <= set(first) and len(set(first)) > 5


async def test_profile_is_shown_with_what_each_company_drew_and_can_be_given_as_rules(intuit: Pretend) -> None:
    await intuit.sim("PUT", "/profile", {"name": "ordinary day", "seed": 3})
    shown = await intuit.sim("PUT", "/profile", {"rules": [{"status": 503}], "swarm": False, "realm": SECOND})
    assert (shown["name"], shown["known"]) == ("several", ["calm", "ordinary day", "storm"])
    assert (shown["companies"][FIRST]["name"], shown["companies"][FIRST]["seed"]) == ("ordinary day", 3)
    assert len(shown["companies"][FIRST]["rules"]) > 10
    assert [rule["rate"] for rule in shown["companies"][SECOND]["rules"]] == [1.0]
    assert (await intuit.get("preferences", SECOND)).status_code == 503
    refused = await intuit.http.put("/_sim/profile", json={"name": "hurricane"})
    assert (refused.status_code, "calm, ordinary day, storm" in refused.text) == (400, True)
    calm = await intuit.sim("PUT", "/profile", {"name": "calm", "realm": SECOND})
    assert calm["companies"][SECOND]["rules"] == [] and len(calm["companies"][FIRST]["rules"]) > 10
    assert (await intuit.get("preferences", SECOND)).status_code == 200


async def test_calm_ends_all_trouble_and_sends_what_waits(intuit: Pretend) -> None:
    await intuit.fault(kind="late", seconds=3600, spread="fixed")
    await intuit.fault(kind="stale", seconds=3600, spread="fixed")
    await intuit.sim("PUT", "/limits", {"metering_blocks": True, "tier_cap": 0})
    made = await intuit.invoice()
    await intuit.fault(kind="hang")
    asked = asyncio.create_task(intuit.get("preferences"))
    await until(lambda: intuit.simulator.faults._held)
    await intuit.sim("PUT", "/profile", {"name": "calm"})
    await intuit.settle()
    assert (await asked).status_code == 504
    assert intuit.hook.ids() == [made["Id"]]
    assert (await intuit.get(f"invoice/{made['Id']}")).status_code == 200


class Client:
    """The plainest client there is: it asks until it is answered, and renews its token when that is refused."""

    def __init__(self, intuit: Pretend, pair: dict[str, Any]) -> None:
        self.intuit = intuit
        self.pair = pair
        self.known: dict[str, Any] = {}
        self.asked = 0

    async def answer(self, do: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
        """One answer, or a refusal by a connection that broke; time passes for whoever waits."""
        asked = asyncio.ensure_future(do())
        while not asked.done():
            await asyncio.sleep(0)
            if self.intuit.simulator.faults._held:
                await self.intuit.sim("PUT", "/clock", {"advance_s": 2})
        self.asked += 1
        try:
            return asked.result()
        except ConnectionResetError:
            return httpx.Response(599)

    async def get(self, path: str, **parameters: str) -> Any:
        """What a read finds; None where the record is gone."""
        for _ in range(60):
            found = await self.answer(lambda: self._read(path, parameters))
            if found.status_code == 400 and fault(found) == (400, "610"):
                return None
            if found.status_code == 200 and "Fault" not in found.json():
                return found.json()
            if found.status_code == 401:
                await self.renew()
        raise AssertionError("it was refused sixty times")

    async def _read(self, path: str, parameters: dict[str, str]) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.pair['access_token']}"}
        return await self.intuit.http.get(f"/v3/company/{FIRST}/{path}", params=parameters, headers=headers)

    async def renew(self) -> None:
        """A new pair of tokens, kept as soon as it is there."""
        for _ in range(60):
            found = await self.answer(lambda: self.intuit.refresh(self.pair["refresh_token"]))
            assert found.content != b'{"error":"invalid_grant"}', "the grant is gone"
            if found.status_code == 200:
                self.pair = found.json()
                return
        raise AssertionError("no token after sixty tries")

    async def hear(self) -> None:
        """Read what was announced since the last time."""
        for record_id in dict.fromkeys(self.intuit.hook.ids()):
            found = await self.get(f"invoice/{record_id}")
            if found is not None:
                self.known[record_id] = found["Invoice"].get("PrivateNote")
        self.intuit.hook.received.clear()

    async def sweep(self, since: datetime) -> None:
        """Change data capture; whoever is said to be deleted is read."""
        swept = await self.get("cdc", entities="Invoice", changedSince=since.isoformat())
        for row in swept["CDCResponse"][0]["QueryResponse"][0].get("Invoice", []):
            self.known[row["Id"]] = row.get("PrivateNote")
            if row.get("status") == "Deleted" and await self.get(f"invoice/{row['Id']}") is None:
                del self.known[row["Id"]]


@pytest.mark.parametrize("seed", [3, 4, 11])
async def test_after_a_storm_retries_and_one_sweep_repair_everything(seed: int) -> None:
    async with pretend(profile="storm", seed=seed) as intuit:
        client = Client(intuit, await intuit.sim("POST", "/tokens", {"realm": FIRST}))
        began = intuit.simulator.clock.now() - timedelta(seconds=1)
        for change in range(60):
            intuit.hook.answers = [503] if change % 20 == 19 else []
            made = await intuit.invoice(PrivateNote=f"note {change}")
            if change % 3 == 0:
                await intuit.invoice(Id=made["Id"], PrivateNote=f"changed {change}")
            if change % 7 == 0:
                await intuit.sim("POST", f"/companies/{FIRST}/records/Invoice/{made['Id']}/delete")
            await intuit.advance(300)
            await client.hear()
        book = intuit.simulator.companies[FIRST].book
        truth = {
            key: one.fields.get("PrivateNote")
            for key, one in book.records[Kind.INVOICE].items()
            if one.updated_at >= began
        }
        made_up = (await intuit.sim("GET", "/profile"))["made"][FIRST]
        assert sum(made_up.values()) > 20 and len(made_up) >= 5, "it was a storm"
        await intuit.sim("PUT", "/profile", {"name": "calm"})
        await intuit.settle()
        await client.hear()
        await client.sweep(began)
        assert client.known == truth
        assert (await intuit.sim("GET", "/webhooks"))["idle"]
