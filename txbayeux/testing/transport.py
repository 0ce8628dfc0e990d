"""The client's half of a connection to a server in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock

from txbayeux.channel import CONNECT
from txbayeux.message import Message, decode, encode_list
from txbayeux.transport.base import (
    Context,
    NoReply,
    Receiver,
    ReplyTimeout,
    TransportError,
    TransportUnavailable,
)
from txbayeux.transport.replies import PendingReplies, note_replies

__all__ = ["ClientRequest", "FakeTransport", "RequestHandler"]


class RequestHandler(Protocol):
    """The server, as the connections to it call it."""

    @property
    def clock(self) -> Clock:
        """The time of the server and of its clients."""

    def requested(self, request: ClientRequest) -> None:
        """Called with each request of a client."""

    def connection_lost(self, transport: FakeTransport) -> None:
        """Called when a connection was closed, or broken."""

    def connection_paused(self, transport: FakeTransport) -> None:
        """Called when a client begins or ceases to read what is pushed."""


class ClientRequest:
    """The messages that a client sent together: one HTTP request or WebSocket frame.

    :param timeout: seconds that the client waits for the replies.
    """

    def __init__(
        self, transport: FakeTransport, messages: list[Message], timeout: float
    ) -> None:
        self.transport = transport
        self.messages = messages
        self.timeout = timeout
        self.unrefused = list(messages)
        """Those that no fault has refused: what the server is to answer."""
        self.arrived = False
        """Whether it has reached the server."""
        self.answers_lost = False
        """Whether what the server answers does not reach the client."""
        self.answers_delayed = 0.0
        """Seconds that answers take to reach the client."""
        self.done: Deferred[None] = Deferred(self._cancelled)
        """What the client waits for."""
        self._closed = False
        self._refusals: list[Message] = []
        self._pending = PendingReplies(messages)
        self._when_closed: list[Callable[[], None]] = []
        self._timers: list[IDelayedCall] = []
        self._expect_answer(timeout)

    def _expect_answer(self, seconds: float) -> None:
        clock = self.transport.clock
        self._timers.append(clock.callLater(seconds, self._timed_out))

    @property
    def channels(self) -> list[str]:
        """The channels of the messages."""
        return [message["channel"] for message in self.messages]

    @property
    def open(self) -> bool:
        """Whether the client waits for an answer."""
        return not self._closed and not self.done.called

    def push(self, *messages: Message) -> None:
        """Send messages to the client, now; those to come follow."""
        self._send(messages, last=False)

    def answer(self, *messages: Message) -> None:
        """Answer with these messages and no more, as HTTP does.

        If a reply is missing, the request fails.
        """
        self._send(messages, last=True)

    def fail(self, error: TransportError | None = None) -> None:
        """Fail the request: its connection breaks, unless ``error`` says otherwise."""
        if self.open:
            self._close()
            self.done.errback(error or NoReply("the connection was lost"))

    def refuse(self, message: Message, reply: Message) -> None:
        """Send ``reply`` to one of the messages with what the server answers."""
        self.unrefused.remove(message)
        self._refusals.append(reply)

    def call_when_closed(self, callback: Callable[[], None]) -> None:
        """Call back when the client has its answer, or waits for none any more."""
        self._when_closed.append(callback)

    def _send(self, messages: Sequence[Message], *, last: bool) -> None:
        if not self.open or self.answers_lost:
            return
        messages, self._refusals = [*self._refusals, *messages], []
        if self.answers_delayed:
            clock = self.transport.clock
            self._timers.append(
                clock.callLater(self.answers_delayed, self._arrive, messages, last)
            )
        else:
            self._arrive(messages, last)

    def _arrive(self, messages: Sequence[Message], last: bool) -> None:
        note_replies(messages, [self._pending])
        self.transport.deliver(messages)
        if not self.open:
            return
        if self._pending.complete:
            self._close()
            self.done.callback(None)
        elif last:
            self.fail(NoReply("the response holds no reply"))

    def _timed_out(self) -> None:
        left = self._seconds_left()
        if left > 0:
            self._expect_answer(left)
            return
        why = f"no reply within {self.timeout:g} s"
        if not self.transport.pipelined:
            self.fail(ReplyTimeout(why))
        elif self.transport.useful:
            self.transport.drop(NoReply(why))
        else:
            self.transport.drop(TransportUnavailable(f"{why}, over a new socket"))

    def _seconds_left(self) -> float:
        """Return how much longer to wait for the reply to a connect on a WebSocket."""
        transport = self.transport
        if not transport.pipelined or CONNECT not in self.channels:
            return 0.0
        if transport.paused:
            return self.timeout
        return transport.last_delivery + self.timeout - transport.clock.seconds()

    def _cancelled(self, done: Deferred[None]) -> None:
        self._close()
        done.errback(CancelledError())
        if self.transport.pipelined:
            self.transport.drop(NoReply("the request was given up"))

    def _close(self) -> None:
        self._closed = True
        for timer in self._timers:
            if timer.active():
                timer.cancel()
        callbacks, self._when_closed = self._when_closed, []
        for callback in callbacks:
            callback()


class FakeTransport:
    """A :class:`~txbayeux.transport.base.Transport` without a network.

    As with the client's own, a late reply ends a WebSocket, and whatever is in flight
    on it fails; a connect has time for as long as messages arrive.  It sends no pings.
    """

    batch_bytes = 10_000

    def __init__(
        self,
        server: RequestHandler,
        connection_type: str,
        context: Context,
        receiver: Receiver,
    ) -> None:
        self.connection_type = connection_type
        self.pipelined = connection_type == "websocket"
        self.context = context
        self.receiver = receiver
        self.attached: list[str] = []
        """The sessions that the client has attached."""
        self.requests: list[ClientRequest] = []
        """Everything that the client sent on it."""
        self.paused = False
        """Whether the client reads nothing that is pushed.

        A :class:`MemoryServer` keeps it; a :class:`ScriptedServer` delivers it all the
        same, as to a WebSocket on which the client waits for a reply.
        """
        self.connected = False
        """Whether there is a connection."""
        self.last_delivery = 0.0
        """When the last messages arrived, on the clock."""
        self.useful = False
        """Whether anything was received on this connection."""
        self.closed = False
        """Whether the client has closed it."""
        self._server = server

    @property
    def clock(self) -> Clock:
        """The time of the server."""
        return self._server.clock

    def send(self, messages: Sequence[Message], timeout: float) -> Deferred[None]:
        """See :meth:`Transport.send <txbayeux.transport.base.Transport.send>`."""
        assert not self.closed, "nothing may be sent over a closed transport"
        self.connected = True
        request = ClientRequest(self, decode(encode_list(messages)), timeout)
        self.requests.append(request)
        self._server.requested(request)
        return request.done

    def attach(self, session_id: str) -> None:
        """Record the session."""
        self.attached.append(session_id)

    def pause(self) -> None:
        """See :meth:`Transport.pause <txbayeux.transport.base.Transport.pause>`."""
        self.paused = True
        self._server.connection_paused(self)

    def resume(self) -> None:
        """See :meth:`Transport.resume <txbayeux.transport.base.Transport.resume>`."""
        self.paused = False
        self._server.connection_paused(self)

    def close(self) -> Deferred[None]:
        """See :meth:`Transport.close <txbayeux.transport.base.Transport.close>`."""
        if not self.closed:
            self.closed = True
            self._disconnect(NoReply("the transport was closed"))
        return succeed(None)

    def deliver(self, messages: Sequence[Message]) -> None:
        """Pass messages to the client."""
        if not self.closed:
            self.useful = True
            self.last_delivery = self.clock.seconds()
            self.receiver.received(list(messages))

    def drop(self, error: TransportError | None = None) -> None:
        """Break the connection: fail all requests.

        A broken WebSocket is reported to the client, too.
        """
        error = error or NoReply("the connection was lost")
        was_connected = self.connected and not self.closed
        self._disconnect(error)
        if self.pipelined and was_connected:
            self.receiver.broken(error)

    def _disconnect(self, error: TransportError) -> None:
        self.connected = self.useful = False
        self._server.connection_lost(self)
        for request in list(self.requests):
            request.fail(error)
