"""What Intuit counts and where it stops: requests per second and minute, and metered calls per month.

Reads: the clock. Writes: its own counters; the metered ones through `keep`, since a month outlives a process.
Guarantees: a refused call is counted as refused and never metered; only successful data-out calls are metered.
Source: intuit.md 3.6, 3.7, 7.14, 7.15.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from connectors.simulator.clock import Clock

WINDOW_S = 60.0


@dataclass(slots=True)
class LimitSettings:
    """The limits, and how a refusal looks."""

    enabled: bool = True
    per_minute: int = 500  # per company
    per_second: int = 10  # per company and application
    batch_per_minute: int = 40  # per company and application
    batch_per_minute_all: int = 120  # per company
    combined: bool = False  # together with Intuit's other APIs, whose calls are told below
    combined_per_minute: int = 800
    other_calls_per_minute: int = 0
    refused_count_too: bool = False  # UNSURE: a refused call fills the window as well
    shape: str = "json"  # json, lower (`fault`), xml, html, or forbidden (the same fault under 403)
    retry_after: str = ""  # or seconds, date
    tier_cap: int = 500_000  # metered calls per month over all companies
    metering_blocks: bool = False
    batch_counts_items: bool = False  # UNSURE: a batch is metered once, or once per item


class _Window:
    """Calls of one caller in the last minute."""

    def __init__(self) -> None:
        self.times: deque[float] = deque()

    def within(self, seconds: float, now: float) -> int:
        """How many calls the last so many seconds saw."""
        while self.times and (self.times[0] <= now - WINDOW_S or self.times[0] > now):
            self.times.popleft()
        if seconds >= WINDOW_S:
            return len(self.times)
        count = 0
        for moment in reversed(self.times):
            if moment <= now - seconds:
                break
            count += 1
        return count


class Limits:
    """Throttle and meter of one workspace."""

    def __init__(self, clock: Clock, keep: Callable[[dict[str, Counter[str]]], None] = lambda metered: None) -> None:
        self.clock = clock
        self._keep = keep
        self.settings = LimitSettings()
        self._windows: defaultdict[tuple[str, ...], _Window] = defaultdict(_Window)
        self.routes: dict[str, Counter[str]] = {}
        self.metered: dict[str, Counter[str]] = {}  # company -> month -> count
        self.outcomes: dict[str, Counter[str]] = {}

    def refuses(self, realm: str, *, batch: bool, application: str = "") -> str | None:
        """Count one request; the reason where it is over a limit, else None."""
        settings = self.settings
        if settings.metering_blocks and self.month_total() >= settings.tier_cap:
            return "metering"
        if not settings.enabled:
            return None
        now = self.clock.now().timestamp()
        company, own = (realm,), (realm, application)
        windows = [(company, WINDOW_S, self._per_minute()), (own, 1.0, settings.per_second)]
        if batch:
            windows.append(((*own, "batch"), WINDOW_S, settings.batch_per_minute))
            windows.append(((*company, "all", "batch"), WINDOW_S, settings.batch_per_minute_all))
        is_over = any(self._windows[key].within(seconds, now) >= most for key, seconds, most in windows)
        if not is_over or settings.refused_count_too:
            for key, _, _ in windows:
                self._windows[key].times.append(now)
        return "throttle" if is_over else None

    def _per_minute(self) -> int:
        settings = self.settings
        if not settings.combined:
            return settings.per_minute
        return min(settings.per_minute, settings.combined_per_minute - settings.other_calls_per_minute)

    def count(self, realm: str, route: str, status: int, *, metered: int = 0) -> None:
        """Note one answered call, and as how many metered ones it counts if it went well."""
        self.routes.setdefault(realm, Counter())[route] += 1
        self.outcomes.setdefault(realm, Counter())[str(status)] += 1
        if metered and 200 <= status < 300:
            self.metered.setdefault(realm, Counter())[self._month()] += metered
            self._keep(self.metered)

    def restore(self, metered: dict[str, dict[str, int]]) -> None:
        """Take up what an earlier run had metered."""
        self.metered = {realm: Counter(months) for realm, months in metered.items()}

    def month_total(self) -> int:
        """Metered calls of this month over all companies."""
        month = self._month()
        return sum(counter[month] for counter in self.metered.values())

    def report(self, realm: str | None) -> dict[str, Any]:
        """Counts of one company, or of all together."""
        realms = [realm] if realm else sorted(self.routes)
        routes: Counter[str] = Counter()
        statuses: Counter[str] = Counter()
        for one in realms:
            routes.update(self.routes.get(one, Counter()))
            statuses.update(self.outcomes.get(one, Counter()))
        metered = sum(self.metered.get(one, Counter())[self._month()] for one in realms)
        return {
            "realm": realm,
            "routes": dict(routes),
            "statuses": dict(statuses),
            "total": routes.total(),
            "metered": metered,
            "metered_month_all": self.month_total(),
            "months": self.months(realms),
            "companies": {one: self.routes_of(one) for one in realms},
        }

    def months(self, realms: list[str]) -> dict[str, int]:
        """Metered calls of some companies, month by month."""
        found: Counter[str] = Counter()
        for one in realms:
            found.update(self.metered.get(one, Counter()))
        return dict(sorted(found.items()))

    def routes_of(self, realm: str) -> dict[str, Any]:
        """Calls of one company per route, and how many were metered this month."""
        metered = self.metered.get(realm, Counter())[self._month()]
        return {"routes": dict(self.routes.get(realm, Counter())), "metered": metered}

    def reset(self) -> None:
        """Forget all counts and windows."""
        for counters in (self.routes, self.outcomes, self.metered):
            counters.clear()
        self._windows.clear()
        self._keep(self.metered)

    def _month(self) -> str:
        now: datetime = self.clock.now()
        return f"{now:%Y-%m}"
