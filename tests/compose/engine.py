"""A Docker engine for one test run: the one that answers, or a private one that this run starts and ends.

Writes: only the folder it is given. Guarantees: an engine that was there before is left as it was; a private one is
ended with all its containers.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

START_S_MAX = 60.0
STOP_S_MAX = 30.0


class NoEngine(Exception):
    """No Docker engine can be had here; the text says what is missing."""


@contextmanager
def engine(folder: Path) -> Iterator[Mapping[str, str]]:
    """The environment in which `docker` reaches an engine. Raises NoEngine before anything is built."""
    _need_compose()
    if _answers(os.environ):
        yield dict(os.environ)
        return
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        raise NoEngine(
            "No Docker engine answers. Start one, or install one (Debian: apt-get install docker.io iptables) and run "
            "this as root, so that it can start a private one."
        )
    with _private(folder) as environment:
        yield environment


@contextmanager
def _private(folder: Path) -> Iterator[Mapping[str, str]]:
    folder.mkdir(parents=True, exist_ok=True)
    address = f"unix://{folder}/docker.sock"
    environment = {**os.environ, "DOCKER_HOST": address}
    command = [
        *("dockerd", "--host", address, "--data-root", str(folder / "images"), "--exec-root", str(folder / "running")),
        *("--pidfile", str(folder / "docker.pid"), "--log-level", "warn"),
    ]
    with (folder / "log.txt").open("ab") as log:
        daemon = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait(daemon, environment, folder)
        yield environment
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(STOP_S_MAX)
        _unmount(folder)


def _unmount(folder: Path) -> None:
    """Give back what an engine leaves mounted below its folder, such as the network of its own namespace."""
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for place in reversed([place for place in mounted if place.startswith(f"{folder}/")]):
        subprocess.run(["umount", place], check=False)


def _wait(daemon: subprocess.Popen[bytes], environment: Mapping[str, str], folder: Path) -> None:
    deadline = time.monotonic() + START_S_MAX
    while not _answers(environment):
        if daemon.poll() is not None or time.monotonic() > deadline:
            last = "".join((folder / "log.txt").read_text(errors="replace").splitlines(keepends=True)[-3:])
            raise NoEngine(f"The Docker engine did not start: {last}")
        time.sleep(0.2)


def _need_compose() -> None:
    if shutil.which("docker") is None:
        raise NoEngine("The command docker is not installed.")
    if subprocess.run(["docker", "compose", "version"], capture_output=True).returncode != 0:
        raise NoEngine(
            "Docker Compose 2 is missing: `docker compose version` must answer. It is Docker's package "
            "docker-compose-plugin, or builds with go install github.com/docker/compose/v2/cmd@v2.32.4 "
            "(put it in ~/.docker/cli-plugins as docker-compose)."
        )


def _answers(environment: Mapping[str, str]) -> bool:
    asked = subprocess.run(["docker", "version"], env=dict(environment), capture_output=True)
    return asked.returncode == 0
