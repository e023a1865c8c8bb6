"""How long the simulator takes to find, report on and audit a hundred thousand invoices.

Run: `python -m benchmarks.books [INVOICES]`. One process, processor time, the best of three.
"""

import random
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from connectors.simulator.api import reports
from connectors.simulator.api.company import Company
from connectors.simulator.books.audit import violations
from connectors.simulator.books.records import Kind
from connectors.simulator.clock import SteppedClock
from connectors.simulator.wire import encode

CUSTOMERS = 1000


def filled(count: int) -> Company:
    """A company with so many invoices, one every five seconds."""
    clock = SteppedClock(datetime(2026, 1, 1, tzinfo=UTC))
    made = Company("9130000000000001", "Bench", clock)
    customers = [made.create(Kind.CUSTOMER, {"DisplayName": f"C{number}"}).id for number in range(CUSTOMERS)]
    for number in range(count):
        clock.move_to(clock.now() + timedelta(seconds=5))
        amount = {"Amount": Decimal(100 + number % 900), "DetailType": "SalesItemLineDetail"}
        line = amount | {"SalesItemLineDetail": {}}
        made.create(Kind.INVOICE, {"CustomerRef": {"value": customers[number % CUSTOMERS]}, "Line": [line]})
    return made


def works(company: Company, count: int) -> dict[str, Callable[[], Any]]:
    """What is measured."""
    ids = list(company.book.records[Kind.INVOICE])
    wanted = ",".join(f"'{one}'" for one in random.Random(1).sample(ids, min(1000, count)))
    time_of = [company.book.records[Kind.INVOICE][ids[count * share // 100]].updated_at for share in (50, 52)]
    start, end = (one.isoformat() for one in time_of)
    changed = "MetaData.LastUpdatedTime"
    window = f"select * from Invoice where {changed} >= '{start}' and {changed} < '{end}' orderby {changed}"
    asked = reports.Asked("AgedReceivables", {}, "2026-12-31", "")
    return {
        "Id in 1000 ids": lambda: encode(
            company.query(f"select * from Invoice where Id in ({wanted}) maxresults 1000")
        ),
        "a window's first page": lambda: encode(company.query(f"{window} maxresults 1000")),
        "last page by time": lambda: encode(
            company.query(f"select * from Invoice orderby {changed} startposition {count - 999} maxresults 1000")
        ),
        "one customer": lambda: encode(company.query("select * from Invoice where CustomerRef = '7' maxresults 1000")),
        "a condition without an index": lambda: company.query("select count(*) from Invoice where Balance > '500'"),
        "a thousand changes by CDC": lambda: encode(company.changes_since(["Invoice"], time_of[0])),
        "ageing": lambda: reports.answer(company.book, asked),
        "audit": lambda: violations(company.book),
    }


def milliseconds(work: Callable[[], Any]) -> float:
    """Processor time of the best of three."""
    taken = []
    for _ in range(3):
        started = time.process_time()
        work()
        taken.append(time.process_time() - started)
    return min(taken) * 1000


def memory_mb() -> int:
    """What this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4 // 1024


if __name__ == "__main__":
    invoices = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    before = memory_mb()
    firm = filled(invoices)
    print(f"{invoices} invoices: {memory_mb() - before} MB")
    for name, work in works(firm, invoices).items():
        print(f"{name:32} {milliseconds(work):10.1f} ms")
