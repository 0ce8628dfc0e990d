"""The service that ``twistd bayeux`` runs: a Bayeux server, its pages and ports."""

from __future__ import annotations

import resource
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from socket import AF_INET
from typing import Any, Final

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.endpoints import AdoptedStreamServerEndpoint, serverFromString
from twisted.internet.interfaces import IProtocolFactory
from twisted.logger import Logger
from twisted.web.resource import Resource

from txbayeux.adapter.origins import Origins
from txbayeux.adapter.proxies import TrustedProxies
from txbayeux.adapter.site import BayeuxSite, BoundedSite
from txbayeux.bayeux import Bayeux, EngineFactory
from txbayeux.engine.session import DEFAULT_SESSION_TIMEOUT
from txbayeux.extension import Extension
from txbayeux.limits import Limits
from txbayeux.peer_limits import PeerLimits
from txbayeux.server import Server, ServerOptions
from txbayeux.service.admin import ChatPage, Health, Metrics, static_files
from txbayeux.service.eventlog import log_events
from txbayeux.service.ports import (
    PortService,
    TrustedEndpoint,
    readable_errors,
    with_backlog,
)
from txbayeux.service.proxy_protocol import proxy_endpoint
from txbayeux.service.urls import announcement, base_url

__all__ = ["BayeuxService", "Configuration"]

_log: Final = Logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What a service listens on and serves."""

    endpoints: Sequence[str]
    """Endpoint strings to listen on."""
    adopted: Sequence[int] = ()
    """Descriptors of inherited TCP sockets to listen on; see ``workers``."""
    adopted_proxied: Sequence[int] = ()
    """Those whose connections begin with the PROXY protocol."""
    admin: str | None = None
    """Endpoint string for ``/health`` and ``/metrics``."""
    mount: str = "/bayeux"
    """Path of the Bayeux URL."""
    origins: Origins = field(default_factory=Origins)
    limits: Limits = field(default_factory=Limits)
    peer_limits: PeerLimits = field(default_factory=PeerLimits)
    trusted_proxies: Sequence[str] = ()
    """Networks of proxies that name their clients."""
    session_timeout: float = DEFAULT_SESSION_TIMEOUT
    """Seconds that a session lives without a connect."""
    websocket_deflate: bool = False
    page: bool = True
    """Whether to serve the chat page."""
    verbose: bool = False
    """Whether to log what each session does."""
    server: ServerOptions = field(default_factory=ServerOptions)


class BayeuxService(MultiService):
    """Everything that one process serves.

    :param engine: by default the one in memory.
    """

    def __init__(
        self,
        reactor: Any,
        configuration: Configuration,
        *,
        extensions: Sequence[Extension] = (),
        engine: EngineFactory | None = None,
    ) -> None:
        super().__init__()
        self.setName("txbayeux")
        self._reactor = reactor
        self._configuration = configuration
        self._bayeux = Bayeux(
            reactor,
            engine=engine,
            options=configuration.server,
            limits=configuration.limits,
            session_timeout=configuration.session_timeout,
            peer_limits=configuration.peer_limits,
            trusted_proxies=configuration.trusted_proxies,
            origins=configuration.origins,
            extensions=extensions,
            websocket_deflate=configuration.websocket_deflate,
        )
        if configuration.verbose:
            log_events(self._bayeux.server.events)
        self._ports = self._public_ports()
        self._admin_ports = self._private_ports()
        for _, port in (*self._ports, *self._admin_ports):
            port.setServiceParent(self)

    def privilegedStartService(self) -> None:
        """Listen, while that is allowed on ports below 1024."""
        with readable_errors():
            super().privilegedStartService()

    def startService(self) -> None:
        """Start the server, then listen."""
        self._bayeux.start().addErrback(
            lambda failure: _log.failure("The engine failed to start", failure)
        )
        with readable_errors():
            super().startService()
        _log.info("{urls}", urls=self._announcement())
        _log.info(
            "At most {files} open files, one for each connection",
            files=_raise_file_limit(),
        )

    def stopService(self) -> Deferred[Any]:
        """Stop listening, answer held connects, close WebSockets, stop the engine.

        Fires when all is closed.
        """
        return ensureDeferred(self._stop())

    async def _stop(self) -> None:
        # Before the ports, which may take a turn to close.
        self._bayeux.resource.refuse_requests()
        await super().stopService()
        await self._bayeux.stop()

    def _public_ports(self) -> list[tuple[str, PortService]]:
        """Return the ports for clients, with the endpoint string of each."""
        configuration = self._configuration
        root = None
        if configuration.mount != "/":
            root = _pages(self._bayeux.server, configuration)
        site, proxied_site = (
            BayeuxSite(
                root,
                self._bayeux.resource,
                self._reactor,
                path=configuration.mount,
                limits_connections=limits_connections,
            )
            for limits_connections in (True, False)
        )
        ports = []
        for description in configuration.endpoints:
            plain = description.removeprefix("haproxy:")
            endpoint = serverFromString(self._reactor, with_backlog(plain))
            if plain == description:
                ports.append((description, PortService(endpoint, site)))
            else:
                proxied = PortService(self._proxied(endpoint), proxied_site)
                ports.append((description, proxied))
        ports += [
            ("tcp", PortService(self._adopted(descriptor), site))
            for descriptor in configuration.adopted
        ]
        ports += [
            ("tcp", PortService(self._proxied(self._adopted(one)), proxied_site))
            for one in configuration.adopted_proxied
        ]
        return ports

    def _adopted(self, descriptor: int) -> Any:
        return AdoptedStreamServerEndpoint(self._reactor, descriptor, AF_INET)

    def _proxied(self, endpoint: Any) -> Any:
        """Return an endpoint whose connections begin with the PROXY protocol."""
        trusted = self._configuration.trusted_proxies
        if trusted:
            endpoint = TrustedEndpoint(endpoint, TrustedProxies(trusted))
        return proxy_endpoint(endpoint)

    def _private_ports(self) -> list[tuple[str, PortService]]:
        admin = self._configuration.admin
        if admin is None:
            return []
        site = BoundedSite(
            _admin_pages(self._bayeux.server),
            self._reactor,
            limits=self._configuration.limits,
        )
        return [(admin, self._port(admin, site))]

    def _port(self, description: str, factory: IProtocolFactory) -> PortService:
        return PortService(serverFromString(self._reactor, description), factory)

    def _announcement(self) -> str:
        return announcement(
            _urls(self._ports),
            mount=self._configuration.mount,
            page=self._configuration.page,
            admin=_urls(self._admin_ports),
        )


def _urls(ports: Iterable[tuple[str, PortService]]) -> list[str]:
    return [base_url(description, port.address) for description, port in ports]


def _pages(server: Server, configuration: Configuration) -> Resource:
    """Return the resources beside Bayeux: ``/``, ``/static`` and ``/health``."""
    root = Resource()
    if configuration.page:
        root.putChild(b"", ChatPage(configuration.mount))
        root.putChild(b"static", static_files())
    root.putChild(b"health", Health(server.ready))
    return root


def _admin_pages(server: Server) -> Resource:
    root = Resource()
    root.putChild(b"health", Health(server.ready))
    root.putChild(b"metrics", Metrics(server.statistics))
    return root


def _raise_file_limit() -> int:
    """Raise the soft limit of open files to the hard one, and return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # An unlimited hard limit (-1) cannot be used as the soft one everywhere.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
