"""The table in which every benchmark tells its figures: each beside a baseline measured in the same run."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure."""

    name: str
    value: float
    unit: str
    baseline: float | None = None  # in the same unit, from the same run; None: it has none
    ratio: float | None = None  # value / baseline
    target: str = ""  # what is to be reached, in words; empty: only told
    met: bool | None = None  # None: no target


def ratio_of(value: float, baseline: float) -> float | None:
    """How many times the baseline; None where there is nothing to compare with."""
    return value / baseline if baseline else None


def show(title: str, rows: Sequence[Row]) -> None:
    """Print the rows as a table."""
    table = Table(title=title, title_justify="left")
    for column in ("figure", "value", "baseline", "ratio", "target", "met"):
        table.add_column(column, justify="left" if column in ("figure", "target") else "right")
    for row in rows:
        met = "" if row.met is None else ("[green]yes[/]" if row.met else "[red]NO[/]")
        baseline = "" if row.baseline is None else _figure(row.baseline, row.unit)
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        table.add_row(row.name, _figure(row.value, row.unit), baseline, ratio, row.target, met)
    Console().print(table)


def all_met(rows: Sequence[Row]) -> bool:
    """Whether no target was missed."""
    return all(row.met is not False for row in rows)


def _figure(value: float, unit: str) -> str:
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2
    return f"{value:,.{digits}f} {unit}".rstrip()
