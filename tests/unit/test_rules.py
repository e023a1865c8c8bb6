"""The ledger's rules in situations where a naive ledger goes wrong: records in, balances by the posting table out."""

from datetime import date
from decimal import Decimal

from streams.books import Reason
from tests.rules import Balance, World


def figures(balance: Balance) -> dict[str, Decimal]:
    names = ("invoiced", "credited", "cash", "O", "C", "U", "refunds", "other", "credit_in", "credit_out")
    return {name: getattr(balance, name) for name in names if getattr(balance, name)}


def test_two_lines_of_one_payment_settle_two_invoices_of_one_project() -> None:
    world = World.with_projects("P1")
    world.invoice("11", "1000")
    world.invoice("12", "500")
    world.payment("21", "1500", "1", ("Invoice", "11", "1000"), ("Invoice", "12", "500"))
    assert figures(world.balances()["P1"]) == {"invoiced": 1500, "cash": 1500}


def test_a_parent_pays_for_its_jobs_line_by_line_and_the_rest_waits_at_the_parent() -> None:
    world = World.with_projects("P1", "P2")
    world.customer("9")
    world.customer("1", parent="9")
    world.customer("2", parent="9")
    world.invoice("11", "1000", "1")
    world.invoice("12", "500", "2")
    world.payment("21", "1600", "9", ("Invoice", "11", "1000"), ("Invoice", "12", "500"))
    assert figures(world.balances()["P1"]) == {"invoiced": 1000, "cash": 1000}
    assert figures(world.balances()["P2"]) == {"invoiced": 500, "cash": 500}
    assert world.waiting() == {("Payment", "21", "unapplied"): 100}


def test_cash_and_memo_together_pay_the_memos_own_project_first() -> None:
    world = World.with_projects("P1", "P2")
    world.memo("5", "300", "1")
    world.invoice("11", "400", "1")
    world.invoice("12", "600", "2")
    world.payment("21", "700", "1", ("CreditMemo", "5", "300"), ("Invoice", "11", "400"), ("Invoice", "12", "600"))
    assert figures(world.balances()["P1"]) == {"invoiced": 400, "credited": 300, "cash": 100}
    assert figures(world.balances()["P2"]) == {"invoiced": 600, "cash": 600}


def test_credit_of_another_project_is_transferred_and_nothing_is_lost() -> None:
    world = World.with_projects("P1", "P2")
    world.invoice("11", "1000", "1")
    world.invoice("12", "500", "2")
    world.memo("5", "200", "2")
    world.payment("21", "0", "1", ("CreditMemo", "5", "200"), ("Invoice", "11", "200"))
    balances = world.balances()
    assert (balances["P1"].O, balances["P1"].C, balances["P1"].credit_in) == (800, 0, 200)
    assert (balances["P2"].O, balances["P2"].C, balances["P2"].credit_out) == (500, 0, 200)
    assert balances["P1"].N + balances["P2"].N == 1300
    assert balances["P1"].cash == balances["P2"].cash == 0


def test_a_link_before_its_memo_waits_and_is_booked_when_the_memo_comes() -> None:
    world = World.with_projects("P1", "P2")
    world.invoice("11", "1000", "1")
    world.invoice("12", "500", "2")
    asked = world.payment("21", "0", "1", ("CreditMemo", "5", "200"), ("Invoice", "11", "200")).reads
    assert world.balances()["P1"].O == 1000
    assert sum(world.waiting().values()) == 200
    world.memo("5", "200", "2")
    assert (world.balances()["P1"].O, world.balances()["P2"].credit_out) == (800, 200)
    assert world.waiting() == {}
    assert asked == {("CreditMemo", "5")}


def test_an_overpayment_refunded_by_cheque_leaves_no_net_receivable() -> None:
    world = World.with_projects("P1")
    world.invoice("11", "500")
    world.payment("21", "600", "1", ("Invoice", "11", "500"))
    assert world.balances()["P1"].U == 100
    world.payment("21", "600", "1", ("Invoice", "11", "500"), ("Check", "77", "100"))
    assert figures(world.balances()["P1"]) == {"invoiced": 500, "cash": 600, "other": 100}
    assert world.balances()["P1"].N == 0


