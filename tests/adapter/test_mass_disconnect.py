"""Many connections close at the same instant: other clients are served in between.

What is left to do for the closed ones waits, and no message is lost by that.
"""

import socket
from collections.abc import Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from txbayeux.adapter.io import TIME_SLICE
from txbayeux.interfaces import Stream
from txbayeux.message import Entry
from txbayeux.processor import Response

from .sockets import CLOSE, TEXT, Client, frame
from .support import (
    HTTP_WAY,
    Answer,
    FakeDelivery,
    FakeProcessor,
    Service,
    Transport,
    entry,
    request,
    turn,
)
from .test_with_server import RealService, connect, meta, poll

DISCONNECT = [{"channel": "/meta/disconnect", "clientId": "s1"}]


class SlowProcessor(FakeProcessor):
    """Takes more than half of a time slice to detach a stream."""

    clock: Clock

    def detach(self, stream: Stream, unsent: Sequence[Entry] = ()) -> None:
        self.clock.rightNow += TIME_SLICE * 0.6
        super().detach(stream, unsent)


def test_a_closed_connection_is_not_written_to_and_cleaned_up_later() -> None:
    service = Service()
    client = Client(service)
    stream = service.processor.streams[0]
    client.transport.half_close()
    assert not stream.writable
    assert service.processor.detached == []
    assert not client.transport.lost
    service.clock.advance(0)
    assert client.transport.lost
    assert service.processor.detached == [stream]


def test_many_closed_connections_take_several_turns() -> None:
    processor = SlowProcessor()
    service = Service(processor=processor)
    processor.clock = service.clock
    clients = [Client(service) for _ in range(5)]
    for client in clients:
        client.transport.half_close()
    gone = []
    while len(processor.detached) < len(clients):
        turn(service.clock)
        gone.append(len(processor.detached))
    assert gone == [2, 4, 5]


def test_closing_while_written_data_waits() -> None:
    service = Service()
    client = Client(service)
    producer = client.transport.producer
    assert producer is not None
    producer.pauseProducing()
    client.transport.half_close()
    producer.resumeProducing()
    assert not service.processor.streams[0].writable
    assert client.transport.producerState == "paused"
    assert service.processor.resumed == []


def test_the_backlog_is_processed_while_the_peer_does_not_read() -> None:
    service = Service()
    client = Client(service)
    answer: Deferred[Response] = Deferred()
    service.processor.answers.append(answer)
    client.raw(frame(TEXT, b"[1]") + frame(TEXT, b"[2]"))
    producer = client.transport.producer
    assert producer is not None
    producer.pauseProducing()
    answer.callback(Response([1]))
    assert len(service.processor.requests) == 2
    assert client.transport.producerState == "paused"
    producer.resumeProducing()
    assert client.transport.producerState == "producing"


def test_nothing_is_processed_for_a_closed_connection() -> None:
    service = Service()
    client = Client(service)
    client.transport.half_close()
    client.send([1])
    assert service.processor.requests == []
    service.clock.advance(0)


def test_a_connection_that_is_lost_before_it_is_cleaned_up() -> None:
    service = Service()
    client = Client(service)
    client.transport.half_close()
    client.transport.lose()
    service.clock.advance(0)
    assert service.processor.detached == service.processor.streams


def test_a_response_after_the_close_is_given_back() -> None:
    service = Service()
    client = Client(service)
    held: Deferred[Response] = Deferred()
    service.processor.answers.append(succeed(Response((), held)))
    client.send([1])
    client.transport.half_close()
    given = FakeDelivery()
    held.callback(Response([entry(1)], None, given))
    assert given.given_back == 1
    assert client.transport.take() == b""
    service.clock.advance(0)


def test_stopping_cleans_up_at_once() -> None:
    service = Service()
    timers = len(service.clock.getDelayedCalls())
    clients = [Client(service) for _ in range(3)]
    for client in clients:
        client.transport.half_close()
    closed = service.resource.close()
    assert closed.called
    assert len(service.processor.detached) == 3
    assert len(service.clock.getDelayedCalls()) == timers


def test_a_disconnect_waits_and_the_next_request_waits_for_it() -> None:
    service = Service()
    client = Client(service)
    client.raw(frame(TEXT, b'[{"channel":"/meta/disconnect"}]') + frame(TEXT, b"[1]"))
    assert service.processor.requests == []
    service.clock.advance(0)
    assert [messages for messages, _, _ in service.processor.requests] == [
        [{"channel": "/meta/disconnect"}],
        [1],
    ]
    assert len(client.messages()) == 2
    assert client.transport.producerState == "producing"


