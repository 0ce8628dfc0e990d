"""Subscriptions: kept by the client, and made again in each new session."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final, Literal, TypeAlias, cast

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from txbayeux import channel as channels
from txbayeux.client import messages
from txbayeux.client.envelope import Envelope
from txbayeux.client.errors import BufferOverflow, Closed
from txbayeux.client.flow import Processing
from txbayeux.client.outbox import Outbox
from txbayeux.client.session import Session
from txbayeux.message import Message
from txbayeux.registration import call_listener

__all__ = [
    "BUFFER",
    "ChannelSubscription",
    "Listener",
    "Processed",
    "Subscription",
    "Subscriptions",
]

_log: Final = Logger()

BUFFER: Final = 65_536
"""Messages kept for an iterator: more than a response of 16 MiB has, if they are of
usual size.  Since connects wait for the reader, few others come."""

_MAX_UNPLACED: Final = 100
"""Channels without a subscription that are logged."""

Listener: TypeAlias = Callable[[Message], Any]
"""Called with each message, which it must not change.

It may return a Deferred or a coroutine, and is called with the next message before that
has finished.  What it raises is logged, and changes nothing for other listeners."""

Processed: TypeAlias = Literal["finished", "taken"]
"""When a message counts as processed.

``"finished"``: when the listener has returned, or the Deferred or coroutine that it
returned has finished, with success or not; for an iterator, when the next message is
asked for.  ``"taken"``: when the listener was called, or the iterator has returned it.
"""


class Subscription:
    """One listener's subscription to a channel or pattern.

    Without a listener it is an asynchronous iterator over its messages, for one
    reader: ``async for message in subscription``.  The iteration ends when the
    subscription is cancelled or the client is disconnected.  It raises
    :class:`~txbayeux.errors.BayeuxError` if the server refuses the subscription,
    and :class:`~txbayeux.client.BufferOverflow` once more than :data:`BUFFER` messages
    were not read in time, although the client receives no more for a while before.

    Made by :meth:`Client.subscribe() <txbayeux.client.Client.subscribe>`.
    """

    def __init__(
        self,
        channel: str,
        listener: Listener | None,
        cancel: Callable[[Subscription], None],
        processed: Processed = "finished",
    ) -> None:
        if processed not in ("finished", "taken"):
            raise ValueError(f"processed must be 'finished' or 'taken': {processed!r}")
        self.channel = channel
        """The channel or pattern."""
        self._listener = listener
        self._taking_suffices = processed == "taken"
        self._cancel = cancel
        self._state: bool | Exception | None = None
        self._waiting: list[Deferred[None]] = []
        self._active = True
        self._buffer: deque[tuple[Message, Processing | None]] = deque()
        self._current: Processing | None = None
        """The message that the iterator's reader works on."""
        self._overflown = False
        self._reader: Deferred[None] | None = None

    @property
    def ready(self) -> Deferred[None]:
        """A new Deferred, each time, for the server's answer.

        Fires with None once the server has confirmed the subscription.  Fails with
        :class:`~txbayeux.errors.BayeuxError` if the server refused it, and with
        :class:`~txbayeux.client.Closed` if it was cancelled, or the client was
        disconnected, before there was an answer.
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
        """Whether messages may still arrive."""
        return self._active

    def cancel(self) -> None:
        """Remove the listener.  Calling it again changes nothing.

        The last subscription of a channel unsubscribes from it.  What an iterator has
        not finished by now does not count as processed any more; it can still be read.
        """
        if self._active:
            self._cancel(self)
            self.closed(Closed(self.channel))
        self._give_up()

    def _give_up(self) -> None:
        unfinished = [processing for _, processing in self._buffer]
        unfinished.insert(0, self._current)
        self._current = None
        self._buffer = deque((message, None) for message, _ in self._buffer)
        for processing in unfinished:
            if processing is not None:
                processing.give_up()

    # Called by Subscriptions and Client.

    @property
    def watched(self) -> bool:
        """Whether a refusal is seen: by a reader, or a Deferred from :attr:`ready`."""
        return self._listener is None or bool(self._waiting)

    def confirmed(self) -> None:
        """Called when the server has accepted the subscription."""
        if self._state is None:
            self._settle(True)

    def closed(self, error: Exception) -> None:
        """Called when no message will arrive any more."""
        self._active = False
        if self._state is None or not isinstance(error, Closed):
            self._settle(error)
        self._wake()

    def _settle(self, state: bool | Exception) -> None:
        self._state = state
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            if isinstance(state, Exception):
                deferred.errback(state)
            else:
                deferred.callback(None)

    def deliver(self, message: Message, processing: Processing) -> None:
        """Called with a message for the subscription; does not raise."""
        if not self._active:
            return
        processing.begin()
        if self._listener is None:
            self._keep(message, processing)
            return
        working = call_listener(self.channel, self._listener, message)
        if working is None or self._taking_suffices:
            processing.end()
        else:
            working.addBoth(lambda _: processing.end())

    # The iterator.

    def _keep(self, message: Message, processing: Processing) -> None:
        if self._overflown:
            processing.drop()
            return
        if len(self._buffer) >= BUFFER:
            self._overflown = True
            _log.warn(
                "Dropping messages of {channel}: the iterator is not read",
                channel=self.channel,
            )
            processing.drop()
            return
        self._buffer.append((message, processing))
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
        self._finish()
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
                raise RuntimeError("a subscription may have one reader only")
            self._reader = Deferred(self._reader_cancelled)
            await self._reader
        message, processing = self._buffer.popleft()
        if processing is not None and self._taking_suffices:
            processing.end()
        else:
            self._current = processing
        return message

    def _finish(self) -> None:
        current, self._current = self._current, None
        if current is not None:
            current.end()

    def _reader_cancelled(self, deferred: Deferred[None]) -> None:
        self._reader = None


class ChannelSubscription:
    """The local subscriptions that share one on the server."""

    __slots__ = ("channel", "confirmed", "envelope", "message", "subscriptions")

    def __init__(self, message: Message, subscription: Subscription) -> None:
        self.channel = subscription.channel
        self.message = message
        """What is sent in each session."""
        self.subscriptions = {subscription: None}
        self.confirmed = False
        """Whether the server has accepted it in the current session."""
        self.envelope: Envelope | None = None
        """The subscribe message, in the current session."""


class Subscriptions:
    """All subscriptions, by channel.

    :param failed: is called when the server refuses a subscription, once for each
        channel, unless ``ready`` or an iterator reports it.
    """

    def __init__(
        self,
        session: Session,
        outbox: Outbox,
        failed: Callable[[Exception], None],
    ) -> None:
        self._session = session
        self._outbox = outbox
        self._on_failure = failed
        self._channels: dict[str, ChannelSubscription] = {}
        self._unplaced: set[str] = set()
        """Channels of messages that matched nothing, which are logged once each."""

    def add(self, subscription: Subscription, ext: Mapping[str, Any] | None) -> None:
        """Add a subscription; the first one of a channel subscribes to it.

        :raises TypeError, ValueError: for an ``ext`` that is not JSON, or not that of
            the others.
        """
        message = messages.subscribe(subscription.channel, ext)
        shared = self._channels.get(subscription.channel)
        if shared is None:
            shared = ChannelSubscription(message, subscription)
            self._channels[subscription.channel] = shared
            self._outbox.put(self._subscribe(shared))
            return
        if ext is not None and message != shared.message:
            raise ValueError(f"{shared.channel} is subscribed to with another ext")
        shared.subscriptions[subscription] = None
        if shared.confirmed:
            subscription.confirmed()

    def remove(self, subscription: Subscription) -> None:
        """Remove a subscription; the last one of a channel unsubscribes from it."""
        shared = self._channels.get(subscription.channel)
        if shared is None or subscription not in shared.subscriptions:
            return
        del shared.subscriptions[subscription]
        if shared.subscriptions:
            return
        del self._channels[subscription.channel]
        envelope = cast(Envelope, shared.envelope)
        self._outbox.drop(envelope)
        if envelope.attempts and self._session.id is not None:
            message = messages.unsubscribe(shared.channel)
            self._outbox.put(Envelope(message, self._outbox))

    def subscribe_again(self) -> None:
        """Subscribe to everything in a new session, ahead of all publishes."""
        again = [self._subscribe(shared) for shared in self._channels.values()]
        self._outbox.replace_meta(again)

    def take_all(self) -> list[Subscription]:
        """Forget all subscriptions; return them, to be closed."""
        taken, self._channels = self._channels, {}
        return [s for shared in taken.values() for s in shared.subscriptions]

    def _subscribe(self, shared: ChannelSubscription) -> Envelope:
        outcome: Deferred[Message] = Deferred()
        outcome.addCallbacks(
            lambda _: self._confirmed(shared),
            lambda failure: self._refused(shared, failure.value),
        )
        shared.confirmed = False
        shared.envelope = Envelope(shared.message, self._outbox, outcome=outcome)
        return shared.envelope

    def _confirmed(self, shared: ChannelSubscription) -> None:
        if self._channels.get(shared.channel) is shared:
            shared.confirmed = True
            for subscription in list(shared.subscriptions):
                subscription.confirmed()

    def _refused(self, shared: ChannelSubscription, error: Exception) -> None:
        if self._channels.get(shared.channel) is shared:
            del self._channels[shared.channel]
            subscriptions = list(shared.subscriptions)
            unseen = not all(subscription.watched for subscription in subscriptions)
            for subscription in subscriptions:
                subscription.closed(error)
            if unseen:
                self._on_failure(error)

    def deliver(self, message: Message, processing: Processing) -> None:
        """Pass a message to each subscription it matches, once each."""
        channel = message["channel"]
        found = self._matching(channel)
        for subscription in found:
            subscription.deliver(message, processing)
        if not found:
            self._log_unplaced(channel)

    def _log_unplaced(self, channel: str) -> None:
        if channel not in self._unplaced and len(self._unplaced) < _MAX_UNPLACED:
            self._unplaced.add(channel)
            _log.info(
                "Ignoring messages of {channel!r}, to which nothing is subscribed",
                channel=channel,
            )

    def _matching(self, channel: str) -> list[Subscription]:
        if not channels.is_deliverable(channel):
            return []
        found: list[Subscription] = []
        for pattern in channels.expand(channel):
            shared = self._channels.get(pattern)
            if shared is not None:
                found.extend(shared.subscriptions)
        if found:
            return found
        # The server may leave a subscription's filter out, or put its own in.
        names = channels.expand(channels.without_query(channel))
        for shared in self._channels.values():
            if channels.without_query(shared.channel) in names:
                found.extend(shared.subscriptions)
        return found
