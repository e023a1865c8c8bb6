"""Print the part of the lock file that the system needs to run, without what only tests and the demo need.

Reads: pyproject.toml (`dependencies`), requirements.lock (every package with its hashes, and by whom it is wanted).
Writes: requirements with hashes to standard output, for `pip install --require-hashes`.
Guarantees: one lock file stays the only source of versions and hashes; nothing needed is left out.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

_WANTED_BY = re.compile(r"^ +# +(?:via )?([A-Za-z0-9._-]+)(?:\[.*\])?$")


def runtime_requirements(pyproject: str, lock: str) -> list[str]:
    """The lock file's entries of the runtime dependencies and of everything that they want."""
    entries = list(_entries(lock))
    kept = {_name(line) for line in tomllib.loads(pyproject)["project"]["dependencies"]}
    unlocked = kept - set(map(_name, entries))
    if unlocked:
        raise SystemExit(f"requirements.lock does not name {', '.join(sorted(unlocked))}: run `make lock`.")
    while more := {_name(entry) for entry in entries if kept.intersection(_wanted_by(entry))} - kept:
        kept |= more
    return [entry for entry in entries if _name(entry) in kept]


def _entries(lock: str) -> Iterator[str]:
    """Each package with its hashes and the comments below it, which say by whom it is wanted."""
    for block in re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE):
        if re.match(r"[A-Za-z0-9]", block):
            yield block.rstrip() + "\n"


def _name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    return re.sub(r"[-_.]+", "-", found.group().lower()) if found else ""


def _wanted_by(entry: str) -> Iterator[str]:
    for line in entry.splitlines():
        if match := _WANTED_BY.match(line):
            yield _name(match.group(1))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    sys.stdout.writelines(
        runtime_requirements((folder / "pyproject.toml").read_text(), (folder / "requirements.lock").read_text())
    )
