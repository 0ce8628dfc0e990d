"""A client behind a balancer goes on when one of the servers stops."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater

from tests.chaos.balancer import Balancer
from tests.chaos.deployment import Node
from tests.engine.redis_server import RedisServer
from txbayeux.client import Client, State
from txbayeux.extensions import Ack

pytestmark = pytest.mark.chaos

HOLD: Final = 120
"""Seconds between two connects beside an event stream."""
DEADLINE: Final = 60.0
"""Less than that, and much more than the client needs."""


class FrontEnd(Node):
    options = ("--timeout", str(HOLD), "--session-timeout", str(2 * HOLD))


@pytest.fixture
def nodes(tmp_path: Path) -> Generator[list[Node]]:
    redis = RedisServer(tmp_path)
    redis.start()
    nodes: list[Node] = [FrontEnd(tmp_path, redis.url) for _ in range(2)]
    try:
        for node in nodes:
            node.start()
        for node in nodes:
            node.wait()
        yield nodes
    finally:
        for node in nodes:
            node.kill()
        redis.stop()


class Behind:
    """A client behind the balancer, and another one that publishes to it."""

    def __init__(self, nodes: list[Node], **options: Any) -> None:
        self.nodes = nodes
        self.balancer = Balancer([node.port for node in nodes])
        port = self.balancer.listen()
        self.alice = Client(f"http://127.0.0.1:{port}/bayeux", **options)
        self.bob: Client | None = None
        self.received: list[int] = []

    async def listen(self, requests: list[str]) -> None:
        """Subscribe, and wait until only these requests are open, by their methods."""
        await self.alice.subscribe("/a", self.receive).ready
        await until(lambda: self.alice.state is State.CONNECTED)
        await until(lambda: sorted(m for m, _ in self.opened()) == requests)

    def opened(self) -> list[tuple[str, int]]:
        return list(self.balancer.open.values())

    def receive(self, message: Any) -> None:
        self.received.append(message["data"])

    def stop_server(self, *, next_is_stopped: bool) -> None:
        """Stop the server that has the client's stream or, without one, its connect.

        :param next_is_stopped: whether the balancer sends the next request there.
        """
        _, port = min(self.opened())  # GET comes before POST
        [stopped] = [n for n in self.nodes if n.port == port]
        [running] = [n for n in self.nodes if n is not stopped]
        order = [stopped, running] if next_is_stopped else [running, stopped]
        self.balancer.ports[:] = [node.port for node in order]
        url = f"http://127.0.0.1:{running.port}/bayeux"
        self.bob = Client(url, transports=["long-polling"])
        stopped.terminate()

    async def publish_and_receive(self, number: int) -> None:
        assert self.bob is not None
        await self.bob.publish("/a", number)
        await until(lambda: number in self.received)

    async def close(self) -> None:
        await self.alice.disconnect()
        if self.bob is not None:
            await self.bob.disconnect()
        await self.balancer.listener.stopListening()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for the condition, for less time than passes between two connects."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end
        await deferLater(reactor, 0.02, lambda: None)  # type: ignore[arg-type]


@pytest.mark.parametrize("ack", [False, True], ids=["", "ack"])
@pytest.mark.parametrize("next_is_stopped", [False, True])
@pytest.mark.parametrize("transport", ["eventsource", "long-polling"])
@pytest_twisted.ensureDeferred
async def test_a_client_is_back_when_its_server_has_stopped(
    nodes: list[Node], transport: str, next_is_stopped: bool, ack: bool
) -> None:
    requests = {"eventsource": ["GET"], "long-polling": ["POST"]}[transport]
    if ack and transport == "eventsource":
        requests.append("POST")  # connects are held beside the stream
    extensions = [Ack()] if ack else []
    behind = Behind(nodes, transports=[transport], extensions=extensions)
    try:
        await behind.listen(requests)
        behind.stop_server(next_is_stopped=next_is_stopped)
        start = time.monotonic()
        for number in range(5):
            await behind.publish_and_receive(number)
            print(f"message {number} after {time.monotonic() - start:.1f} s")
        assert behind.received == list(range(5))
        assert behind.balancer.refused > 0
    finally:
        await behind.close()
