"""Control data of reading QuickBooks: gaps, what was read, what is left to read, who sweeps which company.

Reads and writes: control.companies, control.reads, control.unread, control.jobs. No accounting state.
Guarantees: what a call noted is durable when it returns; every call is safe twice; a gap is closed only when it is
still the one that was swept.
"""

import uuid
from collections.abc import Collection, Mapping
from datetime import datetime

from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

from connectors.postgres import Connection, queries, transaction
from schemas.known import CompanyState, Key, Known, Later, Shown, Sweep

LEASE_S = 60.0
_SQL = queries("control.sql")


class ControlTables:
    """What enrich and repair remember beside the accounting state."""

    def __init__(self, connections: AsyncConnectionPool[Connection]) -> None:
        self._connections = connections

    async def known(self, company_ids: Collection[str], keys: Collection[Key]) -> Known:
        """What is known of these. Raises TransientError."""
        if not company_ids:
            return Known({}, {})
        async with transaction(self._connections) as connection:
            asked = {"company_ids": sorted(company_ids)}
            companies = await (await connection.execute(_SQL["known_companies"], asked)).fetchall()
            reads = await (await connection.execute(_SQL["known_reads"], _columns(keys))).fetchall()
        return Known(
            {company_id: CompanyState(readable, swept_until) for company_id, readable, swept_until in companies},
            {Key(*row[:3]): Shown(*row[3:]) for row in reads},
        )

    async def note_unread(self, gaps: Mapping[str, datetime], later: Collection[Later]) -> None:
        """Changes since then may be unread; these records are to be read by name. Raises TransientError."""
        noted = {"companies": list(gaps), "since": list(gaps.values())}
        async with transaction(self._connections) as connection:
            await connection.execute(_SQL["gaps_note"], noted)
            if later:
                rows = [(*each.key, *each[1:]) for each in sorted(later, key=lambda each: each.key)]
                await connection.cursor().executemany(_SQL["unread_note"], rows)

    async def note_published(self, shown: Mapping[Key, Shown], webhooks: Mapping[str, datetime]) -> None:
        """These reads are in company-changes. Raises TransientError."""
        async with transaction(self._connections) as connection:
            if shown:
                stated = {
                    "read_at": [each.read_at for each in shown.values()],
                    "revised_at": [each.revised_at for each in shown.values()],
                }
                await connection.execute(_SQL["reads_note"], _columns(shown) | stated)
            if webhooks:
                received = {"companies": list(webhooks), "at": list(webhooks.values())}
                await connection.execute(_SQL["webhooks_note"], received)

    # --- repair -------------------------------------------------------------------------------------------------

    async def claim(self, sweep_every_s: float) -> Sweep | None:
        """A company with something unread, for this caller alone for LEASE_S; None: there is none now."""
        lease_id = uuid.uuid4()
        asked = {"every_s": sweep_every_s, "lease_id": lease_id, "lease_s": LEASE_S}
        async with transaction(self._connections) as connection:
            row = await (await connection.execute(_SQL["sweep_claim"], asked)).fetchone()
        if row is None:
            return None
        company_id, gap_since, gaps_noted, swept_until, was_active, regular, cursor = row
        return Sweep(
            company_id=company_id,
            lease_id=lease_id,
            gap_since=gap_since,
            regular=regular,
            gaps_noted=gaps_noted,
            swept_until=swept_until,
            first=not was_active and swept_until is None,
            was_active=was_active,
            cursor=cursor,
        )

    async def progress(self, sweep: Sweep, cursor: Mapping[str, object]) -> bool:
        """Keep where the sweep stands, and the lease; False: somebody else has it now."""
        asked = {"cursor": Jsonb(dict(cursor)), "lease_s": LEASE_S, **_whose(sweep)}
        async with transaction(self._connections) as connection:
            return await (await connection.execute(_SQL["sweep_progress"], asked)).fetchone() is not None

    async def release(self, sweep: Sweep, *, again_in_s: float) -> None:
        """Give the company back; nobody takes it up again before."""
        async with transaction(self._connections) as connection:
            await connection.execute(_SQL["sweep_release"], {"again_in_s": again_in_s, **_whose(sweep)})

    async def close(self, sweep: Sweep, swept_until: datetime, *, again: bool) -> bool:
        """Everything since the gap was read, up to `swept_until`; True: no gap is left.

        `again`: it took so long that what changed meanwhile is swept once more.
        """
        asked = {
            "company_id": sweep.company_id,
            "gap_since": sweep.gap_since,
            "gaps_noted": sweep.gaps_noted,
            "swept_until": swept_until,
            "again": again,
        }
        async with transaction(self._connections) as connection:
            row = await (await connection.execute(_SQL["sweep_close"], asked)).fetchone()
        return row is not None and bool(row[0])

    async def activate(self, company_id: str) -> bool:
        """The company's history is read; True: it was not active before."""
        async with transaction(self._connections) as connection:
            asked = {"company_id": company_id}
            return await (await connection.execute(_SQL["company_activate"], asked)).fetchone() is not None

    async def unread(self, company_id: str, at_once: int) -> list[Later]:
        """The first of the records to read by name."""
        asked = {"company_id": company_id, "at_once": at_once}
        async with transaction(self._connections) as connection:
            rows = await (await connection.execute(_SQL["unread_of"], asked)).fetchall()
        return [Later(Key(company_id, row[0], row[1]), *row[2:]) for row in rows]

    async def read_now(self, done: Collection[Later]) -> None:
        """These were read; what was noted again since stays."""
        rows = [(*each.key, each.caused_at) for each in done]
        async with transaction(self._connections) as connection:
            await connection.cursor().executemany(_SQL["unread_done"], rows)


def _columns(keys: Collection[Key]) -> dict[str, list[object]]:
    return {
        "companies": [key.company_id for key in keys],
        "types": [key.record_type for key in keys],
        "ids": [key.record_id for key in keys],
    }


def _whose(sweep: Sweep) -> dict[str, object]:
    return {"company_id": sweep.company_id, "lease_id": sweep.lease_id}
