"""Events in one line: `invoice_issued(total="100.00")`. What a test does not say is the same every time."""

from dataclasses import fields, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from schemas import accounting, company
from schemas.codec import Recorded, file_ids
from schemas.money import Money
from schemas.wire import Incoming

COMPANY = "9130350000000001"
PROJECT = "bridge"
DAY = date(2026, 3, 1)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
Event = Recorded[Any, Any]


def money(amount: str | int, currency: str = "USD") -> Money:
    """An amount as a person writes it."""
    return Money(Decimal(amount), currency)


def figures(total: str = "100.00", currency: str = "USD", **others: Any) -> accounting.Figures:
    """What a document says: no tax, no deposit, due in thirty days."""
    said: dict[str, Any] = {
        "tax": money(others.pop("tax", "0"), currency),
        "deposit": money(others.pop("deposit", "0"), currency),
        "customer_id": "5",
        "doc_number": "1001",
        "issued_on": DAY,
        "due_on": DAY + timedelta(days=30),
        "exchange_rate": None,
    }
    return accounting.Figures(total=money(total, currency), **(said | others))


def share(received: str = "100.00", currency: str = "USD", **others: Any) -> accounting.Share:
    """A project's share of a payment."""
    said: dict[str, Any] = {"customer_id": "5", "reference": "", "received_on": DAY, "exchange_rate": None}
    return accounting.Share(received=money(received, currency), **(said | others))


def accounting_event(body: Any, record_type: str, record_id: str, **envelope: Any) -> Event:
    """An event of a project. `version` and `project_id` are what a test says most often."""
    said: dict[str, Any] = {
        "generation": 1,
        "project_id": PROJECT,
        "version": 1,
        "rules_version": 1,
        "company_id": COMPANY,
        "revised_at": NOON,
        "sync_token": 0,
        "origin": "webhook",
        "reason": "customer",
        "accounting_on": DAY,
        "recorded_at": NOON,
        "correlation_id": "notification-1",
        "causation_id": "change-1",
    }
    said |= {"record_type": record_type, "record_id": record_id} | envelope
    name = f"{said['generation']}/project/{said['project_id']}/{said['version']}"
    return Recorded(accounting.Envelope(event_id=uuid5(NAMESPACE_URL, name), **said), body)


def company_event(body: Any, record_type: str = "Customer", record_id: str = "5", **envelope: Any) -> Event:
    """An event of a company."""
    said: dict[str, Any] = {
        "generation": 1,
        "company_id": COMPANY,
        "version": 1,
        "rules_version": 1,
        "origin": "webhook",
        "recorded_at": NOON,
        "correlation_id": "notification-1",
        "causation_id": "change-1",
    }
    said |= {"record_type": record_type, "record_id": record_id} | envelope
    name = f"{said['generation']}/company/{said['company_id']}/{said['version']}"
    return Recorded(company.Envelope(event_id=uuid5(NAMESPACE_URL, name), **said), body)


def invoice_issued(total: str = "100.00", *, invoice_id: str = "17", version: int = 1, **others: Any) -> Event:
    """An invoice of the project; `others` are figures or `project_id`."""
    project_id = others.pop("project_id", PROJECT)
    body = accounting.InvoiceIssued(after=figures(total, **others))
    return accounting_event(body, "Invoice", invoice_id, version=version, project_id=project_id)


def credit_memo_issued(total: str = "40.00", *, memo_id: str = "23", version: int = 1, **envelope: Any) -> Event:
    """A credit memo of the project."""
    body = accounting.CreditMemoIssued(after=figures(total))
    return accounting_event(body, "CreditMemo", memo_id, version=version, **envelope)


def payment_received(received: str = "100.00", *, payment_id: str = "31", version: int = 1, **envelope: Any) -> Event:
    """A share of a payment that settles nothing yet."""
    body = accounting.PaymentReceived(after=share(received))
    return accounting_event(body, "Payment", payment_id, version=version, **envelope)


def payment_applied(
    applied: str = "100.00", *, invoice_id: str = "17", payment_id: str = "31", version: int = 1, **envelope: Any
) -> Event:
    """A payment settles part of an invoice."""
    body = accounting.PaymentApplied(invoice_id=invoice_id, applied=money(applied), applied_on=DAY)
    return accounting_event(body, "Payment", payment_id, version=version, **envelope)


def filled(shape: type, known: dict[str, Any]) -> Any:
    """An instance of this class of the catalogue, with those of the known values that it has fields for."""
    return shape(**{field.name: known[field.name] for field in fields(shape)})


def numbered(events: list[Event], first: int = 1) -> list[Event]:
    """The same events with versions one after the other."""
    return [
        Recorded(replace(event.envelope, version=version), event.body) for version, event in enumerate(events, first)
    ]


def delivered(events: list[Event], topic: str = "accounting-events-g1", first_offset: int = 0) -> list[Incoming]:
    """The events as the broker brings them, encoded, in one partition."""
    return [incoming(file_ids().encode(event), topic, offset) for offset, event in enumerate(events, first_offset)]


def incoming(value: bytes | None, topic: str = "accounting-events-g1", offset: int = 0, key: str = PROJECT) -> Incoming:
    """A record with these bytes."""
    return Incoming(topic=topic, partition=0, offset=offset, key=key, value=value, headers={}, timestamp_ms=0)
