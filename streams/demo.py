"""`make demo`: everything on this machine, one webhook followed from QuickBooks to its row, and the balances.

Starts: broker, database, simulator, ingress, web, one worker; an existing broker or database is used instead where
KAFKA_BOOTSTRAP or DATABASE_URL says so. Keeps all in one folder, so that the next start goes on from there.
Guarantees: stops cleanly on Ctrl-C and leaves no process behind; `once` ends 0 only if the rows are right.
"""

import asyncio
import json
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psycopg
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from connectors.child import CannotStart
from connectors.local import Broker, Database
from connectors.postgres import MIGRATIONS, migrate
from streams.local_system import LocalSystem, kept_environment, new_environment
from streams.requests import Mapping, Requests
from streams.topology import opened, prepare_topics

FOLDER = Path(__file__).parent.parent / ".local" / "demo"
PORTS = {"INGRESS_PORT": 8080, "WEB_PORT": 8081}
SIMULATOR_PORT = 8090
HISTORY_S_MAX = 180.0
WEBHOOK_S_MAX = 60.0
PERSON = "demo"
OTHER_BUILD = (
    "What an earlier `make demo` kept is of another build. Type `make demo-reset` to forget it, then `make demo` again."
)


class DemoFailed(Exception):
    """Something did not come as it must; the text says what."""


def reset(folder: Path = FOLDER) -> None:
    """Forget everything that the demo has kept."""
    shutil.rmtree(folder, ignore_errors=True)


def run(*, once: bool, bootstrap: str = "", database_url: str = "", folder: Path = FOLDER) -> None:
    """Start everything, show one webhook on its way and the balances; then stay up, unless `once`.

    Raises CannotStart or DemoFailed with one plain sentence.
    """
    console = Console()
    began = time.monotonic()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with ExitStack() as stack:
            demo = _start(stack, console, folder, bootstrap, database_url)
            demo.connect()
            demo.history()
            demo.sync_customers()
            demo.follow_one_webhook(began)
            demo.show_balances()
            demo.check()
            demo.show_addresses()
            if not once:
                console.print("[dim]Ctrl-C stops everything; the next `make demo` goes on from here.[/dim]")
                _stay(demo)
    except KeyboardInterrupt:
        console.print("Stopped; nothing is left running.")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _stay(demo: "Demo") -> None:
    while all(child.running for child in demo.system.children.values()):
        time.sleep(0.5)
    ended = [name for name, child in demo.system.children.items() if not child.running]
    logs = ", ".join(str(demo.system.children[name].log) for name in ended)
    raise DemoFailed(f"{', '.join(ended)} ended by itself; its log is {logs}.")


def _start(stack: ExitStack, console: Console, folder: Path, bootstrap: str, database_url: str) -> "Demo":
    folder.mkdir(parents=True, exist_ok=True)
    with _progress(console) as step:
        if not bootstrap:
            bootstrap = stack.enter_context(Broker.start(folder / "kafka", progress=step)).bootstrap
        if not database_url:
            database_url = stack.enter_context(Database.start(folder / "postgres", progress=step)).url
            _refuse_other_build(folder)
        environment = kept_environment(folder / "settings.json", _environment(bootstrap, database_url))
        system = LocalSystem(folder, environment)
        stack.callback(system.stop)
        step("creating topics and tables", 0, 0)
        migrate(database_url)
        asyncio.run(prepare_topics(system.settings))
        step("starting the simulated QuickBooks", 0, 0)
        system.simulator(port=_port(SIMULATOR_PORT))
        step("starting ingress, pages and worker", 0, 0)
        system.ingress()
        system.web()
        _start_worker(system, step)
    return Demo(console, system, database_url)


def _refuse_other_build(folder: Path, migrations: Path = MIGRATIONS) -> None:
    """Tables that were made by other migrations fit no more; migrations that came since are no obstacle."""
    file = folder / "migrations.json"
    kept: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
    ours = {path.name: sha256(path.read_bytes()).hexdigest() for path in migrations.glob("*.sql")}
    if any(ours.get(name) != digest for name, digest in kept.items()):
        raise CannotStart(OTHER_BUILD)
    file.write_text(json.dumps(ours, indent=2))


