"""Bring docker-compose.yml up for real, run the acceptance test against it, take it down: `make test-compose`.

Reads: docker-compose.yml and Dockerfile, as a user's `docker compose up --build` does. Writes: images and containers of
the engine, under a project name of its own; nothing in the checkout.
Guarantees: whatever happens, its containers, networks and volumes are gone at the end; ports are free ones.
Images come from the registry that the engine reaches; where none answers, local stand-ins take their names.
`--stand-ins` builds them without asking a registry; `--keep-engine FOLDER` keeps a private engine's images.
"""

import argparse
import base64
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import yaml

from tests.compose.engine import NoEngine, engine
from tests.compose.stand_ins import CannotBuild, exists, stand_in

ROOT = Path(__file__).parents[2]
TESTS = [str(Path(__file__).parent / name) for name in ("smoke.py", "acceptance.py")]
OURS = ("setup", "ingress", "enrich", "ledger", "project", "repair", "simulator")
UP = ["up", "--detach", "--wait", "--wait-timeout", "240"]
PORTS = ("KAFKA_PORT", "POSTGRES_PORT", "REGISTRY_PORT", "INGRESS_PORT", "SIMULATOR_PORT")

Environment = Mapping[str, str]


class Failed(Exception):
    """The system did not come up, or not as it must; the text says what and shows the last words."""


def main() -> None:
    """Exit code 0: everything was healthy and the tests passed."""
    parser = argparse.ArgumentParser(prog="bring_up", description="docker-compose.yml, for real")
    parser.add_argument("--stand-ins", action="store_true", help="build stand-ins without asking an image registry")
    parser.add_argument("--keep-engine", type=Path, metavar="FOLDER", help="keep a private engine's images here")
    options = parser.parse_args()
    try:
        with ExitStack() as stack:
            folder = options.keep_engine or Path(stack.enter_context(tempfile.TemporaryDirectory()))
            docker = stack.enter_context(engine(folder.resolve()))
            _images(docker, options.stand_ins)
            system = stack.enter_context(_system(docker))
            failed = _test(system) or _test_again(system)
    except (NoEngine, CannotBuild, Failed) as problem:
        sys.exit(f"test-compose: {problem}")
    sys.exit(failed)


def _images(docker: Environment, only_stand_ins: bool) -> None:
    """Have every image that the compose file and the Dockerfile name."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    named = {each["image"] for each in services.values() if "intoaec" not in each["image"]} | {"python:3.11-slim"}
    for image in sorted(named):
        if exists(image, docker):
            continue
        with _told(f"image {image}"):
            pulled = not only_stand_ins and _run(["docker", "pull", "--quiet", image], docker).returncode == 0
            if not pulled:
                stand_in(image, docker)
                _say("  a local stand-in")


@contextmanager
def _system(docker: Environment) -> Iterator[Environment]:
    """The running system: how tests reach it."""
    values = _values()
    environment = {**docker, **values, "COMPOSE_PROJECT_NAME": f"intoaec-{secrets.token_hex(4)}"}
    try:
        with _told("the image of our own"):
            _build(environment)
        with _told("all services healthy"):
            _compose(UP, environment)
        yield {**environment, **_addresses(values)}
    finally:
        _run(_compose_command(["down", "--volumes", "--timeout", "5", "--remove-orphans"]), environment)
        _run(["docker", "image", "rm", f"intoaec-quickbooks:{values['BUILD']}"], environment)


def _build(environment: Environment) -> None:
    """As `docker compose build` does, on this machine's network; the classic builder where there is no other."""
    image = f"intoaec-quickbooks:{environment['BUILD']}"
    command = ["docker", "build", "--network=host", "--build-arg", f"BUILD={environment['BUILD']}", "--tag", image, "."]
    if _run(["docker", "buildx", "version"], environment).returncode != 0:
        environment = {**environment, "DOCKER_BUILDKIT": "0"}
    built = _run(command, environment)
    if built.returncode != 0:
        raise Failed(f"the image could not be built:\n{(built.stdout + built.stderr)[-2000:]}")


