"""Sockets in memory: both ends of each, and a clock."""

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
from txbayeux.transport.base import Context, TransportError
from txbayeux.transport.url import parse

PEER = IPv4Address("TCP", "127.0.0.1", 8000)
URL = "http://127.0.0.1:8000/bayeux"


class Receiver:
    """What a transport told."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.errors: list[TransportError] = []

    def received(self, messages: list[Message]) -> None:
        self.messages.extend(messages)

    def broken(self, error: TransportError) -> None:
        self.errors.append(error)


class Pipe:
    """The server's end of one TCP connection, as a test plays it."""

    def __init__(self, client: IProtocol, clock: Clock) -> None:
        self.client: Any = client
        self.written = b""
        self.closed = False
        self._clock = clock
        self.aborted = False
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
        pass

    def resumeProducing(self) -> None:
        pass

    def stopProducing(self) -> None:
        self.loseConnection()

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass

    def setTcpKeepAlive(self, enabled: bool) -> None:
        pass

    def loseConnection(self) -> None:
        # As Twisted's, which tell their protocol in the reactor's next turn.
        self._clock.callLater(0, self.close)

    def abortConnection(self) -> None:
        self.aborted = True
        self.loseConnection()

    # What the test does.

    def take(self) -> bytes:
        """Give what the client wrote since the last time."""
        new = self.written[self._taken :]
        self._taken = len(self.written)
        return new

    def send(self, data: bytes) -> None:
        if not self.closed:
            self.client.dataReceived(data)
            self._clock.advance(0)

    def close(self, error: Exception | None = None) -> None:
        if not self.closed:
            self.closed = True
            self.client.connectionLost(Failure(error or ConnectionDone()))


class Network:
    """Stands where connections are made: each is accepted, unless refused."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.pipes: list[Pipe] = []
        self.refusal: Exception | None = None
        self.pending: list[Deferred[Any]] | None = None

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
        pipe = Pipe(protocol, self.clock)
        self.pipes.append(pipe)
        protocol.makeConnection(pipe)  # type: ignore[arg-type]
        result.callback(protocol)
        return result

    # The parts of EndpointFactory that the transports use.

    def endpoint(self, to: object) -> Network:
        return self


def context(url: str = URL, **options: Any) -> Context:
    endpoint, _ = parse(url)
    return Context(reactor=MemoryReactorClock(), endpoint=endpoint, **options)


def outcome(deferred: Deferred[Any]) -> list[Any]:
    results: list[Any] = []
    deferred.addCallbacks(results.append, lambda f: results.append(f.value))
    return results
