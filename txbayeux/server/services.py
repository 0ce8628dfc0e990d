"""``/service/**``: what clients send to the server itself, and nobody else gets.

Bayeux specification, "Service Channels".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.logger import Logger

from txbayeux.channel import SubscriptionIndex
from txbayeux.message import Message

__all__ = ["ServiceChannels"]

_log: Final = Logger()


class ServiceChannels:
    """The process's own listeners on service channels."""

    def __init__(self) -> None:
        self._listeners: SubscriptionIndex[Callable[[Message], object]] = (
            SubscriptionIndex()
        )

    def listen(self, pattern: str, listener: Callable[[Message], object]) -> None:
        """Call ``listener`` with each message, its publisher's ``clientId`` in it."""
        self._listeners.add(pattern, listener)

    def unlisten(self, pattern: str, listener: Callable[[Message], object]) -> None:
        """Undo :meth:`listen`."""
        self._listeners.remove(pattern, listener)

    def handle(self, message: Message) -> None:
        """Hand a message to its listeners; one that raises is logged."""
        for listener in tuple(self._listeners.matching(message["channel"])):
            try:
                listener(message)
            except Exception:
                _log.failure(
                    "A listener on {channel} failed", channel=message["channel"]
                )
