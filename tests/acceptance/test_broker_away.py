"""The broker goes away: the ingress says so in time, and when it is back nothing is lost."""

import json
import secrets
import threading
from collections.abc import Iterator
from statistics import median
from typing import Any, NamedTuple

import pytest

from connectors.local import Broker, Node
from tests.acceptance.breaking import Keeper, assert_right, changing, sent
from tests.acceptance.conftest import Kept, Start, begun
from tests.acceptance.running import FIRST, Running, cloud_event

WORKER = "worker"
ANSWER_S_MAX = 2.5  # Intuit waits for three seconds


class Own(NamedTuple):
    """A system with a broker that nobody else uses."""

    running: Running
    broker: Broker


@pytest.fixture(scope="module")
def own_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker.start(tmp_path_factory.mktemp("own-kafka")) as broker:
        yield broker


@pytest.fixture(scope="module")
def kept_own(start: Start, own_broker: Broker) -> Iterator[Kept]:
    def begin() -> Running:
        for node in own_broker.nodes:
            if not node.running:
                node.start()
        return begun(start(own_broker.bootstrap))

    kept = Kept(begin)
    yield kept
    kept.stop()  # before the broker


@pytest.fixture
def own(kept_own: Kept, own_broker: Broker, request: pytest.FixtureRequest) -> Iterator[Own]:
    with kept_own.lent(request) as running:
        yield Own(running, own_broker)


def retried(running: Running) -> list[Any]:
    deliveries = running.simulator("GET", "/deliveries?limit=20")
    return [each for each in deliveries if 503 in [one["status"] for one in each["tries"]]]


@pytest.mark.parametrize(
    ("end", "away_s"),
    [(Node.stop, 0.0), (Node.kill, 0.0), pytest.param(Node.kill, 45.0, marks=pytest.mark.prove)],
    ids=["stopped", "killed", "killed for long"],
)
def test_without_a_broker_the_answer_is_503_and_with_it_again_nothing_is_lost(
    own: Own, end: Any, away_s: float
) -> None:
    running, (node,) = own.running, own.broker.nodes
    body = json.dumps([cloud_event(FIRST, "Invoice", "1")]).encode()
    with Keeper(running, (WORKER,)):
        with changing(running, FIRST, secrets.randbits(31)):
            running.wait_for(lambda: running.simulator("GET", "/webhooks")["counts"]["acknowledged_events"])
            end(node)
            answers = [sent(running, body) for _ in range(3)]
            assert [status for status, _ in answers] == [503] * 3
            assert median(seconds for _, seconds in answers) < ANSWER_S_MAX
            running.wait_for(lambda: retried(running))
            threading.Event().wait(away_s)
            node.start()
            running.wait_for(lambda: running.deliver(body) == 200)
        running.simulator("POST", "/webhooks/retry")  # the next step of Intuit's ladder may be minutes away
        assert_right(running, FIRST)
    assert running.system.children["ingress"].running
