"""Answers without an end, over HTTP: each has a bound in time and in size."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import pytest

from txbayeux.transport.base import NoReply, ReplyTimeout
from txbayeux.transport.response_head import MAX_HEAD, ResponseHead

from .posts import BODY, Stage


@pytest.mark.parametrize("status", ["307 Moved", "401 Unauthorized", "500 Error"])
def test_a_page_that_does_not_end_is_not_waited_for(status: str) -> None:
    stage = Stage()
    done = stage.send(10)
    stage.pipe.send(
        f"HTTP/1.1 {status}\r\nLocation: /b\r\nContent-Length: 9\r\n\r\n<".encode()
    )
    stage.clock.advance(10)
    assert isinstance(done[0], ReplyTimeout)
    assert [pipe.written.count(b"POST") for pipe in stage.network.pipes] == [1]
    stage.assert_nothing_left()


def test_an_answer_that_was_packed_twice_is_not_unpacked() -> None:
    stage = Stage()
    done = stage.send()
    bomb = gzip.compress(gzip.compress(b" " * 10_000_000 + BODY))
    stage.answer(bomb, "Content-Encoding: gzip", "Content-Encoding: gzip")
    assert isinstance(done[0], NoReply)
    done = stage.send()
    stage.answer(gzip.compress(BODY), "Content-Encoding: gzip")
    assert done == [None]
    assert len(stage.network.pipes) == 1


def endless(interim: bytes) -> Iterator[bytes]:
    yield interim + b"HTTP/1.1 200 OK\r\n"
    while True:
        yield b"Name: value\r\n" * 100


@pytest.mark.parametrize(
    "interim", [b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.0 103 Hints\n\n\r\n"]
)
def test_a_head_without_end_is_not_read_for_ever(interim: bytes) -> None:
    stage = Stage()
    done = stage.send()
    pieces = endless(interim)
    sent = 0
    while not done and sent < 2 * MAX_HEAD:
        piece = next(pieces)
        sent += len(piece)
        stage.pipe.send(piece)
    assert isinstance(done[0], NoReply)
    assert stage.pipe.aborted


def test_interim_answers_have_an_end_too() -> None:
    head = ResponseHead()
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    fed = [head.feed(interim) for _ in range(2 * MAX_HEAD // len(interim))]
    assert (fed[0], fed[-1]) == (False, True)


def test_only_the_head_is_bounded_and_anew_for_each_answer() -> None:
    stage = Stage()
    for _ in range(3):
        done = stage.send()
        stage.answer(b" " * MAX_HEAD + BODY, *["Long: " + "x" * 1000] * 50)
        assert done == [None]
    assert len(stage.network.pipes) == 1
