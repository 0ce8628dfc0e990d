"""The end: a disconnect, in a bounded time, and then everything is closed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred

from txbayeux import channel as channels
from txbayeux.client.dispatcher import Dispatcher, Flight, PendingRequest
from txbayeux.client.transport_selector import TransportSelector

__all__ = ["Farewell"]

DISCONNECT_SECONDS: Final = 5.0
"""How long the server may take to answer."""


class Farewell:
    """Ends a session and the transports; said once."""

    def __init__(
        self,
        reactor: Any,
        selector: TransportSelector,
        dispatcher: Dispatcher,
        said: Callable[[], None],
    ) -> None:
        """:param said: called when nothing is left."""
        self._reactor = reactor
        self._selector = selector
        self._dispatcher = dispatcher
        self._said = said
        self._waiting: list[Deferred[None]] = []
        self._flights: list[Flight] = []
        self._timer: Any = None
        self._closing = False

    def wait(self) -> Deferred[None]:
        """Give what fires when nothing is left."""
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def say(self, session: str | None, held: Flight | None) -> None:
        """Disconnect ``session``; ``held``, a connect in flight, ends with it.

        Not before: giving it up would close a socket.
        """
        if held is not None:
            self._flights.append(held)
        if session is None:
            self._close()
            return
        message = {"channel": channels.DISCONNECT, "clientId": session}
        request = PendingRequest(
            message, lambda _: self._close(), lambda _: self._close()
        )
        delay = min(DISCONNECT_SECONDS, self._selector.network_delay)
        # Also for a reply that an extension sits on.
        self._timer = self._reactor.callLater(delay, self._close)
        flight = self._dispatcher.send(self._selector.current, [request], delay)
        self._flights.append(flight)

    def _close(self) -> None:
        def closed(result: object) -> None:
            self._dispatcher.stop()
            self._said()
            waiting, self._waiting = self._waiting, []
            for deferred in waiting:
                deferred.callback(None)

        if self._closing:
            return
        self._closing = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._selector.close().addBoth(closed)
        for flight in self._flights:
            flight.give_up()
