"""Groups that would read again or skip by accident refuse to start, say why, and are mended by one command."""

import psycopg
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from psycopg import conninfo, sql

from streams.topology import groups
from tests.acceptance.breaking import assert_right, books, command, start_workers, stop_workers
from tests.acceptance.conftest import PAIR
from tests.acceptance.running import FIRST, Running


def forget_offsets(running: Running) -> None:
    """As a broker does after the retention of offsets, or one that was made anew and filled from a copy."""
    settings = running.system.settings
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap})
    left = set(groups(settings))

    def all_forgotten() -> bool:
        left.difference_update(_forgotten(admin, left))
        return not left

    running.wait_for(all_forgotten, detail=lambda: left)


def _forgotten(admin: AdminClient, names: set[str]) -> set[str]:
    """Those of these groups that could be deleted: one whose last member has not gone yet cannot."""
    done = set()
    for name, future in admin.delete_consumer_groups(sorted(names)).items():
        try:
            future.result(timeout=30)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.NON_EMPTY_GROUP:
                raise
        else:
            done.add(name)
    return done


def copy_database(server: str, source: str, target: str) -> None:
    """Make `target` a copy of `source`; to neither may anybody be connected."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(target)))
        copy = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        connection.execute(copy.format(sql.Identifier(target), sql.Identifier(source)))


def test_groups_without_offsets_refuse_to_start_until_they_are_aligned(pair: Running) -> None:
    pair.change(FIRST, 5, 76)
    assert_right(pair, FIRST)
    stop_workers(pair, *PAIR)
    before = books(pair)
    forget_offsets(pair)
    code, said = command(pair, "worker")
    assert (code, "no committed offset, but" in said, "intoaec offsets align" in said) == (1, True, True)
    code, said = command(pair, "offsets", "check")
    unsaid = [group for group in groups(pair.system.settings) if group not in said]
    assert (code, unsaid) == (1, [f"{pair.system.settings.topic_prefix}parked-v1"])  # its topic is empty
    assert command(pair, "offsets", "align")[0] == 1  # it only says what it would do
    assert command(pair, "worker")[0] == 1
    code, said = command(pair, "offsets", "align", "--yes")
    assert code == 0, said
    assert command(pair, "offsets", "check")[0] == 0
    pair.simulator("POST", "/calls/reset")
    start_workers(pair, *PAIR)
    assert_right(pair, FIRST)
    assert books(pair) == before
    assert pair.simulator("GET", "/calls")["metered"] <= 20  # all was read again from our own topics, not from Intuit


def test_a_restored_database_is_behind_its_offsets_and_nothing_is_skipped(pair: Running, database: str) -> None:
    name = str(conninfo.conninfo_to_dict(pair.database_url)["dbname"])
    stop_workers(pair, *PAIR)
    pair.system.children["ingress"].stop()
    copy_database(database, name, f"{name}_copy")
    pair.system.ingress()
    start_workers(pair, "first")
    pair.change(FIRST, 20, 77)
    assert_right(pair, FIRST)
    after = books(pair)
    stop_workers(pair, "first")
    pair.system.children["ingress"].stop()

    copy_database(database, f"{name}_copy", name)
    assert books(pair) != after
    code, said = command(pair, "worker", "--role", "ledger")
    assert (code, "is beyond the stored position" in said) == (1, True)
    assert command(pair, "offsets", "check")[0] == 1
    code, said = command(pair, "offsets", "align", "--yes")
    assert code == 0, said
    pair.system.ingress()
    start_workers(pair, *PAIR)
    assert_right(pair, FIRST)
    assert books(pair) == after  # the same inputs gave the same events again, versions and ids included
