"""Fixtures: a server in memory, and clients named alice, bob and carol."""

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed

from .harness import Client, Harness


@pytest.fixture
def harness() -> Harness:
    return Harness()


@pytest.fixture
def alice(harness: Harness) -> Client:
    return harness.client()


@pytest.fixture
def bob(harness: Harness) -> Client:
    return harness.client()


@pytest.fixture
def carol(harness: Harness) -> Client:
    return harness.client()


@pytest.fixture(params=["at once", "fired", "later"])
def answer(request: pytest.FixtureRequest) -> Callable[[Harness, Any], Any]:
    """Return a function that returns an extension's answer in one of three ways."""

    def deliver(harness: Harness, outcome: Any) -> Any:
        if request.param == "at once":
            return outcome
        if request.param == "fired":
            return succeed(outcome)
        deferred: Deferred[Any] = Deferred()
        harness.clock.callLater(1, deferred.callback, outcome)
        return deferred

    return deliver
