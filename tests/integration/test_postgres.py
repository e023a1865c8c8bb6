"""The pool of connections on a real database."""

import psycopg

from connectors.postgres import pool, transaction


async def test_connections_that_the_database_closed_are_replaced_before_anybody_gets_one(database_url: str) -> None:
    async with pool(database_url) as connections:
        async with connections.connection(), connections.connection(), connections.connection():
            pass
        with psycopg.connect(database_url, autocommit=True) as administrator:
            administrator.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        async with transaction(connections) as connection:
            assert await (await connection.execute("SELECT 1")).fetchall() == [(1,)]
