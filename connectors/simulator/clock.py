"""The simulator's time: one clock that everything asks, and that a test may move or speed up.

Reads: the machine's clocks (RunningClock only). Writes: nothing.
Guarantees: time never goes back unless somebody sets it back; a change of clock wakes whoever sleeps on it; a clock
that was kept goes on as if it had never been stopped.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Anything that knows what time it is."""

    def now(self) -> datetime:
        """Answer the present moment, in UTC."""
        ...


class SteppedClock:
    """A clock that stands still until it is moved; history and tests are made with it."""

    def __init__(self, start: datetime) -> None:
        self._now = start

    def now(self) -> datetime:
        """Answer the moment it was last moved to, in UTC."""
        return self._now

    def move_to(self, moment: datetime) -> None:
        """Set the time. Moving back is allowed: the owner knows what he does."""
        self._now = moment


@dataclass(frozen=True, slots=True)
class ClockSetting:
    """How a running clock was set: it showed `shown` at the real moment `at`, and ran at `speed` from there."""

    shown: datetime
    at: datetime
    speed: float


class RunningClock:
    """Real time, moved by an offset and multiplied by a speed, both changeable while it runs; speed 0 stands still."""

    def __init__(self, not_before: datetime | None = None, *, kept: ClockSetting | None = None) -> None:
        real = datetime.now(UTC)
        self.speed = kept.speed if kept else 1.0
        if kept:
            self._start = kept.shown + max(real - kept.at, timedelta()) * kept.speed
        else:
            self._start = max(real, not_before) if not_before else real
        self._started = time.monotonic()
        self._sleepers: list[tuple[datetime, asyncio.Event]] = []

    def now(self) -> datetime:
        """Answer the simulated present, in UTC, with microseconds."""
        return self._start + timedelta(seconds=(time.monotonic() - self._started) * self.speed)

    def set(self, *, now: datetime | None = None, advance_s: float = 0.0, speed: float | None = None) -> None:
        """Jump to a moment, jump forward, or change the speed; sleepers wake and look again, the first due first."""
        self._start = (now or self.now()) + timedelta(seconds=advance_s)
        self._started = time.monotonic()
        if speed is not None:
            self.speed = speed
        for _, woken in sorted(self._sleepers, key=lambda one: one[0]):
            woken.set()

    def next_due(self) -> datetime | None:
        """When the first sleeper wakes, if anybody sleeps."""
        return min((moment for moment, _ in self._sleepers), default=None)

    def setting(self) -> ClockSetting:
        """What must be kept so that another run goes on with this time."""
        return ClockSetting(self.now(), datetime.now(UTC), self.speed)

    async def sleep_until(self, moment: datetime, woken: asyncio.Event) -> None:
        """Return when the clock shows `moment` or `woken` is set, whichever is first."""
        sleeper = (moment, woken)
        self._sleepers.append(sleeper)
        try:
            while (left := (moment - self.now()).total_seconds()) > 0 and not woken.is_set():
                await _wait(woken, left / self.speed if self.speed > 0 else 3600.0)
        finally:
            self._sleepers.remove(sleeper)


async def _wait(woken: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):  # no task of its own: who is woken first goes on first
            await woken.wait()
    except TimeoutError:
        return
