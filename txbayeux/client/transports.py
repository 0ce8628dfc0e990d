"""Selects the transport and the host that carry the messages.

A transport is made when it is first used.  A replaced one is closed when its requests
have finished.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from txbayeux.client.credentials import Credentials
from txbayeux.message import Message
from txbayeux.transport.base import (
    Context,
    Factory,
    Receiver,
    Transport,
    TransportError,
    TransportUnavailable,
    Unreachable,
)
from txbayeux.transport.callback_polling import CallbackPolling
from txbayeux.transport.cookies import own_cookie
from txbayeux.transport.eventsource import EventSource
from txbayeux.transport.long_polling import LongPolling

__all__ = ["DEFAULT", "TransportRanking", "TransportSelector", "factories"]

_log: Final = Logger()

DEFAULT: Final = ("websocket", "eventsource", "long-polling", "callback-polling")
"""The connection types that are used by default, best first: Faye's order."""
FIRST_DEMOTION: Final = 60.0
"""Seconds before a transport that does not work here is tried again."""
LONGEST_DEMOTION: Final = 3600.0
"""Each demotion in a row is twice as long as the one before, up to this, in seconds."""
MAX_FAILURES: Final = 3
"""Failures in a row after which the transport is taken to be the reason.

A single one may be a server that restarts behind a proxy."""


def _websocket(context: Context, receiver: Receiver) -> Transport:
    # Late: Autobahn is large, and not everybody uses WebSockets.
    from txbayeux.transport.websocket import WebSocket  # noqa: PLC0415

    return WebSocket(context, receiver)


_SHIPPED: Final[Mapping[str, Factory]] = {
    "websocket": _websocket,
    "eventsource": EventSource,
    "long-polling": LongPolling,
    "callback-polling": CallbackPolling,
}


def factories(wanted: Sequence[str] | Mapping[str, Factory]) -> Mapping[str, Factory]:
    """Return the transport factories by connection type, in order of preference.

    :raises ValueError: if there is none, or a connection type is unknown.
    """
    if not wanted or isinstance(wanted, str):
        raise ValueError("transports must be a sequence of connection types")
    if isinstance(wanted, Mapping):
        return dict(wanted)
    for name in wanted:
        if name not in _SHIPPED:
            raise ValueError(f"no such connection type: {name!r}")
    return {name: _SHIPPED[name] for name in wanted}


class TransportRanking:
    """Which connection type to use: the best that both sides have and that works here.

    Pure bookkeeping: times are arguments, in seconds.

    :param preferred: the connection types, best first.
    """

    __slots__ = ("_demoted", "_failures", "_offered", "types")

    def __init__(self, preferred: Iterable[str]) -> None:
        self.types = tuple(preferred)
        """The connection types to offer in a handshake."""
        self._offered = frozenset(self.types)
        self._demoted: dict[str, tuple[float, float]] = {}
        """Until when, and for how long."""
        self._failures: dict[str, int] = {}

    def accept_offer(self, types: list[object]) -> bool:
        """Choose from what the server offers; return whether any of it can be used."""
        common = frozenset(name for name in self.types if name in types)
        if not common:
            return False
        self._offered = common
        return True

    def forget_offer(self) -> None:
        """Consider all connection types again, for another handshake."""
        self._offered = frozenset(self.types)

    def best(self, now: float) -> str:
        """Return the connection type to use.

        If all are demoted, it is the one whose demotion ends first.
        """
        candidates = [name for name in self.types if name in self._offered]
        for name in candidates:
            if name not in self._demoted or self._demoted[name][0] <= now:
                return name
        return min(candidates, key=lambda name: self._demoted[name][0])

    def failed(self, name: str, error: TransportError, now: float) -> None:
        """Called on a failure; demotes a connection type that cannot be used."""
        if isinstance(error, Unreachable):  # true of all connection types
            # The server is away: that may be why those before failed.
            self._failures.clear()
            return
        failures = self._failures.get(name, 0) + 1
        if failures < MAX_FAILURES and not isinstance(error, TransportUnavailable):
            self._failures[name] = failures
            return
        self._failures[name] = 0
        last = self._demoted.get(name, (0.0, 0.0))[1]
        length = min(max(2 * last, FIRST_DEMOTION), LONGEST_DEMOTION)
        self._demoted[name] = (now + length, length)

    def worked(self, name: str) -> None:
        """Called when a connect over ``name`` succeeded."""
        self._failures.pop(name, None)
        self._demoted.pop(name, None)


