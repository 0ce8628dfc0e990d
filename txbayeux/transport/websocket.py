"""The ``websocket`` connection type, through Autobahn.

A socket is opened when something is to be sent, and kept.  Its end is seen at
once; a peer that is silent is pinged, and dropped if it stays so.  All timers
are our own, on the client's reactor: Autobahn's run on the global one.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, cast

from autobahn.exception import Disconnected
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.python.failure import Failure

from txbayeux.message import Message, encode_list
from txbayeux.transport.base import (
    Context,
    NoReply,
    Receiver,
    TransportError,
    TransportUnavailable,
)
from txbayeux.transport.endpoints import EndpointFactory
from txbayeux.transport.exchange import Exchange, read
from txbayeux.transport.failures import explained
from txbayeux.transport.frames import FrameFactory, FrameProtocol

__all__ = ["WebSocket"]

_CLOSE_SECONDS: Final = 2.0
"""How long the peer may take to close; precedent: Autobahn has 1, websockets 10."""
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

    def send(self, messages: Sequence[Message], timeout: float) -> Deferred[None]:
        """See :meth:`Transport.send <txbayeux.transport.base.Transport.send>`.

        A reply that does not come in time ends the socket: what is in flight on
        it fails, and nothing can arrive late on another one.
        """
        socket = self._socket
        if socket is None:
            socket = self._socket = _Socket(self, self._context, self._endpoint_factory)
            socket.open()  # may fail at once
        return socket.send(messages, timeout)

    def attach(self, session_id: str) -> None:
        """Nothing to do: the first connect ties the socket to its session."""

    def close(self) -> Deferred[None]:
        """Close the socket; fires when it is closed, by the peer or by us."""
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
        """Hear of messages from a socket."""
        if socket is self._socket:
            self._receiver.received(messages)

    def leaving(self, socket: _Socket, error: TransportError) -> None:
        """Hear that a socket can no longer be used, though it is not closed yet."""
        if socket is self._socket:
            self._socket = None
            self._closing.add(socket)
            self._receiver.broken(error)

    def gone(self, socket: _Socket, error: TransportError) -> None:
        """Hear that a socket is closed and all its exchanges have failed."""
        self._closing.discard(socket)
        if socket is self._socket:
            self._socket = None
            self._receiver.broken(error)
        if not self._closing:
            waiting, self._when_closed = self._when_closed, []
            for deferred in waiting:
                deferred.callback(None)


class _Socket:
    """One socket: opening, open, or closing; with its exchanges and timers."""

    def __init__(
        self, owner: WebSocket, context: Context, endpoint_factory: EndpointFactory
    ) -> None:
        self._owner = owner
        self._context = context
        self._endpoint_factory = endpoint_factory
        self._protocol: FrameProtocol | None = None
        self._connecting: Deferred[Any] | None = None
        self._outbox: list[bytes] = []
        self._exchanges: dict[Exchange, tuple[Deferred[None], Any]] = {}
        self._timer: Any = None
        self._open = False
        self._ended = False
        self._lost = False
        self._heard = False
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
        connecting = self._connecting = maybeDeferred(self._dial)

        def connected(protocol: Any) -> None:
            self._connecting = None
            if not self._lost:
                self._protocol = protocol

        def failed(failure: Failure) -> None:
            self._connecting = None
            self._end(explained(failure))

        connecting.addCallbacks(connected, failed)

    def _dial(self) -> Deferred[Any]:
        """Connect; may raise, as a policy for TLS does."""
        endpoint = self._endpoint_factory.endpoint(self._context.endpoint)
        return endpoint.connect(FrameFactory(self, self._context))

    def send(self, messages: Sequence[Message], timeout: float) -> Deferred[None]:
        exchange = Exchange(messages)
        done: Deferred[None] = Deferred(
            lambda _: self.fail(NoReply("the request was given up"))
        )
        if self._ended:
            done.errback(self._why or NoReply("the socket is closed"))
            return done
        timer = self._context.reactor.callLater(timeout, self._late, timeout)
        self._exchanges[exchange] = (done, timer)
        self._write(encode_list(messages))
        return done

    def _write(self, frame: bytes) -> None:
        if not self._open:
            self._outbox.append(frame)
            return
        try:
            cast(Any, self._protocol).sendMessage(frame)
        except Disconnected:
            self.fail(NoReply("the socket is closing"))

    def _late(self, timeout: float) -> None:
        why = f"no reply within {timeout:g} s"
        # One that never answered anything may be a proxy that swallows frames.
        self.fail(
            NoReply(why)
            if self._useful
            else TransportUnavailable(f"{why}, over a new socket")
        )

    # What the protocol tells.

    def opened(self, protocol: FrameProtocol) -> None:
        if self._ended:
            return
        self._protocol = protocol
        self._open = True
        self._rest()
        outbox, self._outbox = self._outbox, []
        for frame in outbox:
            self._write(frame)

    def heard(self) -> None:
        """Hear that the peer is alive."""
        self._heard = True

    def message(self, payload: bytes, is_binary: bool) -> None:
        self._heard = True
        if self._ended:
            return
        if is_binary:
            self.fail(NoReply("a binary frame, where Bayeux has text"))
            return
        try:
            messages = read(payload)
        except NoReply as error:
            self.fail(error)
            return
        if not messages:  # `[]` is Faye's heart-beat
            return
        self._useful = True
        for exchange in self._exchanges:
            exchange.note(messages)
        self._owner.received(self, messages)
        for exchange in [e for e in self._exchanges if e.complete]:
            found = self._exchanges.pop(exchange, None)
            if found is not None:
                _stop(found[1])
                found[0].callback(None)

    def closing(self, error: TransportError) -> None:
        """Hear that the peer closes; it has been answered."""
        if not self._ended:
            self._finish(error)
            self._owner.leaving(self, error)

    def lost(self, error: TransportError) -> None:
        """Hear that the connection is gone."""
        self._protocol = None
        self._lost = True
        self._end(self._why or error)

    # Dead peers: Centrifuge and websockets ping at 20 to 25 s.

    def _rest(self) -> None:
        _stop(self._timer)
        self._heard = False
        self._timer = self._context.reactor.callLater(
            self._context.ping_interval, self._rested
        )

    def _rested(self) -> None:
        if self._heard:
            self._rest()
            return
        if self._protocol is not None:
            self._protocol.sendPing()
        self._timer = self._context.reactor.callLater(
            self._context.network_delay, self._pinged
        )

    def _pinged(self) -> None:
        if self._heard:
            self._rest()
        else:
            self.fail(NoReply("the peer does not answer pings"))

    # The end.

    def fail(self, error: TransportError) -> None:
        """Drop the connection; what is in flight fails with ``error``."""
        self._why = self._why or error
        if self._connecting is not None:
            self._connecting.cancel()  # ends in `failed`
        elif self._protocol is not None:
            self._protocol.abort()
        self._end(error)

    def close(self) -> None:
        """Close as the protocol has it; the peer gets a bounded time to answer."""
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
            self._timer = self._context.reactor.callLater(
                _CLOSE_SECONDS, self._protocol.abort
            )
        self._fail_exchanges(error)

    def _end(self, error: TransportError) -> None:
        _stop(self._timer)
        self._ended = True
        self._why = self._why or error
        self._fail_exchanges(self._why)
        if self._protocol is None and self._connecting is None:
            self._owner.gone(self, self._why)

    def _fail_exchanges(self, error: TransportError) -> None:
        exchanges, self._exchanges = self._exchanges, {}
        for done, timer in exchanges.values():
            _stop(timer)
            done.errback(error)


def _stop(timer: Any) -> None:
    if timer is not None:
        with suppress(AlreadyCalled, AlreadyCancelled):
            timer.cancel()
