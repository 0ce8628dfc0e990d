"""The client's WebSocket transport."""

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

from .sockets import PUBLISH, REPLY, Stage, frame, frames
from .support import outcome


def test_a_socket_is_opened_for_the_first_message_and_kept() -> None:
    stage = Stage()
    assert stage.network.pipes == []
    done = stage.send()
    request = stage.pipe.written.decode()
    assert request.startswith("GET /bayeux HTTP/1.1\r\n")
    assert "Host: 127.0.0.1:8000\r\n" in request
    assert "Extensions" not in request
    stage.upgrade()
    assert frames(stage.pipe.take()) == [(1, encode_list([PUBLISH]))]
    assert done == []
    stage.pipe.send(frame(b"[]"))
    stage.pipe.send(frame(encode_list([{"channel": "/b", "data": 2}, REPLY])))
    assert done == [None]
    assert stage.receiver.messages == [{"channel": "/b", "data": 2}, REPLY]
    again = stage.send()
    stage.reply()
    assert again == [None]
    assert len(stage.network.pipes) == 1


def test_headers_and_cookies_go_with_the_upgrade_and_come_with_its_answer() -> None:
    stage = Stage(headers={"Authorization": "Bearer x"})
    stage.send()
    assert "Authorization: Bearer x\r\n" in stage.pipe.written.decode()
    assert "Cookie" not in stage.pipe.written.decode()
    stage.upgrade(
        "Set-Cookie: a=1; Path=/; Expires=Wed, 01 Jan 2098 00:00:00 GMT",
        "Set-Cookie: b=2; Secure",
        "Set-Cookie: c=3; Domain=example.com",
    )
    assert cookie_header(stage.context.jar, stage.context.endpoint) == "a=1"
    stage.pipe.close()
    stage.send()
    assert "Cookie: a=1\r\n" in stage.pipe.written.decode()


def test_ipv6_and_other_ports() -> None:
    stage = Stage(url="ws://[::1]:9000/x?y=1")
    stage.send()
    request = stage.pipe.written.decode()
    assert request.startswith("GET /x?y=1 HTTP/1.1\r\n")
    assert "Host: [::1]:9000\r\n" in request


@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 404, 426])
def test_a_refused_upgrade_makes_sockets_unusable(status: int) -> None:
    stage = Stage()
    done = stage.send()
    stage.pipe.send(f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode())
    [error] = done
    assert isinstance(error, TransportUnavailable)
    assert error.status == status
    assert stage.receiver.errors == [error]
    stage.assert_nothing_left()


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_gateway_s_trouble_says_nothing_of_sockets(status: int) -> None:
    stage = Stage()
    done = stage.send()
    stage.pipe.send(f"HTTP/1.1 {status} No\r\n\r\n".encode())
    assert type(done[0]) is NoReply


def test_no_connection_is_no_fault_of_sockets() -> None:
    stage = Stage()
    stage.network.refusal = twisted_error.ConnectionRefusedError()
    [error] = stage.send()
    assert isinstance(error, Unreachable)
    assert stage.receiver.errors == [error]
    stage.network.refusal = None
    stage.send()
    assert len(stage.network.pipes) == 1


def test_a_connection_that_takes_too_long() -> None:
    stage = Stage()
    stage.network.pending = []
    done = stage.send(timeout=30)
    stage.clock.advance(10.1)
    assert isinstance(done[0], TransportError)
    assert stage.network.pending[0].called
    stage.assert_nothing_left()


def test_an_upgrade_that_is_never_answered() -> None:
    stage = Stage()
    done = stage.send(timeout=30)
    stage.clock.advance(10.1)
    assert isinstance(done[0], TransportUnavailable)
    assert stage.pipe.aborted
    stage.assert_nothing_left()


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
    stage = Stage()
    done = stage.send()
    stage.pipe.send(garbage)
    assert isinstance(done[0], TransportError)
    stage.assert_nothing_left()


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
def test_a_broken_frame_ends_the_socket_at_once(wrong: bytes) -> None:
    stage = Stage()
    done = stage.opened()
    stage.pipe.send(wrong)
    assert isinstance(done[0], NoReply)
    assert len(stage.receiver.errors) == 1
    assert stage.receiver.messages == []
    stage.assert_nothing_left()
    again = stage.send()
    assert again == []


def test_silence_on_a_new_socket_makes_sockets_unusable() -> None:
    stage = Stage()
    done = stage.opened()
    stage.clock.advance(10.1)
    assert isinstance(done[0], TransportUnavailable)
    assert stage.pipe.aborted
    assert len(stage.receiver.errors) == 1
    stage.assert_nothing_left()


def test_silence_on_a_socket_that_worked_ends_it() -> None:
    stage = Stage()
    stage.opened()
    stage.reply()
    first, second = stage.send(5), stage.send(50)
    stage.clock.advance(5.1)
    assert type(first[0]) is NoReply
    assert type(second[0]) is NoReply
    stage.assert_nothing_left()


