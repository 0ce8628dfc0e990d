"""The ``websocket`` connection type, through Autobahn.

A socket is opened when something is to be sent, and kept open.  A peer that sends
nothing is pinged, and the connection dropped if there is no answer.  The timers
run on the client's reactor: Autobahn's run on the global one.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, cast

from autobahn.exception import Disconnected
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.python.failure import Failure

from txbayeux.channel import CONNECT
from txbayeux.message import Message, asks_for_immediate_reply, encode_list
from txbayeux.transport.base import (
    Context,
    NoReply,
    Receiver,
    TransportError,
    TransportUnavailable,
)
from txbayeux.transport.endpoints import EndpointFactory
from txbayeux.transport.failures import to_transport_error
from txbayeux.transport.replies import PendingReplies, note_replies, read
from txbayeux.transport.websocket_protocol import WebSocketFactory, WebSocketProtocol

__all__ = ["WebSocket"]

_CLOSE_SECONDS: Final = 2.0
"""Seconds that the peer may take to close; precedent: Autobahn 1, websockets 10."""
_NORMAL: Final = 1000


class WebSocket:
    """Bayeux over WebSocket, as Faye's and CometD's servers speak it."""

    connection_type = "websocket"
    pipelined = True
    batch_bytes = 32 * 1024
    """Half of CometD's default ``ws.maxMessageSize``."""

    def __init__(
        self,
        context: Context,
        receiver: Receiver,
        endpoint_factory: EndpointFactory | None = None,
    ) -> None:
        self._context = context
        self._receiver = receiver
        self._endpoint_factory = endpoint_factory or EndpointFactory(
            context.reactor,
            tls=context.tls,
            proxy=context.proxy,
            timeout=context.network_delay,
        )
        self._socket: _Socket | None = None
        self._closing: set[_Socket] = set()
        self._when_closed: list[Deferred[None]] = []
        self._closed = False
        self._paused = False

    def send(self, messages: Sequence[Message], timeout: float) -> Deferred[None]:
        """See :meth:`Transport.send <txbayeux.transport.base.Transport.send>`.

        A reply that does not arrive in time ends the socket: everything in flight on
        it fails, so that nothing arrives late.  A connect has time for as long as
        messages arrive: a server may answer it when it wants.
        """
        socket = self._socket
        if socket is None:
            socket = self._socket = _Socket(self, self._context, self._endpoint_factory)
            socket.paused = self._paused
            socket.open()  # may fail at once
        return socket.send(messages, timeout)

    def attach(self, session_id: str) -> None:
        """Do nothing: the first connect binds the socket to its session."""

    def pause(self) -> None:
        """Read nothing, unless a reply is awaited that the server does not hold.

        Pings are sent, so that the server does not count the client as gone, although
        their answers are not read.
        """
        self._pause(paused=True)

    def resume(self) -> None:
        """Read again."""
        self._pause(paused=False)

    def _pause(self, *, paused: bool) -> None:
        self._paused = paused
        if self._socket is not None:
            self._socket.paused = paused
            self._socket.adjust_reading()

    def close(self) -> Deferred[None]:
        """Close the socket; fires when it is closed."""
        self._closed = True
        if self._socket is not None:
            socket, self._socket = self._socket, None
            self._closing.add(socket)
            socket.close()
        if not self._closing:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._when_closed.append(waiting)
        return waiting

    def received(self, socket: _Socket, messages: list[Message]) -> None:
        """Called with messages from a socket."""
        if socket is self._socket:
            self._receiver.received(messages)

    def leaving(self, socket: _Socket, error: TransportError) -> None:
        """Called when a socket is closing and cannot be used any more."""
        if socket is self._socket:
            self._socket = None
            self._closing.add(socket)
            self._receiver.broken(error)

    def gone(self, socket: _Socket, error: TransportError) -> None:
        """Called when a socket is closed and everything in flight has failed."""
        self._closing.discard(socket)
        if socket is self._socket:
            self._socket = None
            self._receiver.broken(error)
        if not self._closing:
            waiting, self._when_closed = self._when_closed, []
            for deferred in waiting:
                deferred.callback(None)


