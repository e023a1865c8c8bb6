"""All reads of QuickBooks: throttled, counted, retried within the caller's patience, every refusal given its meaning.

Calls: Intuit's accounting API, over one `Http`. Writes: nothing of a company; limiter and counts are control data.
Guarantees: a record's bytes are Intuit's; a company that cannot be read raises CompanyUnreadable and nothing else, so
that no other company waits for it; the token never stands in a log or an error.
Source: Intuit, REST API features, data queries, change data capture, limits and throttles.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Protocol
from urllib.parse import quote, urlencode

import stamina
import structlog

from connectors.config import Settings
from connectors.quickbooks.answers import (
    CDC_DEPTH,
    QUERY_DEPTH,
    READ_DEPTH,
    RECORD_ID,
    CompanyRead,
    Fault,
    NotAnAnswer,
    answer_of,
    company_of,
    fault_of,
    time_of,
)
from connectors.quickbooks.http import Http, NoAnswer, Reply
from connectors.quickbooks.limiter import Limiter
from schemas.answers import RECORD_TYPES, Answer, CompanyUnreadable, Gone, Unreadable
from schemas.errors import UnprocessableError
from schemas.journals import JOURNAL_ENTRY

IDS_MAX = 100  # of one query; Intuit states no limit
PAGE_RECORDS = 1000  # Intuit's maximum
CDC_RECORDS_MAX = 1000  # of one answer, over all types, without a word when there are more
THROTTLED_S = 60.0
REFUSED_FOR = timedelta(minutes=5)
MINOR_VERSION = "75"
_THROTTLED, _WRONG_SCOPE, _NOT_FOUND = "3001", "3100", "610"
_log = structlog.get_logger(__name__)


class Tokens(Protocol):
    """Where access tokens come from."""

    async def token(self, company_id: str, *, refused: str | None = None) -> str:
        """A valid access token, another one than the refused one. Raises CompanyUnreadable."""
        ...

    async def grant_gone(self, company_id: str) -> None:
        """Intuit no longer lets us read this company: a person must connect it again."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """One call, as it is sent again after a failure."""

    company_id: str
    route: str  # read, query, cdc or company: as it is counted
    method: str
    path: str  # below the company, with its parameters
    content: bytes = b""
    depth: int = READ_DEPTH  # how deep the records stand in the answer


@dataclass(frozen=True, slots=True)
class _Got:
    """A whole answer and what it holds."""

    reply: Reply
    answer: Answer
    missing: bool = False  # there is no such record


class _Trouble(Exception):
    """No answer that can be read; the next try may have one."""


class _TokenRefused(Exception):
    """401: expired, or refused for a reason that only another token tells."""


class QuickBooks:
    """Reads companies; one for a process. `patience_s`: how long one read is tried again when Intuit is in trouble."""

    def __init__(
        self, settings: Settings, http: Http, tokens: Tokens, limiter: Limiter, *, patience_s: float = 8.0
    ) -> None:
        self._http = http
        self._url = settings.quickbooks_api_url.rstrip("/")
        self._tokens = tokens
        self._limiter = limiter
        self._patience_s = patience_s

    async def by_ids(self, company_id: str, record_type: str, ids: Collection[str]) -> Answer:
        """At most IDS_MAX records by their ids; those that do not exist are absent. Raises CompanyUnreadable."""
        if not 0 < len(ids) <= IDS_MAX:
            raise ValueError(f"between 1 and {IDS_MAX} ids, not {len(ids)}")
        listed = ",".join(f"'{_checked_id(each)}'" for each in sorted(ids))
        return await self._query(company_id, record_type, f"Id IN ({listed})", f"MAXRESULTS {PAGE_RECORDS}")

    async def changed_between(
        self, company_id: str, record_type: str, since: datetime, until: datetime, *, start: int = 1
    ) -> Answer:
        """One page of at most PAGE_RECORDS records last changed from `since` to `until`, both inclusive, oldest first.

        `start`: which of them comes first, from 1. Deleted records are not among them. Raises CompanyUnreadable.
        """
        window = f"MetaData.LastUpdatedTime >= '{_text(since)}' AND MetaData.LastUpdatedTime <= '{_text(until)}'"
        order = f"ORDERBY MetaData.LastUpdatedTime STARTPOSITION {start} MAXRESULTS {PAGE_RECORDS}"
        return await self._query(company_id, record_type, window, order)

    async def cdc(self, company_id: str, record_types: Collection[str], since: datetime) -> Answer:
        """What changed since, with what was deleted; CDC_RECORDS_MAX objects mean that there may be more.

        Raises CompanyUnreadable; REFUSED when `since` is more than 30 days ago.
        """
        entities = ",".join(_checked_type(each) for each in record_types)
        asked = urlencode({"entities": entities, "changedSince": _text(since)})
        request = _Request(company_id=company_id, route="cdc", method="GET", path=f"cdc?{asked}", depth=CDC_DEPTH)
        return (await self._call(request)).answer

    async def read(self, company_id: str, record_type: str, record_id: str) -> Answer | Gone:
        """One record, or Gone when QuickBooks says that it does not exist. Raises CompanyUnreadable."""
        path = f"{_checked_type(record_type).lower()}/{_checked_id(record_id)}"
        request = _Request(company_id=company_id, route="read", method="GET", path=path)
        got = await self._call(request)
        return Gone(answered_at=got.answer.answered_at) if got.missing else got.answer

    async def company(self, company_id: str) -> CompanyRead:
        """CompanyInfo and Preferences. Two calls. Raises CompanyUnreadable."""
        about, preferences = [
            await self._call(_Request(company_id=company_id, route="company", method="GET", path=path))
            for path in (f"companyinfo/{company_id}", "preferences")
        ]
        try:
            return company_of(about.reply.body, preferences.reply.body)
        except NotAnAnswer as error:
            raise CompanyUnreadable(company_id, Unreadable.TROUBLE, str(error)) from error

    async def _query(self, company_id: str, record_type: str, where: str, order: str) -> Answer:
        """Every part is built from checked ids, types and times: nothing that a stranger wrote stands in it."""
        kept = _checked_type(record_type)
        statement = f"SELECT * FROM {kept} WHERE {where}{_also_inactive(kept)} {order}"  # noqa: S608
        content = statement.encode("ascii")
        request = _Request(
            company_id=company_id, route="query", method="POST", path="query", content=content, depth=QUERY_DEPTH
        )
        return (await self._call(request)).answer

    async def _call(self, request: _Request) -> _Got:
        """A whole answer, or that there is no such record. Tried again while patience lasts."""
        patience = stamina.retry_context(
            on=_Trouble, attempts=5, timeout=self._patience_s, wait_initial=0.2, wait_jitter=0.3, wait_max=4.0
        )
        try:
            async for attempt in patience:
                with attempt:
                    return await self._with_token(request)
        except _Trouble as error:
            raise CompanyUnreadable(request.company_id, Unreadable.TROUBLE, str(error)) from error
        raise AssertionError("stamina ends with an answer or an error")

    async def _with_token(self, request: _Request) -> _Got:
        """A refused token is renewed once; when a new one is refused as well, the fault is not the token's."""
        token = await self._tokens.token(request.company_id)
        try:
            return await self._once(request, token)
        except _TokenRefused:
            token = await self._tokens.token(request.company_id, refused=token)
        try:
            return await self._once(request, token)
        except _TokenRefused as error:
            detail = "a token that Intuit has just issued was refused"
            raise _refused(request.company_id, detail) from error

    async def _once(self, request: _Request, token: str) -> _Got:
        async with self._limiter.call(request.company_id):
            reply = await self._send(request, token)
            fault = fault_of(reply)
            good = reply.status == 200 and fault is None
            self._limiter.count(request.company_id, request.route, metered=good)
        _log_answer(request, reply, fault)
        if good:
            return _Got(reply, _answer(request, reply))
        if request.route == "read" and _is_not_found(fault):
            return _Got(reply, _no_record(reply), missing=True)
        await self._refuse(request, reply, fault)
        raise AssertionError("every other answer is refused")

    async def _send(self, request: _Request, token: str) -> Reply:
        url = f"{self._url}/v3/company/{quote(_checked_id(request.company_id))}/{request.path}"
        url += ("&" if "?" in url else "?") + f"minorversion={MINOR_VERSION}"
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        if request.content:
            headers["Content-Type"] = "application/text"
        try:
            return await self._http.send(request.method, url, headers=headers, content=request.content)
        except NoAnswer as error:
            self._limiter.count(request.company_id, request.route, metered=False)
            raise _Trouble(f"no whole answer ({error})") from error

    async def _refuse(self, request: _Request, reply: Reply, fault: Fault | None) -> None:
        """Say what this answer means. The code is stronger than the status, which varies."""
        company_id, code = request.company_id, fault.code if fault else ""
        seen = f"HTTP {reply.status}, code {code or 'none'}, intuit_tid {reply.intuit_tid or 'none'}"
        if reply.status == 429 or code == _THROTTLED:
            until = await self._limiter.block(company_id, _wait_s(reply))
            raise CompanyUnreadable(company_id, Unreadable.THROTTLED, seen, until=until)
        if reply.status == 401:
            raise _TokenRefused(seen)
        if code == _WRONG_SCOPE:
            await self._tokens.grant_gone(company_id)
            raise CompanyUnreadable(company_id, Unreadable.RECONNECT, seen)
        if reply.status in (400, 403, 404, 405, 415):
            raise _refused(company_id, seen)
        raise _Trouble(seen)


