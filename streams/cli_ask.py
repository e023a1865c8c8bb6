"""The commands of `intoaec` with which people ask: map, release, link, assign, decide; what it would move; customers.

Parses, calls, prints; no logic. `streams.cli` takes the commands over and runs them.
"""

import getpass
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from connectors.kafka import Publisher
    from streams.preview import Held, Preview
    from streams.requests import Answered, Moved, Requests
    from streams.topology import System

ANSWER_S_MAX = 30.0
STANDS_S_MAX = 30.0
BAR_AFTER_S = 2.0

app = typer.Typer()

Company = Annotated[str, typer.Option("--company", help="QuickBooks company id; may be left out when there is one.")]
Person = Annotated[str, typer.Option("--person", help="Who asks. Default: the user of this machine.")]
IsPreview = Annotated[bool, typer.Option("--preview", help="Only say what would move; nothing is asked.")]
Customer = Annotated[str, typer.Argument(help="QuickBooks customer id.")]
Project = Annotated[str, typer.Argument(help="IntoAEC project id.")]
Record = Annotated[str, typer.Argument(metavar="TYPE/ID", help="One document, such as Invoice/17.")]
Ask = Callable[["Requests", str, str], Awaitable[str]]


@app.command("map", rich_help_panel="Ask")
def map_customer(
    customer: Customer,
    project: Project,
    company: Company = "",
    reference: Annotated[str, typer.Option(help="The project's reference number in QuickBooks.")] = "",
    from_on: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="Only from this day on.")
    ] = None,
    person: Person = "",
    preview: IsPreview = False,
) -> None:
    """Sync a customer into a project: its documents go there from now on."""
    from streams.requests import Mapping

    mapping = Mapping(customer, project, reference, None if from_on is None else from_on.date())

    async def ask(requests: "Requests", company_id: str, who: str) -> str:
        return (await requests.map(company_id, who, [mapping]))[0]

    _ask(company, person, ask, preview)


@app.command(rich_help_panel="Ask")
def release(customer: Customer, company: Company = "", person: Person = "", preview: IsPreview = False) -> None:
    """Take a customer's mapping back: its documents wait again."""
    _ask(company, person, lambda requests, company_id, who: requests.release(company_id, who, customer), preview)


@app.command(rich_help_panel="Ask")
def exclude(
    customer: Customer,
    by_reference: Annotated[bool, typer.Option("--by-reference", help="Map it by Reference Number only.")] = False,
    company: Company = "",
    person: Person = "",
    preview: IsPreview = False,
) -> None:
    """Say that a customer belongs to no project, or to projects by Reference Number only."""

    def ask(requests: "Requests", company_id: str, who: str) -> Awaitable[str]:
        return requests.exclude(company_id, who, customer, reference_only=by_reference)

    _ask(company, person, ask, preview)


@app.command(rich_help_panel="Ask")
def assign(
    record: Record,
    project: Annotated[str, typer.Argument(help="IntoAEC project id; left out: take the assignment back.")] = "",
    company: Company = "",
    person: Person = "",
    preview: IsPreview = False,
) -> None:
    """Put one document into a project, whatever the rules say."""
    key = _key(record)

    def ask(requests: "Requests", company_id: str, who: str) -> Awaitable[str]:
        return requests.assign(company_id, who, key, project or None)

    _ask(company, person, ask, preview)


@app.command("link-project", rich_help_panel="Ask")
def link_project(
    ref: Annotated[str, typer.Argument(help="The project's id in QuickBooks (ProjectRef).")],
    project: Annotated[str, typer.Argument(help="IntoAEC project id; left out: take the link back.")] = "",
    company: Company = "",
    person: Person = "",
    preview: IsPreview = False,
) -> None:
    """Say which project of IntoAEC a project of QuickBooks is: documents that name it go there."""

    def ask(requests: "Requests", company_id: str, who: str) -> Awaitable[str]:
        return requests.link_project(company_id, who, ref, project or None)

    _ask(company, person, ask, preview)


