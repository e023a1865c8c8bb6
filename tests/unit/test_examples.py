"""Every golden example is read as it was once written, and every message has one."""

import json
from pathlib import Path
from typing import Any

import pytest

from schemas.codec import contract_of, file_ids, message_types, released
from tests.golden import EXAMPLES, ORDINARY, example, examples

FILES = sorted(EXAMPLES.glob("*/v*/*.json"))
NEWEST = {(each.subject, each.version) for each in message_types().values()}


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def place(path: Path) -> tuple[str, int]:
    return path.parts[-3], int(path.parts[-2][1:])


def named(path: Path) -> str:
    return "/".join(path.parts[-3:])


@pytest.mark.parametrize("path", FILES, ids=named)
def test_example_is_what_its_bytes_say(path: Path) -> None:
    kept = read(path)
    assert example(bytes.fromhex(kept["wire"])) == kept
    assert (kept["subject"], kept["version"]) == place(path)


@pytest.mark.parametrize("path", FILES, ids=named)
def test_example_is_decoded_into_the_newest_shape_of_its_message(path: Path) -> None:
    decoded = file_ids().decode(bytes.fromhex(read(path)["wire"]))
    assert message_types()[type(decoded.body)].subject == place(path)[0]


@pytest.mark.parametrize("path", [path for path in FILES if place(path) in NEWEST], ids=named)
def test_example_of_the_newest_version_is_written_byte_for_byte(path: Path) -> None:
    wire = bytes.fromhex(read(path)["wire"])
    assert file_ids().encode(file_ids().decode(wire)) == wire


def test_every_version_of_every_message_has_an_example() -> None:
    released_versions = {(contract.subject, contract.version) for contract in released().values()}
    assert {place(path) for path in FILES} == released_versions, "run `python -m tests.golden`"


def test_every_example_of_the_newest_versions_is_written() -> None:
    missing = [named(path) for path, _ in examples() if not path.exists()]
    assert missing == [], "run `python -m tests.golden`"


def test_message_with_optional_facts_has_an_example_with_and_without_them() -> None:
    for body_type, message_type in message_types().items():
        optional = any("default" in field for field in contract_of(body_type)["fields"])
        cases = {path.stem for path in FILES if place(path) == (message_type.subject, message_type.version)}
        assert cases >= ({"full", "least"} if optional else {"full"}), message_type.subject


def test_no_example_value_is_left_over_from_a_field_that_is_gone() -> None:
    words = json.dumps([contract.schema for contract in released().values()])
    assert [name for name in ORDINARY if f'"name": "{name}"' not in words] == []
