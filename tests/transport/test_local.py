"""The in-process transport, with our own server behind it."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from txbayeux import MemoryEngine, Server
from txbayeux.client import Client, State
from txbayeux.extension import Extension
from txbayeux.protocol import Response

from .support import outcome


class World:
    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.server = Server(MemoryEngine(self.clock), **options)
        self.server.start()

    def client(self, **options: Any) -> Client:
        return Client.in_process(self.server, reactor=self.clock, **options)

    def stop(self, *clients: Client) -> None:
        for client in clients:
            ended = outcome(client.disconnect())
            self.clock.advance(6)
            assert ended == [None]
        self.server.stop()
        self.clock.advance(1)


def test_publish_and_subscribe_without_a_network() -> None:
    world = World()
    alice, bob = world.client(), world.client()
    got: list[Any] = []
    ready = outcome(alice.subscribe("/a/*", lambda m: got.append(m["data"])).ready)
    world.clock.advance(0)
    assert ready == [None]
    data = {"list": [1]}
    results = [outcome(bob.publish("/a/b", data)) for _ in range(3)]
    data["list"].append(2)
    world.clock.pump([0.01] * 10)
    assert got == [{"list": [1]}] * 3
    assert all(result[0]["successful"] for result in results)
    assert alice.transport == "in-process"
    world.stop(alice, bob)


def test_it_stays_connected() -> None:
    world = World()
    alice = world.client()
    got: list[Any] = []
    alice.subscribe("/a", got.append)
    states: list[State] = []
    alice.on_state(lambda new, old: states.append(new))
    for _ in range(300):
        world.clock.advance(1)
    outcome(alice.publish("/a", 1))
    world.clock.pump([0.01] * 10)
    assert len(got) == 1
    assert set(states) <= {State.CONNECTED, State.CONNECTING}
    world.stop(alice)


def test_a_session_that_the_server_ends_is_made_anew() -> None:
    world = World()
    alice = world.client()
    got: list[Any] = []
    alice.subscribe("/a", got.append)
    world.clock.pump([0.01] * 10)
    before = alice.session_id
    world.server.kick(str(before))
    world.clock.pump([0.1] * 100)
    assert alice.state is State.CONNECTED
    assert alice.session_id != before
    outcome(alice.publish("/a", 1))
    world.clock.pump([0.01] * 10)
    assert len(got) == 1
    world.stop(alice)


def test_the_server_s_extensions_see_it_without_a_request() -> None:
    seen: list[tuple[str, object]] = []

    class Watching(Extension):
        def incoming(self, message: Any, request: object) -> Any:
            seen.append((message["channel"], request))
            return message

        def outgoing(self, message: Any, request: object) -> Any:
            seen.append((message["channel"], request))
            return message

    world = World(extensions=[Watching()])
    alice = world.client()
    got: list[Any] = []
    alice.subscribe("/a", got.append)
    outcome(alice.publish("/a", 1))
    world.clock.pump([0.01] * 10)
    assert len(got) == 1
    assert {"/meta/handshake", "/meta/connect", "/a"} <= {name for name, _ in seen}
    assert {request for _, request in seen} == {None}
    world.stop(alice)


def test_disconnecting_leaves_nothing_with_the_server() -> None:
    world = World()
    alice = world.client()
    alice.subscribe("/a", print)
    world.clock.pump([0.01] * 10)
    assert outcome(alice.disconnect()) == [None]
    statistics = world.server.statistics()
    assert statistics["sessions"] == statistics["held"] == statistics["streams"] == 0
    world.server.stop()


@pytest.mark.parametrize("how", ["never", "fails"])
def test_a_server_that_does_not_answer(how: str) -> None:
    class Mute:
        def process(self, *arguments: Any) -> Deferred[Response]:
            answer: Deferred[Response] = Deferred()
            if how == "fails":
                answer.errback(RuntimeError("server"))
            return answer

        def wrap_stream(self, stream: Any, request: Any) -> Any:
            return stream

        def detach(self, *arguments: Any) -> None:
            pass

    clock = Clock()
    alice = Client.in_process(Mute(), reactor=clock)  # type: ignore[arg-type]
    alice.connect().addErrback(lambda _: None)
    clock.advance(10.1)
    assert alice.state is State.WAITING
    assert outcome(alice.disconnect()) == [None]
    assert clock.getDelayedCalls() == []
