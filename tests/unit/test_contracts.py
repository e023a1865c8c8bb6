"""The released contracts: what classes say, what files say, and that nothing released ever changes."""

import copy
import io
import json
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import fastavro
import pytest

from schemas.codec import AVRO, HEADER_BYTES, Contract, contract_of, digest, file_ids, message_types, released
from schemas.compatibility import Version, refusals
from tests.golden import EXAMPLES

ROOT = Path(__file__).parents[2]
DATE = {"type": "int", "logicalType": "date"}
MONEY = {"type": "record", "name": "intoaec.Money", "fields": [{"name": "amount", "type": "long"}]}


def subjects() -> dict[str, list[Version]]:
    found = defaultdict(list)
    for contract in released().values():
        found[contract.subject].append(Version(contract.version, contract.schema))
    return found


def newest(contracts: dict[int, Contract], subject: str) -> Contract:
    return max((each for each in contracts.values() if each.subject == subject), key=lambda each: each.version)


def record(*fields: Any, name: str = "intoaec.accounting.InvoiceIssued") -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [dict(zip(("name", "type", "default"), f)) for f in fields]}  # noqa: B905


ID, DUE, TOTAL = ("invoice_id", "string"), ("due_on", ["null", DATE], None), ("total", MONEY)
BEFORE = record(ID, DUE, TOTAL)


# --- files and classes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body_type", message_types(), ids=lambda body_type: body_type.__name__)
def test_newest_contract_file_says_what_the_class_says(body_type: type) -> None:
    message_type = message_types()[body_type]
    contract = newest(released(), message_type.subject)
    assert (contract.version, contract.schema) == (message_type.version, contract_of(body_type)), (
        "the class was changed: raise its schema_version, add an upcaster and run `python -m schemas.codec`"
    )


def test_every_contract_file_has_an_id_and_every_id_a_file() -> None:
    files = {(path.parent.name, int(path.stem[1:])) for path in AVRO.glob("*/v*.avsc")}
    assert files == {(contract.subject, contract.version) for contract in released().values()}


def test_versions_of_a_subject_have_no_gap() -> None:
    numbers = {subject: sorted(version.number for version in versions) for subject, versions in subjects().items()}
    assert numbers == {subject: list(range(1, len(found) + 1)) for subject, found in numbers.items()}


def test_a_contract_is_named_like_its_subject() -> None:
    for contract in released().values():
        assert f"{contract.schema['namespace']}.{contract.schema['name']}" == contract.subject


# --- nothing released changes ------------------------------------------------------------------------------------


def changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """The ids of `before` that mean something else, or nothing, in `after`."""
    return [schema_id for schema_id, entry in before.items() if after.get(schema_id) != entry]


