"""One simulator for all tests of how Intuit behaves; each finds it calm."""

from collections.abc import Iterator

import pytest

from tests.simulated import TOKEN, Endpoint, Intuit, listening, running


@pytest.fixture(scope="session")
def behaving() -> Iterator[Intuit]:
    """Four companies with a small history, in a process of its own."""
    with running("--companies", "4", "--verifier-token", TOKEN) as intuit:
        yield intuit


@pytest.fixture
def intuit(behaving: Intuit) -> Intuit:
    """The simulator without limits, faults or an endpoint, and with every switch where it was."""
    behaving.calm()
    return behaving


@pytest.fixture
def endpoint(intuit: Intuit) -> Iterator[Endpoint]:
    """Where its webhooks go as long as one test lasts."""
    with listening(intuit) as made:
        yield made
