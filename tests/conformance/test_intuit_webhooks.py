"""How Intuit sends webhooks: behaviours 1 to 6 of intuit.md 7, over HTTP. The first line of a test is its fact."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.simulated import FIRST, SECOND, TOKEN, Endpoint, Intuit, until


def burst(intuit: Intuit, count: int, **more: Any) -> None:
    intuit.sim("POST", "/burst", {"realm": FIRST, "entity": "Invoice", "id": "1001", "count": count} | more)
    intuit.settled()


def signature(body: bytes, token: str = TOKEN) -> str:
    return base64.b64encode(hmac.new(token.encode(), body, hashlib.sha256).digest()).decode()


def all_events(endpoint: Endpoint) -> list[dict[str, Any]]:
    return [event for body in endpoint.bodies() for event in body]


# --- 1. bodies ----------------------------------------------------------------------------------------------------


def test_01_bodies_are_an_array_of_cloud_events_by_default(intuit: Intuit, endpoint: Endpoint) -> None:
    """A body is a JSON array of CloudEvents with exactly Intuit's fields; `data` is empty. [B-CE, D-WH, NET]"""
    made = intuit.invoice()
    intuit.settled()
    (event,) = all_events(endpoint)
    assert event.keys() - {"datacontenttype"} == {
        *("specversion", "id", "source", "type", "time", "intuitentityid", "intuitaccountid", "data")
    }
    assert (event["specversion"], event["type"], event["data"]) == ("1.0", "qbo.invoice.created.v1", {})
    assert (event["intuitentityid"], event["intuitaccountid"]) == (made["Id"], FIRST)


def test_01_bodies_are_a_legacy_object_where_the_application_chose_that(intuit: Intuit, endpoint: Endpoint) -> None:
    """The legacy body is an object with `eventNotifications`; all its values are texts. [B-CE, NET]"""
    intuit.sim("PUT", "/webhooks", {"format": "legacy", "aggregation_ms": 200})
    first, second = intuit.invoice(), intuit.invoice(realm=SECOND)
    intuit.sim("POST", f"/companies/{FIRST}/records/Invoice/{first['Id']}/void")
    intuit.settled()
    (body,) = endpoint.bodies()
    entities = {note["realmId"]: note["dataChangeEvent"]["entities"] for note in body["eventNotifications"]}
    assert {realm: [(one["name"], one["id"], one["operation"]) for one in of] for realm, of in entities.items()} == {
        FIRST: [("Invoice", first["Id"], "Create"), ("Invoice", first["Id"], "Void")],
        SECOND: [("Invoice", second["Id"], "Create")],
    }
    assert all(isinstance(value, str) for of in entities.values() for one in of for value in one.values())
    assert all(one.keys() == {"name", "id", "operation", "lastUpdated"} for of in entities.values() for one in of)


def test_01_legacy_times_come_in_every_form_that_was_seen(intuit: Intuit, endpoint: Endpoint) -> None:
    """Legacy `lastUpdated` comes with milliseconds and Z, or with an offset without colon. [B-CE, NET, JAVA]"""
    intuit.sim("PUT", "/webhooks", {"format": "legacy"})
    burst(intuit, 100)
    found = [
        one["lastUpdated"]
        for body in endpoint.bodies()
        for note in body["eventNotifications"]
        for one in note["dataChangeEvent"]["entities"]
    ]
    forms = {re.sub(r"\d", "9", text) for text in found}
    assert forms == {"9999-99-99T99:99:99.999Z", "9999-99-99T99:99:99-9999"} or forms == {
        *("9999-99-99T99:99:99.999Z", "9999-99-99T99:99:99-9999", "9999-99-99T99:99:99Z")
    }


def test_01_formats_are_never_mixed_in_one_delivery(intuit: Intuit, endpoint: Endpoint) -> None:
    """An application sends one format at a time; the shape of the body tells which. [CE-APP]"""
    for form in ("cloudevents", "legacy", "cloudevents"):
        intuit.sim("PUT", "/webhooks", {"format": form})
        intuit.invoice()
        intuit.settled()
    shapes = [list if isinstance(body, list) else tuple(body) for body in endpoint.bodies()]
    assert shapes == [list, ("eventNotifications",), list]


