"""Worked examples in docs/meaning.md: the figures after each line of a situation, as a table.

`python -m tests.situation.worked` writes the tables anew; a test holds the page to them, so that it stays true.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.linked import Linked
from tests.rules import Balance
from tests.situation.names import Names
from tests.situation.playing import Script
from tests.situation.reading import Situation, Step, situations

PAGE = Path(__file__).parents[2] / "docs/meaning.md"
OURS = Path(__file__).parents[1] / "situations"
EXAMPLE = re.compile(r"<!-- situation: (?P<name>.+?) -->\n.*?<!-- end -->", re.DOTALL)
SHOWN = {
    "O": "O",
    "C": "C",
    "U": "U",
    "cash": "cash",
    "refunds": "refunds",
    "other": "other",
    "credit_in": "credit in",
    "credit_out": "credit out",
    "home_N": "home N",
    "home_cash": "home cash",
    "gained": "exchange gain",
}


def written(page: str, known: dict[str, Situation]) -> str:
    """The page with every table as the rules make it now. Raises KeyError for a situation that is not there."""

    def one(match: re.Match[str]) -> str:
        situation = known[match["name"]]
        return "\n".join([f"<!-- situation: {situation.name} -->", "", *table(situation), "", "<!-- end -->"])

    return EXAMPLE.sub(one, page)


def table(situation: Situation) -> Iterator[str]:
    """One row for each line of the history, with what is not zero after it."""
    steps = [step for step in situation.history if step.command != "expect"]
    worlds = [_world(situation, steps[: count + 1]) for count in range(len(steps))]
    projects = sorted({project for world in worlds for project, balance in world.balances().items() if _said(balance)})
    waits = any(world.waiting() for world in worlds)
    yield _row("what happened", *projects, *(["waits"] if waits else []))
    yield _row(*["---"] * (1 + len(projects) + waits))
    names = Names(situation)
    for step, world in zip(steps, worlds, strict=True):
        balances = world.balances()
        figures = [_said(balances[project]) or "nothing" if project in balances else "" for project in projects]
        yield _row(_words(step), *figures, *([_waiting(world, names)] if waits else []))


def _world(situation: Situation, steps: list[Step]) -> Linked:
    return Script(replace(situation, history=tuple(steps)), every=situation).played(None)[0]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _said(balance: Balance) -> str:
    return ", ".join(
        f"{word} {_amount(getattr(balance, name))}" for name, word in SHOWN.items() if getattr(balance, name)
    )


def _amount(amount: Decimal) -> str:
    return f"{amount:,.2f}".replace("-", "−")


def _waiting(world: Linked, names: Names) -> str:
    found = []
    for document in sorted(world.books.documents.values(), key=lambda document: document.key):
        for part, waiting in sorted(document.booked.waiting.items()):
            kind, _, number = part.partition(":")
            name = f"{names.name(document.key)} {names.name((kind, number)) if number else part}".strip()
            stake = "" if waiting.amount is None else f" {_amount(waiting.amount.amount)}"
            home = "" if waiting.home is None else f" (home {_amount(waiting.home.amount)})"
            found.append(name + stake + home)
    return ", ".join(found)


def _words(step: Step) -> str:
    """The line in words: `invoice I1, total 1,000.00, customer A`."""
    told = [f"{name} {_value(name, value)}" for name, value in step.fields.items() if name not in ("at", "seen")]
    revised = [f"revised at minute {step.fields['at']}"] if "at" in step.fields else []
    return ", ".join([f"{step.command} {step.subject}", *told, *revised])


def _value(name: str, value: Any) -> str:
    if isinstance(value, dict):
        return " and ".join(f"{one} {_value(one, each)}" for one, each in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(_value(name, each) for each in value)
    if isinstance(value, Decimal):
        return str(value) if name == "rate" else _amount(value)
    return "none" if value is None else str(value)


def main() -> None:
    """Write the tables of the page anew."""
    known = {situation.name: situation for situation in situations(OURS)}
    PAGE.write_text(written(PAGE.read_text(), known))


if __name__ == "__main__":
    main()
