"""Play every situation of a folder and say which end as expected: `make situations DIR=folder`.

Exit code 0: all do; 1: some do not; 2: a file is not in the form (docs/situations.md).
"""

import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from tests.situation.expecting import Difference
from tests.situation.playing import play
from tests.situation.reading import NotUnderstood, Situation, gather

OURS = Path(__file__).parents[1] / "situations"


def main(folder: Path) -> int:
    """Play them all; the exit code."""
    console = Console(highlight=False, soft_wrap=True)
    gathered = gather(folder)
    problems, wrong, right = list(gathered.problems), 0, 0
    for situation in gathered.situations:
        try:
            differences = play(situation)
        except NotUnderstood as error:
            problems.append(str(error))
            continue
        wrong, right = wrong + bool(differences), right + (not differences)
        _say(console, situation, differences)
    for problem in problems:
        console.print(f"[red]not understood[/red]  {escape(problem)}")
    unread = f", {len(problems)} not understood" if problems else ""
    console.print(f"{right} situations end as expected, {wrong} do not{unread}")
    return 2 if problems else 1 if wrong else 0


def _say(console: Console, situation: Situation, differences: list[Difference]) -> None:
    sign = "[red]differs[/red]" if differences else "[green]as expected[/green]"
    console.print(f"{sign}  {escape(situation.name)}  [dim]{escape(situation.file)}[/dim]")
    for difference in differences:
        console.print(f"    {escape(str(difference))}")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else OURS))
