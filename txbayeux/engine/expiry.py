"""Wake-ups for many sessions on one delayed call."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from itertools import count
from typing import Final, Generic, Protocol, TypeVar

from twisted.logger import Logger

from txbayeux.interfaces import Clock, DelayedCall

__all__ = ["AWAKE", "ExpiryTimer", "Sleeper"]

AWAKE: Final = math.inf
"""``wake`` of a sleeper that no alarm is set for."""

_TURN: Final = 0.005
"""Seconds of a reactor turn for wake-ups: a mass expiry must not stall others."""

_log: Final = Logger()


class Sleeper(Protocol):
    """Something that an alarm can be set for."""

    wake: float
    """When it will be woken; kept by :class:`ExpiryTimer`, ``AWAKE`` at first."""


S = TypeVar("S", bound=Sleeper)


class ExpiryTimer(Generic[S]):
    """One alarm for each sleeper, which can be moved forward for free.

    A sleeper whose time is put off need not tell: it is woken at the old time,
    answers with the new one, and sleeps on.  So a session that connects twenty
    times a second costs one alarm in its holding time, not twenty a second.

    :param ring: is called at a sleeper's time and gives the next one, if any.
        Should it raise, that is logged and the sleeper is woken no more.
    """

    def __init__(self, clock: Clock, ring: Callable[[S], float | None]) -> None:
        self._clock = clock
        self._ring = ring
        self._heap: list[tuple[float, int, S]] = []
        self._order = count()
        self._stale = 0
        self._call: DelayedCall | None = None

    def set(self, sleeper: S, when: float) -> None:
        """Wake ``sleeper`` at ``when`` (clock seconds), or before, as already set."""
        if sleeper.wake <= when:
            return
        if sleeper.wake != AWAKE:
            self._stale += 1
        sleeper.wake = when
        heapq.heappush(self._heap, (when, next(self._order), sleeper))
        if self._heap[0][0] == when:
            self._schedule()

    def discard(self, sleeper: S) -> None:
        """Wake ``sleeper`` no more, and soon forget it."""
        if sleeper.wake == AWAKE:
            return
        sleeper.wake = AWAKE
        self._stale += 1
        if self._stale > 64 and self._stale > len(self._heap) // 2:
            self._heap = [item for item in self._heap if item[2].wake == item[0]]
            heapq.heapify(self._heap)
            self._stale = 0

    def stop(self) -> None:
        """Forget everything; leaves nothing in the reactor."""
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
        while self._heap and self._heap[0][0] <= now and seconds() < now + _TURN:
            when, _order, sleeper = heapq.heappop(self._heap)
            if sleeper.wake != when:
                self._stale = max(0, self._stale - 1)
                continue
            sleeper.wake = AWAKE
            try:
                following = self._ring(sleeper)
            except Exception:
                _log.failure("An alarm failed for {sleeper}", sleeper=sleeper)
                continue
            if following is not None:
                sleeper.wake = following
                heapq.heappush(self._heap, (following, next(self._order), sleeper))
        if self._heap:
            self._schedule()
