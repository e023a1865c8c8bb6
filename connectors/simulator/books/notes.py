"""What the writer of a record knows about it: the project it is meant for, and the one that its own text leads to.

Reads and writes: nothing; pure values that lie beside a record. QuickBooks knows nothing of them.
Guarantees: a note is written with the record, by whoever writes the record, and never worked out from it afterwards.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Why(StrEnum):
    """What in the record leads to its project, or keeps it from one."""

    REFERENCE = "reference number"
    QUICKBOOKS_PROJECT = "quickbooks project"
    CUSTOMER = "customer"
    PARENT = "parent customer"
    REFERENCE_ONLY = "reference only"  # its customer's documents go by their reference number alone, and it has none
    NOT_MAPPED = "customer not mapped"
    UNKNOWN = "not noted"  # written by somebody who left no note


class Note(NamedTuple):
    """One record's note. On a customer: where its documents belong when nothing in them says otherwise."""

    intended: str | None  # the project it is meant for
    determined: str | None  # the project that the record really leads to
    why: Why
    writer: str = ""  # careful, hasty, wrong; empty where QuickBooks or a programme wrote
    named: str | None = None  # documents: the project that the typed reference number names
    linked: str | None = None  # documents and customers: the project that their QuickBooks project is linked to
    alias: str | None = None  # customers: the reference number given at mapping
    quickbooks_project: str | None = None  # customers: the id by which documents name it in ProjectRef

    @property
    def is_direct(self) -> bool:
        """Whether the record's own words lead to the project, and not a customer above it."""
        return self.determined is not None and self.why is not Why.PARENT


def known(
    customer: Note, intended: str | None, writer: str, named: str | None = None, linked: str | None = None
) -> Note:
    """The note of a document, by one who knows whose work it is, what was typed and what that number means."""
    if customer.why is Why.NOT_MAPPED:
        return Note(intended, None, Why.NOT_MAPPED, writer, named, linked)
    if named is not None:
        return Note(intended, named, Why.REFERENCE, writer, named, linked)
    if customer.why is Why.REFERENCE_ONLY:
        return Note(intended, None, Why.REFERENCE_ONLY, writer, named, linked)
    if linked is not None:
        return Note(intended, linked, Why.QUICKBOOKS_PROJECT, writer, named, linked)
    return Note(intended, customer.determined, customer.why, writer, named, linked)


def below(customer: Note) -> Note:
    """The note of a job that nobody decides about: it goes with the customer above it."""
    why = Why.PARENT if customer.why is Why.CUSTOMER else customer.why
    return Note(customer.intended, customer.determined, why, customer.writer)


NOTHING = Note(None, None, Why.NOT_MAPPED)
