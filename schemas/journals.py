"""Journal entries, as far as a payment that names one needs them: the lines that name a customer, debit or credit.

Guarantees: numbers are exact, and nothing but UnprocessableError is raised.
Source: intuit.md section 9 (payment lines link journals with both signs); Intuit's reference of JournalEntry.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from schemas.errors import UnprocessableError
from schemas.money import parse_amount

JOURNAL_ENTRY = "JournalEntry"
_WRONG = (KeyError, ValueError, TypeError, AttributeError, ArithmeticError, RecursionError)


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalLine:
    """One line of a journal entry."""

    customer_id: str | None  # None: it names none, so it is no line to receivables
    account_id: str
    is_debit: bool
    amount: Decimal


def parse_journal(raw: bytes) -> tuple[JournalLine, ...]:
    """The lines of one journal entry. Raises UnprocessableError."""
    try:
        fields = json.loads(raw.decode("utf-8"), parse_float=Decimal)
        return tuple(_lines(fields))
    except _WRONG as error:
        raise UnprocessableError(f"{JOURNAL_ENTRY}: {error}"[:300]) from error


def _lines(fields: dict[str, Any]) -> Iterator[JournalLine]:
    for line in fields.get("Line") or []:
        detail = line.get("JournalEntryLineDetail")
        if detail is None:  # a line that only describes
            continue
        entity = detail.get("Entity") or {}
        is_customer = str(entity.get("Type", "")).lower() == "customer"
        yield JournalLine(
            customer_id=str(entity["EntityRef"]["value"]) if is_customer else None,
            account_id=str((detail.get("AccountRef") or {}).get("value", "")),
            is_debit={"debit": True, "credit": False}[str(detail["PostingType"]).lower()],
            amount=parse_amount(line["Amount"]),
        )


def named_journals(raw_payment: bytes) -> frozenset[str]:
    """The ids of the journal entries that a payment names; none for one that cannot be read."""
    if JOURNAL_ENTRY.encode() not in raw_payment:
        return frozenset()
    try:
        return frozenset(_named(json.loads(raw_payment)))
    except _WRONG:
        return frozenset()


def _named(payment: dict[str, Any]) -> Iterator[str]:
    for line in payment.get("Line") or []:
        for link in line.get("LinkedTxn") or []:
            if link["TxnType"] == JOURNAL_ENTRY and str(link["TxnId"]).isascii() and str(link["TxnId"]).isdigit():
                yield str(link["TxnId"])


def receivables_account(raw_payment: bytes) -> str | None:
    """The receivables account that a payment names; None: it names none."""
    try:
        account = (json.loads(raw_payment).get("ARAccountRef") or {}).get("value")
    except _WRONG:
        return None
    return None if account is None else str(account)
