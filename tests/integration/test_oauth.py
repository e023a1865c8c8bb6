"""Connecting a company and keeping its grant, against the simulator and a real database."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from connectors.quickbooks.oauth import AuthorisationRefused
from schemas.answers import CompanyUnreadable, Unreadable
from schemas.changes import CompanyFacts, ConnectionChanged
from tests.intuit import Intuit, Ours, consent, execute, ours

EXPIRED = "UPDATE control.tokens SET access_expires_at = now()"


async def test_connecting_binds_the_company_and_publishes_what_it_is(intuit: Intuit, process: Ours) -> None:
    company_id = intuit.companies[0]
    await process.connect(intuit, company_id, "our firm")
    rows = await process.rows("SELECT company_id, organisation_id, name, state, gap_since FROM control.companies")
    assert [(*row[:2], row[3], row[4].year) for row in rows] == [(company_id, "our firm", "connected", 1970)]
    assert rows[0][2]
    (facts,) = process.messages()
    assert isinstance(facts.body, CompanyFacts)
    assert facts.body.home_currency == "USD"
    assert [type(each.body) for each in process.messages("sync-events")] == [ConnectionChanged]


async def test_tokens_are_stored_sealed(intuit: Intuit, process: Ours) -> None:
    company_id = intuit.companies[0]
    await process.connect(intuit, company_id)
    token = await process.authorizations.token(company_id)
    ((access, refresh, hard),) = await process.rows(
        "SELECT sealed_access, sealed_refresh, refresh_hard_expires_at FROM control.tokens"
    )
    assert token.encode() not in access + refresh
    assert process.sealer.open(company_id, "token:access", access).decode() == token
    assert hard is not None


async def test_a_state_is_good_once_and_for_ten_minutes(intuit: Intuit, process: Ours) -> None:
    company_id = intuit.companies[0]
    await process.connect(intuit, company_id)
    brought = consent(await process.authorizations.start("our firm"), company_id)
    with pytest.raises(AuthorisationRefused, match="ten minutes"):
        await process.authorizations.finish(brought["code"], "somebody's else", company_id)
    await process.rows("UPDATE control.authorisations SET created_at = now() - interval '11 minutes'")
    with pytest.raises(AuthorisationRefused, match="ten minutes"):
        await process.authorizations.finish(brought["code"], brought["state"], company_id)


async def test_a_realm_that_was_swapped_in_the_browser_is_not_bound(intuit: Intuit, process: Ours) -> None:
    mine, somebodys = intuit.companies[:2]
    brought = consent(await process.authorizations.start("our firm"), mine)
    with pytest.raises(AuthorisationRefused, match="did not let us read"):
        await process.authorizations.finish(brought["code"], brought["state"], somebodys)
    assert await process.rows("SELECT * FROM control.companies") == []
    assert await process.rows("SELECT * FROM control.tokens") == []


async def test_a_company_of_another_organisation_is_refused(intuit: Intuit, process: Ours) -> None:
    company_id = intuit.companies[0]
    await process.connect(intuit, company_id, "first firm")
    before = await process.rows("SELECT sealed_refresh FROM control.tokens")
    with pytest.raises(AuthorisationRefused, match="connected to another organisation"):
        await process.connect(intuit, company_id, "second firm")
    assert await process.rows("SELECT organisation_id FROM control.companies") == [("first firm",)]
    assert await process.rows("SELECT sealed_refresh FROM control.tokens") == before


async def test_an_organisation_has_one_company(intuit: Intuit, process: Ours) -> None:
    await process.connect(intuit, intuit.companies[0], "our firm")
    with pytest.raises(AuthorisationRefused, match="Another QuickBooks company"):
        await process.connect(intuit, intuit.companies[1], "our firm")


async def test_one_of_eight_refreshes_an_expired_token(intuit: Intuit, database_url: str) -> None:
    company_id = intuit.companies[0]
    intuit.ask("PUT", "/oauth", {"revoke_on_race": True, "refresh_takes_ms": 50})
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(ours(intuit, database_url)) for _ in range(4)]
        await processes[0].connect(intuit, company_id)
        intuit.ask("POST", f"/companies/{company_id}/expire-access")
        execute(database_url, EXPIRED)
        intuit.fault(route="POST token", kind="delay", latency_ms=50, count=8)
        asked = (each.authorizations.token(company_id) for each in processes for _ in range(2))
        tokens = await asyncio.gather(*asked)
        assert len(set(tokens)) == 1
        assert [rule["count"] for rule in intuit.ask("GET", "/faults")["rules"]] == [7]
        await processes[3].quickbooks.company(company_id)  # the grant is alive: nobody raced


async def test_a_grant_that_is_gone_is_told_once_and_asked_for_no_more(intuit: Intuit, process: Ours) -> None:
    company_id = intuit.companies[0]
    await process.connect(intuit, company_id)
    intuit.ask("POST", f"/companies/{company_id}/disconnect")
    await process.rows(EXPIRED)
    before = await process.rows("SELECT sealed_access, sealed_refresh FROM control.tokens")
    for _ in range(3):
        with pytest.raises(CompanyUnreadable) as caught:
            await process.authorizations.token(company_id)
        assert caught.value.why is Unreadable.RECONNECT
    assert await process.rows("SELECT state FROM control.companies") == [("reconnect_needed",)]
    assert await process.rows("SELECT sealed_access, sealed_refresh FROM control.tokens") == before
    states = [each.body.state for each in process.messages("sync-events")]
    assert states == ["connected", "reconnect_needed"]


async def test_reconnecting_makes_the_company_readable_and_keeps_the_gap(intuit: Intuit, process: Ours) -> None:
    company_id = intuit.companies[0]
    await process.connect(intuit, company_id)
    await process.rows("UPDATE control.companies SET state = 'active', gap_since = NULL, swept_until = now()")
    intuit.ask("POST", f"/companies/{company_id}/disconnect")
    await process.rows(EXPIRED)
    with pytest.raises(CompanyUnreadable):
        await process.authorizations.token(company_id)
    await process.connect(intuit, company_id)
    ((state, gap_since),) = await process.rows("SELECT state, gap_since FROM control.companies")
    assert state == "connected"
    assert gap_since is not None and gap_since.year > 1970
    assert (await process.quickbooks.company(company_id)).name


async def test_a_caller_whose_time_is_up_does_not_lose_the_rotated_token(intuit: Intuit, process: Ours) -> None:
    company_id = intuit.companies[0]
    await process.connect(intuit, company_id)
    intuit.ask("PUT", "/oauth", {"refresh_takes_ms": 300})
    await process.rows(EXPIRED)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await process.authorizations.token(company_id)
    token = await process.authorizations.token(company_id)
    ((access,),) = await process.rows("SELECT sealed_access FROM control.tokens")
    assert process.sealer.open(company_id, "token:access", access).decode() == token


async def test_trouble_at_the_token_endpoint_is_no_lost_grant(intuit: Intuit, process: Ours) -> None:
    company_id = intuit.companies[0]
    await process.connect(intuit, company_id)
    await process.rows(EXPIRED)
    intuit.fault(route="POST token", status=503, body="html", count=1)
    with pytest.raises(CompanyUnreadable) as caught:
        await process.authorizations.token(company_id)
    assert caught.value.why is Unreadable.TROUBLE
    assert await process.authorizations.token(company_id)
