"""The ``websocket`` connection type, through Autobahn.

A socket is opened when something is to be sent, and kept.  Its end is seen at
once; a peer that is silent is pinged, and dropped if it stays so.  All timers
are our own, on the client's reactor: Autobahn's run on the global one.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, cast

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from autobahn.websocket.compress import (
    PerMessageDeflateOffer,
    PerMessageDeflateResponse,
    PerMessageDeflateResponseAccept,
)
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from txbayeux.message import Message, encode_list
from txbayeux.transport.cookies import cookie_header, store_cookies
from txbayeux.transport.dialer import Dialer
from txbayeux.transport.exchange import Exchange, read
from txbayeux.transport.interface import (
    Context,
    NoReply,
    Receiver,
    TransportError,
    Unreachable,
    Unusable,
)
from txbayeux.transport.trouble import explained

__all__ = ["WebSocket"]

_CLOSE_SECONDS: Final = 2.0
"""How long the peer may take to close; precedent: Autobahn has 1, websockets 10."""
_NORMAL: Final = 1000
_MAX_HEAD: Final = 64 * 1024
_GATEWAY: Final = frozenset({500, 502, 503, 504})


class WebSocket:
    """Bayeux over WebSocket, as Faye's and CometD's servers speak it."""

    connection_type = "websocket"
    pipelined = True
    batch_bytes = 32 * 1024
    """Half of CometD's default ``ws.maxMessageSize``."""

    def __init__(
        self, context: Context, receiver: Receiver, dialer: Dialer | None = None
    ) -> None:
        self._context = context
        self._receiver = receiver
        self._dialer = dialer or Dialer(
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
        """See :meth:`Transport.send <txbayeux.transport.interface.Transport.send>`.

        A reply that does not come in time ends the socket: what is in flight on
        it fails, and nothing can arrive late on another one.
        """
        if self._socket is None:
            self._socket = _Socket(self, self._context, self._dialer)
            self._socket.open()
        return self._socket.send(messages, timeout)

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

    def __init__(self, owner: WebSocket, context: Context, dialer: Dialer) -> None:
        self._owner = owner
        self._context = context
        self._dialer = dialer
        self._protocol: _Protocol | None = None
        self._connecting: Deferred[Any] | None = None
        self._outbox: list[bytes] = []
        self._exchanges: dict[Exchange, tuple[Deferred[None], Any]] = {}
        self._timer: Any = None
        self._ended = False
        self._heard = False
        self._useful = False
        self._why: TransportError | None = None

    def open(self) -> None:
        context = self._context
        factory = _Factory(self, context)
        self._timer = context.reactor.callLater(
            context.network_delay,
            self.fail,
            Unusable(f"no socket opened within {context.network_delay:g} s"),
        )
        connecting = self._dialer.endpoint(context.endpoint).connect(factory)
        self._connecting = connecting

        def connected(protocol: object) -> None:
            self._connecting = None

        def failed(failure: Failure) -> None:
            self._connecting = None
            self._end(explained(failure))

        connecting.addCallbacks(connected, failed)

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
        if self._protocol is None:
            self._outbox.append(frame)
        else:
            cast(Any, self._protocol).sendMessage(frame)

    def _late(self, timeout: float) -> None:
        why = f"no reply within {timeout:g} s"
        # One that never answered anything may be a proxy that swallows frames.
        self.fail(
            NoReply(why) if self._useful else Unusable(f"{why}, over a new socket")
        )

    # What the protocol tells.

    def opened(self, protocol: _Protocol) -> None:
        if self._ended:
            return
        self._protocol = protocol
        self._rest()
        outbox, self._outbox = self._outbox, []
        for frame in outbox:
            cast(Any, protocol).sendMessage(frame)

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

    def lost(self, error: TransportError) -> None:
        """Hear that the connection is gone."""
        self._protocol = None
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
        self._fail_exchanges(NoReply("the socket was closed"))
        if self._protocol is None:
            self.fail(NoReply("the socket was closed"))
            return
        self._ended = True
        _stop(self._timer)
        protocol = self._protocol
        self._timer = self._context.reactor.callLater(_CLOSE_SECONDS, protocol.abort)
        protocol.sendClose(_NORMAL)

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


class _Protocol(WebSocketClientProtocol):
    """Autobahn's protocol, reduced to what :class:`_Socket` wants to know."""

    def __init__(self, socket: _Socket, context: Context) -> None:
        super().__init__()
        self._socket = socket
        self._context = context
        self._is_open = False
        self._head = 0
        self._reason: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        if not self._is_open:
            self._head += len(data)
            if self._head > _MAX_HEAD:
                self._socket.fail(Unusable("the answer to the upgrade has no end"))
                return
        try:
            super().dataReceived(data)
        except Exception as error:
            # Autobahn lets some garbage, such as bytes that are no text, escape.
            self._socket.fail(NoReply(f"broken frame: {error}"))

    def onConnect(self, response: object) -> None:
        lines = self.http_response_data.decode("latin-1").split("\r\n")
        cookies = [
            line.partition(":")[2].strip()
            for line in lines
            if line.lower().startswith("set-cookie:")
        ]
        store_cookies(self._context.jar, self._context.endpoint, cookies)

    def onOpen(self) -> None:
        self._is_open = True
        self._socket.opened(self)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self._socket.message(payload, isBinary)

    def onPong(self, payload: bytes) -> None:
        self._socket.heard()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._reason = reason
        super().connectionLost(reason)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self._socket.lost(self._trouble(code, reason))

    def _trouble(self, code: int | None, reason: str | None) -> TransportError:
        cause = explained(self._reason or Failure(NoReply("closed")))
        if isinstance(cause, Unreachable):  # TLS: Autobahn opens before it is verified
            return cause
        if self._is_open:
            return NoReply(f"the socket was closed: {code} {reason or ''}".rstrip())
        status_line = getattr(self, "http_status_line", "")
        words = status_line.split()
        status = int(words[1]) if len(words) > 1 and words[1].isdecimal() else None
        if status is None:
            return NoReply("the connection was closed before it was upgraded")
        why = f"the upgrade was refused: {status_line[:100]}"
        # A gateway whose server restarts says nothing of whether sockets work.
        return (NoReply if status in _GATEWAY else Unusable)(why, status)

    def abort(self) -> None:
        """Drop the connection; ``onClose`` follows."""
        cast(Any, self.transport).abortConnection()


class _Factory(WebSocketClientFactory):
    def __init__(self, socket: _Socket, context: Context) -> None:
        endpoint = context.endpoint
        headers = dict(context.headers_for(endpoint))
        cookie = cookie_header(context.jar, endpoint)
        if cookie is not None:
            headers.setdefault("Cookie", cookie)
        super().__init__(endpoint.socket_url, headers=headers, reactor=context.reactor)
        if ":" in endpoint.host:
            self.host = f"[{endpoint.host}]"  # for the Host header
        self.noisy = False
        self._made = (socket, context)
        self.setProtocolOptions(
            maxFramePayloadSize=context.max_response,
            maxMessagePayloadSize=context.max_response,
            openHandshakeTimeout=0,
            closeHandshakeTimeout=0,
            serverConnectionDropTimeout=0,
        )
        if context.compression:
            self.setProtocolOptions(
                perMessageCompressionOffers=[PerMessageDeflateOffer()],
                perMessageCompressionAccept=_accept,
            )

    def buildProtocol(self, addr: object) -> _Protocol:
        protocol = _Protocol(*self._made)
        protocol.factory = self
        return protocol


def _accept(response: object) -> PerMessageDeflateResponseAccept | None:
    if isinstance(response, PerMessageDeflateResponse):
        return PerMessageDeflateResponseAccept(response)
    return None
