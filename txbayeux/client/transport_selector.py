"""Which server, over which transport: what stands between loop and network.

Transports are made when they are first used, and closed when they are left,
once what is in flight on them has ended.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from txbayeux.client.credentials import Credentials
from txbayeux.client.selection import Selection
from txbayeux.message import Message
from txbayeux.transport.base import (
    Context,
    Factory,
    Transport,
    TransportError,
)
from txbayeux.transport.cookies import own_cookie

__all__ = ["TransportSelector"]

_log: Final = Logger()


class TransportSelector:
    """The transports to the current host, and the choice among both."""

    def __init__(
        self,
        context: Context,
        factories: Mapping[str, Factory],
        received: Callable[[list[Message]], None],
        broken: Callable[[Transport, TransportError], None],
        authorization: str | None = None,
    ) -> None:
        """:param factories: by connection type, in order of preference."""
        self._context = context
        self.home = context.endpoint
        """Where the user said that the server is."""
        self._factories = dict(factories)
        self._received = received
        self._broken = broken
        self._authorization = authorization
        self._selection = Selection(tuple(factories))
        self._transports: dict[str, Transport] = {}
        self._loads: Counter[Transport] = Counter()
        self._leaving: set[Transport] = set()
        self._closing: set[Deferred[None]] = set()
        self._attached: tuple[str, Transport] | None = None
        self._hosts: list[str] = []
        self.name = next(iter(factories))
        """The connection type in use."""

    @property
    def types(self) -> tuple[str, ...]:
        """The connection types to offer."""
        return self._selection.types

    @property
    def network_delay(self) -> float:
        """Seconds that an answer may take."""
        return self._context.network_delay

    # Credentials.

    def equip(self, credentials: Credentials) -> None:
        """Use these headers and cookies from now on, for the user's own origin."""
        headers = dict(credentials.headers)
        given = any(name.lower() == "authorization" for name in headers)
        if self._authorization is not None and not given:
            headers["Authorization"] = self._authorization
        self._context.headers = headers
        for name, value in credentials.cookies.items():
            self._context.jar.set_cookie(own_cookie(self.home, name, value))

    # Transports.

    def for_handshake(self, now: float) -> Transport:
        """Give the transport for a handshake: every type is open again."""
        self._selection.forget_offer()
        self._attached = None
        return self._use(self._selection.best(now))

    def offered(self, types: list[object]) -> bool:
        """Hear what the server offers; give whether any of it can be used."""
        return self._selection.offered(types)

    def for_connect(self, now: float) -> Transport:
        """Give the best transport for the next connect."""
        return self._use(self._selection.best(now))

    def attach(self, session: str) -> None:
        """Tell the transport in use of the session, which is known to live."""
        transport = self.current
        if self._attached != (session, transport):
            self._attached = (session, transport)
            transport.attach(session)

    @property
    def current(self) -> Transport:
        """The transport in use."""
        return self._use(self.name)

    def uses(self, transport: Transport) -> bool:
        """Tell whether ``transport`` is the one in use."""
        return self._transports.get(self.name) is transport

    def _use(self, name: str) -> Transport:
        if name != self.name:
            _log.info("Changing from {old} to {new}", old=self.name, new=name)
            self._leave(self._transports.pop(self.name, None))
            self.name = name
        transport = self._transports.get(name)
        if transport is None:
            ear = _Ear(self._received, self._broken)
            transport = self._factories[name](self._context, ear)
            ear.transport = self._transports[name] = transport
        return transport

    def failed(self, error: TransportError, now: float) -> None:
        """Hear of a failure of the transport in use."""
        self._attached = None
        self._selection.failed(self.name, error, now)

    def worked(self, name: str) -> None:
        """Hear that a connect over ``name`` succeeded."""
        self._selection.worked(name)

    # Leaving.

    def loaded(self, transport: Transport) -> None:
        """Hear that a batch is in flight on ``transport``."""
        self._loads[transport] += 1

    def unloaded(self, transport: Transport) -> None:
        """Hear that a batch has ended."""
        self._loads[transport] -= 1
        if not self._loads[transport]:
            del self._loads[transport]
            if transport in self._leaving:
                self._leave(transport)

    def leave(self) -> None:
        """Leave all transports; they are made anew when needed."""
        transports, self._transports = self._transports, {}
        self._attached = None
        for transport in transports.values():
            self._leave(transport)

    def _leave(self, transport: Transport | None) -> None:
        if transport is None:
            return
        if self._loads[transport]:
            self._leaving.add(transport)
            return
        self._leaving.discard(transport)
        self._track(transport.close())

    def _track(self, closing: Deferred[None]) -> None:
        def closed(result: Any) -> None:
            self._closing.discard(closing)

        self._closing.add(closing)
        closing.addBoth(closed)

    def close(self) -> Deferred[Any]:
        """Close everything, whatever is in flight; fires when nothing is left."""
        for transport in [*self._transports.values(), *self._leaving]:
            self._track(transport.close())
        self._transports.clear()
        self._leaving.clear()
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
        """Hear which hosts to handshake with, if the current one is not among them.

        Gives whether that is so.
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
        """Go to the next advised host; after the last, back home."""
        target = self.home.at(self._hosts.pop(0)) if self._hosts else self.home
        if target != self._context.endpoint:
            self.leave()
            self._context = dataclasses.replace(
                self._context, endpoint=target, home=self.home
            )


class _Ear:
    """What one transport talks to."""

    transport: Transport | None = None

    def __init__(
        self,
        received: Callable[[list[Message]], None],
        broken: Callable[[Transport, TransportError], None],
    ) -> None:
        self._received = received
        self._broken = broken

    def received(self, messages: list[Message]) -> None:
        self._received(messages)

    def broken(self, error: TransportError) -> None:
        if self.transport is not None:
            self._broken(self.transport, error)
