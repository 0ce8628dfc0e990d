"""One HTTP request on its way to its answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import NOT_DONE_YET, Request

from txbayeux.adapter.io import has_closed
from txbayeux.message import Entry, Message, encode_list
from txbayeux.protocol import Response, response_now

__all__ = [
    "HEADERS_TOO_LARGE",
    "REQUEST_TIMEOUT",
    "REQUEST_TIMEOUT_RESPONSE",
    "REQUEST_TOO_LARGE",
    "Exchange",
    "ResponseWriter",
    "answer_request",
    "refuse",
]

REQUEST_TIMEOUT: Final = 300.0
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


REQUEST_TOO_LARGE: Final = _final(
    b"413 Request Entity Too Large", b"The body of this request is too large\n"
)
HEADERS_TOO_LARGE: Final = _final(
    b"431 Request Header Fields Too Large",
    b"The URL or a header of this request is too long\n",
)
REQUEST_TIMEOUT_RESPONSE: Final = _final(
    b"408 Request Timeout", b"The rest of this request did not come in time\n"
)
"""The answer to a request that took longer than :data:`REQUEST_TIMEOUT` to come."""

_log: Final = Logger()


def refuse(request: Request, code: int, why: str) -> bytes:
    """Prepare a refusal in plain text; gives the body."""
    request.setResponseCode(code)
    request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
    request.setHeader(b"Cache-Control", b"no-cache, no-store")
    request.setHeader(b"X-Content-Type-Options", b"nosniff")
    body = why.encode("utf-8", "replace") + b"\n"
    if request.method == b"HEAD":
        request.setHeader(b"Content-Length", b"%d" % len(body))
        return b""
    return body


class ResponseWriter(Protocol):
    """Where the answer to one request is written."""

    def answer(self, body: bytes) -> None:
        """Write the list of messages, and be done."""

    def fail(self) -> None:
        """Say that something went wrong here, and be done."""

    def left(self, turn: int | None) -> bool:
        """Tell whether the client is known to be gone; hang up, if so.

        :param turn: see :attr:`txbayeux.interfaces.Delivery.turn`.
        """


class Exchange:
    """Waits for the server's answer and writes it, unless the client is gone.

    It may be used again once it has answered.
    """

    __slots__ = ("_exit", "_first", "_gone", "_held")

    def __init__(self, way_out: ResponseWriter) -> None:
        self._exit = way_out
        self._first: Response | None = None
        self._held: Deferred[Response] | None = None
        self._gone = False

    def begin(self, answer: Deferred[Response]) -> None:
        """Write ``answer`` when it comes."""
        response = response_now(answer)
        if response is None:
            answer.addCallbacks(self._answered, self._failed)
        else:
            self._answered(response)

    def lost(self, reason: object = None) -> None:
        """Hear that the client is gone."""
        self._gone = True
        if self._first is not None:
            self._first.give_back()
        if self._held is not None:
            self._held.cancel()

    def _answered(self, response: Response) -> None:
        held = response.held
        if self._gone or self._left(response):
            response.give_back()
            if held is not None:
                held.addCallbacks(Response.give_back, _forget)
                held.cancel()
        elif held is None:
            self._finish(response.items)
        else:
            self._first, self._held = response, held
            held.addCallbacks(self._released, self._failed)

    def _released(self, response: Response) -> None:
        first, self._first, self._held = self._first, None, None
        if self._gone or self._left(response):
            response.give_back()
            if not self._gone and first is not None:
                first.give_back()
        elif first is not None and first.items:
            self._finish([*first.items, *response.items])
        else:
            self._finish(response.items)

    def _left(self, response: Response) -> bool:
        # A connect and the end of its connection may have arrived together: the
        # reactor has read the one, the kernel knows of the other.
        delivery = response.delivery
        return delivery is not None and self._exit.left(delivery.turn)

    def _finish(self, items: Sequence[Message | Entry]) -> None:
        try:
            body = encode_list(items)
        except Exception:
            self._failed(Failure())
        else:
            self._exit.answer(body)

    def _failed(self, failure: Failure) -> None:
        self._first = self._held = None
        if not self._gone:
            _log.failure("Answering a request failed", failure)
            self._exit.fail()


class RequestWriter:
    """The way out of ``twisted.web``: writes to a request and finishes it."""

    __slots__ = ("_request", "_write")

    def __init__(
        self, request: Request, write: Callable[[Request, bytes], None]
    ) -> None:
        self._request = request
        self._write = write

    def answer(self, body: bytes) -> None:
        """See :class:`ResponseWriter`."""
        self._write(self._request, body)

    def fail(self) -> None:
        """See :class:`ResponseWriter`."""
        request = self._request
        body = refuse(request, 500, "Internal server error")
        request.setHeader(b"Content-Length", b"%d" % len(body))
        request.write(body)
        request.finish()

    def left(self, turn: int | None) -> bool:
        """See :class:`ResponseWriter`."""
        if not has_closed(self._request.transport):
            return False
        self._request.loseConnection()
        return True


def answer_request(
    request: Request,
    answer: Deferred[Response],
    write: Callable[[Request, bytes], None],
) -> int:
    """Answer a request of ``twisted.web``'s; gives ``NOT_DONE_YET``.

    :param write: writes the list of messages to the request and finishes it.
    """
    exchange = Exchange(RequestWriter(request, write))
    exchange.begin(answer)
    # Most answers are there already: asking to be told of a lost connection costs
    # a Deferred, so it waits until it is needed.
    if not request.finished:
        request.notifyFinish().addErrback(exchange.lost)
    return NOT_DONE_YET


def _forget(failure: Failure) -> None:
    """Take no notice of how a cancelled connect ended."""
