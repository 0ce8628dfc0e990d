"""One HTTP request on its way to its answer."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import NOT_DONE_YET, Request

from txbayeux.message import Entry, Message, encode_list
from txbayeux.response import Response, there

__all__ = ["Exchange", "has_closed", "refuse"]

_PEEK: Final = socket.MSG_PEEK | socket.MSG_DONTWAIT

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


def has_closed(transport: Any) -> bool:
    """Ask the kernel whether the peer has closed a TCP or Unix connection.

    About 1 µs.  What cannot be asked (TLS, a transport in memory) has not.
    """
    handle = transport.getHandle() if hasattr(transport, "getHandle") else None
    if not isinstance(handle, socket.socket):
        return False
    try:
        return handle.recv(1, _PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


class Exchange:
    """Waits for the server's answer and writes it, unless the client is gone.

    :param write: writes the list of messages to the request and finishes it.
    """

    __slots__ = ("_first", "_gone", "_held", "_request", "_write")

    def __init__(
        self, request: Request, write: Callable[[Request, bytes], None]
    ) -> None:
        self._request = request
        self._write = write
        self._first: Response | None = None
        self._held: Deferred[Response] | None = None
        self._gone = False

    def wait(self, answer: Deferred[Response]) -> int:
        """Write ``answer`` when it comes; gives ``NOT_DONE_YET``."""
        # Most answers are there already: asking to be told of a lost connection
        # costs a Deferred, so it waits until it is needed.
        response = there(answer)
        if response is None:
            answer.addCallbacks(self._answered, self._failed)
        else:
            self._answered(response)
        if not self._request.finished:
            self._request.notifyFinish().addErrback(self._lost)
        return NOT_DONE_YET

    def _answered(self, response: Response) -> None:
        if self._gone or self._left(response):
            response.give_back()
            if response.held is not None:
                response.held.addCallbacks(Response.give_back, _forget)
                response.held.cancel()
        elif response.held is None:
            self._finish(response.items)
        else:
            self._first, self._held = response, response.held
            response.held.addCallbacks(self._released, self._failed)

    def _released(self, response: Response) -> None:
        self._held = None
        if self._gone or self._left(response):
            response.give_back()
            return
        first = self._first.items if self._first is not None else ()
        self._finish([*first, *response.items])

    def _left(self, response: Response) -> bool:
        """Tell whether the client is known to have gone, if messages are at stake.

        A connect and the end of its connection may have arrived together: the
        reactor has read the one, the kernel knows of the other.
        """
        if response.delivery is None or not has_closed(self._request.transport):
            return False
        self._request.loseConnection()
        return True

    def _finish(self, items: Sequence[Message | Entry]) -> None:
        try:
            body = encode_list(items)
        except Exception:
            self._failed(Failure())
        else:
            self._write(self._request, body)

    def _failed(self, failure: Failure) -> None:
        self._held = None
        if self._gone:
            return
        _log.failure("Answering a request failed", failure)
        request = self._request
        body = refuse(request, 500, "Internal server error")
        request.setHeader(b"Content-Length", b"%d" % len(body))
        request.write(body)
        request.finish()

    def _lost(self, reason: Failure) -> None:
        self._gone = True
        if self._first is not None:
            self._first.give_back()
        if self._held is not None:
            self._held.cancel()


def _forget(failure: Failure) -> None:
    """Take no notice of how a cancelled connect ended."""
