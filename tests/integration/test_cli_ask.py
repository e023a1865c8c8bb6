"""The commands with which people ask: what a preview prints, and what asks the ledger for what; real database."""

import asyncio
import base64
import sys
from collections.abc import Callable

import psycopg
import pytest
from rich.console import Console

from connectors.postgres import pool
from connectors.sealing import Sealer
from streams import cli, cli_ask
from streams.decision import Progress, Reach
from tests.conftest import RunningBroker
from tests.inputs import COMPANY, Inputs
from tests.integration.test_bookkeeping import World

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
    assert ["P1", "USD", "invoiced gross", "0", "-300"] in rows  # no projector has run: "now" is what tables show
    assert ["P2", "USD", "open invoices", "0", "260"] in rows
    assert ["P2", "USD", "cash received", "0", "40"] in rows


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
