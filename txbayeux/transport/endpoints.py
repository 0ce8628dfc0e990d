"""Endpoints for a server: TCP or TLS, direct or through a proxy's tunnel.

Certificates are verified against the platform's roots and the host name, unless
the user passes another policy.  Only a proxy that the user passes is used; the
environment is ignored.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from functools import partial
from typing import Any, Final, cast

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import (
    IAddress,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.client import URI, BrowserLikePolicyForHTTPS
from twisted.web.iweb import IAgentEndpointFactory, IPolicyForHTTPS
from zope.interface import implementer

from txbayeux.transport.base import Unreachable
from txbayeux.transport.response_head import ResponseHead
from txbayeux.transport.url import Credentials, Proxy, ServerURL

__all__ = ["EndpointFactory", "basic_authorization"]

_MAX_PROXY_HEAD: Final = 16 * 1024


def basic_authorization(credentials: Credentials) -> str:
    """Return the value of an Authorization header; source: RFC 7617."""
    text = f"{credentials.user}:{credentials.password}".encode()
    return f"Basic {base64.b64encode(text).decode('ascii')}"


@implementer(IAgentEndpointFactory)
class EndpointFactory:
    """Makes the endpoints for HTTP and for WebSockets."""

    def __init__(
        self,
        reactor: Any,
        *,
        tls: IPolicyForHTTPS | None,
        proxy: Proxy | None,
        timeout: float,
    ) -> None:
        """:param timeout: seconds that a TCP connection may take."""
        self._reactor = reactor
        self._tls = tls
        self._proxy = proxy
        self._timeout = timeout
        self._connections: set[_Connection] = set()
        self._aborting: list[Deferred[None]] = []

    def endpoint(self, to: ServerURL) -> IStreamClientEndpoint:
        """Return the endpoint of the server of ``to``."""
        if self._proxy is None:
            stream = self._tcp(to)
        else:
            proxy = self._proxy
            head = [f"CONNECT {_authority(to)} HTTP/1.1", f"Host: {_authority(to)}"]
            if proxy.credentials is not None:
                authorization = basic_authorization(proxy.credentials)
                head.append(f"Proxy-Authorization: {authorization}")
            stream = cast(
                IStreamClientEndpoint,
                _Tunnel(
                    self._secured(proxy.endpoint, self._tcp(proxy.endpoint)),
                    "\r\n".join([*head, "", ""]).encode("ascii"),
                    self._reactor,
                    self._timeout,
                ),
            )
        return self._secured(to, stream)

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """Return the endpoint of the server of ``uri``, for ``Agent``."""
        scheme, host = uri.scheme.decode("ascii"), uri.host.decode("ascii")
        endpoint = self.endpoint(ServerURL(scheme, host, uri.port, "/"))
        return _TrackedEndpoint(endpoint, self)

    def abort(self) -> Deferred[None]:
        """Abort the connections made for ``Agent``; fires when they are gone."""
        aborted: Deferred[None] = Deferred()
        self._aborting.append(aborted)
        for connection in list(self._connections):
            connection.abortConnection()
        self._settle()
        return aborted

    def connected(self, connection: _Connection) -> None:
        """Called when a connection made for ``Agent`` is established."""
        self._connections.add(connection)

    def disconnected(self, connection: _Connection) -> None:
        """Called when such a connection is lost."""
        self._connections.discard(connection)
        self._settle()

    def _settle(self) -> None:
        if not self._connections:
            aborting, self._aborting = self._aborting, []
            for aborted in aborting:
                aborted.callback(None)

    def _tcp(self, to: ServerURL) -> IStreamClientEndpoint:
        # That of Twisted creates the global reactor, which asyncio's does without.
        make = getattr(self._reactor, "hostname_endpoint", None) or partial(
            HostnameEndpoint, self._reactor
        )
        return make(to.host, to.port, timeout=self._timeout)

    def _secured(
        self, to: ServerURL, stream: IStreamClientEndpoint
    ) -> IStreamClientEndpoint:
        if not to.secure:
            return stream
        if self._tls is None:  # not before it is needed: it reads the platform's roots
            self._tls = BrowserLikePolicyForHTTPS()
        creator = self._tls.creatorForNetloc(to.host.encode("ascii"), to.port)
        return wrapClientTLS(creator, stream, self._reactor)


def _authority(to: ServerURL) -> str:
    host = f"[{to.host}]" if ":" in to.host else to.host
    return f"{host}:{to.port}"


class _Connection(ProtocolWrapper):
    """A connection that is aborted rather than closed, and limits response heads.

    Twisted's HTTP client only closes connections: with a peer that does not read,
    or does not answer TLS's close alert, that would never end.
    """

    def __init__(
        self, factory: Any, wrapped: IProtocol, endpoint_factory: EndpointFactory
    ) -> None:
        super().__init__(factory, wrapped)
        self._endpoint_factory = endpoint_factory
        self._head = ResponseHead()

    def write(self, data: bytes) -> None:
        self._head = ResponseHead()  # of the response to what is sent now
        super().write(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self._head = ResponseHead()
        super().writeSequence(data)

    def dataReceived(self, data: bytes) -> None:
        if self._head.feed(data):
            self.abortConnection()
        else:
            super().dataReceived(data)

    def connectionMade(self) -> None:
        self._endpoint_factory.connected(self)
        super().connectionMade()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self._endpoint_factory.disconnected(self)

    def loseConnection(self) -> None:
        self.abortConnection()

    def stopProducing(self) -> None:
        self.abortConnection()

    def abortConnection(self) -> None:
        cast(Any, self.transport).abortConnection()


class _ConnectionFactory(WrappingFactory):
    noisy = False

    def __init__(self, factory: Any, endpoint_factory: EndpointFactory) -> None:
        super().__init__(factory)
        # Its log events, two for each connection, would keep the client alive where
        # logging was not begun.
        factory.noisy = False
        self._endpoint_factory = endpoint_factory

    def buildProtocol(self, addr: IAddress | None) -> _Connection:
        wrapped = self.wrappedFactory.buildProtocol(addr)
        return _Connection(self, wrapped, self._endpoint_factory)


@implementer(IStreamClientEndpoint)
class _TrackedEndpoint:
    """An endpoint whose connections the endpoint factory can abort."""

    def __init__(
        self, endpoint: IStreamClientEndpoint, endpoint_factory: EndpointFactory
    ) -> None:
        self._endpoint = endpoint
        self._endpoint_factory = endpoint_factory

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        connecting = self._endpoint.connect(
            _ConnectionFactory(protocolFactory, self._endpoint_factory)
        )
        return connecting.addCallback(lambda made: cast(Any, made).wrappedProtocol)


@implementer(IStreamClientEndpoint)
class _Tunnel:
    """An endpoint behind a proxy's tunnel; source: RFC 9110, CONNECT."""

    def __init__(
        self, proxy: IStreamClientEndpoint, head: bytes, reactor: Any, timeout: float
    ) -> None:
        self._proxy = proxy
        self._head = head
        self._reactor = reactor
        self._timeout = timeout

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        def ask(protocol: IProtocol) -> Deferred[IProtocol]:
            tunnel = cast(_TunnelProtocol, protocol)
            return tunnel.open(self._head, protocolFactory).addTimeout(
                self._timeout, self._reactor, _tunnel_timed_out
            )

        connecting: Deferred[IProtocol] = self._proxy.connect(
            Factory.forProtocol(_TunnelProtocol)
        )
        return connecting.addCallback(ask)