async def company_with(http: Http, settings: Settings, company_id: str, token: str) -> CompanyRead:
    """CompanyInfo and Preferences with a token that is not bound to any company yet. Raises CompanyUnreadable.

    Proves that the token is for this company: `realmId` comes from the browser and could be anybody's.
    """
    base = f"{settings.quickbooks_api_url.rstrip('/')}/v3/company/{_checked_id(company_id)}"
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
    bodies = []
    try:
        for path in (f"companyinfo/{company_id}", "preferences"):
            reply = await http.send("GET", f"{base}/{path}?minorversion={MINOR_VERSION}", headers=headers)
            if reply.status != 200 or fault_of(reply) is not None:
                raise _refused(company_id, f"HTTP {reply.status}, intuit_tid {reply.intuit_tid or 'none'}")
            bodies.append(reply.body)
        return company_of(*bodies)
    except (NoAnswer, NotAnAnswer) as error:
        raise CompanyUnreadable(company_id, Unreadable.TROUBLE, str(error)) from error


def _answer(request: _Request, reply: Reply) -> Answer:
    """What the body holds; a page for people or half a body is trouble."""
    try:
        answer = answer_of(reply.body, request.depth)
    except NotAnAnswer as error:
        raise _Trouble(f"HTTP 200, but {error}; intuit_tid {reply.intuit_tid or 'none'}") from error
    for reason in answer.unreadable:
        seen = {"company_id": request.company_id, "intuit_tid": reply.intuit_tid}
        _log.error("a record of an answer cannot be told from others", reason=reason, **seen)
    return answer


