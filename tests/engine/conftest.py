"""A real redis-server for the tests of the Redis engine: one a run."""

from collections.abc import Iterator

import pytest

from tests.engine.redis_server import RedisServer


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The run's server; tests keep apart by their namespaces."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()