def test_01_ids_are_not_always_bare_uuids(intuit: Intuit, endpoint: Endpoint) -> None:
    """An event's id is a UUID, now and then with entity and record behind it. [D-WHDATA]"""
    burst(intuit, 200)
    ids = [event["id"] for event in all_events(endpoint)]
    assert all(uuid.UUID(one[:36]) for one in ids)
    assert {one[36:] for one in ids} == {"", "-Invoice-1001"}


def test_01_times_have_no_three_or_nine_digits_and_end_in_z(intuit: Intuit, endpoint: Endpoint) -> None:
    """`time` has no, three or nine fractional digits, always in UTC. [D-WH, NET]"""
    burst(intuit, 200)
    forms = {re.sub(r"\d", "9", event["time"][19:]) for event in all_events(endpoint)}
    assert forms == {"Z", ".999Z", ".999999999Z"}


def test_01_content_type_is_one_of_two(intuit: Intuit, endpoint: Endpoint) -> None:
    """Deliveries come as application/json or as application/cloudevents+json. [CE-APP]"""
    intuit.sim("PUT", "/webhooks", {"batch_max": 1})
    burst(intuit, 40)
    types = {headers["content-type"].partition(";")[0] for headers, _ in endpoint.received}
    assert types == {"application/json", "application/cloudevents+json"}


@pytest.mark.parametrize(
    ("operation", "word"), [("void", "void"), ("delete", "deleted"), ("email", "emailed"), ("", "created")]
)
def test_01_types_name_entity_and_event(intuit: Intuit, endpoint: Endpoint, operation: str, word: str) -> None:
    """Types are `qbo.<entity>.<event>.v1`; a void's word is `void`, the others are past tense. [BAL]"""
    made = intuit.invoice()
    if operation:
        intuit.sim("POST", f"/companies/{FIRST}/records/Invoice/{made['Id']}/{operation}")
    intuit.settled()
    assert endpoint.events()[-1] == (f"qbo.invoice.{word}.v1", made["Id"])


def test_01_entities_are_lower_case_without_separator(intuit: Intuit, endpoint: Endpoint) -> None:
    """A refund receipt is `refundreceipt`, a credit memo `creditmemo`, and vendors are announced too. [CE-APP, BAL]"""
    line = {"Amount": 1, "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": {"ItemRef": {"value": "1"}}}
    form = {"CustomerRef": {"value": "5"}, "Line": [line]}
    intuit.write("CreditMemo", form)
    intuit.write("RefundReceipt", form | {"DepositToAccountRef": {"value": "35"}})
    intuit.write("Vendor", {"DisplayName": f"Vendor {uuid.uuid4()}"})
    intuit.settled()
    types = [kind for kind, _ in endpoint.events()]
    assert types == ["qbo.creditmemo.created.v1", "qbo.refundreceipt.created.v1", "qbo.vendor.created.v1"]


def test_01_void_may_be_voided_by_switch(intuit: Intuit, endpoint: Endpoint) -> None:
    """Other people's code expects `voided`: switch `void_word`. [UNSURE, BAL]"""
    intuit.sim("PUT", "/webhooks", {"void_word": "voided"})
    made = intuit.invoice()
    intuit.sim("POST", f"/companies/{FIRST}/records/Invoice/{made['Id']}/void")
    intuit.settled()
    assert endpoint.events()[-1][0] == "qbo.invoice.voided.v1"


def merged(intuit: Intuit) -> tuple[str, str]:
    kept, gone = intuit.customer(), intuit.customer()
    intuit.sim("POST", f"/companies/{FIRST}/merge", {"kept": kept, "gone": gone})
    intuit.settled()
    return kept, gone