def _no_record(reply: Reply) -> Answer:
    try:
        return Answer(answered_at=time_of(reply))
    except NotAnAnswer as error:
        raise _Trouble(f"fault 610, but {error}") from error


def _wait_s(reply: Reply) -> float:
    """Intuit promises no Retry-After, but one that is given is obeyed: seconds or a date."""
    given = reply.headers.get("retry-after", "")
    if given.isdecimal():
        return max(1.0, min(float(given), 3600.0))
    try:
        wait_s = (parsedate_to_datetime(given) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return THROTTLED_S
    return max(1.0, min(wait_s, 3600.0))


def _refused(company_id: str, detail: str) -> CompanyUnreadable:
    return CompanyUnreadable(company_id, Unreadable.REFUSED, detail, until=datetime.now(UTC) + REFUSED_FOR)


def _is_not_found(fault: Fault | None) -> bool:
    return fault is not None and fault.code == _NOT_FOUND


def _log_answer(request: _Request, reply: Reply, fault: Fault | None) -> None:
    seen: Mapping[str, object] = {
        "company_id": request.company_id,
        "route": request.route,
        "status": reply.status,
        "intuit_tid": reply.intuit_tid,
    }
    if fault is None and reply.status == 200:
        _log.debug("quickbooks answered", **seen)
    else:
        _log.info("quickbooks refused", **seen, code=fault.code if fault else "", kind=fault.kind if fault else "")


def _checked_id(given: str) -> str:
    """Only digits go into an address or a query."""
    if not RECORD_ID.fullmatch(given):
        raise UnprocessableError("an id of QuickBooks must be a number of at most 20 digits")
    return given


def _checked_type(record_type: str) -> str:
    if record_type not in (*RECORD_TYPES, JOURNAL_ENTRY):
        raise UnprocessableError(f"records of type {record_type[:40]!r} are not kept")
    return record_type


def _also_inactive(record_type: str) -> str:
    """Lists of names show active ones only unless told otherwise."""
    return " AND Active IN (true,false)" if record_type == "Customer" else ""


def _text(moment: datetime) -> str:
    """Whole seconds, as Intuit keeps them, rounded down."""
    return moment.astimezone(UTC).replace(microsecond=0).isoformat()
