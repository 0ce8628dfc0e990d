"""The WebSocket transport: upgrade, frames, pings, limits and closing, in memory."""

from __future__ import annotations

import struct
import zlib

import pytest
from twisted.internet import error as twisted_error

from txbayeux.message import encode_list
from txbayeux.transport.base import (
    NoReply,
    TransportError,
    TransportUnavailable,
    Unreachable,
)
from txbayeux.transport.cookies import cookie_header

from .support import PUBLISH, REPLY, outcome
from .websocket_fixture import WebSocketFixture, frame, frames


def test_a_socket_is_opened_for_the_first_message_and_kept_open() -> None:
    fixture = WebSocketFixture()
    assert fixture.network.connections == []
    done = fixture.send()
    request = fixture.connection.written.decode()
    assert request.startswith("GET /bayeux HTTP/1.1\r\n")
    assert "Host: 127.0.0.1:8000\r\n" in request
    assert "Extensions" not in request
    fixture.upgrade()
    assert frames(fixture.connection.take()) == [(1, encode_list([PUBLISH]))]
    assert done == []
    fixture.connection.send(frame(b"[]"))
    fixture.connection.send(frame(encode_list([{"channel": "/b", "data": 2}, REPLY])))
    assert done == [None]
    assert fixture.receiver.messages == [{"channel": "/b", "data": 2}, REPLY]
    again = fixture.send()
    fixture.reply()
    assert again == [None]
    assert len(fixture.network.connections) == 1


def test_a_connect_is_not_late_while_messages_arrive() -> None:
    fixture = WebSocketFixture()
    connect = {"channel": "/meta/connect", "clientId": "s", "id": "1"}
    done = outcome(fixture.transport.send([connect], 70))
    fixture.upgrade()
    delivery = frame(encode_list([{"channel": "/b", "data": 2}]))
    for _ in range(20):
        fixture.answer_pings(30)
        fixture.connection.send(delivery)
    assert done == []
    fixture.answer_pings(69)
    assert done == []
    fixture.answer_pings(1)  # 70 s after the last message
    assert str(done[0]) == "no reply within 70 s"
    fixture.assert_nothing_left()


def test_messages_do_not_prolong_the_time_for_other_replies() -> None:
    fixture = WebSocketFixture()
    done = fixture.open()
    for _ in range(10):
        fixture.clock.advance(1)
        fixture.connection.send(frame(encode_list([{"channel": "/b", "data": 2}])))
    assert isinstance(done[0], NoReply)


def test_a_reply_without_id_answers_one_batch_only() -> None:
    fixture = WebSocketFixture()
    first, second = fixture.send(), fixture.send()
    fixture.upgrade()
    reply = {key: value for key, value in REPLY.items() if key != "id"}
    fixture.connection.send(frame(encode_list([reply])))
    assert (first, second) == ([None], [])
    fixture.connection.send(frame(encode_list([reply])))
    assert second == [None]


def test_headers_and_cookies_of_the_upgrade() -> None:
    fixture = WebSocketFixture(headers={"Authorization": "Bearer x"})
    fixture.send()
    assert "Authorization: Bearer x\r\n" in fixture.connection.written.decode()
    assert "Cookie" not in fixture.connection.written.decode()
    fixture.upgrade(
        "Set-Cookie: a=1; Path=/; Expires=Wed, 01 Jan 2098 00:00:00 GMT",
        "Set-Cookie: b=2; Secure",
        "Set-Cookie: c=3; Domain=example.com",
    )
    assert cookie_header(fixture.context.jar, fixture.context.endpoint) == "a=1"
    fixture.connection.close()
    fixture.send()
    assert "Cookie: a=1\r\n" in fixture.connection.written.decode()


def test_ipv6_and_other_ports() -> None:
    fixture = WebSocketFixture(url="ws://[::1]:9000/x?y=1")
    fixture.send()
    request = fixture.connection.written.decode()
    assert request.startswith("GET /x?y=1 HTTP/1.1\r\n")
    assert "Host: [::1]:9000\r\n" in request


@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 404, 426])
def test_a_refused_upgrade_makes_the_transport_unavailable(status: int) -> None:
    fixture = WebSocketFixture()
    done = fixture.send()
    fixture.connection.send(
        f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode()
    )
    [error] = done
    assert isinstance(error, TransportUnavailable)
    assert error.status == status
    assert fixture.receiver.errors == [error]
    fixture.assert_nothing_left()


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_gateway_error_does_not_make_the_transport_unavailable(status: int) -> None:
    fixture = WebSocketFixture()
    done = fixture.send()
    fixture.connection.send(f"HTTP/1.1 {status} No\r\n\r\n".encode())
    assert type(done[0]) is NoReply


