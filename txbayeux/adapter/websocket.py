"""WebSocket connections on Autobahn's protocol, and the factory that they share."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from functools import partial
from typing import Any, Final, cast

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.util import encode_truncate
from autobahn.websocket.compress import PerMessageDeflate
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from txbayeux.adapter.body import TooLarge, is_disconnect, read
from txbayeux.adapter.frames import (
    PING,
    FrameCache,
    text_frame,
)
from txbayeux.adapter.io import TurnEnd, WorkQueue, has_closed
from txbayeux.adapter.websocket_input import WebSocketInput
from txbayeux.errors import too_many
from txbayeux.events import Reason
from txbayeux.interfaces import Clock, DelayedCall, Request, Stream
from txbayeux.limits import Limits
from txbayeux.message import Entry, Malformed, Message, encode_list
from txbayeux.peer_limits import PeerRegistry
from txbayeux.processor import Processor, Response, response_now
from txbayeux.server.replies import refusal
from txbayeux.writing import can_write_now, write_now

__all__ = [
    "CLOSE_TIMEOUT",
    "MAX_HELD",
    "MAX_REFUSED",
    "MAX_UNACCEPTED",
    "REPLY_TIMEOUT",
    "WebSocketConnection",
    "WebSocketConnectionFactory",
]

CLOSE_TIMEOUT: Final = 1.0
"""Seconds that a peer has to answer a close frame before its connection is aborted."""

REPLY_TIMEOUT: Final = 2.0
"""Seconds that a connection whose session has ended waits for pending replies."""

MAX_HELD: Final = 100
"""Pending responses of one connection from which on nothing more is read from it.

A client has one held connect; the rest are publishes that storage has yet to accept.
"""

MAX_REFUSED: Final = 20
"""Requests in a row that are refused above a peer's rate; then 1008 follows."""

MAX_UNACCEPTED: Final = 1
"""Keep-alive intervals that a connection may last before a message is accepted.

With those of 25 s, it is closed after 25 to 50 s (Centrifugo: 10 s).  There is no such
limit once a message was accepted: a client whose session has ended may take its time.
"""

_MAX_SILENT: Final = 1
"""Keep-alive intervals in which a peer may send nothing, not even a pong."""

_MAX_SILENT_BLOCKED: Final = 4
"""The same while written data waits for the peer to read it: no ping can reach it."""

_DEFLATE_FROM: Final = 512
"""Bytes from which a message is compressed, if the client has agreed to it."""

_CLOSE_CODES: Final = {
    Reason.CLIENT: 1000,
    Reason.TIMEOUT: 1000,
    Reason.KICKED: 1008,
    Reason.SHUTDOWN: 1001,
}

_log: Final = Logger()


class _NullLogger:
    """Replaces Autobahn's logger, which reports each misbehaving peer."""

    def debug(self, *args: object, **kwargs: object) -> None:
        """Do nothing."""

    info = warn = error = failure = debug


class _NullDeferred:
    """Replaces Autobahn's Deferred of the end of each connection; nobody uses it."""

    def callback(self, result: object) -> None:
        """Do nothing."""


