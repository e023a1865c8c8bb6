"""Run the tests against mutants: several at once, each worker in a copy of the tree of its own.

Reads: the work tree. Writes: copies of it in a temporary folder, never the tree itself.
A worker loads what the tests need of other people's code once and forks for every mutant, so that a mutant costs the
tests and what they import of ours, not the start of Python. A test that does not end in time kills its mutant.
"""

import importlib
import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from tests.mutation.mutants import Mutant

ROOT = Path(__file__).parents[2]
OURS = ("schemas", "connectors", "streams", "tests")
COPIED = (*OURS, "docs", "pyproject.toml", "benchmarks", "image")
_FORK = multiprocessing.get_context("fork")
_QUIET = (
    "-x",
    "-q",
    "-p",
    "no:cacheprovider",
    "--assert=plain",
    "-m",
    "not prove and not slow",
    "--hypothesis-seed=0",
    "--timeout=40",
)


class Run(NamedTuple):
    """What became of the tests: with a mutant, or without one (the baseline)."""

    mutant: Mutant | None
    failed: str  # the first test that failed; empty: none did
    seconds: float


class BaselineFailed(Exception):
    """The tests fail without any mutant, so they say nothing about one."""


def runs(mutants: Sequence[Mutant], tests: Sequence[str], workers: int, folder: Path) -> Iterator[Run]:
    """Every mutant of one module with what became of it, as they end; the baseline of each worker first."""
    taken, done = _FORK.Value("i", 0), _FORK.SimpleQueue()
    started = [
        _FORK.Process(target=_work, args=(_copied(folder / str(n)), tuple(tests), mutants, taken, done))
        for n in range(workers)
    ]
    try:
        for worker in started:
            worker.start()
        for _ in range(workers + len(mutants)):
            number, failed, seconds = done.get()
            if number is None and failed:
                raise BaselineFailed(failed)
            yield Run(None if number is None else mutants[number], failed, seconds)
    finally:
        for worker in started:
            worker.terminate()
            worker.join()


def _copied(folder: Path) -> Path:
    """A copy of the tree, once for all modules of a run."""
    if not folder.exists():
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copyfile(ROOT / name, folder / name)
    return folder


def _work(copy: Path, tests: tuple[str, ...], mutants: Sequence[Mutant], taken: Any, done: Any) -> None:
    try:
        _try(copy, tests, mutants, taken, done)
    except BaseException as error:
        done.put((None, f"a worker ended with {error!r}", 0))
        raise


def _try(copy: Path, tests: tuple[str, ...], mutants: Sequence[Mutant], taken: Any, done: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.chdir(copy)
    _forget_ours(copy)
    for name in _unchanged(_forked(("--collect-only", *tests), {}, limit_s=600)[2], mutants[0].module):
        with suppress(Exception):
            importlib.import_module(name)
    failed, seconds, _ = _forked(tests, {}, limit_s=600)  # in the very conditions in which mutants are tried
    done.put((None, failed, seconds))
    kills: Counter[str] = Counter()
    limit_s = 30 + 10 * seconds
    while (number := _next(taken)) < len(mutants):
        with _Standing(copy, mutants[number]):
            failed, seconds, _ = _forked(tests, kills, limit_s)
        kills[failed] += bool(failed)
        done.put((number, failed, seconds))


def _next(taken: Any) -> int:
    """The number of the next mutant that no worker has taken."""
    with taken.get_lock():
        taken.value += 1
        return taken.value - 1


def _forget_ours(copy: Path) -> None:
    """From here on our code is the copy's; nothing of the work tree may be met."""
    for name in list(sys.modules):
        is_ours = name.partition(".")[0] in OURS or name.startswith(("test_", "conftest"))
        if is_ours and name != "tests" and not name.startswith("tests.mutation"):
            del sys.modules[name]
    sys.modules["tests"].__path__ = [str(copy / "tests")]
    sys.path[:] = [str(copy), *(path for path in sys.path if path not in ("", str(ROOT)))]
    sys.dont_write_bytecode = True


class _Standing:
    """The mutant stands in the copy for a while."""

    def __init__(self, copy: Path, mutant: Mutant) -> None:
        self._path, self._mutant = copy / mutant.module, mutant

    def __enter__(self) -> None:
        self._original = self._path.read_text()
        self._path.write_text(self._mutant.source)

    def __exit__(self, *_: object) -> None:
        self._path.write_text(self._original)


def _forked(tests: tuple[str, ...], kills: dict[str, int], limit_s: float) -> tuple[str, float, list[str]]:
    """The tests in a process of their own: the first that failed, how long it took, and what was loaded for it."""
    ours, theirs = _FORK.Pipe()
    process = _FORK.Process(target=_test, args=(theirs, tests, kills))
    began = time.monotonic()
    process.start()
    theirs.close()
    failed, loaded = "timeout", []
    try:
        if ours.poll(limit_s):
            failed, loaded = ours.recv()
    except EOFError:
        failed = "crash"
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid or 0, signal.SIGKILL)
    process.join()
    return failed, time.monotonic() - began, loaded


def _test(answer: Connection, tests: tuple[str, ...], kills: dict[str, int]) -> None:
    os.setsid()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    import pytest

    watcher = _Watcher(kills)
    code = pytest.main([*_QUIET, *tests], plugins=[watcher])
    answer.send(("" if code == 0 else watcher.failed or f"pytest ended with {code}", list(sys.modules)))
    os._exit(0)


def _unchanged(loaded: list[str], mutated: str) -> list[str]:
    """What no mutant of this module touches: other people's modules, and ours that may not import it."""
    changed = ("streams", "tests") if mutated.startswith("streams/") else OURS
    return [name for name in loaded if name.partition(".")[0] not in changed and not name.startswith("test_")]


class _Watcher:
    """Runs first what has killed most, and notes what fails."""

    def __init__(self, kills: dict[str, int]) -> None:
        self.failed, self._kills = "", kills

    def pytest_configure(self, config: Any) -> None:
        """Properties draw the same examples for every mutant, and keep none."""
        from hypothesis import settings

        settings.register_profile("mutation", settings.get_profile("calm"), derandomize=True, database=None)
        settings.load_profile("mutation")

    def pytest_collection_finish(self, session: Any) -> None:
        """The order of trying changes no outcome; situations are played in one other order of arrival, not in four."""
        from tests.situation import playing

        playing.ORDERS = 1
        session.items.sort(key=lambda item: -self._kills.get(item.nodeid, 0))

    def pytest_runtest_logreport(self, report: Any) -> None:
        """The first failure."""
        if report.failed and not self.failed:
            self.failed = report.nodeid

    def pytest_collectreport(self, report: Any) -> None:
        """A module that cannot even be loaded."""
        if report.failed and not self.failed:
            self.failed = report.nodeid
