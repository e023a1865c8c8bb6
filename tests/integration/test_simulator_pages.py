"""The simulator's pages in a real browser: a person signs in and authorizes; an invoice is changed and delivered.

Skipped where no Chromium is found; the same steps without a browser are in test_simulator_people.py.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.intuit import Intuit

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = ["no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking"]
QUIET += ["disable-component-update", "disable-sync", "disable-dev-shm-usage"]
PATIENCE_MS = 60_000
FIRST = "9130000000000001"
WIDTHS = (360, 1280)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH: these tests drive a real browser")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM, args=[f"--{each}" for each in QUIET], timeout=PATIENCE_MS
        )
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A page that must stay free of the browser's complaints."""
    context = chromium.new_context()
    context.set_default_timeout(PATIENCE_MS)
    found = context.new_page()
    complaints: list[str] = []
    found.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    found.on("pageerror", lambda error: complaints.append(str(error)))
    yield found
    context.close()
    assert complaints == []


@pytest.fixture
def server() -> Iterator[str]:
    """Somebody who answers 200 to everything: the application's callback, and its webhook endpoint."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(b'<link rel="icon" href="data:,"><title>Application</title>')

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.server_port}"
    listening.shutdown()
    listening.server_close()
    thread.join()


def fits(page: Page) -> bool:
    """Whether nothing must be scrolled sideways, on a phone and on a desk."""
    found = []
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 740})
        found.append(page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"))
    return all(found)


def test_person_signs_in_chooses_a_company_and_authorizes(intuit: Intuit, page: Page, server: str) -> None:
    asked = f"client_id=simulator-client&redirect_uri={server}/callback&state=s%2B1&response_type=code"
    page.goto(f"{intuit.url}/connect/oauth2?{asked}&scope=com.intuit.quickbooks.accounting")
    expect(page.get_by_role("note")).to_contain_text("Never type a real password here")
    expect(page.get_by_label("E-mail address")).to_be_focused()
    page.keyboard.type("dana@builders.example")
    page.keyboard.press("Tab")
    page.keyboard.type("simulator")
    assert fits(page)
    page.keyboard.press("Enter")
    page.get_by_label("Search 3 companies").fill("north")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("link", name="Bayside")).to_have_count(0)
    assert fits(page)
    page.get_by_role("link", name="Northgate Construction").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Connect IntoAEC to Northgate Construction?")
    assert fits(page)
    page.get_by_role("button", name="Authorize").click()
    expect(page).to_have_title("Application")
    brought = parse_qs(urlsplit(page.url).query)
    assert (brought["state"], brought["realmId"], set(brought)) == (
        ["s+1"],
        ["9130000000000002"],
        {"code", "state", "realmId"},
    )


def test_invoice_is_changed_on_the_control_page_and_its_delivery_is_seen(
    intuit: Intuit, page: Page, server: str
) -> None:
    intuit.ask("PUT", "/webhooks", {"url": f"{server}/webhooks", "aggregation_ms": 20})
    invoice = intuit.invoice(FIRST, "1000.00")
    page.goto(f"{intuit.url}/_sim")
    assert fits(page)
    page.get_by_role("link", name="Bayside Builders").click()
    assert fits(page)
    page.get_by_role("link", name=invoice["DocNumber"], exact=True).first.click()
    page.get_by_label("New amount").fill("900.00")
    page.get_by_role("button", name="Change the amount").click()
    expect(page.get_by_role("status")).to_contain_text(
        f"Invoice {invoice['DocNumber']} changed to 900.00; 1 event queued."
    )
    assert fits(page)
    page.get_by_role("link", name="See its delivery").click()
    for _ in range(200):  # it is on its way; the page has no script that would look again by itself
        if page.get_by_text("acknowledged", exact=True).count():
            break
        page.reload()
    expect(page.get_by_role("main")).to_contain_text(f"invoice with id {invoice['Id']} updated")
    assert fits(page)
    intuit.ask("POST", "/webhooks/forget")
    intuit.ask("PUT", "/webhooks", {"url": None})
