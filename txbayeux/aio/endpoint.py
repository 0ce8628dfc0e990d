"""The endpoint of a host name, looked up by asyncio.

Twisted's own, ``HostnameEndpoint``, creates the global reactor, as any ``LoopingCall``.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectingCancelledError, DNSLookupError
from twisted.internet.interfaces import (
    IDelayedCall,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["HostEndpoint"]

NEXT: Final = 0.25
"""Seconds before the next address is tried, too; source: RFC 8305, section 5."""

_ENDPOINTS: Final[dict[int, Any]] = {
    socket.AF_INET: TCP4ClientEndpoint,
    socket.AF_INET6: TCP6ClientEndpoint,
}


@implementer(IStreamClientEndpoint)
class HostEndpoint:
    """Connects to the first address of a host that answers.

    :param timeout: seconds that a connection to one address may take.
    :param run: runs a function in a thread.
    """

    def __init__(
        self,
        reactor: Any,
        host: str,
        port: int,
        timeout: float,
        run: Callable[..., Deferred[Any]],
    ) -> None:
        self._reactor = reactor
        self._host = host
        self._port = port
        self._timeout = timeout
        self._run = run

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """See ``IStreamClientEndpoint``."""
        looking = self._run(
            socket.getaddrinfo, self._host, self._port, 0, socket.SOCK_STREAM
        )
        looking.addErrback(self._unknown)
        return looking.addCallback(self._connect, protocolFactory)

    def _unknown(self, failure: Failure) -> Any:
        failure.trap(OSError, UnicodeError)  # the latter for what is no name
        raise DNSLookupError(f"{self._host}: {failure.value}")

    def _connect(
        self, found: list[Any], protocolFactory: IProtocolFactory
    ) -> Deferred[IProtocol]:
        endpoints = [
            _ENDPOINTS[family](self._reactor, *address[:2], self._timeout)
            for family, *_, address in found
            if family in _ENDPOINTS
        ]
        if not endpoints:
            raise DNSLookupError(f"{self._host}: no address")
        return _Attempts(self._reactor, endpoints, protocolFactory).result


class _Attempts:
    """Connections to several addresses, of which the first one wins."""

    def __init__(
        self, reactor: Any, endpoints: list[Any], factory: IProtocolFactory
    ) -> None:
        self.result: Deferred[IProtocol] = Deferred(self._cancelled)
        self._reactor = reactor
        self._endpoints = deque(endpoints)
        self._factory = factory
        self._connecting: set[Deferred[IProtocol]] = set()
        self._timer: IDelayedCall | None = None
        self._next()

    def _next(self) -> None:
        self._stop_timer()
        connecting = self._endpoints.popleft().connect(self._factory)
        self._connecting.add(connecting)
        if self._endpoints:
            self._timer = self._reactor.callLater(NEXT, self._next)
        connecting.addBoth(self._ended, connecting)

    def _ended(self, result: Any, connecting: Deferred[IProtocol]) -> None:
        self._connecting.discard(connecting)
        if self.result.called:
            return
        if not isinstance(result, Failure):
            self.result.callback(result)  # first, for what is stopped fails
            self._stop()
        elif self._endpoints:
            self._next()
        elif not self._connecting:
            self.result.errback(result)

    def _cancelled(self, _: Deferred[IProtocol]) -> None:
        self.result.errback(ConnectingCancelledError(None))
        self._stop()

    def _stop(self) -> None:
        self._stop_timer()
        self._endpoints.clear()
        for connecting in list(self._connecting):
            connecting.cancel()

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
