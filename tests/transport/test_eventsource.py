"""The client's EventSource transport, and its parser."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import error

from txbayeux.message import encode_list
from txbayeux.transport.base import NoReply, TransportUnavailable, Unreachable
from txbayeux.transport.eventsource import EventSource
from txbayeux.transport.http import Http
from txbayeux.transport.sse import EventStreamParser, EventTooLarge

from .support import Network, Pipe, Receiver, context, outcome

MESSAGE = {"channel": "/a", "data": 1}
EVENT = b"data: " + encode_list([MESSAGE]) + b"\n\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n"


class Stage:
    def __init__(self, **options: Any) -> None:
        self.context = context(**options)
        self.clock = self.context.reactor
        self.network = Network(self.clock)
        self.receiver = Receiver()
        http = Http(self.context)
        http._endpoint_factory.endpoint = self.network.endpoint  # type: ignore[assignment, method-assign]
        self.transport = EventSource(self.context, self.receiver, http)

    @property
    def pipe(self) -> Pipe:
        return self.network.pipes[-1]

    def open(self) -> None:
        self.transport.attach("abc")
        self.pipe.send(HEAD)

    def assert_nothing_left(self) -> None:
        closed = outcome(self.transport.close())
        self.clock.advance(0)
        assert closed == [None]
        assert self.clock.getDelayedCalls() == []
        assert all(pipe.closed for pipe in self.network.pipes)


def test_messages_come_by_a_stream_of_the_session() -> None:
    stage = Stage(headers={"Authorization": "Bearer x"})
    stage.open()
    request = stage.pipe.written.decode()
    assert request.startswith("GET /bayeux/abc HTTP/1.1\r\n")
    assert "Accept: text/event-stream\r\n" in request
    assert "Authorization: Bearer x\r\n" in request
    stage.pipe.send(b"retry: 2000\n\n: beat\n\n" + EVENT + EVENT[:9])
    assert stage.receiver.messages == [MESSAGE]
    stage.pipe.send(EVENT[9:])
    assert stage.receiver.messages == [MESSAGE] * 2
    stage.assert_nothing_left()
    assert stage.receiver.errors == []


def test_the_rest_goes_by_post() -> None:
    stage = Stage()
    stage.open()
    done = outcome(stage.transport.send([{**MESSAGE, "id": "1"}], 10))
    assert stage.pipe.written.startswith(b"POST /bayeux HTTP/1.1\r\n")
    body = encode_list([{"channel": "/a", "id": "1", "successful": True}])
    stage.pipe.send(
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    )
    assert done == [None]


def test_one_stream_for_a_session_and_another_for_another() -> None:
    stage = Stage()
    stage.open()
    stage.transport.attach("abc")
    assert len(stage.network.pipes) == 1
    old = stage.pipe
    stage.transport.attach("def/../x")
    assert old.aborted
    assert stage.pipe.written.startswith(b"GET /bayeux/def%2F..%2Fx HTTP/1.1\r\n")
    stage.pipe.send(HEAD)
    old.send(EVENT)
    assert stage.receiver.messages == []
    assert stage.receiver.errors == []


@pytest.mark.parametrize("how", ["end", "break"])
def test_the_end_of_a_stream_is_told_and_it_can_be_opened_again(how: str) -> None:
    stage = Stage()
    stage.open()
    stage.pipe.send(EVENT)
    stage.pipe.close(None if how == "end" else ConnectionResetError())
    [told] = stage.receiver.errors
    assert type(told) is NoReply
    stage.transport.attach("abc")
    stage.pipe.send(HEAD + EVENT)
    assert stage.receiver.messages == [MESSAGE] * 2
    stage.assert_nothing_left()


def test_a_stream_that_shows_no_signs_of_life_any_more_has_ended() -> None:
    stage = Stage()
    stage.open()
    for _ in range(3):
        stage.pipe.send(b":\n\n")
        stage.clock.advance(25)
    stage.pipe.send(EVENT)
    stage.clock.advance(59)
    assert stage.receiver.errors == []
    stage.clock.advance(1)
    assert [str(error) for error in stage.receiver.errors] == [
        "the event stream sends no keep-alives any more"
    ]
    stage.transport.attach("abc")
    stage.pipe.send(HEAD + EVENT)
    assert stage.receiver.messages == [MESSAGE] * 2
    stage.assert_nothing_left()


def test_the_longest_time_between_signs_of_life_counts() -> None:
    stage = Stage()
    stage.open()
    for wait in (25, 30, 5, 69):
        stage.pipe.send(b": beat\n\n")
        stage.clock.advance(wait)
    assert stage.receiver.errors == []
    stage.clock.advance(1)
    assert len(stage.receiver.errors) == 1
    stage.assert_nothing_left()


def test_signs_of_life_that_come_late_and_at_once_are_no_rhythm() -> None:
    stage = Stage()
    stage.open()
    for wait in (0.01, 0.01, 25, 25):
        stage.pipe.send(b":\n\n")
        stage.clock.advance(wait)
    assert stage.receiver.errors == []
    stage.clock.advance(35)
    assert len(stage.receiver.errors) == 1
    stage.assert_nothing_left()


def test_a_stream_that_ends_as_it_begins_has_ended() -> None:
    stage = Stage()
    stage.transport.attach("abc")
    stage.pipe.send(HEAD.replace(b"\r\n\r\n", b"\r\nContent-Length: 0\r\n\r\n"))
    assert [type(error) for error in stage.receiver.errors] == [NoReply]
    stage.transport.attach("abc")
    assert stage.pipe.written.count(b"GET ") == 2
    stage.assert_nothing_left()


@pytest.mark.parametrize("start", [b"", b":\n\n"])
def test_a_stream_without_signs_of_life_is_waited_for(start: bytes) -> None:
    stage = Stage()
    stage.open()
    for data in (start, EVENT, EVENT):
        stage.pipe.send(data)
        stage.clock.advance(1)
    assert stage.clock.getDelayedCalls() == []
    stage.assert_nothing_left()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (404, NoReply),
        (410, NoReply),
        (400, TransportUnavailable),
        (406, TransportUnavailable),
        (502, NoReply),
        (503, NoReply),
    ],
)
def test_a_stream_that_is_refused(status: int, kind: type[Exception]) -> None:
    stage = Stage()
    stage.transport.attach("abc")
    stage.pipe.send(f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode())
    [told] = stage.receiver.errors
    assert type(told) is kind
    assert told.status == status
    stage.assert_nothing_left()


def test_an_answer_that_is_no_stream() -> None:
    stage = Stage()
    stage.transport.attach("abc")
    stage.pipe.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>")
    [told] = stage.receiver.errors
    assert isinstance(told, TransportUnavailable)
    stage.assert_nothing_left()


def test_a_proxy_that_waits_for_the_end() -> None:
    stage = Stage()
    stage.transport.attach("abc")
    stage.clock.advance(10.1)
    [told] = stage.receiver.errors
    assert isinstance(told, TransportUnavailable)
    stage.assert_nothing_left()


def test_no_connection() -> None:
    stage = Stage()
    stage.network.refusal = error.ConnectionRefusedError()
    stage.transport.attach("abc")
    [told] = stage.receiver.errors
    assert isinstance(told, Unreachable)


@pytest.mark.parametrize("event", [b"data: <html>\n\n", b"data: [1]\n\n"])
def test_garbage_in_the_stream_ends_it(event: bytes) -> None:
    stage = Stage(max_response=1000)
    stage.open()
    stage.pipe.send(event + EVENT)
    [told] = stage.receiver.errors
    assert isinstance(told, NoReply)
    assert stage.receiver.messages == []
    stage.assert_nothing_left()


def test_closing_while_it_is_being_opened() -> None:
    stage = Stage()
    stage.network.pending = []
    stage.transport.attach("abc")
    stage.assert_nothing_left()
    assert stage.receiver.errors == []


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
def test_the_format_whole_and_byte_by_byte(text: bytes, events: list[bytes]) -> None:
    text += b"data: end\n\n" if text.endswith((b"\n\n", b"\r\r")) else b""
    expected = [*events, b"end"] if text.endswith(b"end\n\n") else events
    assert EventStreamParser(100).feed(text) == expected
    stream = EventStreamParser(100)
    single = [event for byte in text for event in stream.feed(bytes([byte]))]
    assert single == expected


@given(st.lists(st.binary().map(lambda b: b.translate(None, b"\r\n"))), st.data())
def test_cuts_change_nothing(data: list[bytes], cuts: st.DataObject) -> None:
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
def test_the_limit(text: bytes) -> None:
    with pytest.raises(EventTooLarge):
        EventStreamParser(100).feed(text + text)


def test_an_event_without_end_ends_the_stream() -> None:
    stage = Stage(max_response=1000)
    stage.open()
    stage.pipe.send(b"data: " + b"x" * 3000)
    [told] = stage.receiver.errors
    assert "too large" in str(told)
    stage.assert_nothing_left()
