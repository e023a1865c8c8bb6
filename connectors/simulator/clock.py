"""The simulator's time: one clock that everything asks, and that a test may move or speed up.

Reads: the machine's monotonic clock (RunningClock only). Writes: nothing.
Guarantees: time never goes back unless somebody sets it back; a change of clock wakes whoever sleeps on it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
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


class RunningClock:
    """Real time, moved by an offset and multiplied by a speed, both changeable while it runs."""

    def __init__(self, not_before: datetime | None = None) -> None:
        start = datetime.now(UTC)
        self._start = max(start, not_before) if not_before else start
        self._started = time.monotonic()
        self.speed = 1.0
        self._changed: list[Callable[[], None]] = []

    def now(self) -> datetime:
        """Answer the simulated present, in UTC, with microseconds."""
        return self._start + timedelta(seconds=(time.monotonic() - self._started) * self.speed)

    def set(self, *, now: datetime | None = None, advance_s: float = 0.0, speed: float | None = None) -> None:
        """Jump to a moment, jump forward, or change the speed; sleepers wake and look again."""
        self._start = (now or self.now()) + timedelta(seconds=advance_s)
        self._started = time.monotonic()
        if speed is not None:
            self.speed = speed
        for call in list(self._changed):
            call()

    async def sleep_until(self, moment: datetime, woken: asyncio.Event) -> None:
        """Return when the clock shows `moment` or `woken` is set, whichever is first."""
        self._changed.append(woken.set)
        try:
            while (left := (moment - self.now()).total_seconds()) > 0 and not woken.is_set():
                await _wait(woken, left / self.speed if self.speed > 0 else 3600.0)
        finally:
            self._changed.remove(woken.set)


async def _wait(woken: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(woken.wait(), seconds)
    except TimeoutError:
        return