def test_a_refund_receipt_does_not_touch_receivables() -> None:
    world = World.with_projects("P1")
    world.invoice("11", "1000")
    world.payment("21", "1000", "1", ("Invoice", "11", "1000"))
    world.refund("31", "75")
    assert figures(world.balances()["P1"]) == {"invoiced": 1000, "cash": 1000, "refunds": 75}


def test_paying_an_opening_journal_never_waits() -> None:
    world = World.with_projects("P1")
    world.payment("21", "5000", "1", ("JournalEntry", "90", "5000"))
    assert figures(world.balances()["P1"]) == {"cash": 5000, "other": 5000}
    assert world.waiting() == {}


def test_a_reference_that_is_cleared_moves_the_invoice_and_what_was_paid_on_it() -> None:
    world = World.with_projects("P1", "P2")
    world.invoice("11", "1000", "1", reference="P2")
    world.payment("21", "400", "1", ("Invoice", "11", "400"))
    assert figures(world.balances()["P2"]) == {"invoiced": 1000, "O": 600, "cash": 400}
    world.invoice("11", "1000", "1")
    assert figures(world.balances()["P1"]) == {"invoiced": 1000, "O": 600, "cash": 400}
    assert figures(world.balances()["P2"]) == {}
    assert world.money_names[-6:] == [
        "PaymentUnapplied",
        "InvoiceMovedOut",
        "InvoiceMovedIn",
        "PaymentMovedOut",
        "PaymentMovedIn",
        "PaymentApplied",
    ]


def test_a_deposit_on_the_invoice_counts_as_cash() -> None:
    world = World.with_projects("P1")
    world.invoice("11", "1000", Deposit="200")
    assert figures(world.balances()["P1"]) == {"invoiced": 1000, "O": 800, "cash": 200}


def test_a_paid_invoice_that_is_voided_leaves_the_cash_unapplied_in_either_order() -> None:
    for invoice_first in (True, False):
        world = World.with_projects("P1")
        world.invoice("11", "1000")
        world.payment("21", "1000", "1", ("Invoice", "11", "1000"))
        updates = [lambda w=world: w.invoice("11", "0"), lambda w=world: w.payment("21", "1000", "1")]
        for update in updates if invoice_first else reversed(updates):
            update()
        assert figures(world.balances()["P1"]) == {"cash": 1000, "U": 1000}
        assert world.balances()["P1"].N == -1000


def test_a_void_taken_back_is_reinstated() -> None:
    world = World.with_projects("P1")
    world.invoice("11", "1000")
    world.invoice("11", "0")
    world.invoice("11", "900")
    assert world.money_names == ["InvoiceIssued", "InvoiceVoided", "InvoiceReinstated"]
    assert world.balances()["P1"].O == 900


def test_deleting_a_split_payment_undoes_it_in_every_project_without_its_amounts() -> None:
    world = World.with_projects("P1", "P2")
    world.invoice("11", "1000", "1")
    world.invoice("12", "500", "2")
    world.payment("21", "1500", "1", ("Invoice", "11", "1000"), ("Invoice", "12", "500"))
    world.gone("Payment", "21")
    assert figures(world.balances()["P1"]) == {"invoiced": 1000, "O": 1000}
    assert figures(world.balances()["P2"]) == {"invoiced": 500, "O": 500}


def test_a_deposit_link_and_a_rename_are_no_events_of_money() -> None:
    world = World.with_projects("P1")
    world.invoice("11", "1000")
    world.payment("21", "1000", "1", ("Invoice", "11", "1000"))
    before = len(world.facts)
    world.payment("21", "1000", "1", ("Invoice", "11", "1000"), LinkedTxn=[{"TxnType": "Deposit", "TxnId": "9"}])
    world.customer("1", name="Another name")
    world.invoice("11", "1000")
    assert len(world.facts) == before
    assert type(world.notices[-1].body).__name__ == "CustomerChanged"


