"""Autobahn's client protocol, reduced to what the ``websocket`` transport needs.

Timers are the transport's: Autobahn's run on the global reactor.
"""

from __future__ import annotations

from typing import Any, Final, Protocol, cast

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from autobahn.websocket.compress import (
    PerMessageDeflateOffer,
    PerMessageDeflateResponse,
    PerMessageDeflateResponseAccept,
)
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from txbayeux.transport.base import (
    GATEWAY,
    Context,
    NoReply,
    TransportError,
    TransportUnavailable,
    Unreachable,
)
from txbayeux.transport.cookies import cookie_header, store_cookies
from txbayeux.transport.failures import to_transport_error
from txbayeux.transport.response_head import MAX_HEAD

__all__ = ["SocketListener", "WebSocketFactory", "WebSocketProtocol"]

_TOO_BIG: Final = 1009


class SocketListener(Protocol):
    """The callbacks of one connection."""

    def opened(self, protocol: WebSocketProtocol) -> None:
        """Called when messages can be sent."""

    def message(self, payload: bytes, is_binary: bool) -> None:
        """Called with each message."""

    def pong(self) -> None:
        """Called when the peer answers a ping."""

    def closing(self, error: TransportError) -> None:
        """Called when the peer closes; the close frame has been answered."""

    def fail(self, error: TransportError) -> None:
        """Called with invalid input; must drop the connection."""

    def lost(self, error: TransportError) -> None:
        """Called when the connection is gone."""


class WebSocketProtocol(WebSocketClientProtocol):
    """Autobahn's protocol, reduced to the events of :class:`SocketListener`."""

    def __init__(self, listener: SocketListener, context: Context) -> None:
        super().__init__()
        self._listener = listener
        self._context = context
        self._is_open = False
        self._head = 0
        self._reason: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        """See Twisted; invalid input that Autobahn raises for ends the connection."""
        if not self._is_open:
            self._head += len(data)
            if self._head > MAX_HEAD:
                self._listener.fail(
                    TransportUnavailable("the response to the upgrade is too long")
                )
                return
        try:
            super().dataReceived(data)
        except Exception as error:
            # Autobahn raises for some invalid input, such as a head that is no text.
            self._listener.fail(NoReply(f"invalid frame: {error}"))

    def onConnect(self, response: object) -> None:
        """Store the cookies of the upgrade's response."""
        lines = self.http_response_data.decode("latin-1").split("\r\n")
        cookies = [
            line.partition(":")[2].strip()
            for line in lines
            if line.lower().startswith("set-cookie:") and line.isascii()
        ]
        store_cookies(self._context.jar, self._context.endpoint, cookies)

    def onOpen(self) -> None:
        """Called when the upgrade is done."""
        self._is_open = True
        self._listener.opened(self)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """Called with each message."""
        self._listener.message(payload, isBinary)

    def onPong(self, payload: bytes) -> None:
        """Called when the peer answers a ping."""
        self._listener.pong()

    def onCloseFrame(self, code: int, reasonRaw: bytes) -> Any:
        """Answer as Autobahn does, and tell the listener at once."""
        by_peer = self.state == self.STATE_OPEN
        is_wrong = super().onCloseFrame(code, reasonRaw)
        if by_peer:
            status = 413 if code == _TOO_BIG else None
            why = f"the socket was closed: {code}"
            self._listener.closing(NoReply(why, status))
        return is_wrong

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Keep the reason, which Autobahn does not."""
        self._reason = reason
        super().connectionLost(reason)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """Called when the connection is gone."""
        self._listener.lost(self._error(code, reason))

    def _error(self, code: int | None, reason: str | None) -> TransportError:
        cause = to_transport_error(self._reason or Failure(NoReply("closed")))
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
        # A gateway whose server restarts does not show that WebSockets do not work.
        return (NoReply if status in GATEWAY else TransportUnavailable)(why, status)

    def pause(self) -> None:
        """Stop reading.  What was read already is still handled."""
        cast(Any, self.transport).pauseProducing()

    def resume(self) -> None:
        """Read again."""
        cast(Any, self.transport).resumeProducing()

    def abort(self) -> None:
        """Abort the connection; ``onClose`` follows."""
        cast(Any, self.transport).abortConnection()


class WebSocketFactory(WebSocketClientFactory):
    """Makes one :class:`WebSocketProtocol`, with the headers of its upgrade."""

    def __init__(self, listener: SocketListener, context: Context) -> None:
        endpoint = context.endpoint
        headers = dict(context.headers_for(endpoint))
        cookie = cookie_header(context.jar, endpoint)
        if cookie is not None:
            headers.setdefault("Cookie", cookie)
        super().__init__(endpoint.socket_url, headers=headers, reactor=context.reactor)
        if ":" in endpoint.host:
            self.host = f"[{endpoint.host}]"  # for the Host header
        self.noisy = False
        self._listener = listener
        self._context = context
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

    def buildProtocol(self, addr: object) -> WebSocketProtocol:
        """Return the protocol of the connection."""
        protocol = WebSocketProtocol(self._listener, self._context)
        protocol.factory = self
        return protocol


def _accept(response: object) -> PerMessageDeflateResponseAccept | None:
    if isinstance(response, PerMessageDeflateResponse):
        return PerMessageDeflateResponseAccept(response)
    return None