@dataclass(slots=True)
class _Batch:
    """What was sent together, and is not answered yet."""

    done: Deferred[None]
    timeout: float
    is_connect: bool
    is_held: bool
    """Whether the server may hold what is left to be answered."""
    timer: Any = None


class _Socket:
    """One socket, opening, open or closing, with its batches in flight and timers."""

    def __init__(
        self, transport: WebSocket, context: Context, endpoint_factory: EndpointFactory
    ) -> None:
        self._transport = transport
        self._context = context
        self._endpoint_factory = endpoint_factory
        self._protocol: WebSocketProtocol | None = None
        self._connecting: Deferred[Any] | None = None
        self._outbox: list[bytes] = []
        self._batches: dict[PendingReplies, _Batch] = {}
        self._last_messages = 0.0
        """When the last messages arrived."""
        self._timer: Any = None
        self.paused = False
        """Whether messages that are pushed should not be read."""
        self._unread = False
        """Whether nothing is read."""
        self._open = False
        self._ended = False
        self._lost = False
        self._alive = False
        self._useful = False
        self._why: TransportError | None = None

    def open(self) -> None:
        context = self._context
        self._timer = context.reactor.callLater(
            context.network_delay,
            self.fail,
            TransportUnavailable(
                f"no socket opened within {context.network_delay:g} s"
            ),
        )
        connecting = self._connecting = maybeDeferred(self._connect)

        def connected(protocol: Any) -> None:
            self._connecting = None
            if not self._lost:
                self._protocol = protocol

        def failed(failure: Failure) -> None:
            self._connecting = None
            self._end(to_transport_error(failure))

        connecting.addCallbacks(connected, failed)

    def _connect(self) -> Deferred[Any]:
        """Connect; raises what a TLS policy raises."""
        endpoint = self._endpoint_factory.endpoint(self._context.endpoint)
        return endpoint.connect(WebSocketFactory(self, self._context))

    def send(self, messages: Sequence[Message], timeout: float) -> Deferred[None]:
        pending = PendingReplies(messages)
        done: Deferred[None] = Deferred(
            lambda _: self.fail(NoReply("the request was given up"))
        )
        if self._ended:
            done.errback(self._why or NoReply("the socket is closed"))
            return done
        is_connect = any(message["channel"] == CONNECT for message in messages)
        is_held = is_connect and not any(map(asks_for_immediate_reply, messages))
        batch = self._batches[pending] = _Batch(done, timeout, is_connect, is_held)
        self._expect_reply(batch, timeout)
        self._write(encode_list(messages))
        self.adjust_reading()
        return done

    def adjust_reading(self) -> None:
        """Begin or stop reading: see :meth:`WebSocket.pause`."""
        wanted = not self.paused or not all(b.is_held for b in self._batches.values())
        if self._ended or not self._open or wanted is not self._unread:
            return
        protocol = cast(WebSocketProtocol, self._protocol)
        self._unread = not wanted
        if wanted:
            protocol.resume()
            self._schedule_ping()
        else:
            protocol.pause()
        for batch in self._batches.values():
            _stop(batch.timer)
            if wanted:
                self._expect_reply(batch, batch.timeout)

    def _expect_reply(self, batch: _Batch, seconds: float) -> None:
        batch.timer = self._context.reactor.callLater(seconds, self._timed_out, batch)

    def _write(self, frame: bytes) -> None:
        if not self._open:
            self._outbox.append(frame)
            return
        try:
            cast(Any, self._protocol).sendMessage(frame)
        except Disconnected:
            self.fail(NoReply("the socket is closing"))

    def _timed_out(self, batch: _Batch) -> None:
        left = self._last_messages + batch.timeout - self._context.reactor.seconds()
        if batch.is_connect and left > 0:
            self._expect_reply(batch, min(left, batch.timeout))  # the clock may be set
            return
        why = f"no reply within {batch.timeout:g} s"
        # A socket without any reply may go through a proxy that drops frames.
        self.fail(
            NoReply(why)
            if self._useful
            else TransportUnavailable(f"{why}, over a new socket")
        )

    # Called by the protocol.

    def opened(self, protocol: WebSocketProtocol) -> None:
        if self._ended:
            return
        self._protocol = protocol
        self._open = True
        self._schedule_ping()
        outbox, self._outbox = self._outbox, []
        for frame in outbox:
            self._write(frame)
        self.adjust_reading()

    def pong(self) -> None:
        """Called when the peer answers a ping."""
        self._alive = True

    def message(self, payload: bytes, is_binary: bool) -> None:
        self._alive = True
        if self._ended:
            return
        if is_binary:
            self.fail(NoReply("a binary message; Bayeux uses text"))
            return
        try:
            messages = read(payload)
        except NoReply as error:
            self.fail(error)
            return
        if not messages:  # `[]` is Faye's heartbeat
            return
        self._useful = True
        self._last_messages = self._context.reactor.seconds()
        note_replies(messages, self._batches)
        self._transport.received(self, messages)
        for pending in [e for e in self._batches if e.complete]:
            batch = self._batches.pop(pending, None)
            if batch is not None:
                _stop(batch.timer)
                batch.done.callback(None)
        self.adjust_reading()

    def closing(self, error: TransportError) -> None:
        """Called when the peer closes; the close frame has been answered."""
        if not self._ended:
            self._finish(error)
            self._transport.leaving(self, error)

    def lost(self, error: TransportError) -> None:
        """Called when the connection is gone."""
        self._protocol = None
        self._lost = True
        self._end(self._why or error)

    # Pings.  Centrifuge and websockets send one every 20 to 25 s.

    def _schedule_ping(self) -> None:
        _stop(self._timer)
        self._alive = False
        self._timer = self._context.reactor.callLater(
            self._context.ping_interval, self._ping
        )

    def _ping(self) -> None:
        if self._alive:
            self._schedule_ping()
            return
        if self._protocol is not None:
            self._protocol.sendPing()
        if self._unread:
            self._schedule_ping()
            return
        self._timer = self._context.reactor.callLater(
            self._context.network_delay, self._check_pong
        )

    def _check_pong(self) -> None:
        if self._alive or self._unread:
            self._schedule_ping()
        else:
            self.fail(NoReply("the peer does not answer pings"))

    # Closing.

    def fail(self, error: TransportError) -> None:
        """Drop the connection; everything in flight fails with ``error``."""
        self._why = self._why or error
        if self._connecting is not None:
            self._connecting.cancel()  # calls `failed`
        elif self._protocol is not None:
            self._protocol.abort()
        self._end(error)

    def close(self) -> None:
        """Close with a close frame; the peer has a limited time to answer it."""
        if not self._open:
            self.fail(NoReply("the socket was closed"))
        elif not self._ended and self._protocol is not None:
            self._finish(NoReply("the socket was closed"))
            self._protocol.sendClose(_NORMAL)

    def _finish(self, error: TransportError) -> None:
        self._why = self._why or error
        self._ended = True
        _stop(self._timer)
        if self._protocol is not None:
            if self._unread:
                self._protocol.resume()  # to read the close frame
            self._timer = self._context.reactor.callLater(
                _CLOSE_SECONDS, self._protocol.abort
            )
        self._fail_batches(error)

    def _end(self, error: TransportError) -> None:
        _stop(self._timer)
        self._ended = True
        self._why = self._why or error
        self._fail_batches(self._why)
        if self._protocol is None and self._connecting is None:
            self._transport.gone(self, self._why)

    def _fail_batches(self, error: TransportError) -> None:
        batches, self._batches = self._batches, {}
        for batch in batches.values():
            _stop(batch.timer)
            batch.done.errback(error)


def _stop(timer: Any) -> None:
    if timer is not None:
        with suppress(AlreadyCalled, AlreadyCancelled):
            timer.cancel()
