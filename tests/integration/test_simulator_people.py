"""What a person sees of the simulator, over HTTP: Intuit's sign-in and consent, and the control page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.intuit import Intuit

FIRST, SECOND = "9130000000000001", "9130000000000002"
ADDRESS = "http://localhost:9/callback?kept=1"
STATE = "a+b/c=%d ü&e"
ASKED = {
    "client_id": "simulator-client",
    "redirect_uri": ADDRESS,
    "state": STATE,
    "response_type": "code",
    "scope": "com.intuit.quickbooks.accounting openid",
}
DANA, RUBEN, MIA = "dana@builders.example", "ruben@bayside.example", "mia@builders.example"


class Browser:
    """Somebody who looks at pages and sends their forms, with cookies and without scripts."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, trust_env=False, timeout=30)
        self.page = ""

    def get(self, path: str, **query: str) -> httpx.Response:
        return self._seen(self.http.get(path, params=query) if query else self.http.get(path))

    def send(self, path: str, **fields: str) -> httpx.Response:
        """Send a form of the present page: its token comes along."""
        found = re.search(r'name="form_token" value="(\w+)"', self.page)
        token = {"form_token": found[1]} if found else {}
        return self._seen(self.http.post(path, data=token | fields))

    def follow(self, answer: httpx.Response) -> httpx.Response:
        assert answer.status_code == 303, answer.text
        return self.get(answer.headers["location"])

    def _seen(self, answer: httpx.Response) -> httpx.Response:
        self.page = answer.text or self.page
        return answer

    def sign_in(self, email: str, password: str = "simulator", **asked: str) -> httpx.Response:
        """Intuit's first step."""
        self.get("/connect/oauth2", **(ASKED | asked))
        return self.send(self.action(), step="sign-in", email=email, password=password)

    def action(self) -> str:
        """Where the page's first form goes."""
        found = re.search(r'<form[^>]*action="([^"]+)"', self.page)
        assert found, self.page
        return unescape(found[1])


@pytest.fixture
def browser(intuit: Intuit) -> Iterator[Browser]:
    found = Browser(intuit.url)
    yield found
    found.http.close()


def returned(answer: httpx.Response) -> dict[str, list[str]]:
    assert answer.status_code == 302, answer.text
    assert answer.headers["location"].startswith("http://localhost:9/callback?kept=1&")
    return parse_qs(urlsplit(answer.headers["location"]).query, strict_parsing=True)


# ---- sign-in and consent ---------------------------------------------------------------------------------------------


def test_signing_in_choosing_and_authorizing_brings_code_state_and_company(intuit: Intuit, browser: Browser) -> None:
    picker = browser.follow(browser.sign_in(DANA))
    assert all(name in picker.text for name in ("Bayside Builders", "Northgate Construction", "Harrow &amp; Pike"))
    consent = browser.get("/connect/oauth2", **ASKED, realm=SECOND)
    for words in (
        "Connect IntoAEC to Northgate Construction?",
        "Read and change your accounting",
        "Know that it is you",
    ):
        assert words in consent.text
    found = returned(browser.send(browser.action(), step="authorize", realm=SECOND))
    assert (found["state"], found["realmId"]) == ([STATE], [SECOND])
    form = {"grant_type": "authorization_code", "code": found["code"][0], "redirect_uri": ADDRESS}
    pair = ("simulator-client", "simulator-secret")
    tokens = [httpx.post(f"{intuit.url}/oauth2/v1/tokens/bearer", data=form, auth=pair) for _ in range(2)]
    assert [one.status_code for one in tokens] == [200, 400]


def test_a_connected_company_is_marked_in_the_picker_and_on_the_consent_page(intuit: Intuit, browser: Browser) -> None:
    intuit.ask("POST", "/tokens", {"realm": SECOND})
    intuit.ask("POST", f"/companies/{FIRST}/disconnect")
    page = browser.follow(browser.sign_in(DANA)).text
    rows = {row.split("</small>")[0][-16:]: row for row in page.split("<li>") if "realm=" in row}
    assert "Already connected" in rows[SECOND] and "Already connected" not in rows[FIRST]
    assert "Already connected" in browser.get("/connect/oauth2", **ASKED, realm=SECOND).text


