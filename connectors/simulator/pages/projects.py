"""The control page of IntoAEC's projects: what is declared, and forms to declare, rename, close and reopen.

Reads: the catalogue. Writes: the catalogue.
Guarantees: a page shows a bounded number of projects, the newest first.
"""

from __future__ import annotations

from itertools import islice

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connectors.simulator.intoaec.catalogue import Catalogue, Declared, NotPossible, Taken, Unknown
from connectors.simulator.pages.changes import TOO_OLD
from connectors.simulator.pages.messages import Message, Messages
from connectors.simulator.pages.panel import SESSION, Panel
from connectors.simulator.pages.rendering import form_of

SHOWN = 100
HERE = "/_sim/page/catalogue"


class ProjectsPage:
    """One organisation's projects at a time."""

    def __init__(self, catalogue: Catalogue, panel: Panel, messages: Messages) -> None:
        self.catalogue = catalogue
        self.panel = panel
        self.messages = messages

    def routes(self) -> list[Route]:
        """The page and its forms."""
        return [Route(HERE, self.show, methods=["GET"]), Route(HERE, self.change, methods=["POST"])]

    async def show(self, request: Request) -> Response:
        """The newest projects of one organisation, the first by default."""
        self.catalogue.take_up()
        organisations = self.catalogue.organisations
        one = organisations.get(request.query_params.get("org", "")) or next(iter(organisations.values()))
        projects = list(islice(reversed(one.projects.values()), SHOWN))
        listed = list(islice(organisations.values(), SHOWN))
        return self.panel.page("panel-projects.html", request, one=one, projects=projects, organisations=listed)

    async def change(self, request: Request) -> Response:
        """Do what a form says."""
        form = await form_of(request, SESSION)
        if form is None:
            return self.messages.shown_at(HERE, TOO_OLD)
        try:
            message = Message(self._made(form))
        except (Unknown, NotPossible, Taken) as error:
            message = Message(str(error), is_refusal=True)
        return self.messages.shown_at(form.get("back", HERE), message)

    def _made(self, form: dict[str, str]) -> str:
        organisation, name = form.get("org", ""), form.get("name", "").strip()
        match form.get("change"):
            case "declare":
                made = self.catalogue.declare(organisation, name, code=form.get("code", "").strip())
                return f"{_called(made)} is declared."
            case "rename":
                return f"{_called(self._changed(form, name=name))} has its new name."
            case "close" | "reopen" as what:
                made = self._changed(form, status="closed" if what == "close" else "open")
                return f"{_called(made)} is {made.status}."
            case _:
                raise NotPossible("there is no such button")

    def _changed(self, form: dict[str, str], **changed: str) -> Declared:
        return self.catalogue.change(form.get("org", ""), form.get("id", ""), changed)


def _called(project: Declared) -> str:
    return f"Project {project.id} ({project.code}), {project.name}, version {project.version},"
