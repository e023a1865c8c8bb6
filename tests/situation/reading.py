"""Read accounting situations from YAML files: what was given, in order, and what is expected.

The form is docs/situations.md.

Reads: *.yaml below a folder. Writes: nothing.
Guarantees: amounts are exact; a word or value that is not in the form is refused with the file, the line, the situation
and what would be; one situation that is not understood takes nothing from the others.
"""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from schemas.accounting import EVENTS
from schemas.changes import RULES_VERSION
from streams.books import Reason, WaitCause
from tests.situation.yaml_form import NUMBER, Fields, Items, NotYaml, documents, word

SALES = {"invoice": "Invoice", "credit memo": "CreditMemo", "refund receipt": "RefundReceipt"}
DOCUMENTS = SALES | {"payment": "Payment"}
_EITHER = {"id", "customer", "total", "on", "lines", "number", "project", "currency", "rate"}
_SALE = _EITHER | {"due", "tax", "deposit", "reference"}
_PAYMENT = _EITHER | {"unapplied"}
_ANY_READ = {"at", "read at"}
_ANY_REQUEST = {"refused", "seen"}
FIELDS: dict[str, set[str]] = {
    **dict.fromkeys(SALES, _SALE | _ANY_READ),
    "payment": _PAYMENT | _ANY_READ,
    "customer": {"id", "parent", "name", "active", "currency"} | _ANY_READ,
    "void": _ANY_READ,
    "delete": _ANY_READ,
    "not found": set(),
    "read again": _ANY_READ,
    "project": set(),
    "close project": set(),
    "adopt rules": set(),
    "journal": {"id", "debit", "credit"},
    "link": {"project"} | _ANY_REQUEST,
    "merge": {"into"},
    "decide merge": {"together"} | _ANY_REQUEST,
    "dismiss": _ANY_REQUEST,
    "map": {"project", "reference", "from"} | _ANY_REQUEST,
    "release": _ANY_REQUEST,
    "exclude": {"by reference"} | _ANY_REQUEST,
    "assign": {"project"} | _ANY_REQUEST,
    "company": {"home currency", "several currencies", "books closed on", "reference field"},
}
NEEDED = {"map": "project", "merge": "into", "decide merge": "together"}
_COMMANDS = {*FIELDS, "quickbooks", "expect"}
FIGURES = ("O", "C", "U", "N", "invoiced", "tax", "credited", "cash", "refunds", "other", "credit in", "credit out")
_AT_HOME = ("O", "C", "U", "N", "invoiced", "credited", "cash", "refunds", "other")
HOME_FIGURES = (*(f"home {name}" for name in _AT_HOME), "exchange gain")
WARNINGS = (
    *("reference_unknown", "reference_ambiguous", "quickbooks_project_unlinked", "reopened_after_delete"),
    *("absent_in_quickbooks", "exchange_rate_missing", "merge_needs_decision"),
)
ON = "balances on "  # and a day
_EXPECTED = {"balances", "waiting", "warnings", "events", "reasons", "asks to read"}
_SITUATION = {"name", "why", "home currency", "rules", "customers", "projects", "history", "expect"}
_CUSTOMER = FIELDS["customer"] - _ANY_READ | {"project", "reference", "from"}


class NotUnderstood(Exception):
    """Something is not in the form; the text says where and what would be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One line of a history."""

    command: str
    subject: str  # a name given by the author, or QuickBooks' type and id
    fields: Mapping[str, Any]
    line: int  # of its file


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """One situation of the suite."""

    file: str
    name: str
    why: str
    home_currency: str
    rules: int  # with which the company begins
    customers: Mapping[str, Mapping[str, Any]]
    projects: tuple[str, ...]  # that are there from the beginning
    history: tuple[Step, ...]  # the expectation at the end is its last step

    def where(self, step: Step) -> str:
        """Of one line, for whoever must find it."""
        return f"{self.file}, line {step.line}: {self.name}: {f'{step.command} {step.subject}'.strip()}"


