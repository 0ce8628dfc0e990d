"""Entries with many subscribers, which are queued in several reactor turns."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from itertools import islice
from typing import Final

from txbayeux.engine.session import Session
from txbayeux.message import Entry

__all__ = ["MAX_ENTRIES", "SLICE", "LargeEntries"]

SLICE: Final = 10_000
"""Sessions for which an entry is queued in one reactor turn; up to 1 µs each.

So many are seldom in the processor's caches: see :data:`txbayeux.engine.hub.TURN_WORK`.
"""

MAX_ENTRIES: Final = 10
"""Entries that wait; each takes 50 bytes a subscriber.  More are queued at once."""


class LargeEntries:
    """Entries in log order, each with the sessions for which it is not queued yet.

    A session whose queue is read, or is to get a later entry, comes first:
    see :meth:`take_for`.
    """

    __slots__ = ("entries",)

    def __init__(self) -> None:
        self.entries: deque[tuple[Entry, dict[Session, None]]] = deque()
        """Read-only for others."""

    @property
    def full(self) -> bool:
        """Whether as many wait as may."""
        return len(self.entries) >= MAX_ENTRIES

    def last_before(self, position: int) -> int:
        """Return up to which position all is queued, ``position`` if none waits."""
        return self.entries[0][0].position - 1 if self.entries else position

    def add(self, entry: Entry, sessions: Collection[Session]) -> None:
        """Keep ``entry`` for these sessions."""
        self.entries.append((entry, dict.fromkeys(sessions)))

    def take(self, count: float) -> tuple[Entry, Sequence[Session]]:
        """Return the first entry and the next sessions for it, at most ``count``."""
        entry, sessions = self.entries[0]
        if count >= len(sessions):
            self.entries.popleft()
            return entry, tuple(sessions)
        chosen = tuple(islice(sessions, int(count)))
        for session in chosen:
            del sessions[session]
        return entry, chosen

    def take_for(self, session: Session) -> Sequence[Entry]:
        """Return what waits for ``session``, in order; it no longer does."""
        found = []
        for entry, sessions in self.entries:
            if session in sessions:
                del sessions[session]
                found.append(entry)
        return found

    def clear(self) -> None:
        """Remove all."""
        self.entries.clear()