def test_no_connection_does_not_make_the_transport_unavailable() -> None:
    fixture = WebSocketFixture()
    fixture.network.refusal = twisted_error.ConnectionRefusedError()
    [error] = fixture.send()
    assert isinstance(error, Unreachable)
    assert fixture.receiver.errors == [error]
    fixture.network.refusal = None
    fixture.send()
    assert len(fixture.network.connections) == 1


def test_a_connection_that_is_not_made_in_time() -> None:
    fixture = WebSocketFixture()
    fixture.network.pending = []
    done = fixture.send(timeout=30)
    fixture.clock.advance(10.1)
    assert isinstance(done[0], TransportError)
    assert fixture.network.pending[0].called
    fixture.assert_nothing_left()


def test_an_upgrade_that_is_never_answered() -> None:
    fixture = WebSocketFixture()
    done = fixture.send(timeout=30)
    fixture.clock.advance(10.1)
    assert isinstance(done[0], TransportUnavailable)
    assert fixture.connection.aborted
    fixture.assert_nothing_left()


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\xff" * 10 + b"\r\n\r\n",
        b"\r\n\r\n",
        b"HTTP/1.1 101 OK\r\n\r\n",
        b"HTTP/1.1 one two\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
        b"Connection: upgrade\r\nSec-WebSocket-Accept: nonsense\r\n\r\n",
        b"x" * 70_000,
    ],
)
def test_garbage_instead_of_an_upgrade(garbage: bytes) -> None:
    fixture = WebSocketFixture()
    done = fixture.send()
    fixture.connection.send(garbage)
    assert isinstance(done[0], TransportError)
    fixture.assert_nothing_left()


@pytest.mark.parametrize(
    "wrong",
    [
        frame(b"<html>"),
        frame(b"[{"),
        frame(b"7"),
        frame(b"[1]"),
        frame(b"\xff\xfe"),
        frame(encode_list([REPLY]), opcode=2),
        frame(b"x", opcode=5),
        b"\x81\x85mask" + b"hello",
        frame(b"x", rsv1=True),
        b"\x81\x7f" + struct.pack(">Q", 2**40),
    ],
)
def test_an_invalid_frame_closes_the_socket_at_once(wrong: bytes) -> None:
    fixture = WebSocketFixture()
    done = fixture.open()
    fixture.connection.send(wrong)
    assert isinstance(done[0], NoReply)
    assert len(fixture.receiver.errors) == 1
    assert fixture.receiver.messages == []
    fixture.assert_nothing_left()
    again = fixture.send()
    assert again == []


def test_no_reply_on_a_new_socket_makes_the_transport_unavailable() -> None:
    fixture = WebSocketFixture()
    done = fixture.open()
    fixture.clock.advance(10.1)
    assert isinstance(done[0], TransportUnavailable)
    assert fixture.connection.aborted
    assert len(fixture.receiver.errors) == 1
    fixture.assert_nothing_left()


def test_no_reply_on_a_socket_that_has_worked_closes_it() -> None:
    fixture = WebSocketFixture()
    fixture.open()
    fixture.reply()
    first, second = fixture.send(5), fixture.send(50)
    fixture.clock.advance(5.1)
    assert type(first[0]) is NoReply
    assert type(second[0]) is NoReply
    fixture.assert_nothing_left()


def test_a_dead_peer_is_detected_by_pings() -> None:
    fixture = WebSocketFixture(ping_interval=20.0)
    fixture.open()
    fixture.reply()
    held = fixture.send(timeout=1000)
    fixture.connection.take()
    fixture.clock.advance(20.1)
    for _ in range(3):
        fixture.clock.advance(20.1)
        assert [opcode for opcode, _ in frames(fixture.connection.take())] == [9]
        fixture.connection.send(frame(b"", opcode=10))
        fixture.clock.advance(10.1)
        assert held == []
    fixture.clock.advance(20.1)
    fixture.clock.advance(10.1)
    assert isinstance(held[0], NoReply)
    assert fixture.connection.aborted


