"""A Bayeux server in one object: an engine, a server on it, and its resource."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import deferLater
from twisted.web.resource import Resource

from txbayeux.adapter.client_script import faye_client
from txbayeux.adapter.origins import Origins
from txbayeux.adapter.proxies import TrustedProxies
from txbayeux.adapter.resource import BayeuxResource
from txbayeux.adapter.site import BayeuxSite
from txbayeux.engine.memory import MemoryEngine
from txbayeux.engine.session import DEFAULT_SESSION_TIMEOUT
from txbayeux.errors import unavailable
from txbayeux.extension import Extension
from txbayeux.interfaces import Engine
from txbayeux.limits import Limits
from txbayeux.message import Message
from txbayeux.peer_limits import PeerLimits, PeerRegistry
from txbayeux.registration import Registration
from txbayeux.server import Server, ServerOptions

__all__ = ["FLUSH_TIME", "Bayeux", "EngineFactory"]

FLUSH_TIME: Final = 0.1
"""Seconds that :meth:`Bayeux.stop` leaves to the last answers to reach the network.

A reactor that stops cuts connections with whatever they have not written.
"""


class EngineFactory(Protocol):
    """Makes the engine of a :class:`Bayeux`; the class of an engine is one."""

    def __call__(
        self, reactor: Any, /, *, limits: Limits, session_timeout: float
    ) -> Engine:
        """Return a new engine that has not been started."""


class Bayeux:
    """A Bayeux server that is part of a program, which starts and stops it.

    ::

        bayeux = Bayeux(reactor)
        await bayeux.start()
        reactor.addSystemEventTrigger("before", "shutdown", bayeux.stop)
        await endpoint.listen(bayeux.site(root))

    :meth:`site` serves it at a path beside other pages; :attr:`resource` goes into any
    ``twisted.web`` tree.

    Before :meth:`start` and after :meth:`stop`, requests and publishes are refused with
    503.  Listeners may be installed at any time; they are called from the start to the
    stop.

    :param reactor: Twisted's.
    :param redis: URL of a Redis, such as ``redis://localhost``: all servers on it are
        one service.  By default sessions and messages are in the memory of this
        process.  See :func:`txbayeux.engine.redis.location.parse` for all forms.
    :param engine: makes the engine, instead of ``redis``.
    :param options: the times of the protocol, and who may publish.
    :param limits: for requests, sessions and queues, in every layer.
    :param peer_limits: for what one address, and one session, may use.
    :param trusted_proxies: networks or addresses of proxies that are believed when they
        name their client: see :class:`~txbayeux.adapter.proxies.TrustedProxies`.
    :param session_timeout: seconds that a session lives without a connect.
    :param origins: the web pages that may use the server, beside its own:
        ``["https://www.example.com"]``; see :class:`~txbayeux.Origins`.
    :param extensions: see :class:`~txbayeux.Extension`; called in this order.
    :param websocket_deflate: whether to compress WebSocket messages for clients
        that offer it.

    :raises ValueError: for an invalid origin, network or URL of Redis, or both
        ``redis`` and ``engine``.
    :raises TypeError: for an invalid extension or engine factory.
    :raises ImportError: for ``redis`` without txredisapi or hiredis, which
        ``pip install 'txbayeux[redis]'`` installs.
    """

    def __init__(
        self,
        reactor: Any,
        *,
        redis: str | None = None,
        engine: EngineFactory | None = None,
        options: ServerOptions | None = None,
        limits: Limits | None = None,
        peer_limits: PeerLimits | None = None,
        trusted_proxies: Iterable[str] = (),
        session_timeout: float = DEFAULT_SESSION_TIMEOUT,
        origins: Origins | Iterable[str] = (),
        extensions: Sequence[Extension] = (),
        websocket_deflate: bool = False,
    ) -> None:
        self._reactor = reactor
        limits = limits or Limits()
        peers = self._peers = PeerRegistry(peer_limits or PeerLimits(), reactor)
        make = _engine_factory(redis, engine)
        self.server: Final = Server(
            make(reactor, limits=limits, session_timeout=session_timeout),
            options=options,
            extensions=extensions,
            peers=peers,
        )
        """The protocol: its events, its statistics, and how to end a session."""
        self.resource: Final = BayeuxResource(
            self.server,
            reactor=reactor,
            limits=limits,
            peers=peers,
            proxies=TrustedProxies(trusted_proxies),
            origins=origins if isinstance(origins, Origins) else Origins(origins),
            websocket_deflate=websocket_deflate,
            client_script=faye_client(),
        )
        """All transports, and Faye's browser client as ``client.js``.

        A leaf for any ``twisted.web`` tree.
        """
        self._client = self.server.client()
        self._started = False
        self._stopped: Deferred[None] | None = None

    def start(self) -> Deferred[None]:
        """Accept messages; to be called once.

        Fires when the engine has started.  Redis need not be reachable for that:
        until it is, messages are refused with 503.

        Fails with :exc:`RuntimeError` if it was called before, or after
        :meth:`stop`; otherwise with what the engine fails with.
        """
        if self._started or self._stopped is not None:
            return fail(RuntimeError("a Bayeux can be started only once"))
        self._started = True
        return self.server.start()

    def stop(self) -> Deferred[None]:
        """Refuse new requests, answer held connects, close sockets and streams.

        Sockets are closed with 1001 ("going away").  Sessions in memory end; those
        in Redis live on, for the other servers.  Fires when nothing of the server is
        left in the reactor, also when called again or without :meth:`start`.  Ports
        and the site are the caller's: stop listening first.
        """
        if self._stopped is None:
            self._stopped = Deferred()
            Deferred.fromCoroutine(self._stop()).chainDeferred(self._stopped)
        stopped: Deferred[None] = Deferred()
        self._stopped.chainDeferred(stopped)
        return stopped

    async def _stop(self) -> None:
        self.resource.refuse_requests()
        try:
            if self._started:
                await self.server.stop()
        finally:
            await self.resource.close()
            self._peers.stop()
        await deferLater(self._reactor, FLUSH_TIME)

    def site(
        self, root: Resource | None = None, *, path: str = "/bayeux"
    ) -> BayeuxSite:
        """Return a factory to listen with, which serves Bayeux at ``path``.

        :param root: serves all other paths, and gets :attr:`resource` as a child; by
            default they are not found.
        :raises ValueError: for a path that :class:`~txbayeux.BayeuxSite` refuses.
        """
        if root is None and path.strip("/"):
            root = Resource()
        return BayeuxSite(root, self.resource, self._reactor, path=path)

    def publish(self, channel: str, data: Any) -> Deferred[None]:
        """Publish ``data``, anything that JSON can hold, on ``channel``.

        It passes the incoming extensions, with None as the request.  Fires when the
        engine has accepted it.  Fails with :class:`~txbayeux.errors.BayeuxError`: 503
        before :meth:`start`, after :meth:`stop` and while Redis is out of reach, 405
        if ``channel`` is not a channel name, or what an extension refused it with.
        """
        if not self._started or self._stopped is not None:
            return fail(unavailable())
        return self._client.publish(channel, data)

    def subscribe(
        self, channel: str, listener: Callable[[Message], object]
    ) -> Registration:
        """Call ``listener`` with each message on a channel name or pattern.

        It must not change the message.  On channels below ``/service`` messages
        carry their publisher's ``clientId``; on others ``channel``, ``data`` and
        ``id``.  It may return a Deferred or be a coroutine function; a failure is
        logged.  ``cancel()`` of what is returned ends it.

        :raises BayeuxError: 405 if ``channel`` is neither a name nor a pattern.
        """
        return self._client.subscribe(channel, listener)

    def deliver(
        self,
        session_id: str,
        channel: str,
        data: Any,
        *,
        id: str | int | None = None,  # noqa: A002 -- the name of the field
        successful: bool | None = None,
    ) -> Deferred[None]:
        """Send ``data`` to one session only, whatever it is subscribed to.

        See :meth:`.LocalClient.deliver`.

        Fails with :class:`~txbayeux.errors.UnknownSession`, or with BayeuxError 405 if
        ``channel`` is not a channel name.
        """
        return self._client.deliver(
            session_id, channel, data, id=id, successful=successful
        )

    def on_call(self, name: str, function: Callable[[Message], Any]) -> Registration:
        """Answer CometD's ``remoteCall(name, data)``; see :meth:`.Server.on_call`."""
        return self.server.on_call(name, function)


def _engine_factory(redis: str | None, engine: EngineFactory | None) -> EngineFactory:
    if redis is None:
        engine = MemoryEngine if engine is None else engine
        if not callable(engine):
            raise TypeError(
                "engine is called with the reactor, limits= and session_timeout=:"
                f" pass a class or a function, not {engine!r}"
            )
        return engine
    if engine is not None:
        raise ValueError("redis and engine exclude each other")
    # Optional: imported only where it is used.
    from txbayeux.engine.redis import RedisEngine  # noqa: PLC0415

    return partial(RedisEngine.from_url, url=redis)
