"""A server process that this one starts, watches and never leaves behind.

Writes: the process's folder: `log.txt` (what it said) and `pid`.
Guarantees: however this process ends, even by SIGKILL, what it started is stopped; Ctrl-C in the terminal does not
reach a child, so that it can be stopped in order; what an earlier run left in the folder is stopped before a start.
"""

import contextlib
import os
import pwd
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import psutil

START_S_MAX = 90.0
STOP_S_MAX = 45.0  # a worker gives its steps 30 s and needs a few to close the rest
LOG_BYTES_MAX = 10_000_000

# Called with what is being done, how much of it is done, and how much there is.
Progress = Callable[[str, int, int], None]

# Waits until its starter is gone in any way (its end of the pipe closes), then stops the process that it was told of.
_GUARD = """
read -r _
kill -s "$2" "$1" 2>/dev/null || exit 0
n=0
while kill -0 "$1" 2>/dev/null && [ "$n" -lt 100 ]; do sleep 0.1; n=$((n + 1)); done
kill -s KILL "$1" 2>/dev/null
"""
_QUIET_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC"}


class CannotStart(Exception):
    """Something cannot be fetched or started here. Its text says in plain words what, and what to do."""


def silent(what: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


class Child:
    """One process in a folder of its own, which must be named in its command: that is how a leftover is known."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        folder: Path,
        *,
        stops_on: signal.Signals = signal.SIGTERM,
        account: str | None = None,
        environment: Mapping[str, str] = _QUIET_ENVIRONMENT,
    ):
        self.name = name
        self.log = folder / "log.txt"
        self._command = list(command)
        self._folder = folder
        self._stops_on = stops_on
        self._account = account
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Of a process that has ended; below zero: the signal that ended it."""
        return None if self._process is None else self._process.poll()

    @property
    def pid(self) -> int:
        if self._process is None:
            raise CannotStart(f"{self.name} was never started.")
        return self._process.pid

    def start(self) -> None:
        """Start it without waiting for its first answer."""
        self.stop_leftover()
        try:
            self._process = self._spawn()
        except OSError as error:
            raise CannotStart(f"{self.name} cannot be run here: {error}") from error
        self._pid_file.write_text(str(self.pid))
        self._guard = subprocess.Popen(  # noqa: S603
            ["/bin/sh", "-c", _GUARD, "guard", str(self.pid), self._stops_on.name.removeprefix("SIG")],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def wait_until(self, ready: Callable[[], bool], progress: Progress = silent) -> None:
        """Wait until a started process answers. Raises CannotStart with its last words where it never does."""
        started, shown = time.monotonic(), -1
        while not ready():
            waited = time.monotonic() - started
            if not self.running:
                raise CannotStart(f"{self.name} ended while starting: {self.last_words()}")
            if waited > START_S_MAX:
                raise CannotStart(f"{self.name} did not answer within {START_S_MAX:.0f} s: {self.last_words()}")
            if int(waited) > shown:
                shown = int(waited)
                progress(f"starting {self.name}", shown, int(START_S_MAX))
            time.sleep(0.03)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; nothing happens when it has ended."""
        if self.running:
            os.kill(self.pid, number)

    def ask_to_stop(self) -> None:
        """Ask for an orderly stop, without waiting."""
        self.signal(signal.SIGCONT)  # a frozen process would never see the next one
        self.signal(self._stops_on)

    def stop(self, within_s: float = STOP_S_MAX) -> None:
        """Stop it in order, and kill it when that takes too long; safe twice."""
        self.ask_to_stop()
        self.wait(within_s)

    def wait(self, within_s: float) -> None:
        """Wait for the end of a process that was asked to stop, and kill it when it does not."""
        if self._process is None:
            return
        try:
            self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.kill()
        self._forget()

    def kill(self) -> None:
        """End it at once, with all processes that it started itself; safe twice."""
        if self._process is None:
            return
        family = _family(self.pid) if self.running else []
        self.signal(signal.SIGKILL)
        self._process.wait()
        for relative in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                relative.kill()
        while any(map(_alive, family)):
            time.sleep(0.01)
        self._forget()

    def stop_leftover(self) -> None:
        """Stop the process that an earlier run left behind in this folder, if there is one."""
        with contextlib.suppress(OSError, ValueError, psutil.Error):
            leftover = psutil.Process(int(self._pid_file.read_text()))
            if any(str(self._folder) in word for word in leftover.cmdline()):
                _stop_stranger(leftover, self._stops_on)
        self._pid_file.unlink(missing_ok=True)

    def last_words(self) -> str:
        """The line of its log that says best why it ended."""
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines()[-60:] if line.strip()]
        telling = [line for line in lines if any(word in line for word in ("FATAL", "ERROR", "Exception", "Error"))]
        return (telling or lines or ["it said nothing"])[-1][:300]

    @property
    def _pid_file(self) -> Path:
        return self._folder / "pid"

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self._open_log() as log:
            return subprocess.Popen(  # noqa: S603 - our own command, no shell
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=self._folder,
                env=dict(self._environment),
                **_as_account(self._account),
            )

    def _open_log(self) -> IO[bytes]:
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES_MAX:
            self.log.unlink()
        return self.log.open("ab")

    def _forget(self) -> None:
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None
        self._pid_file.unlink(missing_ok=True)


def run_once(name: str, command: Sequence[str], folder: Path, *, account: str | None = None) -> None:
    """Run a program to its end. Raises CannotStart with what it said when it fails."""
    try:
        done = subprocess.run(  # noqa: S603 - our own command, no shell
            command,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            cwd=folder,
            env=_QUIET_ENVIRONMENT,
            **_as_account(account),
        )
    except OSError as error:
        raise CannotStart(f"{name} cannot be run here: {error}") from error
    if done.returncode != 0:
        raise CannotStart(f"{name} failed in {folder}: {(done.stderr or done.stdout).strip()[-300:]}")


def _as_account(account: str | None) -> dict[str, Any]:
    """Arguments of `subprocess` that start a process as another account (None: as this one)."""
    if account is None:
        return {}
    entry = pwd.getpwnam(account)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _family(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return list(psutil.Process(pid).children(recursive=True))
    return []


def _alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


def _stop_stranger(process: psutil.Process, stops_on: signal.Signals) -> None:
    process.resume()
    process.send_signal(stops_on)
    deadline = time.monotonic() + STOP_S_MAX
    while _alive(process) and time.monotonic() < deadline:
        time.sleep(0.05)
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()
