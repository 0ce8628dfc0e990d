import pytest

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
