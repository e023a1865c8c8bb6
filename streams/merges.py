"""Which customer's mapping a document follows after QuickBooks made one customer of two, and what a person is asked.

Pure. Once the records have said which of the two vanished, the vanished customer's documents are the kept one's,
whether they still name the vanished one or not. Where a person had sent both to different projects, nothing moves: its
documents stay with its own mapping until a person decides. All of it follows from the state, so the order of arrival
decides nothing.
Source: design section 3, "Re-mapping is an event"; docs/decisions/0016 (merges are read from the state).
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date, timedelta

from schemas import accounting as facts
from schemas import company
from schemas.quickbooks import CUSTOMER
from streams.books import Books, Company, CustomerState, Document, Merge, Reason
from streams.decision import Decision
from streams.difference import Fact, Notice

TOGETHER, APART = "together", "apart"
NEEDS_DECISION = "merge_needs_decision"
MOMENT = timedelta(
    minutes=5
)  # a document that names the kept customer from so long before the notice on was moved by it
_DECIDED = ("mapped", "excluded", "reference_only")


def mapped_as(books: Books, document: Document) -> str:
    """The customer whose mapping this document follows: the one that it names, where nothing was merged."""
    named = document.head.customer_id if document.head is not None else ""
    if not books.company.merges:
        return named
    return _kept_by(books, _before_merges(books.company.merges, document, named))


def _before_merges(merges: tuple[Merge, ...], document: Document, named: str) -> str:
    """The customer that the document belonged to before it was moved to the one that it names now."""
    origin = named
    for _ in merges:
        moved = [merge for merge in _into(merges, origin) if _was_moved(document, merge, origin)]
        if not moved:
            break
        origin = max(moved, key=lambda merge: document.named[merge.vanished_id][1]).vanished_id
    return origin


def _into(merges: tuple[Merge, ...], customer_id: str) -> list[Merge]:
    """Every merge that leads to this customer, the indirect ones too."""
    found: list[Merge] = []
    ends = [customer_id]
    for end in ends:
        more = [merge for merge in merges if merge.sure and merge.kept_id == end and merge not in found]
        found += more
        ends += [merge.vanished_id for merge in more]
    return [merge for merge in found if merge.vanished_id != customer_id]


def _was_moved(document: Document, merge: Merge, named: str) -> bool:
    """By the merge, not before it by a person: it names the other customer since then, or without a new revision."""
    vanished, now = document.named.get(merge.vanished_id), document.named.get(named)
    if vanished is None or now is None:
        return vanished is not None
    return now[0] <= vanished[1] or now[0] >= merge.noticed_at - MOMENT


def _kept_by(books: Books, customer_id: str) -> str:
    """Whoever this customer's documents are together with now."""
    for _ in books.company.merges:
        merge = merge_of(books.company, customer_id)
        if merge is None or not is_together(books, merge):
            break
        customer_id = merge.kept_id
    return customer_id


def merge_of(state: Company, vanished_id: str) -> Merge | None:
    """The merge in which this customer vanished, once that is sure."""
    return next((merge for merge in state.merges if merge.sure and merge.vanished_id == vanished_id), None)


def is_together(books: Books, merge: Merge) -> bool:
    """Whether the vanished customer's documents are the kept one's: decided, or nothing speaks against it."""
    return merge.decided == TOGETHER or (not merge.decided and not _differ(books, merge))


def _differ(books: Books, merge: Merge) -> bool:
    """A person has decided about the vanished customer, and its documents go elsewhere than the kept one's."""
    vanished = _sends(books, merge.vanished_id)
    return bool(vanished) and vanished != _sends(books, merge.kept_id)


def _sends(books: Books, customer_id: str) -> list[tuple[date, str | None]] | str:
    """Where a customer's documents go: the projects with the days from which on; else what was decided, if anything."""
    family = books.family(customer_id)
    decided = next((customer.mapping_state for customer in family if customer.mapping_state in _DECIDED), "")
    if decided != "mapped":
        return decided
    days = sorted({date.min, *(scope.from_on for c in family for scope in c.scopes if scope.from_on is not None)})
    sent = [(day, _project_on(family, day)) for day in days]
    return [each for i, each in enumerate(sent) if i == 0 or sent[i - 1][1] != each[1]]


def _project_on(family: Iterable[CustomerState], day: date) -> str | None:
    scopes = (customer.scope_on(day) for customer in family)
    return next((scope.project_id for scope in scopes if scope is not None), None)


def merged_with(state: Company, customer_ids: Iterable[str]) -> frozenset[str]:
    """These customers and all that were merged with them: a change for one may move documents of the others."""
    found, before = set(customer_ids), 0
    while len(found) > before:
        before = len(found)
        for merge in state.merges:
            if merge.kept_id in found or merge.vanished_id in found:
                found |= {merge.kept_id, merge.vanished_id}
    return frozenset(found)


def replaced(state: Company, merge: Merge) -> tuple[Merge, ...]:
    """The company's merges with this one as it is now."""
    return (*(each for each in state.merges if each.pair != merge.pair), merge)


def known_merge(state: Company, one: str, other: str) -> Merge | None:
    """What is known of the merge of these two, whichever of them vanished."""
    return next((merge for merge in state.merges if merge.pair == {one, other}), None)


