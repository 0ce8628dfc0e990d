"""A real server in memory, for the tests of programs that are its clients."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Self

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.task import Clock

from txbayeux.bayeux import Bayeux
from txbayeux.client import Client
from txbayeux.events import Reason
from txbayeux.message import Entry, Message, decode, encode_list
from txbayeux.processor import Response
from txbayeux.server import Server
from txbayeux.testing.fake_server import FakeServer
from txbayeux.testing.fakes import FakeRequest
from txbayeux.testing.transport import ClientRequest, FakeTransport
from txbayeux.transport.base import NoReply

__all__ = ["MemoryServer"]


class MemoryServer(FakeServer):
    """A server in memory, with clients on it, a clock to advance, and faults to inject.

    ::

        server = MemoryServer()
        client = server.new_client()
        prices = []
        client.subscribe("/prices", prices.append)
        server.advance()
        server.publish("/prices", 7)
        assert prices[0]["data"] == 7

    As over a network, a client's call returns before its answer comes: everything
    happens in :meth:`advance`, and in the methods that call it.

    :param make: makes the server, now and after :meth:`restart`, from the clock; by
        default it has no extensions, and the usual limits.
    :param clock: see :class:`FakeServer`.
    """

    bayeux: Bayeux
    """The server: a new one after each restart."""

    def __init__(
        self, make: Callable[[Clock], Bayeux] = Bayeux, *, clock: Any = None
    ) -> None:
        super().__init__(clock)
        self._make = make
        self._sockets: dict[FakeTransport, _Socket] = {}
        self._start()

    @classmethod
    def for_asyncio(cls, make: Callable[[Clock], Bayeux] = Bayeux) -> Self:
        """Return a server on the running event loop, for :class:`txbayeux.aio.Client`.

        ``Client(server.url, transports=server.transports)`` is a client of it.  Time
        passes by itself, as with a real reactor.

        :raises RuntimeError: if no event loop is running.
        """
        # Late: other programs have no use for asyncio.
        from txbayeux.aio.reactor import ClientReactor  # noqa: PLC0415

        asyncio.get_running_loop()
        return cls(make, clock=ClientReactor(None))

    def _start(self) -> None:
        self.bayeux = self._make(self.clock)
        self.wait_for(self.bayeux.start())

    # What the program that the server belongs to does.

    def publish(self, channel: str, data: object) -> None:
        """Publish on the server, and deliver it to the subscribers.

        :raises BayeuxError: if the channel is invalid, or an extension refuses it.
        """
        self.wait_for(self.bayeux.publish(channel, data))
        self._settle()

    def deliver(self, client: Client, channel: str, data: object) -> None:
        """Deliver a message to one client, whatever it is subscribed to.

        :raises UnknownSession: if the client has no session.
        """
        session_id = client.session_id or ""
        self.wait_for(self.bayeux.deliver(session_id, channel, data))
        self._settle()

    # What can happen to it.

    def end_session(self, client: Client) -> None:
        """End the session of a client, as the server does when it has waited too long.

        The client is told that its session is unknown.

        :raises UnknownSession: if the client has no session.
        """
        self.wait_for(self.bayeux.server.kick(client.session_id or ""))
        self._settle()

    def restart(self) -> None:
        """Replace the server by a new one: connections break, sessions are lost.

        For a server that is away for a while, combine it with :meth:`unreachable`.
        """
        self.disconnect()
        self.bayeux.stop()
        self._start()

    def stop(self) -> Deferred[None]:
        """Stop the server, which answers held connects first; it is not reachable then.

        Afterwards nothing of it is left in the clock.  Return a Deferred, which has
        fired already unless the clock is a real reactor.
        """
        self._refuse_connections()
        stopped = self.bayeux.stop().addCallback(lambda _: self.disconnect())
        if self._advances:
            self.until(lambda: stopped.called)
        return stopped

    def _settle(self) -> None:
        if self._advances:
            self.advance()

    @property
    def _advances(self) -> bool:
        """Whether the clock is one that a test advances."""
        return isinstance(self.clock, Clock)

    # Requests.

    def requested(self, request: ClientRequest) -> None:
        """Called by a transport with each request, which arrives in a later turn."""
        self.requests.append(request)
        self.clock.callLater(0, self._arrive, request)

    def _arrive(self, request: ClientRequest) -> None:
        if request.open:
            self._receive(request)

    def serve(self, request: ClientRequest) -> None:
        """Pass a request to the server."""
        transport = request.transport
        source = FakeRequest(
            transport=transport.connection_type,
            peer="127.0.0.1",
            headers={k.lower(): v for k, v in transport.context.headers.items()},
        )
        server = self.bayeux.server
        answers = _Answers(request)
        if transport.pipelined:
            if transport not in self._sockets:
                self._sockets[transport] = _Socket(transport, server, source)
            answer = self._sockets[transport].process(request.unrefused, source)
        else:
            answer = server.process(request.unrefused, source)
        answer.addCallback(answers.came)

    def connection_lost(self, transport: FakeTransport) -> None:
        """Called by a transport when its connection was closed, or broken."""
        socket = self._sockets.pop(transport, None)
        if socket is not None:
            socket.lost()

    def connection_paused(self, transport: FakeTransport) -> None:
        """Called by a transport when its client begins or ceases to read."""
        if not transport.paused and transport in self._sockets:
            self._sockets[transport].resume()


class _Answers:
    """Sends what the server answers to a request, unless the client is gone."""

    def __init__(self, request: ClientRequest) -> None:
        self._request = request
        self._unsent: list[Response] = []
        self._held: Deferred[Response] | None = None
        request.call_when_closed(self._closed)

    def came(self, response: Response) -> None:
        held = response.held
        self._held = held
        self._unsent.append(response)
        if not self._request.open:
            self._closed()
        elif held is None or self._request.transport.pipelined:
            self._send()
        if held is not None:
            held.addCallback(self.came)

    def _send(self) -> None:
        responses, self._unsent = self._unsent, []
        items = [item for response in responses for item in response.items]
        messages = decode(encode_list(items))
        if not self._request.transport.pipelined:
            self._request.answer(*messages)
        elif messages:
            self._request.push(*messages)

    def _closed(self) -> None:
        responses, self._unsent = self._unsent, []
        for response in responses:
            response.give_back()
        if self._held is not None:
            # It fires all the same, with what is to be given back.
            self._held.cancel()


class _Socket:
    """The server's half of a WebSocket: a :class:`~txbayeux.interfaces.Stream`."""

    preempted_by_poll = True

    def __init__(
        self, transport: FakeTransport, server: Server, source: FakeRequest
    ) -> None:
        self._lost = False
        self._transport = transport
        self._server = server
        self._stream = server.wrap_stream(self, source)
        self._lock = DeferredLock()

    @property
    def writable(self) -> bool:
        return not self._lost and not self._transport.paused

    def process(
        self, messages: Sequence[Message], source: FakeRequest
    ) -> Deferred[Response]:
        """Process a frame when those before it are processed."""
        return self._lock.run(self._server.process, messages, source, self._stream)

    def send(self, entries: Sequence[Entry]) -> None:
        self._transport.deliver(decode(encode_list(entries)))

    def replaced(self) -> None:
        """Do nothing: the client chooses its transport itself."""

    def close(self, reason: Reason) -> None:
        """Close the connection when the replies of this turn have been sent."""
        self._transport.clock.callLater(0, self._close)

    def _close(self) -> None:
        if not self._lost:
            self._transport.drop(NoReply("the server closed the socket"))

    def lost(self) -> None:
        """Called when the connection is gone."""
        self._lost = True
        self._server.detach(self._stream)

    def resume(self) -> None:
        """Called when the client reads again."""
        self._server.resume(self._stream)