def test_a_dead_peer_is_found_by_pings() -> None:
    stage = Stage(ping_interval=20.0)
    stage.opened()
    stage.reply()
    held = stage.send(timeout=1000)
    stage.pipe.take()
    stage.clock.advance(20.1)
    for _ in range(3):
        stage.clock.advance(20.1)
        assert [opcode for opcode, _ in frames(stage.pipe.take())] == [9]
        stage.pipe.send(frame(b"", opcode=10))
        stage.clock.advance(10.1)
        assert held == []
    stage.clock.advance(20.1)
    stage.clock.advance(10.1)
    assert isinstance(held[0], NoReply)
    assert stage.pipe.aborted


def test_a_peer_that_talks_is_not_pinged() -> None:
    stage = Stage(ping_interval=20.0)
    stage.opened()
    stage.reply()
    stage.pipe.take()
    for _ in range(20):
        stage.clock.advance(10)
        stage.pipe.send(frame(b"[]"))
    assert stage.pipe.take() == b""


def test_our_server_s_pings_are_answered() -> None:
    stage = Stage()
    stage.opened()
    stage.pipe.take()
    stage.pipe.send(frame(b"beat", opcode=9))
    assert frames(stage.pipe.take()) == [(10, b"beat")]


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1009])
def test_a_peer_that_closes_is_left_at_once(code: int) -> None:
    stage = Stage()
    done = stage.opened()
    old = stage.pipe
    old.take()
    old.send(frame(struct.pack(">H", code), opcode=8))
    [error] = done
    assert isinstance(error, NoReply)
    assert error.status == (413 if code == 1009 else None)
    assert len(stage.receiver.errors) == 1
    assert frames(old.take())[0][0] == 8
    again = stage.send()
    stage.upgrade()
    stage.reply()
    assert again == [None]
    assert not old.closed
    stage.clock.advance(2.1)
    stage.clock.advance(0)
    assert old.closed
    assert len(stage.receiver.errors) == 1


def test_a_connection_that_breaks_fails_all_that_is_in_flight() -> None:
    stage = Stage()
    first = stage.opened()
    second = stage.send()
    stage.pipe.close()
    assert isinstance(first[0], NoReply)
    assert isinstance(second[0], NoReply)
    assert len(stage.receiver.errors) == 1
    stage.assert_nothing_left()


def test_giving_a_request_up_ends_the_socket() -> None:
    stage = Stage()
    sending = stage.transport.send([PUBLISH], 10)
    done = outcome(sending)
    stage.upgrade()
    sending.cancel()
    assert len(done) == 1
    assert stage.pipe.aborted
    stage.assert_nothing_left()


def test_closing_is_polite_and_bounded() -> None:
    stage = Stage()
    done = stage.opened()
    stage.reply()
    assert done == [None]
    stage.pipe.take()
    closed = outcome(stage.transport.close())
    [(opcode, payload)] = frames(stage.pipe.take())
    assert (opcode, payload[:2]) == (8, struct.pack(">H", 1000))
    assert closed == []
    stage.clock.advance(2.1)
    stage.clock.advance(0)
    assert closed == [None]
    assert stage.receiver.errors == []
    stage.assert_nothing_left()


def test_closing_with_a_peer_that_closes_too() -> None:
    stage = Stage()
    stage.opened()
    closed = [outcome(stage.transport.close()) for _ in range(2)]
    stage.pipe.send(frame(struct.pack(">H", 1000), opcode=8))
    stage.pipe.close()
    assert closed == [[None], [None]]
    stage.assert_nothing_left()


@pytest.mark.parametrize("when", ["connecting", "upgrading"])
def test_closing_before_it_is_open(when: str) -> None:
    stage = Stage()
    if when == "connecting":
        stage.network.pending = []
    done = stage.send()
    closed = outcome(stage.transport.close())
    stage.clock.advance(0)
    assert closed == [None]
    assert isinstance(done[0], TransportError)
    stage.assert_nothing_left()


def test_compression_is_negotiable_and_bounded() -> None:
    stage = Stage(compression=True, max_response=10_000)
    done = stage.send()
    assert "permessage-deflate" in stage.pipe.written.decode()
    stage.upgrade("Sec-WebSocket-Extensions: permessage-deflate")
    squeeze = zlib.compressobj(wbits=-15)
    text = encode_list([REPLY])
    packed = squeeze.compress(text) + squeeze.flush(zlib.Z_SYNC_FLUSH)
    stage.pipe.send(frame(packed[:-4], rsv1=True))
    assert done == [None]
    again = stage.send()
    bomb = squeeze.compress(b" " * 1_000_000) + squeeze.flush(zlib.Z_SYNC_FLUSH)
    assert len(bomb) < 5_000
    stage.pipe.send(frame(bomb[:-4], rsv1=True))
    assert isinstance(again[0], NoReply)
    stage.assert_nothing_left()
