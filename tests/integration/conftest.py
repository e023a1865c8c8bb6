"""Fixtures of tests with one real neighbour."""

from tests.intuit import _simulator, intuit, process

__all__ = ["_simulator", "intuit", "process"]
