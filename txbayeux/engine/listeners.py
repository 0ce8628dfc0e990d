"""Listeners in this process: callables that get what is published."""

from __future__ import annotations

from collections.abc import Callable

from txbayeux.channel import SubscriptionIndex
from txbayeux.message import Entry
from txbayeux.registration import Registration, call_listener

__all__ = ["Listeners"]


class Listeners:
    """Callables by channel name or pattern; called at the end of a reactor turn.

    Not at once: a listener may publish, and its message must not overtake the one
    that it was called with.
    """

    def __init__(self) -> None:
        self._index: SubscriptionIndex[Callable[[Entry], object]] = SubscriptionIndex()
        self._pending: list[Entry] = []
        self.exist = False
        """Whether there are any."""

    def add(self, pattern: str, listener: Callable[[Entry], object]) -> Registration:
        """Call ``listener`` with each entry whose channel ``pattern`` matches."""
        self._index.add(pattern, listener)
        self.exist = True

        def remove() -> None:
            self._index.remove(pattern, listener)
            self.exist = len(self._index) > 0

        return Registration(remove)

    def queue(self, entry: Entry) -> None:
        """Keep an entry for the listeners."""
        self._pending.append(entry)

    @property
    def pending(self) -> bool:
        """Whether entries are queued."""
        return bool(self._pending)

    def call(self) -> None:
        """Call the listeners with the queued entries; log what they raise."""
        pending, self._pending = self._pending, []
        for entry in pending:
            for listener in tuple(self._index.matching(entry.channel)):
                call_listener(entry.channel, listener, entry)
