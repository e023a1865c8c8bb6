"""What control data says about companies and their records: who may be read, what was read, what is left to read.

The words between the steps that read QuickBooks and the tables of the schema `control`. No accounting state.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID


class Key(NamedTuple):
    """Which record of which company."""

    company_id: str
    record_type: str
    record_id: str


class Shown(NamedTuple):
    """What the last published read of a record showed."""

    read_at: datetime  # Intuit's time of the answer
    revised_at: datetime | None  # None: the record was gone


class CompanyState(NamedTuple):
    """What is known of a company that was ever connected."""

    readable: bool  # its grant is good and nobody paused it
    swept_until: datetime | None  # everything that changed before is read


class Known(NamedTuple):
    """What control data says about the companies and records of a batch; what is not in it is not known."""

    companies: Mapping[str, CompanyState]
    shown: Mapping[Key, Shown]


class Later(NamedTuple):
    """A record to read as soon as its company can be read, since no sweep would find it."""

    key: Key
    announced_at: datetime | None  # of a delete
    caused_at: datetime
    cause_id: str
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """One company's unread changes, leased to one worker."""

    company_id: str
    lease_id: UUID
    gap_since: datetime | None
    regular: bool  # the last sweep was long ago; without it and without a gap, only what is named in `Later` is due
    gaps_noted: int  # as it was when the sweep began
    swept_until: datetime | None
    first: bool  # history was never read to its end
    was_active: bool  # else the company becomes active when its gap is closed
    cursor: Mapping[str, object]  # where a sweep of this gap that was broken off stood; empty: begin
