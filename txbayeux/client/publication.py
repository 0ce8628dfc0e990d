"""What becomes of an envelope: of a publish, a subscription, and its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from txbayeux import channel as channels
from txbayeux.client.errors import PublishTimeout
from txbayeux.client.outbox import Envelope
from txbayeux.client.subscription import ChannelSubscription, Subscriptions
from txbayeux.errors import BayeuxError
from txbayeux.message import Message

__all__ = ["Publication", "subscribing", "unsubscribing"]


class Publication:
    """A publish, its deadline, and the Deferred that the user got."""

    def __init__(
        self,
        reactor: Any,
        deadline: float | None,
        abandon: Callable[[Envelope, Exception], None],
    ) -> None:
        if deadline is not None and not deadline >= 0:  # nor NaN
            raise ValueError("a deadline must not be negative")
        self._reactor = reactor
        self._deadline = deadline
        self._abandon = abandon
        self._timer: Any = None
        self._envelope: Envelope | None = None
        self.result: Deferred[Message] = Deferred(self._cancelled)

    def begin(self, envelope: Envelope) -> None:
        """Start the time that the deadline leaves."""
        self._envelope = envelope
        if self._deadline is not None:
            self._timer = self._reactor.callLater(self._deadline, self._expire)

    def _expire(self) -> None:
        self._timer = None
        if self._envelope is not None:
            channel = self._envelope.fields["channel"]
            expired = PublishTimeout(channel, "No reply before the deadline")
            self._abandon(self._envelope, expired)

    def _cancelled(self, deferred: Deferred[Message]) -> None:
        if self._envelope is not None:
            self._abandon(self._envelope, CancelledError())

    def _stop(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def answered(self, reply: Message) -> None:
        """See :class:`~txbayeux.client.outbox.Outcome`."""
        self._stop()
        if reply["successful"] is True:
            self.result.callback(reply)
        else:
            self.result.errback(BayeuxError.parse(reply.get("error")))

    def abandoned(self, error: Exception) -> None:
        """See :class:`~txbayeux.client.outbox.Outcome`."""
        self._stop()
        if not self.result.called:  # cancelled on hearing of what it is abandoned for
            self.result.errback(error)


class _Subscribing:
    def __init__(
        self, channel_subscription: ChannelSubscription, subscriptions: Subscriptions
    ) -> None:
        self._channel_subscription = channel_subscription
        self._subscriptions = subscriptions

    def answered(self, reply: Message) -> None:
        if reply["successful"] is True:
            self._subscriptions.confirmed(self._channel_subscription)
        else:
            error = BayeuxError.parse(reply.get("error"))
            self._subscriptions.refused(self._channel_subscription, error)

    def abandoned(self, error: Exception) -> None:
        self._subscriptions.refused(self._channel_subscription, error)


class _Unsubscribing:
    def answered(self, reply: Message) -> None:
        """Do nothing: nobody listens any more, whatever the server says."""

    def abandoned(self, error: Exception) -> None:
        """Do nothing: the session ends anyway."""


def subscribing(
    channel_subscription: ChannelSubscription, subscriptions: Subscriptions
) -> Envelope:
    """Make what subscribes to a channel in the current session."""
    fields = {
        "channel": channels.SUBSCRIBE,
        "subscription": channel_subscription.channel,
    }
    channel_subscription.confirmed = False
    channel_subscription.envelope = Envelope(
        fields, _Subscribing(channel_subscription, subscriptions)
    )
    return channel_subscription.envelope


def unsubscribing(channel_subscription: ChannelSubscription) -> Envelope:
    """Make what unsubscribes from it."""
    fields = {
        "channel": channels.UNSUBSCRIBE,
        "subscription": channel_subscription.channel,
    }
    return Envelope(fields, _Unsubscribing())
