"""Fixtures of tests with one real neighbour."""

import pytest

from schemas.wire import Outgoing
from streams.repair import Repair
from tests.intuit import Ours, _simulator, intuit, process

__all__ = ["_simulator", "intuit", "process"]


@pytest.fixture
def repair(process: Ours) -> Repair:
    """Repair as a worker puts it together, with a ledger that is never behind."""

    async def no_lag(company_id: str) -> int:
        return 0

    async def facts(company_id: str) -> Outgoing:
        return process.authorizations.facts(company_id, await process.quickbooks.company(company_id))

    return Repair(
        quickbooks=process.quickbooks,
        sweeps=process.control,
        seals=process.sealer,
        publish=process.publish,
        topics=process.topics,
        lag=no_lag,
        facts=facts,
    )
