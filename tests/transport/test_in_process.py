"""The in-process transport, with a server of this package behind it."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from txbayeux import MemoryEngine, Server
from txbayeux.client import Client, State
from txbayeux.extension import Extension
from txbayeux.processor import Response

from .support import outcome


class ServerFixture:
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
    fixture = ServerFixture()
    subscriber, publisher = fixture.client(), fixture.client()
    received: list[Any] = []
    ready = outcome(
        subscriber.subscribe("/a/*", lambda m: received.append(m["data"])).ready
    )
    fixture.clock.advance(0)
    assert ready == [None]
    data = {"list": [1]}
    results = [outcome(publisher.publish("/a/b", data)) for _ in range(3)]
    data["list"].append(2)
    fixture.clock.pump([0.01] * 10)
    assert received == [{"list": [1]}] * 3
    assert all(result[0]["successful"] for result in results)
    assert subscriber.transport == "in-process"
    fixture.stop(subscriber, publisher)


def test_it_stays_connected() -> None:
    fixture = ServerFixture()
    subscriber = fixture.client()
    received: list[Any] = []
    subscriber.subscribe("/a", received.append)
    states: list[State] = []
    subscriber.on_state(lambda new, old: states.append(new))
    for _ in range(300):
        fixture.clock.advance(1)
    outcome(subscriber.publish("/a", 1))
    fixture.clock.pump([0.01] * 10)
    assert len(received) == 1
    assert set(states) <= {State.CONNECTED, State.CONNECTING}
    fixture.stop(subscriber)


def test_a_new_session_replaces_one_that_the_server_closed() -> None:
    fixture = ServerFixture()
    subscriber = fixture.client()
    received: list[Any] = []
    subscriber.subscribe("/a", received.append)
    fixture.clock.pump([0.01] * 10)
    before = subscriber.session_id
    fixture.server.kick(str(before))
    fixture.clock.pump([0.1] * 100)
    assert subscriber.state is State.CONNECTED
    assert subscriber.session_id != before
    outcome(subscriber.publish("/a", 1))
    fixture.clock.pump([0.01] * 10)
    assert len(received) == 1
    fixture.stop(subscriber)


def test_server_extensions_are_called_without_a_request() -> None:
    seen: list[tuple[str, object]] = []

    class Watching(Extension):
        def incoming(self, message: Any, request: object) -> Any:
            seen.append((message["channel"], request))
            return message

        def outgoing(self, message: Any, request: object) -> Any:
            seen.append((message["channel"], request))
            return message

    fixture = ServerFixture(extensions=[Watching()])
    subscriber = fixture.client()
    received: list[Any] = []
    subscriber.subscribe("/a", received.append)
    outcome(subscriber.publish("/a", 1))
    fixture.clock.pump([0.01] * 10)
    assert len(received) == 1
    assert {"/meta/handshake", "/meta/connect", "/a"} <= {name for name, _ in seen}
    assert {request for _, request in seen} == {None}
    fixture.stop(subscriber)


def test_disconnecting_leaves_nothing_on_the_server() -> None:
    fixture = ServerFixture()
    subscriber = fixture.client()
    subscriber.subscribe("/a", print)
    fixture.clock.pump([0.01] * 10)
    assert outcome(subscriber.disconnect()) == [None]
    statistics = fixture.server.statistics()
    assert statistics["sessions"] == statistics["held"] == statistics["streams"] == 0
    fixture.server.stop()


@pytest.mark.parametrize("how", ["never", "fails"])
def test_a_server_without_a_response(how: str) -> None:
    class StubServer:
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
    subscriber = Client.in_process(StubServer(), reactor=clock)  # type: ignore[arg-type]
    subscriber.connect().addErrback(lambda _: None)
    clock.advance(10.1)
    assert subscriber.state is State.WAITING
    assert outcome(subscriber.disconnect()) == [None]
    assert clock.getDelayedCalls() == []
