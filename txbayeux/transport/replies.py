"""The replies that a batch still waits for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from txbayeux.message import Malformed, Message, decode
from txbayeux.transport.base import NoReply

__all__ = ["PendingReplies", "read"]


class PendingReplies:
    """The messages of one batch that have not been answered.

    A transport needs to know when a batch is answered; which reply belongs to what is
    the dispatcher's concern.  Replies have ``successful``, deliveries do not; a reply
    without an ``id`` answers the oldest message on its channel.
    """

    __slots__ = ("_waiting",)

    def __init__(self, messages: Sequence[Message]) -> None:
        self._waiting = [(m.get("id"), m.get("channel")) for m in messages]

    @property
    def complete(self) -> bool:
        """Whether every message was answered."""
        return not self._waiting

    def note(self, messages: Iterable[Message]) -> None:
        """Remove what ``messages`` answer; other messages change nothing."""
        for message in messages:
            if not self._waiting:
                return
            if isinstance(message.get("successful"), bool):
                self._remove(message)

    def _remove(self, reply: Message) -> None:
        identity, channel = reply.get("id"), reply.get("channel")
        for index, (wanted_identity, wanted_channel) in enumerate(self._waiting):
            same = channel == wanted_channel and identity in (None, wanted_identity)
            if same:
                del self._waiting[index]
                return

    def require_complete(self) -> None:
        """Check that every message was answered.

        :raises NoReply: if one was not.
        """
        if self._waiting:
            channel = self._waiting[0][1]
            raise NoReply(f"the response holds no reply to {channel}")


def read(text: bytes | str) -> list[Message]:
    """Decode the messages of a response.

    :raises NoReply: if it is anything else: HTML, half a body, a list of numbers.
    """
    try:
        items = decode(text)
    except Malformed as error:
        raise NoReply(f"the response is not Bayeux: {error}") from None
    for item in items:
        if not isinstance(item, dict):
            raise NoReply(
                "the response is not Bayeux: it holds something else than messages"
            )
    return items