def oriented(merges: tuple[Merge, ...], customers: Mapping[str, CustomerState]) -> tuple[Merge, ...]:
    """The merges, with which of the two vanished as far as the records say it; the notices are not believed about that.

    An inactive customer has vanished, or one that is not there any more. Nobody vanishes twice, so of two such ones the
    one that vanished elsewhere was kept; else one that is not there any more has vanished rather than an inactive one,
    and of two inactive ones the first, for nobody merges into an inactive customer.
    What a person has decided stays as it is; of what the records leave open, what was found before holds, unless that
    one vanished elsewhere.
    """
    found = {merge.pair: merge.vanished_id for merge in merges if merge.decided}
    ended = {merge.pair: _inactive(merge, customers) for merge in merges if merge.pair not in found}
    firsts = {merge.pair: _first(merge, customers, ended[merge.pair]) for merge in merges if merge.pair in ended}
    while only := _only_ones(_left(ended, found)) or _only_ones(_left(firsts, found)):
        found |= only
    return tuple(_vanished_in(merge, found) for merge in merges)


def _left(
    names: dict[frozenset[str], frozenset[str]], found: dict[frozenset[str], str]
) -> dict[frozenset[str], frozenset[str]]:
    """Who may have vanished in the merges that are open."""
    return {pair: each - set(found.values()) for pair, each in names.items() if pair not in found}


def _only_ones(left: dict[frozenset[str], frozenset[str]]) -> dict[frozenset[str], str]:
    """Merges in which one customer alone can have vanished, unless another merge says that of it as well."""
    single = {pair: next(iter(names)) for pair, names in left.items() if len(names) == 1}
    named = list(single.values())
    return {pair: name for pair, name in single.items() if named.count(name) == 1}


def _inactive(merge: Merge, customers: Mapping[str, CustomerState]) -> frozenset[str]:
    """Nobody as long as one of the two was not read."""
    if not merge.pair <= {*customers, *merge.gone}:
        return frozenset()
    return frozenset(each for each in merge.pair if each in merge.gone or not customers[each].active)


def _first(merge: Merge, customers: Mapping[str, CustomerState], ended: frozenset[str]) -> frozenset[str]:
    """Of these customers the one that is not there any more, else the one that was made inactive first."""
    if gone := ended & {*merge.gone}:
        return gone
    times = {each: customers[each].revision.revised_at for each in ended}
    return frozenset(each for each in ended if times[each] == min(times.values()))


def _vanished_in(merge: Merge, found: dict[frozenset[str], str]) -> Merge:
    vanished_id = found.get(merge.pair)
    if vanished_id is None:
        return merge._replace(sure=merge.sure and merge.vanished_id not in found.values())
    if merge.sure and merge.vanished_id == vanished_id:
        return merge
    (kept_id,) = merge.pair - {vanished_id}
    return merge._replace(vanished_id=vanished_id, kept_id=kept_id, sure=True, told=())


def follow_up(books: Books, decision: Decision) -> None:
    """Ask a person about merges that need a decision, stop asking, and tell the projects; `books` hold the change."""
    state = books.company
    for merge in state.merges:
        if not merge.sure or not {merge.vanished_id, merge.kept_id} <= books.customers.keys():
            continue
        asked = "" if merge.decided or not _differ(books, merge) else _question(books, merge)
        if asked != merge.asked:
            decision.notices.append(Notice((CUSTOMER, merge.vanished_id), _asking(asked)))
        untold = sorted(_projects(books, merge) - set(merge.told))
        decision.facts += [_told(books, merge, project_id) for project_id in untold]
        if asked != merge.asked or untold:
            now = merge._replace(asked=asked, told=(*merge.told, *untold))
            state = replace(state, merges=replaced(state, now))
    if state is not books.company:
        decision.company = state


def _question(books: Books, merge: Merge) -> str:
    """Both customers and where a person had sent each."""
    return f"{_goes(books, merge.vanished_id)}; merged into {_goes(books, merge.kept_id)}"


def _goes(books: Books, customer_id: str) -> str:
    decided = next((c for c in books.family(customer_id) if c.mapping_state in _DECIDED), None)
    if decided is None:
        return f"customer {customer_id}: not synced"
    projects = ", ".join(dict.fromkeys(scope.project_id for scope in decided.scopes))
    return f"customer {customer_id}: {projects or decided.mapping_state.replace('_', ' ')}"


def no_longer_asked(merge: Merge) -> Notice:
    """The question about this merge falls: its records say now that the other one vanished."""
    return Notice((CUSTOMER, merge.vanished_id), _asking(""))


def _asking(asked: str) -> company.WarningRaised | company.WarningCleared:
    if not asked:
        return company.WarningCleared(code=NEEDS_DECISION)
    return company.WarningRaised(code=NEEDS_DECISION, detail=asked)


def _projects(books: Books, merge: Merge) -> set[str]:
    both = (*books.family(merge.vanished_id), *books.family(merge.kept_id))
    return {scope.project_id for customer in both if customer.mapping_state == "mapped" for scope in customer.scopes}


def _told(books: Books, merge: Merge, project_id: str) -> Fact:
    body = facts.CustomersMerged(kept_customer_id=merge.kept_id, vanished_customer_id=merge.vanished_id)
    kept, on = books.customers[merge.kept_id], merge.noticed_at.date()
    return Fact(project_id, (CUSTOMER, merge.kept_id), kept.revision, Reason.CUSTOMER, on, body)
