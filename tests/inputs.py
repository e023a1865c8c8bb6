"""Inputs of the ledger in one line: records of company-changes as the broker would deliver them."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from connectors.sealing import Sealer
from schemas import changes
from schemas.codec import Recorded, file_ids
from schemas.wire import Incoming

START = datetime(2026, 3, 1, tzinfo=UTC)
COMPANY = "9130000000000001"
_USD = {"CurrencyRef": {"value": "USD"}}


@dataclass
class Inputs:
    """One partition of company-changes, written in the order of the calls."""

    sealer: Sealer
    company_id: str = COMPANY
    records: list[Incoming] = field(default_factory=list)

    def add(self, change: Any, correlation_id: str | None = None) -> Incoming:
        """Append one input and return its record."""
        number = len(self.records)
        envelope = changes.Envelope(
            change_id=uuid5(NAMESPACE_OID, f"{self.company_id}/{number}"),
            company_id=self.company_id,
            origin="webhook",
            recorded_at=START + timedelta(seconds=number),
            correlation_id=correlation_id or f"cause-{number}",
            causes=(),
        )
        value = file_ids().encode(Recorded(envelope, change))
        self.records.append(Incoming("company-changes", 0, number, self.company_id, value, {}, 0))
        return self.records[-1]

    def read(self, record_type: str, raw: dict[str, Any], correlation_id: str | None = None) -> Incoming:
        """A record as read now."""
        at = START + timedelta(seconds=len(self.records))
        change = changes.RecordRead(
            record_type=record_type,
            record_id=str(raw["Id"]),
            revised_at=at,
            sync_token=0,
            read_at=at,
            sealed=self.sealer.seal(self.company_id, "record", json.dumps(raw).encode()),
            related=(),
        )
        return self.add(change, correlation_id)

    def customer(self, record_id: str, name: str = "A customer") -> Incoming:
        return self.read("Customer", {"Id": record_id, "DisplayName": name, "CurrencyRef": {"value": "USD"}})

    def job(self, record_id: str, *, parent: str) -> Incoming:
        return self.read("Customer", {"Id": record_id, "DisplayName": "A job", "ParentRef": {"value": parent}} | _USD)

    def invoice(self, record_id: str, total: str, customer_id: str = "1") -> Incoming:
        raw = {"Id": record_id, "DocNumber": f"N{record_id}", "TxnDate": "2026-02-03", "TotalAmt": total}
        lines = [{"Amount": total, "DetailType": "SalesItemLineDetail"}]
        return self.read(
            "Invoice", raw | {"CustomerRef": {"value": customer_id}, "CurrencyRef": {"value": "USD"}, "Line": lines}
        )

    def payment(self, record_id: str, total: str, invoice_id: str, customer_id: str = "1") -> Incoming:
        raw = {"Id": record_id, "TxnDate": "2026-02-05", "TotalAmt": total, "UnappliedAmt": "0"}
        line = {"Amount": total, "LinkedTxn": [{"TxnType": "Invoice", "TxnId": invoice_id}]}
        return self.read(
            "Payment", raw | {"CustomerRef": {"value": customer_id}, "CurrencyRef": {"value": "USD"}, "Line": [line]}
        )

    def declare(self, project_id: str) -> Incoming:
        return self.add(changes.ProjectDeclared(project_id=project_id, name=project_id))

    def map(self, customer_id: str, project_id: str, *, seen: int = 0) -> Incoming:
        request = changes.MapCustomer(
            decision_id=f"decision-{len(self.records)}",
            person="somebody",
            customer_id=customer_id,
            project_id=project_id,
            reference_number="",
            from_on=None,
            mapping_version=seen,
        )
        return self.add(request)
