"""Saves the progress of sessions to Redis, for another node if this one dies.

One position stands for all sessions to which everything up to it was delivered, so a
checkpoint costs the same for ten sessions and for ten thousand.  Only those that lag
are written individually.  While the queues are being written, which may take several
reactor turns, the position is that of the last flush that was completed.  Each
checkpoint writes the state at the time of the previous one: by now the data has been
written to the sockets.  When nothing is left to be written, there are none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from txbayeux.engine.hub import Hub
from txbayeux.engine.redis.acquisition import OwnedSession
from txbayeux.engine.redis.commands import Argument, Commands
from txbayeux.engine.redis.log import Mark
from txbayeux.engine.session import Session
from txbayeux.interfaces import Clock, DelayedCall

__all__ = ["Checkpoints"]

_PART: Final = 500
"""Most sessions in one call."""


class Checkpoints:
    """Writes checkpoints for the sessions of one node.

    :param lifetime: milliseconds for which Redis keeps a checkpoint.
    :param interval: seconds between checkpoints.
    """

    def __init__(
        self,
        clock: Clock,
        hub: Hub,
        commands: Commands,
        owned: Mapping[str, OwnedSession],
        *,
        lifetime: int,
        interval: float,
    ) -> None:
        self._clock = clock
        self._hub = hub
        self._lagging: set[Session] = set()
        hub.lagging = self._lagging
        hub.turn_ended = self.schedule
        self._commands = commands
        self._owned = owned
        self._lifetime = lifetime
        self._interval = interval
        self._call: DelayedCall | None = None
        self._connected: dict[str, OwnedSession] = {}
        self._due: tuple[int, list[Argument]] | None = None
        self._position = -1

    def connected(self, session: OwnedSession) -> None:
        """Renew the time to live of a session at the next checkpoint."""
        self._connected[session.id] = session
        self.schedule()

    def rewrite(self, session: OwnedSession) -> None:
        """Write everything about a session again: Redis may not have it."""
        session.written = (-1, "")
        self._lagging.add(session)
        self._connected[session.id] = session

    def forget(self) -> None:
        """Forget what was written: Redis may not have it, or has another epoch."""
        self._due = None
        self._position = -1
        self._connected.clear()

    def schedule(self) -> None:
        """Write at the end of the interval, and go on while something is due."""
        if self._call is None and self._commands.live:
            self._call = self._clock.callLater(self._interval, self._write_scheduled)

    def _write_scheduled(self) -> None:
        self._call = None
        self.write()

    def stop(self) -> None:
        """Leave nothing in the reactor."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def before_heartbeat(self) -> str:
        """Return the position to be written with a heartbeat, and note the present one.

        Return "" if Redis has it, or a checkpoint is going to write it.  What lives is
        written first, because the heartbeat ends what has expired.
        """
        self._write_lives()
        if self._call is not None:
            return ""
        position, _ = self._next()  # A checkpoint has written what was listed.
        if self._due is not None and self._due[1]:
            self.schedule()
        return position

    def heartbeat_refused(self, _: Failure) -> None:
        """Write the position again."""
        self._position = -1

    def _next(self) -> tuple[str, list[Argument]]:
        """Return what was noted by the last call, and note the present state."""
        due, self._due = self._due, self._snapshot()
        if due is None:
            return "", []
        position = str(due[0]) if due[0] != self._position else ""
        self._position = due[0]
        return position, due[1]

    def write(self) -> None:
        """Write the state at the time of the last call, and note the present one."""
        if not self._commands.live:
            return
        position, listed = self._next()
        if self._due is not None and (self._due[1] or self._due[0] != self._position):
            self.schedule()
        # Those that lag come first: the position counts for all that are not listed.
        parts = [listed[n : n + 4 * _PART] for n in range(0, len(listed), 4 * _PART)]
        for part in parts:
            self._write("", part, ())
        self._write_lives(position)

    def _write_lives(self, position: str = "") -> None:
        lives = self._lives()
        while (live := tuple(islice(lives, 3 * _PART))) or position:
            self._write(position, (), live)
            position = ""

    def mark(self) -> Deferred[Mark]:
        """Return a mark, from Redis: how far the log and this node's feed are."""
        return self._commands.run("checkpoint", "", self._lifetime, 0).addCallback(
            lambda reply: Mark.parse(*reply)
        )

    def write_now(self, session: OwnedSession) -> Deferred[None]:
        """Write whether a session has an event stream; fires when Redis has it."""
        session.written = (session.written[0], session.current()[1])
        entry = (session.id, session.generation, "=", session.written[1])
        return self._write("", [*entry], ())

    def _write(
        self,
        position: str,
        listed: list[Argument] | tuple[()],
        lives: tuple[Argument, ...],
    ) -> Deferred[None]:
        return self._commands.run(
            "checkpoint", position, self._lifetime, len(listed) // 4, *listed, *lives
        ).addCallbacks(
            lambda _: None, self._refused, errbackArgs=(listed[::4], lives[::3])
        )

    def _refused(
        self, _: Failure, listed: Sequence[Argument], lives: Sequence[Argument]
    ) -> None:
        """Repeat the write at the next checkpoint: Redis is full or unavailable."""
        self._position = -1
        for session_id in listed:
            session = self._owned.get(str(session_id))
            if session is not None:
                session.written = (-1, "")
                self._lagging.add(session)
        for session_id in lives:
            session = self._owned.get(str(session_id))
            if session is not None:
                self._connected[session.id] = session
        self.schedule()

    def _snapshot(self) -> tuple[int, list[Argument]]:
        position = self._hub.flushed
        listed: list[Argument] = []
        for session in tuple(self._lagging):
            owned = self._owned.get(session.id)
            if owned is None or owned is not session:
                self._lagging.discard(session)
                continue
            current = owned.current()
            if current[0] == "":
                written = owned.written[0]
                if isinstance(written, int) and written > position:
                    continue  # Redis knows of more that it has received.
                self._lagging.discard(session)
            if current != owned.written:
                listed += self._listed(owned, current[0])
        return position, listed

    def _listed(self, session: OwnedSession, cursor: int | str) -> list[Argument]:
        session.written = (cursor, session.current()[1])
        return [session.id, session.generation, *session.written]

    def _lives(self) -> Iterator[Argument]:
        connected, self._connected = self._connected, {}
        now = self._clock.seconds()
        for session in connected.values():
            if session.ended is None and not session.moved:
                yield session.id
                yield session.generation
                yield max(0, round((session.deadline - now) * 1000))
