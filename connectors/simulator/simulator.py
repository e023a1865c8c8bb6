"""The simulator put together: companies, sign-in, webhooks, limits, faults, clock and storage.

Reads: its options; the storage of an earlier run. Writes: storage.
Guarantees: the same seed makes the same companies; a second start with the same directory goes on from the first.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from connectors.simulator.api.authority import Authority
from connectors.simulator.api.company import Company, Event, Project
from connectors.simulator.api.identity import Identity
from connectors.simulator.api.limits import Limits
from connectors.simulator.api.profiles import Profiles
from connectors.simulator.api.trouble import CHANGE, Faults
from connectors.simulator.api.webhooks import Courier
from connectors.simulator.books.custom_fields import definition_from
from connectors.simulator.books.effects import Change, Mark
from connectors.simulator.books.records import Kind
from connectors.simulator.clock import ClockSetting, RunningClock, SteppedClock
from connectors.simulator.life.history import HISTORY_END, write_history
from connectors.simulator.storage import Storage

FIRST_REALM = 9130000000000001
UNDISTURBED = {
    **{"duplicate_rate": 0, "resend_rate": 0, "loss_rate": 0, "reorder": False, "coalesce": False},
    **{"bad_signature_next": 0, "no_signature_next": 0},
}
NAMES = ("Bayside Builders", "Northgate Construction", "Harrow & Pike Engineering", "Summit Ridge Contractors")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a simulator is started."""

    host: str = "127.0.0.1"
    port: int = 8090
    seed: int = 1
    companies: int = 1
    history: str = "year"  # year, small, none
    webhook_url: str | None = None
    verifier_token: str | None = None
    client_id: str | None = None
    client_secret: str | None = None
    data_dir: Path | None = None
    auto_consent: bool = False
    limits: bool = True
    profile: str | None = None  # None: the one of the last run, calm at first
    public_url: str | None = None  # where browsers find it, if not where programs do
    redirect_uris: tuple[str, ...] = ()
    intoaec_client_id: str | None = None
    intoaec_client_secret: str | None = None
    intoaec_redirect_uris: tuple[str, ...] = ()
    kafka_bootstrap: str | None = None
    projects_topic: str = "intoaec-projects"


