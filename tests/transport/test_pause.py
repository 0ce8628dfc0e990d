"""Show that a paused transport reads nothing that is pushed, but all replies."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from txbayeux.message import Message, encode_list
from txbayeux.transport.base import NoReply

from .support import PUBLISH, REPLY, outcome
from .test_eventsource import EVENT, MESSAGE, EventSourceFixture
from .test_in_process import ServerFixture
from .websocket_fixture import WebSocketFixture, frame, frames

PUSHED = {"channel": "/b", "data": 2}
HELD = {"channel": "/meta/connect", "id": "7", "clientId": "s"}
AT_ONCE = {**HELD, "advice": {"timeout": 0}}
PING = 9
PAD = "x" * 10_000  # a connection is given 256 KiB at once


def send(fixture: WebSocketFixture, message: Message, timeout: float = 10) -> list[Any]:
    return outcome(fixture.transport.send([message], timeout))


def push(fixture: WebSocketFixture, *messages: Message) -> None:
    fixture.connection.send(frame(encode_list(messages or [PUSHED])))


def opened() -> WebSocketFixture:
    """Return a fixture whose socket is open, with nothing in flight."""
    fixture = WebSocketFixture()
    fixture.open()
    fixture.reply()
    fixture.receiver.messages.clear()
    fixture.connection.take()
    return fixture


@pytest.mark.parametrize("connect", [None, HELD])
def test_a_paused_socket_is_not_read(connect: Message | None) -> None:
    fixture = opened()
    if connect is not None:
        send(fixture, connect, timeout=40)
    fixture.transport.pause()
    assert fixture.connection.paused
    push(fixture)
    fixture.clock.pump([10] * 60)
    assert fixture.receiver.messages == []
    assert fixture.receiver.errors == []
    fixture.transport.resume()
    fixture.clock.advance(0)
    assert fixture.receiver.messages == [PUSHED]


@pytest.mark.parametrize("message", [PUBLISH, AT_ONCE])
def test_a_paused_socket_is_read_while_a_reply_is_awaited(message: Message) -> None:
    fixture = opened()
    held = send(fixture, HELD, timeout=40)
    fixture.transport.pause()
    done = send(fixture, message)
    assert not fixture.connection.paused
    push(fixture)
    assert fixture.receiver.messages == [PUSHED]
    push(
        fixture, {key: message[key] for key in ("channel", "id")} | {"successful": True}
    )
    assert (held, done)[message is not AT_ONCE] == [None]
    assert fixture.connection.paused is (message is PUBLISH)


def test_a_reply_on_a_paused_socket_is_awaited_no_longer_than_otherwise() -> None:
    fixture = opened()
    fixture.transport.pause()
    done = send(fixture, PUBLISH)
    fixture.clock.advance(10)
    assert isinstance(done[0], NoReply)
    fixture.clock.advance(0)
    assert isinstance(fixture.receiver.errors[0], NoReply)


def test_time_for_a_held_connect_begins_anew_after_a_pause() -> None:
    fixture = opened()
    done = send(fixture, HELD, timeout=40)
    fixture.transport.pause()
    fixture.clock.pump([10] * 10)
    fixture.transport.resume()
    fixture.clock.pump([1] * 8)
    assert fixture.receiver.errors == []
    for _ in range(6):  # the peer answers pings
        fixture.connection.send(frame(b"", opcode=10))
        fixture.clock.advance(7)
    assert isinstance(done[0], NoReply)


def test_a_paused_socket_sends_pings_and_expects_no_answer() -> None:
    fixture = opened()
    fixture.transport.pause()
    fixture.clock.pump([10] * 10)
    sent = [opcode for opcode, _ in frames(fixture.connection.take())]
    assert sent == [PING] * 4
    assert fixture.receiver.errors == []
    fixture.transport.resume()
    fixture.clock.pump([1] * 30)
    assert isinstance(fixture.receiver.errors[0], NoReply)


def test_a_pause_in_the_middle_of_a_ping_does_not_end_the_socket() -> None:
    fixture = opened()
    fixture.clock.pump([20, 20])
    assert [opcode for opcode, _ in frames(fixture.connection.take())] == [PING]
    fixture.transport.pause()
    fixture.clock.pump([1] * 20)
    assert fixture.receiver.errors == []


def test_a_socket_opened_during_a_pause_is_read_until_nothing_is_awaited() -> None:
    fixture = WebSocketFixture()
    fixture.transport.pause()
    done = fixture.open()
    assert not fixture.connection.paused
    fixture.reply()
    assert done == [None]
    assert fixture.connection.paused


def test_a_paused_socket_can_be_closed() -> None:
    fixture = opened()
    fixture.transport.pause()
    push(fixture)
    closed = outcome(fixture.transport.close())
    assert not fixture.connection.paused
    fixture.connection.send(frame(b"\x03\xe8", opcode=8))
    fixture.connection.close()
    assert closed == [None]
    assert fixture.receiver.messages == []
    fixture.assert_nothing_left()


def test_a_paused_event_stream_is_not_read() -> None:
    fixture = EventSourceFixture()
    fixture.open()
    stream = fixture.connection
    for _ in range(3):
        stream.send(b": beat\n\n")
    fixture.transport.pause()
    assert stream.paused
    stream.send(EVENT)
    fixture.clock.pump([10] * 60)  # keep-alives are not read either
    assert fixture.receiver.messages == []
    assert fixture.receiver.errors == []
    done = outcome(fixture.transport.send([PUBLISH], 10))
    body = encode_list([REPLY])
    fixture.connection.send(
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    )
    assert done == [None]
    assert stream.paused
    fixture.transport.resume()
    fixture.clock.advance(0)
    assert fixture.receiver.messages == [REPLY, MESSAGE]
    fixture.assert_nothing_left()


def test_keep_alives_are_expected_again_after_a_pause() -> None:
    fixture = EventSourceFixture()
    fixture.open()
    for _ in range(3):
        fixture.connection.send(b": beat\n\n")
    fixture.transport.pause()
    fixture.transport.resume()
    fixture.clock.pump([10] * 10)
    assert isinstance(fixture.receiver.errors[0], NoReply)


def test_a_stream_opened_during_a_pause_is_paused() -> None:
    fixture = EventSourceFixture()
    fixture.transport.pause()
    fixture.open()
    assert fixture.connection.paused
    fixture.connection.send(EVENT)
    assert fixture.receiver.messages == []
    fixture.transport.resume()
    fixture.clock.advance(0)
    assert fixture.receiver.messages == [MESSAGE]
    fixture.assert_nothing_left()


def test_in_process_messages_wait_at_the_server() -> None:
    fixture = ServerFixture()
    subscriber, publisher = fixture.client(), fixture.client()
    working: list[Deferred[None]] = []
    received: list[int] = []

    async def work(message: Message) -> None:
        received.append(message["data"]["n"])
        await subscriber.publish("/b", message["data"])
        working.append(Deferred())
        await working[-1]

    subscriber.subscribe("/a", work)
    fixture.clock.advance(0)
    results = []
    for number in range(500):
        results.append(outcome(publisher.publish("/a", {"n": number, "pad": PAD})))
        fixture.clock.advance(0.01)
    fixture.clock.advance(0.1)
    assert all(result[0]["successful"] for result in results)
    assert received == list(range(subscriber.unprocessed))
    assert 100 <= subscriber.unprocessed < 110
    for _ in range(1000):
        if working:
            working.pop(0).callback(None)
        fixture.clock.advance(0.01)
        assert subscriber.unprocessed < 150
    assert received == list(range(500))
    assert subscriber.unprocessed == 0
    fixture.stop(subscriber, publisher)