class Gathered(NamedTuple):
    """What a folder holds: what was understood, and what was not."""

    situations: list[Situation]
    problems: list[str]


DEFAULT_CUSTOMERS: Mapping[str, Mapping[str, Any]] = {"A": {"project": "P1"}, "B": {"project": "P2"}}


def situations(folder: Path) -> list[Situation]:
    """All situations below a folder, or of one file, in the order of file names. Raises NotUnderstood."""
    gathered = gather(folder)
    if gathered.problems:
        raise NotUnderstood("\n".join(gathered.problems))
    return gathered.situations


def gather(folder: Path) -> Gathered:
    """As `situations`, with what was not understood beside what was."""
    if not folder.exists():
        return Gathered([], [f"{folder}: there is no such file or folder"])
    files = sorted([*folder.rglob("*.yaml"), *folder.rglob("*.yml")]) if folder.is_dir() else [folder]
    found = Gathered([], [])
    for file in files:
        _read_file(file, str(file.relative_to(folder)) if folder.is_dir() else file.name, found)
    if not found.situations and not found.problems:
        found.problems.append(f"{folder}: no situation is in it (files end in .yaml or .yml)")
    return found


def _read_file(file: Path, name: str, found: Gathered) -> None:
    try:
        for document in documents(file.read_text(encoding="utf-8")):
            for plain in document if isinstance(document, list) else [document]:
                if plain is not None:
                    _gather_one(name, plain, found)
    except UnicodeDecodeError:
        found.problems.append(f"{name}: this is no text in UTF-8; save it as such")
    except NotYaml as error:
        found.problems.append(f"{name}: {error}")


def _gather_one(file: str, plain: Any, found: Gathered) -> None:
    try:
        situation = _situation(file, plain)
    except NotUnderstood as error:
        found.problems.append(str(error))
        return
    twice = next((one for one in found.situations if one.name == situation.name), None)
    if twice is None:
        found.situations.append(situation)
    else:
        found.problems.append(f"{file}: {situation.name}: {twice.file} has a situation of this name already")


def _situation(file: str, plain: Any) -> Situation:
    where = f"{file}, line {plain.line}" if isinstance(plain, Fields) else file
    _known(where, plain, _SITUATION)
    for needed in ("name", "history", "expect"):
        if not plain.get(needed):
            raise NotUnderstood(f"{where}: {plain.get('name') or 'a situation without a name'}: `{needed}` is missing")
    name = _value(where, "name", plain["name"])
    customers, projects = _customers(f"{where}: {name}", plain), _texts(f"{where}: projects", plain.get("projects"))
    history = tuple(_step(f"{file}, line {line}: {name}", line, given) for line, given in _lines(where, plain))
    projects = list(dict.fromkeys([*_of_customers(customers), *projects, *_of_requests(history)]))
    _refuse_undeclared(file, name, history, set(projects))
    return Situation(
        file=file,
        name=name,
        why=word(plain.get("why", "")).strip(),
        home_currency=_value(where, "home currency", plain.get("home currency", "USD")),
        rules=_value(where, "rules", plain.get("rules", Decimal(RULES_VERSION))),
        customers=customers,
        projects=tuple(projects),
        history=history,
    )


def _lines(where: str, plain: Fields) -> Iterator[tuple[int, Any]]:
    """The lines of the history with their numbers; what is expected in the end is the last one."""
    history = plain["history"]
    if not isinstance(history, Items):
        raise NotUnderstood(f"{where}: history: a list is expected, each line beginning with `- `")
    yield from zip(history.lines, history, strict=True)
    yield plain.lines["expect"], {"expect": plain["expect"]}


