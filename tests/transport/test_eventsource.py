"""The EventSource transport: messages by a stream, requests by POST; and its format."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionRefusedError as TCPRefused

from txbayeux.message import encode_list
from txbayeux.transport.base import NoReply, TransportUnavailable, Unreachable
from txbayeux.transport.eventsource import EventSource
from txbayeux.transport.http import Http
from txbayeux.transport.sse import EventStreamParser, EventTooLarge

from .support import TransportFixture, outcome

MESSAGE = {"channel": "/a", "data": 1}
EVENT = b"data: " + encode_list([MESSAGE]) + b"\n\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n"


class EventSourceFixture(TransportFixture):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        http = Http(self.context, self.network)
        self.transport = EventSource(self.context, self.receiver, http)

    def open(self) -> None:
        self.transport.attach("abc")
        self.connection.send(HEAD)


def test_messages_are_received_on_a_stream_of_the_session() -> None:
    fixture = EventSourceFixture(headers={"Authorization": "Bearer x"})
    fixture.open()
    request = fixture.connection.written.decode()
    assert request.startswith("GET /bayeux/abc HTTP/1.1\r\n")
    assert "Accept: text/event-stream\r\n" in request
    assert "Authorization: Bearer x\r\n" in request
    fixture.connection.send(b"retry: 2000\n\n: beat\n\n" + EVENT + EVENT[:9])
    assert fixture.receiver.messages == [MESSAGE]
    fixture.connection.send(EVENT[9:])
    assert fixture.receiver.messages == [MESSAGE] * 2
    fixture.assert_nothing_left()
    assert fixture.receiver.errors == []


def test_requests_are_sent_by_post() -> None:
    fixture = EventSourceFixture()
    fixture.open()
    done = outcome(fixture.transport.send([{**MESSAGE, "id": "1"}], 10))
    assert fixture.connection.written.startswith(b"POST /bayeux HTTP/1.1\r\n")
    body = encode_list([{"channel": "/a", "id": "1", "successful": True}])
    fixture.connection.send(
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    )
    assert done == [None]


def test_there_is_one_stream_and_it_is_of_the_current_session() -> None:
    fixture = EventSourceFixture()
    fixture.open()
    fixture.transport.attach("abc")
    assert len(fixture.network.connections) == 1
    old = fixture.connection
    fixture.transport.attach("def/../x")
    assert old.aborted
    assert fixture.connection.written.startswith(
        b"GET /bayeux/def%2F..%2Fx HTTP/1.1\r\n"
    )
    fixture.connection.send(HEAD)
    old.send(EVENT)
    assert fixture.receiver.messages == []
    assert fixture.receiver.errors == []


@pytest.mark.parametrize("how", ["end", "break"])
def test_the_end_of_a_stream_is_reported_and_it_can_be_reopened(how: str) -> None:
    fixture = EventSourceFixture()
    fixture.open()
    fixture.connection.send(EVENT)
    fixture.connection.close(None if how == "end" else ConnectionResetError())
    [error] = fixture.receiver.errors
    assert type(error) is NoReply
    fixture.transport.attach("abc")
    fixture.connection.send(HEAD + EVENT)
    assert fixture.receiver.messages == [MESSAGE] * 2
    fixture.assert_nothing_left()


def test_a_stream_whose_keep_alives_stop_is_closed() -> None:
    fixture = EventSourceFixture()
    fixture.open()
    for _ in range(3):
        fixture.connection.send(b":\n\n")
        fixture.clock.advance(25)
    fixture.connection.send(EVENT)
    fixture.clock.advance(59)
    assert fixture.receiver.errors == []
    fixture.clock.advance(1)
    assert [str(error) for error in fixture.receiver.errors] == [
        "the event stream sends no keep-alives any more"
    ]
    fixture.transport.attach("abc")
    fixture.connection.send(HEAD + EVENT)
    assert fixture.receiver.messages == [MESSAGE] * 2
    fixture.assert_nothing_left()


def test_the_longest_interval_between_keep_alives_counts() -> None:
    fixture = EventSourceFixture()
    fixture.open()
    for wait in (25, 30, 5, 69):
        fixture.connection.send(b": beat\n\n")
        fixture.clock.advance(wait)
    assert fixture.receiver.errors == []
    fixture.clock.advance(1)
    assert len(fixture.receiver.errors) == 1
    fixture.assert_nothing_left()


def test_keep_alives_that_arrive_in_a_burst_do_not_shorten_the_interval() -> None:
    fixture = EventSourceFixture()
    fixture.open()
    for wait in (0.01, 0.01, 25, 25):
        fixture.connection.send(b":\n\n")
        fixture.clock.advance(wait)
    assert fixture.receiver.errors == []
    fixture.clock.advance(35)
    assert len(fixture.receiver.errors) == 1
    fixture.assert_nothing_left()


def test_an_empty_stream_is_reported_and_can_be_reopened() -> None:
    fixture = EventSourceFixture()
    fixture.transport.attach("abc")
    fixture.connection.send(HEAD.replace(b"\r\n\r\n", b"\r\nContent-Length: 0\r\n\r\n"))
    assert [type(error) for error in fixture.receiver.errors] == [NoReply]
    fixture.transport.attach("abc")
    assert fixture.connection.written.count(b"GET ") == 2
    fixture.assert_nothing_left()


@pytest.mark.parametrize("start", [b"", b":\n\n"])
def test_a_stream_without_keep_alives_never_times_out(start: bytes) -> None:
    fixture = EventSourceFixture()
    fixture.open()
    for data in (start, EVENT, EVENT):
        fixture.connection.send(data)
        fixture.clock.advance(1)
    assert fixture.clock.getDelayedCalls() == []
    fixture.assert_nothing_left()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (404, NoReply),
        (410, NoReply),
        (400, TransportUnavailable),
        (406, TransportUnavailable),
    ],
)
def test_a_refused_stream(status: int, kind: type[Exception]) -> None:
    fixture = EventSourceFixture()
    fixture.transport.attach("abc")
    fixture.connection.send(
        f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode()
    )
    [error] = fixture.receiver.errors
    assert type(error) is kind
    assert error.status == status
    fixture.assert_nothing_left()


BAD_GATEWAY = b"HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("how", ["gateway", "closed", "unreachable"])
def test_a_stream_that_could_not_be_opened_is_asked_for_once_more(
    how: str,
) -> None:
    fixture = EventSourceFixture()
    if how == "unreachable":
        fixture.network.refusal = TCPRefused()
    fixture.transport.attach("abc")
    if how == "gateway":
        fixture.connection.send(BAD_GATEWAY)
    elif how == "closed":
        fixture.connection.close()
    assert fixture.receiver.errors == []
    fixture.transport.attach("abc")  # as after another connect
    fixture.network.refusal = None
    fixture.clock.advance(0.5)
    assert fixture.connection.take().endswith(b"\r\n\r\n")
    fixture.connection.send(HEAD + EVENT)
    assert fixture.receiver.messages == [MESSAGE]
    fixture.assert_nothing_left()
    assert fixture.receiver.errors == []


@pytest.mark.parametrize(
    ("how", "kind"), [("gateway", NoReply), ("unreachable", Unreachable)]
)
def test_a_stream_that_is_refused_twice_is_reported(
    how: str, kind: type[Exception]
) -> None:
    fixture = EventSourceFixture()
    if how == "unreachable":
        fixture.network.refusal = TCPRefused()
    fixture.transport.attach("abc")
    if how == "gateway":
        fixture.connection.send(BAD_GATEWAY)
    assert fixture.receiver.errors == []
    fixture.clock.advance(0.5)
    if how == "gateway":
        fixture.connection.send(BAD_GATEWAY)
    [error] = fixture.receiver.errors
    assert type(error) is kind
    assert error.status == (502 if how == "gateway" else None)
    fixture.assert_nothing_left()


def test_closing_before_a_stream_is_asked_for_once_more() -> None:
    fixture = EventSourceFixture()
    fixture.transport.attach("abc")
    fixture.connection.send(BAD_GATEWAY)
    fixture.assert_nothing_left()
    assert fixture.receiver.errors == []
    assert len(fixture.network.connections) == 1


def test_a_response_that_is_not_an_event_stream() -> None:
    fixture = EventSourceFixture()
    fixture.transport.attach("abc")
    fixture.connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>")
    [error] = fixture.receiver.errors
    assert isinstance(error, TransportUnavailable)
    fixture.assert_nothing_left()


def test_a_proxy_that_buffers_the_stream() -> None:
    fixture = EventSourceFixture()
    fixture.transport.attach("abc")
    fixture.clock.advance(10.1)
    [error] = fixture.receiver.errors
    assert isinstance(error, TransportUnavailable)
    fixture.assert_nothing_left()


@pytest.mark.parametrize("event", [b"data: <html>\n\n", b"data: [1]\n\n"])
def test_an_invalid_event_closes_the_stream(event: bytes) -> None:
    fixture = EventSourceFixture(max_response=1000)
    fixture.open()
    fixture.connection.send(event + EVENT)
    [error] = fixture.receiver.errors
    assert isinstance(error, NoReply)
    assert fixture.receiver.messages == []
    fixture.assert_nothing_left()


def test_closing_while_it_is_being_opened() -> None:
    fixture = EventSourceFixture()
    fixture.network.pending = []
    fixture.transport.attach("abc")
    fixture.assert_nothing_left()
    assert fixture.receiver.errors == []


# The format.


@pytest.mark.parametrize(
    ("text", "events"),
    [
        (b"data: a\n\n", [b"a"]),
        (b"data:a\r\n\r\ndata: b\r\r", [b"a", b"b"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"data:  a\n\n", [b" a"]),
        (b"data\n\n", [b""]),
        (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
        (b": comment\nevent: x\nid: 7\nretry: 5\ndata: a\n\n", [b"a"]),
        (b"event: x\n\n", []),
        (b"data: a\n", []),
        (b"\n\n\n", []),
        (b"nonsense\ndata: a\n\n", [b"a"]),
    ],
)
def test_parsing_whole_and_byte_by_byte(text: bytes, events: list[bytes]) -> None:
    text += b"data: end\n\n" if text.endswith((b"\n\n", b"\r\r")) else b""
    expected = [*events, b"end"] if text.endswith(b"end\n\n") else events
    assert EventStreamParser(100).feed(text) == expected
    stream = EventStreamParser(100)
    single = [event for byte in text for event in stream.feed(bytes([byte]))]
    assert single == expected


@given(st.lists(st.binary().map(lambda b: b.translate(None, b"\r\n"))), st.data())
def test_how_the_bytes_are_split_does_not_matter(
    data: list[bytes], cuts: st.DataObject
) -> None:
    text = b"".join(b"data: " + piece + b"\r\n\r\n" for piece in data)
    stream = EventStreamParser(10_000)
    events = []
    while text:
        cut = cuts.draw(st.integers(1, len(text)))
        events += stream.feed(text[:cut])
        text = text[cut:]
    assert events == data


@pytest.mark.parametrize(
    "text", [b"x" * 101, b"data: " + b"x" * 60 + b"\n", b"data\n" * 60]
)
def test_the_size_of_an_event_is_limited(text: bytes) -> None:
    with pytest.raises(EventTooLarge):
        EventStreamParser(100).feed(text + text)


def test_an_endless_event_closes_the_stream() -> None:
    fixture = EventSourceFixture(max_response=1000)
    fixture.open()
    fixture.connection.send(b"data: " + b"x" * 3000)
    [error] = fixture.receiver.errors
    assert "too large" in str(error)
    fixture.assert_nothing_left()
