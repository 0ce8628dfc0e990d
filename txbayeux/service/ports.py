"""Listen on ports, and report failures to do so in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IAddress,
    IProtocolFactory,
    IStreamServerEndpoint,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from txbayeux.adapter.proxies import TrustedProxies
from txbayeux.adapter.request import peer_of

__all__ = [
    "BACKLOG",
    "CannotListen",
    "PortService",
    "TrustedEndpoint",
    "readable_errors",
    "with_backlog",
]

BACKLOG: Final = 4096
"""Connections that may wait to be accepted: Twisted's 50 stalls a reconnect storm.

The kernel's bound (Linux: net.core.somaxconn) is 4096 too.
"""

_log: Final = Logger()


class CannotListen(SystemExit, Exception):
    """End the command with a sentence instead of a traceback.

    It is an Exception as well: ``twistd`` cleans up after those, and reports them to
    the parent that waits for its daemon.
    """


@contextmanager
def readable_errors() -> Iterator[None]:
    """Turn the failure to listen on a port into a sentence.

    :raises CannotListen: instead of the original exception.
    """
    try:
        yield
    except (CannotListenError, OSError, OverflowError, ValueError) as error:
        raise CannotListen(f"twistd bayeux: {error}") from error


def with_backlog(endpoint: str) -> str:
    """Add :data:`BACKLOG` to an endpoint string that names no backlog."""
    kind = endpoint.partition(":")[0]
    if (
        kind in ("tcp", "tcp6", "ssl", "unix", "haproxy")
        and ":backlog=" not in endpoint
    ):
        return f"{endpoint}:backlog={BACKLOG}"
    return endpoint


@implementer(IStreamServerEndpoint)
class TrustedEndpoint:
    """An endpoint that closes connections which do not come from trusted proxies.

    :param endpoint: an ``IStreamServerEndpoint``.
    """

    def __init__(self, endpoint: Any, proxies: TrustedProxies) -> None:
        self._endpoint = endpoint
        self._proxies = proxies

    def listen(self, factory: IProtocolFactory) -> Deferred[Any]:
        """Listen; the factory is asked for protocols of trusted connections only."""
        listening: Deferred[Any] = self._endpoint.listen(
            _TrustedFactory(factory, self._proxies)
        )
        return listening


@implementer(IProtocolFactory)
class _TrustedFactory:
    def __init__(self, factory: IProtocolFactory, proxies: TrustedProxies) -> None:
        self._factory = factory
        self._proxies = proxies

    def doStart(self) -> None:
        self._factory.doStart()

    def doStop(self) -> None:
        self._factory.doStop()

    def buildProtocol(self, address: IAddress) -> Any:
        if not self._proxies.trusts(peer_of(address)):
            return None
        return self._factory.buildProtocol(address)


class PortService(Service):
    """A listening port as a service that knows its address.

    Twisted's ``StreamServerEndpointService`` keeps the address to itself.

    :param endpoint: an ``IStreamServerEndpoint``.
    """

    def __init__(self, endpoint: Any, factory: IProtocolFactory) -> None:
        self._endpoint = endpoint
        self._factory = factory
        self._listening: Deferred[Any] | None = None
        self.address: IAddress | None = None
        """Where it listens; None until it does."""

    def privilegedStartService(self) -> None:
        """Listen.

        :raises Exception: what the endpoint failed with, if it failed at once.
        """
        super().privilegedStartService()
        failures: list[Failure] = []
        self._listening = self._endpoint.listen(self._factory)
        self._listening.addCallbacks(self._listens, failures.append)
        if failures:
            failures[0].raiseException()
        self._listening.addErrback(self._failed)

    def startService(self) -> None:
        """Listen, unless :meth:`privilegedStartService` has been called."""
        super().startService()
        if self._listening is None:
            self.privilegedStartService()

    def stopService(self) -> Deferred[None]:
        """Stop listening; fires once the port is closed."""
        super().stopService()
        listening = self._listening
        if listening is None:
            return maybeDeferred(lambda: None)
        listening.cancel()
        return listening.addCallback(
            lambda port: None if port is None else port.stopListening()
        )

    def _listens(self, port: Any) -> Any:
        self.address = port.getHost()
        return port

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            _log.failure("Cannot listen", failure)
