"""Closes sessions whose queues are over a limit, each its own or all together."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from heapq import nlargest
from itertools import islice
from operator import attrgetter
from typing import Final

from twisted.logger import Logger

from txbayeux.engine.backlog import Backlog
from txbayeux.engine.session import Session
from txbayeux.interfaces import Clock
from txbayeux.limits import Limits
from txbayeux.log_limit import LogLimit

__all__ = ["CLOSED_AT_ONCE", "NOTHING_WRITTEN", "QueueLimits"]

CLOSED_AT_ONCE: Final = 100
"""Sessions over a limit that are closed at once: 0.4 ms each for 4,096 messages."""

NOTHING_WRITTEN: Final = 1
"""Work of a flush that wrote nothing."""

_TOO_MANY: Final = "Session closed - too many messages waited"

_LARGEST: Final = (
    "{count} sessions with the largest queues closed: {size} bytes waited in all, at "
    "most {limit} may"
)

_log: Final = Logger()


class QueueLimits:
    """The limits of the queues.

    :param backlog: what waits in all queues.
    :param flush: delivers the queue of a session; returns the work that it was.
    :param overflowed: called with a session to be closed, and the reason.
    """

    def __init__(
        self,
        clock: Clock,
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
        self._closed_log = LogLimit(clock, _log_closed)
        self._largest_log = LogLimit(clock, partial(_log.warn, _LARGEST))

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
        self._closed_log.add(
            why=why,
            session=repr(session),
            messages=len(session.queue),
            size=session.queued_bytes,
        )
        self._overflowed(session, why)

    def stop(self) -> None:
        """Log what is left to be logged, and leave nothing in the reactor."""
        self._closed_log.stop()
        self._largest_log.stop()

    def _close_largest(self, sessions: Collection[Session]) -> None:
        limit, size = self._limits.queued_bytes, self._backlog.size
        count = 0
        for session in nlargest(CLOSED_AT_ONCE, sessions, attrgetter("queued_bytes")):
            if self._backlog.size <= limit:
                break
            count += 1
            self.closed += 1
            self._overflowed(session, _TOO_MANY)
        self._largest_log.add(count, size=size, limit=limit)


def _log_closed(count: int, **details: object) -> None:
    """Log that sessions were closed, of which ``details`` describe one."""
    several = "{count} sessions closed, the last: " if count > 1 else ""
    one = "{why} ({session}: {messages} messages, {size} bytes)"
    _log.warn(several + one, count=count, **details)
