"""Workers killed and frozen at every stop of a change's way, while another worker runs: nothing is lost or doubled."""

import random
import secrets
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, repeat
from secrets import token_hex

import pytest

from streams.bookkeeping import SLICE_DOCUMENTS
from tests.acceptance.breaking import EVERYWHERE, Keeper, Stop, assert_right, books, changing, held_at
from tests.acceptance.conftest import PAIR
from tests.acceptance.running import FIRST, Running

ANY_MOMENT_S_MAX = 2.0
THAWED_S_MAX = 120.0  # a fenced worker stops its other steps in order: 30 s for them, and what a slow machine adds


def a_seed() -> int:
    seed = secrets.randbits(31)
    print(f"seed {seed}")  # noqa: T201 (pytest shows it when the test fails)
    return seed


def chosen(dice: random.Random, count: int) -> Iterator[Stop | None]:
    """Every stop in a random order, again and again, and one kill at any moment after each round."""
    rounds = chain.from_iterable([*dice.sample(EVERYWHERE, len(EVERYWHERE)), None] for _ in repeat(None))
    return (stop for _, stop in zip(range(count), rounds, strict=False))


@pytest.mark.parametrize(
    "kills", [8, pytest.param(24, marks=[pytest.mark.prove, pytest.mark.timeout(1200)])], ids="{} kills".format
)
def test_a_worker_killed_between_any_two_stops_loses_and_doubles_nothing(pair: Running, kills: int) -> None:
    seed = a_seed()
    dice = random.Random(seed)
    with changing(pair, FIRST, seed), Keeper(pair, PAIR) as keeper:
        for stop in chosen(dice, kills):
            if stop is None:
                threading.Event().wait(dice.uniform(0, ANY_MOMENT_S_MAX))
                keeper.kill(dice.choice(PAIR))
            else:
                with held_at(pair, stop) as name:
                    keeper.kill(name)
            keeper.wait_until_all_run()
    assert_right(pair, FIRST)
    assert keeper.ended == []


def freeze_while_deciding(running: Running) -> str:
    """Freeze a worker inside the ledger's transaction while changes come in; its name."""
    with changing(running, FIRST, a_seed()), held_at(running, Stop.DECIDED_NOT_COMMITTED) as frozen:
        running.system.children[frozen].signal(signal.SIGSTOP)
    return frozen


def test_a_worker_thawed_with_work_in_hand_is_fenced_and_writes_nothing(pair: Running) -> None:
    with Keeper(pair, PAIR) as keeper:
        frozen = freeze_while_deciding(pair)
        # As the network of a machine that stands still: otherwise the database ends its transaction after 15 s.
        pair.rows("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s", frozen)
        assert_right(pair, FIRST)  # the other has taken over
        before = books(pair, "ledger.inputs")
        pair.system.children[frozen].signal(signal.SIGCONT)
        pair.wait_for(lambda: keeper.ended, THAWED_S_MAX)
        keeper.wait_until_all_run()
    assert [(ended.name, ended.exit_code) for ended in keeper.ended] == [(frozen, 1)]
    assert "another worker owns it" in keeper.ended[0].log
    assert books(pair, "ledger.inputs") == before


@pytest.mark.prove
def test_a_worker_frozen_inside_a_transaction_delays_the_other_for_a_while_and_no_more(pair: Running) -> None:
    with Keeper(pair, PAIR) as keeper:
        frozen = freeze_while_deciding(pair)
        assert_right(pair, FIRST)  # the database ended what stood idle; until then the other tried
        before = books(pair, "ledger.inputs")
        pair.system.children[frozen].signal(signal.SIGCONT)
        pair.wait_for(lambda: frozen in [ended.name for ended in keeper.ended], THAWED_S_MAX)
    assert books(pair, "ledger.inputs") == before


def a_customer_with_invoices(running: Running, count: int) -> str:
    records = f"/companies/{FIRST}/records"
    customer_id = running.simulator("POST", f"{records}/Customer", {"DisplayName": token_hex(6)})["record"]["Id"]
    item = {"ItemRef": {"value": "1"}, "UnitPrice": 10, "Qty": 1}
    line = {"Amount": 10, "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": item}
    invoice = {"CustomerRef": {"value": customer_id}, "Line": [line]}
    with ThreadPoolExecutor(4) as at_once:
        list(at_once.map(lambda _: running.simulator("POST", f"{records}/Invoice", invoice), range(count)))
    return str(customer_id)


@pytest.mark.prove  # half a minute to make so many; tests/integration/test_bookkeeping.py shows the same every day
def test_a_large_move_goes_on_where_a_killed_worker_left_it(pair: Running) -> None:
    """More documents than one slice holds: the worker dies when the first slice is stored and the second is not."""
    count = SLICE_DOCUMENTS + 20
    customer_id = a_customer_with_invoices(pair, count)
    pair.settle()
    project_id = f"LARGE-{token_hex(3)}"
    decision_id = pair.ask_to_map(FIRST, customer_id, project_id)
    with Keeper(pair, PAIR) as keeper:
        with held_at(pair, Stop.BETWEEN_SLICES) as name:
            keeper.kill(name)
            assert len(pair.rows("SELECT FROM ledger.positions WHERE slice <> ''")) == 1
        assert_right(pair, FIRST)
    query = "SELECT count(*), sum(open_amount) FROM read_project_documents WHERE project_id = %s"
    assert pair.rows(query, project_id) == [(count, 10 * count)]
    assert pair.rows("SELECT accepted FROM ledger.requests WHERE decision_id = %s", decision_id) == [(True,)]
