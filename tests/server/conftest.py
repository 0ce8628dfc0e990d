from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed

from .actors import Actor, World


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def alice(world: World) -> Actor:
    return world.actor()


@pytest.fixture
def bob(world: World) -> Actor:
    return world.actor()


@pytest.fixture
def carol(world: World) -> Actor:
    return world.actor()


@pytest.fixture(params=["at once", "fired", "later"])
def answer(request: pytest.FixtureRequest) -> Callable[[World, Any], Any]:
    """How an extension gives its answer."""

    def give(world: World, outcome: Any) -> Any:
        if request.param == "at once":
            return outcome
        if request.param == "fired":
            return succeed(outcome)
        deferred: Deferred[Any] = Deferred()
        world.clock.callLater(1, deferred.callback, outcome)
        return deferred

    return give
