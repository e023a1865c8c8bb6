"""A started process never stays behind, however its starter ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from connectors.child import CannotStart, Child

SLEEPS = "import time; time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)
STARTER = """
import os, sys, time
from pathlib import Path
from connectors.child import Child
folder = Path(sys.argv[1])
child = Child("sleeper", [sys.executable, "-c", sys.argv[2], str(folder)], folder)
child.start()
print(child.pid, flush=True)
time.sleep(600)
"""


def sleeper(folder: Path, code: str = SLEEPS) -> Child:
    return Child("sleeper", [sys.executable, "-c", code, str(folder)], folder)


def until(is_so: Callable[[], bool], within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def started_elsewhere(folder: Path) -> tuple[subprocess.Popen[str], int]:
    starter = subprocess.Popen([sys.executable, "-c", STARTER, folder, SLEEPS], stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    return starter, int(starter.stdout.readline())


def test_a_child_ends_when_its_starter_is_killed(tmp_path: Path) -> None:
    starter, pid = started_elsewhere(tmp_path)
    assert not gone(pid)
    starter.kill()
    starter.communicate()
    until(lambda: gone(pid))


def test_what_an_earlier_run_left_behind_is_stopped_before_a_start(tmp_path: Path) -> None:
    first, second = sleeper(tmp_path), sleeper(tmp_path)
    first.start()
    left = first.pid
    second.start()
    assert gone(left)
    assert second.running
    second.stop()
    first.stop()


def test_a_stranger_with_the_remembered_number_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", SLEEPS]) as stranger:
        (tmp_path / "pid").write_text(str(stranger.pid))
        child = sleeper(tmp_path)
        child.start()
        child.stop()
        assert stranger.poll() is None
        stranger.kill()


def test_an_interrupt_in_the_terminal_does_not_reach_a_child(tmp_path: Path) -> None:
    child = sleeper(tmp_path)
    child.start()
    assert os.getpgid(child.pid) != os.getpgid(0)
    assert os.getsid(child.pid) != os.getsid(0)
    child.stop()


def test_a_child_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    child = sleeper(tmp_path, STUBBORN)
    child.start()
    child.wait_until(lambda: "up" in child.log.read_text())
    child.stop(within_s=0.2)
    assert not child.running
    assert gone(child.pid)


def test_a_frozen_child_can_be_stopped_in_order(tmp_path: Path) -> None:
    child = sleeper(tmp_path)
    child.start()
    child.signal(signal.SIGSTOP)
    until(lambda: psutil.Process(child.pid).status() == psutil.STATUS_STOPPED)
    child.stop(within_s=60)
    assert not child.running


def test_a_child_that_ends_at_once_says_why(tmp_path: Path) -> None:
    child = sleeper(tmp_path, "print('hello'); raise OSError('the address is in use')")
    child.start()
    with pytest.raises(CannotStart, match="sleeper ended while starting: OSError: the address is in use"):
        child.wait_until(lambda: False)
    child.stop()


def test_a_program_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match="sleeper cannot be run here"):
        Child("sleeper", [str(tmp_path / "nothing")], tmp_path).start()


def test_a_child_that_nobody_stopped_ends_with_its_starter(tmp_path: Path) -> None:
    ends_at_once = STARTER.removesuffix("time.sleep(600)\n")
    starter = subprocess.run([sys.executable, "-c", ends_at_once, tmp_path, SLEEPS], stdout=subprocess.PIPE, text=True)
    until(lambda: gone(int(starter.stdout)))
