"""Work that can wait, a little of it in each reactor turn."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from twisted.logger import Logger

from txbayeux.interfaces import Clock, DelayedCall

__all__ = ["TURN", "Chores"]

TURN: Final = 0.002
"""Seconds of each reactor turn that chores may take."""

_log: Final = Logger()


class Chores:
    """Does what it is given, in that order, and lets others' traffic in between.

    When ten thousand clients leave in one instant, the others do not wait for it.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: deque[Callable[[], object]] = deque()
        self._call: DelayedCall | None = None

    def add(self, chore: Callable[[], object]) -> None:
        """Do this soon; should it raise, that is logged."""
        self._waiting.append(chore)
        if self._call is None:
            self._call = self._clock.callLater(0, self._run)

    def finish(self) -> None:
        """Do now all that waits; leaves nothing in the reactor."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._do(float("inf"))

    def _run(self) -> None:
        self._do(self._clock.seconds() + TURN)

    def _do(self, until: float) -> None:
        waiting = self._waiting
        while waiting and self._clock.seconds() < until:
            chore = waiting.popleft()
            try:
                chore()
            except Exception:
                _log.failure("A chore failed")
        self._call = self._clock.callLater(0, self._run) if waiting else None
