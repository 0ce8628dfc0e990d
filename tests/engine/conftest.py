"""One redis-server for all tests of a run, and the mark ``redis`` for them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.redis_server import RedisServer

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == HERE and (
            item.path.name.startswith("test_redis")
            or "redis_server" in getattr(item, "fixturenames", ())
        ):
            item.add_marker(pytest.mark.redis)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Return the server of this run; each test has a namespace of its own."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()
