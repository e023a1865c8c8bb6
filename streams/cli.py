"""The command `intoaec`: start processes, look, ask, mend. Parses, calls, prints; no logic.

Reads: arguments and environment. Exit codes: 0 done, 1 not done (a sentence says why), 2 wrong settings or arguments.
"""

import asyncio
import os
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar
from urllib.parse import parse_qs, urlsplit

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from connectors.config import Settings, SettingsError
from schemas.changes import RULES_VERSION
from streams import cli_ask

if TYPE_CHECKING:
    from streams.adoption import Plan
    from streams.parking import Place
    from streams.projector import Projector
    from streams.topology import System
    from streams.trace import Chain

Result = TypeVar("Result")

app = typer.Typer(
    name="intoaec",
    help="Every change in QuickBooks, in the right project of IntoAEC, to the cent.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
topics_app = typer.Typer(help="The topics of this installation.", no_args_is_help=True)
parked_app = typer.Typer(help="Records that could not be worked, and wait for a person.", no_args_is_help=True)
offsets_app = typer.Typer(help="Where the consumer groups go on reading.", no_args_is_help=True)
projector_app = typer.Typer(help="The writers of the read tables.", no_args_is_help=True)
rules_app = typer.Typer(help="The rules of meaning that decide a company's events.", no_args_is_help=True)
app.add_typer(topics_app, name="topics", rich_help_panel="Set up")
app.add_typer(parked_app, name="parked", rich_help_panel="Mend")
app.add_typer(offsets_app, name="offsets", rich_help_panel="Mend")
app.add_typer(projector_app, name="projector", rich_help_panel="Mend")
app.add_typer(rules_app, name="rules", rich_help_panel="Ask")
console = Console(highlight=False)
problems = Console(stderr=True, highlight=False)


class NotDone(Exception):
    """A command did not do what was asked; the text says why, for the person who typed it."""


class Role(StrEnum):
    """What a worker does."""

    ENRICH = "enrich"
    LEDGER = "ledger"
    PROJECT = "project"
    REPAIR = "repair"
    ALL = "all"


ReadyFile = Annotated[Path | None, typer.Option("--ready-file", help="Written when the process is ready.", hidden=True)]
PlaceText = Annotated[str, typer.Argument(metavar="PLACE", help="step/topic/partition/offset, as `parked list` says.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it; without this it only says what it would do.")]


# --- processes ---------------------------------------------------------------------------------------------------


@app.command(rich_help_panel="Run")
def ingress(ready_file: ReadyFile = None) -> None:
    """Receive QuickBooks' webhooks (the only public process)."""
    from connectors.quickbooks import webhook

    webhook.main(_settings())


@app.command(rich_help_panel="Run")
def web(ready_file: ReadyFile = None) -> None:
    """Serve the pages for people: projects, and the way to QuickBooks' sign-in."""
    from connectors.web import app as pages
    from streams.topology import opened

    pages.main(_logging(_settings()), opened)


@app.command(rich_help_panel="Run")
def worker(
    role: Annotated[list[Role] | None, typer.Option(help="What it does; may be given several times.")] = None,
    ready_file: ReadyFile = None,
) -> None:
    """Read, book and show what changed: a worker with all roles, or some of them."""
    import uvloop

    from streams.topology import ROLES, run_worker

    chosen = [each.value for each in role or [Role.ALL]]

    def ready() -> None:
        if ready_file is not None:
            ready_file.touch()

    settings = _logging(_settings())
    with _ending_at_once():  # and so no Runner: that waits for every task, whatever it waits for
        running = run_worker(settings, ROLES if Role.ALL.value in chosen else chosen, ready=ready)
        uvloop.new_event_loop().run_until_complete(running)


@app.command(rich_help_panel="Run")
def demo(
    once: Annotated[bool, typer.Option("--once", help="End when the rows are right, with exit code 0.")] = False,
    reset: Annotated[bool, typer.Option("--reset", help="Forget what the demo has kept.")] = False,
) -> None:
    """Start everything on this machine and follow one webhook from QuickBooks to its row."""
    from streams import demo as show

    if reset:
        show.reset()
        return
    environment = os.environ
    show.run(
        once=once,
        bootstrap=environment.get("KAFKA_BOOTSTRAP", ""),
        database_url=environment.get("DATABASE_URL", ""),
    )


# --- set up ------------------------------------------------------------------------------------------------------


@app.command(rich_help_panel="Set up")
def migrate() -> None:
    """Bring the database to the newest shape, and the schema registry where one is named. Safe twice."""
    from connectors import postgres
    from connectors.registry import schema_ids

    settings = _settings()
    done = postgres.migrate(settings.database_url.get_secret_value())
    schema_ids(settings)
    console.print("\n".join(f"done: {name}" for name in done) or "The database has its newest shape already.")


@topics_app.command("create")
def topics_create() -> None:
    """Create the topics that are missing, and check the others. Safe twice."""
    from streams.topology import prepare_topics, topics_of

    settings = _settings()
    asyncio.run(prepare_topics(settings))
    _print_topics([(t.name, t.key, t.value, t.partitions, t.retention_ms) for t in topics_of(settings).all()])


@topics_app.command("check")
def topics_check() -> None:
    """Say whether every topic is there with its partitions; exit code 1 when not."""
    from streams.status import wrong_topics

    wrong = _run(wrong_topics)
    if wrong:
        raise NotDone("\n".join(wrong))
    console.print("Every topic is as it must be.")


@app.command(rich_help_panel="Set up")
def connect(
    organisation: Annotated[str, typer.Argument(help="IntoAEC's organisation that the company will belong to.")],
    back: Annotated[
        str, typer.Option("--back", help="The address that the browser was sent back to, in quotation marks.")
    ] = "",
) -> None:
    """Connect a QuickBooks company: print the address of the sign-in, or finish with the address it led back to."""
    if not back:
        address = _run(lambda system: system.authorizations.start(organisation))
        console.print(address, soft_wrap=True)
        return
    query = parse_qs(urlsplit(back).query)
    code, state, realm = ((query.get(name) or [""])[0] for name in ("code", "state", "realmId"))
    if not (code and state and realm):
        raise NotDone("The address holds no code, state and realmId: was the connection authorised?")
    company_id = _run(lambda system: system.authorizations.finish(code, state, realm))
    console.print(f"connected: {company_id}; its history is read from now on (`intoaec status` shows how far)")


# --- look --------------------------------------------------------------------------------------------------------


@app.command(rich_help_panel="Look")
def status() -> None:
    """Show topics, lag, what is parked or blocked, and each company's last webhook and gap."""
    from streams.status import Status
    from streams.status import status as look

    found: Status = _run(look)
    _print("Topics", ("topic", "records"), found.topics.items())
    rows = [
        (lag.group, lag.records, f"{lag.seconds:.0f} s" if lag.records else "-", lag.unguarded) for lag in found.lags
    ]
    _print("Groups", ("group", "lag", "behind", "without offset"), rows)
    _print("Companies", ("company", "name", "state", "last webhook", "gap since", "swept until"), found.companies)
    _print("Parked", ("step", "records", "oldest"), found.parked)
    _print("Blocked", ("projector", "stream", "at version", "reason", "since"), found.blocked)
    _print("Large moves", ("partition", "offset", "documents seen", "moved", "at"), found.running)
    _print("Not published yet", ("kind", "streams", "events"), found.unpublished)


@app.command(rich_help_panel="Look")
def trace(
    what: Annotated[str, typer.Argument(help="A correlation id, a record company/type/id, or project/version.")],
) -> None:
    """Follow one number: webhook, notification, change, events, rows."""
    from streams.trace import trace as follow

    for chain in _run(lambda system: follow(system, what)):
        _print_chain(chain)


@app.command("as-of", rich_help_panel="Look")
def as_of(
    project: Annotated[str, typer.Argument(help="IntoAEC's project id.")],
    on: Annotated[
        datetime | None, typer.Option("--on", formats=["%Y-%m-%d"], help="The accounting day. Default: every day.")
    ] = None,
    known_at: Annotated[
        datetime | None, typer.Option("--known-at", help="Only what was known then (UTC). Default: all that is known.")
    ] = None,
) -> None:
    """Show a project's figures at an accounting day, as known now or as known earlier."""
    from streams.figures import EVER, NOW, AsOf
    from streams.figures import as_of as look

    day, moment = EVER if on is None else on.date(), NOW if known_at is None else known_at.replace(tzinfo=UTC)
    found = _run(lambda system: look(system, project, day, moment))
    title = f"{project}, {'every day' if on is None else f'up to {day}'}, as known "
    title += "now" if known_at is None else _text(known_at)
    if not found:
        console.print(f"{escape(title)}: none; nothing was known of it then")
        return
    names = [name.replace("_", " ") for name in AsOf._fields]
    figures = zip(names, *found, strict=True)
    _print(title, ("figure", *(row.currency for row in found)), [row for row in figures if any(_holds(row))])


def _holds(row: Sequence[object]) -> Iterator[bool]:
    """Whether a currency says something in this row of figures; zero is something."""
    name, *values = row
    yield from (value is not None and name != "currency" for value in values)


@app.command("closed-period", rich_help_panel="Look")
def closed_period(company: cli_ask.Company = "") -> None:
    """List changes dated on or before the day up to which the books were closed, the latest first."""
    from streams.figures import Changed
    from streams.figures import closed_period as look

    async def changed(system: "System") -> list[Changed]:
        return await look(system, await _company(system, company))

    _print("Changes in a closed period", Changed._fields, _run(changed))


@app.command(rich_help_panel="Look")
def waiting(
    company: cli_ask.Company = "",
    customer: Annotated[str, typer.Option(help="Only what waits of this customer, record by record.")] = "",
    cause: Annotated[str, typer.Option(help="Only what waits for this, record by record.")] = "",
) -> None:
    """Show what reaches no project yet, and for what it waits; and what is warned about."""
    from streams.waiting import Cause, Part, causes, parts, warnings

    async def look(system: "System") -> tuple[list[Cause], list[Part], list[tuple[object, ...]]]:
        company_id = await _company(system, company)
        if customer or cause:
            return [], await parts(system, company_id, customer=customer, cause=cause), []
        return await causes(system, company_id), [], await warnings(system, company_id)

    by_cause, by_record, warned = _run(look)
    if customer or cause:
        _print("Waiting", Part._fields, by_record)
        return
    _print("Waiting", Cause._fields, by_cause)
    _print("Warnings", ("record", "warning", "about", "since"), warned)


# --- mend --------------------------------------------------------------------------------------------------------


@parked_app.command("list")
def parked_list(
    every: Annotated[
        bool, typer.Option("--all", help="Also those that were redriven, superseded or dismissed.")
    ] = False,
) -> None:
    """List parked records, the latest first."""
    found = _run(lambda system: system.parking.listed(resolved_too=every))
    rows = [(str(p.place), p.record_type, p.record_id, p.reason, p.parked_at, p.resolution) for p in found]
    _print("Parked", ("place", "type", "id", "reason", "since", "resolution"), rows)


@parked_app.command("show")
def parked_show(place: PlaceText) -> None:
    """Show one parked record: why it is parked, its headers, and its bytes as far as they are text."""
    shown = _run(lambda system: system.parking.show(_place(place)))
    listed = shown.listed
    rows = [
        ("place", listed.place),
        ("key", listed.key),
        ("record", f"{listed.record_type or '?'} {listed.record_id or '?'}"),
        ("reason", listed.reason),
        ("error", f"{listed.error_type} in build {shown.build}"),
        ("parked", listed.parked_at),
        ("resolution", listed.resolution),
        *((f"header {name}", value.decode("utf-8", "backslashreplace")) for name, value in shown.headers.items()),
        ("value", (shown.value or b"").decode("utf-8", "backslashreplace")),
    ]
    _print("Parked record", ("", ""), rows)


@parked_app.command("redrive")
def parked_redrive(places: Annotated[list[str], typer.Argument(metavar="PLACE...")]) -> None:
    """Publish parked records again, as they were, to the end of their topic (after the mend)."""

    async def redrive(system: "System") -> None:
        for place in places:
            await system.parking.redrive(_place(place))
            console.print(f"redriven: {place}")

    _run(redrive)


@parked_app.command("dismiss")
def parked_dismiss(
    place: PlaceText, because: Annotated[str, typer.Option(help="Why nobody needs it; is kept.")]
) -> None:
    """Put a parked record away that nobody needs."""
    _run(lambda system: system.parking.dismiss(_place(place), because))
    console.print(f"dismissed: {place}")


@offsets_app.command("check")
def offsets_check() -> None:
    """Say why groups must not start; exit code 1 when one must not."""
    from streams.offsets import check

    refusals = _run(check)
    if refusals:
        raise NotDone("\n".join([*refusals, "`intoaec offsets align` says what would mend it."]))
    console.print("Every group may start.")


@offsets_app.command("align")
def offsets_align(yes: Yes = False) -> None:
    """Set committed offsets to the positions that the database knows. Stop the workers first."""
    from streams.offsets import align, plan

    moves = _run(plan)
    if not moves:
        console.print("Nothing to do: every group stands where it must.")
        return
    rows = [(m.group, *m.partition, "none" if m.committed is None else m.committed, m.wanted, m.why) for m in moves]
    _print("Offsets", ("group", "topic", "partition", "now", "then", "why"), rows)
    if not yes:
        raise NotDone("Nothing was done. Stop the workers, then say it again with --yes.")
    _run(lambda system: align(system, moves))
    console.print(f"Set {len(moves)} offsets.")


@projector_app.command("resume")
def projector_resume(
    stream: Annotated[str, typer.Argument(help="The blocked project (or company); left out: every blocked one.")] = "",
    name: Annotated[str, typer.Option("--projector", help="Only this projector, such as project-balance-v1.")] = "",
) -> None:
    """Go on with what is blocked, from the ledger's own events (after the mend)."""
    from streams.projector import resume_blocked

    for line in _run(lambda system: resume_blocked(_projectors(system), stream, name)):
        console.print(escape(line))


# --- ask: streams/cli_ask.py --------------------------------------------------------------------------------------

app.registered_commands += cli_ask.app.registered_commands


@rules_app.command("adopt")
def rules_adopt(
    company: cli_ask.Company = "",
    rules: Annotated[int, typer.Option("--rules", help="Which rules. Default: the newest.")] = RULES_VERSION,
    yes: Yes = False,
) -> None:
    """Let other rules decide a company's events; what differs is booked as adjusting events."""
    from streams.adoption import adopt, plan

    async def planned(system: "System") -> "tuple[str, Plan]":
        company_id = await _company(system, company)
        return company_id, await plan(system, company_id, rules)

    company_id, found = _run(planned)
    if found.now == found.then:
        console.print(f"Nothing to do: company {company_id} is decided by rules {found.now} already.")
        return
    console.print(f"Company {company_id}: rules {found.now} now, rules {found.then} then.")
    console.print(f"Documents that may get adjusting events: {found.documents:,}")
    if not yes:
        raise NotDone("Nothing was done. Say it again with --yes.")
    _run(lambda system: adopt(system, company_id, rules))
    console.print("Asked for: the ledger books it in its turn (`intoaec status` shows its lag).")


# --- how a command runs ------------------------------------------------------------------------------------------


def main() -> None:
    """Run one command. A problem is a sentence; INTOAEC_DEBUG=1 shows where it came from."""
    try:
        app()
    except Exception as error:
        if os.environ.get("INTOAEC_DEBUG"):
            raise
        sys.exit(_tell(error))


def _tell(error: Exception) -> int:
    """Say a problem in a sentence; the exit code."""
    problems.print(escape(_sentence(error)), soft_wrap=True)
    return 2 if isinstance(error, SettingsError) else 1


@contextmanager
def _ending_at_once() -> Iterator[None]:
    """After the block the process ends with its exit code, whatever its threads wait for.

    All that lasts is closed by then. A thread of Faust that leaves its group may wait a minute for an answer that
    nobody needs; whoever started the process would take it for one that still works.
    """
    exit_code = 0
    try:
        yield
    except SystemExit as ended:
        exit_code = ended.code if isinstance(ended.code, int) else 1
    except Exception as error:
        if os.environ.get("INTOAEC_DEBUG"):
            traceback.print_exc()
        exit_code = _tell(error)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)


