"""How long to wait before trying again: pure arithmetic, no clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Backoff", "Retry"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """The retry policy; all times in seconds.

    The wait before the n-th attempt in a row is ``initial * factor ** (n - 1)``,
    at most ``maximum``, of which between half and all is waited, at random
    ("equal jitter"), so that the clients of a restarted server do not come back
    as one.  With the defaults that is at most seven attempts in ten seconds.

    :raises ValueError: on construction, for times that are not positive, a
        ``factor`` below 1, or a ``maximum`` below ``initial``.
    """

    initial: float = 0.5
    factor: float = 2.0
    """Precedent: AWS's and gRPC's back-off; Twisted's ClientService has 1.5."""
    maximum: float = 30.0
    """Precedent: Twisted's ClientService waits 60 s at most, Salesforce asks for 30."""
    stable: float = 1.5
    """How long a session must have been up to count as recovered.

    Nor does it count before it was up as long as the wait before it: a server
    that accepts each handshake and forgets it at once is never asked in a loop.
    Nor is one that advises intervals shorter than this with its failures.
    """

    def __post_init__(self) -> None:
        if self.initial <= 0 or self.stable <= 0:
            raise ValueError("initial and stable must be positive")
        if self.factor < 1 or self.maximum < self.initial:
            raise ValueError("factor must be at least 1, maximum at least initial")


class Backoff:
    """The waits of one thing that is tried again and again."""

    __slots__ = ("_attempts", "_policy", "_random", "last")

    def __init__(self, policy: Retry, random: Callable[[], float]) -> None:
        """:param random: gives a number from 0 up to, not including, 1."""
        self._policy = policy
        self._random = random
        self._attempts = 0
        self.last = 0.0
        """The wait given last, in seconds; 0 after a reset."""

    def next(self) -> float:
        """Count a failure; give the seconds to wait before the next attempt."""
        policy = self._policy
        # At the maximum the exponent no longer grows: no overflow in a year.
        whole = policy.initial * policy.factor**self._attempts
        if whole < policy.maximum:
            self._attempts += 1
        whole = min(whole, policy.maximum)
        self.last = whole * (0.5 + self._random() / 2)
        return self.last

    def succeeded(self, seconds: float) -> None:
        """Hear that what failed has been up for ``seconds`` meanwhile."""
        if seconds >= max(self._policy.stable, self.last):
            self.reset()

    def reset(self) -> None:
        """Forget the failures."""
        self._attempts = 0
        self.last = 0.0
