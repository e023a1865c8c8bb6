"""Intuit's reports about receivables: `GET /v3/company/{realm}/reports/{name}`.

Reads: the book, and the report's parameters. Writes: nothing.
Guarantees: amounts are text with two digits; `Header`, `Columns` and nested `Rows` as Intuit shapes them; a report as
of a day counts only what is dated on or before it; accrual basis, home currency.
Source: Intuit's report pages (CustomerBalance, CustomerBalanceDetail, AgedReceivables, AgedReceivableDetail,
TrialBalance).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from connectors.simulator.books.book import Book
from connectors.simulator.books.records import ZERO, Kind, Refused
from connectors.simulator.books.statements import Open, days_late, open_on, trial_balance

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """One report that somebody wants."""

    name: str
    parameters: Mapping[str, str]
    today: str  # in the company's zone
    time: str  # of the answer

    def day(self, key: str, otherwise: str) -> str:
        """A date among the parameters. Raises Refused(4001)."""
        text = self.parameters.get(key) or otherwise
        try:
            return date.fromisoformat(text).isoformat()
        except ValueError as error:
            raise Refused("4001", "Invalid query", f"Invalid date {text!r} for {key}", key) from error

    def count(self, key: str, otherwise: int) -> int:
        """A number from 1 to 400 among the parameters. Raises Refused(4001)."""
        text = self.parameters.get(key) or str(otherwise)
        if not text.isdigit() or not 1 <= int(text) <= 400:
            raise Refused("4001", "Invalid query", f"Invalid value {text!r} for {key}", key)
        return int(text)


def answer(book: Book, asked: Asked) -> dict[str, Any] | None:
    """The report's body; None where there is no report of that name. Raises Refused."""
    writer = _REPORTS.get(asked.name.lower())
    return writer(book, asked) if writer else None


# ---- receivables -----------------------------------------------------------------------------------------------------


def _wanted(book: Book, asked: Asked, day: str) -> list[Open]:
    """What is open on the day, for the customers asked for."""
    only = {one.strip() for one in asked.parameters.get("customer", "").split(",") if one.strip()}
    return [one for one in open_on(book, day) if not only or one.customer in only]


def _customer_balance(book: Book, asked: Asked) -> dict[str, Any]:
    day = asked.day("report_date", asked.day("end_date", asked.today))
    sums: dict[str, list[Decimal]] = defaultdict(lambda: [ZERO])
    for one in _wanted(book, asked, day):
        sums[one.customer][0] += one.left
    rows = _family_rows(book, sums, 1)
    columns = [_column("", "Customer", "cust_name"), _column("Total", "Money", "total")]
    return _report(book, asked, "CustomerBalance", {"report_date": day}, columns, rows)


def _aged(book: Book, asked: Asked) -> dict[str, Any]:
    day = asked.day("report_date", asked.today)
    titles = _bucket_titles(asked)
    bucket = _bucketing(asked, day)
    sums: dict[str, list[Decimal]] = defaultdict(lambda: [ZERO] * (len(titles) + 1))
    for one in _wanted(book, asked, day):
        sums[one.customer][bucket(one)] += one.left
        sums[one.customer][-1] += one.left
    columns = [_column("", "Customer", "cust_name")]
    columns += [_column(title, "Money", str(position)) for position, title in enumerate(titles)]
    columns.append(_column("Total", "Money", "total"))
    rows = _family_rows(book, sums, len(titles) + 1)
    return _report(book, asked, "AgedReceivables", {"report_date": day}, columns, rows)


def _bucket_titles(asked: Asked) -> list[str]:
    length, count = asked.count("aging_period", 30), asked.count("num_periods", 4)
    spans = [f"{length * number + 1} - {length * (number + 1)}" for number in range(count - 1)]
    return ["Current", *spans, f"{length * (count - 1) + 1} and over"]


