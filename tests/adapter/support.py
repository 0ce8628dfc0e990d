"""A service with connections in memory, and a processor that tests control."""

import json
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import Site

from tests.turns import turn
from txbayeux.adapter.resource import BayeuxResource
from txbayeux.adapter.site import BayeuxSite, BoundedSite
from txbayeux.errors import UnknownSession
from txbayeux.interfaces import Request, Stream
from txbayeux.message import Entry
from txbayeux.processor import Response


def entry(number: int, data: Any = None) -> Entry:
    text = json.dumps({"channel": "/a", "data": number if data is None else data})
    return Entry(number, "/a", text.encode())


class HTTPWay:
    """Which way to read HTTP is tested now; see conftest.py."""

    fast = False


HTTP_WAY = HTTPWay()


class FakeDelivery:
    """A delivery that counts how often it is given back."""

    entries: Sequence[Entry] = ()
    acknowledgement = None
    superseded = False
    ended = None
    turn = None

    def __init__(self) -> None:
        self.given_back = 0

    def give_back(self) -> None:
        self.given_back += 1


class FakeProcessor:
    """Echoes messages, or answers with what a test has put into ``answers``."""

    def __init__(self) -> None:
        self.requests: list[tuple[Sequence[Any], Request | None, Stream | None]] = []
        self.answers: list[Deferred[Response]] = []
        self.sessions = {"s1", "s2"}
        self.attaching: Deferred[None] | None = None
        self.attached: dict[str, Stream] = {}
        self.streams: list[Stream] = []
        self.detached: list[Stream] = []
        self.resumed: list[Stream] = []

    def process(
        self,
        messages: Sequence[Any],
        request: Request | None,
        stream: Stream | None = None,
    ) -> Deferred[Response]:
        self.requests.append((messages, request, stream))
        if self.answers:
            return self.answers.pop(0)
        return succeed(Response([{"echo": message} for message in messages]))

    def wrap_stream(self, stream: Stream, request: Request) -> Stream:
        self.streams.append(stream)
        return stream

    def attach(self, session_id: str, stream: Stream) -> Deferred[None]:
        if self.attaching is not None:
            return self.attaching
        if session_id not in self.sessions:
            return fail(UnknownSession(session_id))
        self.attached[session_id] = stream
        return succeed(None)

    def detach(self, stream: Stream, unsent: Sequence[Entry] = ()) -> None:
        self.detached.append(stream)

    def resume(self, stream: Stream) -> None:
        self.resumed.append(stream)


class Transport(StringTransport):
    """A transport in memory that knows its protocol, as real ones do."""

    protocol: Any = None
    lost = False
    aborted = False

    def loseConnection(self) -> None:
        self.disconnecting = True

    def abortConnection(self) -> None:
        self.aborted = self.disconnecting = True

    def lose(self) -> None:
        if not self.lost:
            self.lost = True
            self.protocol.connectionLost(Failure(ConnectionDone()))

    def half_close(self) -> None:
        """Close the peer's end, as Twisted's connections report it."""
        half = IHalfCloseableProtocol(self.protocol, None)
        if half is None:
            self.lose()
        else:
            half.readConnectionLost()

    def connectionLost(self, reason: Failure) -> None:
        self.lose()

    def take(self) -> bytes:
        data = self.value()
        self.clear()
        return data


class FullTransport(Transport):
    """A transport whose peer reads only when told to: more than 64 KiB wait for it."""

    full = False

    def write(self, data: bytes) -> None:
        super().write(data)
        if not self.full and len(self.value()) > 65536 and self.producer is not None:
            self.full = True
            self.producer.pauseProducing()

    def writeSequence(self, data: Any) -> None:
        self.write(b"".join(data))

    def drain(self) -> bytes:
        """Read all that was written."""
        data = self.take()
        if self.full:
            self.full = False
            if self.producer is not None:
                self.producer.resumeProducing()
        return data


class FakeEndpoint:
    """An endpoint that returns the factory that it should listen with."""

    def listen(self, factory: Any) -> Any:
        return factory


def settle(clock: Clock) -> None:
    """Do all that waits for the next turns of the reactor."""
    while any(call.getTime() <= clock.seconds() for call in clock.getDelayedCalls()):
        turn(clock)


class Answer:
    """An HTTP response, taken apart."""

    def __init__(self, data: bytes) -> None:
        head, _, rest = data.partition(b"\r\n\r\n")
        status, *lines = head.split(b"\r\n")
        self.code = int(status.split(b" ")[1])
        self.headers = {
            name.lower().decode(): value.strip().decode()
            for name, _, value in (line.partition(b":") for line in lines)
        }
        length = int(self.headers.get("content-length", len(rest)))
        self.body, self.rest = rest[:length], rest[length:]

    def json(self) -> Any:
        return json.loads(self.body)


class Service:
    """A resource at ``/bayeux`` of a site, on a clock."""

    def __init__(self, *, bounded: bool = True, **options: Any) -> None:
        self.clock: Clock = options.pop("clock", None) or Clock()
        self.processor = options.pop("processor", None) or FakeProcessor()
        self.resource = BayeuxResource(self.processor, self.clock, **options)
        self.root = root = Resource()
        self.site: Any
        self.factory: Any
        if bounded and HTTP_WAY.fast:
            self.factory = BayeuxSite(root, self.resource, self.clock)
            self.site = self.factory.site
        else:
            root.putChild(b"bayeux", self.resource)
            self.factory = self.site = (
                BoundedSite(root, self.clock, limits=self.resource.limits)
                if bounded
                else Site(root, reactor=self.clock)
            )
        self.site.startFactory()

    def connect(self, peer: IAddress | None = None) -> Transport:
        return self.connect_through(Transport(peerAddress=peer))

    def connect_through(self, transport: Any) -> Any:
        transport.protocol = self.factory.buildProtocol(transport.getPeer())
        transport.protocol.makeConnection(transport)
        return transport

    def send(self, data: bytes) -> Transport:
        transport = self.connect()
        transport.protocol.dataReceived(data)
        return transport

    def ask(
        self,
        method: str = "GET",
        path: str = "/bayeux",
        body: bytes = b"",
        **headers: str,
    ) -> Answer:
        transport = self.send(request(method, path, body, **headers))
        if not transport.value():
            settle(self.clock)
        return Answer(transport.value())

    def post(self, body: Any, path: str = "/bayeux", **headers: str) -> Answer:
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers.setdefault("content_type", "application/json")
        return self.ask("POST", path, text, **headers)


def request(
    method: str = "GET", path: str = "/bayeux", body: bytes = b"", **headers: str
) -> bytes:
    """Write a request; ``content_type="..."`` makes the header Content-Type."""
    headers.setdefault("host", "bayeux.example")
    if body or method == "POST":
        headers.setdefault("content_length", str(len(body)))
    lines = [f"{method} {path} {headers.pop('version', 'HTTP/1.1')}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
