"""Which transport to use: the best that both sides have and that works here.

Pure bookkeeping; the time is an argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from txbayeux.transport.base import TransportError, TransportUnavailable, Unreachable

__all__ = ["Selection"]

FIRST_DEMOTION: Final = 60.0
"""Seconds before a transport that does not work here is tried again."""
LONGEST_DEMOTION: Final = 3600.0
"""Each demotion in a row is twice as long as the one before, up to this."""
MAX_FAILURES: Final = 3
"""Failures in a row after which a transport is taken to be the reason.

One may be a server that restarts behind a proxy."""


class Selection:
    """The transports in order of preference, and which are demoted until when."""

    __slots__ = ("_demoted", "_failures", "_offered", "_preferred")

    def __init__(self, preferred: Sequence[str]) -> None:
        self._preferred = tuple(preferred)
        self._offered = frozenset(preferred)
        self._demoted: dict[str, tuple[float, float]] = {}
        self._failures: dict[str, int] = {}

    @property
    def types(self) -> tuple[str, ...]:
        """What to offer in a handshake."""
        return self._preferred

    def offered(self, types: Iterable[object]) -> bool:
        """Hear what the server offers; give whether any of it can be used."""
        common = frozenset(t for t in types if t in self._preferred)
        if not common:
            return False
        self._offered = common
        return True

    def forget_offer(self) -> None:
        """Hear that another handshake begins: everything is open again."""
        self._offered = frozenset(self._preferred)

    def best(self, now: float) -> str:
        """Give the connection type to use.

        Where all are demoted, the one whose demotion ends first: something must
        be tried.
        """
        candidates = [name for name in self._preferred if name in self._offered]
        for name in candidates:
            if name not in self._demoted or self._demoted[name][0] <= now:
                return name
        return min(candidates, key=lambda name: self._demoted[name][0])

    def failed(self, name: str, error: TransportError, now: float) -> None:
        """Hear of a failure; demotes what cannot be used."""
        if isinstance(error, Unreachable):  # that would hold for all of them
            return
        failures = self._failures.get(name, 0) + 1
        if failures < MAX_FAILURES and not isinstance(error, TransportUnavailable):
            self._failures[name] = failures
            return
        self._failures[name] = 0
        last = self._demoted.get(name, (0.0, 0.0))[1]
        length = min(max(2 * last, FIRST_DEMOTION), LONGEST_DEMOTION)
        self._demoted[name] = (now + length, length)

    def worked(self, name: str) -> None:
        """Hear that a connect over ``name`` succeeded."""
        self._failures.pop(name, None)
        self._demoted.pop(name, None)
