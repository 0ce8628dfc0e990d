"""Timers of many sessions on one delayed call of the reactor.

What expires, and when, is decided by the hub.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from itertools import count
from typing import Final, Generic, Protocol, TypeVar

from twisted.logger import Logger

from txbayeux.interfaces import Clock, DelayedCall

__all__ = ["NEVER", "TIME_SLICE", "Expiring", "ExpiryTimer"]

NEVER: Final = math.inf
"""``wakes_at`` of an object without a timer."""

TIME_SLICE: Final = 0.005
"""Seconds of one reactor turn spent on timers: a mass expiry must not stall others."""

_log: Final = Logger()


class Expiring(Protocol):
    """An object that a timer can be set for."""

    wakes_at: float
    """When its timer fires, in clock seconds; kept by :class:`ExpiryTimer`."""


E = TypeVar("E", bound=Expiring)


class ExpiryTimer(Generic[E]):
    """A timer for each object.

    Timers are postponed lazily: one fires at the old time, and ``expire`` returns the
    new one, so that frequent connects reset nothing.

    :param expire: called when an object's timer fires; returns the next time in clock
        seconds, or None.  An exception is logged, and the object's timer is removed.
    """

    def __init__(self, clock: Clock, expire: Callable[[E], float | None]) -> None:
        self._clock = clock
        self._expire = expire
        self._heap: list[tuple[float, int, E]] = []
        self._order = count()
        self._stale = 0
        self._call: DelayedCall | None = None

    def __len__(self) -> int:
        """Return how many timers are kept, discarded ones included."""
        return len(self._heap)

    def set(self, item: E, when: float) -> None:
        """Expire ``item`` at ``when`` (clock seconds), unless it expires earlier."""
        if item.wakes_at <= when:
            return
        if item.wakes_at != NEVER:
            self._stale += 1
        item.wakes_at = when
        heapq.heappush(self._heap, (when, next(self._order), item))
        if self._heap[0][0] == when:
            self._schedule()

    def discard(self, item: E) -> None:
        """Remove the timer of ``item``, if it has one."""
        if item.wakes_at == NEVER:
            return
        item.wakes_at = NEVER
        self._stale += 1
        if self._stale > 64 and self._stale > len(self._heap) // 2:
            self._heap = [t for t in self._heap if t[2].wakes_at == t[0]]
            heapq.heapify(self._heap)
            self._stale = 0

    def stop(self) -> None:
        """Remove all timers; leaves nothing in the reactor."""
        self._heap.clear()
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None

    def _schedule(self) -> None:
        delay = max(0.0, self._heap[0][0] - self._clock.seconds())
        if self._call is not None and self._call.active():
            self._call.reset(delay)
        else:
            self._call = self._clock.callLater(delay, self._run)

    def _run(self) -> None:
        seconds = self._clock.seconds
        now = seconds()
        while self._heap and self._heap[0][0] <= now and seconds() < now + TIME_SLICE:
            when, _order, item = heapq.heappop(self._heap)
            if item.wakes_at != when:
                self._stale = max(0, self._stale - 1)
                continue
            item.wakes_at = NEVER
            try:
                following = self._expire(item)
            except Exception:
                _log.failure("The timer of {item} failed", item=item)
                continue
            if following is not None:
                # A callback may have set an earlier time meanwhile.
                self.set(item, following)
        if self._heap:
            self._schedule()
