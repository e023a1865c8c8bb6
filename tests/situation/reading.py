"""Read accounting situations from YAML files: what was given, in order, and what is expected.

The form is docs/situations.md.

Reads: *.yaml below a folder. Writes: nothing.
Guarantees: numbers are exact (no float is ever made); a file with a word that is not in the form is refused with the
file, the situation and the words that are; nothing in a file is executed.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from schemas.changes import RULES_VERSION

SALES = {"invoice": "Invoice", "credit memo": "CreditMemo", "refund receipt": "RefundReceipt"}
DOCUMENTS = SALES | {"payment": "Payment"}
_EITHER = {"id", "customer", "total", "on", "lines", "number", "project", "currency", "rate"}
_SALE = _EITHER | {"due", "tax", "deposit", "reference"}
_PAYMENT = _EITHER | {"unapplied"}
_ANY_READ = {"at"}
_ANY_REQUEST = {"refused", "seen"}
FIELDS: dict[str, set[str]] = {
    **dict.fromkeys(SALES, _SALE | _ANY_READ),
    "payment": _PAYMENT | _ANY_READ,
    "customer": {"id", "parent", "name", "active", "currency", "at"},
    "void": _ANY_READ,
    "delete": _ANY_READ,
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
_AMOUNTS = {"debit", "credit", "total", "tax", "deposit", "rate", "unapplied", "lines", "at", "seen"}
_DAYS = {"on", "due", "from", "books closed on"}
_COMMANDS = {*FIELDS, "quickbooks", "expect"}
FIGURES = ("O", "C", "U", "N", "invoiced", "credited", "cash", "refunds", "other", "credit in", "credit out")
HOME_FIGURES = (*(f"home {name}" for name in FIGURES[:9]), "exchange gain")
_EXPECTED = {"balances", "waiting", "warnings", "events", "reasons", "asks to read"}
_SITUATION = {"name", "why", "home currency", "rules", "customers", "projects", "history", "expect"}
_CUSTOMER = FIELDS["customer"] - {"at"} | {"project", "reference", "from"}


class NotUnderstood(Exception):
    """A file is not in the form; the text says where and what would be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One line of a history."""

    command: str
    subject: str  # a name given by the author, or QuickBooks' type and id
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """One situation of the suite."""

    file: str
    name: str
    why: str
    home_currency: str
    rules: int  # with which the company begins
    customers: Mapping[str, Mapping[str, Any]]
    projects: tuple[str, ...]
    history: tuple[Step, ...]  # the expectation at the end is its last step


DEFAULT_CUSTOMERS: Mapping[str, Mapping[str, Any]] = {"A": {"project": "P1"}, "B": {"project": "P2"}}


def situations(folder: Path) -> list[Situation]:
    """All situations below a folder, or of one file, in the order of file names. Raises NotUnderstood."""
    if not folder.exists():
        raise NotUnderstood(f"{folder}: there is no such file or folder")
    files = sorted([*folder.rglob("*.yaml"), *folder.rglob("*.yml")]) if folder.is_dir() else [folder]
    found = [one for file in files for one in _in_file(file)]
    if not found:
        raise NotUnderstood(f"{folder}: no situation is in it (files end in .yaml or .yml)")
    return found


def _in_file(file: Path) -> Iterator[Situation]:
    try:
        for document in yaml.load_all(file.read_text(encoding="utf-8"), Loader=_Exact):
            for plain in document if isinstance(document, list) else [document]:
                if plain is not None:
                    yield _situation(file.name, plain)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise NotUnderstood(f"{file.name}: {error}") from error


def _situation(file: str, plain: Any) -> Situation:
    name = plain.get("name", "") if isinstance(plain, dict) else ""
    where = f"{file}: {name or 'a situation without a name'}"
    _known(where, plain, _SITUATION)
    for word in ("name", "history", "expect"):
        if not plain.get(word):
            raise NotUnderstood(f"{where}: `{word}` is missing")
    customers = {str(key): dict(value or {}) for key, value in plain.get("customers", DEFAULT_CUSTOMERS).items()}
    for customer, given in customers.items():
        _known(f"{where}: customer {customer}", given, _CUSTOMER)
    history = tuple(_step(where, line) for line in [*plain["history"], {"expect": plain["expect"]}])
    return Situation(
        file=file,
        name=str(name),
        why=str(plain.get("why", "")).strip(),
        home_currency=str(plain.get("home currency", "USD")),
        rules=int(plain.get("rules", RULES_VERSION)),
        customers=customers,
        projects=tuple(map(str, plain.get("projects", ()))),
        history=history,
    )


def _step(where: str, line: Any) -> Step:
    """`invoice I1: {...}`, `void I1`, `expect: {...}`, `quickbooks Invoice: {...}`: a command, a subject, fields."""
    if isinstance(line, str):
        line = {line: None}
    if not isinstance(line, dict) or len(line) != 1:
        raise NotUnderstood(f"{where}: {line!r} is no line of a history: one command and its fields are")
    ((head, fields),) = line.items()
    command = next((each for each in sorted(_COMMANDS, key=len, reverse=True) if _begins(str(head), each)), None)
    if command is None:
        raise NotUnderstood(f"{where}: {head!r} begins with no command; known are {_listed(_COMMANDS)}")
    step = Step(command=command, subject=str(head)[len(command) :].strip(), fields=fields or {})
    _check_step(f"{where}: {head}", step)
    return step


def _check_step(where: str, step: Step) -> None:
    if not isinstance(step.fields, dict):
        raise NotUnderstood(f"{where}: fields are `name: value`, not {step.fields!r}")
    if step.command == "expect":
        _known(where, step.fields, _EXPECTED)
    elif step.command != "quickbooks":
        _known(where, step.fields, FIELDS[step.command])
        _check_values(where, step.fields)
    if step.command == "map" and "project" not in step.fields:
        raise NotUnderstood(f"{where}: a mapping needs a `project`")
    if (step.subject == "") != (step.command in ("expect", "company")):
        raise NotUnderstood(f"{where}: say once of what the line speaks, as in `{step.command} NAME`")


def _check_values(where: str, fields: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        several = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
        for each in several:
            if name in _AMOUNTS and not isinstance(each, Decimal):
                raise NotUnderstood(f"{where}: {name}: {each!r} is no amount; write it as 1234.50")
            if name in _DAYS and not isinstance(each, date | None):
                raise NotUnderstood(f"{where}: {name}: {each!r} is no date; write it as 2026-01-31")


def _begins(head: str, command: str) -> bool:
    return head == command or head.startswith(f"{command} ")


def _known(where: str, given: Any, known: set[str]) -> None:
    if not isinstance(given, dict):
        raise NotUnderstood(f"{where}: `name: value` is expected, not {given!r}")
    unknown = sorted(set(map(str, given)) - known)
    if unknown:
        raise NotUnderstood(f"{where}: {_listed(unknown)} is not known here; known are {_listed(known)}")


def _listed(words: Any) -> str:
    return ", ".join(f"`{word}`" for word in sorted(words))


class _Exact(yaml.SafeLoader):
    """YAML without its surprises: 1.10 is a decimal, 2026-01-05 a date, `on` and `no` are words."""


def _decimal(loader: _Exact, node: Any) -> Decimal:
    return Decimal(loader.construct_scalar(node))


_Exact.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if not tag.endswith((":bool", ":float", ":int"))]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Exact.add_implicit_resolver("!amount", re.compile(r"^-?[0-9]+(\.[0-9]+)?$"), list("-0123456789"))
_Exact.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(true|false)$"), list("tf"))
_Exact.add_constructor("!amount", _decimal)
