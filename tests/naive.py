"""A naive model of one company: what was read, what people decided, and where each record belongs.

Shares no code with the rules and is never clever: it keeps every read and every decision, and answers each question by
going through all of them again. `tests/naive_figures.py` works the figures out of it. Written from design section 3 and
decisions 0008, 0013, 0014, 0016 and 0017, so that it can be checked against them line by line.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import NamedTuple

ZERO = Decimal(0)
HOME = "USD"  # the company's home currency
TOLERANCE = 5  # minutes around a merge in which QuickBooks may have moved a document (decision 0016)
DECIDED = ("mapped", "excluded", "reference_only")
Key = tuple[str, str]
Place = tuple[str | None, str]  # a project and the reason; or None and why it waits


@dataclass(frozen=True)
class Sale:
    """An invoice, memo or refund as QuickBooks says it."""

    customer: str
    total: Decimal
    on: date
    deposit: Decimal = ZERO
    currency: str = HOME
    rate: Decimal | None = None
    reference: str | None = None
    field: str = "1"  # the DefinitionId of the custom field that holds it
    project_ref: str | None = None
    voided: bool = False


@dataclass(frozen=True)
class Paid:
    """A payment as QuickBooks says it; the lines by target, all positive, in Intuit's order."""

    customer: str
    total: Decimal
    on: date
    unapplied: Decimal = ZERO
    lines: dict[Key, Decimal] = field(default_factory=dict)
    sides: dict[Key, int] = field(default_factory=dict)  # of journals that say it themselves: 1 a use, -1 a source
    currency: str = HOME
    rate: Decimal | None = None
    project_ref: str | None = None

    @property
    def voided(self) -> bool:
        """No money and no lines."""
        return not self.total and not self.unapplied and not self.lines

    def lines_to(self, kind: str) -> dict[Key, Decimal]:
        """The lines to invoices, or to memos."""
        return {key: amount for key, amount in self.lines.items() if key[0] == kind}

    def other_lines(self) -> dict[Key, Decimal]:
        """The lines to what is not kept here."""
        return {key: amount for key, amount in self.lines.items() if key[0] not in ("Invoice", "CreditMemo")}


class Reading(NamedTuple):
    """One answer of QuickBooks; the latest revision counts, of one revision the latest answer."""

    at: int
    read_at: int
    record: Sale | Paid


class Profile(NamedTuple):
    """A customer as it was read last."""

    at: int
    read_at: int
    parent: str | None
    active: bool


class Scope(NamedTuple):
    """From a day on (None: always) documents go to a project; a Reference Number may be given with it."""

    from_on: date | None
    project: str
    number: str = ""


@dataclass
class Mapping:
    """What a person decided about a customer."""

    state: str = "none"
    scopes: list[Scope] = field(default_factory=list)
    version: int = 0


@dataclass
class Merge:
    """QuickBooks made one customer of two. Which one vanished is known once their records say so."""

    pair: frozenset[str]
    noticed_at: int
    vanished: str | None = None
    decided: str = ""
    version: int = 0
    gone: set[str] = field(default_factory=set)  # of the two, who is not there any more

    @property
    def kept(self) -> str:
        """The other one."""
        (kept,) = self.pair - {self.vanished}
        return kept