def _tunnel_timed_out(result: object, timeout: float) -> Any:
    raise Unreachable(f"the proxy did not open a tunnel within {timeout} s")


class _TunnelProtocol(Protocol):
    """The connection to the proxy; forwards to the inner protocol once open."""

    _inner: IProtocol | None = None
    _opened: Deferred[IProtocol] | None = None
    _buffer = b""

    def open(self, head: bytes, factory: IProtocolFactory) -> Deferred[IProtocol]:
        self._factory = factory
        self._opened = Deferred(self._cancelled)
        cast(Any, self.transport).write(head)
        return self._opened

    def dataReceived(self, data: bytes) -> None:
        if self._inner is not None:
            self._inner.dataReceived(data)
            return
        self._buffer += data
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            if len(self._buffer) > _MAX_PROXY_HEAD:
                self._fail(Unreachable("the proxy's response head is too long"))
            return
        status = head.split(b"\r\n", 1)[0].split(b" ", 2)
        if len(status) < 2 or not status[0].startswith(b"HTTP/1."):
            self._fail(Unreachable("the proxy does not speak HTTP"))
        elif status[1] != b"200":
            why = b" ".join(status[1:])[:100].decode("ascii", "replace")
            self._fail(Unreachable(f"the proxy refused a tunnel: {why}"))
        else:
            self._succeed(rest)

    def _succeed(self, rest: bytes) -> None:
        opened, self._opened = self._opened, None
        address = cast(Any, self.transport).getPeer()
        inner = self._factory.buildProtocol(cast(IAddress, address))
        if inner is None or opened is None:
            self._abort()
            return
        self._inner = inner
        inner.makeConnection(cast(Any, self.transport))
        if rest:
            inner.dataReceived(rest)
        opened.callback(inner)

    def _fail(self, error: Unreachable) -> None:
        opened, self._opened = self._opened, None
        self._abort()
        if opened is not None:
            opened.errback(error)

    def _cancelled(self, opened: Deferred[IProtocol]) -> None:
        self._opened = None
        self._abort()

    def _abort(self) -> None:
        cast(Any, self.transport).abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._inner is not None:
            self._inner.connectionLost(reason)
        elif self._opened is not None:
            opened, self._opened = self._opened, None
            opened.errback(Unreachable("the proxy closed the connection"))
