"""Which customer's mapping a document follows after QuickBooks made one customer of two, and what a person is asked.

Pure. Once the records have said which of the two vanished, the vanished customer's documents are the kept one's,
whether they still name the vanished one or not. Where a person had sent both to different projects, nothing moves: its
documents stay with its own mapping until a person decides. All of it follows from the state, so the order of arrival
decides nothing.
Source: design section 3, "Re-mapping is an event"; docs/decisions/0016 (merges are read from the state).
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

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
    """A person has decided about the vanished customer, and not the same as about the kept one."""
    vanished = _mapping(books, merge.vanished_id)
    return bool(vanished) and vanished != _mapping(books, merge.kept_id)


def _mapping(books: Books, customer_id: str) -> list[tuple[object, ...]]:
    decided = (customer for customer in books.family(customer_id) if customer.mapping_state in _DECIDED)
    return [(c.mapping_state, [(scope.project_id, scope.from_on) for scope in c.scopes]) for c in decided]


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
    pair = {merge.kept_id, merge.vanished_id}
    return (*(each for each in state.merges if {each.kept_id, each.vanished_id} != pair), merge)


def known_merge(state: Company, one: str, other: str) -> Merge | None:
    """What is known of the merge of these two, whichever of them vanished."""
    return next((merge for merge in state.merges if {merge.kept_id, merge.vanished_id} == {one, other}), None)


def oriented(merge: Merge, one: CustomerState | None, other: CustomerState | None) -> Merge:
    """Of two customers the inactive one has vanished; Intuit's notice names both and is not believed about which.

    Where both are inactive, the one that became so first: nobody merges into an inactive customer. What was sure is
    turned round only by that, as the other one was last seen before the merge and active, and not after a decision.
    """
    if one is None or other is None:
        return merge
    vanished = _vanished(one, other)
    if vanished is None or (merge.sure and (one.active or other.active or merge.decided)):
        return merge
    kept = one if vanished is other else other
    turned = merge.sure and merge.vanished_id != vanished.customer_id
    asked = "" if turned else merge.asked
    return merge._replace(vanished_id=vanished.customer_id, kept_id=kept.customer_id, sure=True, asked=asked)


def _vanished(one: CustomerState, other: CustomerState) -> CustomerState | None:
    if one.active != other.active:
        return other if one.active else one
    if one.active or one.revision.revised_at == other.revision.revised_at:
        return None
    return min(one, other, key=lambda customer: customer.revision.revised_at)


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
