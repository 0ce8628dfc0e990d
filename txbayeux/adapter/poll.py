"""A request at the fast door: what the resource asks of ``twisted.web``'s."""

from __future__ import annotations

import time
from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.python.failure import Failure
from twisted.web.http import RESPONSES, datetimeToString

from txbayeux.adapter.head import Head, RequestHeaders
from txbayeux.adapter.io import write_now

if TYPE_CHECKING:
    from txbayeux.adapter.fast_http import FastHTTPProtocol

__all__ = ["Poll", "answer_text"]


class _Date:
    """The header's value, made once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._text = b""

    def now(self) -> bytes:
        second = int(time.time())
        if second != self._second:
            self._second, self._text = second, datetimeToString(second)
        return self._text


_date: Final = _Date()
_OK: Final = 200


def answer_text(status: bytes, head: bytes, body: bytes) -> bytes:
    """Write an answer; ``head`` ends where the value of the length belongs."""
    return b"HTTP/1.1 %b\r\nDate: %b\r\n%b%d\r\n\r\n%b" % (
        status,
        _date.now(),
        head,
        len(body),
        body,
    )


class _ResponseHeaders:
    """What the resource asks of ``twisted.web``'s ``Headers``."""

    __slots__ = ("lines",)

    def __init__(self) -> None:
        self.lines: dict[bytes, list[bytes]] = {}

    def setRawHeaders(self, name: bytes, values: list[bytes]) -> None:
        """Set one, whatever it was before."""
        self.lines[name] = values

    def addRawHeader(self, name: bytes, value: bytes) -> None:
        """Set one more."""
        self.lines.setdefault(name, []).append(value)


class Poll:
    """One request, whose body is there, and its answer."""

    __slots__ = (
        "_code",
        "_waiting",
        "channel",
        "content",
        "finished",
        "method",
        "postpath",
        "prepath",
        "requestHeaders",
        "responseHeaders",
        "startedWriting",
        "uri",
    )

    clientproto = b"HTTP/1.1"

    def __init__(
        self, channel: FastHTTPProtocol, head: Head, body: bytes, mount: bytes
    ) -> None:
        self.channel = channel
        self.method = head.method
        self.uri = head.target
        self.prepath = [mount]
        self.postpath: list[bytes] = []
        self.requestHeaders: RequestHeaders = head.headers
        self.responseHeaders = _ResponseHeaders()
        self.content = BytesIO(body)
        self.finished = 0
        self.startedWriting = 0
        self._code = _OK
        self._waiting: Sequence[Deferred[None]] = ()

    # What is asked

    def isSecure(self) -> bool:
        """Tell whether the connection is TLS."""
        return self.channel.secure

    def getClientAddress(self) -> IAddress:
        """Tell where the connection comes from."""
        return self.channel.address

    @property
    def transport(self) -> Any:
        """Give the connection, None once it is gone."""
        return self.channel.transport

    def notifyFinish(self) -> Deferred[None]:
        """Give what fails when the client goes before it is answered."""
        waiting: Deferred[None] = Deferred()
        self._waiting = (*self._waiting, waiting)
        return waiting

    # What is answered

    def setResponseCode(self, code: int) -> None:
        """Set the status, 200 if it is not."""
        self._code = code

    def setHeader(self, name: bytes, value: bytes) -> None:
        """Set a header of the answer."""
        self.responseHeaders.lines[name] = [value]

    def write(self, body: bytes) -> None:
        """Write the whole answer."""
        if self.channel.transport is None:
            return
        self.startedWriting = 1
        # The length comes last, whoever may have set it before.
        self.responseHeaders.lines.pop(b"Content-Length", None)
        text = answer_text(
            b"%d %b" % (self._code, RESPONSES.get(self._code, b"")), self.head(), body
        )
        write_now(self.channel.transport, text)

    def head(self) -> bytes:
        """Give the answer's headers as they are now, but for the length's value."""
        lines = [
            name + b": " + value
            for name, values in self.responseHeaders.lines.items()
            for value in values
        ]
        return b"\r\n".join([*lines, b"Content-Length: "])

    def finish(self) -> None:
        """Be done."""
        self.finished = 1
        self._waiting = ()  # who hold the request, which would wait for the collector
        if self.channel.transport is not None:
            self.channel.done()

    def loseConnection(self) -> None:
        """Close the connection, unanswered."""
        if self.channel.transport is not None:
            self.channel.part()

    def lost(self, reason: Failure) -> None:
        """Hear that the client is gone."""
        waiting, self._waiting = self._waiting, ()
        for one in waiting:
            one.errback(reason)
