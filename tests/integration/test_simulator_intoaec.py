"""What the simulator plays of IntoAEC: its sign-in, driven by authlib's own client, and its project catalogue."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.httpx_client import OAuth2Client
from joserfc import jwt
from joserfc.jwk import KeySet

from connectors.simulator.api.company import Project
from connectors.simulator.intoaec.catalogue import Catalogue
from connectors.simulator.simulator import Options, Simulator
from tests.intuit import Intuit

ADDRESS = "http://localhost:9/signed-in"
OLIVIA, ARTHUR, TOM = "olivia@bayside.example", "arthur@bayside.example", "tom@northgate.example"
VERIFIER = secrets.token_urlsafe(48)
BAYSIDE = "bayside-builders"


class Application:
    """IntoAEC's web application: authlib's client, and the browser of the person who signs in."""

    def __init__(self, url: str, **changed: Any) -> None:
        self.browser = httpx.Client(trust_env=False, timeout=30)
        self.discovery = self.browser.get(f"{url}/intoaec/.well-known/openid-configuration").json()
        settings = {"client_id": "intoaec-web", "client_secret": "intoaec-web-secret", "redirect_uri": ADDRESS}
        settings |= {"scope": "openid email profile", "code_challenge_method": "S256"}
        self.client = OAuth2Client(**(settings | changed), trust_env=False, timeout=30)

    def close(self) -> None:
        self.browser.close()
        self.client.close()

    def ask(self, **more: Any) -> httpx.Response:
        """Send the browser to the authorization endpoint."""
        asked = {"code_verifier": VERIFIER, "nonce": "n-1"} | more
        address, _ = self.client.create_authorization_url(self.discovery["authorization_endpoint"], **asked)
        return self.browser.get(address)

    def sign_in(self, email: str, password: str = "simulator", **more: Any) -> httpx.Response:
        """The person signs in on the page."""
        page = self.ask(**more)
        token = page.text.split('name="form_token" value="')[1].split('"')[0]
        form = {"form_token": token, "step": "sign-in", "email": email, "password": password}
        return self.browser.post(page.url, data=form)

    def redeem(self, answer: httpx.Response, **changed: Any) -> dict[str, Any]:
        """Exchange the code that the browser brought back."""
        given = {"authorization_response": answer.headers["location"], "code_verifier": VERIFIER} | changed
        found: dict[str, Any] = self.client.fetch_token(self.discovery["token_endpoint"], **given)
        return found

    def claims(self, token: dict[str, Any]) -> dict[str, Any]:
        """The id token, its signature and its times checked."""
        keys = KeySet.import_key_set(self.browser.get(self.discovery["jwks_uri"]).json())
        found = jwt.decode(token["id_token"], keys, algorithms=["RS256"])
        wanted = {"essential": True}
        jwt.JWTClaimsRegistry(
            iss={**wanted, "value": self.discovery["issuer"]}, aud={**wanted, "value": "intoaec-web"}, exp=wanted
        ).validate(found.claims)
        return dict(found.claims)


@pytest.fixture
def application(intuit: Intuit) -> Iterator[Application]:
    found = Application(intuit.url)
    yield found
    found.close()


def returned(answer: httpx.Response) -> dict[str, str]:
    assert answer.status_code == 302 and answer.headers["location"].startswith(f"{ADDRESS}?"), answer.text
    return {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}


def error_of(application: Application, answer: httpx.Response, **changed: Any) -> str:
    with pytest.raises(AuthlibBaseError) as refused:
        application.redeem(answer, **changed)
    return str(refused.value.error)


# ---- sign-in ---------------------------------------------------------------------------------------------------------


def test_person_signs_in_and_the_application_learns_organisation_and_roles(application: Application) -> None:
    answer = application.sign_in(ARTHUR)
    assert returned(answer)["iss"] == application.discovery["issuer"]
    token = application.redeem(answer)
    claims = application.claims(token)
    known = {"sub": "user-0002", "email": ARTHUR, "name": "Arthur Neal", "org_id": BAYSIDE, "roles": ["accountant"]}
    assert {key: claims[key] for key in (*known, "nonce")} == known | {"nonce": "n-1"}
    told = application.client.get(application.discovery["userinfo_endpoint"]).json()
    assert told == known | {"email_verified": True}


def test_signed_in_browser_goes_on_at_once_unless_asked_to_sign_in_again(application: Application) -> None:
    assert returned(application.ask(prompt="none"))["error"] == "login_required"
    application.sign_in(TOM)
    claims = application.claims(application.redeem(application.ask(nonce="n-2")))
    assert (claims["email"], claims["org_id"], claims["nonce"]) == (TOM, "northgate-construction", "n-2")
    assert "Sign in to IntoAEC" in application.ask(prompt="login").text


def test_wrong_password_and_cancel_sign_nobody_in(application: Application) -> None:
    answer = application.sign_in(OLIVIA, "wrong")
    assert (answer.status_code, 'role="alert"' in answer.text) == (401, True)
    assert returned(application.ask(prompt="none"))["error"] == "login_required"
    page = application.ask()
    token = page.text.split('name="form_token" value="')[1].split('"')[0]
    cancelled = application.browser.post(page.url, data={"form_token": token, "step": "cancel"})
    assert returned(cancelled)["error"] == "access_denied"
    assert application.browser.post(page.url, data={"step": "sign-in", "email": OLIVIA}).status_code == 403


def test_wrong_verifier_is_refused_and_spends_the_code(application: Application) -> None:
    answer = application.sign_in(OLIVIA)
    assert error_of(application, answer, code_verifier=VERIFIER[::-1]) == "invalid_grant"
    assert error_of(application, answer) == "invalid_grant"


def test_code_used_twice_ends_the_token_that_it_gave(application: Application) -> None:
    answer = application.sign_in(OLIVIA)
    token = application.redeem(answer)
    bearer = {"authorization": f"Bearer {token['access_token']}"}
    userinfo = application.discovery["userinfo_endpoint"]
    assert application.browser.get(userinfo, headers=bearer).status_code == 200
    assert error_of(application, answer) == "invalid_grant"
    again = application.browser.get(userinfo, headers=bearer)
    assert (again.status_code, "invalid_token" in again.headers["www-authenticate"]) == (401, True)


def test_token_request_with_another_redirect_uri_is_refused(application: Application) -> None:
    answer = application.sign_in(OLIVIA)
    assert error_of(application, answer, redirect_uri=f"{ADDRESS}/other") == "invalid_grant"


def test_nobody_is_sent_to_an_address_that_is_not_the_applications(application: Application) -> None:
    for changed in ({"redirect_uri": "https://elsewhere.example/cb"}, {"client_id": "somebody"}):
        asked = {"response_type": "code", "client_id": "intoaec-web", "redirect_uri": ADDRESS, "scope": "openid"}
        answer = application.browser.get(application.discovery["authorization_endpoint"], params=asked | changed)
        assert (answer.status_code, "location" in answer.headers) == (400, False)


def test_wrong_client_secret_is_refused_by_either_method(intuit: Intuit) -> None:
    for method in ("client_secret_basic", "client_secret_post"):
        application = Application(intuit.url, client_secret="wrong", token_endpoint_auth_method=method)
        assert error_of(application, application.sign_in(OLIVIA)) == "invalid_client"
        application.close()


def test_request_without_pkce_is_told_so_at_its_own_address(application: Application) -> None:
    plain = {"response_type": "code", "client_id": "intoaec-web", "redirect_uri": ADDRESS, "scope": "openid"}
    for more in ({}, {"code_challenge": VERIFIER[:43], "code_challenge_method": "plain"}):
        answer = application.browser.get(application.discovery["authorization_endpoint"], params=plain | more)
        assert returned(answer)["error"] == "invalid_request"


def test_signing_out_ends_the_session_and_returns(application: Application) -> None:
    token = application.redeem(application.sign_in(OLIVIA))
    end = application.discovery["end_session_endpoint"]
    asking = application.browser.get(end)
    assert "Sign out of IntoAEC?" in asking.text and "Olivia Grant" in asking.text
    asked = {"id_token_hint": token["id_token"], "post_logout_redirect_uri": ADDRESS, "state": "bye"}
    assert returned(application.browser.get(end, params=asked)) == {"state": "bye"}
    assert returned(application.ask(prompt="none"))["error"] == "login_required"
    elsewhere = application.browser.get(end, params=asked | {"post_logout_redirect_uri": "https://evil.example/"})
    assert (elsewhere.status_code, "You are signed out" in elsewhere.text) == (200, True)


# ---- the catalogue ---------------------------------------------------------------------------------------------------


def test_projects_are_read_in_pages_that_an_etag_spares(intuit: Intuit) -> None:
    read: list[str] = []
    address: str | None = f"/intoaec/organisations/{BAYSIDE}/projects?limit=2"
    while address:
        page = httpx.get(intuit.url + address, trust_env=False)
        read += [one["id"] for one in page.json()["projects"]]
        address = page.json()["next"]
    assert read == [one["project_id"] for one in intuit.ask("GET", f"/companies/{intuit.companies[0]}/projects")]
    tag = {"if-none-match": page.headers["etag"]}
    again = httpx.get(page.url, headers=tag, trust_env=False)
    assert (again.status_code, again.content) == (304, b"")
    for wrong in ("limit=0", "limit=x", "after=nothing", "status=new"):
        answer = httpx.get(f"{intuit.url}/intoaec/organisations/{BAYSIDE}/projects?{wrong}", trust_env=False)
        assert answer.status_code == 400, wrong


def test_project_is_declared_renamed_closed_and_reopened(intuit: Intuit) -> None:
    path = f"/catalogue/{BAYSIDE}/projects"
    made = intuit.ask("POST", path, {"name": "East wing"})
    assert (made["id"], made["status"], made["version"]) == ("PRJ-5001", "open", 1)
    assert len(made["code"]) <= 31 and made["code"].startswith("BB-")
    one = f"{path}/{made['id']}"
    page = httpx.get(f"{intuit.url}/intoaec/organisations/{BAYSIDE}/projects/{made['id']}", trust_env=False)
    steps: list[tuple[str, Any]] = [("PUT", {"name": "East wing II"}), ("DELETE", None), ("PUT", {"status": "open"})]
    versions = [intuit.ask(method, one, body) for method, body in steps]
    assert [(each["version"], each["status"]) for each in versions] == [(2, "open"), (3, "closed"), (4, "open")]
    assert intuit.ask("PUT", one, {"status": "open"})["version"] == 4
    tag = {"if-none-match": page.headers["etag"]}
    assert httpx.get(page.url, headers=tag, trust_env=False).json()["name"] == "East wing II"
    listed = intuit.ask("GET", f"/companies/{intuit.companies[0]}/projects")
    assert {"project_id": "PRJ-5001", "name": "East wing II", "customer_id": ""} in listed


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": ""}, 400),
        ({"name": "x", "id": "PRJ-0001"}, 409),
        ({"name": "x", "code": "bb-001"}, 409),
        ({"name": "x", "code": "a" * 32}, 400),
        ({"name": 5}, 400),
    ],
)
def test_improper_project_is_refused(intuit: Intuit, body: dict[str, Any], status: int) -> None:
    address = f"{intuit.url}/_sim/catalogue/{BAYSIDE}/projects"
    assert httpx.post(address, json=body, trust_env=False).status_code == status


def test_access_token_opens_its_own_organisation_only(intuit: Intuit, application: Application) -> None:
    application.redeem(application.sign_in(TOM))
    answers = [
        application.client.get(f"{intuit.url}/intoaec/organisations/{one}/projects").status_code
        for one in ("northgate-construction", BAYSIDE)
    ]
    assert answers == [200, 403]
    wrong = httpx.get(
        f"{intuit.url}/intoaec/organisations/{BAYSIDE}/projects",
        headers={"authorization": "Bearer nonsense"},
        trust_env=False,
    )
    assert wrong.status_code == 401


def test_key_and_projects_outlive_a_restart(tmp_path: Any) -> None:
    from connectors.simulator.intoaec.keys import SigningKey

    options = Options(history="small", companies=2, data_dir=tmp_path)
    first = Simulator(options)
    catalogue = Catalogue(first)
    catalogue.declare(BAYSIDE, "Kept")
    catalogue.change(BAYSIDE, "PRJ-0001", {"status": "closed"})
    before, public = catalogue.all_projects(), SigningKey(first.storage).public()
    first.close()
    second = Simulator(options)
    assert Catalogue(second).all_projects() == before
    assert SigningKey(second.storage).public() == public
    second.close()


def test_projects_that_come_with_a_companys_life_are_declared_by_themselves() -> None:
    simulator = Simulator(Options(history="small"))
    catalogue = Catalogue(simulator)
    told: list[str] = []
    catalogue.listeners.append(lambda project: told.append(project.id))
    next(iter(simulator.companies.values())).projects.append(Project("PRJ-0099", "Pier 4", "1"))
    found = catalogue.project(BAYSIDE, "PRJ-0099")
    assert (found.name, found.status, found.version, told) == ("Pier 4", "open", 1, ["PRJ-0099"])
    simulator.close()
