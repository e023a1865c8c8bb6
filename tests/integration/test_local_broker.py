"""The broker of one machine: its own processes, killed, frozen, stopped and started again."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from connectors.child import CannotStart
from connectors.cluster import broker_ids, create_topics
from connectors.kafka import Publisher, read_from
from connectors.local import Broker
from schemas.errors import TransientError
from tests.integration.test_kafka_publish import a_topic, records

OTHER_RUN = """
import sys
from pathlib import Path
from connectors.child import CannotStart
from connectors.local import Broker
try:
    Broker.start(Path(sys.argv[1]))
except CannotStart as refusal:
    print(refusal)
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker that these tests may ill-treat; each leaves it running."""
    with Broker.start(tmp_path_factory.mktemp("own")) as started:
        yield started


async def count(broker: Broker, topic: str) -> int:
    return sum([len(batch) async for batch in read_from(broker.bootstrap, topic)])


async def a_topic_with_records(broker: Broker, name: str, number: int) -> str:
    await create_topics(broker.bootstrap, [a_topic(name)], {})
    async with Publisher(broker.bootstrap) as publisher:
        await publisher.publish(records(name, number))
    return name


async def test_a_broker_started_again_has_its_records_and_its_address(tmp_path: Path, topic_prefix: str) -> None:
    with Broker.start(tmp_path) as first:
        topic = await a_topic_with_records(first, topic_prefix + "a", 100)
    with Broker.start(tmp_path) as second:
        assert second.bootstrap == first.bootstrap
        assert await count(second, topic) == 100


async def test_a_killed_node_comes_back_with_what_it_acknowledged(own: Broker, topic_prefix: str) -> None:
    topic = await a_topic_with_records(own, topic_prefix + "a", 100)
    own.nodes[0].kill()
    assert not own.nodes[0].running
    own.nodes[0].start()
    assert await count(own, topic) == 100


async def test_a_publisher_fails_in_bounded_time_while_the_broker_is_away_and_goes_on_after(
    own: Broker, topic_prefix: str
) -> None:
    topic = await a_topic_with_records(own, topic_prefix + "a", 1)
    async with Publisher(own.bootstrap) as publisher:
        await publisher.publish(records(topic, 1))
        own.nodes[0].kill()
        began = time.monotonic()
        with pytest.raises(TransientError):
            await publisher.publish(records(topic, 1), within_s=1)
        assert time.monotonic() - began < 10
        own.nodes[0].start()
        await publisher.publish(records(topic, 1))
    assert await count(own, topic) >= 3


async def test_a_frozen_node_answers_nobody_until_it_is_thawed(own: Broker) -> None:
    own.nodes[0].freeze()
    with pytest.raises(TransientError):
        await broker_ids(own.bootstrap, within_s=1)
    own.nodes[0].thaw()
    assert await broker_ids(own.bootstrap, within_s=60) == {1}


async def test_a_closed_publisher_does_not_wait_for_a_broker_that_is_away(own: Broker, topic_prefix: str) -> None:
    topic = await a_topic_with_records(own, topic_prefix + "a", 1)
    publisher = Publisher(own.bootstrap)
    await publisher.publish(records(topic, 1))
    own.nodes[0].freeze()
    with pytest.raises(TransientError):
        await publisher.publish(records(topic, 1), within_s=0.5)
    began = time.monotonic()
    await publisher.__aexit__(None, None, None)
    assert time.monotonic() - began < 15
    own.nodes[0].thaw()


def test_it_listens_on_this_machine_only(own: Broker) -> None:
    listening = [
        each for each in psutil.Process(own.nodes[0].pid).net_connections() if each.status == psutil.CONN_LISTEN
    ]
    assert {each.laddr.ip.removeprefix("::ffff:") for each in listening} == {"127.0.0.1"}


def test_a_second_run_in_the_same_folder_is_refused(own: Broker) -> None:
    other = subprocess.run([sys.executable, "-c", OTHER_RUN, own.folder], capture_output=True, text=True)
    assert f"Another run already uses {own.folder}" in other.stdout


def test_a_folder_of_one_node_does_not_become_one_of_three(tmp_path: Path) -> None:
    (tmp_path / "cluster.json").write_text('{"id": "K", "ports": [20000, 20001]}')
    with pytest.raises(CannotStart, match="holds a broker of 1 nodes, not of 3"):
        Broker.start(tmp_path, nodes=3)


@pytest.mark.prove
async def test_three_nodes_lose_nothing_when_one_is_killed_under_load(tmp_path: Path, topic_prefix: str) -> None:
    topic, acknowledged = topic_prefix + "a", 0
    with Broker.start(tmp_path, nodes=3) as cluster:
        await create_topics(cluster.bootstrap, [a_topic(topic)], {})
        async with Publisher(cluster.bootstrap) as publisher:
            for round_number in range(30):
                if round_number == 10:
                    cluster.nodes[1].kill()
                await publisher.publish(records(topic, 500, key=str(round_number)), within_s=60)
                acknowledged += 500
            cluster.nodes[1].start()
        assert await count(cluster, topic) == acknowledged == 15_000