def test_a_peer_that_sends_is_not_pinged() -> None:
    fixture = WebSocketFixture(ping_interval=20.0)
    fixture.open()
    fixture.reply()
    fixture.connection.take()
    for _ in range(20):
        fixture.clock.advance(10)
        fixture.connection.send(frame(b"[]"))
    assert fixture.connection.take() == b""


def test_pings_are_answered() -> None:
    fixture = WebSocketFixture()
    fixture.open()
    fixture.connection.take()
    fixture.connection.send(frame(b"beat", opcode=9))
    assert frames(fixture.connection.take()) == [(10, b"beat")]


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1009])
def test_a_close_frame_fails_requests_and_opens_a_new_socket_for_the_next(
    code: int,
) -> None:
    fixture = WebSocketFixture()
    done = fixture.open()
    old = fixture.connection
    old.take()
    old.send(frame(struct.pack(">H", code), opcode=8))
    [error] = done
    assert isinstance(error, NoReply)
    assert error.status == (413 if code == 1009 else None)
    assert len(fixture.receiver.errors) == 1
    assert frames(old.take())[0][0] == 8
    again = fixture.send()
    fixture.upgrade()
    fixture.reply()
    assert again == [None]
    assert not old.closed
    fixture.clock.advance(2.1)
    fixture.clock.advance(0)
    assert old.closed
    assert len(fixture.receiver.errors) == 1


def test_a_lost_connection_fails_all_requests_in_flight() -> None:
    fixture = WebSocketFixture()
    first = fixture.open()
    second = fixture.send()
    fixture.connection.close()
    assert isinstance(first[0], NoReply)
    assert isinstance(second[0], NoReply)
    assert len(fixture.receiver.errors) == 1
    fixture.assert_nothing_left()


def test_cancelling_a_request_closes_the_socket() -> None:
    fixture = WebSocketFixture()
    sending = fixture.transport.send([PUBLISH], 10)
    done = outcome(sending)
    fixture.upgrade()
    sending.cancel()
    assert len(done) == 1
    assert fixture.connection.aborted
    fixture.assert_nothing_left()


def test_closing_sends_a_close_frame_and_waits_a_limited_time() -> None:
    fixture = WebSocketFixture()
    done = fixture.open()
    fixture.reply()
    assert done == [None]
    fixture.connection.take()
    closed = outcome(fixture.transport.close())
    [(opcode, payload)] = frames(fixture.connection.take())
    assert (opcode, payload[:2]) == (8, struct.pack(">H", 1000))
    assert closed == []
    fixture.clock.advance(2.1)
    fixture.clock.advance(0)
    assert closed == [None]
    assert fixture.receiver.errors == []
    fixture.assert_nothing_left()


def test_closing_with_a_peer_that_closes_too() -> None:
    fixture = WebSocketFixture()
    fixture.open()
    closed = [outcome(fixture.transport.close()) for _ in range(2)]
    fixture.connection.send(frame(struct.pack(">H", 1000), opcode=8))
    fixture.connection.close()
    assert closed == [[None], [None]]
    fixture.assert_nothing_left()


@pytest.mark.parametrize("when", ["connecting", "upgrading"])
def test_closing_before_it_is_open(when: str) -> None:
    fixture = WebSocketFixture()
    if when == "connecting":
        fixture.network.pending = []
    done = fixture.send()
    closed = outcome(fixture.transport.close())
    fixture.clock.advance(0)
    assert closed == [None]
    assert isinstance(done[0], TransportError)
    fixture.assert_nothing_left()


def test_compression_is_negotiated_and_its_output_limited() -> None:
    fixture = WebSocketFixture(compression=True, max_response=10_000)
    done = fixture.send()
    assert "permessage-deflate" in fixture.connection.written.decode()
    fixture.upgrade("Sec-WebSocket-Extensions: permessage-deflate")
    squeeze = zlib.compressobj(wbits=-15)
    text = encode_list([REPLY])
    packed = squeeze.compress(text) + squeeze.flush(zlib.Z_SYNC_FLUSH)
    fixture.connection.send(frame(packed[:-4], rsv1=True))
    assert done == [None]
    again = fixture.send()
    bomb = squeeze.compress(b" " * 1_000_000) + squeeze.flush(zlib.Z_SYNC_FLUSH)
    assert len(bomb) < 5_000
    fixture.connection.send(frame(bomb[:-4], rsv1=True))
    assert isinstance(again[0], NoReply)
    fixture.assert_nothing_left()
