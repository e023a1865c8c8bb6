"""Every recorded answer of Intuit is understood by our client: records, faults, times, and what is not of our types.

The folder comes from QBO_RECORDINGS. The last tests serve each answer byte for byte to the whole client.
"""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from connectors.config import Settings
from connectors.postgres import pool
from connectors.quickbooks.answers import CDC_DEPTH, QUERY_DEPTH, READ_DEPTH, NotAnAnswer, answer_of, fault_of
from connectors.quickbooks.client import QuickBooks
from connectors.quickbooks.http import Http, Reply
from connectors.quickbooks.limiter import Limiter
from schemas import strict_json
from schemas.answers import Answer, CompanyUnreadable, Gone, Unreadable
from schemas.errors import UnprocessableError
from schemas.quickbooks import CUSTOMER, PAYMENT, RECORD_TYPES, SALES, Payment, SalesDocument, parse_record
from tests.recordings import Exchange, exchanges

FOLDER = os.environ.get("QBO_RECORDINGS", "")
FILES = sorted(Path(FOLDER).glob("*.json")) if FOLDER else []
pytestmark = pytest.mark.skipif(not FILES, reason="QBO_RECORDINGS names no folder with recorded answers of Intuit")
ALL = [exchange for path in FILES for exchange in exchanges(path)]
# Reports and files have no `time`; our client asks for neither, and would call them no answer.
JSON_ANSWERS = [each for each in ALL if each.status == 200 and isinstance(each.answer, dict) and "time" in each.answer]
each_exchange = pytest.mark.parametrize("exchange", ALL, ids=lambda each: each.name)
each_answer = pytest.mark.parametrize("exchange", JSON_ANSWERS, ids=lambda each: each.name)
BOOKED = {*SALES, PAYMENT, CUSTOMER}


def reply_of(exchange: Exchange) -> Reply:
    return Reply(exchange.status, exchange.headers, exchange.answered.encode())


def depth_of(exchange: Exchange) -> int:
    answer = exchange.answer
    if isinstance(answer, dict) and "CDCResponse" in answer:
        return CDC_DEPTH
    return QUERY_DEPTH if isinstance(answer, dict) and "QueryResponse" in answer else READ_DEPTH


