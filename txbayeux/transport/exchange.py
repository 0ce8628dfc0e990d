"""Which messages of a batch are still unanswered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from txbayeux.message import Malformed, Message, decode
from txbayeux.transport.base import NoReply

__all__ = ["Exchange", "read"]


class Exchange:
    """One batch on its way, and the replies that it still waits for.

    Replies are told from deliveries by ``successful``, and from one another by
    ``id``; a server that echoes no id is matched by channel, oldest first.
    """

    __slots__ = ("_waiting",)

    def __init__(self, messages: Sequence[Message]) -> None:
        self._waiting = [(m.get("id"), m.get("channel")) for m in messages]

    @property
    def complete(self) -> bool:
        """Whether every message was answered."""
        return not self._waiting

    def note(self, messages: Iterable[Message]) -> None:
        """Cross off what ``messages`` answer; others change nothing."""
        for message in messages:
            if not self._waiting:
                return
            if isinstance(message.get("successful"), bool):
                self._cross_off(message)

    def _cross_off(self, reply: Message) -> None:
        identity, channel = reply.get("id"), reply.get("channel")
        for index, (wanted_identity, wanted_channel) in enumerate(self._waiting):
            same = channel == wanted_channel and identity in (None, wanted_identity)
            if same:
                del self._waiting[index]
                return

    def require_complete(self) -> None:
        """Check the answer.

        :raises NoReply: if a message was not answered.
        """
        if self._waiting:
            channel = self._waiting[0][1]
            raise NoReply(f"the answer holds no reply to {channel}")


def read(text: bytes | str) -> list[Message]:
    """Read what a server sent.

    :raises NoReply: if it is anything but messages: HTML, half a body, a list
        of numbers.
    """
    try:
        items = decode(text)
    except Malformed as error:
        raise NoReply(f"the answer is not Bayeux: {error}") from None
    for item in items:
        if not isinstance(item, dict):
            raise NoReply(
                "the answer is not Bayeux: it holds something else than messages"
            )
    return items
