"""What breaks a running system on purpose, and shows that it is whole again.

Gates hold a worker at a chosen stop, so that it is killed or frozen exactly there and not near it: a trigger of the
test's own database waits for a lock that the test holds. `Keeper` starts ended workers again, as an orchestrator does.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime
from enum import Enum
from typing import Any, NamedTuple

import psycopg

from connectors.child import STOP_S_MAX, CannotStart
from streams.topology import topics_of
from tests.acceptance.running import Running

TYPES = ("Invoice", "CreditMemo", "Payment", "RefundReceipt")


class Stop(Enum):
    """Where a worker can be held; the value is the trigger that fires there."""

    # enrich has notifications and is about to call QuickBooks
    NOTHING_READ = "INSERT OR UPDATE ON control.limiter FOR EACH STATEMENT"
    # enrich has QuickBooks' answers, in memory only
    READ_NOT_PUBLISHED = "INSERT OR UPDATE ON control.calls FOR EACH STATEMENT"
    # the change is in its topic, the notification not acknowledged
    CHANGE_NOT_ACKNOWLEDGED = "INSERT OR UPDATE ON control.reads FOR EACH STATEMENT"
    # the ledger has written all, its transaction is open
    DECIDED_NOT_COMMITTED = "UPDATE ON ledger.positions FOR EACH STATEMENT"
    # the ledger's events are stored and in no topic; no trigger fires there
    COMMITTED_NOT_PUBLISHED = ""
    # they are in their topics, and the outbox does not know it
    PUBLISHED_NOT_MARKED = "UPDATE OF published ON ledger.streams FOR EACH STATEMENT"
    # the projector's transaction is open
    ROW_NOT_COMMITTED = "INSERT OR UPDATE ON read_project_balance_v1 FOR EACH STATEMENT"
    # the first slice of a large move is stored, the next is not
    BETWEEN_SLICES = "UPDATE ON ledger.positions FOR EACH ROW WHEN (OLD.slice <> '')"


GATED = [stop for stop in Stop if stop.value]
EVERYWHERE = [stop for stop in Stop if stop is not Stop.BETWEEN_SLICES]


def install_gates(running: Running) -> None:
    """Let workers wait wherever a gate is closed."""
    with psycopg.connect(running.database_url, autocommit=True) as connection:
        connection.execute(
            "CREATE FUNCTION wait_at_gate() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN PERFORM pg_advisory_xact_lock_shared(tg_argv[0]::bigint); RETURN NULL; END'"
        )
        for number, stop in enumerate(GATED):
            trigger = f"CREATE TRIGGER gate_{number} AFTER {stop.value} EXECUTE FUNCTION wait_at_gate('{number}')"
            connection.execute(trigger.encode())


@contextmanager
def held_at(running: Running, stop: Stop, within_s: float = 120.0) -> Iterator[str]:
    """The name of a worker that stands at this stop until the block ends."""
    if stop is Stop.COMMITTED_NOT_PUBLISHED:
        with _held_before_publishing(running, within_s) as name:
            yield name
        return
    with psycopg.connect(running.database_url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (GATED.index(stop),))
        yield running.wait_for(lambda: _waiting(running, "advisory"), within_s, lambda: stop)


@contextmanager
def _held_before_publishing(running: Running, within_s: float) -> Iterator[str]:
    """No trigger fires there; so the table that is read for publishing is locked in the moment of the commit."""
    with psycopg.connect(running.database_url, autocommit=True) as connection, connection.transaction():
        with held_at(running, Stop.DECIDED_NOT_COMMITTED, within_s):
            lock = threading.Thread(
                target=connection.execute, args=(b"LOCK TABLE ledger.events IN ACCESS EXCLUSIVE MODE",)
            )
            lock.start()
            running.wait_for(lambda: running.rows(_ASKED_FOR_ALL), within_s)
        lock.join(within_s)
        yield running.wait_for(lambda: _waiting(running, "relation"), within_s)


# Granted at once where the worker that is held has no events to store.
_ASKED_FOR_ALL = """
    SELECT FROM pg_locks
    WHERE mode = 'AccessExclusiveLock' AND relation = 'ledger.events'::regclass
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


def _waiting(running: Running, lock: str) -> str | None:
    query = (
        "SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
        "WHERE NOT l.granted AND l.locktype = %s AND a.datname = current_database() AND a.application_name <> ''"
    )
    rows = running.rows(query, lock)
    return rows[0][0] if rows else None


class Ended(NamedTuple):
    """A worker that ended by itself."""

    name: str
    exit_code: int | None
    log: str


_TAKEN_FOR_DEAD = ("member_id was not recognized", "session expired", "UnknownMemberId", "IllegalGeneration")


def unexplained(ended: Sequence[Ended]) -> list[Ended]:
    """Workers that ended by themselves without a good reason.

    The one good reason: on a busy machine the broker took it for dead, another took over, and it was fenced.
    """
    return [
        each
        for each in ended
        if each.exit_code != 1
        or "another worker" not in each.log
        or not any(sign in each.log for sign in _TAKEN_FOR_DEAD)
    ]


