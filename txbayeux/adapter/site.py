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

__all__ = ["BoundedRequest", "OwnSite", "bounded_request"]

_BODY: Final = b"The body of this request is too large\n"
_REFUSAL: Final = (
    b"HTTP/1.1 413 Request Entity Too Large\r\n"
    b"Connection: close\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n"
    b"X-Content-Type-Options: nosniff\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_BODY), _BODY)
)
_LINE: Final = b"The URL or a header of this request is too long\n"
_LINE_REFUSAL: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"Connection: close\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n"
    b"X-Content-Type-Options: nosniff\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_LINE), _LINE)
)
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
        self.channel.write(_REFUSAL)
        if self.requestHeaders.hasHeader(b"Expect"):
            # It has sent nothing yet, and will not without a "100 Continue".
            self.requestHeaders.removeHeader(b"Expect")
            self.channel.loseConnection()


def bounded_request(limits: Limits) -> type[BoundedRequest]:
    """Make a ``requestFactory`` for a :class:`~twisted.web.server.Site`."""
    bounded = type("Request", (BoundedRequest,), {"max_bytes": limits.request_bytes})
    return cast("type[BoundedRequest]", bounded)


class _Channel(HTTPChannel):
    """Answers a line past the limit (16 KiB) instead of hanging up on it."""

    transport: Any
    _refused = False

    def dataReceived(self, data: bytes) -> None:
        """Read what the client sent, unless it has been told to go."""
        if not self._refused:
            HTTPChannel.dataReceived(self, data)

    def lineLengthExceeded(self, line: bytes) -> None:
        """Refuse: twisted.web would leave a JSON-P client without a word."""
        self._refused = True
        self.transport.write(_LINE_REFUSAL)
        HTTPChannel.loseConnection(self)


class OwnSite(Site):
    """A site whose requests are bounded, and that keeps no access log.

    :param timeout: seconds that a connection may be idle between requests, or
        stay silent in the middle of one.  It does not cut held connects.
    """

    protocol: Any = _Channel
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

    def log(self, request: object) -> None:
        """Write nothing."""