class TransportSelector:
    """The transport in use, and the choice of the next one and its server.

    :param factories: by connection type, in order of preference.
    :param received: is called with the messages from any transport.
    :param broken: is called when the transport in use breaks; see
        :meth:`~txbayeux.transport.base.Receiver.broken`.
    :param authorization: an ``Authorization`` header, unless the user's headers
        have one.
    """

    def __init__(
        self,
        context: Context,
        factories: Mapping[str, Factory],
        *,
        received: Callable[[list[Message]], None],
        broken: Callable[[TransportError], None],
        authorization: str | None = None,
    ) -> None:
        self._context = context
        self.home = context.endpoint
        """The server's URL as the user gave it."""
        self.network_delay = context.network_delay
        """Seconds that a reply may take."""
        self._factories = factories
        self._received = received
        self._broken = broken
        self._authorization = authorization
        self._cookies: Mapping[str, str] = {}
        self.ranking = TransportRanking(factories)
        self.name = self.ranking.types[0]
        """The connection type in use."""
        self._transport: Transport | None = None
        self._attached: str | None = None
        self._paused = False
        self._in_flight: Counter[Transport] = Counter()
        """How many batches are in flight on each transport."""
        self._leaving: set[Transport] = set()
        self._closing: set[Deferred[None]] = set()
        self._hosts: list[str] = []

    def use_credentials(self, credentials: Credentials) -> None:
        """Send these headers and cookies from now on, to the user's own origin."""
        headers = dict(credentials.headers)
        given = any(name.lower() == "authorization" for name in headers)
        if self._authorization is not None and not given:
            headers["Authorization"] = self._authorization
        if (headers, credentials.cookies) != (self._context.headers, self._cookies):
            self.leave()  # a WebSocket has sent the others with its upgrade
        self._context.headers = headers
        self._cookies = credentials.cookies
        for name, value in credentials.cookies.items():
            self._context.jar.set_cookie(own_cookie(self.home, name, value))

    # Transports.

    @property
    def current(self) -> Transport:
        """The transport in use."""
        if self._transport is None:
            receiver = _Receiver(self._received, self._transport_broken)
            transport = self._factories[self.name](self._context, receiver)
            receiver.transport = self._transport = transport
            if self._paused:
                transport.pause()
        return self._transport

    def for_handshake(self, now: float) -> Transport:
        """Return the transport for a handshake, of any connection type."""
        self.ranking.forget_offer()
        self._attached = None
        return self.for_connect(now)

    def for_connect(self, now: float) -> Transport:
        """Return the best transport for the next connect."""
        name = self.ranking.best(now)
        if name != self.name:
            _log.info("Changing from {old} to {new}", old=self.name, new=name)
            self.leave()
            self.name = name
        return self.current

    def attach(self, session_id: str) -> None:
        """Inform the transport in use that it serves a session that is alive."""
        if self._attached != session_id:
            self._attached = session_id
            self.current.attach(session_id)

    def pause(self) -> None:
        """Read nothing that the server pushes, on this transport and others."""
        self._paused = True
        if self._transport is not None:
            self._transport.pause()

    def resume(self) -> None:
        """Read again what the server pushes."""
        self._paused = False
        if self._transport is not None:
            self._transport.resume()

    def in_use(self, transport: Transport) -> bool:
        """Return whether ``transport`` is the one in use."""
        return transport is self._transport

    def _transport_broken(self, transport: Transport, error: TransportError) -> None:
        if self.in_use(transport):
            self._attached = None  # whatever the session is doing now
            self._broken(error)

    def failed(self, error: TransportError, now: float) -> None:
        """Called on a failure of the transport in use."""
        self._attached = None
        self.ranking.failed(self.name, error, now)

    # Leaving and closing.

    def sending(self, transport: Transport) -> None:
        """Called when a batch is about to be sent; keeps ``transport`` open."""
        self._in_flight[transport] += 1

    def sent(self, transport: Transport) -> None:
        """Called when a batch has ended."""
        self._in_flight[transport] -= 1
        if not self._in_flight[transport]:
            del self._in_flight[transport]
            if transport in self._leaving:
                self._leaving.discard(transport)
                self._close(transport)

    def leave(self) -> None:
        """Leave the transport in use; a new one is made when it is needed."""
        transport, self._transport = self._transport, None
        self._attached = None
        if transport is None:
            return
        if self._in_flight[transport]:
            self._leaving.add(transport)
        else:
            self._close(transport)

    def _close(self, transport: Transport) -> None:
        closing = transport.close()
        self._closing.add(closing)

        def closed(_: object) -> None:
            self._closing.discard(closing)

        closing.addBoth(closed)

    def close(self) -> Deferred[Any]:
        """Close everything, whatever is in flight; fires when nothing is left."""
        open_ones = [*self._leaving]
        if self._transport is not None:
            open_ones.append(self._transport)
        self._transport = None
        self._leaving.clear()
        for transport in open_ones:
            self._close(transport)
        waiting: list[Deferred[None]] = []
        for closing in self._closing:
            done: Deferred[None] = Deferred()
            closing.chainDeferred(done)
            waiting.append(done)
        return gatherResults(waiting)

    # Hosts.

    @property
    def away(self) -> bool:
        """Whether the server in use is one that was advised."""
        return self._context.endpoint != self.home

    def advised_hosts(self, hosts: tuple[str, ...]) -> bool:
        """Go to the first of the advised hosts, unless the current one is among them.

        Return whether that was done.  Invalid hosts are ignored.
        """
        here = self._context.endpoint
        endpoints = []
        for host in hosts:
            try:
                endpoints.append((host, self.home.at(host)))
            except ValueError as error:
                _log.warn(
                    "Ignoring advised host {host!r}: {error}", host=host, error=error
                )
        if not endpoints or any(endpoint == here for _, endpoint in endpoints):
            return False
        self._hosts = [host for host, _ in endpoints]
        self.next_host()
        return True

    def next_host(self) -> None:
        """Go to the next advised host; after the last, back to the user's URL."""
        target = self.home.at(self._hosts.pop(0)) if self._hosts else self.home
        if target != self._context.endpoint:
            self.leave()
            self._context = dataclasses.replace(
                self._context, endpoint=target, home=self.home
            )


class _Receiver:
    """Adds the transport to what it reports."""

    transport: Transport | None = None

    def __init__(
        self,
        received: Callable[[list[Message]], None],
        broken: Callable[[Transport, TransportError], None],
    ) -> None:
        self.received = received
        self._broken = broken

    def broken(self, error: TransportError) -> None:
        if self.transport is not None:
            self._broken(self.transport, error)
