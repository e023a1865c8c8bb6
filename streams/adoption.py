"""Other rules of meaning for one company: what would be decided again, and the input that decides it.

Reads: ledger.companies, ledger.documents. Writes: company-changes; the ledger books the difference as adjusting events.
Guarantees: nothing changes but by the input, so a replay changes it at the same place. Safe twice.
Source: docs/decisions/0015 (rules versions are inputs).
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

from connectors.postgres import transaction
from schemas import changes
from schemas.codec import Recorded
from schemas.errors import UnprocessableError
from schemas.wire import Outgoing

if TYPE_CHECKING:
    from streams.topology import System

# Rules 2 differ from rules 1 for documents in another currency than the company's own; rules 3 from rules 2 for such
# documents that wait, and for payments with money on account.
_PLAN = """
SELECT c.rules_version, (
    SELECT count(*) FROM ledger.documents d
    WHERE d.generation = c.generation AND d.company_id = c.company_id
      AND (2 BETWEEN least(c.rules_version, %(then)s) + 1 AND greatest(c.rules_version, %(then)s)
              AND d.head #>> '{total,1}' <> c.home_currency
           OR 3 BETWEEN least(c.rules_version, %(then)s) + 1 AND greatest(c.rules_version, %(then)s)
              AND ((d.head #>> '{unapplied,0}')::numeric <> 0
                   OR d.booked ? 'waiting' AND d.head #>> '{total,1}' <> c.home_currency)))
FROM ledger.companies c WHERE c.generation = %(generation)s AND c.company_id = %(company)s
"""


class Plan(NamedTuple):
    """What adopting rules would do."""

    now: int
    then: int
    documents: int  # that may get adjusting events


async def plan(system: "System", company_id: str, rules_version: int) -> Plan:
    """What these rules would mean for this company. Raises UnprocessableError when one of both is not known."""
    if not 1 <= rules_version <= changes.RULES_VERSION:
        raise UnprocessableError(f"Rules {rules_version} are not known: there are 1 to {changes.RULES_VERSION}.")
    async with transaction(system.connections) as connection:
        asked = {"generation": system.settings.topic_generation, "company": company_id, "then": rules_version}
        cursor = await connection.execute(_PLAN, asked)
        row = await cursor.fetchone()
    if row is None:
        raise UnprocessableError(f"The ledger knows no company {company_id} yet.")
    return Plan(row[0], rules_version, row[1])


async def adopt(system: "System", company_id: str, rules_version: int) -> None:
    """Publish the input; the ledger takes it in its turn, in slices."""
    change_id = uuid4()
    envelope = changes.Envelope(
        change_id=change_id,
        company_id=company_id,
        origin="request",
        recorded_at=datetime.now(UTC),
        correlation_id=str(change_id),
        causes=(),
    )
    message = Recorded(envelope, changes.RulesChanged(rules_version=rules_version))
    value = system.topics.ids.encode(message)
    await system.publisher.publish([Outgoing(topic=system.topics.changes.name, key=company_id, value=value)])
