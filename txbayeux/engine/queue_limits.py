"""Closes sessions whose queues are over a limit, each its own or all together."""

from __future__ import annotations

from collections.abc import Callable, Collection
from heapq import nlargest
from itertools import islice
from operator import attrgetter
from typing import Final

from twisted.logger import Logger

from txbayeux.engine.backlog import Backlog
from txbayeux.engine.session import Session
from txbayeux.limits import Limits

__all__ = ["CLOSED_AT_ONCE", "NOTHING_WRITTEN", "QueueLimits"]

CLOSED_AT_ONCE: Final = 100
"""Sessions over a limit that are closed at once; the log line of each takes 40 µs."""

NOTHING_WRITTEN: Final = 1
"""Work of a flush that wrote nothing."""

_TOO_MANY: Final = "Session closed - too many messages waited"

_log: Final = Logger()


class QueueLimits:
    """The limits of the queues.

    :param backlog: what waits in all queues.
    :param flush: delivers the queue of a session; returns the work that it was.
    :param overflowed: called with a session to be closed, and the reason.
    """

    def __init__(
        self,
        limits: Limits,
        backlog: Backlog,
        *,
        flush: Callable[[Session], int],
        overflowed: Callable[[Session, str], None],
    ) -> None:
        self._limits = limits
        self._backlog = backlog
        self._flush = flush
        self._overflowed = overflowed
        self.full: dict[Session, None] = {}
        """Sessions that were found over their limit, and are not closed yet."""
        self.closed = 0
        """Sessions closed since the start."""

    @property
    def exceeded(self) -> bool:
        """Whether there is something to do for :meth:`enforce_some`."""
        return bool(self.full) or self._backlog.size > self._limits.queued_bytes

    def enforce_some(self, sessions: Collection[Session]) -> None:
        """Enforce the limits as far as one reactor turn allows.

        :param sessions: all that there are.
        """
        self.enforce_full()
        if self._backlog.size > self._limits.queued_bytes:
            self._close_largest(sessions)

    def enforce_full(self) -> None:
        """Enforce the limits of :attr:`full`, of most of them in a later turn."""
        for session in tuple(islice(self.full, CLOSED_AT_ONCE)):
            self.full.pop(session, None)
            self.enforce(session)

    def enforce(self, session: Session) -> None:
        """Deliver now if the queue is over its limit; close the session otherwise."""
        while session.ended is None and session.exceeds(self._limits):
            if self._flush(session) == NOTHING_WRITTEN:
                self.overflow(session, _TOO_MANY)
                return

    def overflow(self, session: Session, why: str) -> None:
        """Close a session, and log it."""
        self.closed += 1
        _log.warn(
            "{why} ({session}: {messages} messages, {size} bytes)",
            why=why,
            session=session,
            messages=len(session.queue),
            size=session.queued_bytes,
        )
        self._overflowed(session, why)

    def _close_largest(self, sessions: Collection[Session]) -> None:
        limit, size = self._limits.queued_bytes, self._backlog.size
        count = 0
        for session in nlargest(CLOSED_AT_ONCE, sessions, attrgetter("queued_bytes")):
            if self._backlog.size <= limit:
                break
            count += 1
            self.closed += 1
            self._overflowed(session, _TOO_MANY)
        _log.warn(
            "{count} sessions with the largest queues closed: {size} bytes waited in "
            "all, at most {limit} may",
            count=count,
            size=size,
            limit=limit,
        )
