"""Clients that none of us wrote use the simulator unchanged: Intuit's own `intuit-oauth`, and `python-quickbooks`.

Nothing of them is changed but addresses: intuit-oauth is given the simulator's discovery document, as it allows, and
python-quickbooks its base address, which is a constant of its class. It says "sandbox", so that is the constant set.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from intuitlib.client import AuthClient
from intuitlib.enums import Scopes
from intuitlib.exceptions import AuthClientError
from quickbooks import QuickBooks
from quickbooks.batch import batch_create, batch_delete, batch_update
from quickbooks.cdc import change_data_capture
from quickbooks.exceptions import (
    AuthorizationException,
    ObjectNotFoundException,
    QuickbooksException,
    SevereException,
    UnsupportedException,
    ValidationException,
)
from quickbooks.objects import (
    CompanyInfo,
    CreditMemo,
    Customer,
    Estimate,
    Invoice,
    Item,
    Payment,
    PaymentLine,
    Preferences,
    RefundReceipt,
    SalesItemLine,
    SalesItemLineDetail,
    Vendor,
)
from quickbooks.objects.base import LinkedTxn, Ref

from tests.simulated import FIRST, SECOND, TOKEN, Intuit, listening, running, until

REDIRECT = "http://localhost/callback"
CROWD = 1130
# What these clients do themselves: old calls of the standard library, and no word about a base address without TLS.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def simulator() -> Iterator[Intuit]:
    with running("--companies", "2", "--no-limits", "--verifier-token", TOKEN) as intuit:
        yield intuit


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, simulator: Intuit) -> Intuit:
    """The addresses, and leave to speak without TLS to this machine."""
    monkeypatch.setattr(QuickBooks, "sandbox_api_url_v3", f"{simulator.url}/v3")
    monkeypatch.setattr(QuickBooks, "api_url_v3", f"{simulator.url}/v3")
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return simulator


def auth_client(intuit: Intuit) -> AuthClient:
    discovery = f"{intuit.url}/.well-known/openid_sandbox_configuration"
    return AuthClient("simulator-client", "simulator-secret", REDIRECT, discovery)


def sign_in(intuit: Intuit, realm: str = FIRST, *scopes: Scopes) -> AuthClient:
    """From the authorize address, through the consent, to a pair of tokens."""
    client = auth_client(intuit)
    address = client.get_authorization_url([Scopes.ACCOUNTING, *scopes])
    answer = httpx.get(f"{address}&auto=1&realmId={realm}", trust_env=False)
    found = {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}
    assert found["state"] == client.state_token
    client.get_bearer_token(found["code"], realm_id=found["realmId"])
    return client


@pytest.fixture
def auth(settings: Intuit) -> Iterator[AuthClient]:
    client = sign_in(settings)
    yield client
    client.close()


@pytest.fixture
def qb(auth: AuthClient) -> Iterator[QuickBooks]:
    client = QuickBooks(auth_client=auth, refresh_token=auth.refresh_token, company_id=FIRST, minorversion=75)
    client.use_decimal = True
    yield client
    client.session.close()


def reference(value: str) -> Ref:
    found = Ref()
    found.value = value
    return found


def new_customer(qb: QuickBooks, **more: Any) -> Customer:
    customer = Customer()
    customer.DisplayName = f"Client {uuid.uuid4()}"
    for name, value in more.items():
        setattr(customer, name, value)
    return customer.save(qb=qb)


def sales_line(amount: Any) -> SalesItemLine:
    line, detail = SalesItemLine(), SalesItemLineDetail()
    line.Amount, detail.ItemRef, detail.Qty, detail.UnitPrice = amount, reference("1"), 1, amount
    line.SalesItemLineDetail = detail
    return line


def new_form(kind: type, qb: QuickBooks, customer: str, amount: Any = 100, **more: Any) -> Any:
    form = kind()
    form.CustomerRef, form.Line = reference(customer), [sales_line(amount)]
    for name, value in more.items():
        setattr(form, name, value)
    return form.save(qb=qb)


def new_payment(qb: QuickBooks, customer: str, total: Any, *lines: tuple[str, str, Any]) -> Payment:
    payment = Payment()
    payment.CustomerRef, payment.TotalAmt = reference(customer), total
    for kind, record_id, amount in lines:
        line, link = PaymentLine(), LinkedTxn()
        line.Amount, link.TxnId, link.TxnType = amount, record_id, kind
        line.LinkedTxn.append(link)
        payment.Line.append(line)
    return payment.save(qb=qb)


# --- signing in ----------------------------------------------------------------------------------------------------


def test_client_of_intuit_signs_in_refreshes_and_revokes(settings: Intuit) -> None:
    client = sign_in(settings)
    assert (client.realm_id, client.expires_in) == (FIRST, 3600)
    first = client.access_token
    client.refresh()
    assert client.access_token != first and client.refresh_token
    assert client.revoke(token=client.refresh_token) is True
    with pytest.raises(AuthClientError) as refused:
        client.refresh()
    assert refused.value.status_code == 400
    client.close()


def test_client_of_intuit_verifies_the_id_token_and_reads_who_signed_in(settings: Intuit) -> None:
    client = sign_in(settings, FIRST, Scopes.OPENID, Scopes.EMAIL)
    assert client.id_token
    told = client.get_user_info().json()
    assert told["sub"] and "@" in told["email"]
    client.close()


def test_client_of_intuit_is_told_of_a_wrong_code(settings: Intuit) -> None:
    client = auth_client(settings)
    with pytest.raises(AuthClientError) as refused:
        client.get_bearer_token("no such code", realm_id=FIRST)
    assert refused.value.status_code == 400
    client.close()


# --- reading -------------------------------------------------------------------------------------------------------


def test_client_creates_reads_and_changes_records(qb: QuickBooks) -> None:
    customer = new_customer(qb, CompanyName="Pier & Sons")
    read = Customer.get(customer.Id, qb=qb)
    assert (read.CompanyName, read.SyncToken, read.Balance) == ("Pier & Sons", "0", 0)
    read.Notes = "pays late"
    assert read.save(qb=qb).SyncToken == "1"
    assert Customer.get(customer.Id, qb=qb).Notes == "pays late"


def test_client_reads_exact_amounts(qb: QuickBooks) -> None:
    invoice = new_form(Invoice, qb, new_customer(qb).Id, Decimal("1234.56"))
    read = Invoice.get(invoice.Id, qb=qb)
    assert (read.TotalAmt, read.Balance) == (Decimal("1234.56"), Decimal("1234.56"))
    assert read.Line[0].SalesItemLineDetail.ItemRef.name == "Services"


def test_client_changes_sparsely(qb: QuickBooks) -> None:
    invoice = new_form(Invoice, qb, new_customer(qb).Id, PrivateNote="kept")
    changed = Invoice()
    changed.Id, changed.SyncToken, changed.sparse, changed.Line = invoice.Id, "0", True, None
    changed.PrivateNote, changed.DueDate = None, "2027-01-31"
    after = changed.save(qb=qb)
    assert (after.PrivateNote, after.DueDate, after.TotalAmt) == ("kept", "2027-01-31", 100)


def test_client_pages_beyond_a_hundred_and_beyond_a_thousand(qb: QuickBooks) -> None:
    made = [Customer() for _ in range(CROWD)]
    for number, customer in enumerate(made):
        customer.DisplayName = f"Paged {number:05d} {uuid.uuid4()}"
    answer = batch_create(made, qb=qb)
    assert (len(answer.successes), answer.faults) == (CROWD, [])
    where = "DisplayName LIKE 'Paged %'"
    assert Customer.count(where, qb=qb) == CROWD
    assert len(Customer.where(where, qb=qb)) == 100
    assert len(Customer.where(where, max_results=5000, qb=qb)) == 1000
    pages = [
        Customer.where(where, order_by="DisplayName", start_position=start, max_results=1000, qb=qb)
        for start in (1, 1001)
    ]
    names = [customer.DisplayName for page in pages for customer in page]
    assert names == sorted(customer.DisplayName for customer in made)


def test_client_filters_chooses_and_counts(qb: QuickBooks) -> None:
    customer = new_customer(qb, DisplayName=f"O'Hara {uuid.uuid4()}")
    assert [one.Id for one in Customer.filter(DisplayName=customer.DisplayName, qb=qb)] == [customer.Id]
    invoices = [new_form(Invoice, qb, customer.Id).Id for _ in range(3)]
    assert {one.Id for one in Invoice.choose(invoices, qb=qb)} == set(invoices)
    assert Invoice.count(f"CustomerRef = '{customer.Id}'", qb=qb) == 3
    assert Customer.filter(Active=True, max_results=5, qb=qb)


def test_client_reads_company_preferences_and_lists(qb: QuickBooks) -> None:
    assert CompanyInfo.get(FIRST, qb=qb).CompanyName == "Bayside Builders"
    assert Preferences.get(qb=qb).CurrencyPrefs.HomeCurrency.value == "USD"
    assert "Services" in [item.Name for item in Item.all(qb=qb)]
    vendor = Vendor()
    vendor.DisplayName = f"Vendor {uuid.uuid4()}"
    assert Vendor.get(vendor.save(qb=qb).Id, qb=qb).Active is True


# --- working -------------------------------------------------------------------------------------------------------


def test_client_pays_applies_voids_and_deletes(qb: QuickBooks) -> None:
    customer = new_customer(qb).Id
    invoice, memo = new_form(Invoice, qb, customer), new_form(CreditMemo, qb, customer, 30)
    link = new_payment(qb, customer, 0, ("Invoice", invoice.Id, 30), ("CreditMemo", memo.Id, 30))
    payment = new_payment(qb, customer, 80, ("Invoice", invoice.Id, 70))
    assert (link.TotalAmt, payment.UnappliedAmt) == (0, 10)
    assert Invoice.get(invoice.Id, qb=qb).Balance == 0
    payment.void(qb=qb)
    assert Payment.get(payment.Id, qb=qb).TotalAmt == 0
    assert Invoice.get(invoice.Id, qb=qb).Balance == 70
    Payment.get(link.Id, qb=qb).delete(qb=qb)
    assert Invoice.get(invoice.Id, qb=qb).Balance == 100
    Invoice.get(invoice.Id, qb=qb).void(qb=qb)
    voided = Invoice.get(invoice.Id, qb=qb)
    assert (voided.TotalAmt, voided.Balance, voided.PrivateNote) == (0, 0, "Voided")


def test_client_makes_the_other_forms(qb: QuickBooks) -> None:
    customer = new_customer(qb).Id
    refund = new_form(RefundReceipt, qb, customer, 20, DepositToAccountRef=reference("35"))
    assert RefundReceipt.get(refund.Id, qb=qb).TotalAmt == 20
    assert Estimate.get(new_form(Estimate, qb, customer, 50).Id, qb=qb).TotalAmt == 50


def test_client_reads_change_data_capture_with_deletes(qb: QuickBooks, settings: Intuit) -> None:
    customer = new_customer(qb).Id
    kept, gone = (new_form(Invoice, qb, customer) for _ in range(2))
    settings.pass_seconds(2)
    since = settings.sim("GET", "/clock")["now"][:19] + "Z"
    gone.delete(qb=qb)
    kept.PrivateNote = "changed"
    kept.save(qb=qb)
    changed = change_data_capture([Invoice, Payment], since, qb=qb)
    assert {one.Id: getattr(one, "status", None) for one in changed.Invoice} == {kept.Id: None, gone.Id: "Deleted"}
    assert not hasattr(changed, "Payment")


def test_client_batches_with_a_fault_among_successes(qb: QuickBooks) -> None:
    customer = new_customer(qb).Id
    one, two = (new_form(Invoice, qb, customer) for _ in range(2))
    one.PrivateNote, two.SyncToken = "in a batch", "7"
    answer = batch_update([one, two], qb=qb)
    assert [each.PrivateNote for each in answer.successes] == ["in a batch"]
    assert [fault.Error[0].code for fault in answer.faults] == ["5010"]
    two.SyncToken = "0"
    assert batch_delete([two], qb=qb).faults == []
    with pytest.raises(ObjectNotFoundException):
        Invoice.get(two.Id, qb=qb)


def test_client_checks_the_signature_of_a_webhook(qb: QuickBooks, settings: Intuit) -> None:
    with listening(settings) as endpoint:
        new_form(Invoice, qb, new_customer(qb).Id)
        until(lambda: endpoint.received)
        headers, body = endpoint.received[0]
    assert qb.validate_webhook_signature(body.decode(), headers["intuit-signature"], TOKEN)
    assert not qb.validate_webhook_signature(body.decode() + " ", headers["intuit-signature"], TOKEN)


# --- refusals ------------------------------------------------------------------------------------------------------


def test_client_maps_refusals_to_its_exceptions(qb: QuickBooks) -> None:
    customer = new_customer(qb)
    invoice = new_form(Invoice, qb, customer.Id)
    with pytest.raises(ObjectNotFoundException) as missing:
        Invoice.get("99999999", qb=qb)
    assert missing.value.error_code == 610
    with pytest.raises(QuickbooksException) as refused:
        new_payment(qb, customer.Id, 500, ("Invoice", invoice.Id, 101))
    assert refused.value.error_code == 6000
    invoice.SyncToken = "7"
    with pytest.raises(QuickbooksException) as stale:
        invoice.save(qb=qb)
    assert stale.value.error_code == 5010
    with pytest.raises(ValidationException) as bad_query:
        Invoice.where("Id > '5'", qb=qb)
    assert bad_query.value.error_code == 4001
    with pytest.raises(QuickbooksException) as twice:
        new_customer(qb, DisplayName=customer.DisplayName)
    assert twice.value.error_code == 6240
    with pytest.raises(UnsupportedException):
        qb.get(f"{qb.api_url}/company/{FIRST}/spaceship/1")


def test_client_is_told_that_its_token_is_dead_and_goes_on_with_a_new_one(
    qb: QuickBooks, auth: AuthClient, settings: Intuit
) -> None:
    settings.sim("POST", f"/companies/{FIRST}/expire-access")
    with pytest.raises(AuthorizationException) as dead:
        Customer.count(qb=qb)
    assert dead.value.error_code == 401
    auth.refresh()
    again = QuickBooks(auth_client=auth, refresh_token=auth.refresh_token, company_id=FIRST, minorversion=75)
    assert Customer.count(qb=again) > 0
    again.session.close()


def test_client_cannot_read_another_company(qb: QuickBooks) -> None:
    qb.company_id = SECOND
    with pytest.raises(AuthorizationException):
        Customer.count(qb=qb)


def test_client_is_told_of_trouble(qb: QuickBooks, settings: Intuit) -> None:
    settings.sim("PUT", "/faults", [{"route": "POST query", "status": 500, "count": 1}])
    with pytest.raises(SevereException):
        Customer.count(qb=qb)
    settings.sim("PUT", "/faults", [{"route": "POST query", "status": 503, "body": "html", "count": 1}])
    with pytest.raises(QuickbooksException):
        Customer.count(qb=qb)
    assert Customer.count(qb=qb) > 0
