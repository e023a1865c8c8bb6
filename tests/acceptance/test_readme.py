"""The README says what is true: its commands exist and run, its names, links and tables are those of the code.

`python -m tests.acceptance.test_readme` writes the README's tables of settings and topics anew.
`make demo` and `make test`, which take their time, are run by .ci/run.
"""

import importlib
import inspect
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from rich.console import Console
from typer import Exit
from typer.core import TyperGroup
from typer.exceptions import TyperException

from connectors.config import Settings
from schemas.topics import topics
from streams import cli
from streams.topology import groups
from tests.acceptance.running import FIRST, SECOND, Running

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCUMENTS = (README, *(ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md")), *sorted(ROOT.glob("docs/**/*.md")))
BLOCK = re.compile(r"^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
PATH = re.compile(r"(?:[\w.-]+/)+[\w.-]*|[\w-]+\.(?:py|md|sql|toml|yml|lock)|Makefile|\.env\.example")
VARIABLE = re.compile(r"[A-Z]+_[A-Z_]+")
NO_SETTINGS = {"ARGS", "TEST_WITH", "QBO_RECORDINGS"}  # of make and of the tests
NOT_HERE = {"shared/", "application/json"}
# Not run here: processes (the system under test is made of them), what needs a parked record or stopped workers.
NOT_RUN = re.compile(r"intoaec (?:ingress|worker|web|parked (?:show|redrive|dismiss)|offsets align --yes)\b")
RunHere = Callable[[list[str]], tuple[int, str]]
SAYS = {
    "intoaec migrate": "The database has its newest shape already.",
    "intoaec topics create": "company-changes",
    "intoaec topics check": "Every topic is as it must be.",
    "intoaec connect": "http://127.0.0.1:",
    "intoaec customers": "Customers",
    "intoaec declare-project": "declared: ",
    "intoaec map CUSTOMER PROJECT --from 2026-01-01 --preview": "Nothing was asked yet.",
    "intoaec map": "Accepted (",
    "intoaec assign": "Accepted (",
    "intoaec exclude": "Accepted (",
    "intoaec release": "Accepted (",
    "intoaec status": FIRST,
    "intoaec trace": "read_",
    "intoaec parked list": "Parked",
    "intoaec link-project": "Accepted (",
    "intoaec as-of": "as known",
    "intoaec closed-period": "Changes in a closed period",
    "intoaec projector resume": "",
    "intoaec offsets check": "Every group may start.",
    "intoaec offsets align": "Nothing to do: every group stands where it must.",
}


def commands(text: str) -> list[str]:
    """The lines of console blocks that a person types."""
    blocks = (block["text"] for block in BLOCK.finditer(text) if block["kind"] == "console")
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def inline(text: str) -> list[str]:
    """What stands between backticks, outside of blocks."""
    return INLINE.findall(BLOCK.sub("", text))


# --- names -------------------------------------------------------------------------------------------------------


def makes() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def unknown_targets(text: str) -> list[str]:
    typed = [line for line in (*commands(text), *inline(text)) if line.startswith("make ")]
    targets = [word for line in typed for word in shlex.split(line)[1:2]]
    return [target for target in targets if target not in makes()]


def complaint(line: str) -> str | None:
    """Why a command line of ours cannot be typed; None: it can. Nothing is run."""
    command, words = typer.main.get_command(cli.app), shlex.split(line)[1:]
    while isinstance(command, TyperGroup) and words and not words[0].startswith("-"):
        found = command.commands.get(words.pop(0))
        if found is None:
            return f"{line}: there is no such command"
        command = found
    try:
        command.make_context(line, words)
    except TyperException as error:
        return f"{line}: {error.format_message()}"
    except Exit:
        return None  # --help
    return None


def test_every_command_of_a_block_can_be_typed() -> None:
    lines = commands(README.read_text())
    assert len(lines) > 25
    assert [line for line in lines if shlex.split(line)[0] not in ("make", "intoaec")] == []
    assert [said for line in lines if line.startswith("intoaec") and (said := complaint(line))] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_command_named_in_a_document_exists(document: Path) -> None:
    text = document.read_text()
    assert unknown_targets(text) == []
    named = [line for line in inline(text) if line.startswith("intoaec ")]
    assert [said for line in named if (said := complaint(f"{line} --help"))] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_of_a_document_leads_somewhere(document: Path) -> None:
    targets = [target for target in LINK.findall(document.read_text()) if "://" not in target]
    assert [target for target in targets if not (document.parent / target).exists()] == []


def test_every_file_that_the_readme_names_is_there() -> None:
    words = [word for word in inline(README.read_text()) if PATH.fullmatch(word) and "<" not in word]
    named = [word for word in words if not word.startswith("/") and word not in NOT_HERE]
    assert len(named) > 30
    assert [word for word in named if not (ROOT / word).exists() and not word.startswith(".venv/")] == []


def test_what_the_seven_stops_tell_to_look_at_is_there() -> None:
    rows = [row.split("|")[2:4] for row in README.read_text().splitlines() if re.match(r"\| (?:\d| ) +\|", row)]
    stops = {path: looked for opened, looked in rows for path in inline(opened) if path.endswith(".py")}
    assert len(stops) >= 7
    for path, looked in stops.items():
        module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
        for name in (word for word in inline(looked) if re.fullmatch(r"[\w.]+", word)):
            found: object = module
            for part in name.split("."):
                assert hasattr(found, part), f"{path} has no {name}"
                found = getattr(found, part)
            assert inspect.getdoc(found), f"{name} does not say what it is for"


def test_every_variable_that_the_readme_names_is_a_setting() -> None:
    named = {name for word in inline(README.read_text()) for name in VARIABLE.findall(word)}
    assert named - {name.upper() for name in Settings.model_fields} - NO_SETTINGS == set()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("intoaec rebuild", "there is no such command"),
        ("intoaec parked forget PLACE", "there is no such command"),
        ("intoaec status --everything", "No such option"),
        ("intoaec map CUSTOMER", "Missing argument"),
        ("intoaec map CUSTOMER PROJECT --from yesterday", "does not match the format"),
    ],
)
def test_command_that_cannot_be_typed_is_noticed(line: str, said: str) -> None:
    assert said in (complaint(line) or "")
    assert unknown_targets("Type `make fly`, then:\n\n```console\n$ make land\n```\n") == ["land", "fly"]


def test_table_that_is_not_the_codes_is_noticed() -> None:
    text = README.read_text().replace("| `BUILD` |", "| `BUILT` |")
    assert text != with_tables(text)


# --- tables ------------------------------------------------------------------------------------------------------


def settings_table() -> str:
    rows = [f"| `{name.upper()}` | {_default(field)} | {field.description} |" for name, field in _fields()]
    return "\n".join(["| variable | default | what it is |", "|---|---|---|", *rows])


def _fields() -> Iterator[tuple[str, FieldInfo]]:
    yield from Settings.model_fields.items()


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be given"
    default = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
    return f"`{default}`" if default not in ("", ()) else "empty"


def topics_table() -> str:
    rows = [
        f"| `{topic.name}` | {topic.key} | {topic.value} | {_kept(topic.retention_ms)} | {topic.writer} | "
        f"{', '.join(topic.readers)} |"
        for topic in topics(1).all()
    ]
    return "\n".join(["| topic | key | value | kept | written by | read by |", "|---|---|---|---|---|---|", *rows])


def _kept(retention_ms: int | None) -> str:
    return "for ever" if retention_ms is None else f"{retention_ms // 86_400_000} days"


def with_tables(text: str) -> str:
    """The README with its tables as the code has them."""
    for name, table in (("settings", settings_table()), ("topics", topics_table())):
        between = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        assert between.search(text), f"the README has no place for {name}"
        text = between.sub(lambda found, table=table: f"{found[1]}{table}\n{found[2]}", text)  # type: ignore[misc]
    return text


def test_tables_of_the_readme_are_those_of_the_code() -> None:
    text = README.read_text()
    assert text == with_tables(text), "python -m tests.acceptance.test_readme writes the tables"


# --- running -----------------------------------------------------------------------------------------------------


@pytest.fixture
def stands_for(system: Running) -> dict[str, str]:
    """What the README's words in capitals stand for in the system under test."""
    system.change(FIRST, 5, 77)
    system.settle()
    waits = (
        "SELECT customer_id, record_type, record_id FROM read_waiting WHERE company_id = %s AND part = '' "
        "AND record_type = 'Invoice' AND cause = 'customer_not_synced' ORDER BY customer_id, record_id LIMIT 1"
    )
    (customer, record_type, record_id), *_ = system.rows(waits, SECOND)
    booked = (
        "SELECT i.correlation_id, i.company_id, i.record_type, i.record_id, e.stream_id, e.version "
        'FROM ledger.inputs i JOIN ledger.events e ON e."partition" = i."partition" AND e.input_offset = i."offset" '
        "WHERE e.kind = 'project' AND i.origin = 'webhook' AND i.company_id = %s ORDER BY i.\"offset\" DESC LIMIT 1"
    )
    (correlation, company, its_type, its_id, project, version), *_ = system.rows(booked, FIRST)
    return {
        "COMPANY/TYPE/ID": f"{company}/{its_type}/{its_id}",
        "PROJECT/VERSION": f"{project}/{version}",
        "TYPE/ID": f"{record_type}/{record_id}",
        "CORRELATION": correlation,
        "COMPANY": SECOND,
        "CUSTOMER": customer,
        "PROJECT": "PRJ-README",
        "REFERENCE": "R-2026",
        "ORGANISATION": "organisation-of-the-readme",
    }


def run(system: Running, words: list[str]) -> subprocess.CompletedProcess[str]:
    """Run the installed command, as a person does."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environment |= system.system.environment | {"COLUMNS": "300"}
    command = [str(Path(sys.executable).with_name("intoaec")), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)


@pytest.fixture
def run_here(system: Running, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RunHere:
    """Run a command in this process: a tenth of the time. Its exit code and all that it said."""
    for name, value in system.system.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(cli, "console", Console(highlight=False, width=300))
    monkeypatch.setattr(cli, "problems", Console(stderr=True, highlight=False, width=300))

    def run_command(words: list[str]) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["intoaec", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, problems = capsys.readouterr()
        return int(ended.value.code or 0), out + problems

    return run_command


def test_commands_of_the_readme_run_in_their_order(
    system: Running, stands_for: dict[str, str], run_here: RunHere
) -> None:
    lines = [line for line in commands(README.read_text()) if line.startswith("intoaec") and not NOT_RUN.match(line)]
    assert len(lines) > 15
    for line in lines:
        code, said = run_here([stands_for.get(word, word) for word in shlex.split(line)[1:]])
        wanted = next(wanted for beginning, wanted in SAYS.items() if line.startswith(beginning))
        assert (code, wanted in said) == (0, True), f"{line}\n{said}"
    system.settle()
    assert system.differences(SECOND) == []


def test_status_names_every_topic_group_and_company(system: Running) -> None:
    shown = run(system, ["status"])
    assert (shown.returncode, shown.stderr) == (0, "")
    for name in (*groups(system.system.settings), *(topic.name for topic in topics(1).all()), *system.connected):
        assert name in shown.stdout
    assert "Blocked: none" in shown.stdout


def test_trace_leads_from_the_webhook_to_the_row(stands_for: dict[str, str], run_here: RunHere) -> None:
    code, shown = run_here(["trace", stands_for["CORRELATION"]])
    places = [shown.find(stop) for stop in ("webhook", "notification", "change", "event", "read_project")]
    assert (code, places) == (0, sorted(places))
    assert -1 not in places, shown
    assert run_here(["trace", "no-such-thing"])[0] == 1


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text()))
