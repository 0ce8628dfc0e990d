"""How adapters and the in-process transport call the server, and its responses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
from twisted.internet.defer import Deferred

from txbayeux.interfaces import Request, Stream
from txbayeux.message import Entry, Message

__all__ = ["Processor", "Response", "Returnable", "response_now"]


class Returnable(Protocol):
    """Messages that wait for the next connect if they could not be written."""

    @property
    def turn(self) -> int | None:
        """See :attr:`txbayeux.interfaces.Delivery.turn`."""

    def give_back(self) -> None:
        """See :meth:`txbayeux.interfaces.Delivery.give_back`."""


class Response(msgspec.Struct):
    """The response to one request: replies and messages, in the order to send them.

    ``held``, if not None, fires with a further Response: the reply to a connect that
    waits for messages, or to an operation that the engine has not finished.  It
    never fails.  Cancel it when the connection is gone; it fires all the same, and
    what it then carries is to be given back.  An HTTP adapter waits for it before it
    answers; a WebSocket adapter sends ``items`` at once and goes on reading.
    """

    items: Sequence[Message | Entry]
    held: Deferred[Response] | None = None
    delivery: Returnable | None = None

    def give_back(self) -> None:
        """Return the messages among ``items``: the connection is gone.

        They are sent with the session's next connect.
        """
        if self.delivery is not None:
            self.delivery.give_back()


class Processor(Protocol):
    """The server as adapters and the in-process transport see it."""

    def process(
        self,
        messages: Sequence[Any],
        request: Request | None,
        stream: Stream | None = None,
    ) -> Deferred[Response]:
        """Process the messages of one request, in order.

        The Deferred does not fail.  Do not call this again for one connection
        before the Deferred of the last call has fired; ``held`` may be pending.

        :param messages: any JSON values; each is answered.
        :param request: None for messages of this process.
        :param stream: where messages for the session go from its connect on
            (see :meth:`wrap_stream`).
        """

    def wrap_stream(self, stream: Stream, request: Request) -> Stream:
        """Return the stream to pass to the other methods instead of ``stream``.

        It sends messages through the outgoing extensions.  It is ``stream`` itself if
        no extension gets published messages.  Call this once for each connection.
        """

    def attach(self, session_id: str, stream: Stream) -> Deferred[None]:
        """Send a session's messages to ``stream`` (a wrapped one) from now on.

        Fails with :class:`~txbayeux.errors.UnknownSession`.
        """

    def detach(self, stream: Stream, unsent: Sequence[Entry] = ()) -> None:
        """Called when the connection behind ``stream`` (a wrapped one) is gone.

        :param unsent: entries that it was sent and could not write.
        """

    def resume(self, stream: Stream) -> None:
        """Called when ``stream`` (a wrapped one) is writable again."""


def response_now(answer: Deferred[Response]) -> Response | None:
    """Return the response if it has come already, else None.

    It nearly always has: to do without a callback saves 1 µs for each request.
    """
    result = answer.result if answer.called else None
    return result if isinstance(result, Response) else None
