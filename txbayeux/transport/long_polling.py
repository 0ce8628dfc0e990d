"""The ``long-polling`` connection type: messages by POST, replies in the response."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from twisted.internet.defer import Deferred

from txbayeux.message import Message, encode_list
from txbayeux.transport.base import Context, Receiver
from txbayeux.transport.http import Http
from txbayeux.transport.replies import response_reader

__all__ = ["LongPolling", "post"]

_HEADERS: Final = {"Content-Type": "application/json;charset=UTF-8"}
BATCH_BYTES: Final = 256 * 1024
"""A quarter of our server's limit for one request; Jetty's default for forms."""


class LongPolling:
    """Source: Bayeux specification, "The long-polling Transport"."""

    connection_type = "long-polling"
    # Two requests on two connections may overtake one another.
    pipelined = False
    batch_bytes = BATCH_BYTES

    def __init__(
        self, context: Context, receiver: Receiver, http: Http | None = None
    ) -> None:
        self._context = context
        self._receiver = receiver
        self._http = http or Http(context)

    def send(self, messages: Sequence[Message], timeout: float) -> Deferred[None]:
        """See :meth:`Transport.send <txbayeux.transport.base.Transport.send>`."""
        return post(self._http, self._context, self._receiver, messages, timeout)

    def attach(self, session_id: str) -> None:
        """Do nothing: each request names its session."""

    def pause(self) -> None:
        """Do nothing: nothing is received but answers to requests."""

    def resume(self) -> None:
        """Do nothing."""

    def close(self) -> Deferred[None]:
        """Abort requests, close idle connections."""
        return self._http.close()


def post(
    http: Http,
    context: Context,
    receiver: Receiver,
    messages: Sequence[Message],
    timeout: float,
) -> Deferred[None]:
    """POST a batch and pass on the response; see :meth:`Transport.send`."""
    body = encode_list(messages)
    requesting = http.request("POST", context.endpoint, _HEADERS, body, timeout)
    return requesting.addCallback(response_reader(messages, receiver))
