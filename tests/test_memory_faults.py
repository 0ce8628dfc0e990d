"""The faults of servers in memory: which requests they strike, and with what effect."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.test_memory_server import TYPES, subscribed
from txbayeux import Bayeux, Extension
from txbayeux.client import State
from txbayeux.extensions import Ack
from txbayeux.message import Message
from txbayeux.testing import Fault, MemoryServer, ScriptedServer
from txbayeux.transport.base import NoReply, TransportUnavailable, Unreachable


def test_a_fault_strikes_as_often_as_it_is_meant_to() -> None:
    server = MemoryServer()
    client, _ = subscribed(server)
    fault = server.refuse("/b/**", "403::No", times=2)
    results = [
        client.publish(channel, 1) for channel in ("/b", "/b/c", "/b/c/d", "/b/e")
    ]
    refused = []
    for result in results:
        result.addErrback(refused.append)
        server.advance()
    assert len(refused) == fault.strikes == 2
    assert not fault.active
    assert len(server.received("/b/e")) == 1


def test_faults_strike_in_the_order_in_which_they_were_set() -> None:
    server = MemoryServer()
    for code in (500, 503):
        server.refuse("/meta/handshake", f"{code}::No")
    failures: list[str] = []
    client = server.new_client()
    client.on_failure(lambda error: failures.append(str(error)))
    server.wait_for(client.connect())
    assert failures == ["500::No", "503::No"]


def test_a_fault_that_was_cancelled_does_not_strike() -> None:
    server = MemoryServer()
    with server.drop_requests(times=None) as fault:
        server.new_client().connect()
        server.advance()
        assert fault.strikes == 1
    server.advance(60)
    assert fault.strikes == 1
    assert server.received("/meta/handshake")


@pytest.mark.parametrize(
    "arguments", [{"channel": "a"}, {"channel": "/a/*/b"}, {"times": 0}]
)
def test_a_fault_that_would_never_strike_is_refused(arguments: Any) -> None:
    with pytest.raises(ValueError, match=r"channel|times"):
        MemoryServer().drop_replies(**arguments)
    with pytest.raises(ValueError, match=r"channel|times"):
        Fault(lambda request, serve: None, **arguments)


def test_the_rest_of_a_batch_is_served_when_a_message_is_refused() -> None:
    server = MemoryServer()
    client, _ = subscribed(server, transports=["long-polling"])
    server.refuse("/b", "403::No")
    server.delay_replies(1, "/first")
    results: list[Any] = []
    for channel in ("/first", "/b", "/c"):  # the last two wait, and go together
        client.publish(channel, 1).addBoth(results.append)
    server.advance(2)
    assert ["/b", "/c"] in [request.channels for request in server.requests]
    assert len(server.received("/c")) == 1
    assert results[1].value.code == 403
    assert (results[0]["successful"], results[2]["successful"]) == (True, True)


@pytest.mark.parametrize("acknowledges", [True, False])
def test_messages_are_lost_with_the_reply_that_they_come_with(
    acknowledges: bool,
) -> None:
    server = MemoryServer()
    extensions = [Ack()] if acknowledges else []
    _, got = subscribed(server, transports=["long-polling"], extensions=extensions)
    server.publish("/a", 1)
    server.drop_replies("/meta/connect")
    server.advance(45)  # the connect that is held was sent before
    server.publish("/a", 2)
    server.advance(120)
    server.publish("/a", 3)
    assert got == ([1, 2, 3] if acknowledges else [1, 3])


@TYPES
def test_nothing_is_lost_when_connections_break(kind: str) -> None:
    server = MemoryServer()
    client, got = subscribed(server, transports=[kind])
    before = client.session_id
    for number in range(5):
        server.disconnect()
        assert client.state is State.BROKEN
        statistics = server.bayeux.server.statistics()
        assert (statistics["held"], statistics["streams"]) == (0, 0)
        server.publish("/a", number)
        server.until(lambda: client.state is State.CONNECTED)
        server.advance()
    assert got == list(range(5))
    assert client.session_id == before


class Waiting(Extension):
    """Delay what is published on a channel, in both directions, until ``go_on()``."""

    def __init__(self, channel: str) -> None:
        self.channels = (channel,)
        self.waiting: list[Deferred[Message]] = []

    def incoming(self, message: Message, request: Any) -> Any:
        self.waiting.append(Deferred())
        return self.waiting[-1].addCallback(lambda _: message)

    outgoing = incoming

    def go_on(self) -> None:
        waiting, self.waiting = self.waiting, []
        for deferred in waiting:
            deferred.callback({})


def test_what_the_server_has_when_a_poll_breaks_comes_with_the_next_one() -> None:
    extension = Waiting("/a")
    server = MemoryServer(lambda clock: Bayeux(clock, extensions=[extension]))
    _, got = subscribed(server, transports=["long-polling"])
    server.bayeux.publish("/a", 1)
    extension.go_on()  # incoming
    server.advance()
    assert extension.waiting  # outgoing
    server.disconnect()
    extension.go_on()
    assert got == []
    server.until(lambda: extension.waiting)  # outgoing, again
    extension.go_on()
    server.advance()
    assert got == [1]


def test_frames_of_a_websocket_are_processed_one_after_the_other() -> None:
    extension = Waiting("/slow")
    server = MemoryServer(lambda clock: Bayeux(clock, extensions=[extension]))
    client, got = subscribed(server)
    slow, fast = client.publish("/slow", 1), client.publish("/a", 2)
    server.advance()
    assert (got, slow.called, fast.called) == ([], False, False)
    extension.go_on()
    server.advance()
    extension.go_on()  # the reply
    server.advance()
    assert (got, slow.called, fast.called) == ([2], True, True)


def test_only_the_connections_of_one_client_break() -> None:
    server = MemoryServer()
    (first, _), (second, _) = subscribed(server), subscribed(server)
    server.disconnect(first)
    assert (first.state, second.state) == (State.BROKEN, State.CONNECTED)
    with pytest.raises(ValueError, match="new_client"):
        MemoryServer().disconnect(first)


@TYPES
def test_a_late_reply_does_not_reach_the_client(kind: str) -> None:
    server = MemoryServer()
    client, _ = subscribed(server, transports=[kind])
    server.delay_replies(11, "/b")  # the client waits ten seconds
    replies: list[Any] = []
    client.publish("/b", 1).addCallback(replies.append)
    server.advance(10.5)
    assert replies == [] or len(server.received("/b")) == 2
    server.advance(10)
    assert len(replies) == 1
    assert len(server.received("/b")) == 2
    server.wait_for(client.disconnect())
    server.stop()
    assert server.clock.getDelayedCalls() == []


def test_a_late_reply_ends_a_websocket_and_silence_on_a_new_one_shows_a_proxy() -> None:
    server = MemoryServer()
    client, _ = subscribed(server)
    server.drop_requests("/b")
    client.publish("/b", 1)
    server.advance(10)
    assert isinstance(client.last_failure, NoReply)
    assert client.state is State.BROKEN
    server.drop_requests()
    server.advance(11)
    assert isinstance(client.last_failure, TransportUnavailable)


@TYPES
def test_a_websocket_lives_while_messages_arrive(kind: str) -> None:
    server = ScriptedServer()
    client = server.new_client(transports=[kind])
    client.connect()
    server.advance()
    connect = server.held_connect
    for _ in range(20):
        connect.push({"channel": "/a", "data": 1})
        server.advance(30)
    assert (connect is server.held_connect) is (kind == "websocket")
    server.advance(3600)
    assert not connect.open


@pytest.mark.parametrize(
    ("kind", "status", "error"),
    [
        ("websocket", 503, NoReply),
        ("websocket", 404, TransportUnavailable),
        ("long-polling", 404, NoReply),
    ],
)
def test_a_status_is_the_error_that_the_transport_makes_of_it(
    kind: str, status: int, error: type[Exception]
) -> None:
    server = MemoryServer()
    server.answer_with_status(status)
    client = server.new_client(transports=[kind])
    client.connect()
    server.advance()
    assert type(client.last_failure) is error
    assert client.last_failure.status == status
    assert server.received("/meta/handshake") == []
    assert len(server.sent("/meta/handshake")) == 1


def test_an_outage_comes_before_other_faults() -> None:
    server = MemoryServer()
    refusal = server.refuse("/meta/handshake", "403::No")
    with server.unreachable():
        client = server.new_client()
        client.connect()
        server.advance(30)
    assert isinstance(client.last_failure, Unreachable)
    assert refusal.strikes == 0


def test_a_session_that_the_server_ends_takes_its_websocket_with_it() -> None:
    server = MemoryServer()
    client, _ = subscribed(server)
    [socket] = server.connections
    server.end_session(client)
    assert not socket.connected
    assert client.state is State.WAITING


def test_a_restart_forgets_sessions_and_listeners() -> None:
    made: list[Bayeux] = []

    def make(clock: Clock) -> Bayeux:
        made.append(Bayeux(clock))
        return made[-1]

    server = MemoryServer(make)
    client, got = subscribed(server)
    before = client.session_id
    server.restart()
    server.until(lambda: client.state is State.CONNECTED)
    assert client.session_id != before
    server.advance()
    server.publish("/a", 1)
    assert got == [1]
    assert len(made) == 2
    assert server.bayeux is made[1]
    server.wait_for(client.disconnect())
    server.stop()
    assert server.clock.getDelayedCalls() == []
