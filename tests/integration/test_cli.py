"""The command `intoaec` against the real broker and database: what it prints, what it does, how it fails."""

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest
from rich.console import Console

from connectors.cluster import commit_offsets, create_topics, group_positions
from connectors.config import Settings
from connectors.kafka import Publisher, partition_of, read_from
from schemas import changes
from schemas.codec import Recorded, file_ids
from schemas.wire import Outgoing
from streams import cli, cli_ask
from streams.topology import groups, opened, steps, topics_of
from tests.builders import COMPANY, NOON, PROJECT, delivered, invoice_issued
from tests.conftest import RunningBroker

PARTITIONS = 2
CAUSE = "0c6e6f0e-notification"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def environment(broker: RunningBroker, database_url: str, topic_prefix: str) -> dict[str, str]:
    return {
        "KAFKA_BOOTSTRAP": broker.bootstrap,
        "DATABASE_URL": database_url,
        "MASTER_KEYS": "k1:" + base64.b64encode(bytes(32)).decode(),
        "TOPIC_PREFIX": topic_prefix,
        "TOPIC_PARTITIONS": str(PARTITIONS),
    }


@pytest.fixture
def settings(environment: dict[str, str]) -> Settings:
    return Settings.from_environment(environment)


@pytest.fixture
def run(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run one command in this process: exit code, what it printed, what it said of problems."""

    def run_command(*arguments: str, **more: str) -> tuple[int, str, str]:
        for name, value in (environment | more).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("COLUMNS", "300")
        monkeypatch.setattr(sys, "argv", ["intoaec", *arguments])
        monkeypatch.setattr(cli, "console", Console(highlight=False, width=300))
        monkeypatch.setattr(cli, "problems", Console(stderr=True, highlight=False, width=300))
        with pytest.raises(SystemExit) as ended:
            cli.main()
            raise SystemExit(0)
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run_command


def execute(database_url: str, statement: str, parameters: Any = None) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(statement.encode(), parameters)


def test_a_worker_that_is_done_does_not_wait_for_threads_that_it_did_not_start() -> None:
    """Faust's threads may wait for a broker's answer for a minute after all is closed."""
    lines = (
        "import threading",
        "from streams import cli",
        "threading.Thread(target=threading.Event().wait).start()",
        "with cli._ending_at_once():",
        "    raise cli.NotDone('another worker owns it')",
    )
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "another worker owns it\n")


def test_missing_settings_are_all_named_in_one_message(run: Run) -> None:
    code, out, problem = run("status", KAFKA_BOOTSTRAP="", DATABASE_URL="")
    assert (code, out) == (2, "")
    assert problem.splitlines() == [
        "The environment is not complete:",
        "  KAFKA_BOOTSTRAP: Field required",
        "  DATABASE_URL: Field required",
    ]


def test_database_that_is_away_is_one_sentence(run: Run) -> None:
    code, _, problem = run("migrate", DATABASE_URL="postgresql://nobody@127.0.0.1:9/none")
    assert code == 1
    assert "Traceback" not in problem
    assert "connection" in problem


@pytest.mark.parametrize("command", ["worker", "status", "trace", "map", "customers", "offsets", "parked", "projector"])
def test_help_says_what_a_command_is_for(run: Run, command: str) -> None:
    code, out, _ = run(command, "--help")
    assert code == 0
    assert "Usage" in out


def test_topics_are_created_once_and_checked(run: Run) -> None:
    code, _, problem = run("topics", "check")
    assert code == 1
    assert "quickbooks-notifications does not exist; `intoaec topics create` makes it." in problem
    assert run("topics", "create")[0] == 0
    assert run("topics", "create")[0] == 0
    assert run("topics", "check")[:2] == (0, "Every topic is as it must be.\n")
    assert run("offsets", "check")[:2] == (0, "Every group may start.\n")


def test_migrations_of_a_new_database_are_done_already(run: Run) -> None:
    assert run("migrate")[:2] == (0, "The database has its newest shape already.\n")


def test_adopting_rules_says_what_it_would_decide_again_before_it_asks(
    run: Run, settings: Settings, database_url: str
) -> None:
    assert run("topics", "create")[0] == 0
    execute(database_url, "INSERT INTO ledger.companies (generation, company_id, home_currency) VALUES (1, '7', 'USD')")
    for number, currency in enumerate(("USD", "EUR", "EUR")):
        execute(
            database_url,
            "INSERT INTO ledger.documents (generation, company_id, record_type, record_id, read_at, head) "
            "VALUES (1, '7', 'Invoice', %s, now(), jsonb_build_object('total', jsonb_build_array('9', %s::text)))",
            (str(number), currency),
        )
    execute(
        database_url,
        "INSERT INTO ledger.documents (generation, company_id, record_type, record_id, read_at, head) VALUES "
        "(1, '7', 'Payment', '1', now(), "
        '\'{"total": ["9", "USD"], "unapplied": ["0.01", "USD"]}\'), '
        '(1, \'7\', \'Payment\', \'2\', now(), \'{"total": ["9", "USD"], "unapplied": ["0.00", "USD"]}\')',
    )
    adopt = ("rules", "adopt", "--company", "7")
    code, out, problem = run(*adopt)
    assert (code, problem) == (1, "Nothing was done. Say it again with --yes.\n")
    assert out == "Company 7: rules 1 now, rules 3 then.\nDocuments that may get adjusting events: 3\n"
    assert "rules 2 then.\nDocuments that may get adjusting events: 2\n" in run(*adopt, "--rules", "2")[1]
    assert asyncio.run(_published(settings)) == []
    assert run(*adopt, "--yes")[0] == 0
    assert [each.body for each in asyncio.run(_published(settings))] == [changes.RulesChanged(rules_version=3)]
    execute(database_url, "UPDATE ledger.companies SET rules_version = 3")
    assert "Nothing to do" in run(*adopt, "--yes")[1]
    assert "Rules 9 are not known" in run(*adopt, "--rules", "9")[2]


async def _published(settings: Settings) -> list[Recorded[Any, Any]]:
    topic = topics_of(settings).changes.name
    return [file_ids().decode(r.value) async for batch in read_from(settings.kafka_bootstrap, topic) for r in batch]


async def _publish(settings: Settings, records: list[Outgoing]) -> None:
    async with Publisher(settings.kafka_bootstrap) as publisher:
        await publisher.publish(records)


def a_change(offset: int) -> bytes:
    """A customer's request, for which nothing must be sealed, caused by the notification at this offset."""
    partition = partition_of(COMPANY, PARTITIONS)
    cause = changes.Cause(cause_id=CAUSE, partition=partition, offset=offset, caused_at=NOON)
    envelope = changes.Envelope(
        change_id=UUID(int=7),
        company_id=COMPANY,
        origin="webhook",
        recorded_at=NOON,
        correlation_id=CAUSE,
        causes=(cause,),
    )
    gone = changes.RecordGone(record_type="Invoice", record_id="17", announced_at=NOON, read_at=NOON)
    return file_ids().encode(Recorded(envelope, gone))


@pytest.fixture
def booked(run: Run, settings: Settings, database_url: str) -> None:
    """One webhook that went all the way: notification 0, change 0, version 1 of the project, rows."""
    assert run("topics", "create")[0] == 0
    named, partition = topics_of(settings), partition_of(COMPANY, PARTITIONS)
    headers = (("delivery_id", b"delivery-9"), ("received_at", b"2026-03-01T12:00:00.000000Z"))
    notification = Outgoing(topic=named.notifications.name, key=COMPANY, value=b"{}", headers=headers)
    change = Outgoing(topic=named.changes.name, key=COMPANY, value=a_change(0))
    asyncio.run(_publish(settings, [notification, change]))
    event = invoice_issued()
    execute(
        database_url,
        "INSERT INTO ledger.inputs "
        "VALUES (1, %s, 0, %s, %s, 'RecordRead', 'Invoice', '17', 'webhook', %s, %s, 'booked')",
        (partition, UUID(int=7), COMPANY, NOON, CAUSE),
    )
    execute(database_url, "INSERT INTO ledger.causes VALUES (1, %s, %s, 0)", (CAUSE, partition))
    value = file_ids().encode(event)
    execute(
        database_url,
        "INSERT INTO ledger.events VALUES (1, 'project', %s, 1, %s, 'InvoiceIssued', %s, 0, %s)",
        (PROJECT, event.envelope.event_id, partition, value),
    )
    asyncio.run(_project(settings))


async def _project(settings: Settings) -> None:
    async with opened(settings) as system:
        for step in steps(system, ["project"])[:3]:
            await step.work.do(delivered([invoice_issued()]))


@pytest.mark.usefixtures("booked")
@pytest.mark.parametrize("what", [CAUSE, f"{COMPANY}/Invoice/17", f"{PROJECT}/1"])
def test_trace_shows_every_stop_of_a_webhook(run: Run, what: str) -> None:
    code, out, problem = run("trace", what)
    assert (code, problem) == (0, "")
    partition = partition_of(COMPANY, PARTITIONS)
    stops = [
        "webhook      delivery delivery-9, received 2026-03-01T12:00:00.000000Z",
        f"notification {CAUSE} (partition {partition}, offset 0)",
        f"change       RecordRead Invoice 17 of company {COMPANY} by webhook (partition {partition}, offset 0): booked",
        f"event        InvoiceIssued = version 1 of {PROJECT}",
        "read_project_balance_v1",
        "read_project_documents_v1",
    ]
    positions = [out.find(stop) for stop in stops]
    assert -1 not in positions, out
    assert positions == sorted(positions)


def test_trace_of_the_unknown_says_what_can_be_asked(run: Run) -> None:
    code, _, problem = run("trace", "nothing")
    assert code == 1
    assert problem == "nothing is booked of 'nothing': give a correlation id, company/type/id, or project/version\n"


@pytest.mark.usefixtures("booked")
def test_status_shows_lag_in_records_and_seconds_and_what_is_blocked(run: Run, database_url: str) -> None:
    execute(
        database_url,
        "INSERT INTO control.companies (company_id, organisation_id, name, state, webhook_at) "
        "VALUES (%s, 'o', 'Ours', 'active', %s)",
        (COMPANY, datetime.fromisoformat("2026-03-01T12:00:00Z")),
    )
    execute(
        database_url,
        "INSERT INTO read_blocked VALUES ('payments-v1', 1, 'tunnel', 4, 'version 4 is missing', %s)",
        (NOON,),
    )
    code, out, problem = run("status")
    assert (code, problem) == (0, "")
    lines = {line.split("│")[1].strip(): line for line in out.splitlines() if line.count("│") > 2}
    ledger = next(line for name, line in lines.items() if name.endswith("ledger-v1-g1"))
    assert [cell.strip() for cell in ledger.split("│")][2] == "1"
    assert "2026-03-01 12:00:00Z" in lines[COMPANY]
    assert "version 4 is missing" in lines["payments-v1"]


@pytest.mark.usefixtures("booked")
def test_offsets_beyond_the_stored_position_are_found_and_set_back(
    run: Run, settings: Settings, broker: RunningBroker
) -> None:
    """A restored database: the group has committed 1, the ledger stored nothing."""
    named, partition = topics_of(settings), partition_of(COMPANY, PARTITIONS)
    group = next(name for name, topics in groups(settings).items() if topics == [named.changes.name])
    where = (named.changes.name, partition)
    asyncio.run(commit_offsets(broker.bootstrap, group, {where: 1}))
    code, _, problem = run("offsets", "check")
    assert code == 1
    assert "the committed offset 1 is beyond the stored position 0" in problem
    code, out, problem = run("offsets", "align")
    assert code == 1
    assert "the position that the ledger stored with its bookings" in out
    assert "Nothing was done" in problem
    assert asyncio.run(group_positions(broker.bootstrap, group, [named.changes.name]))[where].committed == 1
    assert run("offsets", "align", "--yes")[0] == 0
    assert run("offsets", "check")[0] == 0
    assert asyncio.run(group_positions(broker.bootstrap, group, [named.changes.name]))[where].committed == 0


def test_group_without_offsets_on_a_full_topic_is_set_to_its_beginning(run: Run, settings: Settings) -> None:
    named = topics_of(settings)
    asyncio.run(create_topics(settings.kafka_bootstrap, named.all(), {}))
    asyncio.run(_publish(settings, [Outgoing(topic=named.changes.name, key=COMPANY, value=b"x")]))
    code, _, problem = run("offsets", "check")
    assert code == 1
    assert "no committed offset, but 1 records" in problem
    assert run("offsets", "align", "--yes")[0] == 0
    assert run("offsets", "check")[0] == 0


def test_parked_records_are_listed_shown_and_dismissed(run: Run, database_url: str) -> None:
    execute(
        database_url,
        'INSERT INTO control.parked (step, topic, "partition", "offset", key, value, headers, reason, error_type, '
        "build) "
        "VALUES ('ledger-v1', 'company-changes', 3, 7, %s, %s, %s, 'the record has no Id', 'UnprocessableError', 'b1')",
        (COMPANY, b"bytes \xff", json.dumps({"delivery_id": base64.b64encode(b"d-1").decode()})),
    )
    place = "ledger-v1/company-changes/3/7"
    assert place in run("parked", "list")[1]
    shown = run("parked", "show", place)[1]
    assert "the record has no Id" in shown
    assert "bytes \\xff" in shown
    assert "d-1" in shown
    assert run("parked", "dismiss", place, "--because", "ours")[0] == 0
    assert run("parked", "list")[1] == "Parked: none\n"
    assert run("parked", "show", "nonsense")[::2] == (
        1,
        "'nonsense' does not name a parked record: step/topic/partition/offset does\n",
    )


@pytest.mark.usefixtures("booked")
def test_resume_continues_a_blocked_project_from_the_ledger(run: Run, database_url: str) -> None:
    execute(database_url, "DELETE FROM read_positions WHERE projector = 'payments-v1'")
    execute(database_url, "INSERT INTO read_blocked VALUES ('payments-v1', 1, %s, 1, 'a fault', %s)", (PROJECT, NOON))
    assert run("projector", "resume")[:2] == (0, f"payments-v1: {PROJECT} goes on, 1 events applied\n")
    assert "Blocked: none" in run("status")[1]


def test_request_without_a_worker_says_that_it_is_kept(
    run: Run, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("topics", "create")[0] == 0
    execute(
        database_url,
        "INSERT INTO control.companies (company_id, organisation_id, state) VALUES (%s, 'o', 'active')",
        (COMPANY,),
    )
    monkeypatch.setattr(cli_ask, "ANSWER_S_MAX", 0.1)
    assert run("declare-project", PROJECT)[:2] == (0, f"declared: {PROJECT}\n")
    code, _, problem = run("map", "5", PROJECT, "--from", "2026-01-01")
    assert code == 1
    assert problem == "The ledger did not answer within 0 s; the request is kept. Does a worker run?\n"


def test_company_must_be_named_when_there_are_several(run: Run) -> None:
    assert run("release", "5")[::2] == (1, "Say --company: no company is connected yet.\n")
