"""The fast HTTP protocol when a client has closed, which only the kernel knows yet."""

import select
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed

from txbayeux.processor import Response

from .support import FakeDelivery, Service, Transport, entry, request

pytestmark = pytest.mark.parametrize("http_way", ["fast"], indirect=True)

POST = request("POST", body=b"[1]")


class ServiceWithSocket(Service):
    """A service and one connection to it, which has a real socket."""

    def __init__(self) -> None:
        super().__init__()
        self.ours, self.peer = socket.socketpair()
        self.transport: Any = self.connect()
        self.transport.getHandle = lambda: self.ours
        self.given = FakeDelivery()
        self.held: Deferred[Response] = Deferred()
        self.epolls: list[select.epoll] = []

    def hold(self, data: bytes = POST) -> Transport:
        self.processor.answers.append(succeed(Response((), self.held)))
        transport: Transport = self.transport
        transport.protocol.dataReceived(data)
        return transport

    def answer(self) -> None:
        self.held.callback(Response([entry(1)], None, self.given))


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceWithSocket]:
    service = ServiceWithSocket()
    epoll = select.epoll

    def remember() -> select.epoll:
        service.epolls.append(epoll())
        return service.epolls[-1]

    monkeypatch.setattr(select, "epoll", remember)
    yield service
    service.ours.close()
    service.peer.close()


def test_a_client_that_is_there_is_answered(service: ServiceWithSocket) -> None:
    transport = service.hold()
    service.answer()
    assert b'"data": 1' in transport.value()
    assert service.given.given_back == 0


@pytest.mark.parametrize("turn", [None, 7])
def test_a_client_that_has_closed_is_sent_nothing(
    service: ServiceWithSocket, turn: int | None
) -> None:
    service.given.turn = turn  # type: ignore[assignment]
    transport = service.hold()
    service.peer.close()
    service.answer()
    assert transport.value() == b""
    assert service.given.given_back == 1
    assert transport.disconnecting
    assert transport.producer is None  # which would be waited for
    transport.protocol.dataReceived(POST)
    assert len(service.processor.requests) == 1
    transport.lose()
    assert service.given.given_back == 1
    assert [epoll.closed for epoll in service.epolls] == [True]


def test_a_half_closed_connection_is_aborted(service: ServiceWithSocket) -> None:
    transport = service.hold()
    service.peer.shutdown(socket.SHUT_WR)  # and never reads what is still to be written
    service.answer()
    service.clock.advance(15)
    assert transport.aborted


def test_a_half_closed_connection_of_another_transport_is_aborted(
    service: ServiceWithSocket,
) -> None:
    transport = service.hold(request("GET", "/bayeux?message=[1]"))
    service.peer.close()
    service.answer()
    assert transport.value() == b""
    assert service.given.given_back == 1
    service.clock.advance(15)
    assert transport.aborted


def test_closing_is_noticed_without_epoll(
    service: ServiceWithSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> Any:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(select, "epoll", full)
    transport = service.hold()
    assert service.epolls == []
    service.peer.close()
    service.answer()
    assert transport.value() == b""
    assert service.given.given_back == 1


def test_no_file_is_left_open_when_twisted_web_takes_over(
    service: ServiceWithSocket,
) -> None:
    transport = service.hold()
    service.answer()
    assert [epoll.closed for epoll in service.epolls] == [False]
    transport.protocol.dataReceived(request("PUT"))
    assert [epoll.closed for epoll in service.epolls] == [True]


def test_both_parts_of_an_answer_are_given_back_once_or_not_at_all(
    service: ServiceWithSocket,
) -> None:
    for gone in (False, True):
        first, held = FakeDelivery(), Deferred[Response]()
        service.processor.answers.append(
            succeed(Response([entry(0)], held, first))  # as extensions may have it
        )
        service.transport.protocol.dataReceived(POST)
        if gone:
            service.peer.close()
        held.callback(Response([entry(1)], None, service.given))
        assert service.given.given_back == first.given_back == gone
    service.transport.lose()
    assert service.given.given_back == first.given_back == 1


def test_what_was_written_is_not_given_back(
    service: ServiceWithSocket,
) -> None:
    first = FakeDelivery()
    service.processor.answers.append(succeed(Response([entry(0)], service.held, first)))
    service.transport.protocol.dataReceived(POST)
    service.answer()
    service.transport.lose()
    assert service.given.given_back == first.given_back == 0