class Simulator:
    """A pretend Intuit with its companies."""

    def __init__(self, options: Options, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.options = options
        self.storage = Storage(options.data_dir)
        self.clock = RunningClock(not_before=HISTORY_END, kept=kept_clock(self.storage.notes().get("clock")))
        self.keep_clock()
        self.authority = Authority(self.clock, self.storage)
        self.identity = Identity(
            self.storage.notes().get("signing key"), lambda key: self.storage.keep_note("signing key", key)
        )
        self.limits = Limits(self.clock, lambda metered: self.storage.keep_note("metered", metered))
        self.limits.restore(self.storage.notes().get("metered", {}))
        self.faults = Faults(self.clock, options.seed)
        self.courier = Courier(self.clock, self.storage, self.faults, self.authority.is_connected, transport)
        self.courier.picture, self.courier.connected_since = self._picture, self.authority.connected_since
        self.companies: dict[str, Company] = {}
        self._restore_settings()
        self._open_companies()
        self.courier.restore(self.storage.queued(), self.storage.deliveries())
        self.faults.changed.append(self._prepare_stale_reads)
        self.profiles = Profiles(self.faults, list(self.companies), self.storage.keep_note)
        self.profiles.restore(self.storage.notes().get("profile"), options.profile, options.seed)

    def close(self) -> None:
        """Give back what is open."""
        self.storage.close()

    def keep_settings(self) -> None:
        """Keep webhook settings over a restart."""
        self.storage.keep_note("webhooks", {key: _kept(value) for key, value in asdict(self.courier.settings).items()})

    def keep_clock(self) -> None:
        """Keep how the clock is set over a restart; called whenever it is set."""
        setting = self.clock.setting()
        moments = {"shown": setting.shown.isoformat(), "at": setting.at.isoformat()}
        self.storage.keep_note("clock", moments | {"speed": str(setting.speed)})

    def heal(self, realm: str | None = None) -> None:
        """End all trouble: faults, stale reads, blocks; send what is late. What is revoked stays revoked."""
        self.faults.heal(realm)
        for company in self.companies.values():
            if realm in (None, company.realm):
                company.delay_visibility(0)
                company.show_all()
        if realm is None:
            self.limits.settings.metering_blocks = False
            apply_settings(self.courier.settings, UNDISTURBED)
            self.keep_settings()
        self.courier.heal()

    def _restore_settings(self) -> None:
        options = self.options
        settings = self.courier.settings
        for key, value in self.storage.notes().get("webhooks", {}).items():
            kind = type(getattr(settings, key))
            setattr(settings, key, float(value) if kind is float else value)
        settings.url = options.webhook_url or settings.url
        settings.verifier_token = options.verifier_token or settings.verifier_token
        self.authority.settings.client_id = options.client_id or self.authority.settings.client_id
        self.authority.settings.client_secret = options.client_secret or self.authority.settings.client_secret
        self.authority.settings.auto_consent = options.auto_consent
        self.authority.settings.redirect_uris = list(options.redirect_uris)
        self.limits.settings.enabled = options.limits
        self.authority.restore(self.storage.grants())

    def _open_companies(self) -> None:
        notes = self.storage.notes()
        for number in range(max(self.options.companies, sum(name.startswith("company ") for name in notes))):
            realm = str(FIRST_REALM + number)
            name = NAMES[number] if number < len(NAMES) else f"Company {number + 1}"
            company = Company(realm, name, self.clock)
            if state := notes.get(f"company {realm}"):
                self._reopen(company, state)
            else:
                self._found(company, number)
            company.listeners.append(self._keep)
            company.lag_s = self._lag_s
            self.companies[realm] = company

    def _found(self, company: Company, number: int) -> None:
        """Write a new company's past, silently, with a clock of its own."""
        company.clock = SteppedClock(HISTORY_END)
        company.projects = write_history(company, self.options.seed, number, self.options.history)
        company.clock = self.clock
        with self.storage.together():
            self.storage.keep_records(
                company.realm, [one for records in company.book.records.values() for one in records.values()]
            )
            self.storage.keep_records(company.realm, company.book.gone.values())
            self.keep_company(company)

    def keep_company(self, company: Company) -> None:
        """Keep what a company is besides its records."""
        book = company.book
        self.storage.keep_note(f"ids {company.realm}", book.next_ids)
        state = {
            "projects": [asdict(project) for project in company.projects],
            "field_names": book.field_names,
            "enhanced_fields": [asdict(one) for one in book.fields.enhanced.values()],
            "plan": company.plan,
            "multicurrency": book.multicurrency,
            "closed_until": book.closed_until,
            "switches": asdict(company.switches),
        }
        self.storage.keep_note(f"company {company.realm}", state)

    def _reopen(self, company: Company, state: dict[str, Any]) -> None:
        company.projects = [Project(**project) for project in state["projects"]]
        for key, value in state["switches"].items():
            setattr(company.switches, key, value)
        book = company.book
        book.field_names, book.multicurrency = state["field_names"], state["multicurrency"]
        book.closed_until = state["closed_until"]
        book.fields.define(definition_from(one) for one in state.get("enhanced_fields", []))
        company.plan = state.get("plan", company.plan)
        book.restore(self.storage.records(company.realm))
        company.shelf.shelf.restore(self.storage.notes().get(f"shelf {company.realm}", []))
        for counter, value in self.storage.notes().get(f"ids {company.realm}", {}).items():
            book.next_ids[counter] = max(book.next_ids[counter], value)

    def _lag_s(self, company: Company, kind: Kind) -> float:
        """How much later than its webhook a change is to be seen, if any rule says so."""
        rule = self.faults.take(company.realm, f"CHANGE {kind.value}", CHANGE)
        return rule.drawn_seconds() if rule else 0.0

    def _picture(self, event: Event) -> str | None:
        """The record that an event is about, as it is now; None where it is gone."""
        company = self.companies.get(event.realm)
        record = company.book.records[Kind(event.entity)].get(event.id) if company else None
        return company.renderer.text(record) if company and record else None

    def _prepare_stale_reads(self) -> None:
        """Make sure that there is an old picture of everything that may be shown stale."""
        for company in self.companies.values():
            company.keeps_pictures = self.faults.has("stale", company.realm)
            if company.keeps_pictures:
                company.take_pictures()

    def _keep(self, company: Company, changes: list[Change], events: list[Event]) -> None:
        with self.storage.together():
            self.storage.keep_records(company.realm, [one.record for one in changes if one.mark > Mark.SEEN])
            if any(one.operation == "Create" for one in changes):
                self.storage.keep_note(f"ids {company.realm}", company.book.next_ids)
            if not company.shelf.shelf.is_kept:
                self.storage.keep_note(f"shelf {company.realm}", company.shelf.shelf.state())
                company.shelf.shelf.is_kept = True
            self.courier.enqueue(events)


def kept_clock(state: dict[str, str] | None) -> ClockSetting | None:
    """The setting that an earlier run kept."""
    if state is None:
        return None
    shown, at = datetime.fromisoformat(state["shown"]), datetime.fromisoformat(state["at"])
    return ClockSetting(shown, at, float(state["speed"]))


def _kept(value: Any) -> Any:
    return str(value) if isinstance(value, float) else value


def apply_settings(target: Any, given: dict[str, Any]) -> list[str]:
    """Set the given fields of a settings object; answers the names it does not have."""
    known = {one.name for one in fields(target)}
    for key, value in given.items():
        if key in known:
            current = getattr(target, key)
            setattr(target, key, float(value) if isinstance(current, float) else value)
    return sorted(set(given) - known)
