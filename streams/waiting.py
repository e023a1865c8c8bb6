"""What waits for somebody or something, and what is warned about, of one company.

Reads: read_waiting, read_warnings. Writes nothing.
"""

from datetime import date
from decimal import Decimal
from typing import NamedTuple

from connectors.postgres import transaction
from streams.topology import System

RECORDS_MAX = 500
_CAUSES = """
    SELECT cause, count(*), count(DISTINCT (record_type, record_id)), currency, sum(amount)
    FROM read_waiting
    WHERE generation = %s AND company_id = %s
    GROUP BY cause, currency ORDER BY cause, currency
"""
_RECORDS = """
    SELECT record_type || '/' || record_id, part, cause, customer_id, currency, amount, accounting_on
    FROM read_waiting
    WHERE generation = %s AND company_id = %s AND (%s = '' OR customer_id = %s) AND (%s = '' OR cause = %s)
    ORDER BY cause, customer_id, accounting_on, record_type, record_id, part LIMIT %s
"""
_WARNINGS = """
    SELECT record_type || '/' || record_id, code, detail, since
    FROM read_warnings
    WHERE generation = %s AND company_id = %s
    ORDER BY code, record_type, record_id LIMIT %s
"""


class Cause(NamedTuple):
    """How much waits for one reason; a payment's line and its invoice wait for themselves."""

    cause: str
    parts: int
    records: int
    currency: str | None
    amount: Decimal | None


class Part(NamedTuple):
    """A record that waits, or a part of a payment."""

    record: str
    part: str
    cause: str
    customer: str
    currency: str | None
    amount: Decimal | None
    dated: date | None


async def causes(system: System, company_id: str) -> list[Cause]:
    """By cause and currency."""
    async with transaction(system.connections) as connection:
        cursor = await connection.execute(_CAUSES, (system.settings.topic_generation, company_id))
        return [Cause(*row) for row in await cursor.fetchall()]


async def parts(system: System, company_id: str, *, customer: str = "", cause: str = "") -> list[Part]:
    """At most RECORDS_MAX, of one customer and of one cause where they are named."""
    parameters = (system.settings.topic_generation, company_id, customer, customer, cause, cause, RECORDS_MAX)
    async with transaction(system.connections) as connection:
        return [Part(*row) for row in await (await connection.execute(_RECORDS, parameters)).fetchall()]


async def warnings(system: System, company_id: str) -> list[tuple[object, ...]]:
    """Record, code, what it is about, and since when; at most RECORDS_MAX."""
    parameters = (system.settings.topic_generation, company_id, RECORDS_MAX)
    async with transaction(system.connections) as connection:
        return await (await connection.execute(_WARNINGS, parameters)).fetchall()
