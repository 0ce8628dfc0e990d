"""Listeners in this process: callables that get what is published."""

from __future__ import annotations

from collections.abc import Callable, Iterator

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
        self.wanted: Callable[[str], object] | None = None
        """Called with each pattern that is listened to, if an engine asks for it."""
        self.unwanted: set[str] | None = None
        """Gets each pattern whose last listener is gone; None if no engine reads it."""

    def add(self, pattern: str, listener: Callable[[Entry], object]) -> Registration:
        """Call ``listener`` with each entry whose channel ``pattern`` matches."""
        self._index.add(pattern, listener)
        self.exist = True
        if self.wanted is not None:
            self.wanted(pattern)

        def remove() -> None:
            self._index.remove(pattern, listener)
            self.exist = len(self._index) > 0
            if self.unwanted is not None and pattern not in self._index:
                self.unwanted.add(pattern)

        return Registration(remove)

    def __contains__(self, pattern: str) -> bool:
        return pattern in self._index

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def any_for(self, channel: str) -> bool:
        """Return whether a listener gets what is published on ``channel``."""
        return self._index.count(channel) > 0

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
