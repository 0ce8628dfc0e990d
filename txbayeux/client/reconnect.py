"""How fast the loop goes round: the advice in force, and what failures add to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Final

from txbayeux import channel as channels
from txbayeux.client.advice import RETRY, Advice
from txbayeux.client.retry import Backoff, Retry
from txbayeux.message import Message

__all__ = ["ConnectRequest", "ReconnectPolicy"]

DEFAULT_HOLD: Final = 60.0
"""Seconds that a server is expected to hold a connect before it advised anything;
precedent: Faye's ``CONNECTION_TIMEOUT``."""
LONGEST_HOLD: Final = 600.0
"""What is believed of an advised timeout: past it, silence is death."""
HELD: Final = 1.0
"""A connect answered sooner than this, in seconds, and without messages, was not
held; a server that never holds is asked at growing intervals up to
:data:`IDLE_MAXIMUM`."""
IDLE_MAXIMUM: Final = 5.0


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class ConnectRequest:
    """A connect in flight."""

    session: str
    connection_type: str
    sent_at: float
    opening: bool
    """Whether it asks to be answered at once (``advice: {timeout: 0}``)."""
    deliveries: int
    """How many messages had come before it."""

    def message(self) -> Message:
        """Make the connect itself."""
        message: Message = {
            "channel": channels.CONNECT,
            "clientId": self.session,
            "connectionType": self.connection_type,
        }
        if self.opening:
            message["advice"] = {"timeout": 0}
        return message


class ReconnectPolicy:
    """Pure: times are arguments, in seconds."""

    def __init__(self, retry: Retry, random: Callable[[], float]) -> None:
        self.advice = Advice()
        self._retry = retry
        self._failures = Backoff(retry, random)
        idle = dataclasses.replace(retry, maximum=max(IDLE_MAXIMUM, retry.initial))
        self._idle = Backoff(idle, random)
        self._up_since: float | None = None

    def advise(self, reply: Message, connection_type: str) -> None:
        """Take the advice of a reply."""
        self.advice = self.advice.updated(reply.get("advice"), connection_type)

    def advise_anew(self, reply: Message, connection_type: str) -> None:
        """Take the advice of a reply that settles whether to go on."""
        self.advice = dataclasses.replace(self.advice, reconnect=RETRY)
        self.advise(reply, connection_type)

    @property
    def hold(self) -> float:
        """How long a connect may be held by the server."""
        advised = self.advice.timeout
        return min(DEFAULT_HOLD if advised is None else advised, LONGEST_HOLD)

    def up(self, now: float) -> None:
        """Hear that a connect succeeded."""
        if self._up_since is None:
            self._up_since = now

    def down(self, now: float) -> None:
        """Hear that the session, or the connection, is no more."""
        if self._up_since is not None:
            self._failures.succeeded(now - self._up_since)
            self._up_since = None

    def after_failure(
        self, reply: Message | None, connection_type: str, keep_interval: bool
    ) -> float:
        """Give the wait after a failure: never none.

        An interval that came with the failure is kept exactly, unless it is so
        short that a server with nothing but failures would be asked in a loop.
        One that was advised before is kept, at least, if ``keep_interval``: it is
        about connects, not about handshakes.
        """
        waiting = self._failures.next()
        interval = self.advice.interval
        advice = None if reply is None else reply.get("advice")
        came = Advice(interval=-1).updated(advice, connection_type).interval >= 0
        if came and interval >= self._retry.stable:
            return interval
        return max(interval, waiting) if came or keep_interval else waiting

    def after_success(
        self, attempt: ConnectRequest, now: float, deliveries: int
    ) -> float:
        """Give the wait before the next connect: the interval advised, exactly.

        Only a server that advises none and never holds a connect is made to wait.
        """
        interval = self.advice.interval
        if attempt.opening or interval >= self._retry.initial:
            return interval
        if now - attempt.sent_at >= HELD or deliveries != attempt.deliveries:
            self._idle.reset()
            return interval
        return max(interval, self._idle.next())
