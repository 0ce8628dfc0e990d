"""Which request a reply belongs to, and whether a batch is answered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from txbayeux.channel import is_service
from txbayeux.message import Malformed, Message, decode
from txbayeux.transport.base import NoReply, Receiver

__all__ = ["PendingReplies", "ReplyMatcher", "note_replies", "read", "response_reader"]

T = TypeVar("T")


class ReplyMatcher(Generic[T]):
    """Finds the request that a reply belongs to.

    A reply has ``successful``, which deliveries have not, and its request's ``id``. If
    a server echoes no ids, a reply belongs to the oldest request on its channel.  What
    a service answers to a remote call has both, and ``data``: it is a delivery.
    """

    __slots__ = ("_requests",)

    def __init__(self) -> None:
        self._requests: dict[object, tuple[object, T]] = {}

    def __len__(self) -> int:
        """Return how many requests have no reply."""
        return len(self._requests)

    def add(self, message: Message, request: T) -> None:
        """Expect a reply to ``message``."""
        identity = message.get("id")
        key = identity if isinstance(identity, str) else object()
        self._requests[key] = message.get("channel"), request

    def take(self, message: Message) -> T | None:
        """Return the request that ``message`` replies to, if any, and forget it."""
        if not isinstance(message.get("successful"), bool):
            return None
        identity, channel = message.get("id"), message.get("channel")
        if identity is not None and not isinstance(identity, str):
            return None
        if message.get("data") is not None and is_service(str(channel)):
            return None
        keys = list(self._requests) if identity is None else (identity,)
        for key in keys:
            found = self._requests.get(key)
            if found is not None and found[0] == channel:
                del self._requests[key]
                return found[1]
        return None

    def discard(self, message_id: str) -> T | None:
        """Forget the request with this id; return it if it had no reply."""
        found = self._requests.pop(message_id, None)
        return None if found is None else found[1]

    def unanswered(self) -> Iterable[T]:
        """Return the requests without a reply, the oldest first."""
        return [request for _, request in self._requests.values()]


class PendingReplies:
    """The messages of one batch that have not been answered.

    A transport needs to know when a batch is answered; what a reply means is the
    dispatcher's concern.
    """

    __slots__ = ("_messages",)

    def __init__(self, messages: Sequence[Message]) -> None:
        self._messages: ReplyMatcher[Message] = ReplyMatcher()
        for message in messages:
            self._messages.add(message, message)

    @property
    def complete(self) -> bool:
        """Whether every message was answered."""
        return not self._messages

    def take(self, reply: Message) -> bool:
        """Remove the message that ``reply`` answers; return whether there is one."""
        return self._messages.take(reply) is not None

    def require_complete(self) -> None:
        """Check that every message was answered.

        :raises NoReply: if one was not.
        """
        for message in self._messages.unanswered():
            raise NoReply(f"the response holds no reply to {message.get('channel')}")


def note_replies(
    messages: Iterable[Message], batches: Iterable[PendingReplies]
) -> None:
    """Remove what ``messages`` answer from ``batches``, which come oldest first."""
    batches = list(batches)
    for message in messages:
        for batch in batches:
            if batch.take(message):
                break


def response_reader(
    messages: Sequence[Message],
    receiver: Receiver,
    unwrap: Callable[[bytes], bytes] = bytes,
) -> Callable[[bytes], None]:
    """Return a function that passes on the body of the response to a batch.

    It raises NoReply if the body is not Bayeux, or does not answer every message.

    :param unwrap: returns the JSON in a body.
    """
    pending = PendingReplies(messages)

    def answered(body: bytes) -> None:
        received = read(unwrap(body))
        note_replies(received, [pending])
        receiver.received(received)
        pending.require_complete()

    return answered


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
