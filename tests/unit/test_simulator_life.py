"""The life generator: the same seed is the same life, everything in it can happen, and the oracle's sums come out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.simulator.api.company import Project
from connectors.simulator.books.audit import violations
from connectors.simulator.books.notes import NOTHING, Note, Why, below, known
from connectors.simulator.books.records import Kind, Record, Refused
from connectors.simulator.life import jobs, sales
from connectors.simulator.life.bookkeepers import Writing, typed, write_up
from connectors.simulator.life.firm import Firm, Site
from connectors.simulator.life.happenings import Impossible
from connectors.simulator.life.play import Pace, Play, new_company, rate_of, summed
from connectors.simulator.life.repertoire import HAPPENINGS, Repertoire
from connectors.simulator.life.truth import truth
from connectors.simulator.live import exit_code, play_alone, read_live
from connectors.simulator.storage import Storage

pytestmark = pytest.mark.slow

REALM = "9130000000000001"


NEEDED = ("new_job", "overpaid", "journal_charge", "progress_invoice")  # what others live on


def firm(seed: int | str = 1, number: int = 0) -> Firm:
    """An empty firm; odd numbers have several currencies, the third and fourth of four name project-customers."""
    return Firm(new_company(number, REALM), seed, number)


def lived(steps: int, seed: int = 1, number: int = 0) -> Firm:
    """A firm after so many steps."""
    made = firm(seed, number)
    play = Play([made], Repertoire(), steps)
    while play.done < steps:
        play.step()
    return made


@pytest.fixture(scope="module")
def lives() -> list[Firm]:
    """One life in each of the four kinds of firm."""
    return [lived(1500, seed=5, number=number) for number in range(4)]


def amounts(one: dict[str, Any], column: str) -> Decimal:
    return Decimal(one[column])


# ---- the same life again ---------------------------------------------------------------------------------------------


def run(*arguments: str, hash_seed: str) -> dict[str, str]:
    """The command in a process of its own; its lines by name."""
    command = [sys.executable, "-m", "connectors.simulator", "live", *arguments]
    environment = os.environ | {"PYTHONHASHSEED": hash_seed}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True, timeout=280)
    return dict(line.split(": ", 1) for line in done.stdout.splitlines() if ": " in line and line[0] != "{")


@pytest.mark.timeout(300)
def test_same_seed_is_the_same_life_byte_for_byte_in_any_process_and_in_several() -> None:
    asked = ("--seed", "3", "--companies", "2", "--steps", "300", "--digest")
    first = run(*asked, hash_seed="1")
    second = run(*asked, "--processes", "2", "--rate", "5000/s", hash_seed="2")
    assert first["digest"] == second["digest"] and len(first["digest"]) == 64
    assert (first["violations"], first["steps"], second["steps"]) == ("none", "300", "300")


def test_another_seed_is_another_life_and_other_companies_change_nothing_of_it() -> None:
    def digest(*arguments: str) -> str:
        return str(play_alone(read_live([*arguments, "--digest"]))["digest"])

    assert digest("--steps", "60") == digest("--steps", "60")
    assert digest("--steps", "60") != digest("--steps", "60", "--seed", "2")
    alone, together = lived(60, number=1), firm(number=1)
    play = Play([firm(number=0), together], Repertoire(), 120)
    while play.done < play.total:
        play.step()
    assert truth(alone.company) == truth(together.company)


# ---- what happens ----------------------------------------------------------------------------------------------------


def test_everything_in_the_repertoire_happens(lives: list[Firm]) -> None:
    happened: Counter[str] = sum((one.tally for one in lives), Counter())
    rare = {
        "automatic_credits",
        "books_closed",
        "definition_renamed",
        "cheque_linked",
        "card_credit",
        "journal_deleted",
        "journal_paid",
        "opening_balance",
    }
    assert set(HAPPENINGS) - set(happened) - rare == set()
    assert max(happened.values()) < sum(happened.values()) / 3


@pytest.mark.parametrize("name", sorted(HAPPENINGS))
def test_every_single_happening_can_happen(name: str, lives: list[Firm]) -> None:
    """In one of the firms that have lived for a while, as soon as there is what it needs."""
    others = Repertoire(set(HAPPENINGS) - set(NEEDED))
    for one in lives:
        for _ in range(40):
            with suppress(Impossible, Refused):
                return HAPPENINGS[name](one)
            others.step(one)
    raise AssertionError(f"{name} never happened")


def test_books_add_up_all_along_the_way() -> None:
    made = firm(seed=8, number=3)
    repertoire = Repertoire()
    for step in range(900):
        repertoire.step(made)
        if step % 100 == 99:
            assert violations(made.book) == [], f"after step {step}"


def test_a_life_of_two_companies_ends_without_violations_and_without_refusals_of_any_other_kind_than_known() -> None:
    summary = play_alone(read_live(["--steps", "3000", "--companies", "2", "--check-every", "1000"]))
    assert (summary["violations"], summary["steps"], exit_code(summary)) == ([], 3000, 0)
    known_codes = {"6210", "6000", "610"}  # the books are closed; links and customers that no longer fit
    assert {one.split(": ")[1].split(" ")[0] for one in summary["refused"]} <= known_codes
    assert sum(summary["refused"].values()) < 150


@pytest.mark.prove
@pytest.mark.timeout(7200)
def test_a_million_steps_leave_every_book_in_order() -> None:
    asked = ["--steps", "1000000", "--companies", "20", "--check-every", "100000", "--processes", "2"]
    summary = play_alone(read_live(asked))
    assert (summary["violations"], summary["steps"]) == ([], 1_000_000)


# ---- bookkeepers -----------------------------------------------------------------------------------------------------


def forms(one: Firm) -> list[Record]:
    return [
        record
        for kind in (Kind.INVOICE, Kind.CREDIT_MEMO, Kind.REFUND_RECEIPT)
        for record in one.book.records[kind].values()
    ]


def test_what_a_careful_bookkeeper_writes_always_leads_to_the_project_it_is_meant_for(lives: list[Firm]) -> None:
    notes = [record.note for one in lives for record in forms(one) if record.note is not None]
    careful = [note for note in notes if note.writer == "careful" and note.intended is not None]
    assert len(careful) > 500
    assert [note for note in careful if note.determined != note.intended] == []


def test_hasty_ones_fall_back_to_the_customers_project_and_wrong_ones_lead_to_another(lives: list[Firm]) -> None:
    notes = [record.note for one in lives for record in forms(one) if record.note is not None]
    hasty = [note for note in notes if note.writer == "hasty" and note.determined != note.intended]
    wrong = [note for note in notes if note.writer == "wrong" and note.determined not in (None, note.intended)]
    assert len(hasty) > 50 and len(wrong) > 20
    assert {note.why for note in hasty} >= {Why.CUSTOMER, Why.NOT_MAPPED, Why.REFERENCE_ONLY}
    assert any(note.why is Why.REFERENCE for note in wrong)
    assert {note.why for note in notes} == set(Why) - {Why.UNKNOWN}


def billed(one: Firm, site: Site, text: str | None = None) -> Record:
    """An invoice for a job, with a reference number as it is typed; what it names is what the test says it names."""
    line = sales.lines(one)
    note = one.known(site.customer, site.project, "careful", named=site.project if text else None)
    return sales.new_invoice(one, Writing(site.customer, typed(text) if text else {}, note), line)


def test_reference_typed_spoilt_and_cleared_moves_what_the_paper_leads_to() -> None:
    one = firm()
    first, second = jobs.own_job(one), jobs.second_project(_with(one, jobs.own_job))
    invoice = billed(one, second, second.project)
    assert invoice.note is not None and (invoice.note.determined, invoice.note.why) == (second.project, Why.REFERENCE)
    one.sites = [second]
    until(one, sales.reference_cleared)
    host = one.note_of(second.customer).determined
    assert (invoice.note.determined, invoice.note.why, invoice.note.writer) == (host, Why.CUSTOMER, "hasty")
    assert invoice.custom == {} and host not in (first.project, second.project)
    until(one, sales.reference_typed_later)
    assert (invoice.note.determined, invoice.note.intended) == (second.project, second.project)


def until(one: Firm, happening: Callable[[Firm], None]) -> None:
    """Let it happen; the dice choose among kinds of paper that may not be there yet."""
    for _ in range(60):
        with suppress(Impossible):
            return happening(one)
    raise AssertionError(happening.__name__)


def _with(one: Firm, begin: Callable[[Firm], Site]) -> Firm:
    one.sites.append(begin(one))
    return one


def test_refused_edit_leaves_the_note_as_it_was() -> None:
    one = firm()
    site = jobs.own_job(one)
    invoice = billed(one, site, site.project)
    before = invoice.note
    one.book.closed_until = "2030-12-31"
    with pytest.raises(Refused):
        one.update(invoice, typed(""), one.known(site.customer, None, "hasty"))
    assert invoice.note is before and before is not None


def test_merged_double_brings_its_papers_to_the_project_of_the_customer_it_should_have_been() -> None:
    one = firm()
    one.sites = [jobs.own_job(one)]
    jobs.duplicate_made(one)
    sales.duplicate_billed(one)
    invoice = next(iter(one.book.records[Kind.INVOICE].values()))
    assert invoice.note is not None and (invoice.note.determined, invoice.note.why) == (None, Why.NOT_MAPPED)
    jobs.duplicates_merged(one)
    assert (invoice.note.determined, invoice.note.why) == (one.sites[0].project, Why.CUSTOMER)


def test_quickbooks_writes_off_a_retired_customer_with_a_memo_that_leads_where_the_customer_does() -> None:
    one = firm()
    site = jobs.own_job(one)
    billed(one, site)
    one.closed.append(site)
    jobs.customer_retired(one)
    (memo,) = one.book.records[Kind.CREDIT_MEMO].values()
    assert memo.note is not None and memo.note.determined == site.project


def test_paper_of_a_quickbooks_project_leads_where_the_customer_that_it_shows_does_whoever_was_billed() -> None:
    """In a firm whose papers name the project-customer; this one is mapped, and its project linked to nothing."""
    one = firm(number=2)
    client = one.create(Kind.CUSTOMER, {"DisplayName": "Quays"}, Note("P1", "P1", Why.CUSTOMER)).id
    note = Note("P2", "P2", Why.CUSTOMER, quickbooks_project=str(one.book.next_ids["project"]))
    job = one.company.create_project("Quay 7", client, note).id
    site = Site("P2", client, job, quickbooks_project=note.quickbooks_project)
    for _ in range(60):
        with suppress(Impossible):  # nobody can take another job for this one
            writing = write_up(one, site)
            line = {"Amount": Decimal(10), "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": {}}
            body = {"CustomerRef": {"value": writing.customer}, "Line": [line], **writing.fields}
            paper = one.create(Kind.INVOICE, body, writing.note)
            shown = one.note_of(str(paper.customer_id))
            assert writing.note.determined == (writing.note.named or shown.determined), (writing, paper.customer_id)


def test_further_job_of_a_quickbooks_project_that_was_taken_over_leads_where_that_project_is_linked() -> None:
    """The office that takes over writes both jobs with the one ProjectRef that there is."""
    one = firm(number=2)
    client = one.create(Kind.CUSTOMER, {"DisplayName": "Quays"}, Note("P1", "P1", Why.CUSTOMER)).id
    number = str(one.book.next_ids["project"])
    note = below(one.note_of(client))._replace(linked="P2", quickbooks_project=number)
    job = one.company.create_project("Quay 7", client, note).id
    one.company.projects += [Project("P2", "Quay 7", job), Project("P3", "Quay 7, roof", job)]
    again = Firm(one.company, 2, 2)
    (further,) = [site for site in again.sites if site.project == "P3"]
    led = set()
    for _ in range(60):
        with suppress(Impossible):
            writing = write_up(again, further)
            line = {"Amount": Decimal(10), "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": {}}
            body = {"CustomerRef": {"value": writing.customer}, "Line": [line], **writing.fields}
            paper = again.create(Kind.INVOICE, body, writing.note)
            led.add((writing.note.named, "ProjectRef" in paper.fields, writing.note.determined))
    assert {(None, True, "P2"), (None, False, "P1"), ("P3", True, "P3")} <= led  # the second: the client was billed
    assert all(determined == named for named, _, determined in led if named is not None)
    assert (None, True, "P1") not in led


def test_write_off_of_a_quickbooks_project_names_no_project_and_leads_where_its_customer_does() -> None:
    one = firm(number=2)
    client = one.create(Kind.CUSTOMER, {"DisplayName": "Quays"}, Note("P1", "P1", Why.CUSTOMER)).id
    number = str(one.book.next_ids["project"])
    note = below(one.note_of(client))._replace(linked="P2", quickbooks_project=number)
    job = one.company.create_project("Quay 7", client, note)
    invoice = _form(one, Kind.INVOICE, job.id, "P2", "100")
    one.update(job, {"Active": False})
    (memo,) = one.book.records[Kind.CREDIT_MEMO].values()
    assert [record.note.determined for record in (invoice, memo) if record.note] == ["P2", "P1"]
    assert "ProjectRef" in invoice.fields and "ProjectRef" not in memo.fields


def test_reference_decides_before_the_quickbooks_project_and_both_only_behind_the_gate() -> None:
    mapped = Note("P1", "P1", Why.CUSTOMER)
    assert known(mapped, "P1", "", named="P2", linked="P3").determined == "P2"
    assert known(mapped, "P1", "", linked="P3").determined == "P3"
    assert known(below(mapped), "P1", "")[1:3] == ("P1", Why.PARENT)
    assert known(NOTHING, "P1", "", named="P2", linked="P3").determined is None
    assert known(Note(None, None, Why.REFERENCE_ONLY), "P1", "", linked="P3").determined is None


# ---- the oracle ------------------------------------------------------------------------------------------------------


def test_projects_and_what_waits_and_other_receivables_are_the_customers_balances_to_the_cent(
    lives: list[Firm],
) -> None:
    for one in lives:
        said = truth(one.company)
        explained: defaultdict[str, Decimal] = defaultdict(Decimal)
        for currencies in said["projects"].values():
            for currency, figures in currencies.items():
                explained[currency] += Decimal(figures["net_receivable"])
        for part in said["waiting"]:
            explained[part["currency"]] += Decimal(part["net"])
        balances: defaultdict[str, Decimal] = defaultdict(Decimal)
        for customer in said["customers"].values():
            explained[customer["currency"]] += Decimal(customer["other_receivables"])
            balances[customer["currency"]] += Decimal(customer["balance"])
        assert explained == balances and len(balances) == (3 if one.number % 2 else 1)


def test_each_customers_balance_is_its_open_items(lives: list[Firm]) -> None:
    for one in lives:
        for customer in truth(one.company)["customers"].values():
            own = amounts(customer, "open_invoices") - amounts(customer, "remaining_credit")
            own += amounts(customer, "other_receivables") - amounts(customer, "unapplied")
            assert amounts(customer, "balance") == own


def test_receivables_and_exchange_gains_at_home_are_those_of_the_general_ledger(lives: list[Firm]) -> None:
    for one in lives:
        said = truth(one.company)
        home = sum(amounts(customer, "home_balance") for customer in said["customers"].values())
        assert home == Decimal(said["accounts"]["84"])
        gains = sum(amounts(customer, "exchange_gain") for customer in said["customers"].values())
        by_project = [figures for found in said["projects"].values() for figures in found.values()]
        divided = sum((amounts(figures, "exchange_gain") for figures in by_project), Decimal(0))
        assert gains == divided + Decimal(said["exchange_gain_over_several_projects"])
        payments = one.book.records[Kind.PAYMENT].values()
        assert gains == -sum(entry.home for payment in payments for entry in payment.postings if entry.account == "101")
        assert bool(gains) == bool(one.number % 2)


def test_least_and_most_of_the_cash_enclose_what_came_in(lives: list[Firm]) -> None:
    for one in lives:
        said = truth(one.company)
        least, most = Decimal(0), Decimal(0)
        for found in said["projects"].values():
            for figures in found.values():
                bounds = figures["open_to_rule"].get("cash_received")
                least += Decimal(bounds["least"] if bounds else figures["cash_received"])
                most += Decimal(bounds["most"] if bounds else figures["cash_received"])
        received = sum((payment.total for payment in one.book.records[Kind.PAYMENT].values()), Decimal(0))
        deposits = sum(Decimal(form["deposit"]) for form in said["Invoice"].values())
        assert least <= received + deposits and least <= most


def test_cash_and_credit_over_two_projects_are_left_open_to_the_rule_between_least_and_most() -> None:
    """Cash 700 and a memo of 300 pay 400 of one project and 600 of the other: which paid which, nobody says."""
    one = firm()
    client = _client(one)
    first, second = (_job_of(one, client, project) for project in ("P1", "P2"))
    invoices = [_form(one, Kind.INVOICE, *job, amount) for job, amount in ((first, "400"), (second, "600"))]
    memo = _form(one, Kind.CREDIT_MEMO, *first, "300")
    _payment(one, client, "700", (invoices[0], "400"), (invoices[1], "600"), (memo, "300"))
    found = truth(one.company)["projects"]
    assert (found["P1"]["USD"]["open_invoices"], found["P2"]["USD"]["open_invoices"]) == ("0.00", "0.00")
    assert found["P1"]["USD"]["unused_credit"] == "0.00"
    assert found["P1"]["USD"]["open_to_rule"] == {"cash_received": {"least": "100.00", "most": "400.00"}}
    assert found["P2"]["USD"]["open_to_rule"] == {"cash_received": {"least": "300.00", "most": "600.00"}}


def test_parent_pays_for_its_jobs_and_the_rest_waits_at_the_parent() -> None:
    one = firm()
    client = _client(one)
    first, second = (_job_of(one, client, project) for project in ("P1", "P2"))
    invoices = [_form(one, Kind.INVOICE, *job, amount) for job, amount in ((first, "1000"), (second, "500"))]
    _payment(one, client, "1600", (invoices[0], "1000"), (invoices[1], "500"))
    said = truth(one.company)
    assert [said["projects"][project]["USD"]["cash_received"] for project in ("P1", "P2")] == ["1000.00", "500.00"]
    assert [part["net"] for part in said["waiting"]] == ["-100.00"]
    assert said["projects"]["P1"]["USD"]["open_to_rule"] == {}


def test_deposit_on_an_invoice_is_cash_and_a_refund_touches_nothing_else() -> None:
    one = firm()
    job = _job_of(one, _client(one), "P1")
    _form(one, Kind.INVOICE, *job, "1000", Deposit=Decimal("200"))
    _form(one, Kind.REFUND_RECEIPT, *job, "75", DepositToAccountRef={"value": "35"})
    figures = truth(one.company)["projects"]["P1"]["USD"]
    wanted = {"invoiced_gross": "1000.00", "cash_received": "200.00", "open_invoices": "800.00", "refunds": "75.00"}
    assert {key: figures[key] for key in wanted} == wanted and figures["net_receivable"] == "800.00"


def test_credit_used_in_another_project_lowers_both_sides() -> None:
    one = firm()
    client = _client(one)
    first, second = (_job_of(one, client, project) for project in ("P1", "P2"))
    invoice, memo = _form(one, Kind.INVOICE, *first, "1000"), _form(one, Kind.CREDIT_MEMO, *second, "200")
    _payment(one, client, "0", (invoice, "200"), (memo, "200"))
    found = truth(one.company)["projects"]
    assert (found["P1"]["USD"]["open_invoices"], found["P2"]["USD"]["unused_credit"]) == ("800.00", "0.00")
    assert found["P1"]["USD"]["cash_received"] == "0.00" and found["P1"]["USD"]["open_to_rule"] == {}


def test_card_credit_in_a_payment_for_another_project_leaves_the_payers_cash_open() -> None:
    """A credit of 30 on the payer's card and 70 in cash pay 100 of another project: who says which is the payer's."""
    one = firm()
    payer = one.create(Kind.CUSTOMER, {"DisplayName": "Quays"}, Note("P1", "P1", Why.CUSTOMER)).id
    invoice = _form(one, Kind.INVOICE, *_job_of(one, payer, "P2"), "100")
    detail = {"AccountRef": {"value": "84"}, "CustomerRef": {"value": payer}}
    kind = "AccountBasedExpenseLineDetail"
    body = {"PaymentType": "CreditCard", "Credit": True, "AccountRef": {"value": "41"}}
    credit = one.create(Kind.PURCHASE, body | {"Line": [{"Amount": Decimal(30), "DetailType": kind, kind: detail}]})
    lines = [
        {"Amount": Decimal(amount), "LinkedTxn": [{"TxnId": record.id, "TxnType": word}]}
        for record, word, amount in ((invoice, "Invoice", 100), (credit, "CreditCardCredit", 30))
    ]
    asked = {"CustomerRef": {"value": payer}, "TotalAmt": Decimal(70), "Line": lines}
    one.create(Kind.PAYMENT, asked, one.known(payer, None, ""))
    found = truth(one.company)["projects"]
    assert found["P1"]["USD"]["open_to_rule"] == {"cash_received": {"least": "-30.00", "most": "0.00"}}
    assert found["P2"]["USD"]["open_to_rule"] == {"cash_received": {"least": "70.00", "most": "100.00"}}


def test_company_that_is_taken_over_types_its_customers_number_for_the_customers_own_project_alone() -> None:
    one = firm()
    client = one.create(Kind.CUSTOMER, {"DisplayName": "Quays"}, Note("P1", "P1", Why.CUSTOMER, alias="Q-17")).id
    one.company.projects += [Project("P1", "Quay 1", client), Project("P2", "Quay 2", client)]
    again = Firm(one.company, 2, 0)
    assert [(site.project, site.alias, site.needs_reference) for site in again.sites] == [
        ("P1", "Q-17", False),
        ("P2", None, True),
    ]


def test_mapping_names_customers_numbers_and_quickbooks_projects(lives: list[Firm]) -> None:
    said = truth(lives[2].company)["mapping"]
    kinds = {tuple(sorted(one)) for one in said["customers"].values()}
    assert kinds == {("project_id", "reference_number"), ("reference_only",)}
    assert said["quickbooks_projects"] and said["reference_field"]["definition_id"] == "1"
    projects = {one.project_id for one in lives[2].company.projects}
    assert {one["project_id"] for one in said["customers"].values() if "project_id" in one} <= projects
    assert set(said["quickbooks_projects"].values()) <= projects


def test_no_wrong_spelling_is_ever_some_projects_number(lives: list[Firm]) -> None:
    """What a document's writer says its number names is what the number names, and nothing else is."""
    for one in lives:
        names = {project.project_id.lower(): project.project_id for project in one.company.projects}
        for record in one.book.records[Kind.CUSTOMER].values():
            if record.note is not None and record.note.alias:
                names[record.note.alias.lower()] = str(record.note.determined)
        for record in forms(one):
            text = record.custom.get("1", "").strip().lower()
            assert record.note is not None and names.get(text) == record.note.named, record.custom


