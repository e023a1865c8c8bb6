"""Reading QuickBooks: what it answers, what it refuses, and how often it is asked; simulator and real database."""

import asyncio
import contextlib
import gzip
import json
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from connectors.quickbooks.http import HostRefused, Http, NoAnswer
from schemas.answers import Answer, CompanyUnreadable, Gone, Unreadable
from tests.intuit import Intuit, Ours, ours, settings_for


@pytest.fixture
async def company_id(intuit: Intuit, process: Ours) -> str:
    await process.connect(intuit, intuit.companies[0])
    intuit.ask("POST", "/calls/reset")
    return intuit.companies[0]


async def unreadable(process: Ours, company_id: str) -> CompanyUnreadable:
    with pytest.raises(CompanyUnreadable) as caught:
        await process.quickbooks.by_ids(company_id, "Invoice", ["1"])
    return caught.value


async def test_records_are_read_by_their_ids_as_intuit_wrote_them(
    intuit: Intuit, process: Ours, company_id: str
) -> None:
    shown = intuit.newest(company_id, "invoice", 3)
    answer = await process.quickbooks.by_ids(company_id, "Invoice", [*(each["Id"] for each in shown), "99999999"])
    assert {record.record_id for record in answer.records} == {each["Id"] for each in shown}
    for record in answer.records:
        (same,) = [each for each in shown if each["Id"] == record.record_id]
        assert json.loads(record.raw) == same
        assert record.sync_token == int(same["SyncToken"])
        assert record.revised_at == datetime.fromisoformat(same["MetaData"]["LastUpdatedTime"])
    assert abs(answer.answered_at - intuit.now()) < timedelta(seconds=30)


async def test_an_inactive_customer_is_read_by_its_id(intuit: Intuit, process: Ours, company_id: str) -> None:
    customer = intuit.write(company_id, "customer", DisplayName="Soon inactive")
    intuit.write(company_id, "customer", Id=customer["Id"], Active=False)
    answer = await process.quickbooks.by_ids(company_id, "Customer", [customer["Id"]])
    assert [record.record_id for record in answer.records] == [customer["Id"]]


async def test_a_deleted_record_is_gone(intuit: Intuit, process: Ours, company_id: str) -> None:
    invoice = intuit.invoice(company_id)
    alive = await process.quickbooks.read(company_id, "Invoice", invoice["Id"])
    assert isinstance(alive, Answer) and alive.records[0].record_id == invoice["Id"]
    intuit.end(company_id, "invoice", invoice["Id"], "delete")
    assert isinstance(await process.quickbooks.read(company_id, "Invoice", invoice["Id"]), Gone)
    since = intuit.now() - timedelta(minutes=5)
    swept = await process.quickbooks.cdc(company_id, ["Invoice", "Payment"], since)
    assert invoice["Id"] in {each.record_id for each in swept.deleted}


