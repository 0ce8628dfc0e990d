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
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request, Site

from txbayeux.adapter.http import FastHTTPFactory
from txbayeux.adapter.resource import BayeuxResource
from txbayeux.adapter.response import (
    HEADERS_TOO_LARGE,
    REQUEST_TIMEOUT,
    REQUEST_TIMEOUT_RESPONSE,
    REQUEST_TOO_LARGE,
)
from txbayeux.interfaces import Clock
from txbayeux.limits import Limits

__all__ = [
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


class BoundedRequest(Request):
    """A request that is refused with 413 as soon as its body is too large."""

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
        if self._refused:
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
    """A connection that is closed where a line is too long (16 KiB) or a request slow.

    Both are answered first.
    """

    transport: Any
    _refused = False
    _responding = False  # a request has come whole and is not answered yet
    _request_start: float | None = None  # of the request that is still coming

    def dataReceived(self, data: bytes) -> None:
        """Read what the client sent."""
        if self._refused:
            return
        now = self.factory.reactor.seconds()
        if self._request_start is None or self._responding:
            self._request_start = now
        elif now - self._request_start > REQUEST_TIMEOUT:
            self._refuse(REQUEST_TIMEOUT_RESPONSE)
            return
        HTTPChannel.dataReceived(self, data)

    def allContentReceived(self) -> None:
        """Called when a request has come whole."""
        self._request_start = None
        self._responding = True
        HTTPChannel.allContentReceived(self)

    def requestDone(self, request: Request) -> None:
        """Called when a request is answered: the time of the next one begins now."""
        self._request_start = None
        self._responding = False
        HTTPChannel.requestDone(self, request)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Called when the connection is lost.

        Left as it is, the channel, the decoder of a body that was coming, and a
        producer, refer to each other and to the transport, with all that was not sent:
        only the garbage collector would free them.
        """
        HTTPChannel.connectionLost(self, reason)
        HTTPChannel.unregisterProducer(self)
        HTTPChannel.__init__(self)  # drops the decoder and the requests

    def lineLengthExceeded(self, line: bytes) -> None:
        """Called for a line that is too long, which twisted.web would not answer."""
        self._refuse(HEADERS_TOO_LARGE)

    def _refuse(self, answer: bytes) -> None:
        self._refused = True
        self.transport.write(answer)
        HTTPChannel.loseConnection(self)


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

    def acceptableProtocols(self) -> list[bytes]:
        """Return HTTP/1.1 only, as WebSocket needs it; Site may offer HTTP/2."""
        return [b"http/1.1"]

    def logPrefix(self) -> str:
        """Return the name under which the log says where it listens."""
        return "Web site"

    def log(self, request: object) -> None:
        """Log nothing."""


class BayeuxSite(FastHTTPFactory):
    """A web site that serves Bayeux at one path and a resource tree at all others.

    It is a factory to listen with, as :class:`~twisted.web.server.Site` is. Polls and
    WebSocket upgrades, nearly all that a busy service gets, are served without
    ``twisted.web``, and do not appear in its log; every other request goes through
    ``twisted.web``.

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
        super().__init__(
            BoundedSite(tree, reactor, limits=bayeux.limits, timeout=timeout),
            bayeux,
            reactor,
            mount=path,
            max_body=bayeux.limits.request_bytes,
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