def _sentence(error: BaseException) -> str:
    """What a person can act on; of several errors at once the first."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    text = str(error).strip() or type(error).__name__
    if type(error).__module__.partition(".")[0] in ("connectors", "schemas", "streams", "__main__"):
        return text
    return f"Unexpected {type(error).__name__}: {text} (INTOAEC_DEBUG=1 shows where)"


def _settings() -> Settings:
    return Settings.from_environment(os.environ)


def _logging(settings: Settings) -> Settings:
    """The same settings; from now on this process logs as they say. A command for a person prints instead."""
    from connectors.logs import configure_log

    configure_log(settings.log_level)
    return settings


def _run(command: Callable[["System"], Awaitable[Result]]) -> Result:
    """Run one command with the system's parts."""
    from streams.topology import opened

    async def run() -> Result:
        async with opened(_settings()) as system:
            return await command(system)

    return asyncio.run(run())


async def _company(system: "System", named: str) -> str:
    """The company that is meant: the one named, else the only one there is."""
    from streams.status import companies

    known = [company.company_id for company in await companies(system)]
    if named:
        return named
    if len(known) != 1:
        raise NotDone(f"Say --company: {', '.join(known) or 'no company is connected yet'}.")
    return known[0]


def _projectors(system: "System") -> "list[Projector]":
    from streams.projector import Projector
    from streams.topology import steps

    return [step.work for step in steps(system, ["project"]) if isinstance(step.work, Projector)]