async def test_changed_between_is_in_order_and_in_its_window(intuit: Intuit, process: Ours, company_id: str) -> None:
    everything = datetime(1970, 1, 1, tzinfo=UTC), intuit.now() + timedelta(days=1)
    answer = await process.quickbooks.changed_between(company_id, "Invoice", *everything)
    times = [record.revised_at for record in answer.records]
    assert len(times) > 3 and times == sorted(times)
    middle = times[len(times) // 2]
    part = await process.quickbooks.changed_between(company_id, "Invoice", middle, middle)
    assert {record.revised_at for record in part.records} == {middle}
    second = await process.quickbooks.changed_between(company_id, "Invoice", *everything, start=3)
    assert second.records[0].record_id in {record.record_id for record in answer.records[2:]}


async def test_a_refused_token_is_renewed_and_the_call_made_again(
    intuit: Intuit, process: Ours, company_id: str
) -> None:
    await process.authorizations.token(company_id)
    intuit.ask("POST", f"/companies/{company_id}/expire-access")
    assert (await process.quickbooks.by_ids(company_id, "Invoice", ["1"])).answered_at
    intuit.fault(realm=company_id, status=401, body="xml")
    assert (await unreadable(process, company_id)).why is Unreadable.REFUSED
    assert await process.rows("SELECT state FROM control.companies") == [("connected",)]


@pytest.mark.parametrize(
    "rule",
    [{"status": 429}, {"status": 429, "body": "xml"}, {"status": 403, "body": "xml"}],
    ids=["json", "xml", "as-403"],
)
async def test_a_throttled_company_is_left_alone_by_every_process(
    intuit: Intuit, process: Ours, company_id: str, database_url: str, rule: dict[str, object]
) -> None:
    intuit.fault(realm=company_id, **rule)
    throttled = await unreadable(process, company_id)
    assert throttled.why is Unreadable.THROTTLED and throttled.until is not None
    assert 55 < (throttled.until - datetime.now(UTC)).total_seconds() <= 61
    intuit.ask("POST", "/calls/reset")
    async with ours(intuit, database_url) as other:
        assert (await unreadable(other, company_id)).why is Unreadable.THROTTLED
    assert "query" not in json.dumps(intuit.calls(company_id))


async def test_retry_after_is_obeyed(intuit: Intuit, process: Ours, company_id: str) -> None:
    intuit.fault(realm=company_id, status=429, retry_after=True)
    assert (await unreadable(process, company_id)).why is Unreadable.THROTTLED


async def test_a_scope_that_is_missing_needs_a_person(intuit: Intuit, process: Ours, company_id: str) -> None:
    intuit.fault(realm=company_id, status=403)
    assert (await unreadable(process, company_id)).why is Unreadable.RECONNECT
    assert await process.rows("SELECT state FROM control.companies") == [("reconnect_needed",)]


@pytest.mark.parametrize(
    "rule",
    [
        {"status": 503, "body": "html"},
        {"status": 500, "body": "xml"},
        {"status": 504},
        {"status": 200, "body": "html"},
        {"status": 200, "body": "json"},
        {"kind": "cut"},
        {"kind": "reset"},
    ],
    ids=lambda rule: "-".join(map(str, rule.values())),
)
async def test_trouble_is_tried_again_and_then_told(
    intuit: Intuit, process: Ours, company_id: str, rule: dict[str, object]
) -> None:
    intuit.fault(realm=company_id, count=1, **rule)
    assert (await process.quickbooks.by_ids(company_id, "Invoice", ["1"])).answered_at
    intuit.fault(realm=company_id, **rule)
    assert (await unreadable(process, company_id)).why is Unreadable.TROUBLE


async def test_an_intuit_that_hangs_is_given_up(intuit: Intuit, database_url: str) -> None:
    async with ours(intuit, database_url, patience_s=0.5, quickbooks_timeout_s=0.4) as process:
        await process.connect(intuit, intuit.companies[0])
        intuit.fault(realm=intuit.companies[0], kind="delay", latency_ms=900)
        assert (await unreadable(process, intuit.companies[0])).why is Unreadable.TROUBLE


async def test_calls_are_counted_and_agree_with_intuits_meter(intuit: Intuit, process: Ours, company_id: str) -> None:
    await asyncio.gather(*(process.quickbooks.by_ids(company_id, "Invoice", ["1"]) for _ in range(5)))
    await process.quickbooks.read(company_id, "Invoice", "99999999")
    await process.quickbooks.cdc(company_id, ["Invoice"], intuit.now() - timedelta(days=1))
    counted = await process.rows("SELECT route, calls, metered FROM control.calls ORDER BY route")
    assert counted == [("cdc", 1, 1), ("query", 5, 5), ("read", 1, 0)]


async def test_a_spent_budget_refuses_before_anything_is_sent(intuit: Intuit, database_url: str) -> None:
    async with ours(intuit, database_url, quickbooks_calls_per_month_max=2) as process:
        await process.connect(intuit, intuit.companies[0])
        for _ in range(2):
            await process.quickbooks.by_ids(intuit.companies[0], "Invoice", ["1"])
        refused = await unreadable(process, intuit.companies[0])
    assert refused.why is Unreadable.BUDGET
    assert refused.until is not None and refused.until > datetime.now(UTC)


async def test_intuits_limits_are_kept_over_all_processes(intuit: Intuit, database_url: str, process: Ours) -> None:
    await process.connect(intuit, intuit.companies[1])
    intuit.ask("PUT", "/limits", {"enabled": True})
    loop = asyncio.get_running_loop()
    async with ours(intuit, database_url) as second, ours(intuit, database_url) as third:
        begun = loop.time()
        readings = [
            each.quickbooks.by_ids(intuit.companies[1], "Invoice", ["1"])
            for each in (process, second, third)
            for _ in range(8)
        ]
        assert len(await asyncio.gather(*readings)) == 24  # none was answered 429
    assert 3.0 < loop.time() - begun < 9


async def test_hosts_that_the_settings_do_not_imply_are_refused(intuit: Intuit, database_url: str) -> None:
    async with Http(settings_for(intuit, database_url)) as http:
        for url in ("http://169.254.169.254/", "https://quickbooks.api.intuit.com/", intuit.url.replace(":", "s:", 1)):
            with pytest.raises(HostRefused):
                await http.send("GET", url, headers={})
    production = settings_for(intuit, database_url, quickbooks_api_url="https://quickbooks.api.intuit.com").model_copy(
        update={"quickbooks_discovery_url": "https://developer.api.intuit.com/.well-known/openid_configuration"}
    )
    async with Http(production) as http:
        assert http.check("https://oauth.platform.intuit.com/oauth2/v1/tokens/bearer")
        for url in (
            "http://oauth.platform.intuit.com/",
            "https://intuit.com.evil.example/",
            "https://evilintuit.com/",
            "https://user@oauth.platform.intuit.com/",
            "https://oauth.platform.intuit.com:8443/",
        ):
            with pytest.raises(HostRefused):
                http.check(url)


async def test_a_redirect_is_not_followed_and_an_endless_body_is_cut(intuit: Intuit, database_url: str) -> None:
    async with _pretender() as url, Http(settings_for(intuit, database_url, quickbooks_api_url=url)) as http:
        assert (await http.send("GET", f"{url}/redirect", headers={})).status == 302
        for path in ("endless", "bomb"):
            with pytest.raises(NoAnswer, match="larger than"):
                await http.send("GET", f"{url}/{path}", headers={})
        with pytest.raises(NoAnswer, match="cut off"):
            await http.send("GET", f"{url}/half", headers={})
        with pytest.raises(NoAnswer, match="encoded as br"):
            await http.send("GET", f"{url}/brotli", headers={})
        assert (await http.send("GET", f"{url}/packed", headers={})).body == b"packed"


PACKED = gzip.compress(b"packed")
GZIPPED = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n"


def _bomb() -> bytes:
    """64 MiB in a few kilobytes."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(64)) + packer.flush()


@asynccontextmanager
async def _pretender() -> AsyncIterator[str]:
    """A server that answers as no decent one does."""
    answers = {
        b"/redirect": b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n",
        b"/bomb": GZIPPED + _bomb(),
        b"/half": GZIPPED + PACKED[:-12],
        b"/brotli": b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx",
        b"/packed": GZIPPED + PACKED,
        b"/endless": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
    }

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1]
        with contextlib.suppress(ConnectionError):
            writer.write(answers[path])
            while path == b"/endless":
                writer.write(bytes(1 << 20))
                await writer.drain()
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
