"""One webhook from HTTP to its row, through all processes; what arrives twice, for others, or forged."""

import json
from uuid import uuid4

from streams.topology import topics_of
from tests.acceptance.running import FIRST, SECOND, Running, cloud_event


def an_invoice(system: Running, company_id: str) -> str:
    query = (
        "SELECT record_id FROM read_project_documents WHERE company_id = %s AND record_type = 'Invoice' "
        "AND state = 'open' AND open_amount = total AND total > 0 ORDER BY record_id LIMIT 1"
    )
    return str(system.rows(query, company_id)[0][0])


def counts(system: Running) -> list[tuple[object, ...]]:
    return system.rows("SELECT count(*), sum(version) FROM ledger.streams")


def test_history_is_in_the_read_tables_to_the_cent(system: Running) -> None:
    for company_id in (FIRST, SECOND):
        documents = system.rows("SELECT count(*) FROM read_project_documents WHERE company_id = %s", company_id)
        assert documents[0][0] > 0
        assert system.differences(company_id) == []


def test_a_change_in_quickbooks_becomes_a_row(system: Running) -> None:
    invoice_id = an_invoice(system, FIRST)
    before = system.rows("SELECT total FROM read_project_documents WHERE record_id = %s", invoice_id)
    item = {"ItemRef": {"value": "1"}, "UnitPrice": 4321, "Qty": 1}
    line = {"Amount": 4321, "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": item}
    system.simulator("POST", f"/companies/{FIRST}/records/Invoice", {"Id": invoice_id, "Line": [line]})
    query = (
        "SELECT total FROM read_project_documents WHERE company_id = %s AND record_type = 'Invoice' AND record_id = %s"
    )
    system.wait_for(lambda: system.rows(query, FIRST, invoice_id) != before)
    system.settle()
    assert system.rows(query, FIRST, invoice_id) == [(4321,)]
    assert system.differences(FIRST) == []


def test_a_delivery_sent_twice_changes_nothing_and_is_read_at_most_once(system: Running) -> None:
    invoice_id = an_invoice(system, FIRST)
    changed_at = system.simulator("GET", f"/companies/{FIRST}/truth")["Invoice"][invoice_id]["updated_at"]
    body = json.dumps([cloud_event(FIRST, "Invoice", invoice_id, time=changed_at)]).encode()
    assert system.deliver(body) == 200
    system.settle()
    before = counts(system)
    system.simulator("POST", "/calls/reset")
    assert [system.deliver(body) for _ in range(20)] == [200] * 20
    system.settle()
    assert counts(system) == before
    assert system.simulator("GET", "/calls")["metered"] <= 1


def test_one_delivery_with_events_of_two_companies_reaches_both(system: Running) -> None:
    events = [cloud_event(c, "Invoice", an_invoice(system, c)) for c in (FIRST, SECOND)]
    assert system.deliver(json.dumps(events).encode()) == 200
    system.settle()
    found = {
        company_id: system.rows(
            'SELECT i.company_id FROM ledger.causes c JOIN ledger.inputs i ON (i."partition", i."offset") = '
            '(c."partition", c."offset") WHERE c.cause_id = %s',
            event["id"],
        )
        for company_id, event in zip((FIRST, SECOND), events, strict=True)
    }
    assert found == {FIRST: [(FIRST,)], SECOND: [(SECOND,)]}


def test_a_bad_signature_is_refused_and_publishes_nothing(system: Running) -> None:
    topic = topics_of(system.system.settings).notifications.name
    before = len(system.records(topic))
    body = json.dumps([cloud_event(FIRST, "Invoice", "1", id=str(uuid4()))]).encode()
    assert system.deliver(body, signature="bm90IGEgc2lnbmF0dXJlIG9mIG91cnMgYXQgYWxsISE=") == 401
    assert len(system.records(topic)) == before


def test_a_burst_of_changes_in_both_formats_ends_in_quickbooks_own_figures(system: Running) -> None:
    system.change(FIRST, 40, 11)
    system.simulator("PUT", "/webhooks", {"format": "legacy"})
    system.change(SECOND, 40, 12)
    system.settle()
    system.simulator("PUT", "/webhooks", {"format": "cloudevents"})
    for company_id in (FIRST, SECOND):
        assert system.differences(company_id) == []
    system.assert_versions_are_whole()
    assert system.rows("SELECT reason FROM control.parked WHERE resolution IS NULL") == []


def test_a_signed_body_that_nobody_can_read_is_accepted_and_waits_for_a_person(system: Running) -> None:
    assert [system.deliver(b'[{"not": "an event"') for _ in range(2)] == [200, 200]
    parked = "SELECT value FROM control.parked WHERE step = 'ingress' AND resolution IS NULL"
    assert system.wait_for(lambda: system.rows(parked)) == [(b'[{"not": "an event"',)]
