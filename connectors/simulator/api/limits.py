"""What Intuit counts and where it stops: requests per second and minute, and metered calls per month.

Reads: the clock. Writes: its own counters.
Guarantees: a refused call is counted as refused and never metered; only successful data-out calls are metered.
Source: intuit.md 3.6, 3.7, 7.14, 7.15.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from connectors.simulator.clock import Clock

COMBINED_PER_MINUTE = 800


@dataclass(slots=True)
class LimitSettings:
    """The limits, and how a refusal looks."""

    enabled: bool = True
    per_minute: int = 500  # per company
    per_second: int = 10  # per company and application
    batch_per_minute: int = 40  # per company and application
    shape: str = "json"  # json, xml, or forbidden (the same fault under 403)
    retry_after: bool = False
    tier_cap: int = 500_000  # metered calls per month over all companies
    metering_blocks: bool = False


@dataclass(slots=True)
class _Windows:
    requests: deque[float] = field(default_factory=deque)
    batches: deque[float] = field(default_factory=deque)


class Limits:
    """Throttle and meter of one workspace."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.settings = LimitSettings()
        self._windows: dict[str, _Windows] = {}
        self.routes: dict[str, Counter[str]] = {}
        self.metered: dict[str, Counter[str]] = {}  # company -> month -> count
        self.outcomes: dict[str, Counter[str]] = {}

    def refuses(self, realm: str, *, batch: bool) -> str | None:
        """Count one request; the reason where it is over a limit, else None."""
        settings = self.settings
        if settings.metering_blocks and self.month_total() >= settings.tier_cap:
            return "metering"
        if not settings.enabled:
            return None
        now = self.clock.now().timestamp()
        windows = self._windows.setdefault(realm, _Windows())
        _drop_old(windows.requests, now)
        if (
            len(windows.requests) >= settings.per_minute
            or _within_a_second(windows.requests, now) >= settings.per_second
        ):
            return "throttle"
        if batch:
            _drop_old(windows.batches, now)
            if len(windows.batches) >= settings.batch_per_minute:
                return "throttle"
            windows.batches.append(now)
        windows.requests.append(now)
        return None

    def count(self, realm: str, route: str, status: int, *, is_metered: bool) -> None:
        """Note one answered call."""
        self.routes.setdefault(realm, Counter())[route] += 1
        self.outcomes.setdefault(realm, Counter())[str(status)] += 1
        if is_metered and 200 <= status < 300:
            self.metered.setdefault(realm, Counter())[self._month()] += 1

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
        }

    def reset(self) -> None:
        """Forget all counts and windows."""
        for counters in (self.routes, self.outcomes, self.metered):
            counters.clear()
        self._windows.clear()

    def _month(self) -> str:
        now: datetime = self.clock.now()
        return f"{now:%Y-%m}"


def _drop_old(times: deque[float], now: float) -> None:
    while times and times[0] <= now - 60:
        times.popleft()


def _within_a_second(times: deque[float], now: float) -> int:
    count = 0
    for moment in reversed(times):
        if moment <= now - 1:
            break
        count += 1
    return count