def test_the_next_job_of_a_customer_begins_on_its_day() -> None:
    world = World.with_projects("P1")
    world.declare("P2")
    world.invoice("11", "50000", on="2025-06-01")
    world.payment("21", "50000", "1", ("Invoice", "11", "50000"), on="2025-07-01")
    world.map("1", "P2", from_on=date(2026, 1, 1))
    world.invoice("12", "8000", on="2026-02-01")
    assert (world.balances()["P1"].invoiced, world.balances()["P1"].O) == (50000, 0)
    assert (world.balances()["P2"].invoiced, world.balances()["P2"].O) == (8000, 8000)


def test_nothing_reaches_a_project_before_its_customer_is_synced_and_all_flows_in_then() -> None:
    world = World()
    world.declare("P1")
    world.customer("1")
    world.invoice("11", "1000", reference="P1")
    world.payment("21", "400", "1", ("Invoice", "11", "400"))
    assert world.facts == []
    assert world.waiting() == {("Invoice", "11", ""): 1000, ("Payment", "21", "Invoice:11"): 400}
    world.map("1", "P1")
    assert figures(world.balances()["P1"]) == {"invoiced": 1000, "O": 600, "cash": 400}
    assert world.waiting() == {}


def test_records_of_an_unknown_customer_wait_ask_for_it_once_and_flow_when_it_is_known() -> None:
    world = World.with_projects("P1")
    assert world.invoice("11", "1000", "7").reads == {("Customer", "7")}
    assert world.invoice("11", "1100", "7").reads == set()
    world.customer("7", parent="1")
    assert world.balances()["P1"].O == 1100
    assert world.facts[-1].reason is Reason.PARENT_CUSTOMER


def test_an_unknown_reference_is_warned_about_and_a_project_declared_later_moves_the_document() -> None:
    world = World.with_projects("P1")
    world.invoice("11", "1000", reference=" p9 ")
    assert [type(n.body).__name__ for n in world.notices][-1] == "WarningRaised"
    assert world.balances()["P1"].O == 1000
    world.declare("P9")
    assert (world.balances()["P1"].O, world.balances()["P9"].O) == (0, 1000)
    assert world.facts[-1].reason is Reason.REFERENCE_NUMBER


def test_an_assignment_by_a_person_survives_later_edits() -> None:
    world = World.with_projects("P1", "P2")
    world.invoice("11", "1000")
    world.assign("Invoice", "11", "P2")
    world.invoice("11", "1200")
    assert (world.balances()["P1"].O, world.balances()["P2"].O) == (0, 1200)
    assert world.facts[-1].reason is Reason.ASSIGNED


def test_a_request_that_somebody_else_overtook_is_refused_with_a_reason() -> None:
    world = World.with_projects("P1", "P2")
    stale = world.books.customers["1"].mapping_version
    world.map("1", "P2")
    from schemas import changes

    late = changes.ReleaseCustomer(decision_id="late", person="x", customer_id="1", mapping_version=stale)
    decision = world.take(late)
    assert decision.outcome == "refused"
    assert "Somebody else" in decision.answered["late"][1]


def test_remapping_moves_all_and_conserves_the_totals() -> None:
    world = World.with_projects("P1", "P2")
    world.invoice("11", "1000")
    world.payment("21", "1100", "1", ("Invoice", "11", "1000"))
    world.memo("5", "50")
    before = world.balances()["P1"].N
    world.map("1", "P2")
    assert figures(world.balances()["P1"]) == {}
    assert world.balances()["P2"].N == before == -150


def test_an_older_read_never_overwrites_a_newer_one() -> None:
    world = World.with_projects("P1")
    world.invoice("11", "1000", at=100)
    assert world.invoice("11", "900", at=50).outcome == "older than known"
    assert world.balances()["P1"].O == 1000


