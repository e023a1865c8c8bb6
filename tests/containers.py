"""The broker and the database in containers, for a run with TEST_WITH=containers where a Docker engine answers."""

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psycopg
from testcontainers.core.container import DockerContainer

from connectors.cluster import broker_ids
from schemas.errors import TransientError

START_S_MAX = 60.0


@contextmanager
def kafka(image: str = "apache/kafka:4.3.1") -> Iterator[str]:
    """A broker of one node; its address. The port is chosen before the start, since the broker must announce it."""
    port = _free_port()
    settings = {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_LISTENERS": "PLAINTEXT://0.0.0.0:9092,CONTROLLER://localhost:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{port}",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_MESSAGE_MAX_BYTES": "10485760",
    }
    with _container(image, "9092/tcp", port, settings):
        _until(lambda: bool(asyncio.run(broker_ids(f"127.0.0.1:{port}", within_s=5))), TransientError)
        yield f"127.0.0.1:{port}"


@contextmanager
def postgres(image: str = "postgres:18") -> Iterator[str]:
    """A database server; the address of its database."""
    port = _free_port()
    settings = {"POSTGRES_USER": "intoaec", "POSTGRES_PASSWORD": "test", "POSTGRES_DB": "intoaec"}
    url = f"postgresql://intoaec:test@127.0.0.1:{port}/intoaec"
    with _container(image, "5432/tcp", port, settings):
        _until(lambda: _answers(url), psycopg.OperationalError)
        yield url


def _container(image: str, inner: str, port: int, settings: dict[str, str]) -> DockerContainer:
    """A container whose port is published on this machine's own address only."""
    container = DockerContainer(image)
    container.ports.update({inner: ("127.0.0.1", port)})  # type: ignore[dict-item]
    container.env.update(settings)
    return container


def _answers(url: str) -> bool:
    with psycopg.connect(url, connect_timeout=2):
        return True


def _until(answers: Callable[[], bool], not_yet: type[Exception]) -> None:
    deadline = time.monotonic() + START_S_MAX
    while time.monotonic() < deadline:
        with suppress(not_yet):
            if answers():
                return
        time.sleep(0.2)
    raise AssertionError(f"the container did not answer within {START_S_MAX:g} s")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
