"""The fast door before a client that has gone, of which only the kernel knows yet."""

import select
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed

from txbayeux.protocol import Response

from .support import Given, Service, Transport, entry, request

pytestmark = pytest.mark.parametrize("door", ["front"], indirect=True)

POST = request("POST", body=b"[1]")


class Wired(Service):
    """A service, and one connection to it that the kernel can be asked about."""

    def __init__(self) -> None:
        super().__init__()
        self.ours, self.peer = socket.socketpair()
        self.transport: Any = self.wire()
        self.transport.getHandle = lambda: self.ours
        self.given = Given()
        self.held: Deferred[Response] = Deferred()

    def hold(self, data: bytes = POST) -> Transport:
        self.processor.answers.append(succeed(Response((), self.held)))
        transport: Transport = self.transport
        transport.protocol.dataReceived(data)
        return transport

    def answer(self) -> None:
        self.held.callback(Response([entry(1)], None, self.given))

    @property
    def watched(self) -> int:
        return len(self.door.closing._watched)


@pytest.fixture
def wired() -> Iterator[Wired]:
    wired = Wired()
    yield wired
    wired.ours.close()
    wired.peer.close()


def test_who_is_there_is_answered(wired: Wired) -> None:
    transport = wired.hold()
    wired.answer()
    assert b'"data": 1' in transport.value()
    assert wired.given.given_back == 0


@pytest.mark.parametrize("turn", [None, 7])
def test_who_has_gone_is_given_nothing_and_hung_up_on(
    wired: Wired, turn: int | None
) -> None:
    wired.given.turn = turn  # type: ignore[assignment]
    transport = wired.hold()
    wired.peer.close()
    wired.answer()
    assert transport.value() == b""
    assert wired.given.given_back == 1
    assert transport.disconnecting
    assert transport.producer is None  # which would be waited for
    transport.protocol.dataReceived(POST)
    assert len(wired.processor.requests) == 1
    transport.sever()
    assert wired.given.given_back == 1
    assert wired.watched == 0


def test_one_that_has_gone_and_does_not_close_is_aborted(wired: Wired) -> None:
    transport = wired.hold()
    wired.peer.shutdown(socket.SHUT_WR)  # and never reads what is still to be written
    wired.answer()
    wired.clock.advance(15)
    assert transport.aborted


def test_so_is_one_whose_poll_was_not_plain(wired: Wired) -> None:
    transport = wired.hold(request("GET", "/bayeux?message=[1]"))
    wired.peer.close()
    wired.answer()
    assert transport.value() == b""
    assert wired.given.given_back == 1
    wired.clock.advance(15)
    assert transport.aborted


def test_nothing_is_watched_where_the_files_are_used_up(
    wired: Wired, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> Any:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(select, "epoll", full)
    transport = wired.hold()
    assert wired.watched == 0
    wired.peer.close()
    wired.answer()
    assert transport.value() == b""
    assert wired.given.given_back == 1


def test_who_is_given_to_another_protocol_is_not_watched(wired: Wired) -> None:
    transport = wired.hold()
    wired.answer()
    assert wired.watched == 1
    transport.protocol.dataReceived(request("PUT"))
    assert wired.watched == 0
    assert wired.door.closing._epoll is None


def test_both_parts_of_an_answer_are_given_back_once_or_not_at_all(
    wired: Wired,
) -> None:
    for gone in (False, True):
        first, held = Given(), Deferred[Response]()
        wired.processor.answers.append(
            succeed(Response([entry(0)], held, first))  # as extensions may have it
        )
        wired.transport.protocol.dataReceived(POST)
        if gone:
            wired.peer.close()
        held.callback(Response([entry(1)], None, wired.given))
        assert wired.given.given_back == first.given_back == gone
    wired.transport.sever()
    assert wired.given.given_back == first.given_back == 1


def test_what_was_written_is_not_given_back_when_its_connection_ends(
    wired: Wired,
) -> None:
    first = Given()
    wired.processor.answers.append(succeed(Response([entry(0)], wired.held, first)))
    wired.transport.protocol.dataReceived(POST)
    wired.answer()
    wired.transport.sever()
    assert wired.given.given_back == first.given_back == 0
