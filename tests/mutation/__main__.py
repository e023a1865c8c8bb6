"""Would a wrong rule be noticed? `make mutate`: every pure rule is made wrong in one place, and the tests are run.

Exit code 0: at least 90 % of each module's mutants are killed and every survivor is explained in survivors.toml;
1: not so; 2: the tests fail without any mutant. See docs/mutation.md.
"""

import argparse
import hashlib
import json
import signal
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tests.mutation.killing import ROOT, BaselineFailed, Run, runs
from tests.mutation.mutants import Mutant, mutants_of

HERE = Path(__file__).parent
LAST_RESULTS = HERE / ".last_results.jsonl"
SHARE_MIN = 90
_LEDGER = (
    "tests/unit/test_books.py",
    "tests/unit/test_rules.py",
    "tests/unit/test_rules_answers.py",
    "tests/unit/test_rules_linked.py",
    "tests/unit/test_rules_merges.py",
    "tests/unit/test_rules_order.py",
    "tests/unit/test_rules_outcomes.py",
    "tests/unit/test_rules_reach.py",
    "tests/unit/test_rules_distinctions.py",
    "tests/unit/test_exchange.py",
    "tests/unit/test_exchange_limits.py",
    "tests/unit/test_situations.py::test_situation_ends_as_expected",
)
_PROJECTIONS = (
    "tests/unit/test_posting.py",
    "tests/unit/test_projections.py",
    "tests/unit/test_projections_properties.py",
)
TESTS = {  # by module: those that say what it means, quick ones
    "streams/payments.py": _LEDGER,
    "streams/placement.py": _LEDGER,
    "streams/ledger.py": _LEDGER,
    "streams/difference.py": _LEDGER,
    "streams/exchange.py": _LEDGER,
    "streams/posting.py": _PROJECTIONS,
    "streams/merges.py": _LEDGER,
    "streams/books.py": _LEDGER,
    "streams/journals.py": _LEDGER,
    "streams/asking.py": _LEDGER,
    "schemas/money.py": ("tests/unit/test_money.py", "tests/unit/test_quickbooks_records.py"),
}
Explanations = dict[tuple[str, str, str, str], str]


class Found(NamedTuple):
    """One module, measured."""

    module: str
    runs: list[Run]

    @property
    def seconds(self) -> float:
        """Of all its runs; several ran at once."""
        return sum(run.seconds for run in self.runs)

    @property
    def survived(self) -> list[Mutant]:
        """The mutants that no test noticed."""
        return [run.mutant for run in self.runs if run.mutant is not None and not run.failed]

    @property
    def share(self) -> int:
        """Percent killed, never rounded up."""
        return 100 * (len(self.runs) - len(self.survived)) // max(1, len(self.runs))