@pytest.mark.parametrize("leave", ["half_close", "lose", "close"])
def test_a_disconnect_of_a_client_that_does_not_wait_for_the_reply(leave: str) -> None:
    service = Service()
    client = Client(service)
    client.send(DISCONNECT)
    if leave == "close":
        client.raw(frame(CLOSE, b"\x03\xe8"))
    else:
        getattr(client.transport, leave)()
    service.clock.advance(0)
    assert [messages for messages, _, _ in service.processor.requests] == [DISCONNECT]
    assert len(service.processor.detached) == 1


@pytest.mark.parametrize("cleaned_up", [False, True])
def test_a_message_between_the_close_and_the_cleaning_up(cleaned_up: bool) -> None:
    service = RealService()
    session = service.handshake()
    service.subscribe(session)
    client = Client(service)
    client.send([connect(session, "websocket")])
    client.transport.half_close()
    service.publish(1)
    if cleaned_up:
        service.clock.advance(0)
    again = Client(service)
    again.send([connect(session, "websocket")])
    service.publish(2)
    service.clock.advance(0)
    assert client.transport.take() == b""
    data = [message["data"] for (message,) in again.messages() if "data" in message]
    assert data == [1, 2]
    service.server.stop()
    service.resource.close()


def test_a_close_behind_waiting_requests_is_noticed() -> None:
    service = Service()
    client = Client(service)
    service.processor.answers.append(Deferred())
    client.raw(frame(TEXT, b"[1]") + frame(TEXT, b"[2]"))
    assert client.transport.producerState == "paused"
    ours, theirs = socket.socketpair()
    theirs.close()
    transport: Any = client.transport
    transport.getHandle = lambda: ours
    service.processor.streams[0].send([entry(1)])
    ours.close()
    assert client.transport.take() == b""
    assert client.transport.producerState == "producing"
    assert len(service.processor.detached) == 1


def test_a_message_after_the_close_waits_for_a_poll() -> None:
    service = RealService()
    session = service.handshake()
    service.subscribe(session)
    client = Client(service)
    client.send([connect(session, "websocket")])
    client.transport.half_close()
    service.publish(1)
    service.clock.advance(0)
    transport = service.send(poll(session))
    service.clock.advance(0)
    assert Answer(transport.value()).json()[0] == {"channel": "/a", "data": 1}
    service.server.stop()
    service.resource.close()


def test_the_last_replies_of_a_session_are_sent_before_the_close() -> None:
    service = RealService()
    session = service.handshake()
    client = Client(service)
    client.send([connect(session, "websocket")])
    client.send([meta("disconnect", session)])
    service.clock.advance(0)
    *texts, last = client.frames()
    assert [payload[:28] for _, payload in texts] == [
        b'[{"channel":"/meta/connect",',
        b'[{"channel":"/meta/disconnec',
    ]
    assert last == (CLOSE, b"\x03\xe8")
    client.transport.half_close()
    closed = service.resource.close()
    assert closed.called
    service.server.stop()


@pytest.mark.parametrize("cleaned_up", [False, True])
def test_a_message_for_a_poll_between_the_close_and_the_cleaning_up(
    cleaned_up: bool,
) -> None:
    service = RealService()
    session = service.handshake()
    service.subscribe(session)
    transport = service.send(poll(session))
    transport.half_close()
    service.publish(1)
    if cleaned_up:
        service.clock.advance(0)
        assert transport.lost
    again = service.send(poll(session))
    service.clock.advance(0)
    assert transport.lost
    assert b'"data"' not in transport.value()
    assert Answer(again.value()).json()[0] == {"channel": "/a", "data": 1}
    service.server.stop()
    service.resource.close()


def test_many_closed_polls_take_several_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service = Service()
    lose = Transport.lose

    def slow(transport: Transport) -> None:
        service.clock.rightNow += TIME_SLICE * 0.6
        lose(transport)

    monkeypatch.setattr(Transport, "lose", slow)
    transports = [service.connect() for _ in range(5)]
    for transport in transports:
        transport.half_close()
    gone = []
    while not all(transport.lost for transport in transports):
        turn(service.clock)
        gone.append(sum(transport.lost for transport in transports))
    assert gone == ([2, 4, 5] if HTTP_WAY.fast else [])


def test_requests_before_the_close_are_not_answered_after_it() -> None:
    service = Service()
    held: Deferred[Response] = Deferred()
    service.processor.answers.append(held)
    transport = service.send(
        request("POST", body=b"[1]") + request("POST", body=b"[2]")
    )
    transport.half_close()
    held.callback(Response([entry(1)]))
    service.clock.advance(0)
    assert transport.lost
    assert [messages for messages, _, _ in service.processor.requests] == [[1]]
