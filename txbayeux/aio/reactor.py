"""Twisted's asyncio reactor, one for each client, on the event loop of its user.

Twisted has one global reactor for the life of a process; event loops come and go, one
for each ``asyncio.run`` or each test.  So the reactor of a client is never installed as
the global one, and is left to the garbage collector with its client.  It has neither
threads nor sockets nor signal handlers of its own, so that there is nothing to start
or stop: all that it keeps in the loop are its client's timers and connections.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, cast

from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint

from txbayeux.aio.endpoint import HostEndpoint

__all__ = ["ClientLoop", "ClientReactor"]


class ClientLoop:
    """Stands for an event loop: the one that is running when it is first used.

    So a client can be made before there is a loop.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    def check(self) -> None:
        """Raise unless the loop runs in this thread.

        :raises RuntimeError: if there is no running loop, or it is not the one that
            was running before.
        """
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError(
                "txbayeux.aio.Client needs the running event loop of asyncio in this "
                "thread; programs on one of Twisted's reactors use txbayeux.Client"
            ) from None
        if self._loop is None:
            self._loop = running
        elif self._loop is not running:
            raise RuntimeError(
                "this client belongs to another event loop; use it there, or make "
                "another one"
            )

    def __getattr__(self, name: str) -> Any:
        if self._loop is None:
            self.check()
        return getattr(self._loop, name)

    def call_at(
        self, when: float, callback: Callable[..., Any], *arguments: Any
    ) -> asyncio.TimerHandle:
        """Set the reactor's timer; it has one at a time."""
        self._timer = self.__getattr__("call_at")(when, callback, *arguments)
        return self._timer

    def release(self) -> None:
        """Cancel the timer, which Twisted keeps for delayed calls that were cancelled.

        It would keep the client alive until then.
        """
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()


class ClientReactor(AsyncioSelectorReactor):
    """The reactor of one client.

    :param client: lives as long as the loop has work for it.
    """

    def __init__(self, client: object) -> None:
        self.client: Final = client
        self.loop: Final = ClientLoop()
        super().__init__(cast(asyncio.AbstractEventLoop, self.loop))

    def installWaker(self) -> None:
        """Do nothing: a waker is a pair of sockets, and asyncio has its own."""

    def hostname_endpoint(
        self, host: str, port: int, *, timeout: float
    ) -> IStreamClientEndpoint:
        """Return the endpoint of a host; ``timeout`` is in seconds."""

        def run(function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
            running = self.loop.run_in_executor(None, function, *arguments)
            return Deferred.fromFuture(running)

        return cast(IStreamClientEndpoint, HostEndpoint(self, host, port, timeout, run))
