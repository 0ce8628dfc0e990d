"""Connections in memory, whose server's end a test controls, on a simulated clock."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from txbayeux.message import Message
from txbayeux.transport.base import Context, Transport, TransportError
from txbayeux.transport.endpoints import EndpointFactory
from txbayeux.transport.url import ServerURL, parse

PEER = IPv4Address("TCP", "127.0.0.1", 8000)
URL = "http://127.0.0.1:8000/bayeux"
PUBLISH = {"channel": "/a", "data": 1, "id": "1", "clientId": "s"}
REPLY = {"channel": "/a", "id": "1", "successful": True}


class Receiver:
    """Records what a transport reports."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.errors: list[TransportError] = []

    def received(self, messages: list[Message]) -> None:
        self.messages.extend(messages)

    def broken(self, error: TransportError) -> None:
        self.errors.append(error)


class ServerConnection:
    """The server's end of one TCP connection; the client's protocol writes to it."""

    def __init__(self, client: IProtocol, clock: Clock) -> None:
        self.client: Any = client
        self.written = b""
        self.closed = False
        self.aborted = False
        self.paused = False
        self._unread: list[bytes] = []
        self._clock = clock
        self._taken = 0

    # ITransport, as the client's protocol sees it.

    disconnecting = False

    def write(self, data: bytes) -> None:
        if not self.closed:
            self.written += data

    def writeSequence(self, pieces: Any) -> None:
        self.write(b"".join(pieces))

    def getPeer(self) -> Any:
        return PEER

    getHost = getPeer

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        producer.resumeProducing()

    def unregisterProducer(self) -> None:
        pass

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        if self.paused:
            self.paused = False
            self._clock.callLater(0, self._read)

    def _read(self) -> None:
        while self._unread and not self.paused and not self.closed:
            self.client.dataReceived(self._unread.pop(0))

    def stopProducing(self) -> None:
        self.loseConnection()

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass

    def setTcpKeepAlive(self, enabled: bool) -> None:
        pass

    def loseConnection(self) -> None:
        # As with Twisted's transports, connectionLost comes in the reactor's next turn.
        self._clock.callLater(0, self.close)

    def abortConnection(self) -> None:
        self.aborted = True
        self.loseConnection()

    # For the test.

    def take(self) -> bytes:
        """Return what the client has written since the last call."""
        new = self.written[self._taken :]
        self._taken = len(self.written)
        return new

    def send(self, data: bytes) -> None:
        if not self.closed:
            self._unread.append(data)
            self._read()
            self._clock.advance(0)

    def close(self, error: Exception | None = None) -> None:
        if not self.closed:
            self.closed = True
            self.client.connectionLost(Failure(error or ConnectionDone()))


class Network(EndpointFactory):
    """Connects at once, fails with ``refusal``, or waits if ``pending`` is a list."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, tls=None, proxy=None, timeout=10)
        self.clock = clock
        self.connections: list[ServerConnection] = []
        self.targets: list[ServerURL] = []
        self.refusal: Exception | None = None
        self.pending: list[Deferred[Any]] | None = None

    def endpoint(self, to: ServerURL) -> Any:
        """Return the one endpoint: this object."""
        self.targets.append(to)
        return self

    def connect(self, factory: Factory) -> Deferred[IProtocol]:
        result: Deferred[IProtocol] = Deferred()
        if self.pending is not None:
            self.pending.append(result)
            return result
        if self.refusal is not None:
            result.errback(self.refusal)
            return result
        protocol = factory.buildProtocol(PEER)
        assert protocol is not None
        self.connections.append(ServerConnection(protocol, self.clock))
        protocol.makeConnection(self.connections[-1])  # type: ignore[arg-type]
        result.callback(protocol)
        return result


def context(url: str = URL, **options: Any) -> Context:
    endpoint, _ = parse(url)
    return Context(reactor=MemoryReactorClock(), endpoint=endpoint, **options)


def outcome(deferred: Deferred[Any]) -> list[Any]:
    """Return a list that holds the result, or the exception, once there is one."""
    results: list[Any] = []
    deferred.addCallbacks(results.append, lambda f: results.append(f.value))
    return results


class TransportFixture:
    """A transport on connections in memory; subclasses set ``transport``."""

    transport: Transport

    def __init__(self, **options: Any) -> None:
        self.context = context(**options)
        self.clock = self.context.reactor
        self.network = Network(self.clock)
        self.receiver = Receiver()

    @property
    def connection(self) -> ServerConnection:
        """The last connection that was made."""
        return self.network.connections[-1]

    def send(self, timeout: float = 10) -> list[Any]:
        return outcome(self.transport.send([PUBLISH], timeout))

    def assert_nothing_left(self) -> None:
        """Close the transport; no timer and no connection may remain."""
        closed = outcome(self.transport.close())
        self.clock.advance(0)
        assert closed == [None]
        assert self.clock.getDelayedCalls() == []
        assert all(connection.closed for connection in self.network.connections)
