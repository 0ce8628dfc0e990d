"""Whoever in this process wants to hear what is published."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.logger import Logger

from txbayeux.channel import SubscriptionIndex
from txbayeux.message import Entry

__all__ = ["Listeners"]

_log: Final = Logger()


class Listeners:
    """Callables, each on a channel name or pattern; told at the end of a turn."""

    def __init__(self) -> None:
        self._index: SubscriptionIndex[Callable[[Entry], None]] = SubscriptionIndex()
        self._heard: list[Entry] = []

    def add(self, pattern: str, listener: Callable[[Entry], None]) -> None:
        """See :meth:`txbayeux.interfaces.Engine.listen`."""
        self._index.add(pattern, listener)

    def remove(self, pattern: str, listener: Callable[[Entry], None]) -> None:
        """See :meth:`txbayeux.interfaces.Engine.unlisten`."""
        self._index.remove(pattern, listener)

    def hear(self, entry: Entry) -> None:
        """Keep an entry for them, if there are any."""
        if len(self._index):
            self._heard.append(entry)

    @property
    def waiting(self) -> bool:
        """Whether there is something to tell."""
        return bool(self._heard)

    def tell(self) -> None:
        """Tell them what was heard; one that raises is logged."""
        heard, self._heard = self._heard, []
        for entry in heard:
            for listener in tuple(self._index.matching(entry.channel)):
                try:
                    listener(entry)
                except Exception:
                    _log.failure(
                        "A listener on {channel} failed", channel=entry.channel
                    )
