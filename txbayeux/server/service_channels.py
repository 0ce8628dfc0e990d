"""Listeners of this process on ``/service/**``.

What clients publish there reaches the server only (Bayeux specification, "Service
Channels").
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from txbayeux.channel import SubscriptionIndex
from txbayeux.message import Message
from txbayeux.registration import Registration, call_listener

__all__ = ["ServiceChannels"]


class ServiceChannels:
    """The listeners on service channels."""

    def __init__(self) -> None:
        self._listeners: SubscriptionIndex[Callable[[Message], object]] = (
            SubscriptionIndex()
        )

    def listen(
        self, pattern: str, listener: Callable[[Message], object]
    ) -> Registration:
        """Call ``listener`` with each message on a channel name or pattern.

        The message has its publisher's ``clientId``, if it has a session.
        """
        added = partial(listener)  # never equal to another one, so never merged with it
        self._listeners.add(pattern, added)
        return Registration(partial(self._listeners.remove, pattern, added))

    def handle(self, message: Message) -> None:
        """Call the listeners; an exception from one is logged."""
        for listener in tuple(self._listeners.matching(message["channel"])):
            call_listener(message["channel"], listener, message)
