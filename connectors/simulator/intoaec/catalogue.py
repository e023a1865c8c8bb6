"""IntoAEC's projects, per organisation: declared, renamed, closed, reopened.

Reads: the companies' own lists of projects, which grow as their life goes on. Writes: those lists; the storage.
Guarantees: every change raises the project's version by one; ids are unique, codes are within their organisation, and
both are short enough for a custom field of QuickBooks; a change is told to whoever listens after it is kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from connectors.simulator.api.company import Company, Project
from connectors.simulator.life.history import HISTORY_END
from connectors.simulator.pages.people import MEMBERS
from connectors.simulator.simulator import Simulator

STATUSES = ("open", "closed")
NAME_LENGTH_MAX = 200
FIRST_DECLARED = 5001
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,30}")  # a custom field of QuickBooks takes 31 characters


class Unknown(Exception):
    """There is no such organisation or project."""


class NotPossible(Exception):
    """What was asked for would not be a proper project; the text says why."""


class Taken(Exception):
    """The id or the code is in use."""


@dataclass(frozen=True, slots=True)
class Declared:
    """A project as IntoAEC tells of it."""

    id: str
    code: str  # short, unique within the organisation
    name: str
    status: str  # open, closed
    organisation: str
    version: int  # 1 when declared, one more with every change
    changed_at: str


class Organisation:
    """One firm that uses IntoAEC, and its projects in the order of their declaration."""

    def __init__(self, organisation_id: str, name: str, company: Company | None) -> None:
        self.id = organisation_id
        self.name = name
        self.company = company
        self.prefix = "".join(word[0] for word in re.findall(r"[A-Za-z0-9]+", name)).upper()
        self.projects: dict[str, Declared] = {}


class Catalogue:
    """All organisations and their projects."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.listeners: list[Callable[[Declared], None]] = []
        self.organisations: dict[str, Organisation] = {}
        self._places: dict[str, int] = {}  # project -> its place in the order of declaration
        for company in simulator.companies.values():
            name = organisation_id(company.name)
            self.organisations[name] = Organisation(name, company.name, company)
        for name in dict.fromkeys(one.organisation_id for one in MEMBERS):
            shown = name.replace("-", " ").title()
            self.organisations.setdefault(name, Organisation(name, shown, None))
        self._restore()
        self.take_up()

    # ---- reading -------------------------------------------------------------------------------------------------

    def organisation(self, organisation_id: str) -> Organisation:
        """One organisation, with everything its company has by now. Raises Unknown."""
        self.take_up()
        found = self.organisations.get(organisation_id)
        if found is None:
            raise Unknown(f"there is no organisation {organisation_id}")
        return found

    def project(self, organisation_id: str, project_id: str) -> Declared:
        """One project. Raises Unknown."""
        found = self.organisation(organisation_id).projects.get(project_id)
        if found is None:
            raise Unknown(f"there is no project {project_id} in {organisation_id}")
        return found

    def all_projects(self) -> list[Declared]:
        """Every project of every organisation."""
        self.take_up()
        return [project for one in self.organisations.values() for project in one.projects.values()]

    def take_up(self) -> None:
        """Declare what the companies have and the catalogue has not: projects that came with their life."""
        for one in self.organisations.values():
            company = one.company
            if company is not None and len(company.projects) > len(one.projects):
                self._take_up(one, company.projects)

    def _take_up(self, organisation: Organisation, projects: list[Project]) -> None:
        moment = max(HISTORY_END, self._now()) if organisation.projects else HISTORY_END
        for project in projects:
            if project.project_id not in self._places:
                code = self._next_code(organisation)
                made = Declared(project.project_id, code, project.name, "open", organisation.id, 1, _written(moment))
                self._keep(organisation, made)

    # ---- writing -------------------------------------------------------------------------------------------------

    def declare(self, organisation_id: str, name: str, *, project_id: str = "", code: str = "") -> Declared:
        """A new project. Raises Unknown, NotPossible or Taken."""
        one = self.organisation(organisation_id)
        project_id, code = project_id or self._next_id(), code or self._next_code(one)
        self._check_words(name, project_id, code)
        if project_id in self._places:
            raise Taken(f"there is a project {project_id} already")
        self._check_code(one, code, project_id)
        made = Declared(project_id, code, name, "open", one.id, 1, _written(self._now()))
        with self.simulator.storage.together():
            self._keep(one, made)
            if one.company is not None:
                one.company.projects.append(Project(project_id, name, ""))
                self.simulator.keep_company(one.company)
        return made

    def change(self, organisation_id: str, project_id: str, changed: dict[str, str]) -> Declared:
        """Give a project another name, code or status; no difference, no version. Raises as `declare` does."""
        one, old = self.organisation(organisation_id), self.project(organisation_id, project_id)
        if unknown := sorted(set(changed) - {"name", "code", "status"}):
            raise NotPossible(f"only name, code and status can be changed, not {', '.join(unknown)}")
        new = replace(
            old,
            name=changed.get("name", old.name),
            code=changed.get("code", old.code),
            status=changed.get("status", old.status),
        )
        self._check_words(new.name, project_id, new.code)
        if new.status not in STATUSES:
            raise NotPossible(f"a status is {' or '.join(STATUSES)}, not {new.status}")
        self._check_code(one, new.code, project_id)
        if new == old:
            return old
        made = replace(new, version=old.version + 1, changed_at=_written(self._now()))
        with self.simulator.storage.together():
            self._keep(one, made)
            if one.company is not None and new.name != old.name:
                self._rename(one.company, project_id, new.name)
        return made

    def _rename(self, company: Company, project_id: str, name: str) -> None:
        for position, project in enumerate(company.projects):
            if project.project_id == project_id:
                company.projects[position] = replace(project, name=name)
        self.simulator.keep_company(company)

    def _check_words(self, name: str, *words: str) -> None:
        if not name.strip() or len(name) > NAME_LENGTH_MAX:
            raise NotPossible(f"a project has a name of at most {NAME_LENGTH_MAX} characters")
        for word in words:
            if not _WORD.fullmatch(word):
                raise NotPossible(f"“{word}” is no id or code: letters, digits, . _ - and at most 31 of them")

    def _check_code(self, organisation: Organisation, code: str, project_id: str) -> None:
        for other in organisation.projects.values():
            if other.id != project_id and code.lower() in (other.code.lower(), other.id.lower()):
                raise Taken(f"the code {code} belongs to project {other.id}")

    def _next_id(self) -> str:
        number = FIRST_DECLARED
        while (found := f"PRJ-{number:04d}") in self._places:
            number += 1
        return found

    def _next_code(self, organisation: Organisation) -> str:
        used = {project.code for project in organisation.projects.values()}
        number = len(used) + 1
        while (found := f"{organisation.prefix[:6]}-{number:03d}") in used:
            number += 1
        return found

    def _now(self) -> datetime:
        return self.simulator.clock.now()

    # ---- keeping -------------------------------------------------------------------------------------------------

    def _keep(self, organisation: Organisation, project: Declared) -> None:
        organisation.projects[project.id] = project
        self._places.setdefault(project.id, len(self._places))
        note = {"place": self._places[project.id], "project": asdict(project)}
        self.simulator.storage.keep_note(f"project {project.id}", note)
        for listener in self.listeners:
            listener(project)

    def _restore(self) -> None:
        notes = self.simulator.storage.notes()
        kept = [state for name, state in notes.items() if name.startswith("project ")]
        for state in sorted(kept, key=lambda one: int(one["place"])):
            project = Declared(**state["project"])
            self._places[project.id] = state["place"]
            if found := self.organisations.get(project.organisation):
                found.projects[project.id] = project


def organisation_id(name: str) -> str:
    """The id that IntoAEC has for a firm of this name."""
    return "-".join(re.findall(r"[a-z0-9]+", name.lower()))


def shown(project: Declared) -> dict[str, Any]:
    """A project as JSON."""
    return asdict(project)


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
