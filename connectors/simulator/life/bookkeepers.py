"""Three kinds of bookkeeper: each is told which job a paper is for, and writes what such a person would write.

Reads: the firm's jobs and its dice. Writes: nothing; the customer, the fields and the note of a paper to be.
Guarantees: the job comes first and the text follows; a careful one's text always leads to the job's project, where the
customer has been let into IntoAEC at all; what the text of the others leads to is noted by whoever types it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from connectors.simulator.books.notes import Note, known
from connectors.simulator.books.records import Kind
from connectors.simulator.life.firm import REFERENCE_FIELD, Firm, Site
from connectors.simulator.life.happenings import Impossible

KINDS = ("careful", "hasty", "wrong")
HABITS = ((70, 22, 8), (85, 12, 3), (45, 40, 15))  # a firm's share of each kind; which, says its number


class Writing(NamedTuple):
    """What a bookkeeper makes of an order to bill a job."""

    customer: str
    fields: dict[str, Any]
    note: Note


def write_up(firm: Firm, site: Site) -> Writing:
    """Customer, reference and project of a sales form for this job, by one of the firm's bookkeepers."""
    kind = firm.dice.choices(KINDS, HABITS[firm.number % len(HABITS)])[0]
    if site.project is None:
        return _plain(firm, site, kind)
    if kind == "careful":
        return _careful(firm, site)
    return _hasty(firm, site) if kind == "hasty" else _wrong(firm, site)


def _plain(firm: Firm, site: Site, kind: str) -> Writing:
    """A job that IntoAEC does not know: nothing more than its customer."""
    return Writing(site.customer, {}, firm.known(site.customer, None, kind))


def _careful(firm: Firm, site: Site) -> Writing:
    customer = firm.dice.choice([site.customer, *site.phases]) if site.phases else site.customer
    is_typed = site.needs_reference or firm.likely(40)
    fields = typed(spelling(firm, site)) if is_typed else {}
    named = site.project if is_typed else None
    return _written(firm, site, Writing(customer, fields, firm.known(customer, site.project, "careful", named)))


def _hasty(firm: Firm, site: Site) -> Writing:
    """Forgets the number, mistypes it, writes it where nobody looks, or bills the client instead of the job."""
    choice = firm.dice.randrange(4)
    fields: dict[str, Any] = {}
    if choice == 1:
        fields = typed(misspelling(firm, site))
    elif choice == 2:
        fields = _misplaced(firm, site)
    customer = site.client if choice == 3 else site.customer
    found = Writing(customer, fields, firm.known(customer, site.project, "hasty"))
    return _written(firm, site, found) if firm.likely(60) or _is_project(firm, customer) else found


def _wrong(firm: Firm, site: Site) -> Writing:
    """Takes another job's number or another job's customer, or invents a number."""
    choice = firm.dice.randrange(3)
    if choice == 0:
        fields = typed(f"J-{firm.dice.randint(1000, 9999)}")  # the numbers of a system that is no more
        return Writing(site.customer, fields, firm.known(site.customer, site.project, "wrong"))
    currency = _currency(firm, site)
    other = firm.site(lambda one: one.project not in (None, site.project) and _currency(firm, one) == currency)
    if choice == 1:
        note = firm.known(site.customer, site.project, "wrong", named=other.project)
        return _written(firm, site, Writing(site.customer, typed(spelling(firm, other)), note))
    return Writing(other.customer, {}, firm.known(other.customer, site.project, "wrong"))


def _written(firm: Firm, site: Site, writing: Writing) -> Writing:
    """The same with the job's QuickBooks project, where it has one: then the paper shows that project's customer."""
    if site.quickbooks_project is None:
        return writing
    fields = writing.fields | {"ProjectRef": {"value": site.quickbooks_project}}
    note = writing.note
    again = known(firm.note_of(site.customer), note.intended, note.writer, note.named, site.linked)
    return Writing(writing.customer, fields, again)


def typed(text: str) -> dict[str, Any]:
    """A text in the field Reference Number; an empty one clears it."""
    return {"CustomField": [{"DefinitionId": REFERENCE_FIELD, "StringValue": text}]}


def spelling(firm: Firm, site: Site) -> str:
    """The job's number as somebody types it: IntoAEC's id or the number given at mapping, in any case, with spaces."""
    if site.project is None:
        raise Impossible
    text = site.alias if site.alias and firm.likely(50) else site.project
    return firm.dice.choice((text, text, text, text.lower(), f" {text}", f"{text} "))


def misspelling(firm: Firm, site: Site) -> str:
    """The job's number, wrong in a way that makes it nobody's: the letter O, a dot for a hyphen, a digit too many."""
    text = str(site.project)
    return firm.dice.choice(
        (text.replace("-", "."), text.replace("-", ""), text[:-1] + "O", f"{text}{text[-1]}0", f"#{text}")
    )


def _misplaced(firm: Firm, site: Site) -> dict[str, Any]:
    if firm.likely(50):
        return {"PrivateNote": f"for {site.project}"}
    return {"CustomField": [{"DefinitionId": "2", "StringValue": str(site.project)}]}


def _is_project(firm: Firm, customer: str) -> bool:
    """Whether it is a QuickBooks project's own customer: then the project stands on the paper in any case."""
    return firm.note_of(customer).quickbooks_project is not None


def _currency(firm: Firm, site: Site) -> str:
    return firm.book.records[Kind.CUSTOMER][site.customer].currency
