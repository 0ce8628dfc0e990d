"""How long to wait before the next handshake, connect or batch.

Pure arithmetic: no clock, times are arguments in seconds.
"""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Callable
from typing import Final

from txbayeux.client.advice import RETRY, Advice
from txbayeux.message import Message

__all__ = ["DEFAULT_HOLD", "Backoff", "HandshakeLimit", "ReconnectPolicy", "Retry"]

DEFAULT_HOLD: Final = 60.0
"""Seconds for which a server is asked to hold a connect before it has advised a
timeout; precedent: Faye's ``CONNECTION_TIMEOUT``."""
LONGEST_HOLD: Final = 600.0
"""Upper bound, in seconds, on an advised timeout."""
HELD: Final = 1.0
"""A connect that was answered sooner than this, in seconds, and without messages,
was not held.  A server that never holds one is polled at growing intervals, up to
:data:`IDLE_MAXIMUM`."""
IDLE_MAXIMUM: Final = 5.0
MAX_HANDSHAKES: Final = 9
"""Handshakes in any ten seconds, whatever a server does."""
_HANDSHAKE_SECONDS: Final = 10.0
MAX_FIRST_STEP: Final = 3
"""By how many steps the first delay is raised at most when a connection was lost, after
sessions that were short."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """The retry policy; all times in seconds.

    The delay before the n-th attempt in a row is ``initial * factor ** (n - 1)``, at
    most ``maximum``, with 50 to 100 % jitter ("equal jitter"), so that the clients of
    a restarted server do not all return at once.  With the defaults there are at most
    seven attempts in ten seconds.

    :raises ValueError: on construction, for times that are not positive, a
        ``factor`` or ``attempts`` below 1, or a ``maximum`` below ``initial``.
    """

    initial: float = 0.5
    """Seconds before the first retry."""
    factor: float = 2.0
    """Precedent: AWS's and gRPC's back-off; Twisted's ClientService has 1.5."""
    maximum: float = 30.0
    """Precedent: Twisted's ClientService waits 60 s at most, Salesforce asks for 30."""
    stable: float = 1.5
    """Seconds for which a session must have been up for the delays to start over.

    After a shorter time they start one step higher than the last time, so that a
    server which accepts each handshake and forgets the session at once is not retried
    in a tight loop.  If only the connection was lost, they start at most three steps
    higher, and not at all once the server cannot be reached.  For the same reason an
    interval shorter than this that a server advises along with a failure is lengthened.
    """
    attempts: int | None = None
    """Handshakes and connects that may fail in a row, from 1; None for no limit.

    After that many the client stops, as if the server had refused it for good.
    """

    def __post_init__(self) -> None:
        if self.initial <= 0 or self.stable <= 0:
            raise ValueError("initial and stable must be positive")
        if self.factor < 1 or self.maximum < self.initial:
            raise ValueError("factor must be at least 1, maximum at least initial")
        if self.attempts is not None and self.attempts < 1:
            raise ValueError("there must be at least one attempt")


class Backoff:
    """Exponential back-off with jitter for one repeated operation.

    :param random: returns a number from 0 up to, not including, 1.
    """

    __slots__ = ("_attempts", "_policy", "_random", "_steps")

    def __init__(self, policy: Retry, random: Callable[[], float]) -> None:
        self._policy = policy
        self._random = random
        self._attempts = 0
        # Beyond the maximum the exponent must not grow: the power could overflow.
        growth = math.log(policy.factor)
        ratio = math.log(policy.maximum / policy.initial)
        self._steps = math.ceil(ratio / growth) if growth else 0

    def first(self) -> float:
        """Return the delay before a first retry, and count no failure."""
        return self._delay(0)

    def next(self) -> float:
        """Count a failure, and return the seconds to wait before the next attempt."""
        delay = self._delay(self._attempts)
        self._attempts = min(self._attempts + 1, self._steps)
        return delay

    def reset(self, failures: int = 0) -> None:
        """Forget all failures but so many."""
        self._attempts = min(failures, self._steps)

    def _delay(self, failures: int) -> float:
        delay = self._policy.initial * self._policy.factor**failures
        return min(delay, self._policy.maximum) * (0.5 + self._random() / 2)


class HandshakeLimit:
    """Keeps a client from more than :data:`MAX_HANDSHAKES` in ten seconds.

    It takes a server that fails in turns at the right moments to reach it.
    """

    __slots__ = ("_times",)

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=MAX_HANDSHAKES)

    def sent(self, now: float) -> None:
        """Called when a handshake is sent, at time ``now``."""
        self._times.append(now)

    def pause(self, now: float) -> float:
        """Return the seconds to wait at least before the next one."""
        if len(self._times) < MAX_HANDSHAKES:
            return 0.0
        left = self._times[0] + _HANDSHAKE_SECONDS - now
        return min(max(left, 0.0), _HANDSHAKE_SECONDS)  # the clock may be set