def recorded(answer: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every record that stands where our client looks for records, found by another way than the client's."""
    if isinstance(answer, list):
        for each in answer:
            yield from recorded(each)
    elif isinstance(answer, dict):
        for name, part in answer.items():
            if name in ("QueryResponse", "CDCResponse"):
                yield from recorded(part)
            elif name not in ("Fault", "fault", "BatchItemResponse"):
                yield from (
                    (name, one) for one in (part if isinstance(part, list) else [part]) if isinstance(one, dict)
                )


@each_exchange
def test_a_refusal_is_told_from_an_answer_with_its_code_and_kind(exchange: Exchange) -> None:
    fault = fault_of(reply_of(exchange))
    holds_one = "<Fault" in exchange.answered or '"Fault":' in exchange.answered or '"fault":' in exchange.answered
    if exchange.status != 200:
        assert (fault is not None) == holds_one
    if fault is not None:
        assert fault.code.isdecimal() and fault.kind


@each_answer
def test_every_record_is_cut_out_byte_for_byte(exchange: Exchange) -> None:
    answer = answer_of(exchange.answered.encode(), depth_of(exchange))
    assert answer.answered_at.tzinfo is not None
    whole = [(name, one["Id"]) for name, one in recorded(exchange.answer) if "SyncToken" in one]
    assert [(record.record_type, record.record_id) for record in answer.records] == whole
    for record in answer.records:
        assert record.raw in exchange.answered.encode()
        assert strict_json.parse(record.raw)["Id"] == record.record_id
    stubs = [one for _, one in recorded(exchange.answer) if one.get("status") == "Deleted"]
    assert len(answer.deleted) + len(answer.unreadable) == len(stubs), answer.unreadable


@each_answer
def test_every_record_that_is_booked_is_read_with_its_amounts_and_any_other_is_refused_with_a_reason(
    exchange: Exchange,
) -> None:
    answer = answer_of(exchange.answered.encode(), depth_of(exchange))
    shown = {(name, one["Id"]): one for name, one in recorded(exchange.answer) if "SyncToken" in one}
    for record in answer.records:
        if record.record_type not in BOOKED:
            with pytest.raises(UnprocessableError, match="are not kept here"):
                parse_record(record.record_type, record.raw, "USD")
            continue
        parsed = parse_record(record.record_type, record.raw, "USD")
        assert parsed.record_id == record.record_id
        if isinstance(parsed, SalesDocument | Payment):
            assert parsed.total.amount == Decimal(shown[record.record_type, record.record_id]["TotalAmt"])


@each_answer
def test_no_beginning_of_a_recorded_answer_passes_for_a_whole_one(exchange: Exchange) -> None:
    body = exchange.answered.encode()
    for end in range(0, len(body.rstrip()) - 1, max(1, len(body) // 150)):
        with pytest.raises(NotAnAnswer):
            answer_of(body[:end], depth_of(exchange))


@each_answer
def test_what_intuit_answers_is_within_the_limits_of_json(exchange: Exchange) -> None:
    try:
        strict_json.parse(exchange.answered.encode())
    except UnprocessableError as error:
        pytest.fail(str(error))


# --- the whole client -------------------------------------------------------------------------------------------


class Recorded:
    """A server that gives one recorded answer to whatever it is asked."""

    def __init__(self) -> None:
        self.exchange = ALL[0]
        recorded = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("content-length") or 0))
                body = recorded.exchange.answered.encode()
                self.send_response(recorded.exchange.status)
                for name in ("content-type", "www-authenticate", "retry-after"):
                    if name in recorded.exchange.headers:
                        self.send_header(name, recorded.exchange.headers[name])
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, *_: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class AnyToken:
    """Tokens without a grant behind them."""

    async def token(self, company_id: str, *, refused: str | None = None) -> str:
        return "another" if refused else "one"

    async def grant_gone(self, company_id: str) -> None:
        return None


@pytest.fixture(scope="module")
def server() -> Iterator[Recorded]:
    made = Recorded()
    yield made
    made.close()


@pytest.fixture
async def client(server: Recorded, database_url: str) -> AsyncIterator[QuickBooks]:
    settings = Settings(
        kafka_bootstrap="127.0.0.1:9",
        database_url=SecretStr(database_url),
        master_keys={"k1": b"1" * 32},
        quickbooks_api_url=server.url,
        quickbooks_discovery_url=f"{server.url}/.well-known/openid_configuration",
        quickbooks_client_id="client",
        quickbooks_client_secret=SecretStr("secret"),
        quickbooks_redirect_url="http://127.0.0.1:9/callback",
    )
    async with pool(database_url, connections_max=2) as connections, Http(settings) as http:
        limiter = Limiter(connections, settings.quickbooks_calls_per_month_max)
        yield QuickBooks(settings, http, AnyToken(), limiter, patience_s=0.1)


async def asked(client: QuickBooks, exchange: Exchange, number: int) -> Answer | Gone | Unreadable:
    """The call that reads an answer of this form; each in a company of its own, so that no wait is inherited."""
    company_id = str(9130000000000001 + number)
    try:
        if depth_of(exchange) == CDC_DEPTH:
            return await client.cdc(company_id, RECORD_TYPES, answer_of(exchange.answered.encode(), 7).answered_at)
        if depth_of(exchange) == QUERY_DEPTH:
            return await client.by_ids(company_id, "Invoice", ["1"])
        return await client.read(company_id, "Invoice", "1")
    except CompanyUnreadable as error:
        return error.why


def expected(exchange: Exchange) -> set[object]:
    """What each answer has to mean: its code is stronger than its status."""
    fault = fault_of(reply_of(exchange))
    code = fault.code if fault else ""
    if exchange.status == 200 and fault is None:
        return {Answer} if exchange in JSON_ANSWERS else {Unreadable.TROUBLE}
    if exchange.status == 429 or code == "3001":
        return {Unreadable.THROTTLED}
    if code == "3100":
        return {Unreadable.RECONNECT}
    if code == "610":
        return {Gone, Unreadable.REFUSED}
    return {Unreadable.REFUSED} if exchange.status < 500 and exchange.status != 200 else {Unreadable.TROUBLE}


async def test_the_client_gives_every_recorded_answer_its_meaning(client: QuickBooks, server: Recorded) -> None:
    wrong = []
    for number, exchange in enumerate(ALL):
        server.exchange = exchange
        found = await asked(client, exchange, number)
        if not {found, type(found)} & expected(exchange):
            wrong.append((exchange.name, found))
        elif isinstance(found, Answer):
            whole = answer_of(exchange.answered.encode(), depth_of(exchange))
            assert found == whole, exchange.name
    assert wrong == []