def test_a_read_from_before_the_delete_resurrects_nothing_and_a_later_revision_does() -> None:
    world = World.with_projects("P1")
    world.invoice("11", "1000")
    world.gone("Invoice", "11")
    assert world.invoice("11", "1000", at=1).outcome != "booked"
    assert world.balances()["P1"].O == 0
    world.invoice("11", "800")
    assert world.money_names == ["InvoiceIssued", "InvoiceDeleted", "InvoiceReinstated"]


def test_a_payment_that_does_not_add_up_waits_instead_of_being_guessed() -> None:
    world = World.with_projects("P1")
    world.invoice("11", "1000")
    world.payment("21", "1000", "1", ("Invoice", "11", "700"), unapplied="0")
    assert world.waiting() == {("Payment", "21", ""): 1000}
    assert world.balances()["P1"].cash == 0


def test_a_payment_before_its_invoice_waits_by_line_and_asks_for_it() -> None:
    world = World.with_projects("P1")
    asked = world.payment("21", "1000", "1", ("Invoice", "11", "700")).reads
    assert asked == {("Invoice", "11")}
    assert figures(world.balances()["P1"]) == {"cash": 300, "U": 300}
    world.invoice("11", "700")
    assert figures(world.balances()["P1"]) == {"invoiced": 700, "cash": 1000, "U": 300}


def test_a_journal_on_the_source_side_is_recognised_by_the_equation() -> None:
    world = World.with_projects("P1")
    world.invoice("11", "700")
    world.payment("21", "500", "1", ("Invoice", "11", "700"), ("JournalEntry", "90", "200"), unapplied="0")
    assert world.balances()["P1"].N == 0 - 0
    assert (world.balances()["P1"].O, world.balances()["P1"].cash, world.balances()["P1"].other) == (0, 500, -200)


def test_a_credit_paid_out_by_cheque_is_no_cash_and_leaves_nothing_open() -> None:
    world = World.with_projects("P1")
    world.memo("5", "100")
    world.payment("21", "0", "1", ("CreditMemo", "5", "100"), ("Check", "77", "100"), unapplied="0")
    assert figures(world.balances()["P1"]) == {"credited": 100, "other": 100}
    assert world.balances()["P1"].N == 0


def test_a_credit_that_becomes_money_of_a_payment_follows_the_payment() -> None:
    world = World.with_projects("P1", "P2")
    world.memo("5", "82", "1")
    world.payment("21", "22", "2", ("CreditMemo", "5", "82"), unapplied="104")
    balances = world.balances()
    assert figures(balances["P1"]) == {"credited": 82, "credit_out": 82}
    assert figures(balances["P2"]) == {"cash": 22, "U": 104, "credit_in": 82}


def test_spare_credit_waits_as_a_whole_while_the_payment_has_no_project() -> None:
    world = World.with_projects("P1")
    world.customer("2")
    world.memo("5", "82", "1")
    world.payment("21", "22", "2", ("CreditMemo", "5", "82"), unapplied="104")
    assert figures(world.balances()["P1"]) == {"credited": 82, "C": 82}
    assert list(world.waiting()) == [("Payment", "21", "")]


def test_many_cheques_in_one_payment_are_booked() -> None:
    world = World.with_projects("P1")
    world.payment("21", "130", "1", *[("Check", str(100 + n), "10") for n in range(13)], unapplied="0")
    assert figures(world.balances()["P1"]) == {"cash": 130, "other": 130}


def test_a_mapping_is_corrected_without_giving_up_its_reference_number() -> None:
    world = World.with_projects("P1")
    world.declare("P2")
    world.map("1", "P1", reference="R1")
    assert world.map("1", "P2", reference="R1").outcome == "accepted"


def test_a_document_that_comes_back_after_its_delete_is_pointed_out() -> None:
    world = World.with_projects("P1")
    world.invoice("11", "1000")
    world.gone("Invoice", "11")
    world.invoice("11", "800")
    assert [n.body.code for n in world.notices if type(n.body).__name__ == "WarningRaised"] == ["reopened_after_delete"]
