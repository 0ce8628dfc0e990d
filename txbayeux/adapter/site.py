"""Web sites with what ``twisted.web`` lacks for a public service.

A :class:`~twisted.web.server.Site` reads a whole body, however large, before it asks a
resource, and parses every form on the way.  It logs every request with its URL, which
names the session.
"""

from __future__ import annotations

import re
from io import BytesIO
from typing import Any, Final, cast

from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request, Site

from txbayeux.adapter.http import MAX_UNREAD, REQUESTS_PER_TURN, FastHTTPFactory
from txbayeux.adapter.io import WorkQueue
from txbayeux.adapter.request import is_host
from txbayeux.adapter.resource import BayeuxResource
from txbayeux.adapter.response import (
    BAD_HOST,
    BAD_REQUEST,
    HEAD_TIMEOUT,
    HEADERS_TOO_LARGE,
    REQUEST_TIMEOUT,
    REQUEST_TIMEOUT_RESPONSE,
    REQUEST_TOO_LARGE,
)
from txbayeux.interfaces import Clock
from txbayeux.limits import Limits

__all__ = [
    "BYTES_PER_TURN",
    "MAX_DISCARDED",
    "BayeuxSite",
    "BoundedChannel",
    "BoundedRequest",
    "BoundedSite",
    "bounded_request",
]

_SEGMENT: Final = re.compile(r"[A-Za-z0-9._~\-]+\Z")  # the same in every URL

MAX_DISCARDED: Final = 8 * 1024 * 1024
"""Bytes of a refused body that are read and dropped before the connection is closed.

To close with bytes unread resets the connection, and the client, which is still
sending, would not see the response (nginx: ``lingering_close``).
"""

BYTES_PER_TURN: Final = 4096
"""Bytes of one connection that ``twisted.web`` reads one after the other.

The rest of what has come waits in a :class:`~txbayeux.adapter.io.WorkQueue`: a body in
chunks of one byte costs 0.5 ms a KiB.
"""

_log: Final = Logger()


