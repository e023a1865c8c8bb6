"""Play a situation through the ledger's rules and compare what comes out with what is expected.

Pure but for the words it answers. Every situation is also a test of order: between two requests of people the same
records are read again in other orders and twice, and the books must end the same.
"""

import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from schemas import changes
from schemas.errors import UnprocessableError
from schemas.quickbooks import RECORD_TYPES, parse_instant
from streams.books import Books, Company, Key
from tests.linked import Linked, journal
from tests.rules import START
from tests.situation.expecting import Difference, differences, state
from tests.situation.names import Names
from tests.situation.reading import DOCUMENTS, SALES, NotUnderstood, Situation, Step

ORDERS = 4  # other orders of arrival that every situation is played in
SOURCES = ("CreditMemo", "CreditCardCredit")
FIELD_ID = "1"  # DefinitionId of the Reference Number
READS = frozenset((*DOCUMENTS, "customer", "void", "delete", "read again", "quickbooks"))


class Read(NamedTuple):
    """One record as QuickBooks showed it at a time; `raw` None: gone."""

    key: Key
    raw: dict[str, Any] | None
    at: datetime  # LastUpdatedTime
    sync_token: int = 0
    read_at: datetime | None = None  # Intuit's time of the answer; None: when it arrives
    where: str = ""


Act = Callable[[Linked], Iterable[Difference]]


def play(situation: Situation) -> list[Difference]:
    """What is not as expected; empty: the situation is as it should be. Raises NotUnderstood."""
    script = Script(situation)
    first, found = script.played(None)
    for seed in range(ORDERS if not found else 0):
        other, _ = script.played(seed)
        found += [
            Difference(f"{what}, read in another order (seed {seed})", expected, got)
            for (what, expected), (_, got) in zip(state(first), state(other), strict=True)
            if expected != got
        ]
    return found


@contextmanager
def _told_where(where: str) -> Iterator[None]:
    """What is not understood is told with its line."""
    try:
        yield
    except (NotUnderstood, UnprocessableError) as error:
        raise NotUnderstood(f"{where}: {error}") from error


