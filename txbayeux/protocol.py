"""What a request is answered with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
from twisted.internet.defer import Deferred

from txbayeux.interfaces import Request, Stream
from txbayeux.message import Entry, Message

__all__ = ["Processor", "Response", "Returnable", "there"]


class Returnable(Protocol):
    """Messages that wait for the next connect if they could not be written."""

    @property
    def turn(self) -> int | None:
        """See :attr:`txbayeux.interfaces.Delivery.turn`."""

    def give_back(self) -> None:
        """See :meth:`txbayeux.interfaces.Delivery.give_back`."""


class Response(msgspec.Struct):
    """The answer to one request: replies and messages, in the order to send them.

    ``held``, if not None, is an answer that is not there yet: a connect that
    waits for messages, or an engine's word.  It fires with a further Response,
    never fails, and is to be cancelled when the connection goes away; it fires
    all the same, and what it then carries is to be given back.  A request over HTTP
    waits for it; over a socket, ``items`` are sent at once, and the next request is
    handled meanwhile.
    """

    items: Sequence[Message | Entry]
    held: Deferred[Response] | None = None
    delivery: Returnable | None = None

    def give_back(self) -> None:
        """Say that the connection was gone before ``items`` could be written."""
        if self.delivery is not None:
            self.delivery.give_back()


class Processor(Protocol):
    """The protocol, as adapters and the in-process transport see it."""

    def process(
        self,
        messages: Sequence[Any],
        request: Request | None,
        stream: Stream | None = None,
    ) -> Deferred[Response]:
        """Handle the messages of one request, in order.

        The items may be anything that JSON can be; each gets its answer.
        ``stream`` is what a connect among them hands messages to from then on
        (see :meth:`outlet`).  The Deferred does not fail.  Calls for one
        connection must wait for one another's Deferreds, not for ``held``.
        """

    def outlet(self, stream: Stream, request: Request) -> Stream:
        """Wrap a connection's stream, once, with the outgoing extensions.

        Gives ``stream`` itself where none wants published messages.
        """

    def attach(self, session_id: str, stream: Stream) -> Deferred[None]:
        """Send a session's messages to ``stream`` (an outlet) from now on.

        Fails with :class:`~txbayeux.errors.UnknownSession`.
        """

    def detach(self, stream: Stream, unsent: Sequence[Entry] = ()) -> None:
        """Hear that the connection behind ``stream`` (an outlet) is gone.

        ``unsent`` are entries that it was given and could not write.
        """

    def resume(self, stream: Stream) -> None:
        """Hear that ``stream`` (an outlet) is writable again."""


def there(answer: Deferred[Response]) -> Response | None:
    """Give an answer that is there already, None for one that is not, or failed.

    Nearly every one is: not to ask for a callback saves 1 µs of CPU each.
    """
    result = answer.result if answer.called else None
    return result if isinstance(result, Response) else None
