"""``twisted.web`` on ports of our own: what it lacks for a public service.

It keeps a whole body, whatever its length, before it asks a resource, and
parses every form on the way; it writes a line for every request, with the
session in the URL.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any, Final, cast

from twisted.web.http import HTTPChannel
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from txbayeux.interfaces import Clock
from txbayeux.limits import Limits

__all__ = [
    "REQUEST_TIME",
    "TOO_SLOW",
    "BoundedRequest",
    "OwnChannel",
    "OwnSite",
    "bounded_request",
]

REQUEST_TIME: Final = 300.0
"""Seconds in which a request must have come whole, however slowly (Node's figure).

Without it one who sends a byte now and then would hold a connection for ever.
"""


def _final(status: bytes, why: bytes) -> bytes:
    """Write an answer that ends the connection."""
    return (
        b"HTTP/1.1 %s\r\n"
        b"Connection: close\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\n"
        b"X-Content-Type-Options: nosniff\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (status, len(why), why)
    )


_TOO_LARGE: Final = _final(
    b"413 Request Entity Too Large", b"The body of this request is too large\n"
)
_TOO_LONG: Final = _final(
    b"431 Request Header Fields Too Large",
    b"The URL or a header of this request is too long\n",
)
TOO_SLOW: Final = _final(
    b"408 Request Timeout", b"The rest of this request did not come in time\n"
)
"""The answer to a request that took longer than :data:`REQUEST_TIME` to come."""

_DRAIN: Final = 8 * 1024 * 1024
"""Bytes of a refused body that are read and dropped before the connection is cut.

To close with bytes unread resets the connection, and the client, still
sending, would not see why (nginx: ``lingering_close``).
"""


class BoundedRequest(Request):
    """Refused with 413 as soon as its length, declared or counted, is too much."""

    max_bytes = Limits().request_bytes
    content: BytesIO
    _received = 0
    _refused = False

    def gotLength(self, length: int | None) -> None:
        """Hear how long the body will be; None if it does not say (chunked)."""
        # Bounded, so it may stay in memory: twisted.web's own goes to a file on disk.
        self.content = BytesIO()
        if length is not None and length > self.max_bytes:
            self._refuse()

    def handleContentChunk(self, data: bytes) -> None:
        """Keep a part of the body."""
        self._received += len(data)
        if not self._refused:
            if self._received <= self.max_bytes:
                self.content.write(data)
                return
            self._refuse()
        if self._received > self.max_bytes + _DRAIN:
            self.channel.loseConnection()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Hear that the body has ended."""
        if self._refused:
            self.channel.loseConnection()
        else:
            Request.requestReceived(self, command, path, version)

    def _refuse(self) -> None:
        self._refused = True
        self.content = BytesIO()
        self.channel.write(_TOO_LARGE)
        if self.requestHeaders.hasHeader(b"Expect"):
            # It has sent nothing yet, and will not without a "100 Continue".
            self.requestHeaders.removeHeader(b"Expect")
            self.channel.loseConnection()


def bounded_request(limits: Limits) -> type[BoundedRequest]:
    """Make a ``requestFactory`` for a :class:`~twisted.web.server.Site`."""
    bounded = type("Request", (BoundedRequest,), {"max_bytes": limits.request_bytes})
    return cast("type[BoundedRequest]", bounded)


class OwnChannel(HTTPChannel):
    """Answers what is too long (a line of 16 KiB) or too slow, and hangs up."""

    transport: Any
    _refused = False
    _begun: float | None = None  # when the request that is still coming did

    def dataReceived(self, data: bytes) -> None:
        """Read what the client sent, unless it has been told to go."""
        if self._refused:
            return
        now = self.factory.reactor.seconds()
        if self._begun is None or self._handlingRequest:
            self._begun = now
        elif now - self._begun > REQUEST_TIME:
            self._refuse(TOO_SLOW)
            return
        HTTPChannel.dataReceived(self, data)

    def allContentReceived(self) -> None:
        """Hear that a request has come whole."""
        self._begun = None
        HTTPChannel.allContentReceived(self)

    def requestDone(self, request: Request) -> None:
        """Hear that a request is answered: what came behind it begins to count now."""
        self._begun = None
        HTTPChannel.requestDone(self, request)

    def lineLengthExceeded(self, line: bytes) -> None:
        """Refuse: twisted.web would leave a JSON-P client without a word."""
        self._refuse(_TOO_LONG)

    def _refuse(self, answer: bytes) -> None:
        self._refused = True
        self.transport.write(answer)
        HTTPChannel.loseConnection(self)


class OwnSite(Site):
    """A site whose requests are bounded, and that keeps no access log.

    :param timeout: seconds that a connection may be idle between requests, or
        stay silent in the middle of one; see :data:`REQUEST_TIME` for one that
        comes slowly.  Neither cuts held connects.
    """

    protocol: Any = OwnChannel
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
        """Offer no HTTP/2, which Site does where it can: a WebSocket needs HTTP/1.1."""
        return [b"http/1.1"]

    def logPrefix(self) -> str:
        """Give the name under which the log says where it listens."""
        return "Web site"

    def log(self, request: object) -> None:
        """Write nothing."""