class BoundedRequest(Request):
    """A request that is refused with 413 as soon as its body is too large.

    It is refused with 400 without a valid ``Host``.  RFC 9112, section 3.2.
    """

    max_bytes = Limits().request_bytes
    content: BytesIO
    _received = 0
    _refused = False

    def gotLength(self, length: int | None) -> None:
        """Called with the length of the body; None if it is not known (chunked)."""
        # In memory, as it is bounded; twisted.web would use a file on disk.
        self.content = BytesIO()
        if length is not None and length > self.max_bytes:
            self._refuse()

    def handleContentChunk(self, data: bytes) -> None:
        """Called with a part of the body."""
        self._received += len(data)
        if not self._refused:
            if self._received <= self.max_bytes:
                self.content.write(data)
                return
            self._refuse()
        if self._received > self.max_bytes + MAX_DISCARDED:
            self.channel.loseConnection()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Called at the end of the body."""
        hosts = self.requestHeaders.getRawHeaders(b"Host", [])
        if self._refused:
            self.channel.loseConnection()
        elif (hosts or version == b"HTTP/1.1") and not (
            len(hosts) == 1 and is_host(hosts[0].decode("latin-1"))
        ):
            self.channel.write(BAD_HOST)
            self.channel.loseConnection()
        else:
            Request.requestReceived(self, command, path, version)

    def _refuse(self) -> None:
        self._refused = True
        self.content = BytesIO()
        self.channel.write(REQUEST_TOO_LARGE)
        if self.requestHeaders.hasHeader(b"Expect"):
            # The client has sent nothing yet, and waits for "100 Continue" first.
            self.requestHeaders.removeHeader(b"Expect")
            self.channel.loseConnection()


def bounded_request(limits: Limits) -> type[BoundedRequest]:
    """Return a ``requestFactory`` for a :class:`~twisted.web.server.Site`.

    :param limits: its ``request_bytes`` bound the body of each request.
    """
    bounded = type("Request", (BoundedRequest,), {"max_bytes": limits.request_bytes})
    return cast("type[BoundedRequest]", bounded)


class BoundedChannel(HTTPChannel):
    """A connection that takes little of each reactor turn, and waits for its client.

    It reads :data:`BYTES_PER_TURN` and answers
    :data:`~txbayeux.adapter.http.REQUESTS_PER_TURN`; the rest of what has come waits in
    the site's work queue.  While the client does not read its answers, no further
    request is read.

    A request with a line of more than 16 KiB, one that comes too slowly, and one whose
    Content-Length has too many digits are refused, and the connection is closed.
    """

    factory: BoundedSite
    transport: Any
    _closing = False
    _blocked = False  # the client does not read what is written to it
    _queued = False  # what has come waits in the work queue
    _responding = False  # a request has come whole and is not answered yet
    _reading = False
    _unread = b""
    # What is read before others have their turn.  It is not for each read: TLS passes
    # on record by record, and many come at once.
    _bytes_left = BYTES_PER_TURN
    _requests_left = REQUESTS_PER_TURN
    _request_start: float | None = None  # of the request that is still coming
    _time_limit = HEAD_TIMEOUT  # for what is still coming of it

    def dataReceived(self, data: bytes) -> None:
        """Read what the client sent."""
        if self._closing:
            return
        now = self.factory.reactor.seconds()
        if self._request_start is None:
            self._request_start = now
        elif not self._waits() and now - self._request_start > self._time_limit:
            self._refuse(REQUEST_TIMEOUT_RESPONSE)
            return
        self._unread += data
        if not self._waits():
            self._read()
        elif len(self._unread) > MAX_UNREAD:
            self.transport.pauseProducing()

    # How much is read

    def _waits(self) -> bool:
        return self._closing or self._blocked or self._queued or self._responding

    def _read(self) -> None:
        """Read some of what has come, and let the rest wait."""
        data, self._unread = (
            self._unread[: self._bytes_left],
            self._unread[self._bytes_left :],
        )
        self._bytes_left -= len(data)
        self.paused = False
        self._reading = True
        HTTPChannel.dataReceived(self, data)
        self._reading = False
        if self.transport is None:
            # Upgraded: this goes to the new protocol.
            HTTPChannel.dataReceived(self, self._unread)
        elif not (self._closing or self._responding) and (
            self.paused or not self._bytes_left
        ):
            self.transport.pauseProducing()
            if not self._blocked:
                self._queued = True
                self.factory.work_queue.add(self._take_turn)

    def _take_turn(self) -> None:
        self._queued = False
        self._read_on()

    def _read_on(self) -> None:
        if not self._waits():
            self._bytes_left = BYTES_PER_TURN
            self._requests_left = REQUESTS_PER_TURN
            self.transport.resumeProducing()
            self._read()

    def setLineMode(self, extra: bytes = b"") -> None:
        """Called with what has been read behind a request that is answered now."""
        self.line_mode = 1
        if extra:
            # It precedes what has not been read.
            HTTPChannel.dataReceived(self, extra)

    def pauseProducing(self) -> None:
        """Called when the client does not keep up."""
        self._blocked = True
        HTTPChannel.pauseProducing(self)

    def resumeProducing(self) -> None:
        """Called when the client has read all that was written."""
        self._blocked = False
        HTTPChannel.resumeProducing(self)
        if self.paused:
            self._request_start = None
        self._read_on()

    # A request

    def headerReceived(self, line: bytes) -> bool:
        """Called with each header; return whether it is valid."""
        try:
            valid: bool = HTTPChannel.headerReceived(self, line)
        except ValueError:  # int() converts up to 4,300 digits.
            _log.debug("Refused: a Content-Length of more than 4,300 digits")
            self._refuse(BAD_REQUEST)
            return False
        return valid

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Called when the connection is lost.

        Left as it is, the channel, the decoder of a body that was coming, and a
        producer, refer to each other and to the transport, with all that was not sent:
        only the garbage collector would free them.
        """
        self._closing = True
        HTTPChannel.connectionLost(self, reason)
        HTTPChannel.unregisterProducer(self)
        HTTPChannel.__init__(self)  # drops the decoder and the requests

    def lineLengthExceeded(self, line: bytes) -> None:
        """Called for a line that is too long, which twisted.web would not answer."""
        self._refuse(HEADERS_TOO_LARGE)

    def allHeadersReceived(self) -> None:
        """Called at the end of a head."""
        self._time_limit = REQUEST_TIMEOUT
        HTTPChannel.allHeadersReceived(self)

    def allContentReceived(self) -> None:
        """Called when a request has come whole."""
        self._responding = True
        HTTPChannel.allContentReceived(self)

    def requestDone(self, request: Request) -> None:
        """Called when a request is answered: the time of the next one begins now."""
        self._responding = False
        self._request_start = None
        self._time_limit = HEAD_TIMEOUT
        self._requests_left -= 1
        # Between two requests LineReceiver can be paused; what it has been given waits.
        self.paused = self._blocked or not self._reading or self._requests_left <= 0
        HTTPChannel.requestDone(self, request)
        if not self._reading:
            self._read_on()

    # The end

    def loseConnection(self) -> None:
        """Close the connection once the client has read the answer, or is idle."""
        if not self._closing:
            self._closing = True
            self.setTimeout(self.factory.timeOut)
            HTTPChannel.loseConnection(self)

    def _refuse(self, answer: bytes) -> None:
        self.transport.write(answer)
        self.loseConnection()


