"""What the user listens to, apart from whether anybody is connected."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, TypeAlias

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from txbayeux import channel as channels
from txbayeux.client.errors import BufferOverflow, Closed
from txbayeux.client.listening import tell
from txbayeux.client.outbox import Envelope
from txbayeux.message import Message

__all__ = ["BUFFER", "ChannelSubscription", "Listener", "Subscription", "Subscriptions"]

_log: Final = Logger()

BUFFER: Final = 4096
"""Messages kept for an iterator that does not read; as many as our server queues."""

Listener: TypeAlias = Callable[[Message], Any]
"""Gets each message, which it must not change.  It may give a Deferred or a
coroutine; what it raises is logged, and changes nothing for other listeners."""


class Subscription:
    """One listener's channel_subscription in a channel or pattern.

    Without a listener it is an asynchronous iterator over its messages, for one
    reader: ``async for message in subscription``.  The iteration ends when the
    subscription or the client is closed.  It raises
    :class:`~txbayeux.errors.BayeuxError` if the server refuses the subscription,
    and :class:`~txbayeux.client.BufferOverflow` once more than :data:`BUFFER` messages
    were not read in time.
    """

    def __init__(
        self,
        channel: str,
        listener: Listener | None,
        cancel: Callable[[Subscription], None],
    ) -> None:
        self.channel = channel
        """The channel or pattern."""
        self._listener = listener
        self._cancel = cancel
        self._state: bool | Exception | None = None
        self._waiting: list[Deferred[None]] = []
        self._active = True
        self._buffer: deque[Message] = deque()
        self._overflown = False
        self._reader: Deferred[None] | None = None

    @property
    def ready(self) -> Deferred[None]:
        """A Deferred, a new one each time, that tells of the server's answer.

        Fires with None once the server has confirmed the subscription; fails with
        :class:`~txbayeux.errors.BayeuxError` if it refused it, and with
        :class:`~txbayeux.client.Closed` if it was cancelled before.
        """
        result: Deferred[None] = Deferred(self._waiting_cancelled)
        if self._state is None:
            self._waiting.append(result)
        elif isinstance(self._state, Exception):
            result.errback(self._state)
        else:
            result.callback(None)
        return result

    def _waiting_cancelled(self, deferred: Deferred[None]) -> None:
        if deferred in self._waiting:
            self._waiting.remove(deferred)

    @property
    def active(self) -> bool:
        """Whether messages may still come."""
        return self._active

    def cancel(self) -> None:
        """Listen no more; the last one of a channel unsubscribes from it."""
        if self._active:
            self._cancel(self)
            self.closed(Closed(self.channel))

    # What the client tells.

    def confirmed(self) -> None:
        """Hear that the server accepted the subscription."""
        self._settle(True)

    def closed(self, error: Exception) -> None:
        """Hear that no message will come any more."""
        self._active = False
        if self._state is None or not isinstance(error, Closed):
            self._settle(error, again=True)
        self._wake()

    def _settle(self, state: bool | Exception, *, again: bool = False) -> None:
        if self._state is not None and not again:
            return
        self._state = state
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            if isinstance(state, Exception):
                deferred.errback(state)
            else:
                deferred.callback(None)

    def deliver(self, message: Message) -> None:
        """Pass a message on; must not raise."""
        if not self._active:
            return
        if self._listener is None:
            self._keep(message)
        else:
            tell(self.channel, self._listener, message)

    # The iterator.

    def _keep(self, message: Message) -> None:
        if self._overflown:
            return
        if len(self._buffer) >= BUFFER:
            self._overflown = True
            _log.warn("Nobody reads {channel}: dropping", channel=self.channel)
            return
        self._buffer.append(message)
        self._wake()

    def _wake(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.callback(None)

    def __aiter__(self) -> AsyncIterator[Message]:
        if self._listener is not None:
            raise TypeError("a subscription with a listener cannot be iterated over")
        return self

    async def __anext__(self) -> Message:
        while not self._buffer:
            if self._overflown:
                self._overflown = False
                raise BufferOverflow(self.channel)
            if not self._active:
                if isinstance(self._state, Exception) and not isinstance(
                    self._state, Closed
                ):
                    raise self._state
                raise StopAsyncIteration
            if self._reader is not None:
                raise RuntimeError("a subscription is iterated over by one reader")
            self._reader = Deferred(self._reader_cancelled)
            await self._reader
        return self._buffer.popleft()

    def _reader_cancelled(self, deferred: Deferred[None]) -> None:
        self._reader = None


class ChannelSubscription:
    """A channel that somebody listens to."""

    __slots__ = ("channel", "confirmed", "envelope", "subscriptions")

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self.subscriptions: dict[Subscription, None] = {}
        self.confirmed = False
        self.envelope: Envelope | None = None
        """What subscribes to it, in the current session."""


class Subscriptions:
    """All subscriptions, by channel."""

    def __init__(self) -> None:
        self._interests: dict[str, ChannelSubscription] = {}

    def __len__(self) -> int:
        return len(self._interests)

    def add(self, subscription: Subscription) -> ChannelSubscription | None:
        """Give the new channel_subscription if the channel must be subscribed to."""
        channel_subscription = self._interests.get(subscription.channel)
        is_new = channel_subscription is None
        if channel_subscription is None:
            channel_subscription = self._interests[subscription.channel] = (
                ChannelSubscription(subscription.channel)
            )
        channel_subscription.subscriptions[subscription] = None
        if channel_subscription.confirmed:
            subscription.confirmed()
        return channel_subscription if is_new else None

    def remove(self, subscription: Subscription) -> ChannelSubscription | None:
        """Give the channel_subscription that this ends, if nobody else has it."""
        channel_subscription = self._interests.get(subscription.channel)
        if (
            channel_subscription is None
            or subscription not in channel_subscription.subscriptions
        ):
            return None
        del channel_subscription.subscriptions[subscription]
        if channel_subscription.subscriptions:
            return None
        del self._interests[subscription.channel]
        return channel_subscription

    def all(self) -> list[ChannelSubscription]:
        """Give what to subscribe to in a new session, in the order it was asked for."""
        return list(self._interests.values())

    def is_current(self, channel_subscription: ChannelSubscription) -> bool:
        """Tell whether ``channel_subscription`` is still that in its channel."""
        return self._interests.get(channel_subscription.channel) is channel_subscription

    def confirmed(self, channel_subscription: ChannelSubscription) -> None:
        """Hear that the server accepted a subscription."""
        if self.is_current(channel_subscription):
            channel_subscription.confirmed = True
            for subscription in list(channel_subscription.subscriptions):
                subscription.confirmed()

    def refused(
        self, channel_subscription: ChannelSubscription, error: Exception
    ) -> None:
        """Hear that the server refused one: its listeners get nothing any more."""
        if self.is_current(channel_subscription):
            del self._interests[channel_subscription.channel]
            for subscription in list(channel_subscription.subscriptions):
                subscription.closed(error)

    def take(self) -> list[Subscription]:
        """Forget all of them; give them, to be closed."""
        interests, self._interests = self._interests, {}
        return [
            s
            for channel_subscription in interests.values()
            for s in channel_subscription.subscriptions
        ]

    def deliver(self, message: Message) -> None:
        """Pass a message to each subscription it matches, once each."""
        name = message["channel"]
        if not channels.is_name(name):
            return
        found: list[Subscription] = []
        for pattern in channels.expand(name):
            channel_subscription = self._interests.get(pattern)
            if channel_subscription is not None:
                found.extend(channel_subscription.subscriptions)
        for subscription in found:
            subscription.deliver(message)
