"""The service in a ``twisted.web`` tree: every transport at one URL, and below it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil
from pathlib import Path
from typing import Any, Final

import msgspec
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.resource import IResource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer

from txbayeux.adapter import callback_polling
from txbayeux.adapter.body import TooLarge
from txbayeux.adapter.client_script import ClientScript
from txbayeux.adapter.eventsource import EventStreams, ended_stream, wants_events
from txbayeux.adapter.io import base_of, has_closed, replace_protocol
from txbayeux.adapter.long_polling import LongPolling
from txbayeux.adapter.origins import Origins, cors_headers, preflight_headers
from txbayeux.adapter.proxies import TrustedProxies
from txbayeux.adapter.request import HTTPRequest, RequestHeaders, is_token, peer_of
from txbayeux.adapter.response import (
    INTERNAL_ERROR,
    Header,
    Refused,
    ResponseHead,
    ResponseWriter,
    plain_text,
)
from txbayeux.adapter.websocket import WebSocketConnectionFactory
from txbayeux.adapter.websocket_handshake import upgrade
from txbayeux.interfaces import Clock
from txbayeux.limits import Limits
from txbayeux.message import Malformed
from txbayeux.peer_limits import EVERYBODY, PeerLimits, PeerRegistry
from txbayeux.processor import Processor

__all__ = ["BayeuxResource"]

_ALLOW: Final = (b"Allow", b"GET, POST, OPTIONS")
_SCRIPT_PATH: Final = (b"client.js",)
_MAX_LOGGED: Final = 100
"""Different refusals that are logged, once each; clients choose the origin."""

_log: Final = Logger()


@implementer(IResource)
class BayeuxResource:
    """A leaf for any ``twisted.web`` tree.

    ======================================  =================================
    POST of JSON, or of a form's            long-polling, also from other
    ``message`` (one or several)            origins (CORS)
    GET with ``message`` and ``jsonp``      callback-polling
    GET ``<mount>/<session>``, accepting    EventSource
    ``text/event-stream``
    GET with ``Upgrade: websocket``         WebSocket
    GET ``<mount>/client.js``               Faye's browser client, if given
    ======================================  =================================

    It nests in any :class:`~twisted.web.server.Site`.  In a
    :class:`~txbayeux.adapter.site.BayeuxSite` polls take a third to a quarter of the
    time.  A Site of another kind reads a body of any size into memory, unless it has
    :func:`~txbayeux.adapter.site.bounded_request` for its ``requestFactory``.

    :param reactor: for keep-alives, and to close connections in time.
    :param origins: whose pages may use the service.
    :param peers: limits the requests of each peer; by default nothing does.
    :param proxies: those that are believed when they name a request's client.
    :param client_script: the JavaScript file to serve as ``client.js``.
    :param keep_alive: seconds between signs of life on idle sockets and streams.
    :param websocket_deflate: agree to permessage-deflate where a client offers it.
        It saves bandwidth and costs a copy of each message for each client.
    """

    isLeaf = True

    def __init__(
        self,
        server: Processor,
        reactor: Clock,
        *,
        limits: Limits | None = None,
        origins: Origins | None = None,
        peers: PeerRegistry | None = None,
        proxies: TrustedProxies | None = None,
        client_script: Path | None = None,
        keep_alive: float = 25.0,
        websocket_deflate: bool = False,
    ) -> None:
        self.limits = limits or Limits()
        """The limits of its requests."""
        self.refuses = False
        """Whether the service stops: see :meth:`refuse_requests`."""
        self._server = server
        self._origins = origins or Origins()
        self._peers = peers or PeerRegistry(PeerLimits(unlimited=EVERYBODY), reactor)
        self._proxies = proxies or TrustedProxies()
        self._script = None if client_script is None else ClientScript(client_script)
        self._logged: set[str] = set()
        self._streams = EventStreams(server, reactor, keep_alive=keep_alive)
        self._sockets = WebSocketConnectionFactory(
            server,
            reactor,
            limits=self.limits,
            peers=self._peers,
            keep_alive=keep_alive,
            deflate=websocket_deflate,
        )

    def refuse_requests(self) -> None:
        """Answer every request from now on with 503, and close its connection.

        Those of WebSockets are dropped: without a reply, the client sends them again.
        Those for an event stream get one that ends: with a 503, a browser would never
        ask again.
        To be called when the service stops, before the server does: a client that
        is answered comes back at once on its connection, and would find a service
        that is about to forget it.
        """
        self.refuses = self._sockets.refuses = True

    def close(self) -> Deferred[None]:
        """End every event stream, and close every socket with 1001.

        Fires when the sockets are closed, at the latest after
        :data:`~txbayeux.adapter.websocket.CLOSE_TIMEOUT`.  Requests that wait for
        the server's answer are the server's to release.
        """
        self._streams.close()
        return self._sockets.close()

    # twisted.web's interface

    def getChildWithDefault(self, name: bytes, request: Request) -> IResource:
        """Never called: a leaf has no children."""
        raise LookupError(name)

    def putChild(self, path: bytes, child: IResource) -> None:
        """Refuse: a leaf has no children."""
        raise TypeError("BayeuxResource is a leaf: put the child beside it")

    def render(self, request: Request) -> int:
        """Answer a request."""
        http_request = _read(request, self.limits)
        if request.method == b"GET" and http_request.path != _SCRIPT_PATH:
            # Access logs, ours or another's, write this: it names the session.
            request.uri = b"/" + b"/".join(request.prepath or ())
        self.handle(http_request, _TwistedWebWriter(request))
        return NOT_DONE_YET

    # All requests, however they were read

    def admit_connection(self, transport: Any) -> bool:
        """Count a new connection; return False if its peer has too many.

        Those of trusted proxies are not counted.
        """
        address = peer_of(transport.getPeer())
        if self._proxies.trusts(address):
            return True
        return self._peers.admit_connection(
            self._peers.key(address), base_of(transport)
        )

    def long_polling(self, request: HTTPRequest) -> LongPolling | None:
        """Return what serves POSTs with this request's head, whatever their body.

        None if :meth:`handle` is to answer them, as it is where a body cannot be read
        and once the service :attr:`refuses` requests.
        """
        request = self._from_client(request)
        try:
            headers = self._check_origin(request)
            return LongPolling(request, self._server, self.limits, headers, self._peers)
        except Refused:
            return None

    def handle(
        self,
        request: HTTPRequest,
        writer: ResponseWriter,
        *,
        wait: float | None = None,
    ) -> None:
        """Answer a request.

        :param wait: what :meth:`LongPolling.admit` has returned, if it was called.
        """
        try:
            self._dispatch(self._from_client(request), writer, wait)
        except Refused as error:
            writer.respond(*plain_text(error.status, error.text, error.headers))
        except Exception:
            _log.failure("Answering a request failed")
            writer.respond(*INTERNAL_ERROR)

    def _dispatch(
        self, request: HTTPRequest, writer: ResponseWriter, wait: float | None
    ) -> None:
        if self.refuses:
            if request.method == b"GET" and wants_events(request):
                writer.respond(*ended_stream(self._check_origin(request)))
                return
            raise Refused(503, "The service is stopping", [(b"Connection", b"close")])
        if wait is None:
            peer = self._peers.key(peer_of(request.address))
            wait = self._peers.admit_request(peer, len(request.body))
        if wait:
            after = (b"Retry-After", b"%d" % ceil(wait))
            raise Refused(
                429, "Too many requests", [after, *self._check_origin(request)]
            )
        if (
            self._script is not None
            and request.path == _SCRIPT_PATH
            and request.method in (b"GET", b"HEAD")
        ):
            self._script.serve(request, writer)
            return
        headers = self._check_origin(request)
        try:
            self._serve(request, writer, headers)
        except Malformed as error:
            raise Refused(400, str(error), headers) from error
        except TooLarge as error:
            raise Refused(413, str(error), headers) from error
        except Refused as error:
            error.headers = (*error.headers, *headers)
            raise

    def _serve(
        self, request: HTTPRequest, writer: ResponseWriter, headers: Sequence[Header]
    ) -> None:
        if request.method == b"POST":
            polling = LongPolling(
                request, self._server, self.limits, headers, self._peers
            )
            messages = polling.read(request.body)
            polling.process(messages, polling.respond_through(writer))
        elif request.method == b"GET":
            # Others, such as h2c, may be ignored (RFC 9110, 7.8).
            if is_token(request.headers.get("upgrade"), "websocket"):
                upgrade(request, writer, self._sockets)
            elif wants_events(request):
                self._streams.open(request, writer, headers)
            else:
                callback_polling.serve(
                    request,
                    writer,
                    self._server,
                    limits=self.limits,
                    headers=headers,
                    peers=self._peers,
                )
        elif request.method == b"OPTIONS":
            allowed = (_ALLOW, *preflight_headers(request), *headers)
            writer.respond(ResponseHead(204, allowed), b"")
        else:
            raise Refused(405, "Bayeux knows GET, POST and OPTIONS", [_ALLOW])

    def _from_client(self, request: HTTPRequest) -> HTTPRequest:
        """Return a request with the address of the client behind trusted proxies."""
        peer = peer_of(request.address)
        client = self._proxies.client(peer, request.headers.get)
        if client == peer:
            return request
        kind = IPv6Address if ":" in client else IPv4Address
        return msgspec.structs.replace(request, address=kind("TCP", client, 0))

    def _check_origin(self, request: HTTPRequest) -> tuple[Header, ...]:
        """Return the CORS header fields of the response.

        :raises Refused: with 403, if the page may not use the service.
        """
        refusal = self._origins.refusal(
            request.headers.get,
            request.secure,
            script=request.method == b"GET" and not wants_events(request),
        )
        if refusal is None:
            return cors_headers(request)
        # Once: no browser shows a page why its socket was refused.
        if refusal not in self._logged and len(self._logged) < _MAX_LOGGED:
            self._logged.add(refusal)
            _log.warn("Refused: {refusal}", refusal=refusal)
        raise Refused(403, refusal)


def _read(request: Request, limits: Limits) -> HTTPRequest:
    """Convert a request of ``twisted.web``."""
    content: Any = request.content
    return HTTPRequest(
        method=request.method,
        path=tuple(request.postpath or ()),
        query=request.uri.partition(b"?")[2],
        version=request.clientproto,
        headers=RequestHeaders(
            b"".join(
                b"%b:%b\r\n" % (name, value)
                for name, values in request.requestHeaders.getAllRawHeaders()
                for value in values
            )
        ),
        # Not all of what a Site without bounds has taken.
        body=content.read(limits.request_bytes + 1),
        address=request.getClientAddress(),
        secure=request.isSecure(),
    )


class _TwistedWebWriter:
    """Answers through ``twisted.web``: a ResponseWriter."""

    def __init__(self, request: Request) -> None:
        self._request = request

    def respond(self, head: ResponseHead, body: bytes) -> None:
        """See :class:`~txbayeux.adapter.response.ResponseWriter`."""
        request = self._request
        self._set_head(head)
        if head.has_body:
            request.setHeader(b"Content-Length", b"%d" % len(body))
        channel = request.channel
        if head.closes and isinstance(channel, HTTPChannel):  # and not HTTP/2's
            channel.persistent = False
        request.write(body)
        request.finish()

    def start_stream(self, head: ResponseHead, producer: IPushProducer) -> None:
        """See :class:`~txbayeux.adapter.response.ResponseWriter`."""
        self._set_head(head)
        self._request.registerProducer(producer, True)

    def write(self, data: bytes) -> None:
        """See :class:`~txbayeux.adapter.response.ResponseWriter`."""
        self._request.write(data)

    def finish(self) -> None:
        """See :class:`~txbayeux.adapter.response.ResponseWriter`."""
        self._request.unregisterProducer()
        self._request.finish()

    def upgrade(self, protocol: Any) -> bytes:
        """See :class:`~txbayeux.adapter.response.ResponseWriter`."""
        channel: Any = self._request.channel
        transport, channel.transport = channel.transport, None
        # The channel and the request refer to each other; the channel is the
        # transport's producer.  They would live as long as the new protocol, or longer.
        channel.requests.remove(self._request)
        self._request.transport = None
        transport.unregisterProducer()
        replace_protocol(transport, protocol)
        # What came in one read with the request is still on its way to the channel.
        channel.rawDataReceived = protocol.dataReceived
        protocol.makeConnection(transport)
        transport.resumeProducing()
        return b""

    def call_when_lost(self, callback: Callable[[], None]) -> None:
        """See :class:`~txbayeux.adapter.response.ResponseWriter`."""
        self._request.notifyFinish().addErrback(self._lost, callback)

    def client_gone(self, turn: int | None) -> bool:
        """See :class:`~txbayeux.adapter.response.ResponseWriter`."""
        if not has_closed(self._request.transport):
            return False
        self._request.loseConnection()
        return True

    def _lost(self, _: Failure, callback: Callable[[], None]) -> None:
        # What the callback reaches may refer to this writer: it keeps the request, but
        # not the transport with all that was not sent, nor itself by the producer.
        self._request.producer = self._request.transport = None
        callback()

    def _set_head(self, head: ResponseHead) -> None:
        request = self._request
        request.setResponseCode(head.status)
        request.defaultContentType = None  # where there is no body
        for name, value in head.headers:
            request.responseHeaders.addRawHeader(name, value)
