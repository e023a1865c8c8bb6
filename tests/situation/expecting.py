"""What a situation expects, against a world; what it does not name is not compared, lists are whole."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple

from schemas.accounting import Figures, Share
from schemas.money import Money
from streams.difference import Fact
from tests.linked import Linked
from tests.situation.figures import figures
from tests.situation.names import Names
from tests.situation.reading import ON
from tests.situation.yaml_form import NUMBER


class Difference(NamedTuple):
    """One thing that is not as expected."""

    what: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.what}: expected {self.expected}, found {self.found}"


def differences(names: Names, expected: Mapping[str, Any], world: Linked) -> Iterator[Difference]:
    """In the order in which the file names them. Raises NotUnderstood for a name that nothing was given."""
    compare: Mapping[str, Callable[[Names, Any, Linked], Iterator[Difference]]] = {
        "waiting": _waiting,
        "warnings": _warnings,
        "events": _events,
        "reasons": _reasons,
        "asks to read": _asks,
    }
    for word, wanted in expected.items():
        if word in compare:
            yield from compare[word](names, wanted, world)
        else:
            yield from _balances(word, wanted, world)


def state(world: Linked) -> list[tuple[str, str]]:
    """What must not depend on the order in which records came."""
    balances = {p: {n: _plain(a) for n, a in asdict(b).items() if a} for p, b in sorted(world.balances().items())}
    waits = {f"{d.key}": dict(sorted(d.booked.waiting.items())) for d in world.books.documents.values()}
    warned = {f"{d.key}": dict(sorted(d.booked.warnings.items())) for d in world.books.documents.values()}
    return [
        ("balances", str({p: f for p, f in balances.items() if f})),
        ("what waits", str(sorted((k, str(v)) for k, v in waits.items() if v))),
        ("warnings", str(sorted((k, str(v)) for k, v in warned.items() if v))),
    ]


def _differ(what: str, expected: Any, found: Any) -> Iterator[Difference]:
    if expected != found:
        yield Difference(what, str(expected), str(found))


def _balances(word: str, expected: Mapping[str, Mapping[str, Decimal]], world: Linked) -> Iterator[Difference]:
    """`balances`, or `balances on 2026-01-31`: by project, or by project and currency."""
    day = date.fromisoformat(word.removeprefix(ON)) if word.startswith(ON) else date.max
    found, suffix = figures(world.facts, day), f" on {day}" if word.startswith(ON) else ""
    for each, wanted in expected.items():
        project, _, currency = each.rpartition(" ") if each not in world.books.projects else (each, "", "")
        held = found.get(project)
        for name, amount in wanted.items():
            got = Decimal(0) if held is None else held.of(name, currency or None)
            if isinstance(got, str):
                got = f"{got}: say `{project} {got[-3:]}`"
            yield from _differ(f"{each} {name}{suffix}", amount, got)


def _waiting(names: Names, expected: Mapping[str, Any], world: Linked) -> Iterator[Difference]:
    found = {
        f"{names.name(document.key)} {_part(names, part)}".strip(): waiting
        for document in world.books.documents.values()
        for part, waiting in document.booked.waiting.items()
    }
    if sorted(expected) != sorted(found):
        told = (f"{name} ({waiting.cause.value} {_money(waiting.amount)})" for name, waiting in found.items())
        yield Difference("what waits", _joined(expected), _joined(told))
    for name in (name for name in expected if name in found):
        waiting, wanted = found[name], expected[name]
        for key, amount in (("amount", waiting.amount), ("home amount", waiting.home)):
            if key in wanted:
                yield from _differ(f"{name} waits: {key}", wanted[key], _money(amount))
        if "because" in wanted:
            yield from _differ(f"{name} waits because", wanted["because"], waiting.cause.value)


def _money(money: Money | None) -> Decimal | str:
    return "none" if money is None else money.amount


def _joined(words: Iterable[str]) -> str:
    return ", ".join(sorted(words)) or "nothing"


def _part(names: Names, part: str) -> str:
    record_type, _, record_id = part.partition(":")
    return names.name((record_type, record_id)) if record_id else part


def _warnings(names: Names, expected: Mapping[str, list[str]], world: Linked) -> Iterator[Difference]:
    """Of documents and of merged customers, as they were raised and cleared."""
    found: dict[str, list[str]] = {}
    for record_type, record_id, code in sorted(world.warnings()):
        found.setdefault(names.name((record_type, record_id)), []).append(code)
    wanted = [f"{name}: {code}" for name, codes in expected.items() for code in codes]
    told = [f"{name}: {code}" for name, codes in found.items() for code in codes]
    yield from _differ("warnings", _joined(wanted), _joined(told))


def _events(names: Names, expected: Sequence[Sequence[str]], world: Linked) -> Iterator[Difference]:
    """Project by project: an order between two projects means nothing to anybody."""
    found = [said(names, fact) for fact in world.facts if not type(fact.body).__name__.startswith("Customer")]
    for project in dict.fromkeys([line[0] for line in (*expected, *found)]):
        wanted = [[_number(word) for word in line] for line in expected if line[0] == project]
        shown = [line for line in found if line[0] == project]
        if len(wanted) != len(shown) or any(w != f[: len(w)] for w, f in zip(wanted, shown, strict=True)):
            lines = ["; ".join(" ".join(line) for line in each) or "none" for each in (wanted, shown)]
            yield Difference(f"events of {project}", *lines)


def _number(word: str) -> str:
    return _plain(Decimal(word)) if NUMBER.match(word) else word


def said(names: Names, fact: Fact) -> list[str]:
    """`P1 PaymentApplied Pay I1 400`: project, event, record, what it settles, amount."""
    body, record = fact.body, names.name(fact.record)
    words = [fact.project_id, type(body).__name__, *record.split()]
    before, after = getattr(body, "before", None), getattr(body, "after", None)
    if before is not None or after is not None:
        amounts = [_amount(each) for each in (before, after) if each is not None]
        return [*words, *amounts] if len(amounts) == 1 else [*words, amounts[0], "->", amounts[1]]
    memo, invoice = getattr(body, "credit_memo_id", ""), getattr(body, "invoice_id", "")
    words += names.name(("CreditMemo", memo)).split() if memo else []
    words += names.name(("Invoice", invoice)).split() if invoice else []
    if hasattr(body, "other_id"):
        words += names.name((body.other_type, body.other_id)).split()
    amount = next((getattr(body, each) for each in ("applied", "transferred", "gained") if hasattr(body, each)), None)
    return words if amount is None else [*words, _plain(amount.amount)]


def _reasons(names: Names, expected: Mapping[str, Any], world: Linked) -> Iterator[Difference]:
    """One reason for every project in which it stands, or each by its project."""
    for name, reason in expected.items():
        document = world.books.document(names.key(name))
        found = {p: standing.reason.value for p, standing in sorted(document.booked.standings.items())}
        if isinstance(reason, dict) or set(found.values()) != {reason}:
            told = ", ".join(f"{why} in {project}" for project, why in found.items()) or "it stands nowhere"
            wanted = reason if isinstance(reason, str) else ", ".join(f"{v} in {k}" for k, v in sorted(reason.items()))
            yield from _differ(f"{name} stands because", wanted, told)


def _asks(names: Names, expected: Sequence[str], world: Linked) -> Iterator[Difference]:
    asked = {names.name(key) for decision in world.decisions for key in decision.reads}
    yield from _differ("records asked to be read", _joined(expected), _joined(asked))


def _amount(each: Figures | Share) -> str:
    return _plain((each.received if isinstance(each, Share) else each.total).amount)


def _plain(amount: Decimal) -> str:
    return format(amount.normalize(), "f")