class ReconnectPolicy:
    """The delays of the session: the advice in force, and back-off after failures."""

    def __init__(self, retry: Retry, random: Callable[[], float]) -> None:
        self.advice = Advice()
        """The advice in force."""
        self._retry = retry
        self._failures = Backoff(retry, random)
        idle = dataclasses.replace(retry, maximum=max(IDLE_MAXIMUM, retry.initial))
        self._idle = Backoff(idle, random)
        self.handshakes = HandshakeLimit()
        self.first_hold = 0.0
        """Seconds for which the server may hold a connect that asks for an immediate
        answer: none, unless it has not given one."""
        self._up_since: float | None = None
        self._failed = 0
        self._short_sessions = 0
        """How many sessions in a row were up for less than ``stable`` seconds."""
        self._raised = False
        """Whether the delays began higher than at the first one."""
        self._may_lose = False
        """Whether the loss of the session is what is left of an outage, no new one."""

    @property
    def exhausted(self) -> int:
        """How many attempts failed, if no more are allowed; otherwise 0."""
        allowed = self._retry.attempts
        return 0 if allowed is None or self._failed < allowed else self._failed

    def start_anew(self) -> None:
        """Forget all failures: the user wants another attempt."""
        self._failed = self._short_sessions = 0
        self._failures.reset()

    def advise(self, reply: Message, connection_type: str) -> None:
        """Apply the advice of a reply, if it has any."""
        self.advice = self.advice.updated(reply.get("advice"), connection_type)

    def advise_anew(self, reply: Message, connection_type: str) -> None:
        """Apply the advice of a reply, with ``reconnect`` reset to ``retry`` first."""
        self.advice = dataclasses.replace(self.advice, reconnect=RETRY)
        self.advise(reply, connection_type)

    @property
    def hold(self) -> float:
        """Seconds for which the server is asked to hold a connect at most."""
        advised = self.advice.timeout
        return min(DEFAULT_HOLD if advised is None else advised, LONGEST_HOLD)

    def first_connect(self, seconds: float, delay: float, *, answered: bool) -> None:
        """Called when the first connect of a session was answered, or failed.

        :param seconds: how long that took.
        :param delay: seconds after which an immediate answer is late.
        """
        if seconds >= 0.9 * delay:  # times are not exact
            self.first_hold = self.hold
        elif answered:
            self.first_hold = 0.0

    def up(self, now: float) -> None:
        """Called when a connect succeeded, at time ``now``."""
        if self._up_since is None:
            self._up_since = now

    def down(self, now: float, *, lost: bool = False) -> None:
        """Called when the session (``lost``) or its connection was lost, at ``now``."""
        if self._up_since is None:
            return
        stable = now - self._up_since >= self._retry.stable
        self._up_since = None
        if stable:
            self._failed = self._short_sessions = 0
        step = self._short_sessions
        if not lost:
            step = min(step, MAX_FIRST_STEP)
        self._failures.reset(step)
        self._raised = step > 0
        if not stable:
            self._short_sessions += 1
        self._may_lose = stable

    def after_failure(
        self,
        reply: Message | None,
        connection_type: str,
        *,
        away: bool = False,
        lost: bool = False,
        keep_interval: bool = False,
    ) -> float:
        """Return the seconds to wait after a failure; never 0.

        An interval that came with the failure is kept exactly, unless it is so short
        that a server which always fails would be retried in a tight loop.

        :param reply: the unsuccessful reply; None if there was none.
        :param away: whether there was no connection: the server does not fail in a
            loop, and may be back soon.
        :param lost: whether the session was lost.  It costs the first delay only if
            it had been up, or if the failures before it were counted.
        :param keep_interval: whether to wait at least for the interval advised
            before the failure.  It applies to connects, not to handshakes.
        """
        if away and self._raised:
            self._raised = False
            self._failures.reset()
        if lost and self._may_lose:
            delay = self._failures.first()
        else:
            self._failed += 1
            delay = self._failures.next()
        self._may_lose = not lost
        interval = self.advice.interval
        advice = None if reply is None else reply.get("advice")
        advised = Advice(interval=-1).updated(advice, connection_type).interval >= 0
        if advised and interval >= self._retry.stable:
            return interval
        return max(interval, delay) if advised or keep_interval else delay

    def pause(self) -> float:
        """Return the seconds to wait before a repetition that counts as no failure."""
        return self._failures.first()

    def after_success(self, *, at_once: bool, seconds: float, delivered: bool) -> float:
        """Return the seconds to wait before the next connect.

        This is the advised interval, exactly, unless there is none and the server
        does not hold connects.

        :param at_once: whether the connect asked for an immediate answer.
        :param seconds: how long the answer took.
        :param delivered: whether messages arrived in the meantime.
        """
        interval = self.advice.interval
        if at_once or interval >= self._retry.initial:
            return interval
        if seconds >= HELD or delivered:
            self._idle.reset()
            return interval
        return max(interval, self._idle.next())
