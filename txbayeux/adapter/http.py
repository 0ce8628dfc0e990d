"""HTTP/1.1 for Bayeux requests alone, without ``twisted.web``.

Nearly all requests that a busy service gets are small plain POSTs to one path.
This protocol reads those, and other plain requests to that path; at the first
request that is anything else it hands the connection to ``twisted.web``, with every
byte since that request's beginning.  Malformed requests are handed over as well, so
that ``twisted.web`` alone refuses them.

A poll takes a third to a quarter of the time that it takes in ``twisted.web``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from typing import Protocol as Interface
from urllib.parse import unquote_to_bytes

from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableProtocol,
    IProtocolNegotiationFactory,
    IPushProducer,
    ISSLTransport,
    ITCPTransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Site
from zope.interface import implementer

from txbayeux.adapter.body import TooLarge
from txbayeux.adapter.io import (
    ClosingWatch,
    Watched,
    WorkQueue,
    has_closed,
    replace_protocol,
)
from txbayeux.adapter.long_polling import LongPolling
from txbayeux.adapter.request import HTTPRequest
from txbayeux.adapter.request_head import PlainHead, may_become_plain, read_head
from txbayeux.adapter.response import (
    HEAD_TIMEOUT,
    INTERNAL_ERROR,
    REQUEST_TIMEOUT,
    REQUEST_TIMEOUT_RESPONSE,
    TOO_MANY_CONNECTIONS,
    PendingResponse,
    ResponseHead,
    ResponseWriter,
)
from txbayeux.interfaces import Clock
from txbayeux.message import Malformed
from txbayeux.writing import write_now

__all__ = [
    "MAX_UNREAD",
    "REQUESTS_PER_TURN",
    "FastHTTPFactory",
    "FastHTTPProtocol",
    "RequestHandler",
]

MAX_UNREAD: Final = 0x4000
"""Bytes that are read while a request waits for its answer: twisted.web's figure."""

REQUESTS_PER_TURN: Final = 16
"""Requests of one connection that are served one after the other.

More of them wait in a :class:`~txbayeux.adapter.io.WorkQueue`, so that a client that
sends many without waiting for answers (pipelining) does not hold up others.  With 4, a
client that pipelines ten publishes costs 25 % more: polls get fewer messages each.
"""

_IDLE_CHECKS: Final = 4  # in the time that a connection may be idle

_log: Final = Logger()


class RequestHandler(Interface):
    """What answers the requests: a :class:`~txbayeux.adapter.resource.BayeuxResource`.

    :ivar refuses: whether all requests are refused; earlier results of
        :meth:`long_polling` must not be used then.
    """

    refuses: bool

    def admit_connection(self, transport: Any) -> bool:
        """Count a new connection; return False if its peer has too many."""

    def long_polling(self, request: HTTPRequest) -> LongPolling | None:
        """Return what serves POSTs with this request's head, if anything does."""

    def handle(
        self,
        request: HTTPRequest,
        writer: ResponseWriter,
        *,
        wait: float | None = None,
    ) -> None:
        """Answer a request.

        :param wait: what :meth:`LongPolling.admit` has returned, if it was called.
        """