def _customers(where: str, plain: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    given = plain.get("customers", DEFAULT_CUSTOMERS)
    if not isinstance(given, dict):
        raise NotUnderstood(f"{where}: customers: `A: {{project: P1}}` is expected, a line for each, not {given!r}")
    found: dict[str, Mapping[str, Any]] = {}
    for name, fields in given.items():
        at = f"{where}: customer {name}"
        _known(at, {} if fields is None else fields, _CUSTOMER)
        found[name] = _values(at, fields or {})
    return found


def _of_customers(customers: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield from (fields["project"] for fields in customers.values() if fields.get("project"))


def _of_requests(history: Iterable[Step]) -> Iterator[str]:
    """Where an author lets a person send something, and nobody refuses, a project is; unless a line declares it."""
    declared = {step.subject for step in history if step.command == "project"}
    for step in history:
        if step.command in ("map", "assign", "link") and "refused" not in step.fields:
            yield from {step.fields.get("project")} - declared - {None}


def _refuse_undeclared(file: str, name: str, history: Iterable[Step], declared: set[str]) -> None:
    """Balances of a project that is nowhere declared are a slip of the pen: every figure would be zero."""
    known = declared | {step.subject for step in history if step.command == "project"}
    for step in history:
        for balances in (f for key, f in step.fields.items() if step.command == "expect" and key.startswith("bal")):
            unknown = [each for each in balances if not {each, each.rpartition(" ")[0]} & known]
            if unknown:
                said = f"{_not_known(unknown, known)}; another one is declared by `projects: [...]`"
                raise NotUnderstood(f"{file}, line {step.line}: {name}: balances: {said}")


def _step(where: str, number: int, line: Any) -> Step:
    """`invoice I1: {...}`, `void I1`, `expect: {...}`, `quickbooks Invoice: {...}`: a command, a subject, fields."""
    if isinstance(line, str):
        line = {line: None}
    if not isinstance(line, dict) or len(line) != 1:
        one = f"{_listed(line)} in one line" if isinstance(line, dict) else f"{line!r} is no line of a history"
        raise NotUnderstood(f"{where}: {one}: write `- command NAME: {{field: value}}`, each on a line of its own")
    ((head, fields),) = line.items()
    command = next((each for each in sorted(_COMMANDS, key=len, reverse=True) if _begins(str(head), each)), None)
    if command is None:
        raise NotUnderstood(f"{where}: {head!r} begins with no command; known are {_listed(_COMMANDS)}")
    subject = str(head)[len(command) :].strip()
    step = Step(command=command, subject=subject, fields={} if fields is None else fields, line=number)
    return _checked(f"{where}: {head}", step)


def _checked(where: str, step: Step) -> Step:
    if not isinstance(step.fields, dict):
        raise NotUnderstood(f"{where}: fields are `{{name: value}}`, not {_shown(step.fields)}")
    if (step.subject == "") != (step.command in ("expect", "company")):
        raise NotUnderstood(f"{where}: say once of what the line speaks, as in `{step.command} NAME`")
    if step.command == "quickbooks":
        return step
    if step.command == "expect":
        return Step(command="expect", subject="", fields=_expectation(where, step.fields), line=step.line)
    _known(where, step.fields, FIELDS[step.command])
    if (needed := NEEDED.get(step.command)) is not None and step.fields.get(needed) is None:
        raise NotUnderstood(f"{where}: `{step.command}` needs a `{needed}`")
    if step.command == "adopt rules":
        _value(where, "rules", step.subject)
    fields = _values(where, step.fields, lines=_amounts if step.command == "payment" else _amount_list)
    return Step(command=step.command, subject=step.subject, fields=fields, line=step.line)


def _begins(head: str, command: str) -> bool:
    return head == command or head.startswith(f"{command} ")


# --- values ----------------------------------------------------------------------------------------------------------


class _Wrong(Exception):
    """A value is not what its field holds; the text says what would be."""


def _amount(value: Any) -> Decimal:
    """`1234.50`, with or without quotes."""
    if isinstance(value, Decimal):
        return value
    if isinstance(value, str) and NUMBER.match(value.strip()):
        return Decimal(value.strip())
    raise _Wrong(f"{_shown(value)} is no amount; write it as 1234.50, without commas, blanks and currency")


def _whole(value: Any) -> int:
    if word(value).isascii() and word(value).isdigit():
        return int(word(value))
    raise _Wrong(f"{_shown(value)} is no whole number; write it as 15")


def _rules(value: Any) -> int:
    if not 1 <= (version := _whole(value)) <= RULES_VERSION:
        raise _Wrong(f"there are no rules {version}; there are 1 to {RULES_VERSION}")
    return version


def _day(value: Any) -> date:
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        raise _Wrong(f"{_shown(value)} is no date; write it as 2026-01-31") from None


def _day_or_none(value: Any) -> date | None:
    return None if value is None else _day(value)


def _yes_or_no(value: Any) -> bool:
    if (text := word(value).lower()) in ("true", "false", "yes", "no"):
        return text in ("true", "yes")
    raise _Wrong(f"{_shown(value)} is neither; write true or false")


def _text(value: Any) -> str:
    if isinstance(value, dict | list) or value is None:
        raise _Wrong(f"one word is expected, not {_shown(value)}")
    return word(value)


def _text_or_none(value: Any) -> str | None:
    return None if value is None else _text(value)


def _id(value: Any) -> str:
    if not (text := _text(value)).isascii() or not text.isdigit():
        raise _Wrong(f"{text} is no id of QuickBooks; digits are, or leave `id` out")
    return text


def _currency(value: Any) -> str:
    if len(text := _text(value)) != 3 or not text.isalpha():
        raise _Wrong(f"{text} is no currency; write it as EUR")
    return text.upper()


def _amounts(value: Any) -> dict[str, Decimal]:
    """`{I1: 1000, Check 77: 20}`."""
    if not isinstance(value, dict | None):
        raise _Wrong(f"amounts by name are expected, as in {{I1: 1000, CM: 50}}, not {_shown(value)}")
    return {name: _amount(each) for name, each in (value or {}).items()}


def _amount_list(value: Any) -> list[Decimal]:
    if not isinstance(value, list):
        raise _Wrong(f"a list of amounts is expected, as in [1800, 349.50], not {_shown(value)}")
    return [_amount(each) for each in value]


_KINDS: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("total", "tax", "deposit", "rate", "unapplied"), _amount),
    **dict.fromkeys(("at", "read at", "seen"), _whole),
    **dict.fromkeys(("on",), _day),
    **dict.fromkeys(("due", "from", "books closed on"), _day_or_none),
    **dict.fromkeys(("active", "together", "by reference", "several currencies"), _yes_or_no),
    **dict.fromkeys(("project", "parent", "reference"), _text_or_none),
    **dict.fromkeys(("debit", "credit"), _amounts),
    **dict.fromkeys(("currency", "home currency"), _currency),
    "id": _id,
    "rules": _rules,
}


