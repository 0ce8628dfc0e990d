"""The service that ``twistd bayeux`` runs: an engine, a server, a site, its ports."""

from __future__ import annotations

import resource
from collections.abc import Sequence
from dataclasses import dataclass, field
from socket import AF_INET
from typing import Any, Final

from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import MultiService
from twisted.application.strports import service as port_service
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.endpoints import AdoptedStreamServerEndpoint
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.web.resource import IResource, Resource

from txbayeux.adapter.client_script import faye_client
from txbayeux.adapter.origins import Origins
from txbayeux.adapter.resource import BayeuxResource
from txbayeux.adapter.site import BayeuxSite, BoundedSite
from txbayeux.engine.memory import MemoryEngine
from txbayeux.engine.session import DEFAULT_SESSION_TIMEOUT
from txbayeux.extension import Extension
from txbayeux.interfaces import Engine
from txbayeux.limits import Limits
from txbayeux.server import Server, ServerOptions
from txbayeux.service.admin import (
    ChatPage,
    Health,
    Metrics,
    static_files,
)
from txbayeux.service.eventlog import log_events
from txbayeux.service.ports import readable_errors, with_backlog

__all__ = ["LAST_WORDS", "BayeuxService", "Configuration"]

LAST_WORDS: Final = 0.1
"""Seconds between the last answers and the end of the process."""

_log: Final = Logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What ``twistd bayeux`` can be told; times are in seconds."""

    endpoints: Sequence[str]
    adopted: Sequence[int] = ()
    """Descriptors of open TCP sockets to listen on; see ``workers``."""
    admin: str | None = None
    mount: str = "/bayeux"
    origins: Origins = field(default_factory=Origins)
    limits: Limits = field(default_factory=Limits)
    session_timeout: float = DEFAULT_SESSION_TIMEOUT
    websocket_deflate: bool = False
    page: bool = True
    verbose: bool = False
    server: ServerOptions = field(default_factory=ServerOptions)


class BayeuxService(MultiService):
    """Everything that one process serves.

    :param reactor: Twisted's.
    :param extensions: see :mod:`txbayeux.extension`.
    """

    def __init__(
        self,
        reactor: Any,
        configuration: Configuration,
        *,
        extensions: Sequence[Extension] = (),
        engine: Engine | None = None,
    ) -> None:
        super().__init__()
        self.setName("txbayeux")
        self._reactor = reactor
        options = configuration.server
        self.server = Server(
            engine
            or MemoryEngine(
                reactor,
                limits=configuration.limits,
                session_timeout=configuration.session_timeout,
            ),
            options=options,
            extensions=extensions,
        )
        if configuration.verbose:
            log_events(self.server.events)
        self._resource = BayeuxResource(
            self.server,
            reactor=reactor,
            limits=configuration.limits,
            origins=configuration.origins,
            websocket_deflate=configuration.websocket_deflate,
            client_script=faye_client(),
        )
        site = BayeuxSite(
            self._root(configuration),
            self._resource,
            reactor,
            path=configuration.mount,
        )
        for endpoint in configuration.endpoints:
            port_service(with_backlog(endpoint), site, reactor).setServiceParent(self)
        for descriptor in configuration.adopted:
            adopted = AdoptedStreamServerEndpoint(reactor, descriptor, AF_INET)
            StreamServerEndpointService(adopted, site).setServiceParent(self)
        if configuration.admin is not None:
            admin = BoundedSite(self._admin(), reactor, limits=configuration.limits)
            port_service(configuration.admin, admin, reactor).setServiceParent(self)

    def privilegedStartService(self) -> None:
        """Listen, while that is allowed on ports below 1024."""
        with readable_errors():
            super().privilegedStartService()

    def startService(self) -> None:
        """Start the engine, then listen."""
        _log.info("{files} files at most: that many connections", files=_raise_files())
        self.server.start().addErrback(
            lambda failure: _log.failure("The engine did not start", failure)
        )
        with readable_errors():
            super().startService()

    def stopService(self) -> Deferred[Any]:
        """Stop listening, answer held connects, close sockets, stop the engine."""
        return ensureDeferred(self._stop())

    async def _stop(self) -> None:
        self._resource.refuse_requests()
        await super().stopService()
        await self.server.stop()
        await self._resource.close()
        # What has just been written leaves before the reactor cuts the connections.
        await deferLater(self._reactor, LAST_WORDS)

    def _root(self, configuration: Configuration) -> Resource | None:
        if configuration.mount == "/":
            return None
        root = Resource()
        if configuration.page:
            root.putChild(b"", ChatPage(configuration.mount))
            root.putChild(b"static", static_files())
        root.putChild(b"health", Health(self.server.ready))
        return root

    def _admin(self) -> IResource:
        root = Resource()
        root.putChild(b"health", Health(self.server.ready))
        root.putChild(b"metrics", Metrics(self.server.statistics))
        return root


def _raise_files() -> int:
    """Allow this process as many files as it may allow itself; each socket is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
