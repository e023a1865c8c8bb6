"""The commands with which people ask: what a preview prints, and what asks the ledger for what; real database."""

import asyncio
import base64
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import psycopg
import pytest
from rich.console import Console

from connectors.kafka import read_from
from connectors.postgres import pool
from connectors.sealing import Sealer
from schemas.errors import TransientError
from schemas.topics import topics
from schemas.wire import Incoming
from streams import bookkeeping, cli, cli_ask, customers
from streams.decision import Progress, Reach
from streams.posting import FIGURES
from tests.conftest import RunningBroker
from tests.inputs import COMPANY, Inputs
from tests.integration.test_bookkeeping import Broker, World

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(
    broker: RunningBroker,
    database_url: str,
    topic_prefix: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Run one command in this process: exit code, what it printed, what it said of problems."""
    environment = {
        "KAFKA_BOOTSTRAP": broker.bootstrap,
        "DATABASE_URL": database_url,
        "MASTER_KEYS": "k1:" + base64.b64encode(bytes(32)).decode(),
        "TOPIC_PREFIX": topic_prefix,
        "TOPIC_PARTITIONS": "2",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    def run_command(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["intoaec", *arguments])
        monkeypatch.setattr(cli, "console", Console(highlight=False, width=300))
        monkeypatch.setattr(cli, "problems", Console(stderr=True, highlight=False, width=300))
        with pytest.raises(SystemExit) as ended:
            cli.main()
            raise SystemExit(0)
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run_command


@pytest.fixture
def books(database_url: str) -> None:
    """Customer 1 in P1 with three invoices and a payment; P2 is there; company connected."""

    async def book() -> None:
        async with pool(database_url) as connections:
            sealer = Sealer(connections, {"k1": bytes(32)})
            await sealer.load([COMPANY])
            world = World(connections, sealer, Inputs(sealer))
            inputs = world.inputs
            inputs.declare("P1")
            inputs.declare("P2")
            inputs.customer("1")
            inputs.map("1", "P1")
            for number in ("11", "12", "13"):
                inputs.invoice(number, "100")
            inputs.payment("21", "40", "11")
            await world.worker().do(inputs.records)

    asyncio.run(book())
    execute(
        database_url,
        "INSERT INTO control.companies (company_id, organisation_id, state) VALUES (%s, 'o', 'active')",
        COMPANY,
    )


def execute(database_url: str, statement: str, *values: object) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(statement.encode(), values)


def cells(out: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if "│" in line]


@pytest.mark.usefixtures("books")
def test_a_preview_counts_documents_and_shows_each_projects_amounts(run: Run) -> None:
    code, out, problem = run("map", "1", "P2", "--preview")
    assert (code, problem) == (0, "")
    assert out.splitlines()[-1] == "Nothing was asked yet."
    rows = cells(out)
    assert [row for row in rows if len(row) == 2] == [["Invoice", "3"], ["Payment", "1"]]
    assert ["P1", "USD", "invoiced gross", "0.00", "-300.00"] in rows  # no projector has run: "now" is what tables show
    assert ["P2", "USD", "open invoices", "0.00", "260.00"] in rows
    assert ["P2", "USD", "cash received", "0.00", "40.00"] in rows


@pytest.mark.usefixtures("books")
def test_a_preview_says_what_will_wait_and_why(run: Run) -> None:
    code, out, problem = run("release", "1", "--preview")
    assert (code, problem) == (0, "")
    assert "Would wait" in out
    assert [row for row in cells(out) if len(row) == 4] == [
        ["customer_not_synced", "USD", "+3", "+300.00"],
        ["invoice_waits", "USD", "+1", "+40.00"],
    ]
    assert "Would wait" not in run("map", "1", "P2", "--preview")[1]


@pytest.mark.usefixtures("books")
def test_every_request_that_moves_has_a_preview(run: Run) -> None:
    for arguments in (
        ("release", "1"),
        ("exclude", "1", "--by-reference"),
        ("assign", "Invoice/12", "P2"),
    ):
        code, out, problem = run(*arguments, "--preview")
        assert (code, problem) == (0, ""), arguments
        assert "Would move" in out
    assert "Would move: none" in run("link-project", "7", "P2", "--preview")[1]
    assert run("assign", "Invoice/99", "P2", "--preview")[2] == ("It would be refused: Invoice 99 is not known here.\n")
    assert run("merge-decide", "1", "--apart", "--preview")[2] == (
        "It would be refused: No merge is known in which customer 1 vanished.\n"
    )


@pytest.mark.usefixtures("books")
def test_requests_without_a_worker_are_kept(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("topics", "create")[0] == 0
    monkeypatch.setattr(cli_ask, "ANSWER_S_MAX", 0.1)
    for arguments in (
        ("link-project", "7", "P2"),
        ("link-project", "7"),
        ("merge-decide", "1", "--together"),
        ("dismiss-warning", "Invoice/11"),
    ):
        assert "the request is kept" in run(*arguments)[2], arguments
    assert run("dismiss-warning", "Invoice")[2] == ("'Invoice' names no document: TYPE/ID does, such as Invoice/17.\n")


@contextmanager
def ledger(broker: RunningBroker, database_url: str, topic_prefix: str, *, dies: bool = False) -> Iterator[None]:
    """Takes one request while the block runs; one that dies cannot publish what it stored of the first slice."""

    async def take() -> None:
        requests: list[Incoming] = []
        while not requests:
            async for batch in read_from(broker.bootstrap, topics(2, prefix=topic_prefix).changes.name):
                requests += batch
        async with pool(database_url) as connections:
            sealer = Sealer(connections, {"k1": bytes(32)})
            world = World(connections, sealer, Inputs(sealer), Broker(away=dies))
            with suppress(TransientError):
                await world.worker().do([replace(requests[-1], partition=7, offset=0)])

    working = threading.Thread(target=asyncio.run, args=(take(),), daemon=True)
    working.start()
    yield
    working.join(timeout=60)
    assert not working.is_alive()


@pytest.mark.usefixtures("books")
@pytest.mark.parametrize(
    ("asked", "outcome"),
    [
        (("map", "1", "P2"), "4 documents moved."),
        (("assign", "Invoice/13", "P2"), "1 document moved."),
        (("link-project", "7", "P2"), "nothing moved."),
    ],
)
def test_what_is_accepted_says_how_many_documents_moved(
    run: Run,
    broker: RunningBroker,
    database_url: str,
    topic_prefix: str,
    monkeypatch: pytest.MonkeyPatch,
    asked: tuple[str, ...],
    outcome: str,
) -> None:
    monkeypatch.setattr(bookkeeping, "SLICE_DOCUMENTS", 2)
    assert run("topics", "create")[0] == 0
    with ledger(broker, database_url, topic_prefix):
        code, out, problem = run(*asked)
    assert (code, problem) == (0, "")
    assert re.fullmatch(rf"Accepted \([0-9a-f-]+\): {outcome}\n", out)


@pytest.mark.usefixtures("books")
def test_a_move_that_stands_still_is_said_to_go_on_by_itself(
    run: Run, broker: RunningBroker, database_url: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bookkeeping, "SLICE_DOCUMENTS", 2)
    monkeypatch.setattr(cli_ask, "STANDS_S_MAX", 0.1)
    assert run("topics", "create")[0] == 0
    with ledger(broker, database_url, topic_prefix, dies=True):
        code, out, problem = run("map", "1", "P2")
    assert (code, problem) == (0, "")
    assert out.partition("): ")[2] == (
        "documents are still being moved, 2 of 4 seen. That goes on by itself; `intoaec status` shows how far it is.\n"
    )
    assert ["7", "0", "2", "3", "Invoice 12"] in cells(run("status")[1])


@pytest.mark.usefixtures("books")
def test_a_project_is_closed_by_its_own_company_only(run: Run) -> None:
    assert run("topics", "create")[0] == 0
    assert run("close-project", "P9")[::2] == (1, "Project P9 does not belong to this QuickBooks company.\n")
    assert run("declare-project", "P9")[0] == 0
    assert run("close-project", "P9")[:2] == (0, "closed: P9\n")


@pytest.mark.usefixtures("books")
def test_the_progress_of_a_large_move_is_shown(run: Run, database_url: str) -> None:
    assert run("topics", "create")[0] == 0
    text = Progress(Reach(customers=frozenset({"1"})), ("Invoice", "612"), moved=480, settled=500).to_text()
    execute(database_url, 'UPDATE ledger.positions SET slice = %s WHERE "partition" = 0', text)
    assert ["0", "8", "500", "480", "Invoice 612"] in cells(run("status")[1])


@pytest.mark.usefixtures("books")
def test_what_is_no_document_or_customer_is_refused_before_the_ledger_is_asked(run: Run) -> None:
    assert run("assign", "Bill/5", "P2")[::2] == (
        1,
        "Bill is no type of a document here: Invoice, CreditMemo, Payment, RefundReceipt are.\n",
    )
    assert run("assign", "Invoice/x", "P2")[2] == "The record id x is no id of QuickBooks: digits are.\n"
    assert run("map", "Harbour", "P2")[2] == "The customer id Harbour is no id of QuickBooks: digits are.\n"


def name_customers(database_url: str, names: dict[str, str | None], parent: str | None = None) -> None:
    """As the projector shows them."""
    for customer_id, name in names.items():
        execute(
            database_url,
            "INSERT INTO read_customers_v1 VALUES "
            "(1, %s, %s, %s, split_part(%s, ':', 2), %s, true, 'USD', 'none', NULL, '', NULL, 0, 1)",
            *(COMPANY, customer_id, parent, name, name),
        )


@pytest.mark.usefixtures("books")
def test_customers_are_found_by_name_with_all_their_projects(run: Run, database_url: str) -> None:
    execute(
        database_url,
        "INSERT INTO ledger.customers SELECT (jsonb_populate_record(c, jsonb_build_object('customer_id', n, "
        "'mapping_state', 'none', 'scopes', jsonb '[]'))).* FROM ledger.customers c, unnest(ARRAY['9', '10', '11']) n",
    )
    later = '[{"project_id": "P2", "from_on": "2026-03-01", "reference_number": ""}]'
    execute(database_url, "UPDATE ledger.customers SET scopes = scopes || %s::jsonb WHERE customer_id = '1'", later)
    name_customers(database_url, {"1": "Smith [north]"})
    name_customers(database_url, {"10": "Smith [north]:Kitchen 50%", "9": "Smith [north]:Attic"}, parent="1")
    name_customers(database_url, {"11": None})
    smith = ["1", "Smith [north]", "-", "mapped", "P1, P2 from 2026-03-01", "yes"]
    attic = ["9", "Smith [north]:Attic", "1", "none", "", "yes"]
    kitchen = ["10", "Smith [north]:Kitchen 50%", "1", "none", "", "yes"]
    assert cells(run("customers")[1]) == [smith, attic, kitchen, ["11", "-", "-", "none", "", "yes"]]
    assert cells(run("customers", "--name", "smith", "--waiting")[1]) == [attic, kitchen]
    assert cells(run("customers", "--name", "KITCHEN 50%")[1]) == [kitchen]
    assert run("customers", "--name", "_")[1] == "Customers: none\n"


@pytest.mark.usefixtures("books")
def test_a_list_of_customers_that_is_cut_says_so(run: Run, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name_customers(database_url, {"1": "Smith"})
    assert "There are more than" not in run("customers")[1]
    monkeypatch.setattr(customers, "CUSTOMERS_MAX", 0)
    assert run("customers")[1] == "Customers: none\nThere are more than these 0; --name narrows it down.\n"


def test_what_waits_is_shown_by_cause_and_record_by_record(run: Run, database_url: str) -> None:
    execute(
        database_url,
        "INSERT INTO control.companies (company_id, organisation_id, state) VALUES (%s, 'o', 'active')",
        COMPANY,
    )
    assert run("waiting")[1] == "Waiting: none\nWarnings: none\n"
    for number, part, cause, customer, amount in (
        ("11", "", "customer_not_synced", "1", 1234.5),
        ("12", "", "customer_not_synced", "2", 100),
        ("21", "unapplied", "excluded", "2", 7),
    ):
        execute(
            database_url,
            "INSERT INTO read_waiting_v1 (generation, company_id, record_type, record_id, part, cause, customer_id, "
            "amount, currency, accounting_on, since, version) "
            "VALUES (1, %s, 'Payment', %s, %s, %s, %s, %s, 'USD', '2026-01-31', now(), 1)",
            *(COMPANY, number, part, cause, customer, amount),
        )
    execute(
        database_url,
        "INSERT INTO read_warnings_v1 (generation, company_id, record_type, record_id, code, detail, since, version) "
        "VALUES (1, %s, 'Invoice', '7', 'reference_unknown', 'P99', '2026-01-31', 1)",
        COMPANY,
    )
    rows = cells(run("waiting")[1])
    assert ["customer_not_synced", "2", "2", "USD", "1,334.50"] in rows
    assert ["excluded", "1", "1", "USD", "7.00"] in rows
    assert [row[:3] for row in rows if len(row) == 4] == [["Invoice/7", "reference_unknown", "P99"]]
    of_customer = cells(run("waiting", "--customer", "2")[1])
    assert ["Payment/12", "", "customer_not_synced", "2", "USD", "100.00", "2026-01-31"] in of_customer
    assert [row[0] for row in cells(run("waiting", "--cause", "excluded")[1])] == ["Payment/21"]


def test_figures_of_a_day_stand_below_each_other_in_money(run: Run, database_url: str) -> None:
    assert "none; nothing was known of it then" in run("as-of", "P1", "--known-at", "2026-04-15")[1]
    others = [name for name in FIGURES if name not in ("cash_received", "unapplied")]
    insert = (
        "INSERT INTO read_project_journal_v1 (generation, project_id, entry, company_id, currency, version, "
        "event_type, record_type, record_id, origin, reason, accounting_on, recorded_at, correlation_id, "
        f"cash_received, unapplied, {', '.join(others)}) "
        "VALUES (1, 'P1', %s, %s, %s, 1, 'PaymentReceived', 'Payment', '1', 'webhook', 'customer', '2026-03-01', "
        f"'2026-03-02', 'c', %s, %s{', 0' * len(others)})"
    )
    for currency, cash in (("EUR", "40"), ("USD", "1234.5")):
        execute(database_url, insert, f"1/{currency}", COMPANY, currency, cash, cash)
    rows = cells(run("as-of", "P1", "--on", "2026-03-31")[1])
    assert ["cash", "40.00", "1,234.50"] in rows
    assert ["net receivable", "-40.00", "-1,234.50"] in rows