def test_01_merge_names_the_vanished_one_in_lower_case(intuit: Intuit, endpoint: Endpoint) -> None:
    """A merge's `data` holds `deletedid`, all lower case. [D-WHDATA]"""
    kept, gone = merged(intuit)
    (event,) = [one for one in all_events(endpoint) if one["type"] == "qbo.customer.merged.v1"]
    assert (event["intuitentityid"], event["data"]) == (kept, {"deletedid": gone})


def test_01_legacy_merge_names_the_vanished_one_in_camel_case(intuit: Intuit, endpoint: Endpoint) -> None:
    """The legacy body has `deletedId`, and only on a merge. [B-CE, NET]"""
    intuit.sim("PUT", "/webhooks", {"format": "legacy"})
    kept, gone = merged(intuit)
    entities = [
        one for body in endpoint.bodies() for note in body["eventNotifications"]
        for one in note["dataChangeEvent"]["entities"]
    ]  # fmt: skip
    assert [(one["id"], one["deletedId"]) for one in entities if "deletedId" in one] == [(kept, gone)]
    assert [one["operation"] for one in entities if "deletedId" in one] == ["Merge"]


# --- 2. signature -------------------------------------------------------------------------------------------------


def test_02_signature_is_over_the_exact_bytes(intuit: Intuit, endpoint: Endpoint) -> None:
    """`intuit-signature` is base64 of HMAC-SHA256 over the raw body with the application's token. [D-WH]"""
    intuit.invoice()
    intuit.settled()
    headers, body = endpoint.received[0]
    assert headers["intuit-signature"] == signature(body)
    assert headers["intuit-signature"] != signature(json.dumps(json.loads(body)).encode())


def test_02_signature_comes_with_the_other_headers(intuit: Intuit, endpoint: Endpoint) -> None:
    """Deliveries carry intuit-created-time (offset without colon), intuit-t-id, a schema version, an agent. [D-WH]"""
    intuit.invoice()
    intuit.settled()
    headers, _ = endpoint.received[0]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d-0[78]00", headers["intuit-created-time"])
    assert uuid.UUID(headers["intuit-t-id"])
    assert headers["intuit-notification-schema-version"] == "0.1"
    assert headers["user-agent"].startswith("intuit_notification_server/")


def test_02_signature_can_be_bad_missing_or_over_reordered_json(intuit: Intuit, endpoint: Endpoint) -> None:
    """On demand a signature is wrong, is missing, or is right over JSON in another order. [7.2]"""
    endpoint.answers = [401, 200, 401]
    intuit.sim("PUT", "/webhooks", {"bad_signature_next": 1})
    intuit.invoice()
    intuit.settled()
    intuit.sim("PUT", "/webhooks", {"no_signature_next": 1})
    intuit.invoice()
    intuit.settled()
    intuit.sim("POST", "/faults", {"kind": "shuffled_json", "count": 1})
    intuit.invoice()
    intuit.settled()
    right = [headers.get("intuit-signature") == signature(body) for headers, body in endpoint.received]
    assert right == [False, True, False, True, True]
    assert "intuit-signature" not in endpoint.received[2][0]


# --- 3. acknowledgement --------------------------------------------------------------------------------------------


def test_03_only_200_counts_and_the_same_bytes_come_again(intuit: Intuit, endpoint: Endpoint) -> None:
    """Anything but 200 is a failure: the identical batch with the same ids is sent again. [D-WHBP, CE-APP]"""
    endpoint.answers = [500, 404, 202, 400, 301]
    intuit.invoice()
    intuit.settled()
    assert len(endpoint.received) == 6 and len({body for _, body in endpoint.received}) == 1
    assert [one["status"] for one in intuit.sim("GET", "/deliveries?limit=1")[0]["tries"]][-1] == 200


def test_03_later_events_wait_behind_a_failure(intuit: Intuit, endpoint: Endpoint) -> None:
    """Head-of-line blocking: later events are withheld until the first is acknowledged. [D-WHBP, B-WHPAGE]"""
    endpoint.answers = [500, 500]
    first = intuit.invoice()
    until(lambda: endpoint.received)
    second = intuit.invoice(realm=SECOND)
    intuit.settled()
    order = [event["intuitentityid"] for body in endpoint.bodies() for event in body]
    assert order == [first["Id"]] * 3 + [second["Id"]]