def _values(where: str, fields: Mapping[str, Any], lines: Callable[[Any], Any] = _text) -> Fields:
    kinds = {**_KINDS, "lines": lines}
    return Fields({name: _value(where, name, value, kinds.get(name)) for name, value in fields.items()})


def _value(where: str, name: str, value: Any, kind: Callable[[Any], Any] | None = None) -> Any:
    try:
        return (kind or _KINDS.get(name, _text))(value)
    except _Wrong as error:
        raise NotUnderstood(f"{where}: {name}: {error}") from None


# --- expectations ----------------------------------------------------------------------------------------------------


def _expectation(where: str, fields: Mapping[str, Any]) -> Fields:
    for name in fields:
        if name.startswith(ON):
            _value(where, ON.strip(), name.removeprefix(ON), _day)
    _known(where, {name for name in fields if not name.startswith(ON)}, _EXPECTED)
    checks: Mapping[str, Callable[[str, Any], Any]] = {
        "waiting": _waiting,
        "warnings": lambda at, given: {k: _codes(at, v) for k, v in _mapping(at, given).items()},
        "events": _events,
        "reasons": lambda at, given: {k: _reason(f"{at}: {k}", v) for k, v in _mapping(at, given).items()},
        "asks to read": lambda at, given: _texts(at, given),
    }
    found = {name: checks.get(name, _balances)(f"{where}: {name}", given) for name, given in fields.items()}
    return Fields(found)


