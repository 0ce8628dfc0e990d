"""One client fills the log in Redis faster than others can read.

The log stays within its bytes, and a client that misses messages is told so: what it
receives between two handshakes has no gap, and nothing twice.
"""

import json
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest

from tests.chaos.clients import END, Publisher, Subscriber
from tests.chaos.deployment import Node
from tests.engine.redis_server import RedisServer

pytestmark = pytest.mark.chaos

MiB: Final = 1024 * 1024
LOG_BYTES: Final = 8 * MiB
DATA: Final = "x" * 100_000


class FloodedNode(Node):
    options = ("--redis-log-bytes", str(LOG_BYTES))


class Flood(Publisher):
    """Publishes numbers with 100 KB each, as fast as it can."""

    pause = 0.0

    def encode(self, message: dict[str, Any]) -> str:
        if message["data"] == END:
            return super().encode(message)
        text = {"number": message["data"], "text": DATA}
        return json.dumps([{**message, "data": text}])


class Reader(Subscriber):
    """Records the numbers, from handshake to handshake.

    :param pause: seconds between its connects.
    """

    def __init__(self, ports: list[int], *, pause: float, acknowledges: bool) -> None:
        super().__init__(ports, 1, acknowledges=acknowledges)
        self.parts: list[list[int]] = []
        self._pause = pause

    def handshake(self) -> None:
        super().handshake()
        self.parts.append([])

    def post(self, message: dict[str, Any]) -> list[dict[str, Any]] | None:
        if message["channel"] == "/meta/connect":
            time.sleep(self._pause)
        answer = super().post(message)
        for item in answer or ():
            if isinstance(item.get("data"), dict):
                self.parts[-1].append(item["data"].pop("number"))
                item["data"] = None
        return answer


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def nodes(tmp_path: Path, redis: RedisServer) -> Iterator[list[FloodedNode]]:
    found = [FloodedNode(tmp_path, redis.url) for _ in range(2)]
    try:
        for node in found:
            node.start()
        for node in found:
            node.wait()
        yield found
    finally:
        for node in found:
            node.kill()


def until(condition: Callable[[], object], meanwhile: Callable[[], object]) -> None:
    """Wait for a condition, for at most two minutes."""
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        meanwhile()
        time.sleep(0.05)


def test_no_gap_is_silent_and_redis_does_not_grow(
    redis: RedisServer, nodes: list[FloodedNode]
) -> None:
    both, frozen = [node.port for node in nodes], nodes[1].port
    readers = [
        Reader(both, pause=0.0, acknowledges=False),
        Reader(both, pause=0.0, acknowledges=True),
        Reader(both, pause=0.5, acknowledges=False),
        Reader(both, pause=0.5, acknowledges=True),
        Reader([frozen], pause=0.0, acknowledges=True),
    ]
    for reader in readers:
        reader.start()
    for reader in readers:
        assert reader.ready.wait(120), reader.failure
    flood = Flood(both[:1], 1)
    sizes: list[int] = []

    def measure() -> None:
        for log in redis.client.scan_iter("*:log"):
            size: Any = redis.client.memory_usage(log, samples=0)
            sizes.append(size)

    flood.start()
    until(lambda: len(flood.confirmed) >= 500, measure)
    with nodes[1].frozen():
        before = len(flood.confirmed)
        until(lambda: len(flood.confirmed) >= before + 500, measure)
    until(lambda: readers[-1].handshakes > 1, measure)
    flood.stopped.set()
    flood.join(120)
    # Again, for those that shake hands after the first one.
    until(
        lambda: not any(reader.is_alive() for reader in readers),
        lambda: flood.post({"channel": "/chaos/numbers", "data": END}),
    )
    for thread in (flood, *readers):
        assert thread.failure is None, thread.failure
    print(f"\n{len(flood.confirmed)} of 100 KB; the log had {max(sizes) >> 20} MiB")
    for reader in readers:
        print(f"received {[len(part) for part in reader.parts]}")
    assert flood.unknown == []
    assert max(sizes) <= 2 * LOG_BYTES
    for reader in readers:
        assert reader.broken == 0
        for part in reader.parts:
            assert all(after == one + 1 for one, after in pairwise(part))
    cause = f"(last for retained_bytes={LOG_BYTES})"
    # It is logged with the next heartbeat.
    until(lambda: cause in nodes[1].log.read_text(), lambda: None)
