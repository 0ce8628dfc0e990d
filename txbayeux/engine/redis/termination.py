"""Sessions that end: in Redis, here, and with their client, each told once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from txbayeux.engine.redis.commands import Commands
from txbayeux.errors import UnknownSession
from txbayeux.events import Reason

__all__ = ["GAP", "Endings"]

GAP: Final = "Session closed - messages were missed"
"""What a session is told that cannot go on without a hole."""

_FAREWELL: Final = 300_000
"""Milliseconds for which it is remembered why a session was ended."""

_log: Final = Logger()


class Endings:
    """Ends sessions, at the latest when Redis can be reached again.

    :param ended: lets go of a session in this process.
    :param closed: is told, once among all front-ends, of a session that ended.
    """

    def __init__(
        self,
        commands: Commands,
        ended: Callable[[str, Reason, str | None], None],
        closed: Callable[[str, Reason], None],
    ) -> None:
        self._commands = commands
        self._ended = ended
        self._closed = closed
        self._doomed: dict[str, tuple[Reason, str]] = {}
        self.gaps = 0

    def destroy(self, session_id: str, reason: Reason, why: str) -> Deferred[Any]:
        """End a session in Redis."""
        arguments = (session_id, reason.value, why, _FAREWELL)
        return self._commands.run("destroy", *arguments)

    def condemn(self, session_id: str, reason: Reason, why: str) -> None:
        """End a session, whether or not Redis can be reached now."""
        self._doomed[session_id] = (reason, why)
        self._ended(session_id, reason, why)
        self._execute(session_id)

    def condemned(self, session_id: str) -> UnknownSession | None:
        """Give what to tell a session that is to end as soon as Redis is back."""
        doom = self._doomed.get(session_id)
        return None if doom is None else UnknownSession(session_id, doom[1])

    def lost(self, session_id: str) -> UnknownSession:
        """End a session that cannot go on without a hole, which is never silent."""
        if self.gaps % 1000 == 0:
            _log.error(
                "What session {session} needs was forgotten before it had got it: it "
                "is told to handshake anew (retained_messages, retained_seconds)",
                session=session_id[:8],
            )
        self.gaps += 1
        self.condemn(session_id, Reason.KICKED, GAP)
        return UnknownSession(session_id, GAP)

    def again(self) -> None:
        """Try what did not succeed: Redis can be written to."""
        for session_id in tuple(self._doomed):
            self._execute(session_id)

    def all_gone(self) -> None:
        """Hear that Redis has lost all sessions."""
        doomed, self._doomed = self._doomed, {}
        for session_id, (reason, _) in doomed.items():
            self._closed(session_id, reason)

    def _execute(self, session_id: str) -> None:
        reason, why = self._doomed[session_id]

        def done(_: Any) -> None:
            if self._doomed.pop(session_id, None) is not None:
                self._closed(session_id, reason)

        def failed(failure: Failure) -> None:
            # Unless somebody else ended it, it is tried again when Redis is back.
            if failure.check(UnknownSession) is not None:
                self._doomed.pop(session_id, None)

        self.destroy(session_id, reason, why).addCallbacks(done, failed)
