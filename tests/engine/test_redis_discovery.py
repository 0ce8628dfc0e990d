"""Where the engine connects after a cluster node has named another one."""

import pytest
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs

from txbayeux.engine.redis.discovery import RedisEndpoint
from txbayeux.engine.redis.errors import RedisError
from txbayeux.engine.redis.location import parse


@pytest.fixture
def reactor() -> MemoryReactorClock:
    return MemoryReactorClock()


@pytest.fixture
def endpoint(reactor: MemoryReactorClock) -> RedisEndpoint:
    location = parse("redis+cluster://127.0.0.1:7000")
    return RedisEndpoint(reactor, location, 5.0, "txbayeux:{a}:absent")


def connected_to(endpoint: RedisEndpoint, reactor: MemoryReactorClock) -> int:
    """Begin to connect; return the port, and give up."""
    connecting = endpoint.connect(Factory())
    connecting.addErrback(lambda failure: None)
    port: int = reactor.tcpClients.pop()[1]
    connecting.cancel()
    return port


@pytest.mark.parametrize("code", ["MOVED", "ASK"])
def test_the_node_that_redis_names_is_next(
    code: str, endpoint: RedisEndpoint, reactor: MemoryReactorClock
) -> None:
    assert connected_to(endpoint, reactor) == 7000
    endpoint.failed(RedisError(f"{code} 5 127.0.0.1:7001"))
    assert connected_to(endpoint, reactor) == 7001
    # Only once: that node may be gone when it is tried again.
    assert connected_to(endpoint, reactor) == 7000


def test_nodes_that_name_each_other_are_logged_once_a_minute(
    endpoint: RedisEndpoint, reactor: MemoryReactorClock
) -> None:
    errors = [
        RedisError("ASK 5 127.0.0.1:7001"),
        RedisError("MOVED 5 127.0.0.1:7000"),
    ]
    with capturedLogs() as log:
        for _ in range(50):
            for error in errors:
                endpoint.failed(error)
            reactor.advance(1)
    assert len(log) == 2
    with capturedLogs() as log:
        reactor.advance(60)
        endpoint.failed(errors[0])
    assert len(log) == 1