def main(arguments: list[str]) -> int:
    """Measure the modules; the exit code."""
    console = Console(highlight=False, soft_wrap=True)
    asked = _asked(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the workers are ended, too
    known = _known() if asked.again else {}
    modules = [module for module in TESTS if not asked.modules or module in map(_path, asked.modules)]
    groups = [[module for module in modules if TESTS[module] == tests] for tests in dict.fromkeys(TESTS.values())]
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        try:
            found = [each for group in groups for each in _measured(group, known, asked.workers, Path(folder))]
        except BaselineFailed as error:
            console.print(f"without any mutant the tests fail: {escape(str(error))}")
            return 2
    return _told(console, found, explanations())


def _asked(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("modules", nargs="*", help=f"of {', '.join(TESTS)}; all if none is named")
    parser.add_argument("--again", action="store_true", help="only what the last run did not kill")
    parser.add_argument("--workers", type=int, default=2, help="so many at once")
    asked = parser.parse_args(arguments)
    if unknown := [name for name in asked.modules if _path(name) not in TESTS]:
        parser.error(f"{', '.join(unknown)} is not measured; known: {', '.join(TESTS)}")
    return asked


def _path(name: str) -> str:
    return name if name.endswith(".py") else f"streams/{name}.py"


def _measured(modules: list[str], known: dict[str, str], workers: int, folder: Path) -> list[Found]:
    """Modules that meet the same tests, together: the tests are run without a mutant once."""
    mutants = [mutant for module in modules for mutant in mutants_of(module, (ROOT / module).read_text())]
    ended = [Run(mutant, known[_mark(mutant)], 0) for mutant in mutants if known.get(_mark(mutant))]
    rest = [mutant for mutant in mutants if not known.get(_mark(mutant))]
    if rest:
        every = runs(rest, TESTS[modules[0]], workers, folder)
        ended += [_kept(run) for run in every if run.mutant is not None]
    return [Found(name, [run for run in ended if run.mutant and run.mutant.module == name]) for name in modules]


def explanations() -> Explanations:
    """Why a mutant may live: by module, place and the lines before and after."""
    entries = tomllib.loads((HERE / "survivors.toml").read_text()).get("survivor", [])
    return {
        (entry["module"], entry["place"], entry["before"], after): entry["why"]
        for entry in entries
        for after in entry["after"]
    }


def _identity(mutant: Mutant) -> tuple[str, str, str, str]:
    return mutant.module, mutant.place, mutant.before, mutant.after


def _told(console: Console, found: list[Found], explained: Explanations) -> int:
    survived = [mutant for each in found for mutant in each.survived]
    for mutant in survived:
        _tell(console, mutant, explained.get(_identity(mutant)))
    alive = {_identity(mutant) for mutant in survived}
    stale = [key for key in explained if key not in alive and key[0] in {each.module for each in found}]
    for module, place, _, after in stale:
        console.print(f"[red]explained, but it does not survive[/red] {module} {place}: {escape(after)}")
    console.print(_table(found))
    unexplained = sum(_identity(mutant) not in explained for mutant in survived)
    console.print(f"{len(survived)} survivors, {unexplained} of them without an explanation")
    return int(bool(unexplained or stale or any(each.share < SHARE_MIN for each in found)))


def _tell(console: Console, mutant: Mutant, why: str | None) -> None:
    """A survivor, in the form of survivors.toml where nobody has explained it yet."""
    if why is not None:
        console.print(f"{mutant.module}:{mutant.line} {mutant.place}")
        console.print(f"  - {escape(mutant.before)}\n  + {escape(mutant.after)}\n  [green]{escape(why)}[/green]")
        return
    console.print(f"[red]# {mutant.module}:{mutant.line} {mutant.operator}[/red]")
    console.print(f'[[survivor]]\nmodule = "{mutant.module}"\nplace = "{mutant.place}"', markup=False)
    console.print(f"before = '''{mutant.before}'''\nafter = ['''{mutant.after}''']\nwhy = \"\"", markup=False)


def _table(found: Iterable[Found]) -> Table:
    table = Table("module", *("mutants", "killed", "survived", "share", "seconds"))
    for each in found:
        count, alive = len(each.runs), len(each.survived)
        table.add_row(each.module, str(count), str(count - alive), str(alive), f"{each.share} %", f"{each.seconds:.0f}")
    return table


def _mark(mutant: Mutant) -> str:
    """The same mutant in another run, where other lines of its module may have changed."""
    return hashlib.sha256("\n".join((*_identity(mutant), mutant.operator)).encode()).hexdigest()


def _known() -> dict[str, str]:
    """By which test a mutant was killed when it was last tried; empty: it survived."""
    lines = LAST_RESULTS.read_text().splitlines() if LAST_RESULTS.exists() else []
    return dict(json.loads(line) for line in lines)


def _kept(run: Run) -> Run:
    if run.mutant is not None:
        with LAST_RESULTS.open("a") as file:
            file.write(json.dumps([_mark(run.mutant), run.failed]) + "\n")
    return run


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