def _balances(where: str, given: Any) -> dict[str, dict[str, Decimal]]:
    """By project, or by project and currency; `nothing` is every figure at zero."""
    found = {}
    for project, figures in _mapping(where, given).items():
        at = f"{where}: {project}"
        if figures == "nothing":
            figures = dict.fromkeys((*FIGURES, *HOME_FIGURES), Decimal(0))
        _known(at, figures, {*FIGURES, *HOME_FIGURES}, as_in=" or the word `nothing`")
        found[project] = {name: _value(at, name, amount, _amount) for name, amount in figures.items()}
    return found


def _waiting(where: str, given: Any) -> dict[str, dict[str, Any]]:
    found = {}
    for name, value in _mapping(where, given).items():
        fields = value if isinstance(value, dict) else {"amount": value}
        _known(f"{where}: {name}", fields, set(_WAITS))
        found[name] = {key: _value(f"{where}: {name}", key, each, _WAITS[key]) for key, each in fields.items()}
    return found


def _one_of(known: Iterable[str]) -> Callable[[Any], str]:
    words = sorted(known)

    def check(value: Any) -> str:
        if (text := _text(value)) not in words:
            raise _Wrong(_not_known([text], words))
        return text

    return check


_WAITS: Mapping[str, Callable[[Any], Any]] = {
    "amount": _amount,
    "home amount": _amount,
    "because": _one_of(each.value for each in WaitCause),
}


def _codes(where: str, given: Any) -> list[str]:
    return [
        _value(where, "a warning", code, _one_of(WARNINGS)) for code in (given if isinstance(given, list) else [given])
    ]


def _reason(where: str, given: Any) -> Any:
    check = _one_of(each.value for each in Reason)
    if isinstance(given, dict):
        return {project: _value(where, project, reason, check) for project, reason in given.items()}
    return _value(where, "a reason", given, check)


def _events(where: str, given: Any) -> list[list[str]]:
    names, found = {event.__name__ for event in EVENTS}, []
    for line in _texts(where, given):
        words = line.split()
        if len(words) < 2:
            raise NotUnderstood(f"{where}: {line!r}: a project and an event are expected, as in `P1 InvoiceIssued I1`")
        if words[1] not in names:
            raise NotUnderstood(f"{where}: {line!r}: {_not_known([words[1]], names)}")
        found.append(words)
    return found


# --- what is not known here ------------------------------------------------------------------------------------------


def _mapping(where: str, given: Any) -> Mapping[str, Any]:
    if not isinstance(given, dict | None):
        raise NotUnderstood(f"{where}: `name: value` is expected, not {_shown(given)}")
    return given or {}


def _texts(where: str, given: Any) -> list[str]:
    if not isinstance(given, list | None):
        raise NotUnderstood(f"{where}: a list is expected, as in [one, another], not {_shown(given)}")
    return [_value(where, "one of the list", each, _text) for each in given or ()]


def _known(where: str, given: Any, known: set[str], as_in: str = "") -> None:
    if not isinstance(given, dict | set):
        raise NotUnderstood(f"{where}: `name: value` is expected{as_in}, not {_shown(given)}")
    unknown = sorted(set(map(str, given)) - known)
    if unknown:
        raise NotUnderstood(f"{where}: {_not_known(unknown, known)}")


def _not_known(unknown: list[str], known: Iterable[str]) -> str:
    """`totl` is not known here; did you mean `total`? Known are ..."""
    near = [match for each in unknown for match in difflib.get_close_matches(each, sorted(known), n=1)]
    perhaps = f" (perhaps {_listed(near)})" if near else ""
    return f"{_listed(unknown)} is not known here{perhaps}; known are {_listed(known)}"


def _listed(words: Iterable[str]) -> str:
    return ", ".join(f"`{each}`" for each in sorted(words))


def _shown(value: Any) -> str:
    return "nothing" if value is None else f"{str(value)!r}" if isinstance(value, Decimal) else repr(value)
