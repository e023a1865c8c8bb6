"""What all pages share: templates, the headers that protect them, sessions, and forms that only our pages can send.

Reads: templates beside this file; cookies. Writes: HTML; sessions in memory.
Guarantees: everything shown is escaped; no page runs a script or loads anything from elsewhere; a form that did not
come from a page of this process, in the same session, is refused.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

SESSIONS_MAX = 10_000
FORM_BYTES_MAX = 65_536
_TEMPLATES = Path(__file__).parent / "templates"
_STYLES = ("sign-in", "panel")
_SECRET = secrets.token_bytes(32)  # of this process: a form from before a restart is refused and shown again

environment = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined)
environment.filters["money"] = lambda amount: f"{amount:,.2f}"
environment.filters["count"] = lambda number: f"{number:,}"
environment.filters["combined"] = lambda given, more: {**given, **more}
environment.filters["without"] = lambda pairs, key: [pair for pair in pairs if pair[0] != key]


def page(template: str, status: int = 200, *, leads_to: str | None = None, **values: Any) -> Response:
    """A page from a template; `leads_to` is the one other address to which its forms may redirect."""
    return HTMLResponse(environment.get_template(template).render(**values), status, _headers(leads_to))


def _headers(leads_to: str | None) -> dict[str, str]:
    forms = "'self'" + (f" {_origin(leads_to)}" if leads_to else "")
    policy = (
        "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; frame-ancestors 'none'; "
        f"form-action {forms}"
    )
    return {
        "content-security-policy": policy,
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
        "cache-control": "no-store",
    }


def _origin(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}"


def style_route() -> Route:
    """Where the style sheets are served."""
    return Route("/_sim/style/{name}.css", _style, methods=["GET"])


async def _style(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _STYLES:
        raise HTTPException(404)
    headers = {"cache-control": "no-cache", "x-content-type-options": "nosniff"}
    return Response((_TEMPLATES / f"{name}.css").read_bytes(), 200, headers, "text/css")


def is_redirectable(address: str) -> bool:
    """Whether an application may be answered at this address at all: absolute, http or https, nothing odd in it."""
    try:
        parts = urlsplit(address)
        host = parts.hostname
    except ValueError:
        return False
    clean = not any(sign in address for sign in " ;,\"'<>\\\r\n\t")
    is_plain = parts.scheme in ("http", "https") and bool(host) and "@" not in parts.netloc and not parts.fragment
    return is_plain and clean


def redirect(address: str, parameters: dict[str, str | None]) -> Response:
    """Back to an application, with what is not None added to its address as it stands."""
    added = urlencode({name: value for name, value in parameters.items() if value is not None})
    parts = urlsplit(address)
    target = urlunsplit(parts._replace(query="&".join(filter(None, [parts.query, added]))))
    return RedirectResponse(target, 302, {"cache-control": "no-store", "referrer-policy": "no-referrer"})


# ---- forms -----------------------------------------------------------------------------------------------------------


async def form_of(request: Request, session_id: str) -> dict[str, str] | None:
    """The form's fields; None where it was not one of our own pages, in this session, that sent it."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return None
    body = await request.body()
    if len(body) > FORM_BYTES_MAX:
        return None
    try:
        form = dict(parse_qsl(body.decode(), keep_blank_values=True))
    except ValueError:
        return None
    return form if hmac.compare_digest(form.pop("form_token", "").encode(), form_token(session_id).encode()) else None


def form_token(session_id: str) -> str:
    """What a form must bring along to be believed in this session."""
    return hmac.new(_SECRET, session_id.encode(), hashlib.sha256).hexdigest()


# ---- sessions --------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Session:
    """One browser: its cookie's value, and who signed in there."""

    id: str
    email: str | None = None
    signed_in_at: int = 0  # seconds of the machine's clock

    @property
    def form_token(self) -> str:
        """What forms in this session bring along."""
        return form_token(self.id)


class Sessions:
    """Who is signed in where; a restart signs everybody out."""

    def __init__(self, cookie: str, path: str) -> None:
        self.cookie = cookie
        self.path = path
        self._sessions: dict[str, Session] = {}

    def of(self, request: Request) -> Session:
        """The browser's session; a new one, with nobody signed in, where there is none."""
        found = self._sessions.get(request.cookies.get(self.cookie, ""))
        return found or self._open(None)

    def _open(self, email: str | None) -> Session:
        session = Session(secrets.token_urlsafe(24), email, int(time.time()))
        self._sessions[session.id] = session
        while len(self._sessions) > SESSIONS_MAX:
            self._sessions.pop(next(iter(self._sessions)))
        return session

    def sign_in(self, session: Session, email: str) -> Session:
        """The session's successor: its cookie is new, so that nobody can have put it there before."""
        self.end(session)
        return self._open(email)

    def end(self, session: Session) -> None:
        """Forget a session."""
        self._sessions.pop(session.id, None)

    def remember(self, answer: Response, session: Session) -> Response:
        """Let the browser keep the session."""
        answer.set_cookie(self.cookie, session.id, path=self.path, httponly=True, samesite="lax")
        return answer
