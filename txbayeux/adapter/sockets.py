"""The open sockets of one resource, and what they share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

from autobahn.twisted.websocket import WebSocketServerFactory
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import LoopingCall

from txbayeux.adapter.frames import FrameCache
from txbayeux.adapter.io import WorkQueue
from txbayeux.adapter.lean import lean_class
from txbayeux.adapter.websocket import WebSocketConnection
from txbayeux.interfaces import Clock, DelayedCall, Request
from txbayeux.limits import Limits
from txbayeux.protocol import Processor

__all__ = ["CLOSE_TIMEOUT", "SocketFactory"]

CLOSE_TIMEOUT: Final = 1.0
"""Seconds that a peer has to answer a close; then its connection is cut."""


class _Timer:
    """In place of Autobahn's, which takes the global reactor."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def call_later(self, delay: float, call: Callable[[], object]) -> DelayedCall:
        return self._clock.callLater(delay, call)


class SocketFactory(WebSocketServerFactory):
    """The open sockets of one resource."""

    def __init__(
        self,
        processor: Processor,
        clock: Clock,
        *,
        limits: Limits,
        keep_alive: float,
        deflate: bool,
    ) -> None:
        WebSocketServerFactory.__init__(self, reactor=clock, server="")
        self.processor = processor
        self.clock = clock
        self.limits = limits
        self.deflate = deflate
        self.frames = FrameCache()
        self.work_queue = WorkQueue(clock)
        self._batched_timer = _Timer(clock)
        self._sockets: set[WebSocketConnection] = set()
        self._closed: Deferred[None] | None = None
        self._interval = keep_alive
        # One timer for all, which runs while there are any.
        self._alarm = LoopingCall(self._tick)
        self._alarm.clock = cast(Any, clock)
        WebSocketServerFactory.setProtocolOptions(
            self,
            # The codec checks the whole message, in C.
            utf8validateIncoming=False,
            maxMessagePayloadSize=limits.request_bytes,
            failByDrop=False,
            openHandshakeTimeout=0,
            closeHandshakeTimeout=CLOSE_TIMEOUT,
        )
        self._socket: type[WebSocketConnection] = lean_class(WebSocketConnection, self)

    def open(self, source: Request) -> WebSocketConnection:
        """Make the protocol for a connection that asked to be upgraded."""
        return self._socket(self, source)

    def opened(self, socket: WebSocketConnection) -> None:
        """Hear that a socket is open."""
        self._sockets.add(socket)
        if not self._alarm.running:
            self._alarm.start(self._interval, now=False)

    def closed(self, socket: WebSocketConnection) -> None:
        """Hear that a socket is gone."""
        self._sockets.discard(socket)
        if not self._sockets:
            if self._alarm.running:
                self._alarm.stop()
            closed, self._closed = self._closed, None
            if closed is not None:
                closed.callback(None)

    def close(self) -> Deferred[None]:
        """Close every socket with 1001; fires when they are gone."""
        self.work_queue.finish()
        if not self._sockets:
            return succeed(None)
        if self._closed is None:
            self._closed = Deferred()
        waiting: Deferred[None] = Deferred()
        self._closed.chainDeferred(waiting)
        for socket in tuple(self._sockets):
            socket.depart(1001)
        return waiting

    def _tick(self) -> None:
        for socket in tuple(self._sockets):
            socket.tick()
