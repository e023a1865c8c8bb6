"""Whole lives of three firms in a storm, through the whole system: its read tables are the simulator's truth.

What is lived and compared: tests/convergence/. One command runs any seed: `python -m tests.convergence --seed N`.
"""

from __future__ import annotations

import json

import pytest

from tests.acceptance.conftest import Start
from tests.acceptance.running import FIRST, Running
from tests.conftest import RunningBroker
from tests.convergence.comparing import compare
from tests.convergence.living import Asked, Life, stopped
from tests.intuit import execute

WRONG = (  # what somebody changes in a read table, and where the comparison must see it
    ("INSERT INTO read_waiting_v1 SELECT generation, company_id, 'CreditMemo', '999999', part, cause, customer_id, "
     f"amount, currency, accounting_on, since, version FROM read_waiting_v1 WHERE company_id = '{FIRST}' LIMIT 1",
     "CreditMemo"),
    ("UPDATE read_project_balance_v1 SET refunds = refunds + 0.01", "project"),
    ("UPDATE read_project_documents_v1 SET total = total - 0.01 WHERE record_type = 'Invoice'", "Invoice"),
    ("UPDATE read_project_documents_v1 SET used = used + 0.01 WHERE record_type = 'Invoice'", "customer"),
    ("UPDATE read_payments_v1 SET received = received + 0.01", "Payment"),
    ("DELETE FROM read_waiting_v1 WHERE record_type = 'Invoice'", "Invoice"),
    ("UPDATE read_waiting_v1 SET cause = 'excluded' WHERE record_type = 'Payment'", "Payment"),
)  # fmt: skip


def test_read_tables_equal_the_truth_after_a_storm_and_any_wrong_cent_is_seen(
    start: Start, broker: RunningBroker
) -> None:
    with stopped(start(broker.bootstrap)) as running:
        found = Life(running, Asked(seed=7, steps=240)).live()
        assert found.differences == []
        assert all(one.waiting and one.compared["documents"] > 10 for one in found.comparisons)
        assert sum(found.faults.values()) > 20
        for statement, where in WRONG:
            assert where in seen_after(running, statement), statement


def seen_after(running: Running, statement: str) -> set[str]:
    """Where the first company's tables differ from the truth once this was done to them."""
    execute(running.database_url, statement)
    truth = json.loads((running.system.folder / f"truth-{FIRST}.json").read_text())
    return {difference.where.split()[0] for difference in compare(FIRST, truth, running.rows).differences}


@pytest.mark.prove
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("seed", range(1, 21))
def test_five_thousand_steps_in_a_storm_end_in_the_truth(start: Start, broker: RunningBroker, seed: int) -> None:
    with stopped(start(broker.bootstrap)) as running:
        assert Life(running, Asked(seed)).live().differences == []
