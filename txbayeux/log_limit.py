"""Limits the log lines about events that may come in great numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from txbayeux.interfaces import Clock, DelayedCall

__all__ = ["LOG_INTERVAL", "LogLimit"]

LOG_INTERVAL: Final = 60.0
"""Minimum seconds between two log lines about the same kind of event."""


class LogLimit:
    """Logs an event at once, and those of the next minute together at its end.

    :param log: writes a line.  It is called with the number of events since the line
        before as ``count``, and the details of the latest one: often the method of a
        :class:`twisted.logger.Logger`, with the format.
    """

    def __init__(self, clock: Clock, log: Callable[..., object]) -> None:
        self._clock = clock
        self._log = log
        self._count = 0  # of events that are not logged yet
        self._details: dict[str, object] = {}  # of the latest event
        self._timer: DelayedCall | None = None
        self._stopped = False

    def add(self, count: int = 1, **details: object) -> None:
        """Log this many events, now or later; ignore them after :meth:`stop`."""
        self._count += count
        self._details = details
        if self._timer is None and not self._stopped:
            self._log_new()

    def stop(self) -> None:
        """Log what is left to be logged, and leave nothing in the reactor."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._log_new()

    def _log_new(self) -> None:
        self._timer = None
        if not self._count:
            return
        if not self._stopped:
            self._timer = self._clock.callLater(LOG_INTERVAL, self._log_new)
        count, self._count = self._count, 0
        self._log(count=count, **self._details)