def test_cancelling_at_any_step_tells_the_application_access_denied(browser: Browser) -> None:
    browser.get("/connect/oauth2", **ASKED)
    denied = {"kept": ["1"], "error": ["access_denied"], "state": [STATE]}
    assert returned(browser.send(browser.action(), step="cancel")) == denied
    browser.follow(browser.sign_in(DANA))
    assert returned(browser.send(browser.action(), step="cancel")) == denied
    browser.get("/connect/oauth2", **ASKED, realm=FIRST)
    assert returned(browser.send(browser.action(), step="cancel")) == denied


def test_wrong_password_is_said_plainly_and_signs_nobody_in(browser: Browser) -> None:
    answer = browser.sign_in(DANA, "wrong")
    assert (answer.status_code, 'role="alert"' in answer.text, f'value="{DANA}"' in answer.text) == (401, True, True)
    assert "Choose a company" not in browser.get("/connect/oauth2", **ASKED).text


def test_only_companies_that_the_user_administers_are_offered_or_accepted(browser: Browser) -> None:
    page = browser.follow(browser.sign_in(RUBEN)).text
    assert "Bayside Builders" in page and "Northgate" not in page
    assert "Northgate" not in browser.get("/connect/oauth2", **ASKED, realm=SECOND).text
    assert browser.send(browser.action(), step="authorize", realm=SECOND).status_code == 400
    browser.get("/connect/oauth2", **ASKED)
    browser.send(browser.action(), step="sign-out")
    assert "administers no QuickBooks company" in browser.follow(browser.sign_in(MIA)).text


def test_companies_can_be_searched_by_name_and_number(browser: Browser) -> None:
    browser.follow(browser.sign_in(DANA))
    assert "Bayside" not in (page := browser.get("/connect/oauth2", **ASKED, find="NORTH").text) and SECOND in page
    assert "Bayside" in (page := browser.get("/connect/oauth2", **ASKED, find=FIRST).text) and "Northgate" not in page
    assert "No company of yours matches" in browser.get("/connect/oauth2", **ASKED, find="<b>").text


@pytest.mark.parametrize(
    "changed",
    [
        {"client_id": "invented"},
        {"redirect_uri": "https://not-registered.example/callback"},
        {"redirect_uri": "javascript:alert(1)"},
        {"redirect_uri": ""},
        {"response_type": "token"},
        {"scope": "com.intuit.quickbooks.everything"},
    ],
)
def test_error_page_is_the_same_for_every_cause(intuit: Intuit, browser: Browser, changed: dict[str, str]) -> None:
    intuit.ask("PUT", "/oauth", {"redirect_uris": [ADDRESS]})
    reference = browser.get("/connect/oauth2", client_id="x")
    answer = browser.get("/connect/oauth2", **(ASKED | changed))
    assert (answer.status_code, answer.text) == (400, reference.text)
    assert "Something went wrong" in answer.text
    assert browser.get("/connect/oauth2", **ASKED).status_code == 200


def test_a_form_without_our_token_or_from_another_site_does_nothing(intuit: Intuit, browser: Browser) -> None:
    browser.follow(browser.sign_in(DANA))
    path, page = browser.action(), browser.page
    browser.page = ""
    assert browser.send(path, step="authorize", realm=FIRST).status_code == 403
    browser.page = page
    browser.http.headers["sec-fetch-site"] = "cross-site"
    assert browser.send(path, step="authorize", realm=FIRST).status_code == 403
    stranger = Browser(intuit.url)
    stranger.get("/connect/oauth2", **ASKED)
    stranger.page = page
    assert stranger.send(path, step="sign-in", email=DANA, password="simulator").status_code == 403
    stranger.http.close()


def test_pages_run_no_script_and_load_nothing_from_elsewhere(intuit: Intuit, browser: Browser) -> None:
    pages = [browser.get("/connect/oauth2", **ASKED), browser.get("/_sim"), browser.get("/_sim/page/deliveries")]
    for answer in pages:
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'self'; ") and "unsafe" not in policy
        assert "<script" not in answer.text and "<style" not in answer.text and " style=" not in answer.text
        assert not re.search(r"\son\w+=", answer.text)
        assert answer.headers["x-content-type-options"] == "nosniff"
        sheet = re.search(r'rel="stylesheet" href="([^"]+)"', answer.text)
        assert sheet and browser.http.get(sheet[1]).headers["content-type"].startswith("text/css")
    assert pages[0].headers["content-security-policy"].endswith("form-action 'self' http://localhost:9")