def _place(text: str) -> "Place":
    from streams.parking import Place

    return Place.parse(text)


# --- printing ----------------------------------------------------------------------------------------------------


def _print(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table; what stands first is a name that somebody will copy, so it is neither broken nor cut."""
    table = Table(title=title, title_justify="left", show_header=any(columns))
    for number, column in enumerate(columns):
        table.add_column(column.replace("_", " "), no_wrap=number == 0, overflow="fold")
    for row in rows:
        table.add_row(*(_text(value) for value in row))
    if table.row_count:
        console.print(table)
    else:
        console.print(f"{title}: none")


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}Z"
    if isinstance(value, Decimal):
        return _amount(value)
    return escape(f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value))


def _amount(value: Decimal) -> str:
    """`77,400.68`: two decimal places, and more only where there are more."""
    exponent = value.normalize().as_tuple().exponent
    return f"{value:,.{max(2, -exponent) if isinstance(exponent, int) else 2}f}"


def _print_topics(rows: Iterable[tuple[str, str, str, int, int | None]]) -> None:
    days = [(*row[:4], "for ever" if row[4] is None else f"{row[4] // 86_400_000} days") for row in rows]
    _print("Topics", ("topic", "key", "value", "partitions", "kept"), days)


def _print_chain(chain: "Chain") -> None:
    its = chain.input
    for each in chain.notifications:
        console.print(f"[bold]webhook[/]      delivery {each.delivery_id or '?'}, received {each.received_at or '?'}")
        place = f"partition {each.partition}, offset {each.offset}"
        console.print(f"[bold]notification[/] {escape(each.cause_id)} ({place})")
    what = f"{its.change_type} {its.record_type} {its.record_id} of company {its.company_id}".replace("  ", " ")
    place = f"partition {its.partition}, offset {its.offset}"
    console.print(f"[bold]change[/]       {escape(what)} by {its.origin} ({place}): {escape(its.outcome)}")
    for event in chain.events:
        console.print(
            f"[bold]event[/]        {event.event_type} = version {event.version} of {escape(event.stream_id)}"
        )
    for row in chain.rows:
        _print(row.table, ("column", "value"), row.columns.items())
    console.print()


if __name__ == "__main__":
    main()
