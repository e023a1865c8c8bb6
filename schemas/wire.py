"""Records as they come from and go to Kafka, and what a step makes of a batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from schemas.errors import UnprocessableError


@dataclass(frozen=True, slots=True)
class Incoming:
    """One record as the broker delivered it."""

    topic: str
    partition: int
    offset: int
    key: str
    value: bytes | None
    headers: Mapping[str, bytes]
    timestamp_ms: int


class Outgoing(NamedTuple):
    """One record to publish."""

    topic: str
    key: str
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Unworkable:
    """One record that can never work, and why: it is parked alone."""

    record: Incoming
    error: UnprocessableError
    record_type: str | None = None  # when it is known: a newer read of the same record supersedes it
    record_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a step made of a batch. The loop publishes, parks, and only then acknowledges."""

    outputs: Sequence[Outgoing] = field(default=())
    unworkable: Sequence[Unworkable] = field(default=())
