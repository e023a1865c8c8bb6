"""How often QuickBooks may be called: one allowance per company over all processes, one budget per month over all.

Reads and writes: control.limiter, control.calls.
Guarantees: the calls of a company start at least `STEP` apart, by the database's clock, whatever the number of
processes: `MINUTE_MAX` in a minute, 8 in a second; after a 429 nobody calls that company until it is over; every call
is counted, at the latest when the last call in flight has come back.
Source: Intuit, limits and throttles: 10 a second and 500 a minute for a company; a tenth and more is kept spare.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import structlog
from psycopg_pool import AsyncConnectionPool

from connectors.postgres import Connection, queries, transaction
from schemas.answers import CompanyUnreadable, Unreadable
from schemas.errors import TransientError

MINUTE_MAX = 450
STEP = timedelta(minutes=1) / MINUTE_MAX
LEAST_S = 0.11  # between two calls that one process really makes, however late they are
BUDGET_FRESH_S = 10.0
IN_FLIGHT_MAX = 8  # of one company in one process: a slow Intuit must not pile up calls
_SQL = queries("control.sql")
_log = structlog.get_logger(__name__)


def allowed(next_at: datetime | None, now: datetime, calls: int) -> tuple[list[datetime], datetime]:
    """When each of these calls may start, and when the next one after them. Pure.

    Evenly spaced, without bursts: a burst followed by another a second later is within the limits when it is sent, but
    not when the network delays the first one.
    """
    first = now if next_at is None else max(now, next_at)
    return [first + STEP * position for position in range(calls)], first + STEP * calls


class Limiter:
    """Gives out calls; one for a process."""

    def __init__(self, connections: AsyncConnectionPool[Connection], calls_per_month_max: int) -> None:
        self._connections = connections
        self._month_max = calls_per_month_max
        self._waiting: dict[str, list[asyncio.Future[float]]] = defaultdict(list)
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._in_flight: dict[str, asyncio.Semaphore] = {}
        self._next_start: dict[str, float] = {}  # by the loop's time
        self._calls_open = 0
        self._counts: dict[tuple[str, str], list[int]] = {}
        self._metered = 0  # of this month: as stored, and what is not stored yet
        self._month_ends = datetime.now(UTC)
        self._budget_due = 0.0

    @asynccontextmanager
    async def call(self, company_id: str) -> AsyncIterator[None]:
        """Wait until this company may be called, then call. Raises CompanyUnreadable (throttled, budget)."""
        await self._check_budget(company_id)
        semaphore = self._in_flight.setdefault(company_id, asyncio.Semaphore(IN_FLIGHT_MAX))
        self._calls_open += 1
        try:
            async with semaphore:
                await asyncio.sleep(await self._wait_s(company_id))
                await self._spread(company_id)
                yield
        finally:
            self._calls_open -= 1
            if self._calls_open == 0:
                await self.flush()

    def count(self, company_id: str, route: str, *, metered: bool) -> None:
        """One call was made; metered: Intuit counts it, since it succeeded."""
        counts = self._counts.setdefault((company_id, route), [0, 0])
        counts[0] += 1
        counts[1] += metered
        self._metered += metered

    async def flush(self) -> None:
        """Store what was counted. Safe twice. Where the database is away, the counts wait for the next time."""
        counts, self._counts = self._counts, {}
        if not counts:
            return
        rows = [(company, route, calls, metered) for (company, route), (calls, metered) in sorted(counts.items())]
        try:
            async with transaction(self._connections) as connection:
                await connection.cursor().executemany(_SQL["calls_add"], rows)
        except TransientError as error:
            _log.warning("counted calls are not stored yet", reason=str(error))
            for (company, route), (calls, metered) in counts.items():
                later = self._counts.setdefault((company, route), [0, 0])
                later[0] += calls
                later[1] += metered

    async def block(self, company_id: str, seconds: float) -> datetime:
        """Nobody calls this company for so long; returns until when."""
        async with transaction(self._connections) as connection:
            cursor = await connection.execute(_SQL["limiter_block"], {"company_id": company_id, "seconds": seconds})
            (until,) = await cursor.fetchone() or (None,)
        _log.warning("company blocked after a 429", company_id=company_id, until=str(until))
        assert isinstance(until, datetime)
        return until

    async def _check_budget(self, company_id: str) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._budget_due:
            self._budget_due = now + BUDGET_FRESH_S
            async with transaction(self._connections) as connection:
                cursor = await connection.execute(_SQL["calls_of_month"])
                stored, self._month_ends = await cursor.fetchone() or (0, self._month_ends)
            self._metered = int(stored) + sum(metered for _, metered in self._counts.values())
        if self._metered >= self._month_max:
            detail = f"the month's {self._month_max} calls are spent"
            raise CompanyUnreadable(company_id, Unreadable.BUDGET, detail, until=self._month_ends)

    async def _spread(self, company_id: str) -> None:
        """A process that stood still does not make up for it at once."""
        now = asyncio.get_running_loop().time()
        start = max(now, self._next_start.get(company_id, now))
        self._next_start[company_id] = start + LEAST_S
        await asyncio.sleep(start - now)

    async def _wait_s(self, company_id: str) -> float:
        """Calls that come together are asked for together: one transaction gives them all their starts."""
        mine: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting[company_id].append(mine)
        if company_id not in self._asking:
            self._asking[company_id] = asyncio.create_task(self._ask(company_id))
        return await mine

    async def _ask(self, company_id: str) -> None:
        try:
            while waiting := [each for each in self._waiting.pop(company_id, []) if not each.done()]:
                await self._give(company_id, waiting)
        finally:
            del self._asking[company_id]

    async def _give(self, company_id: str, waiting: Sequence[asyncio.Future[float]]) -> None:
        try:
            waits = await self._reserve(company_id, len(waiting))
        except Exception as error:  # whatever it is, those who wait must learn it
            for each in waiting:
                if not each.done():
                    each.set_exception(error)
            return
        for each, wait_s in zip(waiting, waits, strict=True):
            if not each.done():
                each.set_result(wait_s)

    async def _reserve(self, company_id: str, calls: int) -> list[float]:
        async with transaction(self._connections) as connection:
            cursor = await connection.execute(_SQL["limiter_lock"], {"company_id": company_id})
            next_at, blocked_until, now = await cursor.fetchone() or (None, None, datetime.now(UTC))
            if blocked_until is not None and blocked_until > now:
                detail = "Intuit asked to wait"
                raise CompanyUnreadable(company_id, Unreadable.THROTTLED, detail, until=blocked_until)
            starts, next_at = allowed(next_at, now, calls)
            stored = {"company_id": company_id, "next_at": next_at}
            await connection.execute(_SQL["limiter_store"], stored)
        return [max(0.0, (start - now).total_seconds()) for start in starts]