def test_notes_survive_a_restart(tmp_path: Any) -> None:
    made = lived(150, number=1)
    storage = Storage(tmp_path)
    records = [record for kind in Kind for record in made.book.records[kind].values()]
    storage.keep_records(REALM, records)
    kept = {(record.kind, record.id): record.note for record in storage.records(REALM)}
    storage.close()
    assert kept == {(record.kind, record.id): record.note for record in records}


# ---- pace and command ------------------------------------------------------------------------------------------------


class Watch:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.at = 0.0

    def now(self) -> float:
        return self.at


@pytest.mark.parametrize(
    ("text", "seconds"), [("1/min", 60), ("500/s", Fraction(1, 500)), ("20/h", 180), ("4", Fraction(1, 4))]
)
def test_steps_come_at_the_rate_that_was_asked_for(text: str, seconds: Fraction) -> None:
    watch = Watch()
    pace = Pace(rate_of(text), watch.now)
    for step in range(20):
        watch.at += pace.wait_s()
        assert watch.at == pytest.approx(step * float(seconds))
        pace.stepped()


def test_a_pace_makes_up_for_a_second_and_forgets_a_longer_pause() -> None:
    watch = Watch()
    pace = Pace(rate_of("10/s"), watch.now)
    watch.at = 60
    missed = 0
    while not pace.wait_s():
        pace.stepped()
        missed += 1
    assert 10 <= missed <= 11