def test_03_answer_after_three_seconds_is_a_failure(intuit: Intuit, endpoint: Endpoint) -> None:
    """200 must come within three seconds. [D-WHBP]"""
    endpoint.delays = [3.3]
    intuit.invoice()
    intuit.settled()
    assert len(endpoint.received) == 2
    assert intuit.sim("GET", "/deliveries?limit=1")[0]["tries"][0]["status"] is None


def test_03_ladder_is_ten_seconds_to_six_hours_and_has_no_end(intuit: Intuit, endpoint: Endpoint) -> None:
    """Retries come after 10, 20, 30 s, 5, 20 min, 2, 4, 6 h, then every 6 h. [D-WHBP]"""
    intuit.sim("PUT", "/webhooks", {"retry_scale": 1})
    endpoint.answers = [500] * 10
    intuit.invoice()
    for tries, wait in enumerate((10, 20, 30, 300, 1200, 7200, 14400, 21600, 21600, 21600), start=1):
        until(lambda tries=tries: intuit.tries(endpoint) == tries)
        intuit.pass_seconds(wait - 5)
        assert len(endpoint.received) == tries
        intuit.pass_seconds(5)
    intuit.settled()
    assert len(endpoint.received) == 11


# --- 4. batching and companies -------------------------------------------------------------------------------------


def test_04_batches_hold_a_hundred_events_at_most(intuit: Intuit, endpoint: Endpoint) -> None:
    """One delivery carries one to a hundred events. [CE-APP]"""
    burst(intuit, 250)
    assert [len(body) for body in endpoint.bodies()] == [100, 100, 50]


def test_04_batches_mix_companies(intuit: Intuit, endpoint: Endpoint) -> None:
    """One delivery may carry events of several companies. [D-WH]"""
    intuit.sim("PUT", "/webhooks", {"aggregation_ms": 300})
    intuit.invoice()
    intuit.invoice(realm=SECOND)
    intuit.settled()
    assert [[event["intuitaccountid"] for event in body] for body in endpoint.bodies()] == [[FIRST, SECOND]]


def test_04_batches_are_of_one_company_by_switch(intuit: Intuit, endpoint: Endpoint) -> None:
    """Another page of Intuit's says one company at a time: switch `mixed_companies`. [UNSURE, D-WHBP]"""
    intuit.sim("PUT", "/webhooks", {"aggregation_ms": 300, "mixed_companies": False})
    intuit.invoice()
    intuit.invoice(realm=SECOND)
    intuit.settled()
    assert [[event["intuitaccountid"] for event in body] for body in endpoint.bodies()] == [[FIRST], [SECOND]]


def test_04_batches_gather_for_a_while(intuit: Intuit, endpoint: Endpoint) -> None:
    """Events are gathered before they are sent; how long is a setting. [UNSURE, 1.6]"""
    intuit.sim("PUT", "/webhooks", {"aggregation_ms": 400})
    for _ in range(3):
        intuit.invoice()
    intuit.settled()
    gathered = [len(body) for body in endpoint.bodies()]
    intuit.sim("PUT", "/webhooks", {"aggregation_ms": 0})
    for _ in range(3):
        intuit.invoice()
        intuit.settled()
    assert sum(gathered) == 3 and len(gathered) < 3
    assert [len(body) for body in endpoint.bodies()][len(gathered) :] == [1, 1, 1]


@pytest.mark.parametrize(("coalesce", "expected"), [(True, 1), (False, 50)])
def test_04_repeated_updates_are_one_event_or_many(
    intuit: Intuit, endpoint: Endpoint, coalesce: bool, expected: int
) -> None:
    """Repeated updates of one record are coalesced or not: setting `coalesce`. [UNSURE, 7.4]"""
    intuit.sim("PUT", "/webhooks", {"coalesce": coalesce, "aggregation_ms": 500})
    burst(intuit, 50)
    assert len(all_events(endpoint)) == expected


