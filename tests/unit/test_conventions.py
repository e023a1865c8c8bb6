"""The conventions of the code as tests; each guard is also shown a sample that it refuses.

What an import may be is said in pyproject.toml ([tool.importlinter]); here it is shown that each contract refuses.
"""

import ast
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
OURS = ("schemas", "connectors", "streams")
MODULE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70
# Over the budget, with the reason why it was not split. A line here must still be needed.
LONG_MODULES = {
    "connectors/simulator/books/book.py": "one company's books: no seam of the business runs through it",
}
MONEY = (
    "schemas/*.py",
    "streams/asking.py",
    "streams/books.py",
    "streams/bookkeeping.py",
    "streams/company_projections.py",
    "streams/decision.py",
    "streams/event_log.py",
    "streams/exchange.py",
    "streams/journals.py",
    "streams/ledger.py",
    "streams/merges.py",
    "streams/payments.py",
    "streams/placement.py",
    "streams/posting.py",
    "streams/projections.py",
    "streams/projector.py",
    "streams/read_tables.py",
)
NO_MONEY = ("schemas/compatibility.py",)  # makes a value of every Avro type, double among them
BANNED = {"utils", "helpers", "common", "base", "manager", "service", "data", "info"}
BANNED_BEGINNINGS = ("process_", "handle_")
NOUNS = {"process_environment"}  # the environment of a process
MIGRATION = re.compile(r"(?P<number>\d{4})_[a-z0-9_]+\.sql")
DECISION = re.compile(r"docs/decisions/(?P<number>\d{4})(?: \((?P<words>[^)]*)\))?")
COLUMN = re.compile(r"^    (?P<name>\w+) +(?:text|integer|bigint|boolean|date|timestamptz|uuid|bytea|jsonb|numeric)\b")
Guard = Callable[[str], list[str]]