@pytest.mark.parametrize("text", ["", "fast", "0", "-1/s", "5/fortnight", "1/0"])
def test_a_rate_that_is_none_is_refused_with_the_forms_there_are(text: str) -> None:
    with pytest.raises(ValueError, match="is no rate"):
        rate_of(text)


def test_unknown_happening_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_live(["--without", "earthquake"])
    assert "earthquake" in capsys.readouterr().err
    with pytest.raises(ValueError, match="progress_invoice"):
        Repertoire(["earthquake"])


def test_left_out_happenings_do_not_happen() -> None:
    made = firm()
    repertoire = Repertoire(["emailed"])
    for _ in range(200):
        repertoire.step(made)
    assert made.tally["emailed"] == 0


def test_summaries_of_several_processes_add_up() -> None:
    parts = [
        {"steps": 2, "records": {"Invoice": 1}, "violations": ["a"]},
        {"steps": 3, "records": {"Payment": 4}, "violations": []},
    ]
    assert summed(parts) == {"steps": 5, "records": {"Invoice": 1, "Payment": 4}, "violations": ["a"]}


def test_a_life_with_violations_or_cut_short_does_not_end_well() -> None:
    assert exit_code({"violations": ["1: the books are wrong"]}) == 1
    assert exit_code({"state": "stopped", "violations": []}) == 1


