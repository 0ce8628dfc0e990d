"""Ends each session exactly once: in Redis, in this process, and for their clients."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from txbayeux.engine.redis.commands import Commands
from txbayeux.engine.redis.options import SHARED, RedisOptions
from txbayeux.engine.redis.ownership import SessionOwner
from txbayeux.errors import UnknownSession
from txbayeux.events import Reason
from txbayeux.interfaces import Clock
from txbayeux.log_limit import LogLimit

__all__ = ["GAP", "Termination", "decoded"]

GAP: Final = "Session closed - messages were missed"
"""The error for a client whose session needs entries that Redis has dropped."""

_TOMBSTONE: Final = 300_000
"""Milliseconds for which Redis keeps the reason why a session was ended."""

_GAPS: Final = (
    "{count} sessions closed, {total} since the start: entries that they had not "
    "received were dropped from the log {cause}"
)

_log: Final = Logger()


@dataclass(slots=True)
class _Pending:
    """A session that this node has ended and Redis may still have."""

    reason: Reason
    why: str
    generation: int
    """Redis ends the session only if this node owns it, or must still release it."""
    channels: Collection[str]
    """What it was subscribed to, as far as this node knows."""
    in_flight: bool = False


class Termination:
    """Ends sessions, as soon as Redis is available.

    :param closed: called with each session that ended, on one node only.
    """

    def __init__(
        self,
        clock: Clock,
        options: RedisOptions,
        commands: Commands,
        owner: SessionOwner,
        closed: Callable[[str, Reason, Collection[str]], None],
    ) -> None:
        self._options = options
        self._commands = commands
        self._owner = owner
        self._closed = closed
        self._pending: dict[str, _Pending] = {}
        self.gaps = 0
        """Sessions that were ended because entries they needed were dropped."""
        self._logged_gaps = 0
        self._gap_log = LogLimit(clock, partial(_log.error, _GAPS))

    def destroy(
        self, session_id: str, reason: Reason, why: str, generation: int | str = ""
    ) -> Deferred[Collection[str] | None]:
        """End a session in Redis; fires with what it was subscribed to.

        :param generation: do so only if this node owns the session with it, or the
            next owner waits for its release; otherwise the Deferred fires with None.
        """
        arguments = (session_id, reason.value, why, _TOMBSTONE, generation)
        ended = self._commands.run("destroy", *arguments)
        return ended.addCallback(lambda reply: decoded(reply[1:]) if reply[0] else None)

    def terminate(self, session_id: str, reason: Reason, why: str) -> None:
        """End a session that this node owns, now or when Redis is available."""
        self._terminate(
            session_id, reason, why, self._owner.owned[session_id].generation
        )

    def terminated(self, session_id: str) -> UnknownSession | None:
        """Return the error for a session whose end was not sent to Redis yet.

        Return None once it was sent: later calls find the session gone, or owned by
        another node, which continues it.
        """
        pending = self._pending.get(session_id)
        if pending is None or (pending.in_flight and self._commands.live):
            return None
        return UnknownSession(session_id, pending.why)

    def lost(self, session_id: str, generation: int) -> UnknownSession:
        """End a session that needs entries that Redis has dropped."""
        self._terminate(session_id, Reason.KICKED, GAP, generation)
        return UnknownSession(session_id, GAP)

    def retry(self) -> None:
        """Repeat the calls that Redis has not carried out."""
        for session_id in tuple(self._pending):
            self._send(session_id)

    def all_gone(self) -> None:
        """Report the sessions to be ended as closed: Redis has lost all sessions."""
        pending, self._pending = self._pending, {}
        for session_id, ending in pending.items():
            self._closed(session_id, ending.reason, ending.channels)

    def _terminate(
        self, session_id: str, reason: Reason, why: str, generation: int
    ) -> None:
        owned = self._owner.owned.get(session_id)
        channels = () if owned is None else tuple(owned.subscriptions)
        self._pending[session_id] = _Pending(reason, why, generation, channels)
        self._owner.close(session_id, reason, why)
        self._send(session_id)

    def _send(self, session_id: str) -> None:
        pending = self._pending[session_id]
        if pending.in_flight:
            return
        pending.in_flight = True

        def done(channels: Collection[str] | None) -> None:
            if self._pending.get(session_id) is not pending:
                return
            del self._pending[session_id]
            if channels is not None:
                if pending.why == GAP:
                    self.gaps += 1
                self._closed(session_id, pending.reason, channels)

        def failed(failure: Failure) -> None:
            pending.in_flight = False
            # Unless another node ends it, this is repeated when Redis is available.
            if failure.check(UnknownSession) is not None:
                self._pending.pop(session_id, None)

        self.destroy(
            session_id, pending.reason, pending.why, pending.generation
        ).addCallbacks(done, failed)

    def log_gaps(self, option: str) -> None:
        """Log how many sessions were ended for a gap, at most once a minute.

        :param option: for which Redis dropped entries last; empty if for none.
        """
        new, self._logged_gaps = self.gaps - self._logged_gaps, self.gaps
        if new:
            cause = "by others"
            if option in SHARED:
                cause = f"(last for {option}={getattr(self._options, option):.12g})"
            self._gap_log.add(new, total=self.gaps, cause=cause)

    def stop(self) -> None:
        """Log what is left to be logged, and leave nothing in the reactor."""
        self._gap_log.stop()


def decoded(names: Sequence[bytes]) -> Collection[str]:
    """Return channels that a script gave; others may have made them anything."""
    return [name.decode(errors="replace") for name in names]