def _bucketing(asked: Asked, day: str) -> Callable[[Open], int]:
    """Which period something open belongs to; by `aging_method=Current` its age is counted to today."""
    length, most = asked.count("aging_period", 30), asked.count("num_periods", 4)
    until = asked.today if asked.parameters.get("aging_method", "").lower() == "current" else day
    known: dict[str, int] = {}

    def bucket(one: Open) -> int:
        if one.due not in known:
            late = days_late(one.due, until)
            known[one.due] = 0 if late <= 0 else min((late - 1) // length + 1, most)
        return known[one.due]

    return bucket


def _family_rows(book: Book, sums: Mapping[str, list[Decimal]], width: int) -> list[Row]:
    """A row per customer with jobs nested below, and the total of all."""
    tops = [one for one in book.records[Kind.CUSTOMER] if "ParentRef" not in book.customer(one).fields]
    parts = [_family(book, one, sums, width) for one in sorted(tops, key=lambda one: _name(book, one).lower())]
    total = _added(sums.values(), width)
    return [*(row for found, _ in parts for row in found), _total("TOTAL", _texts(total), "GrandTotal")]


def _family(
    book: Book, customer_id: str, sums: Mapping[str, list[Decimal]], width: int
) -> tuple[list[Row], list[Decimal]]:
    """A customer's rows and what they add up to; nothing where nobody in the family has anything open."""
    own = sums.get(customer_id, [ZERO] * width)
    jobs = sorted(book.customers.children.get(customer_id, ()), key=lambda one: _name(book, one).lower())
    below = [(rows, total) for job in jobs if (found := _family(book, job, sums, width)) for rows, total in [found]]
    inner = [row for rows, _ in below for row in rows]
    if not inner:
        return ([_row([_cell(_name(book, customer_id), customer_id), *_texts(own)])], own) if any(own) else ([], own)
    total = _added([own, *(total for _, total in below)], width)
    header = {"ColData": [_cell(_name(book, customer_id), customer_id), *_texts(own)]}
    summary = {"ColData": [_cell(f"Total {_name(book, customer_id)}"), *_texts(total)]}
    return [{"Header": header, "Rows": {"Row": inner}, "Summary": summary, "type": "Section"}], total


def _customer_balance_detail(book: Book, asked: Asked) -> dict[str, Any]:
    day = asked.day("report_date", asked.day("end_date", asked.today))
    titles = ("Date", "Transaction Type", "Num", "Due Date", "Amount", "Open Balance", "Balance")
    by_customer: dict[str, list[Open]] = defaultdict(list)
    for one in _wanted(book, asked, day):
        by_customer[one.customer].append(one)
    rows: list[Row] = []
    for customer_id in sorted(by_customer, key=lambda one: _full_name(book, one).lower()):
        rows.append(_balance_section(book, customer_id, by_customer[customer_id]))
    whole = sum((one.left for found in by_customer.values() for one in found), ZERO)
    blank = [_cell("") for _ in range(4)]
    rows.append(_total("TOTAL", [*blank[1:], _money(whole), _money(whole), _cell("")], "GrandTotal"))
    return _report(book, asked, "CustomerBalanceDetail", {"report_date": day}, _detail_columns(titles), rows)


def _balance_section(book: Book, customer_id: str, found: list[Open]) -> Row:
    balance, rows = ZERO, []
    for one in found:
        balance += one.left
        cells = [*_what(one), _cell(one.due), _money(one.amount), _money(one.left), _money(balance)]
        rows.append(_row(cells))
    blank = [_cell("") for _ in range(3)]
    total = [_cell(f"Total for {_name(book, customer_id)}"), *blank, _money(balance), _money(balance), _cell("")]
    header = [_cell(_full_name(book, customer_id), customer_id), *[_cell("") for _ in range(6)]]
    return {
        **{"Header": {"ColData": header}, "Rows": {"Row": rows}},
        **{"Summary": {"ColData": total}, "type": "Section"},
    }


def _aged_detail(book: Book, asked: Asked) -> dict[str, Any]:
    day = asked.day("report_date", asked.today)
    titles = ("Date", "Transaction Type", "Num", "Customer", "Due Date", "Amount", "Open Balance")
    bucket = _bucketing(asked, day)
    buckets: dict[int, list[Open]] = defaultdict(list)
    for one in _wanted(book, asked, day):
        buckets[bucket(one)].append(one)
    rows: list[Row] = []
    for number, title in reversed(list(enumerate(_bucket_titles(asked)))):
        if found := buckets[number]:
            named = title if number == 0 else f"{title} days past due"
            rows.append(_aged_section(book, named, sorted(found, key=lambda one: (one.on, int(one.record.id)))))
    whole = sum((one.left for found in buckets.values() for one in found), ZERO)
    rows.append(_total("TOTAL", [*[_cell("") for _ in range(5)], _money(whole)], "GrandTotal"))
    return _report(book, asked, "AgedReceivableDetail", {"report_date": day}, _detail_columns(titles), rows)


def _aged_section(book: Book, title: str, found: list[Open]) -> Row:
    rows = []
    for one in found:
        named = [_cell(_full_name(book, one.customer), one.customer), _cell(one.due)]
        rows.append(_row([*_what(one), *named, _money(one.amount), _money(one.left)]))
    total = sum((one.left for one in found), ZERO)
    summary = [_cell(f"Total for {title}"), *[_cell("") for _ in range(5)], _money(total)]
    header = [_cell(title), *[_cell("") for _ in range(6)]]
    return {
        **{"Header": {"ColData": header}, "Rows": {"Row": rows}},
        **{"Summary": {"ColData": summary}, "type": "Section"},
    }


def _what(one: Open) -> list[Row]:
    words = {Kind.CREDIT_MEMO: "Credit Memo", Kind.JOURNAL_ENTRY: "Journal Entry", Kind.STATEMENT_CHARGE: "Charge"}
    word = words.get(one.record.kind, one.record.kind.value)
    if one.record.kind is Kind.PURCHASE:
        word = "Check" if one.record.fields.get("PaymentType") == "Check" else "Expense"
    number = one.record.fields.get("DocNumber") or one.record.fields.get("PaymentRefNum") or ""
    return [_cell(one.on), _cell(word, one.record.id), _cell(str(number))]


# ---- trial balance ---------------------------------------------------------------------------------------------------


def _trial_balance(book: Book, asked: Asked) -> dict[str, Any]:
    end = asked.day("end_date", asked.today)
    start = asked.day("start_date", f"{end[:4]}-01-01")
    accounts = trial_balance(book, start, end)
    rows = [_row([_cell(name, account), *_sides(total)]) for account, name, total in accounts]
    debits = sum((total for *_, total in accounts if total > 0), ZERO)
    credits_ = -sum((total for *_, total in accounts if total < 0), ZERO)
    rows.append(_total("TOTAL", [_money(debits), _money(credits_)], "GrandTotal"))
    columns = [
        _column("", "Account", "account"),
        _column("Debit", "Money", "debit"),
        _column("Credit", "Money", "credit"),
    ]
    return _report(book, asked, "TrialBalance", {"start_date": start, "end_date": end}, columns, rows)


def _sides(total: Decimal) -> list[Row]:
    return [_money(total), _cell("")] if total > 0 else [_cell(""), _money(-total)]


# ---- shapes ----------------------------------------------------------------------------------------------------------


def _report(
    book: Book, asked: Asked, name: str, period: dict[str, str], columns: list[Row], rows: list[Row]
) -> dict[str, Any]:
    header: dict[str, Any] = {"Time": asked.time, "ReportName": name}
    if "start_date" in period:
        header |= {"ReportBasis": "Accrual", "StartPeriod": period["start_date"], "EndPeriod": period["end_date"]}
    else:
        header |= {"EndPeriod": period["report_date"]}
    options = [{"Name": key, "Value": value} for key, value in period.items() if key == "report_date"]
    options.append({"Name": "NoReportData", "Value": "true" if len(rows) == 1 else "false"})
    header |= {"Currency": book.home_currency, "Option": options}
    return {"Header": header, "Columns": {"Column": columns}, "Rows": {"Row": rows}}


def _column(title: str, kind: str, key: str) -> Row:
    return {"ColTitle": title, "ColType": kind, "MetaData": [{"Name": "ColKey", "Value": key}]}


def _detail_columns(titles: Iterable[str]) -> list[Row]:
    return [_column(title, _TYPES.get(title, "String"), title.lower().replace(" ", "_")) for title in titles]


_TYPES = {"Date": "Date", "Due Date": "Date", "Amount": "Money", "Open Balance": "Money", "Balance": "Money"}


def _cell(value: str, record_id: str | None = None) -> Row:
    return {"value": value} if record_id is None else {"value": value, "id": record_id}


def _money(amount: Decimal) -> Row:
    return _cell(format(amount, "f"))


def _texts(amounts: Iterable[Decimal]) -> list[Row]:
    return [_money(amount) if amount else _cell("") for amount in amounts]


def _row(cells: list[Row]) -> Row:
    return {"ColData": cells, "type": "Data"}


def _total(title: str, cells: list[Row], group: str) -> Row:
    return {"Summary": {"ColData": [_cell(title), *cells]}, "type": "Section", "group": group}


def _added(rows: Iterable[list[Decimal]], width: int) -> list[Decimal]:
    total = [ZERO] * width
    for row in rows:
        total = [one + other for one, other in zip(total, row, strict=True)]
    return total


def _name(book: Book, customer_id: str) -> str:
    return book.customers.shown_name(book.customer(customer_id))


def _full_name(book: Book, customer_id: str) -> str:
    names = [book.customers.shown_name(parent) for parent in book.customers.ancestors(customer_id)]
    return ":".join([*reversed(names), _name(book, customer_id)])


_REPORTS: dict[str, Callable[[Book, Asked], dict[str, Any]]] = {
    "customerbalance": _customer_balance,
    "customerbalancedetail": _customer_balance_detail,
    "agedreceivables": _aged,
    "agedreceivabledetail": _aged_detail,
    "trialbalance": _trial_balance,
}
