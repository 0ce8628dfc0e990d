"""The memory engine: everything in this process, and at once."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger

from txbayeux.engine.hub import Hub
from txbayeux.engine.session import Session
from txbayeux.errors import (
    TooManySessions,
    TooManySubscriptions,
    UnknownSession,
    unavailable,
)
from txbayeux.events import Reason
from txbayeux.interfaces import Clock, Delivery, Engine, SessionObserver, Stream
from txbayeux.limits import Limits
from txbayeux.message import Entry

__all__ = ["DEFAULT_SESSION_TIMEOUT", "MemoryEngine"]

DEFAULT_SESSION_TIMEOUT: Final = 60.0
"""Seconds.  Longer than a browser throttles the timers of a hidden tab."""

_FAREWELLS: Final = 1000
"""Most sessions whose end is remembered, to tell them why at their return."""

_log: Final = Logger()


class MemoryEngine:
    """An :class:`~txbayeux.interfaces.Engine` without storage.

    The Deferreds that it returns have fired already, but for a held connect.

    :param clock: the reactor.
    :param session_timeout: seconds a session lives after its connect's hold.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        limits: Limits | None = None,
        session_timeout: float = DEFAULT_SESSION_TIMEOUT,
    ) -> None:
        self._limits = limits or Limits()
        self._sessions: dict[str, Session] = {}
        self._farewells: OrderedDict[str, str] = OrderedDict()
        self._position = 0
        self._observer: SessionObserver | None = None
        self._hub = Hub(
            clock,
            limits=self._limits,
            session_timeout=session_timeout,
            expired=lambda session: self._end(session, Reason.TIMEOUT, None),
            overflowed=self._overflowed,
        )

    def start(self, observer: SessionObserver) -> Deferred[None]:
        """See :meth:`txbayeux.interfaces.Engine.start`."""
        self._observer = observer
        return succeed(None)

    def stop(self) -> Deferred[None]:
        """See :meth:`txbayeux.interfaces.Engine.stop`."""
        self._hub.flush()
        for session in tuple(self._sessions.values()):
            self._end(session, Reason.SHUTDOWN, None)
        self._hub.stop()
        self._observer = None
        return succeed(None)

    def release_all(self) -> None:
        """See :meth:`txbayeux.interfaces.Engine.release_all`."""
        self._hub.release_all(tuple(self._sessions.values()))

    def create_session(self, *, acknowledges: bool = False) -> Deferred[str]:
        """See :meth:`txbayeux.interfaces.Engine.create_session`."""
        if self._observer is None:
            return fail(unavailable())
        if not self._hub.has_room(len(self._sessions)):
            return fail(TooManySessions())
        session = Session(
            secrets.token_hex(16), acknowledges=acknowledges, position=self._position
        )
        self._sessions[session.id] = session
        self._hub.open(session)
        return succeed(session.id)

    def destroy_session(
        self, session_id: str, reason: Reason, why: str | None = None
    ) -> Deferred[None]:
        """See :meth:`txbayeux.interfaces.Engine.destroy_session`."""
        session = self._sessions.get(session_id)
        if session is None:
            return fail(self._unknown(session_id))
        self._end(session, reason, why)
        return succeed(None)

    def subscribe(
        self, session_id: str, channels: Sequence[str]
    ) -> Deferred[Sequence[str]]:
        """See :meth:`txbayeux.interfaces.Engine.subscribe`."""
        session = self._sessions.get(session_id)
        if session is None:
            return fail(self._unknown(session_id))
        known = session.subscriptions
        new = [channel for channel in dict.fromkeys(channels) if channel not in known]
        if len(known) + len(new) > self._limits.session_subscriptions:
            return fail(TooManySubscriptions(self._limits.session_subscriptions))
        self._hub.subscribe(session, new)
        return succeed(new)

    def unsubscribe(
        self, session_id: str, channels: Sequence[str]
    ) -> Deferred[Sequence[str]]:
        """See :meth:`txbayeux.interfaces.Engine.unsubscribe`."""
        session = self._sessions.get(session_id)
        if session is None:
            return fail(self._unknown(session_id))
        known = session.subscriptions
        gone = [channel for channel in dict.fromkeys(channels) if channel in known]
        self._hub.unsubscribe(session, gone)
        return succeed(gone)

    def publish(
        self, channel: str, json: bytes, session_id: str | None = None
    ) -> Deferred[None]:
        """See :meth:`txbayeux.interfaces.Engine.publish`."""
        if session_id is not None and session_id not in self._sessions:
            return fail(self._unknown(session_id))
        if self._observer is None:
            return fail(unavailable())
        self._hub.dispatch(self._entry(channel, json))
        return succeed(None)

    def deliver(self, session_id: str, channel: str, json: bytes) -> Deferred[None]:
        """See :meth:`txbayeux.interfaces.Engine.deliver`."""
        session = self._sessions.get(session_id)
        if session is None:
            return fail(self._unknown(session_id))
        self._hub.deliver(session, self._entry(channel, json))
        return succeed(None)

    def connect(
        self,
        session_id: str,
        *,
        hold: float,
        stream: Stream | None = None,
        acknowledged: int | None = None,
    ) -> Deferred[Delivery]:
        """See :meth:`txbayeux.interfaces.Engine.connect`."""
        session = self._sessions.get(session_id)
        if session is None:
            return fail(self._unknown(session_id))
        return self._hub.connect(
            session, hold=hold, stream=stream, acknowledged=acknowledged
        )

    def attach(self, session_id: str, stream: Stream) -> Deferred[None]:
        """See :meth:`txbayeux.interfaces.Engine.attach`."""
        session = self._sessions.get(session_id)
        if session is None:
            return fail(self._unknown(session_id))
        self._hub.attach(session, stream)
        return succeed(None)

    def detach(self, stream: Stream, unsent: Sequence[Entry] = ()) -> None:
        """See :meth:`txbayeux.interfaces.Engine.detach`."""
        self._hub.detach(stream, unsent)

    def resume(self, stream: Stream) -> None:
        """See :meth:`txbayeux.interfaces.Engine.resume`."""
        self._hub.resume(stream)

    def listen(self, pattern: str, listener: Callable[[Entry], None]) -> None:
        """See :meth:`txbayeux.interfaces.Engine.listen`."""
        self._hub.listeners.add(pattern, listener)

    def unlisten(self, pattern: str, listener: Callable[[Entry], None]) -> None:
        """See :meth:`txbayeux.interfaces.Engine.unlisten`."""
        self._hub.listeners.remove(pattern, listener)

    def statistics(self) -> Mapping[str, int]:
        """See :meth:`txbayeux.interfaces.Engine.statistics`."""
        return self._hub.statistics(self._sessions.values())

    def ready(self) -> bool:
        """See :meth:`txbayeux.interfaces.Engine.ready`."""
        return self._observer is not None

    def _entry(self, channel: str, json: bytes) -> Entry:
        self._position += 1
        return Entry(self._position, channel, json)

    def _unknown(self, session_id: str) -> UnknownSession:
        why = self._farewells.get(session_id)
        return UnknownSession(session_id, why) if why else UnknownSession(session_id)

    def _overflowed(self, session: Session) -> None:
        _log.warn(
            "{session} is closed: {messages} messages, {octets} bytes wait for it",
            session=session,
            messages=len(session.queue),
            octets=session.queued_bytes,
        )
        self._end(session, Reason.KICKED, "Session closed - too many messages waited")

    def _end(self, session: Session, reason: Reason, why: str | None) -> None:
        del self._sessions[session.id]
        if why is not None:
            self._farewells[session.id] = why
            if len(self._farewells) > _FAREWELLS:
                self._farewells.popitem(last=False)
        self._hub.close(session, reason, why)
        if self._observer is not None:
            self._observer.session_closed(session.id, reason)


_: type[Engine] = MemoryEngine
