"""HTTP responses without an end: each is limited in time and in size."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import pytest

from txbayeux.transport.base import NoReply, ReplyTimeout
from txbayeux.transport.response_head import MAX_HEAD, ResponseHead

from .http_fixture import BODY, HTTPFixture


@pytest.mark.parametrize("status", ["307 Moved", "401 Unauthorized", "500 Error"])
def test_an_endless_page_times_out(status: str) -> None:
    fixture = HTTPFixture()
    done = fixture.send(10)
    fixture.connection.send(
        f"HTTP/1.1 {status}\r\nLocation: /b\r\nContent-Length: 9\r\n\r\n<".encode()
    )
    fixture.clock.advance(10)
    assert isinstance(done[0], ReplyTimeout)
    assert [
        connection.written.count(b"POST") for connection in fixture.network.connections
    ] == [1]
    fixture.assert_nothing_left()


def test_a_response_compressed_twice_is_not_decompressed() -> None:
    fixture = HTTPFixture()
    done = fixture.send()
    bomb = gzip.compress(gzip.compress(b" " * 10_000_000 + BODY))
    fixture.respond(bomb, "Content-Encoding: gzip", "Content-Encoding: gzip")
    assert isinstance(done[0], NoReply)
    done = fixture.send()
    fixture.respond(gzip.compress(BODY), "Content-Encoding: gzip")
    assert done == [None]
    assert len(fixture.network.connections) == 1


def endless(interim: bytes) -> Iterator[bytes]:
    yield interim + b"HTTP/1.1 200 OK\r\n"
    while True:
        yield b"Name: value\r\n" * 100


@pytest.mark.parametrize(
    "interim", [b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.0 103 Hints\n\n\r\n"]
)
def test_an_endless_head_is_aborted(interim: bytes) -> None:
    fixture = HTTPFixture()
    done = fixture.send()
    pieces = endless(interim)
    sent = 0
    while not done and sent < 2 * MAX_HEAD:
        piece = next(pieces)
        sent += len(piece)
        fixture.connection.send(piece)
    assert isinstance(done[0], NoReply)
    assert fixture.connection.aborted


def test_interim_responses_are_limited_too() -> None:
    head = ResponseHead()
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    fed = [head.feed(interim) for _ in range(2 * MAX_HEAD // len(interim))]
    assert (fed[0], fed[-1]) == (False, True)


def test_the_limit_of_the_head_starts_anew_with_each_response() -> None:
    fixture = HTTPFixture()
    for _ in range(3):
        done = fixture.send()
        fixture.respond(b" " * MAX_HEAD + BODY, *["Long: " + "x" * 1000] * 50)
        assert done == [None]
    assert len(fixture.network.connections) == 1
