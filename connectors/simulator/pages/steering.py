"""The buttons of the control page that steer the simulator: profile, faults, clock, life, webhooks, connections.

Reads: forms. Writes: through the control API, so that a button does exactly what the call does.
Guarantees: what the control API refuses is shown in its own words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connectors.simulator.pages.changes import TOO_OLD
from connectors.simulator.pages.messages import Message, Messages
from connectors.simulator.pages.panel import SESSION, control_api
from connectors.simulator.pages.rendering import form_of
from connectors.simulator.wire import decode

WEBHOOKS_SAID = {
    "pause": "Webhooks are paused: events are kept until they go on.",
    "resume": "Webhooks go on.",
    "retry": "What waited is tried now.",
    "forget": "Everything that was not delivered is dropped, as if it had never been announced.",
}
JUMPS_S = {"hour": 3600, "day": 86_400, "month": 30 * 86_400}


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the control API, and what to say when it went well."""

    method: str
    path: str
    said: str
    body: dict[str, Any] | None = None


class Steering:
    """Forms that steer."""

    def __init__(self, messages: Messages) -> None:
        self.messages = messages

    def routes(self) -> list[Route]:
        """Where the forms go."""
        return [Route("/_sim/page/steer", self.steer, methods=["POST"])]

    async def steer(self, request: Request) -> Response:
        """Do what the button says and go back to where it is."""
        form = await form_of(request, SESSION)
        if form is None:
            return self.messages.shown_at("/_sim", TOO_OLD)
        call = _call(form)
        if call is None:
            return self.messages.shown_at("/_sim", Message("There is no such button.", is_refusal=True))
        async with control_api(request) as api:
            answer = await api.request(call.method, call.path, json=call.body)
        return self.messages.shown_at(form.get("back", "/_sim"), _said(call, answer))


def _said(call: Call, answer: httpx.Response) -> Message:
    if answer.status_code >= 400:
        return Message(f"That was refused: {answer.text[:300]}", is_refusal=True)
    if call.path.endswith("/changes"):
        made = decode(answer.content)
        listed = ", ".join(f"{one['entity']} {one['id']} {one['operation'].lower()}" for one in made[:4])
        return Message(f"{len(made)} event{'s' * (len(made) != 1)}: {listed}{' …' if len(made) > 4 else '.'}")
    return Message(call.said)


def _call(form: dict[str, str]) -> Call | None:
    """The call behind a button; None where there is no such button."""
    realm, name = form.get("realm", ""), form.get("name", "")
    match form.get("steer", ""):
        case "profile":
            return Call("PUT", "/_sim/profile", f"The profile is “{name}” now.", {"name": name})
        case "clear-faults":
            return Call("DELETE", "/_sim/faults", "No fault is in force any more.")
        case "clock":
            seconds = JUMPS_S.get(form.get("jump", ""), 0)
            return Call("PUT", "/_sim/clock", "The clock was moved.", {"advance_s": seconds})
        case "start-life":
            asked = {key: _number(form.get(key, "")) for key in ("seed", "steps", "rate") if form.get(key)}
            return Call("POST", "/_sim/live", "Life goes on in the firms.", asked)
        case "stop-life":
            return Call("DELETE", "/_sim/live", "Life was stopped.")
        case "webhooks" if form.get("action") in WEBHOOKS_SAID:
            return Call("POST", f"/_sim/webhooks/{form['action']}", WEBHOOKS_SAID[form["action"]])
        case "reset-calls":
            return Call("POST", "/_sim/calls/reset", "All calls were forgotten.")
        case "disconnect" if realm.isdigit():
            said = "The app was disconnected, as a user does inside QuickBooks."
            return Call("POST", f"/_sim/companies/{realm}/disconnect", said)
        case "random" if realm.isdigit():
            asked = {"kinds": [name]} if name else {"count": 10}
            return Call("POST", f"/_sim/companies/{realm}/changes", "", asked)
        case _:
            return None


def _number(text: str) -> Any:
    """A whole number, where it is one; else the text, for the control API to refuse."""
    return int(text) if text.isdigit() else text
