"""A project's figures as of any day and as known at any moment, and what changed in a closed period.

Reads: read_project_as_of, read_closed_period_changes. Writes nothing.
Source: design section 3, "Two dates".
"""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import NamedTuple

from connectors.postgres import transaction
from streams.topology import System

CHANGES_MAX = 500
EVER = date.max
NOW = datetime.max.replace(tzinfo=UTC)
_AS_OF = """
    SELECT currency, invoiced_gross, invoiced_tax, credited, cash_received, open_invoices, unused_credit, unapplied,
           net_receivable, refunds, credit_in, credit_out, applied_to_other, home_currency, home_cash_received,
           home_open_invoices - home_unused_credit - home_unapplied, exchange_difference
    FROM read_project_as_of(%s, %s, %s, %s)
"""
_CHANGES = """
    SELECT project_id, version, event_type, record_type || ' ' || record_id, accounting_on, closed_on, recorded_at,
           currency, invoiced_gross, cash_received, open_invoices - unused_credit - unapplied, correlation_id
    FROM read_closed_period_changes
    WHERE generation = %s AND company_id = %s
    ORDER BY recorded_at DESC, project_id, version DESC, entry DESC LIMIT %s
"""


class AsOf(NamedTuple):
    """A project's figures in one currency."""

    currency: str
    invoiced: Decimal  # with tax
    tax: Decimal
    credited: Decimal
    cash: Decimal
    open_invoices: Decimal
    unused_credit: Decimal
    unapplied: Decimal
    net_receivable: Decimal
    refunds: Decimal
    credit_in: Decimal
    credit_out: Decimal
    applied_to_other: Decimal
    home_currency: str | None  # None: the amounts are in it
    home_cash: Decimal | None
    home_net_receivable: Decimal | None
    exchange_difference: Decimal | None


class Changed(NamedTuple):
    """One posting dated in a period that was closed when it became known."""

    project_id: str
    version: int
    event: str
    record: str
    accounting_on: date
    closed_on: date
    recorded_at: datetime
    currency: str
    invoiced: Decimal
    cash: Decimal
    net_receivable: Decimal
    correlation_id: str


async def as_of(system: System, project_id: str, on: date = EVER, known_at: datetime = NOW) -> list[AsOf]:
    """One row for each currency; none: nothing was known of the project then."""
    parameters = (system.settings.topic_generation, project_id, on, known_at)
    async with transaction(system.connections) as connection:
        return [AsOf(*row) for row in await (await connection.execute(_AS_OF, parameters)).fetchall()]


async def closed_period(system: System, company_id: str) -> list[Changed]:
    """The latest first, at most CHANGES_MAX."""
    parameters = (system.settings.topic_generation, company_id, CHANGES_MAX)
    async with transaction(system.connections) as connection:
        return [Changed(*row) for row in await (await connection.execute(_CHANGES, parameters)).fetchall()]