class BoundedSite(Site):
    """A site whose requests are bounded in size and time, without an access log.

    :param timeout: seconds that a connection may be idle between requests, or
        stay silent in the middle of one.  One that comes slowly is closed after
        :data:`~txbayeux.adapter.response.REQUEST_TIMEOUT`.  Neither cuts held connects.
    """

    protocol: Any = BoundedChannel
    displayTracebacks = False
    noisy = False

    def __init__(
        self, root: IResource, reactor: Clock, *, limits: Limits, timeout: float = 60.0
    ) -> None:
        Site.__init__(
            self,
            root,
            requestFactory=bounded_request(limits),
            timeout=timeout,
            reactor=reactor,
            parsePOSTFormSubmission=False,
        )
        self.work_queue = WorkQueue(reactor)
        """What its connections have sent and is not read yet."""

    def acceptableProtocols(self) -> list[bytes]:
        """Return HTTP/1.1 only, as WebSocket needs it; Site may offer HTTP/2."""
        return [b"http/1.1"]

    def logPrefix(self) -> str:
        """Return the name under which the log says where it listens."""
        return "Web site"

    def startFactory(self) -> None:
        """Start no timer for the time in the access log: it would wake idle nodes."""

    def log(self, request: object) -> None:
        """Log nothing."""


class BayeuxSite(FastHTTPFactory):
    """A web site that serves Bayeux at one path and a resource tree at all others.

    It is a factory to listen with, as :class:`~twisted.web.server.Site` is.  Plain
    requests to Bayeux, nearly all that a busy service gets, are served without
    ``twisted.web``, and do not appear in its log; all others go through it.

    No request's body, wherever it goes, may be larger than the ``request_bytes`` of
    the Bayeux resource's limits; connections that are idle or slow are closed. There
    is no access log, whose URLs would name sessions.

    :param root: the tree for all other paths; ``bayeux`` is put into it. None where
        ``path`` is ``/``.
    :param path: where to serve Bayeux.
    :param timeout: seconds that a connection may be idle between requests.
    :param limits_connections: see :class:`~txbayeux.adapter.http.FastHTTPFactory`.
    :raises ValueError: for a path with other characters than ``A-Za-z0-9._~-`` in
        a segment, or a root that does not fit to it.
    """

    def __init__(
        self,
        root: Resource | None,
        bayeux: BayeuxResource,
        reactor: Clock,
        *,
        path: str = "/bayeux",
        timeout: float = 60.0,
        limits_connections: bool = True,
    ) -> None:
        tree = _mount(root, bayeux, path)
        site = BoundedSite(tree, reactor, limits=bayeux.limits, timeout=timeout)
        super().__init__(
            site,
            bayeux,
            reactor,
            mount=path,
            max_body=bayeux.limits.request_bytes,
            work_queue=site.work_queue,
            timeout=timeout,
            limits_connections=limits_connections,
        )


def _mount(root: Resource | None, bayeux: BayeuxResource, path: str) -> IResource:
    """Put the resource into the tree at a path; return the root of both."""
    segments = [segment for segment in path.strip("/").split("/") if segment]
    if not all(_SEGMENT.match(segment) for segment in segments):
        raise ValueError(f"not a plain path: {path!r} (write /bayeux)")
    if (root is None) != (not segments):
        raise ValueError("a root resource is needed, except where the path is /")
    if root is None:
        return bayeux
    parent = root
    for segment in segments[:-1]:
        child = parent.getStaticEntity(segment.encode("ascii"))
        if child is None:
            child = Resource()
            parent.putChild(segment.encode("ascii"), child)
        parent = child
    parent.putChild(segments[-1].encode("ascii"), bayeux)
    return root