class Script:
    """A situation with every name resolved: which records are read when, what people ask, what is expected."""

    def __init__(self, situation: Situation, *, every: Situation | None = None) -> None:
        """`every`: the whole situation, where this is its beginning only: names stand for what they stand for there."""
        self._situation = situation
        self._fields: dict[Key, dict[str, Any]] = {}  # what each record said last
        self._journals: dict[str, bytes] = {}  # journal entries by id
        self._minute = 0
        with _told_where(f"{situation.file}: {situation.name}"):
            self.names = Names(every or situation)
            self._lines: list[Read | Act] = [*self._beginning()]
        for step in situation.history:
            self._minute += 1
            with _told_where(situation.where(step)):
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
                world.minutes = max(world.minutes, _minute(read.at))
                with _told_where(read.where):
                    _take(world, read, self._journals)
            for act in (line for line in part if not isinstance(line, Read)):
                found += [difference for difference in act(world) if seed is None]
        return world, found

    # --- the beginning --------------------------------------------------------------------------------------------

    def _beginning(self) -> Iterator[Read | Act]:
        situation = self._situation
        yield self._company({})
        for project_id in situation.projects:
            yield _doing(lambda world, p=project_id: world.declare(p))
        beginning = Step(command="customers", subject="", fields={}, line=0)
        for name, fields in situation.customers.items():
            yield self._read(beginning, self.names.key(name), self._customer(name, fields))
        for name, fields in situation.customers.items():
            if fields.get("project"):
                yield self._map(beginning, self.names.customer(name), fields)

    def _company(self, fields: Mapping[str, Any]) -> Act:
        name = fields.get("reference field", "Reference Number")
        closed_on = fields.get("books closed on")
        facts = changes.CompanyFacts(
            home_currency=fields.get("home currency", self._situation.home_currency),
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
                yield self._expected(step)
            case "company":
                yield self._company(fields)
            case "adopt rules":
                yield _doing(lambda world: world.adopt_rules(int(subject)))
            case "journal":
                self._journals[self.names.of_kind(subject, "JournalEntry")] = self._journal(fields)
            case "customer":
                yield self._read(step, self.names.key(subject), self._customer(subject, fields))
            case "payment":
                yield self._read(step, self.names.key(subject), self._payment(subject, fields))
            case kind if kind in SALES:
                yield self._read(step, self.names.key(subject), self._sale(subject, fields))
            case "void":
                yield self._read(step, self.names.key(subject), self._void(self.names.key(subject)))
            case "delete":
                yield self._read(step, self._kept(subject), None)
            case "not found":
                key = self._kept(subject)
                yield _doing(lambda world: world.absent(*key))
            case "read again":
                yield self._read(step, self.names.key(subject), self._last(self.names.key(subject)))
            case "quickbooks":
                yield self._raw(step)
            case _:
                yield from self._request(step)

    def _expected(self, step: Step) -> Act:
        def act(world: Linked) -> Iterator[Difference]:
            with _told_where(self._situation.where(step)):
                found = list(differences(self.names, step.fields, world))
            yield from (each._replace(what=f"line {step.line}: {each.what}") for each in found)

        return act

    def _read(self, step: Step, key: Key, raw: dict[str, Any] | None) -> Read:
        fields = step.fields
        at = START + timedelta(minutes=fields.get("at", self._minute))
        read_at = START + timedelta(minutes=fields["read at"]) if "read at" in fields else None
        return Read(key, raw, at, read_at=read_at, where=self._situation.where(step))

    def _last(self, key: Key) -> dict[str, Any]:
        if key not in self._fields:
            raise NotUnderstood(f"{key[0]} {key[1]} was not given before: a line with its fields comes first")
        return self._fields[key]

    def _kept(self, name: str) -> Key:
        """A record of the types that are kept here."""
        key = self.names.key(name)
        if key[0] not in RECORD_TYPES:
            raise NotUnderstood(f"records of type {key[0]} are not kept here; of payments, only what they pay is")
        return key

    def _customer(self, name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The customer as it is now: what a line does not name stays as the lines before said."""
        key = ("Customer", self.names.customer(name))
        raw = dict(self._fields.get(key, {"Id": key[1], "DisplayName": name, "Active": True}))
        raw |= {quickbooks: fields[ours] for ours, quickbooks in _OF_CUSTOMERS.items() if ours in fields}
        if "currency" in fields:
            raw["CurrencyRef"] = {"value": fields["currency"]}
        if "parent" in fields:
            raw["ParentRef"] = None if fields["parent"] is None else {"value": self.names.customer(fields["parent"])}
        self._fields[key] = raw
        return raw

    def _sale(self, name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The record as it is now: what a line does not name stays as the lines before said."""
        key = self.names.key(name)
        raw = dict(self._fields.get(key, {"Id": key[1], "TxnDate": "2026-01-15", "DocNumber": name}))
        raw |= self._shared(name, fields)
        raw |= {quickbooks: _day(fields[ours]) for ours, quickbooks in _DATES.items() if ours in fields}
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
            default = next(iter(self._situation.customers), None)
            payer = fields.get("customer", default)
            if payer is None:
                raise NotUnderstood(f"{name} needs a `customer`, since the situation names none")
            found["CustomerRef"] = {"value": self.names.customer(payer)}
        if "total" in fields or key not in self._fields:
            if "total" not in fields:
                raise NotUnderstood(f"{name} needs a `total`")
            found["TotalAmt"] = fields["total"]
        for ours, reference in (("project", "ProjectRef"), ("currency", "CurrencyRef")):
            if ours in fields:
                found[reference] = None if fields[ours] is None else {"value": fields[ours]}
        if "rate" in fields:
            found["ExchangeRate"] = fields["rate"]
        if "number" in fields:
            found["DocNumber" if key[0] in SALES.values() else "PaymentRefNum"] = fields["number"]
        return found

    def _payment(self, name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        key = self.names.key(name)
        raw = dict(self._fields.get(key, {"Id": key[1], "TxnDate": "2026-02-01", "Line": []}))
        raw |= self._shared(name, fields)
        if "on" in fields:
            raw["TxnDate"] = _day(fields["on"])
        if "lines" in fields:
            raw["Line"] = [self._payment_line(target, amount) for target, amount in fields["lines"].items()]
        raw["UnappliedAmt"] = fields.get("unapplied", _unapplied(raw))
        self._fields[key] = raw
        return raw

    def _payment_line(self, target: str, amount: Any) -> dict[str, Any]:
        record_type, record_id = self.names.key(target)
        return {"Amount": amount, "LinkedTxn": [{"TxnType": record_type, "TxnId": record_id}]}

    def _void(self, key: Key) -> dict[str, Any]:
        """As QuickBooks leaves a voided document: nothing on it, and what paid it says so itself."""
        raw = self._last(key) | {"TotalAmt": 0, "PrivateNote": "Voided", "Deposit": 0, "TxnTaxDetail": {"TotalTax": 0}}
        raw |= {"Line": [], "UnappliedAmt": 0} if key[0] == "Payment" else {"Line": [{"Amount": 0}]}
        self._fields[key] = raw
        return raw

    def _raw(self, step: Step) -> Read:
        """A whole record, as QuickBooks' API answers it, its times and its token with it."""
        answer = {name: value for name, value in step.fields.items() if name not in ("at", "read at")}
        raw = dict(answer[step.subject]) if isinstance(answer.get(step.subject), dict) else answer
        if step.subject not in RECORD_TYPES:
            raise NotUnderstood(f"records of type {step.subject} are not kept here; {', '.join(RECORD_TYPES)} are")
        if "Id" not in raw:
            raise NotUnderstood(f"a QuickBooks {step.subject} without an `Id`")
        raw["Id"] = str(raw["Id"])
        key = (step.subject, raw["Id"])
        self._fields[key] = raw
        read = self._read(step, key, raw)
        revised = (raw.get("MetaData") or {}).get("LastUpdatedTime")
        if revised is not None and "at" not in step.fields:
            read = read._replace(at=_instant(revised))
            self._minute = max(self._minute, _minute(read.at))  # what the lines below tell is later
        if raw is not answer and "time" in answer and read.read_at is None:
            read = read._replace(read_at=_instant(answer["time"]))
        return read._replace(sync_token=_token(raw.get("SyncToken", 0)))

    def _journal(self, fields: Mapping[str, Any]) -> bytes:
        """Its lines to receivables: by side and customer."""
        sides = (("Debit", fields.get("debit", {})), ("Credit", fields.get("credit", {})))
        return journal(
            *((side, str(amount), self.names.customer(c)) for side, lines in sides for c, amount in lines.items())
        )

    # --- requests of people ---------------------------------------------------------------------------------------

    def _request(self, step: Step) -> Iterator[Act]:
        fields, subject, seen = step.fields, step.subject, step.fields.get("seen")
        match step.command:
            case "project":
                yield _doing(lambda world: world.declare(subject))
            case "close project":
                yield _doing(lambda world: world.take(changes.ProjectClosed(project_id=subject)))
            case "map":
                yield self._map(step, self.names.customer(subject), fields)
            case "release":
                customer_id = self.names.customer(subject)
                yield self._answered(step, lambda world: world.release(customer_id, seen=seen))
            case "exclude":
                customer_id, by_reference = self.names.customer(subject), fields.get("by reference", False)
                yield self._answered(step, lambda world: world.exclude(customer_id, by_reference, seen=seen))
            case "assign":
                key, project = self._kept(subject), fields.get("project")
                yield self._answered(step, lambda world: world.assign(*key, project, seen=seen))
            case "dismiss":
                key = self._kept(subject)
                yield self._answered(step, lambda world: world.dismiss(*key))
            case "link":
                project = fields.get("project")
                yield self._answered(step, lambda world: world.link(subject, project, seen=seen))
            case _:
                yield self._merge(step)

    def _merge(self, step: Step) -> Act:
        vanished, minute = self.names.customer(step.subject), self._minute
        if step.command == "merge":
            kept = self.names.customer(step.fields["into"])
            return _doing(lambda world: world.merged(kept, vanished, at=minute))
        together, seen = step.fields["together"], step.fields.get("seen")
        return self._answered(step, lambda world: world.resolve(vanished, together=together, seen=seen))

    def _map(self, step: Step, customer_id: str, fields: Mapping[str, Any]) -> Act:
        more: dict[str, Any] = {"reference": fields.get("reference") or "", "seen": fields.get("seen")}
        more["from_on"] = fields.get("from")
        return self._answered(step, lambda world: world.map(customer_id, fields["project"], **more))

    def _answered(self, step: Step, ask: Callable[[Linked], Any]) -> Act:
        """A request is accepted, unless the author says with which words it is refused; `true`: with any."""
        words = step.fields.get("refused")

        def act(world: Linked) -> Iterator[Difference]:
            (accepted, refusal), *_ = ask(world).answered.values()
            what = f"line {step.line}: {step.command} {step.subject}"
            if words is None and not accepted:
                yield Difference(what, "accepted", f"refused: {refusal}")
            elif words is not None and (accepted or (words != "true" and words.lower() not in refusal.lower())):
                yield Difference(what, f"refused with {words!r}", refusal or "accepted")

        return act


_DATES = {"on": "TxnDate", "due": "DueDate"}
_OF_CUSTOMERS = {"name": "DisplayName", "active": "Active"}


def _day(day: Any) -> str | None:
    return None if day is None else str(day)


def _minute(at: datetime) -> int:
    return math.ceil((at - START) / timedelta(minutes=1))


def _instant(text: Any) -> datetime:
    try:
        return parse_instant(str(text))
    except ValueError as error:
        raise NotUnderstood(f"{text} is no time of QuickBooks: {error}") from error


def _token(given: Any) -> int:
    if not str(given).isdigit():
        raise NotUnderstood(f"SyncToken: {given} is no whole number")
    return int(str(given))


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
        world.gone(*read.key, at=_minute(read.at))
        return
    revision: dict[str, Any] = {"at": read.at, "sync_token": read.sync_token, "read_at": read.read_at}
    lines = read.raw.get("Line") or [] if read.key[0] == "Payment" else []
    links = [link for line in lines for link in line.get("LinkedTxn") or []]
    named = {str(link["TxnId"]) for link in links if link["TxnType"] == "JournalEntry"} & set(journals)
    if named:
        world.paid_with_journals(read.raw, {number: journals[number] for number in named}, **revision)
    else:
        world.read(read.key[0], read.raw, **revision)


def _parts(lines: Sequence[Read | Act]) -> Iterator[list[Read | Act]]:
    """Reads, then what people did after them: order is free only among the reads of one part."""
    part: list[Read | Act] = []
    for line in lines:
        if isinstance(line, Read) and part and not isinstance(part[-1], Read):
            yield part
            part = []
        part.append(line)
    yield part