def _compose(arguments: list[str], environment: Environment) -> None:
    done = _run(_compose_command(arguments), environment)
    if done.returncode != 0:
        states = _run(_compose_command(["ps", "--all"]), environment).stdout
        logs = _run(_compose_command(["logs", "--no-color", "--tail", "25"]), environment).stdout
        raise Failed(f"docker compose {arguments[0]} failed: {done.stderr[-1500:]}\n{states}\n{logs}")


def _refuse_bad_ends(environment: Environment) -> None:
    """Every process ended by itself when it was asked to: 0, or 130 and 143 where a runtime tells the signal."""
    shown = _run(_compose_command(["ps", "--all", "--format", "{{.Service}} {{.ExitCode}}"]), environment).stdout
    bad = [line for line in shown.splitlines() if line.split()[1] not in ("0", "130", "143")]
    if bad:
        raise Failed(f"these did not stop in order: {', '.join(bad)}")


def _compose_command(arguments: list[str]) -> list[str]:
    # No .env of the person who runs this: the values are this run's own.
    return ["docker", "compose", "--env-file", "/dev/null", *arguments]


def _values() -> dict[str, str]:
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    return {
        "MASTER_KEYS": f"k1:{key}",
        "POSTGRES_PASSWORD": secrets.token_hex(12),
        "WEBHOOK_VERIFIER_TOKENS": secrets.token_hex(16),
        "QUICKBOOKS_CLIENT_SECRET": secrets.token_hex(16),
        "QUICKBOOKS_CLIENT_ID": "composed",
        "SIMULATOR_HISTORY": "small",
        "SIMULATOR_COMPANIES": "2",
        "BUILD": f"test-{secrets.token_hex(4)}",
        **{name: str(port) for name, port in zip(PORTS, _free_ports(len(PORTS)), strict=True)},
    }


def _addresses(values: Environment) -> dict[str, str]:
    """How a test on this machine reaches the system. None of them is a variable that the fixtures of tests read."""
    password = values["POSTGRES_PASSWORD"]
    return {
        "SYSTEM_KAFKA_BOOTSTRAP": f"127.0.0.1:{values['KAFKA_PORT']}",
        "SYSTEM_DATABASE_URL": f"postgresql://intoaec:{password}@127.0.0.1:{values['POSTGRES_PORT']}/intoaec",
        "SYSTEM_SCHEMA_REGISTRY_URL": f"http://127.0.0.1:{values['REGISTRY_PORT']}/apis/ccompat/v7",
        "SYSTEM_INGRESS_URL": f"http://127.0.0.1:{values['INGRESS_PORT']}",
        "SYSTEM_SIMULATOR_URL": f"http://127.0.0.1:{values['SIMULATOR_PORT']}",
        "SYSTEM_MASTER_KEYS": values["MASTER_KEYS"],
        "SYSTEM_WEBHOOK_VERIFIER_TOKENS": values["WEBHOOK_VERIFIER_TOKENS"],
        "SYSTEM_QUICKBOOKS_CLIENT_ID": values["QUICKBOOKS_CLIENT_ID"],
        "SYSTEM_QUICKBOOKS_CLIENT_SECRET": values["QUICKBOOKS_CLIENT_SECRET"],
        "SYSTEM_TOPIC_PARTITIONS": "4",
    }


def _test(system: Environment) -> int:
    """The exit code of the tests; what the containers said last where they fail."""
    code = _pytest(TESTS, system)
    if code != 0:
        _say(_run(_compose_command(["logs", "--no-color", "--tail", "25", *OURS]), system).stdout)
    return code


def _test_again(system: Environment) -> int:
    """Stop everything in order, start it again, and see that what was kept is used."""
    with _told("stop in order"):
        _compose(["stop"], system)
    _refuse_bad_ends(system)
    with _told("all services healthy again, with what was kept"):
        _compose(UP, system)
    return _pytest([*TESTS[:1], "-k", "signed_delivery or registry"], system)


def _pytest(arguments: list[str], system: Environment) -> int:
    return subprocess.run([sys.executable, "-m", "pytest", *arguments], cwd=ROOT, env=dict(system)).returncode


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def _run(command: list[str], environment: Environment) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True)


@contextmanager
def _told(what: str) -> Iterator[None]:
    _say(f"{what} ...")
    began = time.monotonic()
    yield
    _say(f"  {time.monotonic() - began:.1f} s")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
