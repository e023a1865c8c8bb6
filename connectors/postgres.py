"""Postgres: the pool, one transaction at a time, named queries, migrations.

Migrations run forward only, each in its own transaction, under a lock: any number of processes may start at once.
"""

import re
import select
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, LiteralString, cast

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from schemas.errors import TransientError

SQL = Path(__file__).parent.parent / "streams" / "sql"
MIGRATIONS = SQL / "migrations"
_MIGRATION_LOCK = 4_201_901  # any constant; the same in every process

Connection = AsyncConnection[tuple[Any, ...]]


@asynccontextmanager
async def pool(database_url: str, *, connections_max: int = 8) -> AsyncIterator[AsyncConnectionPool[Connection]]:
    """Connections to the database, opened when first needed."""
    connections: AsyncConnectionPool[Connection] = AsyncConnectionPool(
        database_url,
        min_size=1,
        max_size=connections_max,
        kwargs={
            "options": "-c timezone=UTC -c datestyle=ISO -c lock_timeout=10s -c idle_in_transaction_session_timeout=15s"
        },
        check=_check,  # after a restart of the database all are lost at once
        open=False,
        timeout=10,
    )
    await connections.open()
    try:
        yield connections
    finally:
        await connections.close(timeout=5)


async def _check(connection: Connection) -> None:
    """Raise when the database has ended this connection: then there is something to read. A quiet one costs no trip."""
    waiting = select.poll()
    waiting.register(connection.fileno(), select.POLLIN)
    if waiting.poll(0):
        await AsyncConnectionPool.check_connection(connection)


@asynccontextmanager
async def transaction(connections: AsyncConnectionPool[Connection]) -> AsyncIterator[Connection]:
    """One transaction, all or nothing. A database that is away or a lost lock raises TransientError."""
    try:
        async with connections.connection() as connection, connection.transaction():
            yield connection
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise TransientError(f"the database did not finish the transaction: {error}") from error


def queries(file: str) -> dict[str, LiteralString]:
    """The named queries (`-- name: NAME`) of one file below streams/sql."""
    parts = re.split(r"^-- name: (\w+)\n", (SQL / file).read_text(), flags=re.MULTILINE)
    return {name: cast(LiteralString, text.strip()) for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def migrate(database_url: str) -> list[str]:
    """Bring the database to the newest shape; return what was done. Safe twice and from several processes."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (_MIGRATION_LOCK,))
        connection.execute(
            "CREATE TABLE IF NOT EXISTS migrations (name text PRIMARY KEY, done_at timestamptz NOT NULL DEFAULT now())"
        )
        done = {name for (name,) in connection.execute("SELECT name FROM migrations")}
        due = [path for path in sorted(MIGRATIONS.glob("*.sql")) if path.stem not in done]
        for path in due:
            with connection.transaction():
                connection.execute(path.read_bytes())
                connection.execute("INSERT INTO migrations (name) VALUES (%s)", (path.stem,))
    return [path.stem for path in due]
