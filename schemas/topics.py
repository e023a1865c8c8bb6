"""Every topic: its key, value, partitions, retention, writer and readers.

Names depend on a prefix (empty in production; random in tests, which share one broker) and, for what the ledger
derives, on the generation. The number of partitions is fixed for a topic's life.
Source: docs/decisions/0004 (partition by company).
"""

from dataclasses import dataclass, fields

from schemas.codec import SchemaIds, file_ids

DAY_MS = 24 * 60 * 60 * 1000
MESSAGE_BYTES_MAX = 10 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One topic as it must exist in the broker."""

    name: str
    key: str  # what the key holds; always UTF-8 text, never Avro
    value: str  # what the value holds
    partitions: int
    retention_ms: int | None  # None: kept for ever
    writer: str
    readers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Topics:
    """The topics of one installation."""

    notifications: Topic
    read_requests: Topic
    changes: Topic
    accounting_events: Topic
    company_events: Topic
    sync_events: Topic
    parked: Topic
    ids: SchemaIds  # which schema ids stand in their values

    def all(self) -> tuple[Topic, ...]:
        """In the order in which a change travels."""
        return tuple(each for field in fields(self) if isinstance(each := getattr(self, field.name), Topic))


def topics(partitions: int, *, prefix: str = "", generation: int = 1, ids: SchemaIds | None = None) -> Topics:
    """The topics of an installation with this many partitions each; `ids` None: those of our own files."""

    def topic(name: str, key: str, value: str, writer: str, *readers: str, days: int | None = None) -> Topic:
        return Topic(
            name=prefix + name,
            key=key,
            value=value,
            partitions=partitions,
            retention_ms=None if days is None else days * DAY_MS,
            writer=writer,
            readers=readers,
        )

    company, project = "company id (Intuit's realmId)", "project id"
    return Topics(
        notifications=topic(
            "quickbooks-notifications", company, "one change event, exactly Intuit's bytes", "ingress", "enrich"
        ),
        read_requests=topic("read-requests", company, "Avro: ReadRequest", "ledger", "enrich"),
        changes=topic("company-changes", company, "Avro: any of schemas.changes", "enrich, repair, web, CLI", "ledger"),
        accounting_events=topic(
            f"accounting-events-g{generation}", project, "Avro: any of schemas.accounting", "ledger", "projectors"
        ),
        company_events=topic(
            f"company-events-g{generation}", company, "Avro: any of schemas.company", "ledger", "projectors"
        ),
        sync_events=topic(
            "sync-events", company, "Avro: ConnectionChanged, GapClosed", "enrich, repair, web", "IntoAEC", days=90
        ),
        parked=topic(
            "parked", "key of the parked record", "Avro: Parked", "ingress, every step", "enrich", "operators"
        ),
        ids=ids or file_ids(),
    )