@implementer(IPushProducer, IHalfCloseableProtocol)
class FastHTTPProtocol(Protocol):
    """One connection, as long as it has nothing but plain Bayeux requests.

    It is the ResponseWriter of all of them, one after the other.
    """

    factory: FastHTTPFactory
    transport: Any

    def __init__(self) -> None:
        # All are set here, and none is a cached_property: so CPython keeps them without
        # a dict, which makes a poll 5 % cheaper.
        self.secure = False
        self._responding = False  # a request waits for its answer
        self._queued = False  # requests wait in the work queue
        self._on_lost: Callable[[], None] | None = None
        self._stream: IPushProducer | None = None
        self._persistent = True  # whether the connection goes on after this response
        self._unread: list[bytes] = []
        self._unread_size = 0
        self._head: PlainHead | None = None  # of the request whose body is to come
        # What is kept from request to request: clients repeat their head to the byte.
        self._last_head: PlainHead | None = None
        self._polling: LongPolling | None = None
        self._poll_response: PendingResponse | None = None
        self._watched: Watched | None = None
        self._in_loop = False
        self._closing = False
        self._write_blocked = False  # the client does not read what is written to it
        self._last_activity = 0.0
        self._request_start = 0.0  # when the request that is still coming began

    def connectionMade(self) -> None:
        """Called when the connection is established."""
        transport = self.transport
        if ITCPTransport.providedBy(transport):
            transport.setTcpNoDelay(True)
        self.secure = ISSLTransport.providedBy(transport)
        transport.registerProducer(self, True)
        self._last_activity = self.factory.seconds()
        self.factory.opened(self)
        if self.factory.limits_connections and not (
            self.factory.handler.admit_connection(transport)
        ):
            transport.write(TOO_MANY_CONNECTIONS)
            self.close()

    @property
    def address(self) -> IAddress:
        """The client's address, which the PROXY protocol tells before any request."""
        address: IAddress = self.transport.getPeer()
        return address

    def dataReceived(self, data: bytes) -> None:
        """Read what the client sent."""
        if self._closing:
            return
        last = self._last_head
        if (
            last is not None
            and not (self._unread_size or self._write_blocked or self._responding)
            and len(data) == last.size + last.body_size
            and data.startswith(last.text)
        ):
            # Nearly always: one whole request, with the head of the one before.
            self._serve(last, data[last.size :])
            return
        self._last_activity = self.factory.seconds()
        if not self._unread_size:
            self._request_start = self._last_activity
        elif not self._waits() and self._is_too_slow():
            self.transport.write(REQUEST_TIMEOUT_RESPONSE)
            self.close()
            return
        self._unread.append(data)
        self._unread_size += len(data)
        if self._waits():
            if self._unread_size > MAX_UNREAD:
                self.transport.pauseProducing()
        elif (
            self._head is None
            or self._unread_size >= self._head.size + self._head.body_size
        ):
            self._serve_unread()

    def readConnectionLost(self) -> None:
        """Called when the client has closed its end; close ours when there is time."""
        self._closing = True
        if self._stream is not None:
            self._stream.stopProducing()
        self.factory.work_queue.add(self._lose_connection)

    def writeConnectionLost(self) -> None:
        """Never called: this end is not closed before the other."""

    def _lose_connection(self) -> None:
        # As Twisted does at once where a protocol does not ask for the above.
        if self.transport is not None:
            self.transport.connectionLost(connectionDone)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Called when the connection is lost."""
        on_lost = self._on_lost
        self._leave()
        if on_lost is not None:
            on_lost()

    # Requests

    def _is_too_slow(self) -> bool:
        limit = HEAD_TIMEOUT if self._head is None else REQUEST_TIMEOUT
        return self._last_activity - self._request_start > limit

    def _serve_unread(self) -> None:
        """Serve the first requests that have come, one after the other."""
        if self._in_loop:
            return
        self._in_loop = True
        left = REQUESTS_PER_TURN
        while self._unread_size and not self._waits():
            if not left:
                self._queued = True
                self.transport.pauseProducing()
                self.factory.work_queue.add(self._take_turn)
                break
            left -= 1
            data = self._unread[0] if len(self._unread) == 1 else b"".join(self._unread)
            self._unread, self._unread_size = [data], len(data)
            head = self._head or self._next_head(data)
            if head is None:
                break
            end = head.size + head.body_size
            if len(data) < end:
                self._head = head
                break
            self._head = None
            rest = data[end:]
            self._unread, self._unread_size = [rest] if rest else [], len(rest)
            self._serve(head, data[head.size : end])
        self._in_loop = False

    def _take_turn(self) -> None:
        self._queued = False
        self._read_on()

    def _waits(self) -> bool:
        return self._responding or self._queued or self._write_blocked or self._closing

    def _next_head(self, data: bytes) -> PlainHead | None:
        """Read the next request's head, if it is there and for us."""
        last = self._last_head
        # Clients repeat theirs to the byte: 1 µs instead of 6.
        if last is not None and data.startswith(last.text):
            return last
        if b"\r\n\r\n" not in data and may_become_plain(data):
            return None
        head = read_head(data)
        if head is None or not self.factory.takes(head.target, head.body_size):
            self._hand_over(data)
            return None
        self._last_head = head
        self._polling = self._poll_response = None
        if head.method == b"POST":
            self._polling = self.factory.handler.long_polling(self._request(head, b""))
        if self._polling is not None:
            self._poll_response = self._polling.respond_through(self)
            if self._watched is None:
                self._watched = self.factory.closing.add(self.transport)
        return head

    def _request(self, head: PlainHead, body: bytes) -> HTTPRequest:
        path, _, query = head.target.partition(b"?")
        segments = path[len(self.factory.prefix) :].split(b"/")[1:]
        return HTTPRequest(
            method=head.method,
            path=tuple(map(unquote_to_bytes, segments)),
            query=query,
            version=b"HTTP/1.1",
            headers=head.headers,
            body=body,
            address=self.address,
            secure=self.secure,
        )

    def _serve(self, head: PlainHead, body: bytes) -> None:
        handler = self.factory.handler
        polling, response = self._polling, self._poll_response
        self._responding = True
        if polling is None or response is None or handler.refuses:
            handler.handle(self._request(head, body), self)
            return
        wait = polling.admit(body)
        try:
            messages = None if wait else polling.read(body)
        except (Malformed, TooLarge):
            messages = None
        if messages is None:
            handler.handle(self._request(head, body), self, wait=wait)
            return
        try:
            polling.process(messages, response)
        except Exception:
            _log.failure("Answering a request failed")
            self.respond(*INTERNAL_ERROR)

    def _hand_over(self, data: bytes) -> None:
        channel = self.factory.site.buildProtocol(self.address)
        self._replace_with(channel)
        channel.dataReceived(data)

    # Responses: a ResponseWriter

    def respond(self, head: ResponseHead, body: bytes) -> None:
        """See :class:`~txbayeux.adapter.response.ResponseWriter`."""
        if self.transport is None:
            return
        if head.closes:
            self._persistent = False
        write_now(self.transport, head.with_body(body))
        self._done()

    def start_stream(self, head: ResponseHead, producer: IPushProducer) -> None:
        """See :class:`~txbayeux.adapter.response.ResponseWriter`."""
        self._stream = producer
        self.transport.write(head.chunked())

    def write(self, data: bytes) -> None:
        """See :class:`~txbayeux.adapter.response.ResponseWriter`."""
        self.transport.write(b"%x\r\n%b\r\n" % (len(data), data))

    def finish(self) -> None:
        """See :class:`~txbayeux.adapter.response.ResponseWriter`."""
        self.transport.write(b"0\r\n\r\n")
        self._stream = None
        self._done()

    def upgrade(self, protocol: Any) -> bytes:
        """See :class:`~txbayeux.adapter.response.ResponseWriter`."""
        unread, self._unread, self._unread_size = b"".join(self._unread), [], 0
        self._replace_with(protocol)
        return unread

    def call_when_lost(self, callback: Callable[[], None]) -> None:
        """See :class:`~txbayeux.adapter.response.ResponseWriter`."""
        self._on_lost = callback

    def client_gone(self, turn: int | None) -> bool:
        """See :class:`~txbayeux.adapter.response.ResponseWriter`."""
        if self.transport is None:
            return False  # call_when_lost() has reported it
        if self._closing:
            return True
        watched = self._watched
        gone = (
            has_closed(self.transport)
            if watched is None
            else self.factory.closing.has_closed(watched, turn)
        )
        if gone:
            self.close()
        return gone

    def _done(self) -> None:
        self._responding = False
        self._on_lost = None
        self._last_activity = self._request_start = self.factory.seconds()
        if not self._persistent:
            self.close()
        elif self._unread_size:
            self._read_on()

    def _read_on(self) -> None:
        if not self._waits():
            self.transport.resumeProducing()
            self._serve_unread()

    # The transport's side, about a client that may never read the responses

    def pauseProducing(self) -> None:
        """Called when the client does not keep up; read nothing more meanwhile."""
        self._write_blocked = True
        self.transport.pauseProducing()
        if self._stream is not None:
            self._stream.pauseProducing()

    def resumeProducing(self) -> None:
        """Called when the client has read all that was written."""
        self._write_blocked = False
        if self.transport is None:
            return
        self._last_activity = self._request_start = self.factory.seconds()
        if not self._responding:
            self._read_on()
            return
        if self._unread_size <= MAX_UNREAD:
            self.transport.resumeProducing()
        if self._stream is not None:
            self._stream.resumeProducing()

    def stopProducing(self) -> None:
        """Called when the connection closes; ``connectionLost`` is called as well."""
        if self._stream is not None:
            self._stream.stopProducing()

    # The end

    def close_idle(self, since: float) -> None:
        """Close the connection if nothing has gone on since this time."""
        if self._closing:
            self.transport.abortConnection()
        elif not self._responding and self._last_activity <= since:
            self.close()

    def close(self) -> None:
        """Close the connection; the next check for idle ones aborts it."""
        self._closing = True
        self.transport.unregisterProducer()  # it would be waited for
        self.transport.loseConnection()

    def _replace_with(self, protocol: Any) -> None:
        transport = self.transport
        self._leave()
        transport.unregisterProducer()
        replace_protocol(transport, protocol)
        protocol.makeConnection(transport)

    def _leave(self) -> None:
        """Forget the connection, which is lost or another protocol's."""
        self._closing = True
        self._head = self._polling = self._poll_response = None
        self._on_lost = self._stream = None
        watched, self._watched = self._watched, None
        if watched is not None:
            self.factory.closing.remove(watched)
        self.transport = None
        self.factory.closed(self)


