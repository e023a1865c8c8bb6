"""Live whole lives in a storm and compare the read tables with the truth: `python -m tests.convergence --seed 7`.

Starts: broker and database (those named by KAFKA_BOOTSTRAP and DATABASE_URL instead, where given), and for each seed an
installation of its own. Exit code 0: no difference in any seed; 1: differences, or a seed that did not come to rest.
Source: docs/convergence.md.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from decimal import Decimal
from pathlib import Path

import psycopg
from psycopg import conninfo, sql
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from connectors.child import CannotStart
from connectors.child import Progress as Show
from connectors.local import Broker, Database
from connectors.postgres import migrate
from tests.acceptance.running import installed
from tests.convergence.comparing import Comparison, Waiting
from tests.convergence.living import Asked, Life, Lived, stopped

SHOWN_MAX = 20  # differences of one company
TEMPLATE = "convergence_template"


def options(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.convergence", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seed", type=int, help="one seed")
    parser.add_argument("--seeds", default="1", metavar="A-B,C", help="several seeds, one after another")
    parser.add_argument("--companies", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5000, help="over all companies together")
    parser.add_argument("--profile", default="storm", help="calm, ordinary day or storm")
    parser.add_argument("--rate", default="80/s", help="steps a second while the storm blows, or max")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the logs and the truth here, for each seed")
    parser.add_argument("--list", action="store_true", help="every waiting record, not only their kinds")
    given = parser.parse_args(arguments)
    given.seeds = [given.seed] if given.seed is not None else list(_numbers(given.seeds))
    return given


def _numbers(text: str) -> Iterator[int]:
    """1, 2, 3 and 7 from `1-3,7`."""
    for part in text.split(","):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def main(arguments: list[str]) -> int:
    """Live every seed; the exit code."""
    given, console = options(arguments), Console(highlight=False, soft_wrap=True)
    with ExitStack() as stack:
        try:
            bootstrap, server_url = _neighbours(stack, console)
        except CannotStart as error:
            console.print(f"[red]cannot start[/red] {escape(str(error))}")
            return 1
        outcomes = {seed: _seed(console, given, seed, bootstrap, server_url) for seed in given.seeds}
    if len(outcomes) > 1:
        wrong = [str(seed) for seed, right in outcomes.items() if not right]
        console.print(
            f"{len(outcomes)} seeds, " + (f"[red]not right: {', '.join(wrong)}[/red]" if wrong else "all right")
        )
    return 0 if all(outcomes.values()) else 1


def _neighbours(stack: ExitStack, console: Console) -> tuple[str, str]:
    """A broker and a database server with a database that has all tables and no rows."""
    bootstrap, url = os.environ.get("KAFKA_BOOTSTRAP", ""), os.environ.get("DATABASE_URL", "")
    with _progress(console) as show:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="intoaec-convergence-")))
        if not bootstrap:
            bootstrap = stack.enter_context(Broker.start(folder / "kafka", progress=show)).bootstrap
        if not url:
            url = stack.enter_context(Database.start(folder / "postgres", fsync=False, progress=show)).url
        migrate(_template(url))
    return bootstrap, url


def _template(url: str) -> str:
    """The address of the database that every seed's own is copied from; made where it is not there."""
    with psycopg.connect(url, autocommit=True) as connection, suppress(psycopg.errors.DuplicateDatabase):
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
    return conninfo.make_conninfo(url, dbname=TEMPLATE)


def _seed(console: Console, given: argparse.Namespace, seed: int, bootstrap: str, server_url: str) -> bool:
    asked = Asked(seed, given.companies, given.steps, given.profile, given.rate)
    console.print(f"[bold]seed {seed}[/bold]: {asked.companies} companies, {asked.steps} steps, {asked.profile}")
    began = time.monotonic()
    with ExitStack() as stack:
        folder = _folder(stack, given.keep, seed)
        running = stack.enter_context(stopped(installed(bootstrap, server_url, folder, TEMPLATE)))
        with _progress(console) as show:
            try:
                lived = Life(running, asked, show).live()
            except (AssertionError, CannotStart) as error:
                console.print(f"seed {seed}: [red]did not come to rest[/red] {escape(str(error))}\n")
                return False
    _tell(console, lived, every=given.list)
    verdict = "[red]differs[/red]" if lived.differences else "[green]equal[/green]"
    console.print(f"seed {seed}: {verdict}, {len(lived.differences)} differences, {time.monotonic() - began:.0f} s\n")
    return not lived.differences


def _folder(stack: ExitStack, kept: Path | None, seed: int) -> Path:
    """Where the processes of one seed write."""
    if kept is None:
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="intoaec-convergence-")))
    folder = kept / f"seed-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    return folder


# --- what a person sees -----------------------------------------------------------------------------------------------


def _tell(console: Console, lived: Lived, *, every: bool) -> None:
    summary = lived.life["summary"]
    console.print(f"  lived     {_counted(summary['happenings'])}")
    console.print(f"  storm     {_counted(lived.faults)}")
    for comparison in lived.comparisons:
        console.print(f"  [bold]{comparison.company_id}[/bold]  compared {_counted(comparison.compared)}")
        _tell_waiting(console, comparison, every=every)
        for difference in comparison.differences[:SHOWN_MAX]:
            console.print(f"    [red]differs[/red] {escape(str(difference))}")
        if (more := len(comparison.differences) - SHOWN_MAX) > 0:
            console.print(f"    [red]differs[/red] and {more} more")


def _tell_waiting(console: Console, comparison: Comparison, *, every: bool) -> None:
    if not comparison.waiting:
        console.print("    nothing waits")
    for record, cause, why, amount in _listed(comparison.waiting) if every else _kinds(comparison.waiting):
        console.print(f"    waits: {record}, {amount}; {cause}; {escape(why)}")


def _listed(waiting: list[Waiting]) -> Iterator[tuple[str, str, str, str]]:
    for one in waiting:
        yield f"{one.record} {one.part}".rstrip(), one.cause, one.why, f"{one.amount:,.2f} {one.currency}"


def _kinds(waiting: list[Waiting]) -> Iterator[tuple[str, str, str, str]]:
    """One line for each kind of record and cause."""
    found: defaultdict[tuple[str, str], list[Waiting]] = defaultdict(list)
    for one in waiting:
        found[f"{one.record.split()[0]} {one.part.split(':')[0]}".rstrip(), one.cause].append(one)
    for (record, cause), of_kind in sorted(found.items()):
        sums: defaultdict[str, Decimal] = defaultdict(Decimal)
        for one in of_kind:
            sums[one.currency] += one.amount
        amounts = ", ".join(f"{amount:,.2f} {currency}" for currency, amount in sorted(sums.items()))
        yield f"{len(of_kind)} {record}", cause, f"such as {of_kind[0].record}: {of_kind[0].why}", amounts


def _counted(counts: dict[str, int] | Counter[str]) -> str:
    return (
        ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda each: -each[1])) or "nothing"
    )


@contextmanager
def _progress(console: Console) -> Iterator[Show]:
    """A line that shows what is being done and for how long, with a bar where there is something to count."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=24), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting", total=None)

        def show(what: str, done: int, total: int) -> None:
            progress.update(task, description=what, completed=done, total=total or None)

        yield show


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
