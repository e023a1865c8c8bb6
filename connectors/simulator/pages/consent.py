"""Intuit's sign-in and consent as a person sees them: sign in, choose a company, authorise or cancel.

Reads: browsers. Writes: authorization codes.
Guarantees: the redirect carries code, the state as it came, and realmId; only companies that the user administers are
offered and accepted; nothing is redirected to an address that was not checked; every wrong request sees one page.
Source: intuit.md 2 (the error page is the same for every cause), 7.12.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from connectors.simulator.api.authority import ACCOUNTING
from connectors.simulator.api.company import Company
from connectors.simulator.pages.people import QUICKBOOKS_USERS, QuickBooksUser, quickbooks_user
from connectors.simulator.pages.rendering import Session, Sessions, form_of, is_redirectable, page, redirect
from connectors.simulator.simulator import Simulator

APP_NAME = "IntoAEC"
PATH = "/connect/oauth2"
COMPANIES_SHOWN = 25
SCOPES = {
    ACCOUNTING: "Read and change your accounting: customers, invoices, payments, credit memos, refunds and reports",
    "com.intuit.quickbooks.payment": "Charge cards and bank accounts through QuickBooks Payments",
    "openid": "Know that it is you who signed in",
    "profile": "See your name",
    "email": "See your e-mail address",
    "phone": "See your phone number",
    "address": "See your address",
    "app-foundations.custom-field-definitions.read": "See the definitions of your custom fields",
    "app-foundations.custom-field-definitions": "See and change the definitions of your custom fields",
    "project-management.project": "See and change your QuickBooks projects",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What an application asked for, checked."""

    redirect_uri: str
    scope: str
    state: str | None
    nonce: str
    query: str  # the request as it came, to be carried from step to step


