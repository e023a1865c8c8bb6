"""The simulator's shelf: records beside the book are written, refused, listed and kept like every other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from connectors.simulator.api import query
from connectors.simulator.api.shelf_view import ShelfView
from connectors.simulator.books.book import Book
from connectors.simulator.books.records import Refused
from connectors.simulator.books.shelf import Shelf
from connectors.simulator.wire import decode, encode

AT = datetime(2026, 11, 2, 9, 30, 15, 250_000, tzinfo=UTC)


@pytest.fixture
def view() -> ShelfView:
    return ShelfView(Book(), ZoneInfo("America/Los_Angeles"))


def write(view: ShelfView, entity: str, operation: str = "", at: datetime = AT, **body: Any) -> dict[str, Any]:
    return view.write(entity, body, operation, at)[0]


def ask(view: ShelfView, statement: str) -> list[str]:
    asked = query.parse(statement)
    entity = str(view.entity_of(asked.entity))
    return [row["Id"] for row in view.answer(entity, asked, "2026-11-02").get(entity, [])]


def test_record_is_shown_with_identity_defaults_and_whole_seconds(view: ShelfView) -> None:
    made = write(view, "Vendor", DisplayName="Norton", AcctNum="7")
    assert (made["SyncToken"], made["Active"], made["Vendor1099"], made["AcctNum"]) == ("0", True, False, "7")
    assert made["MetaData"]["LastUpdatedTime"] == "2026-11-02T01:30:15-08:00"
    assert view.read("Vendor", made["Id"]) == made


def test_stale_token_missing_record_and_taken_name_are_refused(view: ShelfView) -> None:
    made = write(view, "Class", Name="North")
    write(view, "Class", Id=made["Id"], SyncToken="0", Name="South")
    for body, code in (
        ({"Id": made["Id"], "SyncToken": "0", "Name": "West"}, "5010"),
        ({"Id": made["Id"], "Name": "West"}, "2020"),
        ({"Id": "9999", "SyncToken": "0", "Name": "West"}, "610"),
        ({"Name": "SOUTH"}, "6240"),
        ({}, "2020"),
    ):
        with pytest.raises(Refused, match=code):
            write(view, "Class", **body)


def test_full_update_clears_what_it_leaves_out_and_a_sparse_one_keeps_it(view: ShelfView) -> None:
    made = write(view, "Vendor", DisplayName="Norton", AcctNum="7", Notes="old")
    key = {"Id": made["Id"], "DisplayName": "Norton"}
    assert write(view, "Vendor", **key, SyncToken="0", sparse=True, Notes="new")["AcctNum"] == "7"
    assert "AcctNum" not in write(view, "Vendor", **key, SyncToken="1")


def test_bill_adds_up_and_is_due_in_thirty_days(view: ShelfView) -> None:
    lines = [{"Amount": 10}, {"Amount": 20}]
    made = write(view, "Bill", VendorRef={"value": "1001"}, Line=lines, TxnDate="2026-11-01")
    assert (str(made["TotalAmt"]), str(made["Balance"]), made["DueDate"]) == ("30.00", "30.00", "2026-12-01")
    with pytest.raises(Refused, match="2020"):
        write(view, "Bill", Line=lines)


def test_deleted_transaction_is_gone_and_told_by_a_stub_and_names_are_never_deleted(view: ShelfView) -> None:
    bill = write(view, "Bill", VendorRef={"value": "1001"}, Line=[{"Amount": 10}])
    gone = write(view, "Bill", "delete", AT + timedelta(seconds=5), Id=bill["Id"], SyncToken="0")
    assert gone == {"domain": "QBO", "status": "Deleted", "Id": bill["Id"]}
    (stub,) = view.changed_since("Bill", AT)
    assert (stub["status"], stub["Id"], "SyncToken" in stub) == ("Deleted", bill["Id"], False)
    with pytest.raises(Refused, match="610"):
        view.read("Bill", bill["Id"])
    vendor = write(view, "Vendor", DisplayName="Norton")
    with pytest.raises(Refused, match="500"):
        write(view, "Vendor", "delete", Id=vendor["Id"], SyncToken="0")


def test_inactive_names_carry_a_suffix_and_are_listed_only_when_asked(view: ShelfView) -> None:
    vendor = write(view, "Vendor", DisplayName="Norton")
    ended = write(view, "Vendor", Id=vendor["Id"], SyncToken="0", sparse=True, Active=False)
    assert ended["DisplayName"] == "Norton (deleted)"
    assert ask(view, "select * from Vendor") == []
    assert ask(view, "select * from Vendor where Active in (true, false)") == [vendor["Id"]]
    again = write(
        view, "Vendor", Id=vendor["Id"], SyncToken="1", sparse=True, DisplayName="Norton (deleted)", Active=True
    )
    assert again["DisplayName"] == "Norton"


def test_query_filters_sorts_and_refuses_what_no_record_has(view: ShelfView) -> None:
    ids = [write(view, "Item", Name=name, UnitPrice=price)["Id"] for name, price in (("Beam", 30), ("Arch", 20))]
    assert (
        ask(view, "select * from Item where UnitPrice >= '20' and Name in ('Beam', 'Arch') orderby Name") == ids[::-1]
    )
    assert "1" in ask(view, "select * from Item"), "the items that every company has are there as well"
    with pytest.raises(Refused, match="4001"):
        ask(view, "select * from Item where Shoe = 'x'")


def test_everything_is_restored_from_what_was_kept(view: ShelfView) -> None:
    made = write(view, "Vendor", DisplayName="Norton")
    bill = write(view, "Bill", VendorRef={"value": made["Id"]}, Line=[{"Amount": 10}])
    write(view, "Bill", "delete", Id=bill["Id"], SyncToken="0")
    kept = decode(encode(view.shelf.state()))
    restored = ShelfView(view.book, view.zone)
    restored.shelf.restore(kept)
    assert restored.read("Vendor", made["Id"]) == made
    assert restored.changed_since("Bill", AT.replace(microsecond=0)) == view.changed_since(
        "Bill", AT.replace(microsecond=0)
    )
    assert restored.shelf.next_id == view.shelf.next_id
    assert Shelf().leaves.keys() == restored.shelf.leaves.keys()
