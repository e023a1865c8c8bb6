"""What an earlier demo kept, met by this build."""

from pathlib import Path

import pytest

from connectors.child import CannotStart
from streams.demo import _refuse_other_build


@pytest.fixture
def migrations(tmp_path: Path) -> Path:
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / "0001_first.sql").write_text("CREATE TABLE a ()")
    return folder


def test_what_the_same_build_or_an_earlier_one_kept_goes_on(tmp_path: Path, migrations: Path) -> None:
    _refuse_other_build(tmp_path, migrations)
    _refuse_other_build(tmp_path, migrations)
    (migrations / "0002_second.sql").write_text("CREATE TABLE b ()")
    _refuse_other_build(tmp_path, migrations)


@pytest.mark.parametrize("text", [None, "CREATE TABLE other ()"], ids=["gone", "changed"])
def test_what_other_migrations_made_is_refused_with_what_to_type(
    tmp_path: Path, migrations: Path, text: str | None
) -> None:
    _refuse_other_build(tmp_path, migrations)
    first = migrations / "0001_first.sql"
    if text is None:
        first.unlink()
    else:
        first.write_text(text)
    for _ in range(2):  # a refusal remembers nothing
        with pytest.raises(CannotStart, match="`make demo-reset`"):
            _refuse_other_build(tmp_path, migrations)