class Keeper:
    """Keeps workers running: who ends is started again, and what it said is kept."""

    def __init__(self, running: Running, names: Sequence[str]) -> None:
        self._running, self._names = running, names
        self._lock, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._keep)
        self.ended: list[Ended] = []  # workers that nobody killed

    def kill(self, name: str) -> None:
        """End a worker at once; one that has just ended by itself is noted in the next round."""
        with self._lock:
            child = self._running.system.children[name]
            if child.running:
                child.kill()

    def wait_until_all_run(self, within_s: float = 180.0) -> None:
        """Every worker runs, and owns partitions or is ready to."""
        self._running.wait_for(self._all_run, within_s, lambda: self.ended)

    def __enter__(self) -> "Keeper":
        self._thread.start()
        return self

    def __exit__(self, error: object, *_: object) -> None:
        try:
            if error is None:
                self.wait_until_all_run()
        finally:
            self._over.set()
            self._thread.join()

    def _all_run(self) -> bool:
        with self._lock:
            return all(self._running.system.children[name].running for name in self._names)

    def _keep(self) -> None:
        while not self._over.wait(0.1):
            for name in self._names:
                with self._lock:
                    self._start_again(name)

    def _start_again(self, name: str) -> None:
        child = self._running.system.children[name]
        if child.running:
            return
        if child.exit_code != -9:
            self.ended.append(Ended(name, child.exit_code, child.log.read_text(errors="replace")))
            child.stop()  # what belongs to it is put away
        with suppress(CannotStart):  # the next round tries again
            self._running.system.worker(name)


@contextmanager
def changing(running: Running, company_id: str, seed: int, *, count: int = 2, every_s: float = 0.4) -> Iterator[None]:
    """Somebody works in QuickBooks all the time."""
    over = threading.Event()
    problems: list[Exception] = []

    def change() -> None:
        try:
            while not over.wait(every_s):
                running.change(company_id, count, seed)
        except Exception as error:
            problems.append(error)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert problems == []


# --- what is right -----------------------------------------------------------------------------------------------


def assert_right(running: Running, *company_ids: str, within_s: float = 180.0) -> None:
    """Nothing is lost, doubled, parked or blocked; figures are QuickBooks' own; versions are whole."""
    running.settle(within_s)
    for company_id in company_ids:
        assert not (lost := not_kept(running, company_id)), lost
        assert not (wrong := running.differences(company_id)), wrong
    running.assert_versions_are_whole()
    assert running.rows("SELECT reason FROM control.parked WHERE resolution IS NULL") == []
    assert running.rows("SELECT projector, stream_id, reason FROM read_blocked") == []


def not_kept(running: Running, company_id: str) -> list[str]:
    """Documents of which the ledger does not hold QuickBooks' newest revision."""
    truth = running.simulator("GET", f"/companies/{company_id}/truth")
    query = "SELECT record_type, record_id, sync_token, gone_at FROM ledger.documents WHERE company_id = %s"
    kept = {(kind, number): (token, gone_at) for kind, number, token, gone_at in running.rows(query, company_id)}
    found = []
    for kind in TYPES:
        for number, theirs in truth[kind].items():
            ours = kept.get((kind, number))
            if not _is_newest(theirs, ours):
                found.append(f"{kind} {number}: {ours}, QuickBooks {theirs['sync_token']}")
    return found


def _is_newest(theirs: dict[str, Any], ours: tuple[int, datetime | None] | None) -> bool:
    if theirs["deleted"]:
        return ours is None or ours[1] is not None  # one that was gone before its first read was never kept
    return ours is not None and ours[1] is None and str(ours[0]) == theirs["sync_token"]


# Names of customers are sealed anew each time: of a company's events what they are is compared, not their bytes.
_EVENTS = """(
    SELECT kind, stream_id, version, event_id, event_type, CASE kind WHEN 'project' THEN value END FROM ledger.events
)"""


def books(running: Running, *more: str) -> list[tuple[Any, ...]]:
    """A digest of every event and every row shown: equal before and after what must change nothing."""
    names = ("project_balance", "project_documents", "payments", "payment_allocations", "customers", "waiting")
    tables = [_EVENTS, "read_positions", *(f"read_{name}_v1" for name in names), *more]
    return [
        (table, *running.rows(f"SELECT count(*), md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {table} t")[0])
        for table in tables
    ]


# --- starting and stopping ----------------------------------------------------------------------------------------


def start_workers(running: Running, *names: str) -> None:
    """All of them at once; returns when each owns partitions or is ready to."""
    with ThreadPoolExecutor() as at_once:
        list(at_once.map(running.system.worker, names))


def stop_workers(running: Running, *names: str) -> None:
    """In order, as an orchestrator does; each must obey."""
    children = [running.system.children[name] for name in names]
    for child in children:
        child.ask_to_stop()
    for child in children:
        child.wait(STOP_S_MAX)
    disobeyed = [(child.name, child.exit_code) for child in children if child.exit_code != 0]
    assert not disobeyed, disobeyed


# --- a person's commands -----------------------------------------------------------------------------------------


def command(running: Running, *arguments: str) -> tuple[int, str]:
    """Run one `intoaec` command of this installation: exit code, and all that it said."""
    environment = running.system.process_environment("command") | {"COLUMNS": "300"}
    done = subprocess.run(
        [sys.executable, "-m", "streams.cli", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
    )
    return done.returncode, done.stdout + done.stderr


def sent(running: Running, body: bytes) -> tuple[int, float]:
    """Deliver a body: the status, and after how many seconds it came."""
    began = time.monotonic()
    return running.deliver(body), time.monotonic() - began


def notifications(running: Running) -> set[bytes]:
    """Every notification's bytes, read independently of any group."""
    return {record.value or b"" for record in running.records(topics_of(running.system.settings).notifications.name)}
