"""The Redis engine: any number of nodes form one service."""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.logger import Logger

from txbayeux.engine.hub import Hub
from txbayeux.engine.redis.location import Location, parse
from txbayeux.engine.redis.node import Node
from txbayeux.engine.redis.options import RedisOptions
from txbayeux.engine.redis.session_connects import SessionConnects
from txbayeux.engine.session import DEFAULT_SESSION_TIMEOUT, Session
from txbayeux.errors import BayeuxError, UnknownSession
from txbayeux.events import Reason
from txbayeux.interfaces import Delivery, Engine, SessionObserver, Stream
from txbayeux.limits import Limits
from txbayeux.message import Entry

__all__ = ["RedisEngine"]

_ID: Final = re.compile(r"[0-9a-f]{32}\Z")
"""The form of session ids; any other is unknown without a call to Redis."""

_STOP_TIMEOUT: Final = 2.0
"""Seconds for which stopping waits for Redis."""

_log: Final = Logger()


class RedisEngine:
    """An :class:`~txbayeux.interfaces.Engine` that shares its sessions through Redis.

    :param reactor: Twisted's.
    :param location: where Redis is; see :func:`~txbayeux.engine.redis.location.parse`.
    :param session_timeout: seconds a session lives after its connect's hold.
    """

    def __init__(
        self,
        reactor: Any,
        location: Location,
        *,
        limits: Limits | None = None,
        session_timeout: float = DEFAULT_SESSION_TIMEOUT,
        options: RedisOptions | None = None,
    ) -> None:
        options = options or RedisOptions()
        self._retained = options.retained
        self._reactor = reactor
        self._limits = limits or Limits()
        self._session_timeout = session_timeout
        self._observer: SessionObserver | None = None
        self.hub = Hub(
            reactor,
            limits=self._limits,
            session_timeout=session_timeout,
            expired=self._expired,
            overflowed=self._overflowed,
            returned=self._returned,
        )
        self._node = Node(
            reactor,
            location,
            options,
            self.hub,
            limits=self._limits,
            session_timeout=session_timeout,
            closed=self._closed,
        )
        self._commands = self._node.commands
        self._owner = self._node.owner
        self._termination = self._node.termination
        self._connects = SessionConnects(reactor, self.hub, self._node)

    @classmethod
    def from_url(
        cls,
        reactor: Any,
        url: str,
        *,
        limits: Limits | None = None,
        session_timeout: float = DEFAULT_SESSION_TIMEOUT,
        namespace: str = "txbayeux",
    ) -> RedisEngine:
        """Make an engine for the Redis at ``url``.

        :raises ValueError: if the URL or the namespace is invalid.
        """
        return cls(
            reactor,
            parse(url),
            limits=limits,
            session_timeout=session_timeout,
            options=RedisOptions(namespace=namespace),
        )

    # The process

    def start(self, observer: SessionObserver) -> Deferred[None]:
        """See :meth:`txbayeux.interfaces.Engine.start`; does not wait for Redis."""
        self._observer = observer
        self._node.start()
        return succeed(None)

    def stop(self) -> Deferred[None]:
        """See :meth:`txbayeux.interfaces.Engine.stop`.

        Sessions stay in Redis, for the other nodes.
        """
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        node = self._node
        if node.ready:
            await self._wait(node.checkpoints.mark().addCallback(node.feed.wait_for))
        self.hub.flush()
        self._connects.stop()
        self._owner.fail_acquisitions()
        node.interest.stop()
        arguments = self._owner.release_all()
        if self._commands.live:
            for start in range(0, len(arguments), 6 * 500):
                part = arguments[start : start + 6 * 500]
                await self._wait(self._commands.run("release", *part))
            await self._wait(node.leave())
        await node.stop()
        self.hub.stop()
        self._observer = None

    async def _wait(self, deferred: Deferred[Any]) -> None:
        try:
            await deferred.addTimeout(_STOP_TIMEOUT, self._reactor)
        except (DeferredTimeout, BayeuxError):
            _log.warn("Redis did not answer in time while stopping")

    def statistics(self) -> Mapping[str, int]:
        """See :meth:`txbayeux.interfaces.Engine.statistics`: this process's part."""
        return {
            **self.hub.statistics(),
            **self._node.statistics(),
        }

    def ready(self) -> bool:
        """See :meth:`txbayeux.interfaces.Engine.ready`."""
        return self._observer is not None and self._node.ready

    # Sessions

    def create_session(self, *, acknowledges: bool = False) -> Deferred[str]:
        """See :meth:`txbayeux.interfaces.Engine.create_session`."""
        return self._owner.create(secrets.token_hex(16), acknowledges=acknowledges)

    def destroy_session(
        self, session_id: str, reason: Reason, why: str | None = None
    ) -> Deferred[None]:
        """See :meth:`txbayeux.interfaces.Engine.destroy_session`."""
        unknown = self._unknown(session_id)
        if unknown is not None:
            return fail(unknown)

        def destroyed(channels: Collection[str] | None) -> None:
            self._owner.close(session_id, reason, why)
            self._closed(session_id, reason, channels or ())

        ended = self._termination.destroy(session_id, reason, why or "")
        return ended.addCallback(destroyed)

    def check_session(self, session_id: str) -> Deferred[None]:
        """See :meth:`txbayeux.interfaces.Engine.check_session`."""
        return self._change(session_id, "+", ()).addCallback(lambda _: None)

    def subscribe(
        self, session_id: str, channels: Sequence[str]
    ) -> Deferred[Sequence[str]]:
        """See :meth:`txbayeux.interfaces.Engine.subscribe`."""
        return self._change(session_id, "+", channels)

    def unsubscribe(
        self, session_id: str, channels: Sequence[str]
    ) -> Deferred[Sequence[str]]:
        """See :meth:`txbayeux.interfaces.Engine.unsubscribe`."""
        return self._change(session_id, "-", channels)

    def _change(
        self, session_id: str, sign: str, channels: Sequence[str]
    ) -> Deferred[Sequence[str]]:
        def changed(reply: Sequence[bytes]) -> Sequence[str]:
            self._note(reply[1])
            return [channel.decode() for channel in reply[2:]]

        limits = (
            self._limits.session_subscriptions,
            self._limits.session_subscription_bytes,
        )
        return self._run(
            session_id, "change", sign, *limits, *self._retained, *channels
        ).addCallback(changed)

    # Messages

    def publish(
        self, channel: str, json: bytes, session_id: str | None = None
    ) -> Deferred[None]:
        """See :meth:`txbayeux.interfaces.Engine.publish`.

        Fires when Redis has the message.  After a 503 it may have it or not.  The
        subscribers of this node get it from its feed, like those of all others.
        """
        if session_id is not None:
            unknown = self._unknown(session_id)
            if unknown is not None:
                return fail(unknown)
        return self._commands.publish(channel, json, session_id or "")

    def deliver(self, session_id: str, channel: str, json: bytes) -> Deferred[None]:
        """See :meth:`txbayeux.interfaces.Engine.deliver`."""
        return self._run(
            session_id, "deliver", channel, json, *self._retained
        ).addCallback(lambda reply: self._note(reply[1]))

    def connect(
        self,
        session_id: str,
        *,
        hold: float,
        stream: Stream | None = None,
        acknowledged: int | None = None,
    ) -> Deferred[Delivery]:
        """See :meth:`txbayeux.interfaces.Engine.connect`.

        One with ``hold=0`` gets all messages that this process knows to be accepted.
        """
        unknown = self._unknown(session_id)
        if unknown is not None:
            return fail(unknown)
        return self._connects.connect(
            session_id, hold=hold, stream=stream, acknowledged=acknowledged
        )

    def attach(self, session_id: str, stream: Stream) -> Deferred[None]:
        """See :meth:`txbayeux.interfaces.Engine.attach`."""
        unknown = self._unknown(session_id)
        if unknown is not None:
            return fail(unknown)

        return self._connects.attach(session_id, stream)

    # Redis

    def _run(self, session_id: str, script: str, *arguments: Any) -> Deferred[Any]:
        unknown = self._unknown(session_id)
        if unknown is not None:
            return fail(unknown)
        return self._commands.run(script, session_id, *arguments)

    def _unknown(self, session_id: str) -> UnknownSession | None:
        if not _ID.match(session_id):
            return UnknownSession(session_id)
        return self._termination.terminated(session_id)

    def _note(self, sent: int | bytes) -> None:
        self._node.feed.note(int(sent))

    # Called by the hub

    def _expired(self, session: Session) -> None:
        # Redis decides: the next sweep ends it.
        self._node.sweep_soon()

    def _overflowed(self, session: Session, why: str) -> None:
        self._termination.terminate(session.id, Reason.KICKED, why)

    def _returned(self, session: Session, entries: Sequence[Entry]) -> None:
        self._owner.give_back(session, entries)

    def _closed(
        self, session_id: str, reason: Reason, channels: Collection[str]
    ) -> None:
        if self._observer is not None:
            self._observer.session_closed(session_id, reason, channels)


_: type[Engine] = RedisEngine
