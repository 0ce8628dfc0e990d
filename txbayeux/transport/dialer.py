"""Connections to a server: TCP or TLS, straight or through a proxy's tunnel.

TLS is verified, against the platform's roots and for the host that was named,
unless the user hands in another policy.  No proxy is used but the one that
was named: what the environment says is ignored.
"""

from __future__ import annotations

import base64
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
from twisted.python.failure import Failure
from twisted.web.client import URI, BrowserLikePolicyForHTTPS
from twisted.web.iweb import IAgentEndpointFactory, IPolicyForHTTPS
from zope.interface import implementer

from txbayeux.transport.endpoint import Credentials, Endpoint, Proxy
from txbayeux.transport.interface import Unreachable

__all__ = ["Dialer", "basic"]

_MAX_PROXY_HEAD: Final = 16 * 1024


def basic(credentials: Credentials) -> str:
    """Give the value of an Authorization header; source: RFC 7617."""
    text = f"{credentials.user}:{credentials.password}".encode()
    return f"Basic {base64.b64encode(text).decode('ascii')}"


@implementer(IAgentEndpointFactory)
class Dialer:
    """Makes the endpoints for HTTP and for sockets alike."""

    def __init__(
        self,
        reactor: Any,
        *,
        tls: IPolicyForHTTPS | None,
        proxy: Proxy | None,
        timeout: float,
    ) -> None:
        """:param timeout: seconds for a TCP connection to come about."""
        self._reactor = reactor
        self._tls = tls
        self._proxy = proxy
        self._timeout = timeout

    def endpoint(self, to: Endpoint) -> IStreamClientEndpoint:
        """Give what connects to the server of ``to``."""
        if self._proxy is None:
            stream = self._tcp(to)
        else:
            proxy = self._proxy
            head = [f"CONNECT {_authority(to)} HTTP/1.1", f"Host: {_authority(to)}"]
            if proxy.credentials is not None:
                head.append(f"Proxy-Authorization: {basic(proxy.credentials)}")
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
        """Give what connects to the server of ``uri``, for ``Agent``."""
        scheme, host = uri.scheme.decode("ascii"), uri.host.decode("ascii")
        return self.endpoint(Endpoint(scheme, host, uri.port, "/"))

    def _tcp(self, to: Endpoint) -> IStreamClientEndpoint:
        return cast(
            IStreamClientEndpoint,
            HostnameEndpoint(self._reactor, to.host, to.port, timeout=self._timeout),
        )

    def _secured(
        self, to: Endpoint, stream: IStreamClientEndpoint
    ) -> IStreamClientEndpoint:
        if not to.secure:
            return stream
        if self._tls is None:  # late: it reads the platform's roots, and needs pyOpenSSL
            self._tls = BrowserLikePolicyForHTTPS()
        creator = self._tls.creatorForNetloc(to.host.encode("ascii"), to.port)
        return cast(IStreamClientEndpoint, wrapClientTLS(creator, stream))


def _authority(to: Endpoint) -> str:
    host = f"[{to.host}]" if ":" in to.host else to.host
    return f"{host}:{to.port}"


@implementer(IStreamClientEndpoint)
class _Tunnel:
    """Connects to a proxy and asks it for a connection; source: RFC 9110, CONNECT."""

    def __init__(
        self, proxy: IStreamClientEndpoint, head: bytes, reactor: Any, timeout: float
    ) -> None:
        self._proxy = proxy
        self._head = head
        self._reactor = reactor
        self._timeout = timeout

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        def ask(protocol: IProtocol) -> Deferred[IProtocol]:
            asking = cast(_Asking, protocol)
            return asking.open(self._head, protocolFactory).addTimeout(
                self._timeout, self._reactor, _silent
            )

        connecting: Deferred[IProtocol] = self._proxy.connect(
            Factory.forProtocol(_Asking)
        )
        return connecting.addCallback(ask)


def _silent(result: object, timeout: float) -> object:
    raise Unreachable(f"the proxy did not open a tunnel within {timeout} s")


class _Asking(Protocol):
    """The connection to the proxy, until the tunnel is open; then a pipe."""

    _inner: IProtocol | None = None
    _opened: Deferred[IProtocol] | None = None
    _buffer = b""

    def open(self, head: bytes, factory: IProtocolFactory) -> Deferred[IProtocol]:
        self._factory = factory
        self._opened = Deferred(lambda _: self._abort())
        assert self.transport is not None
        self.transport.write(head)
        return self._opened

    def dataReceived(self, data: bytes) -> None:
        if self._inner is not None:
            self._inner.dataReceived(data)
            return
        self._buffer += data
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            if len(self._buffer) > _MAX_PROXY_HEAD:
                self._fail(Unreachable("the proxy's answer has no end"))
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

    def _abort(self) -> None:
        cast(Any, self.transport).abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._inner is not None:
            self._inner.connectionLost(reason)
        elif self._opened is not None:
            opened, self._opened = self._opened, None
            opened.errback(Unreachable("the proxy closed the connection"))
