"""The customers of one company, by name, and where a person has decided that their documents go.

Reads: read_customers for names, ledger.customers for the decision with all its projects. Writes nothing.
"""

from typing import NamedTuple

from connectors.postgres import transaction
from streams.topology import System

CUSTOMERS_MAX = 500
_CUSTOMERS = """
    SELECT customer_id, coalesce(r.full_name, r.display_name), r.parent_customer_id, l.mapping_state,
           (SELECT coalesce(string_agg((s ->> 'project_id') || coalesce(' from ' || (s ->> 'from_on'), ''), ', '
                                       ORDER BY number), '')
            FROM jsonb_array_elements(l.scopes) WITH ORDINALITY AS scopes(s, number)),
           CASE WHEN r.active THEN 'yes' ELSE 'no' END
    FROM read_customers r JOIN ledger.customers l USING (generation, company_id, customer_id)
    WHERE generation = %s AND company_id = %s AND (NOT %s OR l.mapping_state IN ('none', 'released'))
      AND (%s = '' OR strpos(lower(concat_ws(' ', r.full_name, r.display_name)), lower(%s)) > 0)
    ORDER BY 2, length(customer_id), customer_id LIMIT %s
"""


class Customer(NamedTuple):
    """A customer and what was decided about it."""

    customer: str
    name: str | None  # with its parents; None: the company is forgotten
    parent: str | None
    state: str  # none, mapped, released, excluded or reference_only
    projects: str  # with the days from which on
    active: str


async def customers(system: System, company_id: str, *, name: str = "", waiting: bool = False) -> list[Customer]:
    """By name, one more than CUSTOMERS_MAX where there are more; only those that are not decided, if that is asked."""
    parameters = (system.settings.topic_generation, company_id, waiting, name, name, CUSTOMERS_MAX + 1)
    async with transaction(system.connections) as connection:
        return [Customer(*row) for row in await (await connection.execute(_CUSTOMERS, parameters)).fetchall()]