@implementer(IProtocolNegotiationFactory)
class FastHTTPFactory(Factory):
    """Listens in the place of a site that has a Bayeux resource at ``mount``.

    :param site: gets all other requests.
    :param handler: answers the requests to ``mount`` and below.
    :param max_body: bytes; requests with a longer body are the site's.
    :param work_queue: where requests wait that came together with many others.
    :param timeout: seconds that a connection may be idle, as the site's own.
    :param limits_connections: whether to count the connections of each address; not
        where they are those of proxies that use the PROXY protocol.
    """

    noisy = False

    def __init__(
        self,
        site: Site,
        handler: RequestHandler,
        reactor: Clock,
        *,
        mount: str,
        max_body: int,
        work_queue: WorkQueue,
        timeout: float = 60.0,
        limits_connections: bool = True,
    ) -> None:
        self.site = site
        self.limits_connections: Final = limits_connections
        self.handler = handler
        path = b"/" + mount.strip("/").encode("ascii")
        self.prefix = path.rstrip(b"/")
        """What precedes the path's segments below the resource."""
        self._path = path
        self._below = (path + b"?", self.prefix + b"/")
        self._max_body = max_body
        self._open: set[FastHTTPProtocol] = set()
        self._timeout = timeout
        self.seconds = reactor.seconds
        self.closing = ClosingWatch(reactor.seconds)
        self.work_queue = work_queue
        # One timer for all, which runs while there are any.
        self._timer = LoopingCall(self._close_idle)
        clock: Any = reactor
        self._timer.clock = clock

    def startFactory(self) -> None:
        """Called when something listens."""
        self.site.doStart()

    def stopFactory(self) -> None:
        """Called when nothing does any more."""
        self.site.doStop()

    def logPrefix(self) -> str:
        """Return the name under which the log says where it listens."""
        return "Bayeux"

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Make the protocol of a new connection."""
        protocol = FastHTTPProtocol()
        protocol.factory = self
        return protocol

    def acceptableProtocols(self) -> list[bytes]:
        """Return what may be agreed upon in a TLS handshake."""
        protocols: list[bytes] = self.site.acceptableProtocols()
        return protocols

    def takes(self, target: bytes, body_size: int) -> bool:
        """Return whether a request is for the resource, and not too large."""
        return body_size <= self._max_body and (
            target == self._path or target.startswith(self._below)
        )

    def opened(self, protocol: FastHTTPProtocol) -> None:
        """Called when there is a new connection."""
        self._open.add(protocol)
        if not self._timer.running:
            self._timer.start(self._timeout / _IDLE_CHECKS, now=False)

    def closed(self, protocol: FastHTTPProtocol) -> None:
        """Called when a connection is lost, or another protocol's."""
        self._open.discard(protocol)
        if not self._open and self._timer.running:
            self._timer.stop()

    def _close_idle(self) -> None:
        since = self.seconds() - self._timeout
        for protocol in tuple(self._open):
            protocol.close_idle(since)