def baselines() -> list[str]:
    """What a change is compared with: the last commit, and the last release where there is one."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("there is no history here to compare with")
    described = _git("describe", "--tags", "--abbrev=0")
    return ["HEAD", *described.split()]


def _git(*arguments: str) -> str:
    command = ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True).stdout


def test_ids_are_only_ever_added() -> None:
    now = json.loads((AVRO / "ids.json").read_text())
    for baseline in baselines():
        before = json.loads(_git("show", f"{baseline}:schemas/avro/ids.json") or "{}")
        assert changed(before, now) == [], f"an id that {baseline} gave was changed; give a new one"


def test_a_changed_or_removed_id_is_noticed() -> None:
    before = {"1": {"subject": "a", "version": 1}, "2": {"subject": "b", "version": 1}}
    assert changed(before, {"1": {"subject": "a", "version": 2}, "3": {"subject": "c", "version": 1}}) == ["1", "2"]


def test_no_released_contract_or_example_was_edited_or_removed() -> None:
    for baseline in baselines():
        edited = _git(
            "diff", "--name-only", "--diff-filter=MDR", baseline, "--", "schemas/avro/*/*", "schemas/examples"
        )
        assert edited.split() == [], f"these stand in {baseline} and must stay as they are; add a version instead"


def test_contract_that_was_edited_after_its_release_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shutil.copytree(AVRO, tmp_path / "avro")
    edited = tmp_path / "avro" / "intoaec.accounting.InvoiceIssued" / "v1.avsc"
    edited.write_text(edited.read_text().replace('"string"', '"bytes"', 1))
    monkeypatch.setattr("schemas.codec.AVRO", tmp_path / "avro")
    with pytest.raises(ValueError, match=r"InvoiceIssued v1 was changed after its release"):
        released.__wrapped__()


def test_the_order_of_keys_in_a_file_does_not_matter_to_its_digest() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})


# --- compatibility -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subject", sorted(subjects()))
def test_all_released_versions_of_a_subject_read_each_other(subject: str) -> None:
    assert refusals(subjects()[subject]) == []


@pytest.mark.parametrize("subject", sorted(subjects()))
def test_every_contract_can_be_extended_by_an_optional_field(subject: str) -> None:
    last = subjects()[subject][-1]
    longer = copy.deepcopy(dict(last.schema))
    longer["fields"].append({"name": "added_later", "type": ["null", "string"], "default": None})
    assert refusals([last, Version(last.number + 1, longer)]) == []


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        (record(ID, TOTAL), "due_on is gone"),
        (record(ID, DUE, TOTAL, ("tax", MONEY)), "tax is new and has no default"),
        (record(("invoice_id", "long"), DUE, TOTAL), "invoice_id has another type"),
        (record(ID, ("due_on", ["null", "int"], None), TOTAL), "due_on has another type"),
        (record(ID, DUE, ("total", {**MONEY, "fields": []})), "Money.amount is gone"),
        (record(ID, DUE, TOTAL, name="x.InvoiceSent"), "its name was intoaec.accounting.InvoiceIssued"),
        (record(ID, DUE, TOTAL, ("tax", "long", "none")), "cannot read"),
    ],
    ids=["removed", "no default", "other type", "other logical type", "within a record", "renamed", "wrong default"],
)
def test_version_that_is_not_additive_is_refused_with_the_reason(after: dict[str, Any], reason: str) -> None:
    found = refusals([Version(1, BEFORE), Version(2, after)])
    assert len(found) >= 1
    assert any(reason in each for each in found), found


def test_version_is_compared_with_all_before_it_not_only_the_last() -> None:
    without = record(("invoice_id", "string"))
    with_it = record(("invoice_id", "string"), ("note", "string", ""))
    other = record(("invoice_id", "string"), ("note", "string", ""), ("tax", "long"))
    found = refusals([Version(3, other), Version(1, without), Version(2, with_it)])
    assert [each.split(":")[0] for each in found] == [
        "intoaec.accounting.InvoiceIssued v3 beside v1",
        "intoaec.accounting.InvoiceIssued v3 beside v2",
    ]


# --- two versions at once ----------------------------------------------------------------------------------------


SECOND = sorted(subject for subject, versions in subjects().items() if len(versions) > 1)


def wires(subject: str, version: int) -> list[bytes]:
    """The golden messages of one version, as they stand in a topic."""
    paths = sorted((EXAMPLES / subject / f"v{version}").glob("*.json"))
    return [bytes.fromhex(json.loads(path.read_text())["wire"]) for path in paths]


def as_read_with(reader: Version, wire: bytes) -> Any:
    """A message as somebody else's consumer sees it, whose own contract is this version."""
    writer = file_ids().contract(int.from_bytes(wire[1:HEADER_BYTES], "big"))
    written, wanted = (fastavro.parse_schema(dict(s), named_schemas={}) for s in (writer.schema, reader.schema))
    return fastavro.schemaless_reader(io.BytesIO(wire[HEADER_BYTES:]), written, wanted)


def test_there_are_messages_with_a_second_version() -> None:
    assert {"intoaec.accounting.PaymentApplied", "intoaec.changes.CompanyFacts"} <= set(SECOND)


@pytest.mark.parametrize("subject", SECOND)
def test_consumer_that_stays_on_the_first_version_reads_all_it_knows_of_the_second(subject: str) -> None:
    first, second = sorted(subjects()[subject])[:2]
    for wire in wires(subject, 2):
        seen, meant = as_read_with(first, wire), as_read_with(second, wire)
        assert set(seen) == {field["name"] for field in first.schema["fields"]}
        assert seen == without_what_is_new(meant, seen)


def without_what_is_new(value: Any, known: Any) -> Any:
    """The same value without the fields that the other one has not got, however deep."""
    if isinstance(value, dict) and isinstance(known, dict):
        return {name: without_what_is_new(value[name], known[name]) for name in known}
    return value


@pytest.mark.parametrize("subject", SECOND)
def test_bytes_of_the_first_version_are_read_as_the_newest_shape_with_nothing_made_up(subject: str) -> None:
    first, second = sorted(subjects()[subject])[:2]
    for wire in wires(subject, 1):
        message = file_ids().decode(wire)
        again = as_read_with(second, file_ids().encode(message))
        before = as_read_with(first, wire)
        assert without_what_is_new(again, before) == before
        added = set(again) - set(before)
        assert {name: again[name] for name in added} == dict.fromkeys(added, STATED.get(subject))


STATED = {"intoaec.changes.CompanyFacts": 1}  # whoever wrote the first version knew the first rules alone


def test_what_was_not_stated_in_home_currency_is_not_known_rather_than_zero() -> None:
    (revised, *_) = (file_ids().decode(wire).body for wire in wires("intoaec.accounting.InvoiceRevised", 1))
    assert (revised.before.home_total, revised.after.home_total, revised.after.home_deposit) == (None, None, None)
    (applied, *_) = (file_ids().decode(wire).body for wire in wires("intoaec.accounting.PaymentApplied", 1))
    assert (applied.home_source, applied.home_target) == (None, None)


def test_second_version_without_a_default_is_refused_beside_the_released_first() -> None:
    """The guard of `all released versions read each other`, on a contract of our own."""
    first = subjects()["intoaec.accounting.PaymentApplied"][0]
    careless = copy.deepcopy(dict(first.schema))
    careless["fields"].append({"name": "home_source", "type": "long"})
    (said,) = refusals([first, Version(2, careless)])
    assert "home_source is new and has no default" in said