class Consent:
    """The pages behind /connect/oauth2."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.sessions = Sessions("simulator_intuit", "/connect")

    def routes(self) -> list[Route]:
        """Where a browser goes."""
        return [Route(PATH, self.show, methods=["GET"]), Route(PATH, self.decide, methods=["POST"])]

    async def show(self, request: Request) -> Response:
        """The step at which this browser is; where consent is automatic, the answer at once."""
        asked = self._asked(request)
        if asked is None:
            return _wrong()
        if request.query_params.get("auto") == "1" or self.simulator.authority.settings.auto_consent:
            if request.query_params.get("decision") == "cancel":
                return _denied(asked)
            return self._consented(asked, request.query_params.get("realmId") or next(iter(self.simulator.companies)))
        session = self.sessions.of(request)
        return self.sessions.remember(self._step(request, asked, session), session)

    def _step(self, request: Request, asked: Asked, session: Session) -> Response:
        user = quickbooks_user(session.email)
        if user is None:
            return self._sign_in_page(asked, session)
        chosen = self._administered(user).get(request.query_params.get("realm", ""))
        if chosen is not None:
            return self._consent_page(asked, session, user, chosen)
        return self._picker(asked, session, user, request.query_params.get("find", "").strip())

    async def decide(self, request: Request) -> Response:
        """A form was sent: somebody signs in or out, authorises or cancels."""
        asked, session = self._asked(request), self.sessions.of(request)
        if asked is None:
            return _wrong()
        form = await form_of(request, session.id)
        if form is None:
            expired = "This page was too old to be used. Please start again from here."
            answer = self._sign_in_page(asked, session, 403, trouble=expired)
            return self.sessions.remember(answer, session)
        match form.get("step"):
            case "sign-in":
                return self._sign_in(asked, session, form)
            case "sign-out":
                self.sessions.end(session)
                return RedirectResponse(f"{PATH}?{asked.query}", 303)
            case "authorize":
                return self._authorize(asked, session, form)
            case _:
                return _denied(asked)

    def _sign_in(self, asked: Asked, session: Session, form: dict[str, str]) -> Response:
        user = quickbooks_user(form.get("email"), form.get("password", ""))
        if user is None:
            wrong = "The e-mail address or the password is not right. The simulator's users are listed below."
            answer = self._sign_in_page(asked, session, 401, trouble=wrong, email=form.get("email", ""))
            return self.sessions.remember(answer, session)
        fresh = self.sessions.sign_in(session, user.email)
        return self.sessions.remember(RedirectResponse(f"{PATH}?{asked.query}", 303), fresh)

    def _authorize(self, asked: Asked, session: Session, form: dict[str, str]) -> Response:
        user = quickbooks_user(session.email)
        if user is None or form.get("realm") not in self._administered(user):
            return _wrong()
        return self._consented(asked, form["realm"])

    def _consented(self, asked: Asked, realm: str) -> Response:
        if realm not in self.simulator.companies:
            return _wrong()
        code = self.simulator.authority.issue_code(realm, asked.redirect_uri, asked.scope, asked.nonce)
        return redirect(asked.redirect_uri, {"code": code, "state": asked.state, "realmId": realm})

    # ---- what was asked ------------------------------------------------------------------------------------------

    def _asked(self, request: Request) -> Asked | None:
        """None where the request is wrong in any way: the user learns no more, as at Intuit."""
        given, settings = request.query_params, self.simulator.authority.settings
        address = given.get("redirect_uri", "")
        is_registered = not settings.redirect_uris or address in settings.redirect_uris
        scope = given.get("scope") or ACCOUNTING
        is_right = (
            given.get("client_id") == settings.client_id
            and is_registered
            and is_redirectable(address)
            and given.get("response_type", "code") == "code"
            and all(word in SCOPES for word in scope.split())
        )
        if not is_right:
            return None
        carried = [(name, value) for name, value in given.multi_items() if name not in ("realm", "find")]
        return Asked(address, scope, given.get("state"), given.get("nonce", ""), urlencode(carried))

    def _administered(self, user: QuickBooksUser) -> dict[str, Company]:
        companies = self.simulator.companies
        if user.administers == "all":
            return companies
        return dict(list(companies.items())[:1]) if user.administers == "first" else {}

    # ---- pages ---------------------------------------------------------------------------------------------------

    def _sign_in_page(
        self, asked: Asked, session: Session, status: int = 200, *, trouble: str = "", email: str = ""
    ) -> Response:
        return self._page(
            "intuit-sign-in.html", asked, session, status, trouble=trouble, email=email, users=QUICKBOOKS_USERS
        )

    def _picker(self, asked: Asked, session: Session, user: QuickBooksUser, find: str) -> Response:
        administered = self._administered(user)
        found = [
            company
            for company in administered.values()
            if find.lower() in company.name.lower() or find in company.realm
        ]
        shown = [(company, self.simulator.authority.is_connected(company.realm)) for company in found[:COMPANIES_SHOWN]]
        counts = {"count": len(administered), "hidden": len(found) - len(shown)}
        carried = parse_qsl(asked.query, keep_blank_values=True)
        return self._page(
            "intuit-companies.html", asked, session, user=user, shown=shown, find=find, carried=carried, **counts
        )

    def _consent_page(self, asked: Asked, session: Session, user: QuickBooksUser, company: Company) -> Response:
        connected = self.simulator.authority.is_connected(company.realm)
        allowed = [SCOPES[word] for word in asked.scope.split()]
        return self._page(
            "intuit-consent.html", asked, session, user=user, company=company, connected=connected, allowed=allowed
        )

    def _page(self, template: str, asked: Asked, session: Session, status: int = 200, **values: Any) -> Response:
        here = {"path": f"{PATH}?{asked.query}", "form_token": session.form_token, "app": APP_NAME}
        return page(template, status, leads_to=asked.redirect_uri, **here, **values)


def _denied(asked: Asked) -> Response:
    return redirect(asked.redirect_uri, {"error": "access_denied", "state": asked.state})


def _wrong() -> Response:
    return page("intuit-wrong.html", 400)