def test_04_batches_of_strangers_are_not_sent_by_switch(intuit: Intuit, endpoint: Endpoint) -> None:
    """Only connected companies are announced, once `only_connected` is set. [D-WH]"""
    intuit.sim("POST", f"/companies/{SECOND}/disconnect")
    intuit.sim("PUT", "/webhooks", {"only_connected": True})
    intuit.invoice(realm=SECOND)
    assert intuit.settled()["queued"] == 0 and endpoint.received == []
    intuit.token(SECOND)
    intuit.invoice(realm=SECOND)
    intuit.settled()
    assert len(endpoint.received) == 1


# --- 5. disorder ---------------------------------------------------------------------------------------------------


def test_05_disorder_duplicates_keep_their_id(intuit: Intuit, endpoint: Endpoint) -> None:
    """An event may come twice with the same id. [7.5]"""
    intuit.sim("PUT", "/webhooks", {"duplicate_rate": 1})
    intuit.invoice()
    intuit.settled()
    ids = [event["id"] for event in all_events(endpoint)]
    assert len(ids) == 2 and len(set(ids)) == 1


def test_05_disorder_resends_have_a_new_id(intuit: Intuit, endpoint: Endpoint) -> None:
    """An event may come again with another id. [7.5]"""
    intuit.sim("PUT", "/webhooks", {"resend_rate": 1})
    made = intuit.invoice()
    until(lambda: len(all_events(endpoint)) == 2)
    assert {event["intuitentityid"] for event in all_events(endpoint)} == {made["Id"]}
    assert len({event["id"] for event in all_events(endpoint)}) == 2


def test_05_disorder_changes_the_order_and_time_stays_true(intuit: Intuit, endpoint: Endpoint) -> None:
    """Events arrive out of order; their `time` is the authority. [D-WHBP]"""
    intuit.sim("PUT", "/webhooks", {"reorder": True})
    intuit.sim("POST", "/webhooks/pause")
    made = []
    for _ in range(12):
        made.append(intuit.invoice()["Id"])
        intuit.pass_seconds(1)
    intuit.sim("POST", "/webhooks/resume")
    intuit.settled()
    came = all_events(endpoint)
    by_time = sorted(came, key=lambda event: datetime.fromisoformat(event["time"]).astimezone(UTC))
    assert [event["intuitentityid"] for event in by_time] == made
    assert [event["intuitentityid"] for event in came] != made


def test_05_disorder_loses_without_a_word(intuit: Intuit, endpoint: Endpoint) -> None:
    """Events can be missed. [D-WHBP]"""
    intuit.sim("PUT", "/webhooks", {"loss_rate": 1})
    intuit.invoice()
    assert intuit.settled()["counts"]["lost"] >= 1 and endpoint.received == []


# --- 6. causality --------------------------------------------------------------------------------------------------


def paid(intuit: Intuit, endpoint: Endpoint) -> tuple[dict[str, Any], list[str], str]:
    """A payment of two invoices, with everything so far delivered and forgotten."""
    customer = intuit.customer()
    invoices = [intuit.invoice(customer)["Id"] for _ in range(2)]
    payment = intuit.pay(customer, 150, ("Invoice", invoices[0], 100), ("Invoice", invoices[1], 50))
    intuit.settled()
    created = endpoint.events()[-3:]
    assert created == [
        ("qbo.payment.created.v1", payment["Id"]),
        *(("qbo.invoice.updated.v1", one) for one in invoices),
    ]
    endpoint.received.clear()
    return payment, invoices, customer


def test_06_causes_payment_updates_the_invoices_it_pays(intuit: Intuit, endpoint: Endpoint) -> None:
    """A new payment sends payment.created and invoice.updated for each linked invoice. [3.9 MEASURED]"""
    payment, invoices, customer = paid(intuit, endpoint)
    assert [intuit.read("Invoice", one)["Balance"] for one in invoices] == [0, 50]
    assert intuit.read("Customer", customer)["Balance"] == 50
    assert payment["UnappliedAmt"] == 0