def _start_worker(system: LocalSystem, step: Callable[[str, int, int], None]) -> None:
    try:
        system.worker(progress=step)
    except CannotStart as error:
        if "offsets align" in system.children["worker"].log.read_text():
            raise CannotStart(OTHER_BUILD) from error
        raise


def _environment(bootstrap: str, database_url: str) -> dict[str, str]:
    ports = {name: str(_port(port)) for name, port in PORTS.items()}
    redirect = f"http://127.0.0.1:{ports['WEB_PORT']}/integrations/quickbooks/callback"
    return new_environment(bootstrap, database_url, **ports, QUICKBOOKS_REDIRECT_URL=redirect, BUILD="demo")


def _port(wanted: int) -> int:
    """The wanted port where it is free, else any free one."""
    for port in (wanted, 0):
        with socket.socket() as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listening.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(listening.getsockname()[1])
    raise CannotStart("No free port was found on this machine.")


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """A line that shows what is being done and for how long; with a bar where there is something to count."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=24), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting", total=None)

        def step(what: str, done: int, total: int) -> None:
            progress.update(task, description=what, completed=done, total=total or None)

        yield step


class Stop(NamedTuple):
    """One stop of a webhook on its way."""

    name: str
    after_s: float
    detail: str


@dataclass
class Demo:
    """A running system and what the demo does with it."""

    console: Console
    system: LocalSystem
    database_url: str
    company_id: str = ""
    stops: list[Stop] = field(default_factory=list)

    def connect(self) -> None:
        """Connect the simulated company as a person would: sign-in, Authorize, back."""
        known = self._row("SELECT company_id, name FROM control.companies WHERE state IN ('connected', 'active')")
        if known is None:
            with httpx.Client(follow_redirects=False, trust_env=False, timeout=20) as client:
                sign_in = client.get(f"{self.system.urls['web']}/integrations/quickbooks/connect").headers["location"]
                consent = client.get(httpx.URL(sign_in).copy_merge_params({"auto": "1"})).headers["location"]
                back = client.get(consent)
            if back.status_code != 303:
                raise DemoFailed(f"The simulated company could not be connected: {back.status_code} {back.text[:200]}")
            known = self._row("SELECT company_id, name FROM control.companies")
        if known is None:
            raise DemoFailed("The company is not connected, though the sign-in went through.")
        self.company_id, name = known
        self.console.print(f"[green]connected[/green] {name} ({self.company_id})")

    def history(self) -> None:
        """Wait until the company's history is read and booked, with a bar."""
        total = sum(len(records) for kind, records in self._truth().items() if kind in _COUNTED)
        with _progress(self.console) as step:
            deadline = time.monotonic() + HISTORY_S_MAX
            while True:
                (read,) = self._row("SELECT count(*) FROM control.reads") or (0,)
                step("reading the company's history", read, total)
                state = self._row("SELECT state FROM control.companies WHERE company_id = %s", self.company_id)
                if state == ("active",) and self._settled():
                    break
                if time.monotonic() > deadline:
                    raise DemoFailed(f"The history was not read within {HISTORY_S_MAX:.0f} s; see the worker's log.")
                time.sleep(0.1)
        self.console.print(f"[green]active[/green]    {read} records of its history are read and booked")

    def _settled(self) -> bool:
        row = self._row(
            "SELECT count(*) FROM ledger.streams s LEFT JOIN read_positions p ON p.stream_id = s.stream_id "
            "AND p.projector = CASE s.kind WHEN 'project' THEN 'project-balance-v1' ELSE 'waiting-v1' END "
            "WHERE s.version > coalesce(p.version, 0)"
        )
        return row == (0,)

    def sync_customers(self) -> None:
        """Declare IntoAEC's projects and map each project's customer, as the Sync Contacts page will."""
        catalogue = self._simulator("GET", f"/companies/{self.company_id}/projects")
        asyncio.run(self._sync(catalogue))
        self._wait_for(self._settled, "The mapped customers' documents did not flow into their projects")
        (mapped,) = self._row("SELECT count(*) FROM read_customers WHERE mapping_state = 'mapped'") or (0,)
        self.console.print(f"[green]synced[/green]    {mapped} customers are mapped to {len(catalogue)} projects")

    async def _sync(self, catalogue: list[dict[str, Any]]) -> None:
        async with opened(self.system.settings) as system:
            requests = Requests(system.connections, system.publisher, system.topics)
            mapped = {row[0] for row in self._rows("SELECT customer_id FROM ledger.customers WHERE scopes <> '[]'")}
            due = [project for project in catalogue if project["customer_id"] not in mapped]
            if not due:
                return
            await requests.declare(self.company_id, [(p["project_id"], p["name"]) for p in due])
            one_each = {p["customer_id"]: p["project_id"] for p in reversed(due)}
            mappings = [Mapping(customer_id, project_id) for customer_id, project_id in one_each.items()]
            decisions = await requests.map(self.company_id, PERSON, mappings)
            answers = await requests.answers(self.company_id, decisions, within_s=60)
        refused = [answer.answer for answer in answers if not answer.accepted]
        if refused or len(answers) < len(decisions):
            raise DemoFailed(f"Mapping customers: {refused or 'the ledger did not answer'}")

    def follow_one_webhook(self, began: float) -> None:
        """Let somebody edit an invoice of a synced customer in QuickBooks, and watch it arrive."""
        invoice_id, total = self._an_invoice()
        known, delivered = self._rows(_READS, self.company_id, invoice_id), self._delivered()
        stopwatch = time.monotonic()
        changed = self._edit(invoice_id, total)
        self._stop("changed in QuickBooks", stopwatch, f"Invoice {invoice_id}: total {total:,.2f} → {changed:,.2f}")
        self._wait_for(lambda: self._delivered() - delivered, "The webhook was not acknowledged")
        self._stop("received", stopwatch, "200 after the broker had it → quickbooks-notifications")
        read = self._wait_for(lambda: self._read_since(invoice_id, known), "The invoice was not fetched")
        cause_id, partition, offset = read
        self._stop("fetched", stopwatch, f"the full record → company-changes[{partition}]@{offset}")
        event = self._wait_for(lambda: self._event(cause_id), "The ledger booked nothing")
        event_type, project_id, version = event
        self._stop("booked", stopwatch, f"{event_type} = event {version} of project {project_id}")
        row = self._wait_for(lambda: self._document(project_id, invoice_id, version), "The row did not change")
        self._stop("row", stopwatch, f"read_project_documents: total {row[0]:,.2f}, open {row[1]:,.2f}")
        if row[0] != changed:
            raise DemoFailed(f"The row says {row[0]}, QuickBooks says {changed}.")
        self._show_stops(cause_id, time.monotonic() - began)

    def _an_invoice(self) -> tuple[str, Decimal]:
        row = self._row(
            "SELECT record_id, total FROM read_project_documents WHERE record_type = 'Invoice' AND state = 'open' "
            "AND open_amount = total AND total > 0 ORDER BY issued_on DESC, record_id LIMIT 1"
        )
        if row is None:
            raise DemoFailed("No open invoice has reached a project.")
        return row[0], row[1]

    def _edit(self, invoice_id: str, total: Decimal) -> Decimal:
        """A bookkeeper puts the whole invoice on one line, of the next round amount above."""
        line = next(line for line in self._invoice(invoice_id)["Line"] if "SalesItemLineDetail" in line)
        amount = int(total) // 100 * 100 + 200
        item = {"ItemRef": line["SalesItemLineDetail"]["ItemRef"], "UnitPrice": amount, "Qty": 1}
        sale = {"Amount": amount, "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": item}
        body = {"Id": invoice_id, "Line": [sale]}
        self._simulator("POST", f"/companies/{self.company_id}/records/Invoice", body)
        return Decimal(str(self._invoice(invoice_id)["TotalAmt"]))

    def _invoice(self, invoice_id: str) -> dict[str, Any]:
        """As QuickBooks shows it now."""
        invoices = self._simulator("GET", f"/companies/{self.company_id}/records/Invoice?limit=100000")
        found: dict[str, Any] = next(invoice for invoice in invoices if invoice["Id"] == invoice_id)
        return found

    def _delivered(self) -> set[str]:
        """The deliveries that were answered 200."""
        deliveries = self._simulator("GET", "/deliveries")
        return {delivery["id"] for delivery in deliveries if delivery["state"] == "acknowledged"}

    def _read_since(self, invoice_id: str, known: list[tuple[Any, ...]]) -> tuple[Any, ...] | None:
        """The first read of this invoice that was booked since, with its cause and place."""
        new = [row for row in self._rows(_READS, self.company_id, invoice_id) if row not in known]
        return new[0] if new else None

    def _event(self, cause_id: str) -> Any:
        return self._row(
            "SELECT e.event_type, e.stream_id, e.version FROM ledger.causes c "
            'JOIN ledger.events e ON e."partition" = c."partition" AND e.input_offset = c."offset" '
            "WHERE c.cause_id = %s AND e.kind = 'project' ORDER BY e.version DESC LIMIT 1",
            cause_id,
        )

    def _document(self, project_id: str, invoice_id: str, version: int) -> Any:
        return self._row(
            "SELECT total, open_amount FROM read_project_documents WHERE project_id = %s "
            "AND record_type = 'Invoice' AND record_id = %s AND version >= %s",
            project_id,
            invoice_id,
            version,
        )

    def _stop(self, name: str, stopwatch: float, detail: str) -> None:
        self.stops.append(Stop(name, time.monotonic() - stopwatch, detail))

    def _show_stops(self, cause_id: str, since_start_s: float) -> None:
        table = Table(title="One webhook on its way", title_justify="left", box=None, padding=(0, 2, 0, 0))
        for column in ("stop", "after", "what it left behind"):
            table.add_column(column, no_wrap=column != "what it left behind")
        for stop in self.stops:
            table.add_row(stop.name, f"{stop.after_s:.2f} s", stop.detail)
        self.console.print(table)
        self.console.print(
            f"[dim]intoaec trace {cause_id} shows the chain; first row {since_start_s:.1f} s after start[/dim]"
        )

    def show_balances(self) -> None:
        """The projects with their figures."""
        table = Table(title="Projects, from the accounting events booked so far", title_justify="left")
        table.add_column("project", no_wrap=True)
        for column in ("invoiced", "cash", "open", "net"):
            table.add_column(column, justify="right", no_wrap=True)
        rows = self._rows(
            "SELECT project_id, currency, invoiced_gross, cash_received, open_invoices, net_receivable "
            "FROM read_project_balance ORDER BY project_id, currency LIMIT 20"
        )
        for project_id, currency, *amounts in rows:
            table.add_row(f"{project_id} {currency}", *(f"{amount:,.2f}" for amount in amounts))
        self.console.print(table)

    def check(self) -> None:
        """Compare every document that reached a project with QuickBooks' own figures, to the cent."""
        self._wait_for(lambda: not self._differences(), "The rows are not what QuickBooks says", self._differences)
        (documents,) = self._row("SELECT count(*) FROM read_project_documents") or (0,)
        (waiting,) = self._row("SELECT count(DISTINCT (record_type, record_id)) FROM read_waiting") or (0,)
        self.console.print(
            f"[green]right[/green]     {documents} documents equal QuickBooks to the cent; "
            f"{waiting} records of customers that are not synced wait for a decision"
        )

    def _differences(self) -> list[str]:
        return differences(self._truth(), self._rows(OPEN_AMOUNTS, self.company_id, self.company_id))

    def show_addresses(self) -> None:
        """Where to look."""
        urls = self.system.urls
        self.console.print(
            f"\nProjects    {urls['web']}\nQuickBooks  {urls['simulator']}/_sim\nIngress     {urls['ingress']}"
        )

    # --- small ways in -------------------------------------------------------------------------------------------

    def _truth(self) -> dict[str, Any]:
        truth: dict[str, Any] = self._simulator("GET", f"/companies/{self.company_id}/truth")
        return truth

    def _simulator(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        url = f"{self.system.urls['simulator']}/_sim{path}"
        answer = httpx.request(method, url, json=body, timeout=30, trust_env=False)
        answer.raise_for_status()
        return json.loads(answer.text, parse_float=Decimal)

    def _row(self, query: str, *parameters: Any) -> tuple[Any, ...] | None:
        rows = self._rows(query, *parameters)
        return rows[0] if rows else None

    def _rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            return connection.execute(query.encode(), parameters or None).fetchall()

    def _wait_for(self, found: Callable[[], Any], problem: str, detail: Callable[[], Any] = lambda: "") -> Any:
        deadline = time.monotonic() + WEBHOOK_S_MAX
        while not (result := found()):
            ended = [name for name, child in self.system.children.items() if not child.running]
            if ended:
                raise DemoFailed(f"{ended[0]} ended: {self.system.children[ended[0]].last_words()}")
            if time.monotonic() > deadline:
                raise DemoFailed(f"{problem} within {WEBHOOK_S_MAX:.0f} s. {str(detail())[:500]}")
            time.sleep(0.02)
        return result


_READS = (
    'SELECT c.cause_id, i."partition", i."offset" FROM ledger.inputs i '
    'JOIN ledger.causes c ON c."partition" = i."partition" AND c."offset" = i."offset" '
    "WHERE i.company_id = %s AND i.record_type = 'Invoice' AND i.record_id = %s AND i.origin = 'webhook' "
    "AND i.outcome = 'booked' ORDER BY 3"
)
# What is open here less what waits on it; a memo of which a link waits is left out: the link does not say how much.
OPEN_AMOUNTS = """
    SELECT d.record_type, d.record_id, d.total, d.open_amount - coalesce(sum(w.amount), 0)
    FROM read_project_documents d
    LEFT JOIN read_waiting w ON w.company_id = d.company_id AND w.part = 'Invoice:' || d.record_id
    WHERE d.company_id = %s AND d.state = 'open' AND d.record_type = 'Invoice'
    GROUP BY d.record_type, d.record_id, d.total, d.open_amount
  UNION ALL
    SELECT d.record_type, d.record_id, d.total, d.unused_amount
    FROM read_project_documents d
    WHERE d.company_id = %s AND d.state = 'open' AND d.record_type = 'CreditMemo' AND NOT EXISTS (
        SELECT FROM ledger.links l
        JOIN read_waiting w ON w.record_type = 'Payment' AND w.record_id = l.payment_id AND w.part <> 'unapplied'
        WHERE l.company_id = d.company_id AND l.record_type = 'CreditMemo' AND l.record_id = d.record_id)
"""
_COUNTED = ("customers", "Invoice", "CreditMemo", "Payment", "RefundReceipt")


def differences(truth: dict[str, Any], open_amounts: list[tuple[Any, ...]]) -> list[str]:
    """Invoices and memos (rows of OPEN_AMOUNTS) that are not QuickBooks' own to the cent."""
    found = []
    for record_type, record_id, total, rest in open_amounts:
        theirs = truth[record_type][record_id]
        owed = theirs["balance" if record_type == "Invoice" else "remaining_credit"]
        if (total, rest) != (Decimal(theirs["total"]), Decimal(owed)):
            found.append(f"{record_type} {record_id}: {total}, open {rest}; QuickBooks {theirs['total']}, open {owed}")
    return found