@dataclass
class Naive:
    """The whole company."""

    customers: dict[str, Profile] = field(default_factory=dict)
    mappings: dict[str, Mapping] = field(default_factory=dict)
    projects: dict[str, bool] = field(default_factory=dict)  # closed?
    links: dict[str, str | None] = field(default_factory=dict)  # QuickBooks projects that a person linked
    link_versions: dict[str, int] = field(default_factory=dict)
    assigned: dict[Key, str | None] = field(default_factory=dict)
    assignment_versions: dict[Key, int] = field(default_factory=dict)
    readings: dict[Key, list[Reading]] = field(default_factory=dict)
    gone: dict[Key, int] = field(default_factory=dict)  # announced deletes
    absent: dict[Key, int] = field(default_factory=dict)  # not there, and nobody had announced a delete
    pinned: str | None = None  # the field that the company's facts once named as Reference Number
    merges: list[Merge] = field(default_factory=list)
    rules: int = 3

    # --- what QuickBooks says -----------------------------------------------------------------------------------

    def read(self, key: Key, record: Sale | Paid, at: int, read_at: int) -> None:
        """A record was read."""
        self.readings.setdefault(key, []).append(Reading(at, read_at, record))

    def read_customer(self, customer: str, parent: str | None, active: bool, at: int, read_at: int) -> None:
        """A customer was read; an older state of it says nothing."""
        known = self.customers.get(customer)
        if known is None or (at, read_at) > (known.at, known.read_at):
            self.customers[customer] = Profile(at, read_at, parent, active)
            self._who_vanished()

    def delete(self, key: Key, at: int) -> None:
        """It was announced as deleted, and is not there."""
        self.gone[key] = max(at, self.gone.get(key, -1))

    def miss(self, key: Key, read_at: int) -> None:
        """It is not there, and nobody had announced a delete: nothing is known by that but of what was known."""
        if key in self.readings:
            self.absent[key] = max(read_at, self.absent.get(key, -1))

    def notice_merge(self, one: str, other: str, at: int) -> None:
        """Intuit says that these two were merged; it is not believed about which of them vanished."""
        known = next((merge for merge in self.merges if merge.pair == {one, other}), None)
        if known is None:
            self.merges.append(Merge(frozenset((one, other)), at))
        else:
            known.noticed_at = min(known.noticed_at, at)
        self._who_vanished()

    def customer_gone(self, customer: str) -> None:
        """Asked for after a merge, and not there any more."""
        for merge in self.merges:
            if customer in merge.pair:
                merge.gone.add(customer)
        self._who_vanished()

    def _who_vanished(self) -> None:
        """Of two the inactive one, of two inactive ones the first; nobody vanishes twice.

        What is open yet stays as it was found before, if it can.
        """
        sure = {merge.pair: str(merge.vanished) for merge in self.merges if merge.decided}
        while more := self._only_ones(sure, self._may_have_vanished) or self._only_ones(sure, self._first_to_vanish):
            sure |= more
        for merge in self.merges:
            known = merge.vanished if merge.vanished not in sure.values() else None
            merge.vanished = sure.get(merge.pair, known)

    def _only_ones(
        self, sure: dict[frozenset[str], str], may_have: Callable[[Merge], set[str]]
    ) -> dict[frozenset[str], str]:
        """Merges in which only one customer may have vanished, who may not have vanished in another."""
        may = {m.pair: may_have(m) - set(sure.values()) for m in self.merges if m.pair not in sure}
        single = {pair: names for pair, names in may.items() if len(names) == 1}
        return {pair: min(names) for pair, names in single.items() if list(single.values()).count(names) == 1}

    def _first_to_vanish(self, merge: Merge) -> set[str]:
        """Who is not there any more, before who was made inactive; of two inactive ones the first."""
        both = self._may_have_vanished(merge)
        if both & merge.gone:
            return both & merge.gone
        if len(both) < 2:
            return both
        one, other = sorted(both, key=lambda customer: self.customers[customer].at)
        return {one} if self.customers[one].at < self.customers[other].at else set()

    def _may_have_vanished(self, merge: Merge) -> set[str]:
        if not merge.pair <= self.customers.keys() | merge.gone:
            return set()
        return {each for each in merge.pair if each in merge.gone or not self.customers[each].active}

    # --- what people say: True, accepted -------------------------------------------------------------------------

    def map(self, customer: str, scope: Scope, seen: int) -> bool:
        """A person maps a customer; from a day on keeps what lies before that day."""
        if not self._may_decide(customer, seen) or self.projects.get(scope.project, True):
            return False
        earlier = self.mapping(customer).scopes if scope.from_on is not None else []
        kept = [s for s in earlier if s.from_on is None or (scope.from_on is not None and s.from_on < scope.from_on)]
        if scope.number and self._names_another(customer, [*kept, scope], scope):
            return False
        self._decide(customer, "mapped", [*kept, scope])
        return True

    def decide(self, customer: str, state: str, seen: int) -> bool:
        """A person releases or excludes a customer, or maps it by reference only."""
        if not self._may_decide(customer, seen):
            return False
        self._decide(customer, state, [])
        return True

    def assign(self, key: Key, project: str | None, seen: int) -> bool:
        """A person says which project one document belongs to."""
        if key not in self.readings or seen != self.assignment_versions.get(key, 0):
            return False
        if project is not None and self.projects.get(project, True):
            return False
        self.assigned[key] = project
        self.assignment_versions[key] = seen + 1
        return True

    def link(self, ref: str, project: str | None, seen: int) -> bool:
        """A person says which project a QuickBooks project is, or takes that back."""
        if seen != self.link_versions.get(ref, 0):
            return False
        if self.links.get(ref) is None if project is None else self.projects.get(project, True):
            return False
        self.links[ref] = project
        self.link_versions[ref] = seen + 1
        return True

    def dismiss(self, key: Key) -> bool:
        """A person has looked at a document that came back after its delete."""
        if not self.came_back(key):
            return False
        del self.gone[key]
        return True

    def resolve(self, vanished: str, together: bool, seen: int) -> bool:
        """A person says where a vanished customer's documents go."""
        merge = self.merge_of(vanished)
        if merge is None or seen != merge.version or merge.decided == "together":
            return False
        self._end_merge(merge, together)
        return True

    def mapping(self, customer: str) -> Mapping:
        """What a person decided about this very customer."""
        return self.mappings.get(customer, Mapping())

    def _may_decide(self, customer: str, seen: int) -> bool:
        """Known, nobody was faster, and it is not together with another customer since a merge."""
        merge = self.merge_of(customer)
        if customer not in self.customers or (merge is not None and self.is_together(merge)):
            return False
        return seen == self.mapping(customer).version

    def _decide(self, customer: str, state: str, scopes: list[Scope]) -> None:
        """Whoever decides about a customer decides about those that are together with it (decision 0016)."""
        along = [merge for merge in self.merges if self._goes_along(merge, customer)]
        self.mappings[customer] = Mapping(state, scopes, self.mapping(customer).version + 1)
        for merge in along:
            self._end_merge(merge, together=True)

    def _goes_along(self, merge: Merge, customer: str) -> bool:
        if merge.vanished is None or merge.decided or not self.is_together(merge):
            return False
        return self.kept_by(merge.vanished) == customer

    def _end_merge(self, merge: Merge, together: bool) -> None:
        merge.decided, merge.version = "together" if together else "apart", merge.version + 1
        vanished = str(merge.vanished)
        if together and self.mapping(vanished).state in DECIDED:
            self.mappings[vanished] = Mapping("released", [], self.mapping(vanished).version + 1)

    def _names_another(self, customer: str, scopes: list[Scope], scope: Scope) -> bool:
        """A Reference Number is unique in the company: would it name another project beside this one?"""
        others = {c: mapping.scopes for c, mapping in self.mappings.items() if c != customer}
        return bool(self._named(scope.number, others | {customer: scopes}) - {scope.project})

    # --- what is so ------------------------------------------------------------------------------------------------

    def head(self, key: Key) -> Reading:
        """What QuickBooks said last."""
        return max(self.readings[key], key=lambda reading: (reading.at, reading.read_at))

    def record(self, key: Key) -> Sale | Paid:
        """The record as QuickBooks said it last."""
        return self.head(key).record

    def is_gone(self, key: Key) -> bool:
        """Deleted, and no later revision was read."""
        return key in self.gone and not self.came_back(key)

    def came_back(self, key: Key) -> bool:
        """Deleted, and a later revision was read."""
        return key in self.gone and key in self.readings and self.head(key).at > self.gone[key]

    def counts(self, key: Key) -> bool:
        """Known, and neither voided nor deleted."""
        return key in self.readings and not self.is_gone(key) and not self.record(key).voided

    def is_abroad(self, currency: str) -> bool:
        """Whether amounts in it are said in home currency, too; the first rules did not."""
        return self.rules >= 2 and currency != HOME

    # --- which project -----------------------------------------------------------------------------------------------

    def place(self, key: Key) -> Place:
        """The gate, then rules 0 to 5."""
        record, family = self.record(key), self.family(self.owner(key))
        if not family:
            return None, "customer_unknown"
        gate = self.gate(family)
        if gate == "none":
            return None, "customer_not_synced"
        assigned = self.assigned.get(key)
        if assigned is not None:
            return assigned, "assigned"
        if gate == "excluded":
            return None, "excluded"
        named = self.named_by(record)
        if len(named) == 1:
            return next(iter(named)), "reference_number"
        if gate == "reference_only":
            return None, "reference_only"
        linked = self.links.get(record.project_ref) if record.project_ref is not None else None
        if linked is not None:
            return linked, "quickbooks_project"
        return self._by_customer(family, record.on)

    def _by_customer(self, family: list[str], on: date) -> Place:
        for customer in family:
            begun = [s for s in self.mapping(customer).scopes if s.from_on is None or s.from_on <= on]
            if begun:
                return begun[-1].project, "customer" if customer == family[0] else "parent_customer"
        return None, "out_of_scope"

    def gate(self, family: list[str]) -> str:
        """What the nearest customer says about which a person has decided."""
        return next((state for c in family if (state := self.mapping(c).state) in DECIDED), "none")

    def family(self, customer: str) -> list[str]:
        """A customer and its ancestors, as far as they are known."""
        found: list[str] = []
        next_one: str | None = customer
        while next_one is not None and next_one in self.customers and len(found) < 10:
            found.append(next_one)
            next_one = self.customers[next_one].parent
        return found

    def named_by(self, record: Sale | Paid) -> set[str]:
        """The projects that a document's Reference Number names; payments have none."""
        number = self.number_of(record)
        return self._named(number, {c: mapping.scopes for c, mapping in self.mappings.items()}) if number else set()

    def number_of(self, record: Sale | Paid) -> str | None:
        """What the Reference Number field holds: that with the pinned id, before there is one that with its name."""
        if isinstance(record, Paid) or self.pinned not in (None, record.field):
            return None
        return record.reference

    def _named(self, number: str, scopes: dict[str, list[Scope]]) -> set[str]:
        """A project's own id wins over numbers given at mappings."""
        text = number.strip().lower()
        own = {project for project in self.projects if project.lower() == text}
        given = {s.project for each in scopes.values() for s in each if s.number and s.number.strip().lower() == text}
        return own or given

    # --- merges ------------------------------------------------------------------------------------------------------

    def owner(self, key: Key) -> str:
        """The customer whose mapping a document follows."""
        return self.kept_by(self._owner_before_merges(key))

    def _owner_before_merges(self, key: Key) -> str:
        owner = self.record(key).customer
        for _ in self.merges:
            moved = [merge for merge in self._merges_into(owner) if self._was_moved(key, merge, owner)]
            if not moved:
                break
            owner = str(max(moved, key=lambda merge: max(self._named_at(key, merge.vanished))).vanished)
        return owner

    def _merges_into(self, customer: str) -> list[Merge]:
        """All merges that lead to this customer, directly or by way of others."""
        found: list[Merge] = []
        while more := [
            m
            for m in self.merges
            if m.vanished and m not in found and m.kept in {customer, *(f.vanished for f in found)}
        ]:
            found += more
        return [merge for merge in found if merge.vanished != customer]

    def _was_moved(self, key: Key, merge: Merge, now: str) -> bool:
        """By the merge: it named the vanished customer, and this one only since then or without a new revision."""
        before, since = self._named_at(key, merge.vanished), self._named_at(key, now)
        if not before or not since:
            return bool(before)
        return min(since) <= max(before) or min(since) >= merge.noticed_at - TOLERANCE

    def _named_at(self, key: Key, customer: str | None) -> list[int]:
        return [reading.at for reading in self.readings[key] if reading.record.customer == customer]

    def kept_by(self, customer: str) -> str:
        """The customer with which this one's documents are together."""
        for _ in self.merges:
            merge = self.merge_of(customer)
            if merge is None or not self.is_together(merge):
                break
            customer = merge.kept
        return customer

    def merge_of(self, vanished: str) -> Merge | None:
        """The merge in which this customer vanished."""
        return next((merge for merge in self.merges if merge.vanished == vanished), None)

    def is_together(self, merge: Merge) -> bool:
        """A person said so, or nobody had sent the two customers' documents to different places."""
        return merge.decided == "together" or (not merge.decided and not self.differ(merge))

    def differ(self, merge: Merge) -> bool:
        """A person has decided about the vanished customer, and its documents go elsewhere than the kept one's."""
        vanished, kept = self.family(str(merge.vanished)), self.family(merge.kept)
        if self.gate(vanished) == "none":
            return False
        return self._sends(vanished) != self._sends(kept)

    def _sends(self, family: list[str]) -> list[tuple[date, str | None]] | str:
        """Where a family's documents go: by the day, where it is mapped; else what its gate says."""
        gate = self.gate(family)
        if gate != "mapped":
            return gate
        starts = {s.from_on for mapping in self.mappings.values() for s in mapping.scopes if s.from_on is not None}
        return [(day, self._by_customer(family, day)[0]) for day in sorted({date.min, *starts})]

    # --- warnings ----------------------------------------------------------------------------------------------------

    def warnings(self) -> set[tuple[str, str, str]]:
        """What a person should look at, by record and code."""
        found = {(*key, code) for key in self.readings for code in (*self._doubts(key), *self._alarms(key))}
        asked = [m for m in self.merges if m.vanished and not m.decided and m.pair <= self.customers.keys()]
        return found | {("Customer", str(m.vanished), "merge_needs_decision") for m in asked if self.differ(m)}

    def _alarms(self, key: Key) -> list[str]:
        found = []
        if self.came_back(key):
            found.append("reopened_after_delete")
        if self.absent.get(key, -1) > self.head(key).read_at and not self.is_gone(key):
            found.append("absent_in_quickbooks")
        return found

    def _doubts(self, key: Key) -> list[str]:
        if not self.counts(key):
            return []
        record, found = self.record(key), []
        usable = record.rate is not None and record.rate > 0
        if self.is_abroad(record.currency) and not usable and _has_money(record):
            found.append("exchange_rate_missing")
        if self.gate(self.family(self.owner(key))) in ("none", "excluded") or self.assigned.get(key) is not None:
            return found
        named = self.named_by(record)
        if self.number_of(record) is not None and len(named) != 1:
            found.append("reference_ambiguous" if named else "reference_unknown")
        if len(named) != 1 and record.project_ref is not None and self.links.get(record.project_ref) is None:
            found.append("quickbooks_project_unlinked")
        return found


def _has_money(record: Sale | Paid) -> bool:
    """A payment that only links credits to invoices has none of its own."""
    return isinstance(record, Sale) or bool(record.total or record.unapplied or record.other_lines())