@implementer(IPushProducer, IHalfCloseableProtocol)
class WebSocketConnection(WebSocketInput):
    """One connection: a :class:`txbayeux.interfaces.Stream`.

    Requests are processed one after the other.  Nothing is read while one has to wait.

    :param source: the request that the connection began with.
    """

    preempted_by_poll = True
    factory: WebSocketConnectionFactory
    log = _NullLogger()
    is_closed = _NullDeferred()
    transport: Any
    _perMessageCompress: Any
    _copied: dict[str, Any]

    _timer: DelayedCall | None = None  # REPLY_TIMEOUT, then CLOSE_TIMEOUT
    _unaccepted = 0  # keep-alive intervals before a message is accepted
    _refused = 0  # requests in a row

    def __init__(self, factory: WebSocketConnectionFactory, source: Request) -> None:
        super().__init__(factory)
        self.writable = False
        self._source = source
        self._stream: Stream | None = factory.processor.wrap_stream(self, source)
        self._peer = factory.peers.key(source.peer)  # None if it is not limited
        self._closed = False  # Nothing more is sent or processed.
        self._processing = False  # The server has yet to answer a request.
        self._held: tuple[Deferred[Response], ...] = ()
        self._too_many_held = False
        self._deflates = False
        # Replies are written at the end of the turn, as deliveries are: writes right
        # after one another wake a client on another core less often than writes between
        # which messages are processed.  That saves 4 of 31 µs with 100 publishers.
        self._gathers = False
        self._gathered = b""
        self._accepted = False  # A message of the peer was not refused.
        # Of a close that waits for pending replies.
        self._close_code: int | None = None

    # The connection

    def connectionMade(self) -> None:
        """Called by Twisted when the connection belongs to this protocol."""
        for name, value in self._copied.items():
            setattr(self, name, copy(value))
        self._gathers = can_write_now(self.transport)
        self.transport.registerProducer(self, True)

    def open(self, response: bytes, deflate: PerMessageDeflate | None) -> None:
        """Send the response to the upgrade and begin to exchange messages."""
        write_now(self.transport, response)
        if deflate is not None:
            # Private, as the upgrade is not Autobahn's: its own takes 90 µs more, of
            # the 190 of a session's set-up.
            self._perMessageCompress = deflate
            self._deflates = True
        self.writable = True
        self.factory.connection_opened(self)

    def readConnectionLost(self) -> None:
        """Called by Twisted when the peer has closed its side; close ours later.

        When thousands do so at the same instant, only 10 of the 50 µs for each are
        spent at once; the rest is left to the work queue.
        """
        self._closed, self.writable = True, False
        if not self._queued:
            self.state = self.STATE_CLOSED
        self.factory.work_queue.add(self._lose_connection)

    def writeConnectionLost(self) -> None:
        """Called by Twisted only where a protocol closes its own side first."""

    def _lose_connection(self) -> None:
        # What Twisted does at once for protocols that are not IHalfCloseableProtocol.
        self.transport.connectionLost(connectionDone)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Called by Twisted when the connection is gone.

        What came before is still processed.
        """
        self._lost = True
        self._detach()
        super().connectionLost(reason)

    def _end(self) -> None:
        super()._end()
        self._cancel_timer()
        self.factory.connection_closed(self)

    # Requests

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """Called with each message; process the request that it carries."""
        if self.state != self.STATE_OPEN:
            return
        if isBinary:
            self._fail(1003, "Bayeux messages are text")
            return
        try:
            messages = read(payload, self.factory.limits)
        except Malformed as error:
            self._fail(1007, str(error))
        except TooLarge as error:
            self._fail(1009, str(error))
        else:
            if self._peer is not None and self._is_refused(len(payload), messages):
                return
            if not messages:
                if not self._closed:
                    self._write(b"[]")  # the heartbeat of Faye's client
            elif self._processing or self._too_many_held:
                self._waiting = messages
                self._read_or_pause()
            else:
                self._begin(messages)

    def _is_refused(self, size: int, messages: list[Any]) -> bool:
        """Count a request; answer it, and return True, if its peer sends too many."""
        if not self.factory.peers.admit_request(self._peer, size, len(messages)):
            self._refused = 0
            return False
        self._refused += 1
        if self._refused > MAX_REFUSED:
            self._fail(1008, "Too many requests")
        else:
            error = too_many("requests")
            self._write(encode_list([refusal(message, error) for message in messages]))
        return True

    def _begin(self, messages: list[Any]) -> None:
        if self.factory.refuses:
            return  # The client gets no reply, and sends them again elsewhere.
        self._processing = True
        if is_disconnect(messages):
            self.factory.work_queue.add(partial(self._process, messages))
        else:
            self._process(messages)

    def _process(self, messages: list[Any]) -> None:
        answer = self.factory.processor.process(messages, self._source, self._stream)
        response = response_now(answer)
        if response is None:
            answer.addCallbacks(self._processed, self._failed)
        else:
            self._processed(response)

    def _processed(self, response: Response) -> None:
        self._processing = False
        self._reply(response)
        held = response.held
        if held is not None:
            self._held = (*_pending(self._held), held)
            self._too_many_held = len(self._held) >= MAX_HELD
            held.addCallbacks(self._released, self._failed)
            if self._closed:
                held.cancel()
        if self._waiting is not None:
            self._go_on()
        if self._close_code is not None:
            self._close_after_replies()

    def _released(self, response: Response) -> None:
        self._reply(response)
        if self._close_code is not None:
            self.factory.work_queue.add(self._close_after_replies)
        if self._too_many_held and not self._closed:
            self._held = _pending(self._held)
            self._too_many_held = len(self._held) >= MAX_HELD
            self._go_on()

    def _go_on(self) -> None:
        waiting = self._waiting
        if waiting is not None and not (
            self._processing or self._too_many_held or self._closed
        ):
            self._waiting = None
            self._begin(waiting)
            self._parse()

    def _failed(self, failure: Failure) -> None:
        if not self._closed:
            _log.failure("Answering a request failed", failure)
            self._fail(1011, "Internal server error")

    def _reply(self, response: Response) -> None:
        if self._closed:
            response.give_back()
        elif response.items:
            if not self._accepted:
                self._accepted = not all(map(_is_refusal, response.items))
            self._write(encode_list(response.items))

    def _write(self, payload: bytes) -> None:
        if self._deflates and len(payload) >= _DEFLATE_FROM:
            # Not sendMessage(), which applies the limit of requests to responses.
            self.beginMessage()
            self.sendMessageFrame(payload)
            self.endMessage()
        elif self._gathers:
            if not self._gathered:
                self.factory.turn_end.add(self._write_gathered)
            self._gathered += text_frame(payload)
        else:
            self.transport.write(text_frame(payload))

    def _write_gathered(self) -> None:
        gathered, self._gathered = self._gathered, b""
        if gathered:
            write_now(self.transport, gathered)

    def sendData(
        self, data: bytes, sync: bool = False, chopsize: int | None = None
    ) -> None:
        """Called by Autobahn to write a frame."""
        self._write_gathered()
        super().sendData(data, sync, chopsize)

    # The stream

    def send(self, entries: Sequence[Entry]) -> None:
        """Write messages: a frame for each, or one for all if the client compresses."""
        if self._heard:
            # The peer may have closed right after what it sent; so far only the kernel
            # knows.
            self._heard = False
            if has_closed(self.transport):
                # A stream with extensions knows what has not been sent.
                # The reactor notices the end when it reads.
                self._detach(entries if self._stream is self else ())
                return
        if self._deflates:
            self._write(encode_list(entries))
        else:
            frames = self.factory.frames.joined(entries)
            if self._gathered:
                frames, self._gathered = self._gathered + frames, b""
            write_now(self.transport, frames)

    def replaced(self) -> None:
        """Stay open: a client may send over several connections at once."""

    def close(self, reason: Reason) -> None:
        """Close the connection once pending replies are written."""
        self._close_code = _CLOSE_CODES[reason]
        # Not before the caller has done all that belongs to the end of the session.
        self.factory.work_queue.add(self._close_after_replies)

    # IPushProducer

    def pauseProducing(self) -> None:
        """Called by the transport when the peer does not keep up; stop reading, too."""
        self.writable = False
        self._blocked = True
        self._read_or_pause()

    def resumeProducing(self) -> None:
        """Called by the transport when all that was written has been sent."""
        self._blocked = False
        self._read_or_pause()
        stream = None if self._closed else self._stream
        if stream is not None:
            self._silent = 0
            self.writable = True
            self.factory.processor.resume(stream)

    def stopProducing(self) -> None:
        """Called by the transport when it closes; its loss is reported separately."""
        self.writable = False

    # The end

    def check_alive(self) -> None:
        """Called once an interval: send a ping.

        Aborts if none was answered.  Closes with 1008 if the peer has taken too long to
        send a message that is accepted, or to end one.
        """
        if self._processing:
            return
        self._silent += 1
        if self._silent > (_MAX_SILENT if self.writable else _MAX_SILENT_BLOCKED):
            self._detach()
            self.transport.abortConnection()
        elif self._is_overdue():
            self.close_now(1008, "No message was complete and accepted in time")
        elif self.writable:
            self.transport.write(PING)

    def _is_overdue(self) -> bool:
        if not self._reading:
            return False
        if not self._accepted:
            self._unaccepted += 1
        return self._is_unfinished() or self._unaccepted > MAX_UNACCEPTED

    def close_now(self, code: int, reason: str = "") -> None:
        """Send a close frame, unless one was sent; the peer should answer it."""
        if self.state == self.STATE_OPEN:
            self._detach()
            super().sendCloseFrame(code, encode_truncate(reason, 123))
            self._start_close_timer()

    def sendCloseFrame(
        self,
        code: int | None = None,
        reasonUtf8: bytes | None = None,
        isReply: bool = False,
    ) -> None:
        """Called by Autobahn to answer a close frame, or to refuse any other frame."""
        self._detach()
        if self.failedByMe:
            self._start_close_timer()
        super().sendCloseFrame(code, reasonUtf8, isReply)

    def _fail(self, code: int, reason: str) -> None:
        self.close_now(code, reason)
        self.failedByMe = True

    def _close_after_replies(self) -> None:
        # With Redis, the end of a session may be known before the reply that says so.
        if _pending(self._held):
            if self._timer is None:
                self._timer = self.factory.clock.callLater(
                    REPLY_TIMEOUT, self.close_now, self._close_code
                )
        elif not self._processing and self._close_code is not None:
            self.close_now(self._close_code)

    def _start_close_timer(self) -> None:
        self._cancel_timer()
        abort = self.transport.abortConnection
        self._timer = self.factory.clock.callLater(CLOSE_TIMEOUT, abort)

    def _cancel_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _detach(self, unsent: Sequence[Entry] = ()) -> None:
        """Detach the stream from the server, which sends nothing more to it."""
        self._closed, self.writable = True, False
        self._waiting = None
        self._read_or_pause()
        stream, self._stream = self._stream, None
        if stream is not None:
            self.factory.processor.detach(stream, unsent)
            self._cancel_timer()
            held, self._held = self._held, ()
            for response in held:
                response.cancel()


class WebSocketConnectionFactory(WebSocketServerFactory):
    """The open WebSocket connections of one resource, and what they share.

    :param keep_alive: seconds between pings.
    :param deflate: whether to compress for clients that offer it.
    """

    def __init__(
        self,
        processor: Processor,
        clock: Clock,
        *,
        limits: Limits,
        peers: PeerRegistry,
        keep_alive: float,
        deflate: bool,
    ) -> None:
        WebSocketServerFactory.__init__(self, reactor=clock, server="")
        WebSocketServerFactory.setProtocolOptions(
            self,
            # The JSON decoder validates the whole message.
            utf8validateIncoming=False,
            maxMessagePayloadSize=limits.request_bytes,
            failByDrop=False,
            # Autobahn's timers run on the global reactor.
            openHandshakeTimeout=0,
            closeHandshakeTimeout=0,
        )
        self.processor = processor
        self.clock = clock
        self.limits = limits
        self.peers = peers
        self.deflate = deflate
        self.frames = FrameCache()
        self.work_queue = WorkQueue(clock)
        self.turn_end = TurnEnd(clock)
        self.refuses = False
        """Whether the service stops: requests are dropped, as a close follows."""
        self._connections: set[WebSocketConnection] = set()
        self._closed: Deferred[None] | None = None
        # One timer for all connections, which runs while there are any.
        self._keep_alive = LoopingCall(self._check_connections)
        self._keep_alive.clock = cast(Any, clock)
        self._interval = keep_alive
        self._connection_class = _connection_class(self)

    def make_connection(self, source: Request) -> WebSocketConnection:
        """Return the protocol for a connection that asked to be upgraded."""
        return self._connection_class(self, source)

    def connection_opened(self, connection: WebSocketConnection) -> None:
        """Called when a connection is open."""
        self._connections.add(connection)
        if not self._keep_alive.running:
            self._keep_alive.start(self._interval, now=False)

    def connection_closed(self, connection: WebSocketConnection) -> None:
        """Called when a connection is gone."""
        self._connections.discard(connection)
        if not self._connections:
            if self._keep_alive.running:
                self._keep_alive.stop()
            closed, self._closed = self._closed, None
            if closed is not None:
                closed.callback(None)

    def close(self) -> Deferred[None]:
        """Close every connection with 1001; the Deferred fires when all are gone."""
        self.work_queue.finish()
        if not self._connections:
            return succeed(None)
        if self._closed is None:
            self._closed = Deferred()
        result: Deferred[None] = Deferred()
        self._closed.chainDeferred(result)
        for connection in tuple(self._connections):
            connection.close_now(1001)
        return result

    def _check_connections(self) -> None:
        # A few in each turn: thousands of pings at once bring as many pongs at once.
        for connection in self._connections:
            self.work_queue.add(partial(self._check, connection))

    def _check(self, connection: WebSocketConnection) -> None:
        if connection in self._connections:
            connection.check_alive()


def _pending(held: Sequence[Deferred[Response]]) -> tuple[Deferred[Response], ...]:
    """Return those that have not fired, or whose result still passes extensions."""
    return tuple([one for one in held if not one.called or one.paused])


def _is_refusal(item: Message | Entry) -> bool:
    return isinstance(item, dict) and item.get("successful") is False


_IMMUTABLE: Final = (type(None), bool, int, float, str, bytes, tuple)

_SHARED: Final = {
    "send_queue",  # for writes in slices, which are not used
    "trafficStats",  # counts for all connections together
    "utf8validator",  # for a check that is switched off
}
"""Objects that Autobahn makes for each connection, and that all can share here."""


def _connection_class(factory: WebSocketConnectionFactory) -> type[WebSocketConnection]:
    """Derive a class whose attributes are the state of an open, idle connection.

    Autobahn's private ``_connectionMade()`` sets 70 attributes, among them all options.
    To run it once and not for each connection saves 50 of 240 µs at a session's set-up
    and 2.9 of 8.1 KiB a session.
    """
    template: Any = WebSocketConnection.__new__(WebSocketConnection)
    template.factory = factory
    WebSocketServerProtocol._connectionMade(template)
    # Each connection has its own, which is found faster if the class has none.
    del template.factory
    shared: dict[str, Any] = {}
    copied: dict[str, Any] = {}  # what a later Autobahn may add
    for name, value in vars(template).items():
        if (
            isinstance(value, _IMMUTABLE)
            or name in _SHARED
            or value == getattr(factory, name, None)
        ):
            shared[name] = staticmethod(value) if callable(value) else value
        else:
            copied[name] = value
    opened = {
        "websocket_version": 13,
        "_copied": copied,
    }
    return type(
        WebSocketConnection.__name__, (WebSocketConnection,), {**shared, **opened}
    )