def test_automatic_consent_still_answers_at_once(intuit: Intuit, browser: Browser) -> None:
    found = returned(browser.get("/connect/oauth2", **ASKED, auto="1", realmId=SECOND))
    assert (found["state"], found["realmId"]) == ([STATE], [SECOND])
    denied = returned(browser.get("/connect/oauth2", **ASKED, auto="1", decision="cancel"))
    assert (denied["error"], denied["state"]) == (["access_denied"], [STATE])
    assert "state" not in returned(
        browser.get("/connect/oauth2", client_id="simulator-client", redirect_uri=ADDRESS, auto="1")
    )


# ---- the control page ------------------------------------------------------------------------------------------------


def change(browser: Browser, page: str, what: str, /, **fields: str) -> str:
    """Send a form of a company's page; answers what the page then says."""
    browser.get(page)
    company = page.split("?")[0].split("/")[4]
    answer = browser.send(f"/_sim/page/companies/{company}/changes", change=what, back=page, **fields)
    shown = browser.follow(answer).text
    found = re.search(r'id="said" role="\w+"><p>(.*?)</p>', shown, re.DOTALL)
    assert found, shown
    return unescape(found[1])


HERE = f"/_sim/page/companies/{FIRST}"


def test_overview_shows_every_company_and_what_is_in_force(intuit: Intuit, browser: Browser) -> None:
    intuit.fault(route="GET invoice", status=503, realm=FIRST, count=3)
    page = browser.get("/_sim").text
    assert all(
        words in page for words in ("Bayside Builders", "Northgate Construction", "503", "GET invoice", "3 left")
    )
    answer = browser.send("/_sim/page/steer", steer="clear-faults", back="/_sim")
    assert "No fault is in force any more." in browser.follow(answer).text
    assert intuit.ask("GET", "/faults")["rules"] == []


def test_invoice_goes_through_its_life_by_buttons_and_the_page_says_so(intuit: Intuit, browser: Browser) -> None:
    customer = intuit.write(FIRST, "customer", DisplayName="Quay & Sons <b>")
    said = change(browser, HERE, "new-invoice", customer=customer["Id"], amount="1,200.00", reference="PRJ-0001")
    invoice = intuit.newest(FIRST, "invoice", 1)[0]
    one = {"kind": "Invoice", "id": invoice["Id"]}
    record = f"{HERE}/Invoice/{invoice['Id']}"
    none = "for nobody, since no webhook address is set."
    number = invoice["DocNumber"]
    assert said == f"Invoice {number} made for Quay & Sons <b> over 1,200.00; 1 event {none}"
    assert invoice["CustomField"][0]["StringValue"] == "PRJ-0001"
    assert change(browser, record, "edit-amount", **one, amount="900.00") == (
        f"Invoice {number} changed to 900.00; 1 event {none}"
    )
    said = change(browser, record, "record-payment", **one, amount="1000.00")
    assert f"recorded over 1,000.00, for invoice {number}; 100.00 of it unapplied; 2 events" in said
    assert "no Reference Number any more" in change(browser, record, "set-reference", **one, reference="")
    other = intuit.write(FIRST, "customer", DisplayName="Quay Two")
    assert "now belongs to Quay Two" in change(browser, record, "reassign", **one, customer="quay two")
    assert "voided" in change(browser, record, "void", **one)
    assert "deleted" in change(browser, record, "delete", **one)
    assert "QuickBooks answers 610" in browser.get(record).text
    assert other["Id"] in browser.get(f"{HERE}?type=Customer").text


