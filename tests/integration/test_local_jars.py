"""Fetching the broker's jars: from a mirror on this machine, made of what the broker of this run was started from."""

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from connectors.child import CannotStart
from connectors.local import jars

FETCH = "from connectors.local import jars; print(len(jars()))"


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def known() -> list[Path]:
    """The jars of this machine, fetched already or now."""
    return jars()


@pytest.fixture
def mirror(known: list[Path]) -> Iterator[str]:
    """The address of a repository that holds them."""
    root = next(above for above in known[0].parents if above.name.startswith("kafka-") and (above / ".lock").exists())
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(root))) as server:
        Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def use(monkeypatch: pytest.MonkeyPatch, folder: Path, repository: str) -> None:
    """A user with an empty cache whose jgo configuration names this repository."""
    (folder / "jgo.conf").write_text(f"[repositories]\ncentral = {repository}\n")
    monkeypatch.setenv("JGO_CONFIG_FILE", str(folder / "jgo.conf"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))


def test_an_empty_cache_is_filled_and_progress_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mirror: str, known: list[Path]
) -> None:
    use(monkeypatch, tmp_path, mirror)
    told: list[tuple[int, int]] = []
    fetched = jars(lambda _what, done, total: told.append((done, total)))
    assert [path.name for path in fetched] == [path.name for path in known]
    assert all(path.is_relative_to(tmp_path) for path in fetched)
    assert told == [(done, len(known)) for done in range(len(known) + 1)]


def test_a_jar_that_was_cut_off_is_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mirror: str, known: list[Path]
) -> None:
    use(monkeypatch, tmp_path, mirror)
    cut, untouched, *_ = jars()
    whole, made_at = cut.read_bytes(), untouched.stat().st_mtime_ns
    cut.write_bytes(whole[:1000])
    assert jars()[0].read_bytes() == whole
    assert untouched.stat().st_mtime_ns == made_at


def test_two_processes_may_fetch_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mirror: str) -> None:
    use(monkeypatch, tmp_path, mirror)
    fetching = [subprocess.Popen([sys.executable, "-c", FETCH], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [each.communicate(timeout=60)[0] for each in fetching]
    assert said[0] == said[1] != ""


def test_a_repository_that_is_away_is_said_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    use(monkeypatch, tmp_path, f"http://127.0.0.1:{unused_tcp_port}")
    with pytest.raises(CannotStart, match=r"could not be fetched .*jgo\.conf.*KAFKA_BOOTSTRAP"):
        jars()


def test_a_jar_with_other_content_than_the_locked_one_is_never_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: list[Path]
) -> None:
    served = tmp_path / "served"
    root = next(above for above in known[0].parents if (above / ".lock").exists())
    forged = served / known[0].relative_to(root)
    forged.parent.mkdir(parents=True)
    forged.write_bytes(b"not the jar")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(served))) as server:
        Thread(target=server.serve_forever).start()
        use(monkeypatch, tmp_path, f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(CannotStart, match=r"is not the file that was locked|not found in remote"):
            jars()
        server.shutdown()
    assert not list((tmp_path / "cache").rglob(known[0].name))