# ---- properties ------------------------------------------------------------------------------------------------------


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6), number=st.integers(0, 7))
def test_any_life_adds_up(seed: int, number: int) -> None:
    made = lived(120, seed, number)
    assert violations(made.book) == []
    said = truth(made.company)
    net = sum(Decimal(f["net_receivable"]) for found in said["projects"].values() for f in found.values())
    waits = sum(Decimal(part["net"]) for part in said["waiting"])
    other = sum(Decimal(customer["other_receivables"]) for customer in said["customers"].values())
    assert net + waits + other == sum(Decimal(customer["balance"]) for customer in said["customers"].values())


# ---- a desk for the oracle's cases -----------------------------------------------------------------------------------


def _client(one: Firm) -> str:
    return one.create(Kind.CUSTOMER, {"DisplayName": "Harbour Estates"}, NOTHING).id


def _job_of(one: Firm, client: str, project: str) -> tuple[str, str]:
    body = {"DisplayName": f"Job {project}", "Job": True, "ParentRef": {"value": client}}
    return one.create(Kind.CUSTOMER, body, Note(project, project, Why.CUSTOMER)).id, project


def _form(one: Firm, kind: Kind, customer: str, project: str, amount: str, **more: Any) -> Record:
    line = {"Amount": Decimal(amount), "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": {}}
    body = {"CustomerRef": {"value": customer}, "Line": [line], **more}
    return one.create(kind, body, one.known(customer, project, "careful"))


def _payment(one: Firm, payer: str, total: str, *lines: tuple[Record, str]) -> Record:
    written = [
        {"Amount": Decimal(amount), "LinkedTxn": [{"TxnId": record.id, "TxnType": record.kind.value}]}
        for record, amount in lines
    ]
    body = {"CustomerRef": {"value": payer}, "TotalAmt": Decimal(total), "Line": written}
    return one.create(Kind.PAYMENT, body, one.known(payer, None, ""))
