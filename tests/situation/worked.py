"""Worked examples in docs/meaning.md, made from situations by the rules themselves.

`<!-- situation: NAME -->`: the figures after each line; `<!-- events: NAME -->`: the events of each line and what they
add; `<!-- days: NAME -->`: the figures as of the days that the situation names.
`python -m tests.situation.worked` writes the tables anew; a test holds the page to them, so that it stays true.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from schemas.changes import RULES_VERSION
from tests.linked import Linked
from tests.rules import Balance
from tests.situation.expecting import said
from tests.situation.figures import figures
from tests.situation.names import Names
from tests.situation.playing import Script
from tests.situation.reading import DEFAULT_CUSTOMERS, ON, Situation, Step, situations
from tests.situation.yaml_form import word

PAGE = Path(__file__).parents[2] / "docs/meaning.md"
OURS = Path(__file__).parents[1] / "situations"
EXAMPLE = re.compile(r"<!-- (?P<form>situation|events|days): (?P<name>.+?) -->\n.*?<!-- end -->", re.DOTALL)
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
        situation, form = known[match["name"]], match["form"]
        rows = {"situation": table, "events": events, "days": days}[form](situation)
        head = [f"<!-- {form}: {situation.name} -->", "", *_given(situation)]
        return "\n".join([*head, *rows, "", "<!-- end -->"])

    return EXAMPLE.sub(one, page)


def table(situation: Situation) -> Iterator[str]:
    """One row for each line of the history, with what is not zero after it."""
    worlds = list(_worlds(situation))
    balances = [world.balances() for _, world in worlds]
    projects = sorted({project for each in balances for project, balance in each.items() if _said(balance)})
    waits = any(world.waiting() for _, world in worlds)
    yield _row("what happened", *projects, *(["waits"] if waits else []))
    yield _row(*["---"] * (1 + len(projects) + waits))
    names = Names(situation)
    for (step, world), each in zip(worlds, balances, strict=True):
        held = [_said(each.get(project, Balance())) or "nothing" for project in projects]
        yield _row(_words(step), *held, *([_waiting(world, names)] if waits else []))


def events(situation: Situation) -> Iterator[str]:
    """One row for each event, with what it adds."""
    yield _row("what happened", "project", "event", "what it adds")
    yield _row(*["---"] * 4)
    names, before = Names(situation), 0
    for step, world in _worlds(situation):
        words = _words(step)
        for fact in world.facts[before:]:
            added = Balance()
            added.post(fact.body)
            if adds := _said(added, sign="+"):
                _, event, *rest = said(names, fact)
                yield _row(words, fact.project_id, f"`{event}` {' '.join(rest)}", adds)
                words = ""
        before = len(world.facts)


def days(situation: Situation) -> Iterator[str]:
    """One row for each day that the situation names, as known at the end."""
    worlds = list(_worlds(situation))
    world = worlds[-1][1]
    yield f"What happened: {'; '.join(_words(step) for step, _ in worlds)}."
    yield ""
    named = sorted(word.removeprefix(ON) for word in situation.history[-1].fields if word.startswith(ON))
    found = [(day, figures(world.facts, date.fromisoformat(day))) for day in named]
    projects = sorted({project for _, held in found for project in held})
    yield _row("as of", *projects)
    yield _row(*["---"] * (1 + len(projects)))
    for day, held in found:
        balances = [next(iter(held[p].by_currency.values()), Balance()) if p in held else Balance() for p in projects]
        yield _row(day, *(_said(balance) or "nothing" for balance in balances))


def _given(situation: Situation) -> Iterator[str]:
    """Who the customers are, where they are not A in P1 and B in P2."""
    told = [_customer(name, fields) for name, fields in situation.customers.items()]
    if situation.customers == DEFAULT_CUSTOMERS:
        told = []
    if situation.home_currency != "USD":
        told.append(f"the home currency is {situation.home_currency}")
    if situation.rules != RULES_VERSION:
        told.append(f"the company begins with rules {situation.rules}")
    if told:
        yield f"Given: {'; '.join(told)}."
        yield ""


def _customer(name: str, fields: Mapping[str, Any]) -> str:
    parent = f", a job of {fields['parent']}," if fields.get("parent") else ""
    reference = f" with the number {fields['reference']}" if fields.get("reference") else ""
    mapped = f"is mapped to {fields['project']}{reference}" if fields.get("project") else "is not mapped"
    return f"{name}{parent} {mapped}"


def _worlds(situation: Situation) -> Iterator[tuple[Step, Linked]]:
    """Each line of the history with the world after it."""
    steps = [step for step in situation.history if step.command != "expect"]
    for count, step in enumerate(steps, start=1):
        yield step, _world(situation, steps[:count])


def _world(situation: Situation, steps: list[Step]) -> Linked:
    return Script(replace(situation, history=tuple(steps)), every=situation).played(None)[0]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _said(balance: Balance, sign: str = "-") -> str:
    return ", ".join(
        f"{word} {_amount(getattr(balance, name), sign)}" for name, word in SHOWN.items() if getattr(balance, name)
    )


def _amount(amount: Decimal, sign: str = "-") -> str:
    return f"{amount:{sign},.2f}".replace("-", "−")


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
    told = [f"{name} {_value(name, value)}" for name, value in step.fields.items() if name not in _UNTOLD]
    revised = [f"revised at minute {step.fields['at']}"] if "at" in step.fields else []
    return ", ".join([f"{step.command} {step.subject}", *told, *revised])


_UNTOLD = ("at", "read at", "seen", "id")


def _value(name: str, value: Any) -> str:
    if isinstance(value, dict):
        return " and ".join(f"{one} {_value(one, each)}" for one, each in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(_value(name, each) for each in value)
    if isinstance(value, Decimal):
        return str(value) if name == "rate" else _amount(value)
    return "none" if value is None else word(value)


def main() -> None:
    """Write the tables of the page anew."""
    known = {situation.name: situation for situation in situations(OURS)}
    PAGE.write_text(written(PAGE.read_text(), known))


if __name__ == "__main__":
    main()