def test_credit_refund_rename_and_merge_by_buttons(intuit: Intuit, browser: Browser) -> None:
    kept, gone = (intuit.write(FIRST, "customer", DisplayName=f"Dock {n}")["Id"] for n in (1, 2))
    change(browser, HERE, "new-invoice", customer=kept, amount="100.00")
    invoice = intuit.newest(FIRST, "invoice", 1)[0]["Id"]
    assert "Credit memo" in change(browser, HERE, "new-credit-memo", customer=kept, amount="30.00")
    memo = intuit.newest(FIRST, "creditmemo", 1)[0]["Id"]
    said = change(browser, f"{HERE}/CreditMemo/{memo}", "use-credit", kind="CreditMemo", id=memo, invoice=invoice)
    assert "of nothing uses 30.00 of credit memo" in said
    assert "Refund" in change(browser, HERE, "new-refund", customer="DOCK 2", amount="5.00")
    page = f"{HERE}/Customer/{gone}"
    assert "was called Dock 2 before" in change(browser, page, "rename", id=gone, name="Dock 3")
    assert "now holds everything of Dock 3" in change(browser, page, "merge", id=gone, customer=kept)
    truth = intuit.ask("GET", f"/companies/{FIRST}/truth")
    assert (truth["customers"][kept]["balance"], truth["customers"][gone]["active"]) == ("70.00", False)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"amount": "12.345"}, "two digits at most"),
        ({"amount": "-5"}, "more than nothing"),
        ({"amount": "much"}, "“much” is not an amount"),
        ({"amount": "1", "customer": "Nobody"}, "There is no customer “Nobody”"),
        ({"amount": "1", "reference": "x" * 32}, "QuickBooks refused: Max allowed length is 31"),
    ],
)
def test_what_cannot_be_done_is_refused_and_changes_nothing(
    intuit: Intuit, browser: Browser, fields: dict[str, str], said: str
) -> None:
    before = intuit.newest(FIRST, "invoice", 1)
    customer = intuit.newest(FIRST, "customer", 1)[0]["Id"]
    assert said in change(browser, HERE, "new-invoice", **({"customer": customer} | fields))
    assert intuit.newest(FIRST, "invoice", 1) == before


def test_records_are_found_by_number_and_shown_as_json(intuit: Intuit, browser: Browser) -> None:
    invoice = intuit.invoice(FIRST, "77.00")
    found = browser.get(HERE, type="Invoice", find=invoice["DocNumber"])
    assert found.headers["location"] == f"{HERE}/Invoice/{invoice['Id']}"
    assert "77.00 USD" in browser.get(found.headers["location"]).text
    assert intuit.ask("GET", f"/companies/{FIRST}/records/Invoice/{invoice['Id']}")["Id"] == invoice["Id"]
    assert "No invoices with the number" in browser.get(HERE, type="Invoice", find="0").text


def test_clock_and_random_changes_are_moved_by_buttons(intuit: Intuit, browser: Browser) -> None:
    before = intuit.now()
    browser.get("/_sim")
    browser.send("/_sim/page/steer", steer="clock", jump="hour", back="/_sim")
    assert 3600 <= (intuit.now() - before).total_seconds() < 7200
    answer = browser.send("/_sim/page/steer", steer="random", realm=FIRST, name="refund_given", back=HERE)
    assert re.search(r"1 event: RefundReceipt \d+ create", browser.follow(answer).text)


def test_profile_of_trouble_is_set_by_its_button(intuit: Intuit, browser: Browser) -> None:
    page = browser.get("/_sim").text
    assert all(f">{name}</button>" in page for name in ("Calm", "Ordinary day", "Storm"))
    for name in ("storm", "calm"):
        answer = browser.send("/_sim/page/steer", steer="profile", name=name, back="/_sim")
        assert f"The profile is “{name}” now." in browser.follow(answer).text
        assert intuit.ask("GET", "/profile")["name"] == name
    answer = browser.send("/_sim/page/steer", steer="profile", name="hail", back="/_sim")
    assert "That was refused" in browser.follow(answer).text


def test_control_forms_need_their_token(intuit: Intuit, browser: Browser) -> None:
    for path in ("/_sim/page/steer", f"{HERE}/changes", "/_sim/page/catalogue"):
        answer = browser.http.post(path, data={"steer": "clock", "jump": "day", "change": "new-invoice"})
        assert "nothing was done" in browser.follow(answer).text
