"""A balancer that has not noticed which of its servers have stopped.

It sends each request to the server whose turn it is, on a connection of its own, and
answers 503 for one that cannot be reached, as HAProxy and nginx do.  A WebSocket stays
where it was opened.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol

from tests.interop.round_robin import alone

_UNAVAILABLE = (
    b"HTTP/1.1 503 Service Unavailable\r\n"
    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
)


class Balancer(Factory):
    """Listens on a free port of 127.0.0.1.

    :param ports: those of the servers.
    """

    noisy = False

    def __init__(self, ports: list[int]) -> None:
        self.ports = ports
        self.listener: Any = None
        self.refused = 0
        """How many requests were answered with 503."""
        self.open: dict[object, tuple[str, int]] = {}
        """Method and server of each request that is not answered to its end."""

    def listen(self) -> int:
        """Listen; return the port."""
        there: Any = reactor
        self.listener = there.listenTCP(0, self, interface="127.0.0.1")
        port: int = self.listener.getHost().port
        return port

    def buildProtocol(self, addr: object) -> Protocol:
        protocol = _FromClient()
        protocol.factory = self
        return protocol

    def next_server(self) -> int:
        """Return the port of the server whose turn it is."""
        self.ports.append(self.ports.pop(0))
        return self.ports[-1]


class _FromClient(Protocol):
    factory: Any

    def connectionMade(self) -> None:
        self.head: bytes | None = b""
        self.early = b""
        self.server: Any = None
        self.gone = False

    def dataReceived(self, data: bytes) -> None:
        if self.head is not None:
            self.head += data
            if b"\r\n\r\n" not in self.head:
                return
            data, self.head = alone(self.head), None
            port = self.factory.next_server()
            method = data.partition(b" ")[0].decode()
            self.factory.open[self] = method, port
            TCP4ClientEndpoint(reactor, "127.0.0.1", port).connect(
                Factory.forProtocol(lambda: _ToServer(self))
            ).addCallbacks(self.reached, self.not_reached)
        if self.server is None:
            self.early += data
        else:
            self.server.transport.write(data)

    def reached(self, server: Any) -> None:
        self.server = server
        if self.gone:
            server.transport.loseConnection()
        else:
            server.transport.write(self.early)

    def not_reached(self, failure: object) -> None:
        self.factory.refused += 1
        there: Any = self.transport
        there.write(_UNAVAILABLE)
        there.loseConnection()

    def connectionLost(self, reason: Any = None) -> None:
        self.gone = True
        self.factory.open.pop(self, None)
        if self.server is not None:
            self.server.transport.loseConnection()


class _ToServer(Protocol):
    def __init__(self, client: Any) -> None:
        self._client = client

    def dataReceived(self, data: bytes) -> None:
        self._client.transport.write(data)

    def connectionLost(self, reason: Any = None) -> None:
        self._client.transport.loseConnection()
