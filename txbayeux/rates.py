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

__all__ = ["MAX_KEYS", "Rate", "TokenBuckets"]

MAX_KEYS: Final = 50_000
"""Buckets in one table, about 200 bytes each.

Where more keys are in use at the same time, those that have been used least recently
begin again with full buckets.
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


class TokenBuckets:
    """Token buckets of one rate, one for each key; at most :data:`MAX_KEYS`.

    There are two generations.  A bucket that is used moves to the young one.  Once that
    is as old as a bucket takes to fill, it becomes the old one, and what was left in
    the old one, which is full again, is dropped.  So no timer and no sweep is needed.

    :param seconds: returns the time in seconds.
    """

    def __init__(
        self, rate: Rate, seconds: Callable[[], float], *, max_keys: int = MAX_KEYS
    ) -> None:
        self._rate = rate.per_second
        self._burst = rate.burst
        self._seconds = seconds
        self._max_young = max(max_keys // 2, 1)
        # Of each bucket its tokens, and when they were counted.
        self._young: dict[str, list[float]] = {}
        self._old: dict[str, list[float]] = {}
        self._young_since = float("-inf")

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def take(self, key: str, count: int = 1) -> float:
        """Take tokens; return 0, or the seconds until there are enough.

        Nothing is taken if there are too few.  A full bucket is always enough: what is
        larger than it would otherwise be refused for ever.
        """
        bucket = self._filled(key)
        missing = min(count, self._burst) - bucket[0]
        if missing > 0:
            return missing / self._rate
        bucket[0] -= count
        return 0.0

    def charge(self, key: str, count: int) -> None:
        """Take tokens for what has been done already, even if there are too few."""
        self._filled(key)[0] -= count

    def _filled(self, key: str) -> list[float]:
        """Return a key's bucket as it is now."""
        now = self._seconds()
        bucket = self._young.get(key)
        if bucket is None:
            bucket = self._rejuvenate(key, now)
        # The clock may have been set back.
        elapsed = now - bucket[1]
        if elapsed:
            tokens = bucket[0] + elapsed * self._rate if elapsed > 0 else bucket[0]
            bucket[0] = tokens if tokens < self._burst else self._burst
            bucket[1] = now
        return bucket

    def _rejuvenate(self, key: str, now: float) -> list[float]:
        """Move a bucket to the young generation, or make it."""
        age = now - self._young_since
        if len(self._young) >= self._max_young or not (
            0 <= age < self._burst / self._rate
        ):
            self._old, self._young, self._young_since = self._young, {}, now
        bucket = self._old.pop(key, None) or [self._burst, now]
        self._young[key] = bucket
        return bucket
