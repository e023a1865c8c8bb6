"""A world of the ledger's rules with QuickBooks projects, merges, journal entries, and what people saw."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from schemas import changes
from schemas.journals import parse_journal, receivables_account
from schemas.quickbooks import Payment, parse_record
from streams.books import QuickBooksProject
from streams.decision import Decision, Opened
from streams.journals import with_sides
from tests.rules import START, World

Posting = tuple[str, ...]  # Debit or Credit, amount, customer id (empty: none), account (left out: receivables)


def journal(*postings: Posting) -> bytes:
    """A journal entry as QuickBooks returns it."""
    return json.dumps({"Id": "90", "Line": [_posting(*posting) for posting in postings]}).encode()


def _posting(side: str, amount: str, customer: str, account: str = "84") -> dict[str, Any]:
    detail: dict[str, Any] = {"PostingType": side, "AccountRef": {"value": account if customer else "34"}}
    if customer:
        detail["Entity"] = {"Type": "Customer", "EntityRef": {"value": customer}}
    return {"Amount": amount, "DetailType": "JournalEntryLineDetail", "JournalEntryLineDetail": detail}


@dataclass
class Linked(World):
    """As `World`; the inputs of QuickBooks' projects, merges, journal entries and of people."""

    def link(self, ref: str, project_id: str | None, *, seen: int | None = None) -> Decision:
        known = self.books.quickbooks_projects.get(ref, QuickBooksProject(None, 0)).version
        version = known if seen is None else seen
        return self.ask(changes.LinkQuickBooksProject, project_ref=ref, project_id=project_id, link_version=version)

    def resolve(self, vanished: str, *, together: bool, seen: int | None = None) -> Decision:
        known = next((m.version for m in self.books.company.merges if m.vanished_id == vanished), 0)
        version = known if seen is None else seen
        return self.ask(changes.ResolveMerge, vanished_customer_id=vanished, together=together, merge_version=version)

    def dismiss(self, record_type: str, record_id: str) -> Decision:
        return self.ask(changes.DismissWarning, record_type=record_type, record_id=record_id)

    def ask(self, request: Any, **fields: Any) -> Decision:
        """A request of a person."""
        return self.take(request(decision_id=f"d{len(self.decisions)}", person="somebody", **fields))

    def close(self, project_id: str) -> Decision:
        return self.take(changes.ProjectClosed(project_id=project_id))

    def merged(self, kept: str, vanished: str, *, at: int | None = None) -> Decision:
        """Intuit's notice; `at` is its time, in minutes."""
        noticed_at = START + timedelta(minutes=self.minutes if at is None else at)
        notice = changes.MergeNotice(kept_customer_id=kept, vanished_customer_id=vanished, noticed_at=noticed_at)
        return self.take(notice)

    def inactive(self, customer_id: str, *, at: int | None = None, active: bool = False) -> Decision:
        raw = {"Id": customer_id, "DisplayName": f"Customer {customer_id}", "Active": active}
        return self.read("Customer", raw, at=at)

    def absent(self, record_type: str, record_id: str) -> Decision:
        self.minutes += 1
        read_at = START + timedelta(minutes=self.minutes)
        return self.take(changes.RecordAbsent(record_type=record_type, record_id=record_id, read_at=read_at))

    def paid_with_journals(
        self,
        raw: Mapping[str, Any],
        journals: Mapping[str, bytes],
        *,
        at: int | datetime | None = None,
        sync_token: int = 0,
        read_at: datetime | None = None,
    ) -> Decision:
        """A payment read together with the journal entries that it names."""
        self.minutes += 1
        plain = json.dumps({"TxnDate": "2026-02-01", "CustomerRef": {"value": "1"}} | dict(raw), default=str).encode()
        payment = parse_record("Payment", plain, "USD")
        assert isinstance(payment, Payment)
        parsed = {journal_id: parse_journal(each) for journal_id, each in journals.items()}
        sided = with_sides(payment, receivables_account(plain), parsed)
        change = changes.RecordRead(
            record_type="Payment",
            record_id=payment.record_id,
            revised_at=self.moment(at),
            sync_token=sync_token,
            read_at=read_at or self.moment(None),
            sealed=b"",
            related=(),
        )
        return self.take(change, Opened(sided))

    def warnings(self) -> dict[tuple[str, str, str], str]:
        """What is warned about now, by record and code, from the notices alone."""
        found: dict[tuple[str, str, str], str] = {}
        for notice in self.notices:
            name = type(notice.body).__name__
            if name == "WarningRaised":
                found[*notice.record, notice.body.code] = notice.body.detail
            elif name == "WarningCleared":
                found.pop((*notice.record, notice.body.code), None)
        return found

    def refusals(self) -> Sequence[str]:
        return [notice.body.refusal for notice in self.notices if type(notice.body).__name__ == "RequestRefused"]
