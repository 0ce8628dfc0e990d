"""To which address of a host the client connects, and when."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
    DNSLookupError,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from txbayeux.aio.endpoint import NEXT, HostEndpoint

STREAM = socket.SOCK_STREAM
ADDRESSES = [
    (socket.AF_INET6, STREAM, 6, "", ("::1", 80, 0, 0)),
    (socket.AF_INET, STREAM, 6, "", ("192.0.2.1", 80)),
    (socket.AF_INET, STREAM, 6, "", ("192.0.2.2", 80)),
]


class Connecting:
    """A connection to a host, whose addresses a test lets answer."""

    def __init__(self, found: Any = None) -> None:
        self.reactor = MemoryReactorClock()
        self.connections: list[Any] = []
        self.failures: list[Failure] = []
        found = succeed(ADDRESSES) if found is None else found
        endpoint = HostEndpoint(self.reactor, "host", 80, 10, lambda *_: found)
        self.connecting = endpoint.connect(Factory.forProtocol(Protocol))
        self.connecting.addCallbacks(self.connections.append, self.failures.append)

    @property
    def tried(self) -> list[str]:
        return [client[0] for client in self.reactor.tcpClients]

    def answer(self, number: int) -> None:
        protocol = self.reactor.tcpClients[number][2].buildProtocol(None)
        protocol.makeConnection(None)

    def refuse(self, number: int) -> None:
        error = Failure(ConnectError())
        self.reactor.tcpClients[number][2].clientConnectionFailed(None, error)

    def ended(self, number: int) -> bool:
        """Return whether a connection that does not answer was given up."""
        return bool(self.reactor.connectors[number].stoppedConnecting)


def test_the_first_address_that_answers_wins() -> None:
    connecting = Connecting()
    assert connecting.tried == ["::1"]
    connecting.answer(0)
    assert len(connecting.connections) == 1
    connecting.reactor.advance(60)
    assert connecting.tried == ["::1"]
    assert connecting.reactor.getDelayedCalls() == []


def test_the_next_address_is_tried_when_one_does_not_answer() -> None:
    connecting = Connecting()
    connecting.reactor.advance(NEXT)
    assert connecting.tried == ["::1", "192.0.2.1"]
    connecting.answer(1)
    assert len(connecting.connections) == 1
    assert connecting.ended(0)
    connecting.reactor.advance(60)
    assert len(connecting.tried) == 2


def test_the_next_address_is_tried_at_once_when_one_refuses() -> None:
    connecting = Connecting()
    connecting.refuse(0)
    connecting.refuse(1)
    assert connecting.tried == ["::1", "192.0.2.1", "192.0.2.2"]
    connecting.answer(2)
    assert len(connecting.connections) == 1


def test_it_fails_when_all_addresses_have_refused() -> None:
    connecting = Connecting()
    for number in range(3):
        assert connecting.failures == []
        connecting.refuse(number)
    assert connecting.failures[0].check(ConnectError)
    assert connecting.reactor.getDelayedCalls() == []


@pytest.mark.parametrize("error", [socket.gaierror(-2, "unknown"), UnicodeError()])
def test_it_fails_when_there_is_no_such_host(error: Exception) -> None:
    assert Connecting(fail(error)).failures[0].check(DNSLookupError)


def test_it_fails_when_no_address_can_be_used() -> None:
    assert Connecting(succeed([])).failures[0].check(DNSLookupError)


def test_cancelling_it_gives_all_addresses_up() -> None:
    connecting = Connecting()
    connecting.reactor.advance(NEXT)
    connecting.connecting.cancel()
    assert connecting.failures[0].check(ConnectingCancelledError)
    assert connecting.ended(0)
    assert connecting.ended(1)
    connecting.reactor.advance(60)
    assert len(connecting.tried) == 2
    assert connecting.reactor.getDelayedCalls() == []


def test_cancelling_it_ends_the_search_for_addresses() -> None:
    cancelled: list[Any] = []
    looking: Deferred[Any] = Deferred(cancelled.append)
    connecting = Connecting(looking)
    connecting.connecting.cancel()
    assert cancelled == [looking]
    assert len(connecting.failures) == 1
