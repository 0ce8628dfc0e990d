"""What the servers in memory have in common: clients, time and faults."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from txbayeux.client import Client
from txbayeux.message import Message
from txbayeux.server.replies import refusal
from txbayeux.testing.faults import Effect, Fault, matches
from txbayeux.testing.transport import ClientRequest, FakeTransport
from txbayeux.transport.base import (
    Context,
    Factory,
    NoReply,
    Receiver,
    TransportError,
    TransportUnavailable,
    Unreachable,
)

__all__ = ["CONNECTION_TYPES", "URL", "FakeServer"]

URL: Final = "http://example.com/bayeux"
"""The URL of a server in memory, where a client names no other."""

CONNECTION_TYPES: Final = ("websocket", "long-polling")
"""The connection types that clients of a server in memory can use."""

_GATEWAY: Final = frozenset({502, 503, 504})
"""HTTP statuses that do not show that WebSockets do not work."""

T = TypeVar("T")


class FakeServer:
    """Base class of :class:`MemoryServer` and :class:`ScriptedServer`.

    :param clock: the time; by default a new reactor in memory, which is a Clock.  With
        a real reactor, time passes by itself, tests await what they wait for, and
        :meth:`advance`, :meth:`until` and :meth:`wait_for` do not work.
    """

    url = URL
    """The URL to give to a client that is not made by :meth:`new_client`."""

    def __init__(self, clock: Any = None) -> None:
        self._clock: Final = MemoryReactorClock() if clock is None else clock
        self.requests: Final[list[ClientRequest]] = []
        """Everything that clients sent, also what did not arrive."""
        self.connections: Final[list[FakeTransport]] = []
        """The transports that clients have made, the oldest first."""
        self._connections_of: dict[Client, list[FakeTransport]] = {}
        self._faults: list[Fault] = []
        self._outages: list[Fault] = []

    @property
    def clock(self) -> Clock:
        """The reactor of the server and its clients; see :meth:`advance`."""
        clock: Clock = self._clock
        return clock

    # Clients.

    def new_client(
        self,
        url: str = URL,
        *,
        reactor: object = None,
        transports: Sequence[str] = CONNECTION_TYPES,
        random: Callable[[], float] = lambda: 0.5,
        **options: Any,
    ) -> Client:
        """Return a client of this server.

        It takes the arguments of :class:`~txbayeux.Client`, so that a test can replace
        that class by it.

        :param reactor: is not used: the client has the server's clock.
        :param transports: the connection types, best first; those other than
            ``websocket`` and ``long-polling`` are left out.
        :param random: returns the jitter; by default always the mean.
        :raises ValueError: if no connection type is left, or as the class raises it.
        """
        made: list[FakeTransport] = []
        client = Client(
            url,
            reactor=self.clock,
            transports=self._factories(transports, made),
            random=random,
            **options,
        )
        self._connections_of[client] = made
        return client

    @property
    def transports(self) -> Mapping[str, Factory]:
        """What to pass to ``Client(transports=)``, with :attr:`clock` as reactor."""
        return self._factories(CONNECTION_TYPES, [])

    def _factories(
        self, types: Sequence[str], made: list[FakeTransport]
    ) -> Mapping[str, Factory]:
        usable = [name for name in types if name in CONNECTION_TYPES]
        if not usable or isinstance(types, str):
            raise ValueError(f"none of these is a connection type here: {types!r}")
        return {name: partial(self._connect, name, made) for name in usable}

    def _connect(
        self,
        name: str,
        made: list[FakeTransport],
        context: Context,
        receiver: Receiver,
    ) -> FakeTransport:
        transport = FakeTransport(self, name, context, receiver)
        self.connections.append(transport)
        made.append(transport)
        return transport

    # What clients sent.

    def sent(self, channel: str) -> list[Message]:
        """Return the messages that clients have sent on a channel."""
        return _on(channel, self.requests)

    def received(self, channel: str) -> list[Message]:
        """Return those of them that have reached the server."""
        return _on(channel, [request for request in self.requests if request.arrived])

    # Time.

    def advance(self, seconds: float = 0.0) -> None:
        """Advance the clock, from one timer to the next.

        Without an argument, only what is due now happens.
        """
        end = self.clock.seconds() + seconds
        while self._turn(end):
            pass
        self.clock.advance(max(end - self.clock.seconds(), 0.0))

    def until(self, condition: Callable[[], object], timeout: float = 60.0) -> None:
        """Advance the clock until ``condition()`` is true.

        :param timeout: seconds that may pass on the clock.
        :raises TimeoutError: if it is not true then.
        """
        end = self.clock.seconds() + timeout
        while not condition():
            if not self._turn(end):
                raise TimeoutError(f"it did not happen within {timeout:g} s")

    def wait_for(
        self, result: Deferred[T] | Coroutine[Any, Any, T], timeout: float = 60.0
    ) -> T:
        """Advance the clock until a Deferred or coroutine has a result; return that.

        Raises what it fails with.

        :param timeout: seconds that may pass on the clock.
        :raises TimeoutError: if there is no result then.
        """
        deferred = (
            result if isinstance(result, Deferred) else Deferred.fromCoroutine(result)
        )
        results: list[Any] = []
        deferred.addBoth(results.append)
        self.until(lambda: results, timeout)
        if isinstance(results[0], Failure):
            results[0].raiseException()
        value: T = results[0]
        return value

    def _turn(self, end: float) -> bool:
        """Advance to the next timer; return False if there is none until ``end``."""
        if not isinstance(self.clock, Clock):
            raise TypeError("a real reactor cannot be advanced: await it instead")
        due = [call.getTime() for call in self.clock.getDelayedCalls()]
        if not due or min(due) > end:
            return False
        self.clock.advance(max(min(due) - self.clock.seconds(), 0.0))
        return True

    # Faults.

    def refuse(
        self,
        channel: str,
        error: str,
        *,
        advice: Message | None = None,
        times: int | None = 1,
    ) -> Fault:
        """Refuse messages on ``channel``, which the server does not see.

        :param channel: a channel name or pattern.
        :param error: what the refusal says, such as ``"401::Who are you?"``.
        :param advice: by default, what txbayeux's server advises with such an error.
        :param times: how many requests to refuse; None for all until it is cancelled.
        """

        def effect(request: ClientRequest, serve: Callable[[], None]) -> None:
            for message in request.messages:
                if matches(channel, message):
                    request.refuse(message, refusal(message, error, advice))
            request.arrived = True
            if request.unrefused:
                serve()
            else:
                request.answer()

        return self._add(effect, channel, times)

    def drop_requests(
        self, channel: str | None = None, *, times: int | None = 1
    ) -> Fault:
        """Lose requests on their way: the server does not see them, nobody answers.

        The client finds out when it has waited long enough.

        :param channel: only requests with a message on this channel name or pattern.
        :param times: how many requests to lose; None for all until it is cancelled.
        """
        return self._add(lambda request, serve: None, channel, times)

    def drop_replies(
        self, channel: str | None = None, *, times: int | None = 1
    ) -> Fault:
        """Lose answers on their way: the server has done what was asked for.

        The messages that come with the reply to a connect are lost as well; not so
        those that are pushed over a WebSocket.  The client finds out when it has waited
        long enough.

        :param channel: only answers to requests with a message on this channel name or
            pattern.
        :param times: how many requests to leave without an answer; None for all until
            it is cancelled.
        """

        def effect(request: ClientRequest, serve: Callable[[], None]) -> None:
            request.answers_lost = True
            serve()

        return self._add(effect, channel, times)

    def delay_replies(
        self, seconds: float, channel: str | None = None, *, times: int | None = 1
    ) -> Fault:
        """Deliver answers late.

        :param channel: only answers to requests with a message on this channel name or
            pattern.
        :param times: how many requests to answer late; None for all until it is
            cancelled.
        """

        def effect(request: ClientRequest, serve: Callable[[], None]) -> None:
            request.answers_delayed = seconds
            serve()

        return self._add(effect, channel, times)

    def answer_with_status(
        self,
        status: int,
        channel: str | None = None,
        *,
        connection_type: str | None = None,
        times: int | None = 1,
    ) -> Fault:
        """Answer with an HTTP error, as a proxy does; the server sees no request.

        A WebSocket ends, as if its upgrade had been answered so.

        :param status: the status of the response, such as 503.
        :param channel: only requests with a message on this channel name or pattern.
        :param connection_type: only requests over this transport.
        :param times: how many requests to answer so; None for all until it is
            cancelled.
        """

        def effect(request: ClientRequest, serve: Callable[[], None]) -> None:
            polling = not request.transport.pipelined
            kind = NoReply if polling or status in _GATEWAY else TransportUnavailable
            self._break(request, kind(f"HTTP status {status}", status))

        return self._add(effect, channel, times, connection_type)

    def unreachable(self) -> Fault:
        """Break all connections and refuse new ones, until the fault is cancelled.

        Sessions go on, unless they time out meanwhile.
        """
        outage = self._refuse_connections()
        self.disconnect()
        return outage

    def _refuse_connections(self) -> Fault:
        def effect(request: ClientRequest, serve: Callable[[], None]) -> None:
            self._break(request, Unreachable("connection refused"))

        outage = Fault(effect)
        self._outages.append(outage)
        return outage

    def disconnect(
        self, client: Client | None = None, error: TransportError | None = None
    ) -> None:
        """Break the open connections; sessions go on.

        :param client: only those of this one, which :meth:`new_client` has made.
        :param error: what the transports fail with; by default ``NoReply``.
        :raises ValueError: if another has made it.
        """
        connections = self.connections
        if client is not None:
            if client not in self._connections_of:
                raise ValueError(f"new_client() has not made {client!r}")
            connections = self._connections_of[client]
        for transport in list(connections):
            transport.drop(error)

    @staticmethod
    def _break(request: ClientRequest, error: TransportError) -> None:
        """Fail a request, and what else depends on its connection."""
        if request.transport.pipelined:
            request.transport.drop(error)
        else:
            request.fail(error)

    def _add(
        self,
        effect: Effect,
        channel: str | None,
        times: int | None,
        connection_type: str | None = None,
    ) -> Fault:
        fault = Fault(
            effect, channel=channel, times=times, connection_type=connection_type
        )
        self._faults.append(fault)
        return fault

    # Requests.

    def requested(self, request: ClientRequest) -> None:
        """Called by a transport with each request of a client."""
        self.requests.append(request)
        self._receive(request)

    def _receive(self, request: ClientRequest) -> None:
        def serve() -> None:
            request.arrived = True
            self.serve(request)

        self._outages = [fault for fault in self._outages if fault.active]
        self._faults = [fault for fault in self._faults if fault.active]
        for fault in (*self._outages, *self._faults):
            if fault.concerns(request):
                fault.strike(request, serve)
                return
        serve()

    def serve(self, request: ClientRequest) -> None:
        """Answer a request that no fault has kept away; each kind of server does."""
        raise NotImplementedError

    def connection_lost(self, transport: FakeTransport) -> None:
        """Called by a transport when its connection was closed, or broken."""

    def connection_paused(self, transport: FakeTransport) -> None:
        """Called by a transport when its client begins or ceases to read."""


def _on(channel: str, requests: Sequence[ClientRequest]) -> list[Message]:
    return [
        message
        for request in requests
        for message in request.messages
        if message["channel"] == channel
    ]
