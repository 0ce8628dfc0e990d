"""Calls :mod:`ownership` for a session when a connect or stream for it arrives here."""

from __future__ import annotations

import itertools
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.logger import Logger
from twisted.python.failure import Failure

from txbayeux.engine.hub import Hub
from txbayeux.engine.redis.acquisition import OwnedSession, SessionEnded, Superseded
from txbayeux.engine.redis.node import Node
from txbayeux.engine.session import ConnectDelivery, Session
from txbayeux.errors import BayeuxError
from txbayeux.events import Reason
from txbayeux.interfaces import Delivery, Stream

__all__ = ["SessionConnects"]

_ELSEWHERE: Final = 2.0
"""Seconds after which a connect checks again whether another node has a stream."""

_log: Final = Logger()


class SessionConnects:
    """Makes this node the owner of a session when it receives a connection for it."""

    def __init__(self, reactor: Any, hub: Hub, node: Node) -> None:
        self._reactor = reactor
        self._hub = hub
        self._node = node
        self._elsewhere: dict[str, Deferred[bool]] = {}
        self._numbers = itertools.count(1)

    def stop(self) -> None:
        """Answer the connects of sessions that other nodes own."""
        for waiting in tuple(self._elsewhere.values()):
            waiting.callback(False)

    def connect(
        self,
        session_id: str,
        *,
        hold: float,
        stream: Stream | None,
        acknowledged: int | None,
    ) -> Deferred[Delivery]:
        """See :meth:`txbayeux.interfaces.Engine.connect`."""
        number = next(self._numbers)
        return self._accept(number, session_id, hold, stream, acknowledged)

    def _accept(
        self,
        number: int,
        session_id: str,
        hold: float,
        stream: Stream | None,
        acknowledged: int | None,
    ) -> Deferred[Delivery]:
        session = self._node.owner.session(session_id)
        if (
            session is None
            or self._node.ownership_uncertain
            or (hold <= 0 and self._behind())
            or _ahead(session, acknowledged or 0)
        ):
            return self._connect_later(number, session_id, hold, stream, acknowledged)
        return self._connect(number, session, hold, stream, acknowledged)

    def attach(self, session_id: str, stream: Stream) -> Deferred[None]:
        """See :meth:`txbayeux.interfaces.Engine.attach`."""

        def attached(session: OwnedSession | None) -> Deferred[None]:
            if session is None:
                # The acquisition was shared with a poll that leaves the session to
                # another node.
                return self.attach(session_id, stream)
            self._hub.attach(session, stream)
            owned_session = self._node.owner.owned.get(session_id)
            if owned_session is None or stream.preempted_by_poll:
                return succeed(None)
            # The next poll may reach another node, which must know of the stream.
            return self._node.checkpoints.write_now(owned_session)

        def failed(failure: Failure) -> None:
            failure.trap(Superseded)
            stream.replaced()

        return (
            Deferred.fromCoroutine(self._verify(session_id, self._reactor.seconds(), 0))
            .addCallback(
                lambda _: self._node.owner.acquire(
                    session_id, hold=0.0, patience=self._node.patience, leave=False
                )
            )
            .addCallback(attached)
            .addErrback(failed)
        )

    def _connect(
        self,
        number: int,
        session: OwnedSession,
        hold: float,
        stream: Stream | None,
        acknowledged: int | None,
    ) -> Deferred[Delivery]:
        if number < session.last_connect:
            # It waited for Redis, and a later one did not need to.
            return succeed(_empty(superseded=True))
        session.last_connect = number
        connected = self._hub.connect(
            session, hold=hold, stream=stream, acknowledged=acknowledged
        )
        self._node.checkpoints.connected(session)
        return connected

    def _connect_later(
        self,
        number: int,
        session_id: str,
        hold: float,
        stream: Stream | None,
        acknowledged: int | None,
    ) -> Deferred[Delivery]:
        until = self._reactor.seconds() + hold
        claimed = acknowledged or 0

        def again() -> Deferred[Delivery]:
            return self._accept(number, session_id, hold, stream, acknowledged)

        def found(owned: OwnedSession | Delivery) -> Delivery | Deferred[Delivery]:
            if not isinstance(owned, OwnedSession):
                return owned
            if _ahead(owned, claimed) and claimed <= self._hub.position:
                # It was sent by another node that was unresponsive or cut off.
                self._hub.catch_up(owned)
                owned.mark_sent(claimed)
            if hold <= 0 and self._behind():
                caught_up = Deferred.fromCoroutine(self._caught_up())
                return caught_up.addCallback(lambda _: again())
            left = max(0.0, until - self._reactor.seconds())
            connected = self._connect(number, owned, left, stream, acknowledged)
            # Limits were not enforced while no node had the session in memory.
            self._hub.enforce_limits(owned)
            return connected

        # No coroutine waits while the connect is held: one that is cancelled leaves a
        # cycle, in which the connection and the session are, too.
        finding = self._find(session_id, until, stream, claimed)
        waiting = Deferred.fromCoroutine(finding).addCallback(found)
        answer: Deferred[Delivery] = Deferred(lambda _: waiting.cancel())
        waiting.addCallbacks(answer.callback, answer.errback)
        return answer

    async def _find(
        self, session_id: str, until: float, stream: Stream | None, claimed: int
    ) -> OwnedSession | Delivery:
        """Return the session, or the answer to a connect without it."""
        try:
            await self._verify(session_id, until, claimed)
            session = await self._acquire(session_id, until, stream)
        except Superseded:
            return _empty(superseded=True)
        except SessionEnded as error:
            # As for a held connect: a client that disconnected need not handshake.
            return _empty(ended=error.reason, why=error.why)
        return _empty() if session is None else session

    async def _verify(self, session_id: str, until: float, claimed: int) -> None:
        """Check in Redis whether this node still owns a session, if that is in doubt.

        It is if the client acknowledges more than this node has sent, or if this node
        may have counted as dead.  Nothing is released before Redis has answered,
        because the client may claim any position.
        """
        node = self._node
        session = node.owner.owned.get(session_id)
        if session is None:
            return
        ahead = _ahead(session, claimed)
        if not ahead and not node.ownership_uncertain:
            return
        try:
            mark = await node.owner.verify([session], patience=self._patience(until))
        except BayeuxError:
            if ahead:
                raise
            return
        if ahead and claimed <= mark.position:
            await node.feed.wait_for(mark)

    def _patience(self, until: float) -> float:
        left: float = until - self._reactor.seconds()
        return max(left, self._node.patience)

    async def _acquire(
        self, session_id: str, until: float, stream: Stream | None
    ) -> OwnedSession | None:
        """Return the session; None if another node has its stream until ``until``."""
        while True:
            left = max(0.0, until - self._reactor.seconds())
            session = await self._node.owner.acquire(
                session_id,
                hold=left,
                patience=self._patience(until),
                leave=stream is None,
            )
            if session is not None:
                return session
            if stream is not None:
                # The acquisition was shared with a poll that leaves the session to
                # another node.
                continue
            pause = min(left, _ELSEWHERE)
            if pause <= 0 or not await self._look_again(session_id, pause):
                return None

    async def _look_again(self, session_id: str, seconds: float) -> bool:
        """Wait, and return whether to try again; fail if another connect arrives."""
        former = self._elsewhere.get(session_id)
        waiting: Deferred[bool] = Deferred()
        self._elsewhere[session_id] = waiting
        if former is not None:
            former.errback(Superseded())
        call = self._reactor.callLater(seconds, waiting.callback, True)
        try:
            return await waiting
        finally:
            if call.active():
                call.cancel()
            if self._elsewhere.get(session_id) is waiting:
                del self._elsewhere[session_id]

    def _behind(self) -> bool:
        return self._node.ready and self._node.feed.behind

    async def _caught_up(self) -> None:
        try:
            reached = self._node.feed.caught_up()
            await reached.addTimeout(_ELSEWHERE, self._reactor)
        except (BayeuxError, DeferredTimeout):
            _log.debug("Redis went away while a connect waited for the log")


def _ahead(session: Session, claimed: int) -> bool:
    """Return whether a client acknowledges more than this node has sent it."""
    return session.acknowledges and claimed > session.seen


def _empty(
    *, superseded: bool = False, ended: Reason | None = None, why: str | None = None
) -> Delivery:
    return ConnectDelivery(
        entries=(),
        acknowledgement=None,
        superseded=superseded,
        ended=ended,
        why=why,
        returned=None,
    )
