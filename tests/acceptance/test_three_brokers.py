"""One of three brokers killed again and again under load: every 200 was kept, and the rows are right."""

import json
import random
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
import pytest

from connectors.local import Broker
from tests.acceptance.breaking import Keeper, assert_right, changing, notifications
from tests.acceptance.conftest import PAIR, Start
from tests.acceptance.running import FIRST, Running, cloud_event

KILLS = 6
DOWN_S = (0.0, 3.0)
RATE = 20  # deliveries a second


@dataclass
class Sent:
    """What a sender was told; what got no answer may be kept or not."""

    acknowledged: list[bytes] = field(default_factory=list)
    refused: int = 0
    unknown: int = 0


@contextmanager
def sending(running: Running) -> Iterator[Sent]:
    """Signed deliveries of one event each, all the time."""
    over, sent = threading.Event(), Sent()

    def send() -> None:
        while not over.wait(1 / RATE):
            event = json.dumps(cloud_event(FIRST, "Invoice", "1001")).encode()
            try:
                status = running.deliver(b"[" + event + b"]")
            except httpx.HTTPError:
                sent.unknown += 1
                continue
            if status == 200:
                sent.acknowledged.append(event)
            else:
                sent.refused += 1

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield sent
    finally:
        over.set()
        thread.join()


@pytest.mark.prove
@pytest.mark.timeout(900)
def test_one_of_three_brokers_killed_under_load_loses_nothing(
    start: Start, tmp_path_factory: pytest.TempPathFactory
) -> None:
    seed = secrets.randbits(31)
    print(f"seed {seed}")  # noqa: T201 (pytest shows it when the test fails)
    dice = random.Random(seed)
    with Broker.start(tmp_path_factory.mktemp("three-kafkas"), nodes=3) as broker:
        running = start(broker.bootstrap)
        try:
            running.begin(workers=PAIR)
            with Keeper(running, PAIR), changing(running, FIRST, seed), sending(running) as sent:
                for _ in range(KILLS):
                    node = dice.choice(broker.nodes)
                    node.kill()
                    before = len(sent.acknowledged)
                    running.wait_for(lambda before=before: len(sent.acknowledged) >= before + 20)  # type: ignore[misc]
                    threading.Event().wait(dice.uniform(*DOWN_S))
                    node.start()
            assert_right(running, FIRST)
            kept = notifications(running)
            assert [event for event in sent.acknowledged if event not in kept] == []
            print(len(sent.acknowledged), "acknowledged;", sent.refused, "refused;", sent.unknown, "unknown")  # noqa: T201
        finally:
            running.system.stop()