@app.command("merge-decide", rich_help_panel="Ask")
def merge_decide(
    customer: Annotated[str, typer.Argument(help="QuickBooks id of the customer that vanished.")],
    together: Annotated[
        bool,
        typer.Option("--together/--apart", help="Its documents go with the kept one's, or stay where they are."),
    ],
    company: Company = "",
    person: Person = "",
    preview: IsPreview = False,
) -> None:
    """Decide about two customers that QuickBooks merged and that were in different projects."""

    def ask(requests: "Requests", company_id: str, who: str) -> Awaitable[str]:
        return requests.resolve_merge(company_id, who, customer, together=together)

    _ask(company, person, ask, preview)


@app.command("dismiss-warning", rich_help_panel="Ask")
def dismiss_warning(record: Record, company: Company = "", person: Person = "") -> None:
    """Say that somebody has looked at a document that came back after its delete."""
    key = _key(record)
    _ask(company, person, lambda requests, company_id, who: requests.dismiss_warning(company_id, who, key), False)


@app.command("declare-project", rich_help_panel="Ask")
def declare_project(
    project: Project,
    name: Annotated[str, typer.Option(help="Its name. Default: its id.")] = "",
    company: Company = "",
) -> None:
    """Say that IntoAEC has a project: it belongs to this company from now on. Opens a closed one again."""
    from streams import cli

    async def declare(system: "System") -> None:
        company_id = await cli._company(system, company)
        await _requests(system, system.publisher).declare(company_id, [(project, name or project)])

    cli._run(declare)
    cli.console.print(f"declared: {project}")


@app.command("close-project", rich_help_panel="Ask")
def close_project(project: Project, company: Company = "") -> None:
    """Say that IntoAEC closed a project: nothing new is mapped to it, and what it has stays."""
    from streams import cli

    async def close(system: "System") -> None:
        await _requests(system, system.publisher).close_project(await cli._company(system, company), project)

    cli._run(close)
    cli.console.print(f"closed: {project}")


@app.command(rich_help_panel="Look")
def customers(
    company: Company = "",
    name: Annotated[
        str, typer.Option("--name", help="Only those with this text in their name; capitals do not matter.")
    ] = "",
    waiting: Annotated[
        bool, typer.Option("--waiting", help="Only those that wait for a decision (state none or released).")
    ] = False,
) -> None:
    """List customers by name: their id, as the other commands take it, and where their documents go.

    A customer with state none follows the nearest mapped one above it; its money on account may wait.
    At most 500 are listed.
    """
    from streams import cli
    from streams.customers import CUSTOMERS_MAX, Customer
    from streams.customers import customers as look

    async def found(system: "System") -> list[Customer]:
        return await look(system, await cli._company(system, company), name=name, waiting=waiting)

    rows = cli._run(found)
    cli._print("Customers", Customer._fields, rows[:CUSTOMERS_MAX])
    if len(rows) > CUSTOMERS_MAX:
        cli.console.print(f"There are more than these {CUSTOMERS_MAX}; --name narrows it down.")


# --- how they ask ------------------------------------------------------------------------------------------------


def _key(record: str) -> tuple[str, str]:
    from streams import cli

    record_type, _, record_id = record.partition("/")
    if not record_type or not record_id:
        raise cli.NotDone(f"{record!r} names no document: TYPE/ID does, such as Invoice/17.")
    return record_type, record_id


def _ask(company: str, person: str, ask: Ask, preview: bool) -> None:
    """Publish a request, wait for the ledger's answer, and show it; or only show what it would move."""
    from streams import cli

    who = person or getpass.getuser()
    if preview:
        _show(cli._run(lambda system: _previewed(system, company, who, ask)))
        return

    answer, moved = cli._run(lambda system: _answered(system, company, who, ask))
    if answer is None:
        text = f"The ledger did not answer within {ANSWER_S_MAX:.0f} s; the request is kept. Does a worker run?"
        raise cli.NotDone(text)
    if not answer.accepted:
        raise cli.NotDone(f"Refused: {answer.answer}")
    cli.console.print(f"Accepted ({answer.decision_id}): {_outcome(moved)}", soft_wrap=True)


