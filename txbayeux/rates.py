"""Rates, and the token buckets that enforce them.

A bucket holds up to ``burst`` tokens and is filled at ``per_second``.  What arrives
takes a token; where there is none it is refused.  So ``burst`` may come at once, and
``per_second`` for ever (nginx: ``rate`` and ``burst`` of ``limit_req``).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

__all__ = ["MAX_KEYS", "Rate", "Shortage", "TokenBuckets"]

MAX_KEYS: Final = 50_000
"""Buckets in one table, about 200 bytes each.

Where more keys are in use at the same time, those that have been used least recently
begin again with full buckets.
"""


_COARSE: Final = 0.1
"""Seconds in which a bucket that has enough is not filled.

To take tokens costs 0.3 µs then, instead of 0.8.  At most the tokens of this time are
taken beyond the burst.
"""


@dataclass(frozen=True, slots=True)
class Rate:
    """An average per second, and what may come at once.

    :raises ValueError: on construction, for a rate that is not above 0, or a burst that
        is not a whole number, 1 or more.
    """

    per_second: float
    burst: int

    def __post_init__(self) -> None:
        if not 0 < self.per_second < float("inf"):
            raise ValueError(f"a rate must be above 0: {self.per_second!r}")
        if self.burst < 1 or self.burst != int(self.burst):
            raise ValueError(f"a burst must be a positive integer: {self.burst!r}")

    def __str__(self) -> str:
        whole = int(self.per_second)
        written = whole if whole == self.per_second else self.per_second
        return f"{written}:{self.burst}"

    @classmethod
    def parse(cls, text: str) -> Rate | None:
        """Return the rate that is written as ``PER_SECOND:BURST``; None for ``0``.

        :raises ValueError: for anything else.
        """
        if text == "0":
            return None
        per_second, _, burst = text.partition(":")
        with suppress(ValueError):
            return cls(float(per_second), int(burst))
        raise ValueError("must be PER_SECOND:BURST, such as 20:1000, or 0 for no limit")


@dataclass(frozen=True, slots=True)
class Shortage:
    """Why tokens were not taken, and when they can be."""

    of_size: bool
    """Whether the size was too large; otherwise the number was."""
    seconds: float
    """The time until there are enough."""


class TokenBuckets:
    """Two token buckets for each key, for a number and for a size.

    They are kept for at most :data:`MAX_KEYS` keys, in two generations.  A key that is
    used moves to the young one.  Once that is as old as the buckets take to fill, it
    becomes the old one, and what was left in the old one, which is full again, is
    dropped.  So no timer and no sweep is needed.

    :param number: the rate of what is counted; None if it is not limited.
    :param size: the rate of their size: bytes, or deliveries.
    :param seconds: returns the time in seconds.
    """

    def __init__(
        self,
        number: Rate | None,
        size: Rate | None,
        seconds: Callable[[], float],
        *,
        max_keys: int = MAX_KEYS,
    ) -> None:
        rates = [rate for rate in (number, size) if rate is not None]
        # A bucket without a rate has room for everything.
        self._number_rate, self._number_burst = _figures(number)
        self._size_rate, self._size_burst = _figures(size)
        self._seconds = seconds
        self._lifetime = max((r.burst / r.per_second for r in rates), default=0.0)
        self._max_young = max(max_keys // 2, 1)
        # The tokens of both buckets, and when they were counted.
        self._young: dict[str, list[float]] = {}
        self._old: dict[str, list[float]] = {}
        self._young_since = float("-inf")

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def take(self, key: str, number: int = 1, size: int = 0) -> Shortage | None:
        """Take tokens from both buckets and return None.

        If one has too few, take none and return which.  A full bucket is always enough:
        what is larger than it would otherwise be refused for ever.
        """
        now = self._seconds()
        bucket = self._young.get(key)
        if (
            bucket is None
            or now - bucket[2] > _COARSE
            or bucket[0] < number
            or bucket[1] < size
        ):
            bucket = self._filled(key, now)
            if bucket[0] < number and bucket[0] < self._number_burst:
                missing = min(number, self._number_burst) - bucket[0]
                return Shortage(of_size=False, seconds=missing / self._number_rate)
            if bucket[1] < size and bucket[1] < self._size_burst:
                missing = min(size, self._size_burst) - bucket[1]
                return Shortage(of_size=True, seconds=missing / self._size_rate)
        bucket[0] -= number
        bucket[1] -= size
        return None

    def charge(self, key: str, number: int) -> None:
        """Take tokens for what :meth:`take` was called for, even if there are too few.

        What comes next waits for them.
        """
        bucket = self._young.get(key)
        if bucket is not None:
            bucket[0] -= number

    def _filled(self, key: str, now: float) -> list[float]:
        """Return a key's buckets as they are now."""
        bucket = self._young.get(key)
        if bucket is None:
            bucket = self._rejuvenate(key, now)
        elapsed = max(now - bucket[2], 0)  # The clock may have been set back.
        bucket[0] = min(bucket[0] + elapsed * self._number_rate, self._number_burst)
        bucket[1] = min(bucket[1] + elapsed * self._size_rate, self._size_burst)
        bucket[2] = now
        return bucket

    def _rejuvenate(self, key: str, now: float) -> list[float]:
        """Move a key to the young generation, or make its buckets."""
        age = now - self._young_since
        if len(self._young) >= self._max_young or not 0 <= age < self._lifetime:
            self._old, self._young, self._young_since = self._young, {}, now
        full = [self._number_burst, self._size_burst, now]
        bucket = self._young[key] = self._old.pop(key, full)
        return bucket


def _figures(rate: Rate | None) -> tuple[float, float]:
    return (0.0, float("inf")) if rate is None else (rate.per_second, rate.burst)