def test_06_causes_deleted_payment_updates_them_again(intuit: Intuit, endpoint: Endpoint) -> None:
    """Deleting a payment sends payment.deleted and invoice.updated, and opens the invoices. [7.6]"""
    payment, invoices, customer = paid(intuit, endpoint)
    intuit.write("Payment", {"Id": payment["Id"], "SyncToken": payment["SyncToken"]}, operation="delete")
    intuit.settled()
    assert set(endpoint.events()) == {
        ("qbo.payment.deleted.v1", payment["Id"]),
        *(("qbo.invoice.updated.v1", one) for one in invoices),
    }
    assert [intuit.read("Invoice", one)["Balance"] for one in invoices] == [100, 100]
    assert intuit.read("Customer", customer)["Balance"] == 200


def test_06_causes_voided_payment_updates_them_again(intuit: Intuit, endpoint: Endpoint) -> None:
    """Voiding a payment sends payment.void and invoice.updated. [7.6]"""
    payment, invoices, _ = paid(intuit, endpoint)
    body = {"Id": payment["Id"], "SyncToken": payment["SyncToken"], "sparse": True}
    intuit.write("Payment", body, operation="update", include="void")
    intuit.settled()
    assert set(endpoint.events()) == {
        ("qbo.payment.void.v1", payment["Id"]),
        *(("qbo.invoice.updated.v1", one) for one in invoices),
    }


def test_06_causes_reapplication_touches_only_what_changed(intuit: Intuit, endpoint: Endpoint) -> None:
    """Moving a payment to another invoice updates both invoices, not the one that stays as it was. [7.6]"""
    payment, invoices, customer = paid(intuit, endpoint)
    third = intuit.invoice(customer)["Id"]
    intuit.settled()
    endpoint.received.clear()
    body = {"Id": payment["Id"], "SyncToken": payment["SyncToken"], "CustomerRef": {"value": customer}}
    intuit.pay(customer, 150, ("Invoice", invoices[0], 100), ("Invoice", third, 50), **body)
    intuit.settled()
    assert set(endpoint.events()) == {
        ("qbo.payment.updated.v1", payment["Id"]),
        ("qbo.invoice.updated.v1", invoices[1]),
        ("qbo.invoice.updated.v1", third),
    }


@pytest.mark.parametrize("announced", [True, False])
def test_06_causes_balances_of_customers_are_announced_by_switch(
    intuit: Intuit, endpoint: Endpoint, announced: bool
) -> None:
    """Whether a moved balance alone sends customer.updated: switch `announce_balance_changes`. [UNSURE, 8]"""
    customer = intuit.customer()
    with intuit.switched(announce_balance_changes=announced):
        intuit.invoice(customer)
        intuit.settled()
    assert (("qbo.customer.updated.v1", customer) in endpoint.events()) == announced


@pytest.mark.parametrize("announced", [True, False])
def test_06_causes_voided_invoice_announces_its_payment_by_switch(
    intuit: Intuit, endpoint: Endpoint, announced: bool
) -> None:
    """Whether voiding an invoice sends payment.updated: switch `announce_unapplied_payment`. [UNSURE, D-LINK]"""
    payment, invoices, _ = paid(intuit, endpoint)
    with intuit.switched(announce_unapplied_payment=announced):
        intuit.sim("POST", f"/companies/{FIRST}/records/Invoice/{invoices[0]}/void")
        intuit.settled()
    assert (("qbo.payment.updated.v1", payment["Id"]) in endpoint.events()) == announced
    assert intuit.read("Payment", payment["Id"])["UnappliedAmt"] == 100


def test_06_causes_email_is_announced_and_changes_nothing(intuit: Intuit, endpoint: Endpoint) -> None:
    """An e-mailed invoice sends invoice.emailed. [BAL]"""
    made = intuit.invoice()
    intuit.sim("POST", f"/companies/{FIRST}/records/Invoice/{made['Id']}/email")
    intuit.settled()
    assert endpoint.events()[-1][0] == "qbo.invoice.emailed.v1"
    assert intuit.read("Invoice", made["Id"])["SyncToken"] == "0"
