"""What the environment must say, and that .env.example says the same as the code."""

import base64
import re
from pathlib import Path

import pytest
from pydantic import SecretStr

from connectors.config import Settings, SettingsError

ROOT = Path(__file__).parents[2]
LINE = re.compile(r"^(?P<off># )?(?P<name>[A-Z][A-Z0-9_]+)=(?P<value>.*)$", re.MULTILINE)
COMPOSE_ONLY = "docker compose only"
KEY = "k1:" + base64.b64encode(bytes(32)).decode()
LEAST = {"KAFKA_BOOTSTRAP": "127.0.0.1:9092", "DATABASE_URL": "postgresql://u:p@127.0.0.1/d", "MASTER_KEYS": KEY}


def example_lines() -> dict[str, re.Match[str]]:
    return {found["name"]: found for found in LINE.finditer((ROOT / ".env.example").read_text())}


def settings_lines() -> dict[str, re.Match[str]]:
    variables = {name.upper() for name in Settings.model_fields}
    return {name: line for name, line in example_lines().items() if name in variables}


def test_example_names_every_setting() -> None:
    assert set(settings_lines()) == {name.upper() for name in Settings.model_fields}


def test_every_other_variable_of_the_example_is_used_by_compose() -> None:
    compose = (ROOT / "docker-compose.yml").read_text()
    others = set(example_lines()) - set(settings_lines())
    assert [name for name in sorted(others) if f"${{{name}" not in compose] == []


def test_example_shows_the_defaults_of_the_code() -> None:
    for name, line in settings_lines().items():
        field = Settings.model_fields[name.lower()]
        if not field.is_required() and line["off"]:
            default = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
            assert line["value"] == str(default), name


def test_only_secrets_must_be_filled_in_and_none_has_a_value() -> None:
    to_fill_in = {name: line["value"] for name, line in example_lines().items() if not line["off"]}
    secrets = ("MASTER_KEYS", "WEBHOOK_VERIFIER_TOKENS", "QUICKBOOKS_CLIENT_SECRET", "POSTGRES_PASSWORD")
    assert to_fill_in == dict.fromkeys(secrets, "")


def test_no_name_stands_twice_in_the_example() -> None:
    names = [found["name"] for found in LINE.finditer((ROOT / ".env.example").read_text())]
    assert sorted(names) == sorted(set(names))


def test_git_ignores_the_filled_in_file() -> None:
    assert ".env" in (ROOT / ".gitignore").read_text().split()


def test_least_environment_is_enough() -> None:
    settings = Settings.from_environment(LEAST)
    assert settings.master_keys == {"k1": bytes(32)}
    assert settings.topic_partitions == 64


def test_everything_missing_or_wrong_is_said_at_once() -> None:
    with pytest.raises(SettingsError) as failure:
        Settings.from_environment({"KAFKA_BOOTSTRAP": "x:1", "TOPIC_PARTITIONS": "many", "LOG_LEVEL": "LOUD"})
    for name in ("DATABASE_URL", "MASTER_KEYS", "TOPIC_PARTITIONS", "LOG_LEVEL"):
        assert name in str(failure.value)
    assert "KAFKA_BOOTSTRAP" not in str(failure.value)


def test_short_master_key_is_refused() -> None:
    with pytest.raises(SettingsError, match="MASTER_KEYS: each key must have 32 bytes"):
        Settings.from_environment(LEAST | {"MASTER_KEYS": "k1:" + base64.b64encode(bytes(16)).decode()})


def test_empty_variable_means_the_default() -> None:
    assert Settings.from_environment(LEAST | {"INGRESS_PORT": ""}).ingress_port == 8080


def test_several_verifier_tokens_are_read_in_order() -> None:
    settings = Settings.from_environment(LEAST | {"WEBHOOK_VERIFIER_TOKENS": "new, old"})
    assert [token.get_secret_value() for token in settings.webhook_verifier_tokens] == ["new", "old"]


def test_no_secret_is_printed() -> None:
    secrets = {"WEBHOOK_VERIFIER_TOKENS": "hunter2", "QUICKBOOKS_CLIENT_SECRET": "hunter3"}
    settings = Settings.from_environment(LEAST | secrets | {"DATABASE_URL": "postgresql://u:hunter4@127.0.0.1/d"})
    assert not re.search("hunter|" + re.escape(repr(bytes(32))), repr(settings) + str(settings))
