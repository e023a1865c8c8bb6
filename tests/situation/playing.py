"""Play a situation through the ledger's rules and compare what comes out with what is expected.

Pure but for the words it answers. Every situation is also a test of order: between two requests of people the same
records are read again in other orders and twice, and the books must end the same.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

from schemas import changes
from schemas.accounting import Figures, Share
from streams.books import Books, Company, Document, Key
from streams.difference import Fact
from tests.linked import Linked, journal
from tests.rules import Balance
from tests.situation.reading import DOCUMENTS, FIGURES, HOME_FIGURES, SALES, NotUnderstood, Situation, Step

FIRST_ID = 1001
ORDERS = 4  # other orders of arrival that every situation is played in
SOURCES = ("CreditMemo", "CreditCardCredit")
FIELD_ID = "1"  # DefinitionId of the Reference Number
_KNOWN = (*FIGURES, *HOME_FIGURES)
_FIGURE = {"exchange gain": "gained"}
READS = frozenset((*DOCUMENTS, "customer", "void", "delete", "read again", "quickbooks"))


class Difference(NamedTuple):
    """One thing that is not as expected."""

    what: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.what}: expected {self.expected}, found {self.found}"


class Read(NamedTuple):
    """One record as QuickBooks showed it at a time; `raw` None: gone."""

    key: Key
    raw: dict[str, Any] | None
    at: int  # LastUpdatedTime, in minutes


Act = Callable[[Linked], Iterable[Difference]]


def play(situation: Situation) -> list[Difference]:
    """What is not as expected; empty: the situation is as it should be. Raises NotUnderstood."""
    script = Script(situation)
    first, found = script.played(None)
    for seed in range(ORDERS if not found else 0):
        other, _ = script.played(seed)
        found += [
            Difference(f"{what}, read in another order (seed {seed})", expected, got)
            for (what, expected), (_, got) in zip(_state(first), _state(other), strict=True)
            if expected != got
        ]
    return found


class Script:
    """A situation with every name resolved: which records are read when, what people ask, what is expected."""

    def __init__(self, situation: Situation, *, every: Situation | None = None) -> None:
        """`every`: the whole situation, where this is its beginning only: names stand for what they stand for there."""
        self._situation = situation
        self.names = Names(every or situation)
        self._fields: dict[Key, dict[str, Any]] = {}  # what each record said last
        self._journals: dict[str, bytes] = {}  # journal entries by id
        self._minute = 0
        self._lines: list[Read | Act] = [*self._beginning()]
        for step in situation.history:
            self._minute += 1
            self._lines += self._compiled(step)

    def played(self, seed: int | None) -> tuple[Linked, list[Difference]]:
        """The world at the end; with a seed, reads between two requests come in another order and some twice."""
        world = Linked(Books(Company("9130000000000001")))
        found: list[Difference] = []
        for part in _parts(self._lines):
            reads = [line for line in part if isinstance(line, Read)]
            if seed is not None:
                reads += reads[::2]
                random.Random(seed).shuffle(reads)
            for read in reads:
                world.minutes = max(world.minutes, read.at)
                _take(world, read, self._journals)
            for act in (line for line in part if not isinstance(line, Read)):
                found += [difference for difference in act(world) if seed is None]
        return world, found

    # --- the beginning --------------------------------------------------------------------------------------------

    def _beginning(self) -> Iterator[Read | Act]:
        situation = self._situation
        yield self._company({})
        mapped = [str(c["project"]) for c in situation.customers.values() if c.get("project")]
        for project_id in dict.fromkeys([*mapped, *situation.projects]):
            yield _doing(lambda world, p=project_id: world.declare(p))
        for name, fields in situation.customers.items():
            yield self._customer(name, fields, 0)
        for name, fields in situation.customers.items():
            if fields.get("project"):
                yield self._map(self.names.key(name)[1], fields)

    def _company(self, fields: Mapping[str, Any]) -> Act:
        name = str(fields.get("reference field", "Reference Number"))
        closed_on = fields.get("books closed on")
        facts = changes.CompanyFacts(
            home_currency=str(fields.get("home currency", self._situation.home_currency)),
            several_currencies=fields.get("several currencies", True),
            plan="Plus",
            books_closed_on=closed_on,
            custom_fields=(changes.CustomFieldDefinition(definition_id=FIELD_ID, name=name),),
            rules_version=self._situation.rules,
        )
        return _doing(lambda world: world.take(facts))

    # --- lines of the history -------------------------------------------------------------------------------------

    def _compiled(self, step: Step) -> Iterator[Read | Act]:
        fields, subject = step.fields, step.subject
        match step.command:
            case "expect":
                yield lambda world: Expectation(self.names, fields, self._situation.name).differences(world)
            case "company":
                yield self._company(fields)
            case "adopt rules":
                yield _doing(lambda world: world.adopt_rules(int(subject)))
            case "journal":
                self._journals[self.names.key(subject)[1]] = self._journal(fields)
            case "customer":
                yield self._customer(subject, fields, self._at(fields))
            case "payment":
                yield self._read(self.names.key(subject), self._payment(subject, fields), fields)
            case kind if kind in SALES:
                yield self._read(self.names.key(subject), self._sale(subject, fields), fields)
            case "void":
                yield self._void(self.names.key(subject), fields)
            case "delete":
                yield Read(self.names.key(subject), None, self._at(fields))
            case "read again":
                key = self.names.key(subject)
                yield Read(key, self._last(key), self._at(fields) if "at" in fields else self._minute)
            case "quickbooks":
                yield self._raw(subject, fields)
            case _:
                yield from self._request(step)

    def _at(self, fields: Mapping[str, Any]) -> int:
        return int(fields.get("at", self._minute))

    def _read(self, key: Key, raw: dict[str, Any], fields: Mapping[str, Any]) -> Read:
        return Read(key, raw, self._at(fields))

    def _last(self, key: Key) -> dict[str, Any]:
        if key not in self._fields:
            raise NotUnderstood(f"{self._situation.name}: {key[0]} {key[1]} was not given before")
        return self._fields[key]

    def _customer(self, name: str, fields: Mapping[str, Any], at: int) -> Read:
        key = self.names.key(name)
        raw = {"Id": key[1], "DisplayName": str(fields.get("name", name)), "Active": fields.get("active", True)}
        parent = fields.get("parent", self._fields.get(key, {}).get("parent"))
        if parent is not None:
            raw["ParentRef"] = {"value": self.names.key(str(parent))[1]}
        if "currency" in fields:
            raw["CurrencyRef"] = {"value": fields["currency"]}
        self._fields[key] = {**raw, "parent": parent}
        return Read(key, raw, at)

    def _sale(self, name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The record as it is now: what a line does not name stays as the lines before said."""
        key = self.names.key(name)
        raw = dict(self._fields.get(key, {"Id": key[1], "TxnDate": "2026-01-15", "DocNumber": name}))
        raw |= self._shared(name, fields)
        raw |= {quickbooks: str(fields[ours]) for ours, quickbooks in _DATES.items() if ours in fields}
        if "deposit" in fields:
            raw["Deposit"] = fields["deposit"]
        if "tax" in fields:
            raw["TxnTaxDetail"] = {"TotalTax": fields["tax"]}
        if "reference" in fields:
            raw["CustomField"] = _reference_field(fields["reference"])
        if "lines" in fields or "total" in fields:
            raw["Line"] = [{"Amount": amount} for amount in fields.get("lines", [fields.get("total")])]
        self._fields[key] = raw
        return raw

    def _shared(self, name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """What sales forms and payments have in common."""
        key = self.names.key(name)
        found: dict[str, Any] = {}
        if "customer" in fields or key not in self._fields:
            default = next(iter(self._situation.customers))
            found["CustomerRef"] = {"value": self.names.key(str(fields.get("customer", default)))[1]}
        if "total" in fields or key not in self._fields:
            if "total" not in fields:
                raise NotUnderstood(f"{self._situation.name}: {name} needs a `total`")
            found["TotalAmt"] = fields["total"]
        references = {"project": "ProjectRef", "currency": "CurrencyRef"}
        found |= {references[k]: {"value": str(fields[k])} for k in references if fields.get(k) is not None}
        if "rate" in fields:
            found["ExchangeRate"] = fields["rate"]
        if "number" in fields:
            found["DocNumber" if key[0] in SALES.values() else "PaymentRefNum"] = str(fields["number"])
        return found

    def _payment(self, name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        key = self.names.key(name)
        raw = dict(self._fields.get(key, {"Id": key[1], "TxnDate": "2026-02-01", "Line": []}))
        raw |= self._shared(name, fields)
        if "on" in fields:
            raw["TxnDate"] = str(fields["on"])
        if "lines" in fields:
            raw["Line"] = [self._payment_line(str(target), amount) for target, amount in fields["lines"].items()]
        raw["UnappliedAmt"] = fields.get("unapplied", _unapplied(raw))
        self._fields[key] = raw
        return raw

    def _payment_line(self, target: str, amount: Any) -> dict[str, Any]:
        record_type, record_id = self.names.key(target)
        return {"Amount": amount, "LinkedTxn": [{"TxnType": record_type, "TxnId": record_id}]}

    def _void(self, key: Key, fields: Mapping[str, Any]) -> Read:
        """As QuickBooks leaves a voided document: nothing on it, and what paid it says so itself."""
        raw = self._last(key) | {"TotalAmt": 0, "PrivateNote": "Voided", "Deposit": 0, "TxnTaxDetail": {"TotalTax": 0}}
        raw |= {"Line": [], "UnappliedAmt": 0} if key[0] == "Payment" else {"Line": [{"Amount": 0}]}
        self._fields[key] = raw
        return Read(key, raw, self._at(fields))

    def _raw(self, record_type: str, fields: Mapping[str, Any]) -> Read:
        """A whole record, as QuickBooks' API answers it."""
        raw = {name: value for name, value in fields.items() if name != "at"}
        if "Id" not in raw:
            raise NotUnderstood(f"{self._situation.name}: a QuickBooks {record_type} without an `Id`")
        raw["Id"] = str(raw["Id"])
        key = (record_type, raw["Id"])
        self._fields[key] = raw
        return Read(key, raw, self._at(fields))

    def _journal(self, fields: Mapping[str, Any]) -> bytes:
        """Its lines to receivables: by side and customer."""
        sides = (("Debit", fields.get("debit", {})), ("Credit", fields.get("credit", {})))
        return journal(
            *((side, str(amount), self.names.key(str(c))[1]) for side, lines in sides for c, amount in lines.items())
        )

    # --- requests of people ---------------------------------------------------------------------------------------

    def _request(self, step: Step) -> Iterator[Act]:
        fields, key = step.fields, self.names.key(step.subject) if step.command not in _NOT_RECORDS else ("", "")
        match step.command:
            case "project":
                yield _doing(lambda world: world.declare(step.subject))
            case "close project":
                yield _doing(lambda world: world.take(changes.ProjectClosed(project_id=step.subject)))
            case "map":
                yield self._map(key[1], fields)
            case "release":
                yield self._answered(fields, lambda world: world.release(key[1], seen=_seen(fields)))
            case "exclude":
                by_reference = bool(fields.get("by reference", False))
                yield self._answered(fields, lambda world: world.exclude(key[1], reference_only=by_reference))
            case "assign":
                project = fields.get("project")
                project_id = None if project is None else str(project)
                yield self._answered(fields, lambda world: world.assign(*key, project_id))
            case "link" | "merge" | "decide merge" | "dismiss":
                yield self._linked(step, key)
            case _:
                raise NotUnderstood(f"{self._situation.name}: nobody plays `{step.command}`")

    def _linked(self, step: Step, key: Key) -> Act:
        fields = step.fields
        match step.command:
            case "merge":
                kept = self.names.key(str(fields["into"]))[1]
                return _doing(lambda world: world.merged(kept, key[1], at=self._minute))
            case "link":
                project = None if fields.get("project") is None else str(fields["project"])
                return self._answered(fields, lambda world: world.link(step.subject, project, seen=_seen(fields)))
            case "dismiss":
                return self._answered(fields, lambda world: world.dismiss(*key))
            case _:
                together = bool(fields.get("together", False))
                return self._answered(
                    fields, lambda world: world.resolve(key[1], together=together, seen=_seen(fields))
                )

    def _map(self, customer_id: str, fields: Mapping[str, Any]) -> Act:
        more: dict[str, Any] = {"reference": str(fields.get("reference", "")), "seen": _seen(fields)}
        more["from_on"] = fields.get("from")
        return self._answered(fields, lambda world: world.map(customer_id, str(fields["project"]), **more))

    def _answered(self, fields: Mapping[str, Any], ask: Callable[[Linked], Any]) -> Act:
        """A request is accepted, unless the author says with which words it is refused."""

        def act(world: Linked) -> Iterator[Difference]:
            decision = ask(world)
            (accepted, refusal), *_ = decision.answered.values()
            expected = fields.get("refused")
            if expected is None and not accepted:
                yield Difference("a request", "accepted", f"refused: {refusal}")
            elif expected is not None and (accepted or str(expected).lower() not in refusal.lower()):
                yield Difference("a request", f"refused with {expected!r}", refusal or "accepted")

        return act


_NOT_RECORDS = ("project", "close project", "link")
_DATES = {"on": "TxnDate", "due": "DueDate"}


def _seen(fields: Mapping[str, Any]) -> int | None:
    return int(fields["seen"]) if "seen" in fields else None


def _reference_field(text: Any) -> list[dict[str, Any]]:
    if text is None:
        return []
    return [{"DefinitionId": FIELD_ID, "Name": "Reference Number", "Type": "StringType", "StringValue": str(text)}]


def _unapplied(raw: Mapping[str, Any]) -> Decimal:
    """What is left by the payment's equation, where every line but credit is a use."""
    rest = Decimal(raw["TotalAmt"])
    for line in raw["Line"]:
        is_source = line["LinkedTxn"][0]["TxnType"] in SOURCES
        rest += Decimal(line["Amount"]) if is_source else -Decimal(line["Amount"])
    return rest


def _doing(act: Callable[[Linked], Any]) -> Act:
    def done(world: Linked) -> tuple[Difference, ...]:
        act(world)
        return ()

    return done


def _take(world: Linked, read: Read, journals: Mapping[str, bytes]) -> None:
    if read.raw is None:
        world.gone(*read.key, at=read.at)
        return
    lines = read.raw.get("Line", []) if read.key[0] == "Payment" else []
    links = [link for line in lines for link in line["LinkedTxn"]]
    named = {link["TxnId"] for link in links if link["TxnType"] == "JournalEntry"} & set(journals)
    if named:
        raw = {name: str(value) if isinstance(value, Decimal) else value for name, value in read.raw.items()}
        raw["Line"] = [line | {"Amount": str(line["Amount"])} for line in lines]
        world.paid_with_journals(raw, {number: journals[number] for number in named}, at=read.at)
    else:
        world.read(read.key[0], {k: v for k, v in read.raw.items() if k != "parent"}, at=read.at)


def _parts(lines: Sequence[Read | Act]) -> Iterator[list[Read | Act]]:
    """Reads, then what people did after them: order is free only among the reads of one part."""
    part: list[Read | Act] = []
    for line in lines:
        if isinstance(line, Read) and part and not isinstance(part[-1], Read):
            yield part
            part = []
        part.append(line)
    yield part


# --- names ---------------------------------------------------------------------------------------------------------


class Names:
    """Which record an author's name stands for; QuickBooks' own words `Invoice 1045` stand for themselves."""

    def __init__(self, situation: Situation) -> None:
        self._situation = situation
        self._keys: dict[str, Key] = {}
        for number, (name, fields) in enumerate(situation.customers.items(), start=1):
            self._keys[name] = ("Customer", str(fields.get("id", number)))
        customers = len(self._keys)
        for step in situation.history:
            kind = {**DOCUMENTS, "customer": "Customer", "journal": "JournalEntry"}.get(step.command)
            if kind is not None and step.subject not in self._keys:
                self._keys[step.subject] = (kind, str(step.fields.get("id", FIRST_ID + len(self._keys) - customers)))

    def key(self, name: str) -> Key:
        """Type and id. Raises NotUnderstood for a name that nothing was given."""
        if name in self._keys:
            return self._keys[name]
        record_type, _, record_id = name.rpartition(" ")
        if record_type and record_id.isdigit():
            return record_type, record_id
        raise NotUnderstood(f"{self._situation.name}: {name!r} names no record; `Type 123` or a name given before does")

    def name(self, key: Key) -> str:
        """The author's name of a record."""
        return next((name for name, each in self._keys.items() if each == key), f"{key[0]} {key[1]}")


# --- what is expected ------------------------------------------------------------------------------------------------


@dataclass
class Expectation:
    """What an `expect` names, against a world; what it does not name is not compared, lists are whole."""

    names: Names
    fields: Mapping[str, Any]
    situation: str
    found: list[Difference] = field(default_factory=list)

    def differences(self, world: Linked) -> list[Difference]:
        """In the order in which the file names them."""
        self.found.clear()
        for word, expected in self.fields.items():
            compare: dict[str, Callable[[Linked, Any], None]] = {
                "balances": self._balances,
                "waiting": self._waiting,
                "warnings": self._warnings,
                "events": self._events,
                "reasons": self._reasons,
                "asks to read": self._asks,
            }
            compare[word](world, expected or {})
        return self.found

    def _differ(self, what: str, expected: Any, found: Any) -> None:
        if expected != found:
            self.found.append(Difference(what, str(expected), str(found)))

    def _balances(self, world: Linked, expected: Mapping[str, Any]) -> None:
        balances = world.balances()
        for project, figures in expected.items():
            balance = balances.get(str(project), Balance())
            if figures == "nothing":
                figures = dict.fromkeys(_KNOWN, Decimal(0))
            for name, amount in figures.items():
                if name not in _KNOWN:
                    raise NotUnderstood(f"{self.situation}: {name!r} is no figure; known are {', '.join(_KNOWN)}")
                found = getattr(balance, _FIGURE.get(name, name.replace(" ", "_")))
                self._differ(f"{project} {name}", Decimal(amount), found)

    def _waiting(self, world: Linked, expected: Mapping[str, Any]) -> None:
        found = {
            f"{self.names.name(document.key)} {self._part(part)}".strip(): waiting
            for document in world.books.documents.values()
            for part, waiting in document.booked.waiting.items()
        }
        self._differ("what waits", sorted(map(str, expected)), sorted(found))
        for name, value in expected.items():
            if str(name) not in found:
                continue  # told above
            waiting = found[str(name)]
            given = value if isinstance(value, dict) else {"amount": value}
            for key, amount in (("amount", waiting.amount), ("home amount", waiting.home)):
                if key in given:
                    self._differ(f"{name} waits: {key}", Decimal(given[key]), None if amount is None else amount.amount)
            if "because" in given:
                self._differ(f"{name} waits because", str(given["because"]), waiting.cause.value)

    def _part(self, part: str) -> str:
        record_type, _, record_id = part.partition(":")
        return self.names.name((record_type, record_id)) if record_id else part

    def _warnings(self, world: Linked, expected: Mapping[str, Any]) -> None:
        found = {
            self.names.name(document.key): sorted(document.booked.warnings)
            for document in world.books.documents.values()
            if document.booked.warnings
        }
        self._differ("warnings", {str(k): sorted(_several(v)) for k, v in expected.items()}, found)

    def _events(self, world: Linked, expected: Sequence[Any]) -> None:
        found = [self._said(fact) for fact in world.facts if not type(fact.body).__name__.startswith("Customer")]
        wanted = [str(line).split() for line in expected]
        shown = [" ".join(line) for line in found]
        if len(wanted) != len(found) or any(w != f[: len(w)] for w, f in zip(wanted, found, strict=True)):
            self._differ("events", [" ".join(line) for line in wanted], shown)

    def _said(self, fact: Fact) -> list[str]:
        """`P1 PaymentApplied Pay I1 400`: project, event, record, what it settles, amount."""
        body, record = fact.body, self.names.name(fact.record)
        words = [fact.project_id, type(body).__name__, *record.split()]
        before, after = getattr(body, "before", None), getattr(body, "after", None)
        if before is not None or after is not None:
            amounts = [_amount(figures) for figures in (before, after) if figures is not None]
            return [*words, " -> ".join(amounts)] if len(amounts) == 1 else [*words, amounts[0], "->", amounts[1]]
        memo, invoice = getattr(body, "credit_memo_id", ""), getattr(body, "invoice_id", "")
        words += self.names.name(("CreditMemo", memo)).split() if memo else []
        words += self.names.name(("Invoice", invoice)).split() if invoice else []
        if hasattr(body, "other_id"):
            words += [body.other_type, body.other_id]
        amount = getattr(body, "applied", None) or getattr(body, "transferred", None)
        return [*words, _plain(amount.amount)] if amount is not None else words

    def _reasons(self, world: Linked, expected: Mapping[str, Any]) -> None:
        for name, reason in expected.items():
            document: Document = world.books.document(self.names.key(str(name)))
            found = {project: standing.reason.value for project, standing in document.booked.standings.items()}
            wanted = reason if isinstance(reason, dict) else dict.fromkeys(found, reason)
            self._differ(f"{name} stands because", wanted or {"?": reason}, found)

    def _asks(self, world: Linked, expected: Sequence[Any]) -> None:
        asked = {self.names.name(key) for decision in world.decisions for key in decision.reads}
        self._differ("records asked to be read", sorted(map(str, expected)), sorted(asked))


def _several(value: Any) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else [str(value)]


def _amount(figures: Figures | Share) -> str:
    return _plain((figures.received if isinstance(figures, Share) else figures.total).amount)


def _plain(amount: Decimal) -> str:
    return format(amount.normalize(), "f")


def _state(world: Linked) -> list[tuple[str, str]]:
    """What must not depend on the order in which records came."""
    figures = {p: {n: _plain(a) for n, a in asdict(b).items() if a} for p, b in sorted(world.balances().items())}
    waits = {f"{d.key}": dict(sorted(d.booked.waiting.items())) for d in world.books.documents.values()}
    warned = {f"{d.key}": dict(sorted(d.booked.warnings.items())) for d in world.books.documents.values()}
    return [
        ("balances", str({p: f for p, f in figures.items() if f})),
        ("what waits", str(sorted((k, str(v)) for k, v in waits.items() if v))),
        ("warnings", str(sorted((k, str(v)) for k, v in warned.items() if v))),
    ]
