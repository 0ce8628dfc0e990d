"""How an HTTP request is answered, the same whichever way it was read."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import NO_BODY_CODES, RESPONSES, datetimeToString

from txbayeux.message import Entry, Message, encode_list
from txbayeux.processor import Response, Returnable, response_now

__all__ = [
    "BAD_HOST",
    "BAD_REQUEST",
    "HEADERS_TOO_LARGE",
    "HEAD_TIMEOUT",
    "INTERNAL_ERROR",
    "NO_STORE",
    "REQUEST_TIMEOUT",
    "REQUEST_TIMEOUT_RESPONSE",
    "REQUEST_TOO_LARGE",
    "TOO_MANY_CONNECTIONS",
    "Header",
    "PendingResponse",
    "Refused",
    "ResponseHead",
    "ResponseWriter",
    "plain_text",
]

HEAD_TIMEOUT: Final = 60.0
"""Seconds in which the head of a request must have come whole (nginx's figure)."""

REQUEST_TIMEOUT: Final = 300.0
"""Seconds in which a request must have come whole, however slowly (Node's figure).

Without it a client that sends a byte now and then would hold a connection for ever.
"""

_CLOSE: Final = (b"Connection", b"close")

NO_STORE: Final = (
    (b"Cache-Control", b"no-cache, no-store"),
    (b"X-Content-Type-Options", b"nosniff"),
)
"""Header fields of all answers that are not to be cached, or taken for another type."""

_log: Final = Logger()

Header = tuple[bytes, bytes]
"""A header field: its name and its value."""


class _Date:
    """The value of the Date header, formatted once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._text = b""

    def now(self) -> bytes:
        second = int(time.time())
        if second != self._second:
            self._second, self._text = second, datetimeToString(second)
        return self._text


_date: Final = _Date()


class ResponseHead:
    """Status and header fields of a response, without Date and Content-Length.

    It does not change; a client whose requests are alike is answered with the same
    head again.
    """

    __slots__ = ("_lines", "closes", "has_body", "headers", "status")

    def __init__(self, status: int, headers: tuple[Header, ...]) -> None:
        self.status: Final = status
        self.headers: Final = headers
        self.closes: Final = _CLOSE in headers
        """Whether the connection ends after the response."""
        self.has_body: Final = status not in NO_BODY_CODES
        """Whether a response of this status may have a body (RFC 9110, 6.4.1)."""
        lines = [b"HTTP/1.1 %d %b" % (status, RESPONSES.get(status, b""))]
        lines += [b"%b: %b" % header for header in headers]
        self._lines: Final = b"\r\n".join(lines) + b"\r\nDate: "

    def with_body(self, body: bytes) -> bytes:
        """Write the whole response for HTTP/1.1."""
        if not self.has_body:
            return self._lines + _date.now() + b"\r\n\r\n"
        return b"%b%b\r\nContent-Length: %d\r\n\r\n%b" % (
            self._lines,
            _date.now(),
            len(body),
            body,
        )

    def chunked(self) -> bytes:
        """Write the head of a response whose body follows in chunks."""
        return b"%b%b\r\nTransfer-Encoding: chunked\r\n\r\n" % (
            self._lines,
            _date.now(),
        )


def plain_text(
    status: int, text: str, headers: Sequence[Header] = ()
) -> tuple[ResponseHead, bytes]:
    """Make a response that says in plain text why there is no other."""
    kind = (b"Content-Type", b"text/plain; charset=utf-8")
    head = ResponseHead(status, (kind, *NO_STORE, *headers))
    return head, text.encode("utf-8", "replace") + b"\n"


INTERNAL_ERROR: Final = plain_text(500, "Internal server error", [_CLOSE])
"""The response to an unexpected error in the server."""


def _error(status: int, text: str) -> bytes:
    head, body = plain_text(status, text, [_CLOSE])
    return head.with_body(body)


BAD_REQUEST: Final = _error(400, "This request is not valid HTTP")
BAD_HOST: Final = _error(400, "A request needs one Host header, a host name")
REQUEST_TOO_LARGE: Final = _error(413, "The body of this request is too large")
HEADERS_TOO_LARGE: Final = _error(
    431, "The URL or a header of this request is too long"
)
TOO_MANY_CONNECTIONS: Final = _error(429, "This address has too many connections")
"""The response to a connection, whatever its requests, of a peer with too many."""
REQUEST_TIMEOUT_RESPONSE: Final = _error(
    408, "The rest of this request did not come in time"
)
"""The response to a request that came slower than :data:`HEAD_TIMEOUT` and
:data:`REQUEST_TIMEOUT` allow."""


class Refused(Exception):
    """A request is answered with an error, in plain text, and nothing else is done.

    :param status: HTTP's.
    :param text: why, for the person who looks for it.
    :param headers: further fields of the response.
    """

    def __init__(self, status: int, text: str, headers: Sequence[Header] = ()) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text
        self.headers = headers


class ResponseWriter(Protocol):
    """Writes the response to one request; each way of reading requests has its own.

    Either :meth:`respond` or :meth:`upgrade` is called, once, or
    :meth:`start_stream` and at last :meth:`finish`; none of them once the client
    is gone.
    """

    def respond(self, head: ResponseHead, body: bytes) -> None:
        """Write a whole response."""

    def start_stream(self, head: ResponseHead, producer: IPushProducer) -> None:
        """Write the head of a response whose body comes bit by bit.

        ``producer`` is paused and resumed as the client keeps up.
        """

    def write(self, data: bytes) -> None:
        """Write a part of the body."""

    def finish(self) -> None:
        """End the body."""

    def upgrade(self, protocol: Any) -> bytes:
        """Make ``protocol`` the connection's; return what it has yet to be given.

        That is what has been read from the connection behind the request.
        """

    def call_when_lost(self, callback: Callable[[], None]) -> None:
        """Call back if the connection is lost before the response is written."""

    def client_gone(self, turn: int | None) -> bool:
        """Return whether the client has closed the connection; close it, if so.

        :param turn: see :attr:`txbayeux.interfaces.Delivery.turn`.
        """


class PendingResponse:
    """Waits for the server's answer and writes it, unless the client is gone.

    It may be used again once it has answered.

    :param head: of a successful response.
    :param encode: makes the response's body from the JSON list of messages; by default
        that is the body.
    """

    __slots__ = ("_encode", "_first", "_gone", "_head", "_held", "_writer")

    def __init__(
        self,
        writer: ResponseWriter,
        head: ResponseHead,
        encode: Callable[[bytes], bytes] | None = None,
    ) -> None:
        self._writer = writer
        self._head = head
        self._encode = encode
        self._first: Response | None = None
        self._held: Deferred[Response] | None = None
        self._gone = False

    def begin(self, answer: Deferred[Response]) -> None:
        """Write ``answer`` when it comes."""
        response = response_now(answer)
        if response is None:
            self._writer.call_when_lost(self._lost)
            answer.addCallbacks(self._answered, self._failed)
        else:
            self._answered(response)

    def _lost(self) -> None:
        self._gone = True
        if self._first is not None:
            self._first.give_back()
        if self._held is not None:
            self._held.cancel()

    def _answered(self, response: Response) -> None:
        held = response.held
        delivery = response.delivery
        if self._gone or (delivery is not None and self._client_gone(delivery)):
            response.give_back()
            if held is not None:
                held.addCallbacks(Response.give_back, _ignore)
                held.cancel()
        elif held is None:
            self._finish(response.items)
        else:
            self._first, self._held = response, held
            self._writer.call_when_lost(self._lost)
            held.addCallbacks(self._released, self._failed)

    def _released(self, response: Response) -> None:
        first, self._first, self._held = self._first, None, None
        delivery = response.delivery
        if self._gone or (delivery is not None and self._client_gone(delivery)):
            response.give_back()
            if not self._gone and first is not None:
                first.give_back()
        elif first is not None and first.items:
            self._finish([*first.items, *response.items])
        else:
            self._finish(response.items)

    def _client_gone(self, delivery: Returnable) -> bool:
        # The request has been read, but the end of its connection may be unread.
        return self._writer.client_gone(delivery.turn)

    def _finish(self, items: Sequence[Message | Entry]) -> None:
        try:
            body = encode_list(items)
            if self._encode is not None:
                body = self._encode(body)
        except Exception:
            self._failed(Failure())
        else:
            self._writer.respond(self._head, body)

    def _failed(self, failure: Failure) -> None:
        self._first = self._held = None
        if not self._gone:
            _log.failure("Answering a request failed", failure)
            self._writer.respond(*INTERNAL_ERROR)


def _ignore(failure: Failure) -> None:
    """Take no notice of how a cancelled connect ended."""