def modules(*places: str) -> list[Path]:
    """Every Python file of ours below these folders."""
    return sorted(path for place in places for path in (ROOT / place).rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def refusals(guard: Guard, paths: list[Path]) -> dict[str, list[str]]:
    """What a guard says of each file, without those of which it says nothing."""
    found = {name_of(path): guard(path.read_text()) for path in paths}
    return {name: said for name, said in found.items() if said}


# --- the guards --------------------------------------------------------------------------------------------------


def without_docstring(source: str) -> list[str]:
    """A module that holds something says what it reads, writes and guarantees; its public names say what they are."""
    tree = ast.parse(source)
    if not tree.body:
        return []
    missing = [] if ast.get_docstring(tree) else ["the module has no docstring"]
    return missing + [f"{node.name} has no docstring" for node in tree.body if _is_mute(node)]


def _is_mute(node: ast.stmt) -> bool:
    is_named = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    return is_named and not node.name.startswith("_") and not ast.get_docstring(node)


def long_functions(source: str) -> list[str]:
    """Functions beyond the budget."""
    functions = (
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    lines = {node.name: (node.end_lineno or node.lineno) - node.lineno + 1 for node in functions}
    return [f"{name} has {count} lines" for name, count in lines.items() if count > FUNCTION_LINES_MAX]


def floats(source: str) -> list[str]:
    """Inexact numbers: the type's name in whatever use, and numbers with a point."""
    return [
        f"line {node.lineno}: float"
        for node in ast.walk(ast.parse(source))
        if (isinstance(node, ast.Name) and node.id == "float")
        or (isinstance(node, ast.Constant) and isinstance(node.value, float | complex))
    ]


def inexact_columns(statements: str) -> list[str]:
    """Column types that round."""
    without_texts = re.sub(r"--[^\n]*|'(?:[^']|'')*'", "", statements)
    return re.findall(r"\b(?:real|float\d?|double precision|money)\b", without_texts)


def inexact_types(contract: str) -> list[str]:
    """Avro types that round."""
    return [found for found in _words(json.loads(contract)) if found in ("float", "double")]


def _words(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        yield from (word for key in ("type", "items", "values", "fields") if key in node for word in _words(node[key]))
    elif isinstance(node, list):
        yield from (word for each in node for word in _words(each))


def banned_names(source: str) -> list[str]:
    """Functions and classes whose name says nothing."""
    named = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    names = (node.name for node in ast.walk(ast.parse(source)) if isinstance(node, named))
    return [name for name in names if is_banned(name)]


def is_banned(name: str) -> bool:
    """`Manager` and `OrderManager` too."""
    last_word = re.sub(r"(?<!^)(?=[A-Z][a-z])", "_", name).lower().rstrip("_").rpartition("_")[2]
    whole = name.lower().strip("_")
    if name in NOUNS:
        return False
    is_class = name.lstrip("_")[:1].isupper()
    return whole in BANNED or name.startswith(BANNED_BEGINNINGS) or (is_class and last_word in BANNED)


def unnumbered(names: list[str]) -> list[str]:
    """Migrations and decisions are numbered from 1 without gaps; said of the first that is not."""
    for expected, name in enumerate(sorted(names), start=1):
        if not re.match(rf"{expected:04d}[_-][a-z0-9_-]+\.", name):
            return [f"{name} stands where {expected:04d} should be"]
    return []


def uncommented_columns(statements: str) -> list[str]:
    """Read tables, and their columns, that no COMMENT explains."""
    missing = []
    for table, body in re.findall(r"^CREATE TABLE (read_\w+) \(\n(.*?)^\)", statements, re.MULTILINE | re.DOTALL):
        if not re.search(rf"^COMMENT ON TABLE +{table} IS '.+'", statements, re.MULTILINE):
            missing.append(table)
        columns = [found["name"] for line in body.splitlines() if (found := COLUMN.match(line))]
        missing += [
            f"{table}.{column}"
            for column in columns
            if not re.search(rf"^COMMENT ON COLUMN {table}\.{column} IS '.+'", statements, re.MULTILINE)
        ]
    return missing


def unknown_decisions(text: str) -> list[str]:
    """References to decisions that are not there, or whose title does not hold the words that stand behind them."""
    found = []
    for reference in DECISION.finditer(text):
        titles = [path.read_text().splitlines()[0] for path in ROOT.glob(f"docs/decisions/{reference['number']}-*.md")]
        if not titles:
            found.append(f"docs/decisions/{reference['number']} is not there")
        elif (reference["words"] or "").lower() not in titles[0].lower():
            found.append(f"docs/decisions/{reference['number']} is not about {reference['words']}")
    return found


# --- and what they say of the code -------------------------------------------------------------------------------


def test_every_module_and_every_public_name_says_what_it_is_for() -> None:
    assert refusals(without_docstring, modules(*OURS)) == {}
    assert refusals(lambda source: without_docstring(source)[:1], modules("benchmarks", "image")) == {}


def test_every_test_module_says_what_it_shows() -> None:
    mute = [
        path
        for path in modules("tests")
        if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert [name_of(path) for path in mute] == []


def test_no_two_test_modules_have_one_name() -> None:
    """pytest would collect neither: the folders of tests are no packages."""
    names = [path.name for path in modules("tests") if path.name.startswith("test_")]
    assert sorted(names) == sorted(set(names))


def test_modules_keep_to_their_budget() -> None:
    lengths = {name_of(path): len(path.read_text().splitlines()) for path in modules(*OURS, "benchmarks")}
    assert {name for name, count in lengths.items() if count > MODULE_LINES_MAX} == set(LONG_MODULES)


def test_functions_keep_to_their_budget() -> None:
    assert refusals(long_functions, modules(*OURS, "benchmarks", "tests")) == {}


def test_no_float_touches_money() -> None:
    paths = [path for pattern in MONEY for path in ROOT.glob(pattern) if name_of(path) not in NO_MONEY]
    assert len(paths) > len(MONEY)
    assert refusals(floats, paths) == {}
    assert refusals(inexact_columns, list(ROOT.glob("streams/sql/migrations/*.sql"))) == {}
    assert refusals(inexact_types, list(ROOT.glob("schemas/avro/*/*.avsc"))) == {}


def test_no_name_says_nothing() -> None:
    assert refusals(banned_names, modules(*OURS, "benchmarks")) == {}
    assert [name_of(path) for path in modules(*OURS, "benchmarks") if is_banned(path.stem)] == []


def test_packages_import_nothing_by_themselves() -> None:
    assert [name_of(path) for path in modules(*OURS) if path.name == "__init__.py" and path.read_text()] == []


def test_migrations_are_numbered_without_gaps() -> None:
    names = [path.name for path in (ROOT / "streams/sql/migrations").iterdir()]
    assert [name for name in names if not MIGRATION.fullmatch(name)] == []
    assert unnumbered(names) == []


def test_every_column_of_a_read_table_is_commented() -> None:
    statements = "\n".join(path.read_text() for path in sorted(ROOT.glob("streams/sql/migrations/*.sql")))
    assert statements.count("CREATE TABLE read_") >= 9
    assert uncommented_columns(statements) == []


def test_decisions_are_numbered_and_every_reference_to_one_is_right() -> None:
    paths = list((ROOT / "docs/decisions").glob("*.md"))
    assert unnumbered([path.name for path in paths]) == []
    for path in paths:
        text = path.read_text()
        assert text.startswith(f"# {path.name[:4]} "), path.name
        for part in ("## Context", "## Decision", "## Consequences", "## Alternatives"):
            assert part in text, (path.name, part)
        assert len(text.splitlines()) <= 60, f"{path.name} is longer than a page"
    texts = [*modules(*OURS, "tests", "benchmarks"), ROOT / "pyproject.toml", ROOT / "README.md"]
    assert refusals(unknown_decisions, [path for path in texts if path != Path(__file__)]) == {}


def test_a_wheel_holds_every_file_that_the_code_reads() -> None:
    packaged = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    inside = {
        path
        for package, patterns in packaged.items()
        for pattern in patterns
        for path in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    read = {path for name in OURS for path in (ROOT / name).rglob("*") if path.is_file() and _is_read(path)}
    assert sorted(map(str, read - inside)) == []


def _is_read(path: Path) -> bool:
    return path.suffix not in (".py", ".pyc") and ROOT / "schemas/examples" not in path.parents


def test_the_documents_that_everyone_looks_for_are_there() -> None:
    for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/glossary.md", "docs/simulator.md"):
        assert (ROOT / name).read_text().startswith("# "), name
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text()


# --- each guard refuses ------------------------------------------------------------------------------------------

TABLE = """CREATE TABLE read_things_v1 (
    thing_id text NOT NULL,
    amount   numeric(38,6) NOT NULL,
    PRIMARY KEY (thing_id)
);
COMMENT ON TABLE  read_things_v1 IS 'Things';
COMMENT ON COLUMN read_things_v1.thing_id IS 'Which thing';
"""
LONG_FUNCTION = "def settle():\n" + "    pass\n" * FUNCTION_LINES_MAX


@pytest.mark.parametrize(
    ("guard", "bad", "said"),
    [
        (without_docstring, "import os\n", ["the module has no docstring"]),
        (without_docstring, '"""Words."""\n\ndef place(): pass\n', ["place has no docstring"]),
        (long_functions, LONG_FUNCTION, [f"settle has {FUNCTION_LINES_MAX + 1} lines"]),
        (floats, "rate = 1.5\n", ["line 1: float"]),
        (floats, "def half(amount: float): ...\n", ["line 1: float"]),
        (floats, "total = float(text)\n", ["line 1: float"]),
        (inexact_columns, "CREATE TABLE t (amount double precision, rate real)", ["double precision", "real"]),
        (inexact_types, '{"type": "record", "fields": [{"name": "x", "type": ["null", "double"]}]}', ["double"]),
        (banned_names, "def handle_event(): pass\n", ["handle_event"]),
        (banned_names, "class InvoiceManager: pass\n", ["InvoiceManager"]),
        (banned_names, "def utils(): pass\n", ["utils"]),
        (uncommented_columns, TABLE, ["read_things_v1.amount"]),
        (uncommented_columns, TABLE.replace("COMMENT ON TABLE", "-- "), ["read_things_v1", "read_things_v1.amount"]),
        (unknown_decisions, "Source: docs/decisions/9999 (exact money).", ["docs/decisions/9999 is not there"]),
        (unknown_decisions, "See docs/decisions/0004 (exact money).", ["docs/decisions/0004 is not about exact money"]),
    ],
)
def test_guard_refuses(guard: Guard, bad: str, said: list[str]) -> None:
    assert guard(bad) == said


@pytest.mark.parametrize(
    ("guard", "good"),
    [
        (without_docstring, '"""Words."""\n\ndef _own(): pass\n'),
        (long_functions, LONG_FUNCTION.removesuffix("    pass\n")),
        (floats, 'rate = Decimal("1.5")\n'),
        (inexact_columns, "-- the real amount\nCREATE TABLE t (amount numeric(38,6)); COMMENT ON TABLE t IS 'real'"),
        (banned_names, "class Baseline: pass\n\ndef process_environment(): pass\n"),
        (unknown_decisions, "See docs/decisions/0005 (exact money), docs/decisions/0003."),
        (uncommented_columns, TABLE + "COMMENT ON COLUMN read_things_v1.amount IS 'How much';\n"),
    ],
)
def test_guard_lets_pass(guard: Guard, good: str) -> None:
    assert guard(good) == []


def test_gap_in_the_numbers_is_refused() -> None:
    assert unnumbered(["0001_control.sql", "0003_rows.sql"]) == ["0003_rows.sql stands where 0002 should be"]
    assert unnumbered(["0001_control.sql", "0001_rows.sql"]) == ["0001_rows.sql stands where 0002 should be"]


# --- imports -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code, to be made wrong."""
    folder = tmp_path_factory.mktemp("copy")
    for path in modules(*OURS):
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    shutil.copyfile(ROOT / "pyproject.toml", folder / "pyproject.toml")
    return folder


def lint_imports(folder: Path) -> str:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-logo", "--no-cache"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={"COLUMNS": "200"}, check=False)
    return f"exit code {done.returncode}\n{done.stdout}{done.stderr}"


def contracts() -> dict[str, dict[str, Any]]:
    """The contracts of pyproject.toml by name."""
    import tomllib

    found = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return {contract["name"]: contract for contract in found}


def test_every_import_contract_refuses_what_it_forbids(copy: Path) -> None:
    assert set(contracts()) == {
        "imports point one way",
        "words and steps do no I/O",
        "the simulator shares no code with what it tests",
        "the simulator's books do no I/O",
        "a life knows nothing of who shows it",
    }
    before = lint_imports(copy)
    assert before.startswith("exit code 0\n"), before
    (copy / "connectors/bad_edge.py").write_text("import streams.demo\n")
    (copy / "connectors/simulator/bad_simulator.py").write_text("import schemas.money\n")
    (copy / "connectors/simulator/books/bad_book.py").write_text("import sqlite3\n")
    (copy / "connectors/simulator/life/bad_life.py").write_text("import connectors.simulator.pages.messages\n")
    (copy / "schemas/bad_words.py").write_text("import psycopg\n")
    steps = [name for name in contracts()["words and steps do no I/O"]["source_modules"] if name != "schemas"]
    for number, step in enumerate(steps):
        driver = ("import faust\n", "import connectors.kafka\n", "import streams.delivery\n")[number % 3]
        with (copy / (step.replace(".", "/") + ".py")).open("a") as module:
            module.write(driver)
    after = lint_imports(copy)
    assert "Contracts: 0 kept, 5 broken." in after, after
    for sentence in (
        "connectors.bad_edge -> streams.demo",
        "connectors.simulator.bad_simulator -> schemas.money",
        "connectors.simulator.books.bad_book -> sqlite3",
        "connectors.simulator.life.bad_life -> connectors.simulator.pages.messages",
        "schemas.bad_words -> psycopg",
    ):
        assert sentence in after, after
    for step in steps:
        assert re.search(
            rf"^ *-? *{re.escape(step)} -> (faust|connectors\.kafka|streams\.delivery)", after, re.MULTILINE
        ), step


def test_pure_steps_are_named_in_the_contract() -> None:
    """Every module of `streams` that touches no edge today is held to it."""
    held = set(contracts()["words and steps do no I/O"]["source_modules"])
    edges = re.compile(r"^\s*(?:from|import) (?:connectors|faust|aiokafka|psycopg|httpx)\b", re.MULTILINE)
    inner = re.compile(r"^\s*from streams\.(\w+) import|^\s*import streams\.(\w+)", re.MULTILINE)
    texts = {path.stem: path.read_text() for path in modules("streams")}
    touching = {stem for stem, text in texts.items() if edges.search(text)}
    while more := {s for s, t in texts.items() if {a or b for a, b in inner.findall(t)} & touching} - touching:
        touching |= more
    pure = {f"streams.{stem}" for stem in texts if stem not in touching and stem != "__init__"}
    assert pure - {"streams.delivery", "streams.repair"} <= held