async def _answered(system: "System", company: str, who: str, ask: Ask) -> "tuple[Answered | None, Moved | None]":
    """The ledger's answer, and what it moved; a bar shows how far it is when it takes longer."""
    from streams import cli

    requests, company_id = _requests(system, system.publisher), await cli._company(system, company)
    decision_id, moved = await ask(requests, company_id, who), None
    answers = await requests.answers(company_id, [decision_id], within_s=ANSWER_S_MAX)
    if not answers or not answers[0].accepted:
        return next(iter(answers), None), None
    with _bar() as show:
        async with aclosing(requests.moved(company_id, decision_id, stands_s=STANDS_S_MAX)) as found:  # type: ignore[type-var]
            async for moved in found:
                show(moved.reached, moved.settled)
    return answers[0], moved


def _outcome(moved: "Moved | None") -> str:
    if moved is None or not moved.is_done:
        seen = f", {moved.settled:,} of {moved.reached:,} seen" if moved is not None and moved.reached else ""
        return f"documents are still being moved{seen}. That goes on by itself; `intoaec status` shows how far it is."
    if not moved.moved:
        return "nothing moved."
    return f"{moved.moved:,} document{'' if moved.moved == 1 else 's'} moved."


def _requests(system: "System", publisher: "Publisher | Held") -> "Requests":
    from streams.requests import Requests

    generation = system.settings.topic_generation
    return Requests(system.connections, publisher, system.topics, generation=generation)


async def _previewed(system: "System", company: str, who: str, ask: Ask) -> "Preview":
    """The whole preview; a bar shows how far it is when it takes longer."""
    from streams import cli
    from streams.preview import Held, Preview, Previews

    held, preview = Held(), Preview()
    await ask(_requests(system, held), await cli._company(system, company), who)
    previews = Previews(system.connections, system.topics.ids, generation=system.settings.topic_generation)
    with _bar() as show:
        async with aclosing(previews.of(held.records[0])) as slices:  # type: ignore[type-var]
            async for preview in slices:
                show(preview.reached, preview.settled)
    return preview


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """Shows documents to look at and looked at to a person at a terminal, from the third second on."""
    from rich.progress import Progress

    from streams import cli

    began = time.monotonic()
    with Progress(console=cli.console, transient=True, disable=not cli.console.is_terminal) as bar:
        task = bar.add_task("documents", visible=False)
        yield lambda reached, settled: bar.update(
            task, total=reached or None, completed=settled, visible=time.monotonic() - began > BAR_AFTER_S
        )


def _show(preview: "Preview") -> None:
    from streams import cli

    if preview.refusal:
        raise cli.NotDone(f"It would be refused: {preview.refusal}")
    cli._print("Would move", ("type", "documents"), sorted(preview.moved.items()))
    rows = [
        (project_id, currency, name.replace("_", " "), amounts.before[name], amounts.after[name])
        for (project_id, currency), amounts in preview.amounts.items()
        for name in amounts.before
        if amounts.before[name] != amounts.after[name]
    ]
    cli._print("Amounts", ("project", "currency", "figure", "now", "then"), rows)
    waits = [
        (cause, currency, f"{more.parts:+,}", f"{'+' if more.amount > 0 else ''}{cli._amount(more.amount)}")
        for (cause, currency), more in sorted(preview.waiting.items())
        if any(more)
    ]
    if waits:
        cli._print("Would wait", ("cause", "currency", "parts", "amount"), waits)
    cli.console.print("Nothing was asked yet.")
