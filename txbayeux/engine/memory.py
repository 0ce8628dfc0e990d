"""The memory engine: everything is in this process."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final

from twisted.internet.defer import Deferred, fail, succeed

from txbayeux.engine.hub import Hub
from txbayeux.engine.session import DEFAULT_SESSION_TIMEOUT, Session
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

__all__ = ["MemoryEngine"]

_TOMBSTONES: Final = 1000
"""Ended sessions whose reason is kept, to tell the client if it comes back."""


class MemoryEngine:
    """An :class:`~txbayeux.interfaces.Engine` without storage.

    The Deferreds that it returns have fired already, except those of held connects.

    :param clock: the reactor.
    :param session_timeout: seconds a session lives after its connect's holding time.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        limits: Limits | None = None,
        session_timeout: float = DEFAULT_SESSION_TIMEOUT,
    ) -> None:
        self._limits = limits or Limits()
        self._tombstones: OrderedDict[str, str] = OrderedDict()
        self._position = 0
        self._observer: SessionObserver | None = None
        self.hub = Hub(
            clock,
            limits=self._limits,
            session_timeout=session_timeout,
            expired=lambda session: self._end(session, Reason.TIMEOUT, None),
            overflowed=lambda session, why: self._end(session, Reason.KICKED, why),
        )
        self._sessions = self.hub.sessions

    def start(self, observer: SessionObserver) -> Deferred[None]:
        """See :meth:`txbayeux.interfaces.Engine.start`."""
        self._observer = observer
        return succeed(None)

    def stop(self) -> Deferred[None]:
        """See :meth:`txbayeux.interfaces.Engine.stop`."""
        self.hub.flush()
        for session in tuple(self._sessions.values()):
            self._end(session, Reason.SHUTDOWN, None)
        self._observer = None
        self.hub.stop()
        return succeed(None)

    def create_session(self, *, acknowledges: bool = False) -> Deferred[str]:
        """See :meth:`txbayeux.interfaces.Engine.create_session`."""
        if self._observer is None:
            return fail(unavailable())
        if not self.hub.has_room():
            return fail(TooManySessions())
        session = Session(
            secrets.token_hex(16), acknowledges=acknowledges, position=self._position
        )
        self.hub.open(session)
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

    def check_session(self, session_id: str) -> Deferred[None]:
        """See :meth:`txbayeux.interfaces.Engine.check_session`."""
        if session_id not in self._sessions:
            return fail(self._unknown(session_id))
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
        most = self._limits.session_subscription_bytes
        if new and sum(map(len, new)) + sum(map(len, known)) > most:
            return fail(TooManySubscriptions(most, "bytes of subscriptions"))
        self.hub.subscribe(session, new)
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
        self.hub.unsubscribe(session, gone)
        return succeed(gone)

    def publish(
        self, channel: str, json: bytes, session_id: str | None = None
    ) -> Deferred[None]:
        """See :meth:`txbayeux.interfaces.Engine.publish`."""
        if session_id is not None and session_id not in self._sessions:
            return fail(self._unknown(session_id))
        if self._observer is None:
            return fail(unavailable())
        self.hub.dispatch(self._entry(channel, json))
        return succeed(None)

    def deliver(self, session_id: str, channel: str, json: bytes) -> Deferred[None]:
        """See :meth:`txbayeux.interfaces.Engine.deliver`."""
        session = self._sessions.get(session_id)
        if session is None:
            return fail(self._unknown(session_id))
        self.hub.deliver(session, self._entry(channel, json))
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
        return self.hub.connect(
            session, hold=hold, stream=stream, acknowledged=acknowledged
        )

    def attach(self, session_id: str, stream: Stream) -> Deferred[None]:
        """See :meth:`txbayeux.interfaces.Engine.attach`."""
        session = self._sessions.get(session_id)
        if session is None:
            return fail(self._unknown(session_id))
        self.hub.attach(session, stream)
        return succeed(None)

    def statistics(self) -> Mapping[str, int]:
        """See :meth:`txbayeux.interfaces.Engine.statistics`."""
        return self.hub.statistics()

    def ready(self) -> bool:
        """See :meth:`txbayeux.interfaces.Engine.ready`."""
        return self._observer is not None

    def _entry(self, channel: str, json: bytes) -> Entry:
        self._position += 1
        return Entry(self._position, channel, json)

    def _unknown(self, session_id: str) -> UnknownSession:
        why = self._tombstones.get(session_id)
        return UnknownSession(session_id, why) if why else UnknownSession(session_id)

    def _end(self, session: Session, reason: Reason, why: str | None) -> None:
        if why is not None:
            self._tombstones[session.id] = why
            if len(self._tombstones) > _TOMBSTONES:
                self._tombstones.popitem(last=False)
        self.hub.close(session, reason, why)
        if self._observer is not None:
            self._observer.session_closed(session.id, reason, session.subscriptions)


_: type[Engine] = MemoryEngine
