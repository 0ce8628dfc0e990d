"""WebSocket: Autobahn's protocol, with the costs of a busy service taken out."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from autobahn.twisted.websocket import WebSocketServerProtocol
from autobahn.util import encode_truncate
from autobahn.websocket.compress import PerMessageDeflate
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from txbayeux.adapter.body import TooLarge, is_disconnect, read
from txbayeux.adapter.frames import EMPTY_LIST, PING, take_messages, text_frame
from txbayeux.adapter.io import has_closed, write_now
from txbayeux.adapter.lean import NobodyWaits, Silence, copy_own
from txbayeux.events import Reason
from txbayeux.interfaces import DelayedCall, Request, Stream
from txbayeux.message import Entry, Malformed, encode_list
from txbayeux.protocol import Response, response_now

if TYPE_CHECKING:
    from txbayeux.adapter.sockets import SocketFactory

__all__ = ["LINGER", "MOST_HELD", "WebSocketConnection"]

_PATIENCE: Final = 4
"""Ticks that a peer may take to read what is written to it."""

_WORTH_DEFLATING: Final = 512
"""Bytes from which a message is compressed where deflate was agreed."""

_CODES: Final = {
    Reason.CLIENT: 1000,
    Reason.TIMEOUT: 1000,
    Reason.KICKED: 1008,
    Reason.SHUTDOWN: 1001,
}

MOST_HELD: Final = 100
"""Answers that one socket may wait for before nothing more is read from it.

A client has one connect held; the rest is a burst that storage has yet to accept.
"""

LINGER: Final = 2.0
"""Seconds that a socket whose session has ended waits for replies to come."""

_log: Final = Logger()


def _pending(answers: Sequence[Deferred[Response]]) -> tuple[Deferred[Response], ...]:
    """Choose the answers that are not there, or still pass through extensions."""
    return tuple(one for one in answers if not one.called or one.paused)


@implementer(IPushProducer, IHalfCloseableProtocol)
class WebSocketConnection(WebSocketServerProtocol):
    """One connection: a :class:`txbayeux.interfaces.Stream`.

    Requests are handled one after the other; while one waits for the server,
    nothing is read.
    """

    preempted_by_poll = True
    factory: SocketFactory
    log = Silence()
    is_closed = NobodyWaits()
    transport: Any
    message_data: Any
    current_frame: Any
    current_frame_masker: Any
    inside_message: bool
    closeHandshakeTimeoutCall: Any
    _perMessageCompress: Any

    # What differs from connection to connection, while it does not.
    writable = False
    _parted = False
    _busy = False
    _crowded = False
    _draining = False
    _prompt = False  # whether what is written now should not wait for more
    _silent = 0
    _spoke = False  # since something was sent to it
    _farewell: int | None = None
    _linger: DelayedCall | None = None
    _backlog: deque[list[Any]] | None = None
    _held: tuple[Deferred[Response], ...] = ()

    def __init__(self, factory: SocketFactory, source: Request) -> None:
        # Autobahn's own makes only what is shared here.
        self.factory = factory
        self._source = source
        self.outlet: Stream | None = factory.processor.wrap_stream(self, source)

    # The connection

    def connectionMade(self) -> None:
        """Hear that the connection is ours."""
        copy_own(self)
        self.factory.countConnections += 1
        self.transport.registerProducer(self, True)

    def begin(self, answer: bytes, deflate: PerMessageDeflate | None) -> None:
        """Answer the upgrade; from now on messages may flow."""
        self.transport.write(answer)
        if deflate is not None:
            self._perMessageCompress = deflate
        self.writable = True
        self.factory.opened(self)

    def dataReceived(self, data: bytes) -> None:
        """Read what the peer sent."""
        self._silent = 0
        self._spoke = True
        if (
            self.state == self.STATE_OPEN
            and self.current_frame is None
            and not self.inside_message
            and not self.data
        ):
            messages, data = take_messages(data, self.factory.limits.request_bytes)
            self._prompt = len(messages) == 1 and not data
            for message in messages:
                if not self.failedByMe:
                    self.onMessage(message, False)
            self._prompt = False
        if data and not self.failedByMe:
            self._dataReceived(data)

    def readConnectionLost(self) -> None:
        """Hear that the peer has closed its end, and close ours when there is time."""
        # All may do so in one instant: 10 µs for each, and the other 40 can wait.
        self._parted, self.writable = True, False
        self.factory.work_queue.add(self._hang_up)

    def writeConnectionLost(self) -> None:
        """Hear what only a protocol that closes its own end first would hear."""

    def _hang_up(self) -> None:
        # As Twisted does at once where a protocol does not ask for the above.
        self.transport.connectionLost(connectionDone)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Hear that the connection is gone."""
        self._connectionLost(cast(Any, reason))

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """Hear the same from Autobahn."""
        if self.closeHandshakeTimeoutCall is not None:
            self.closeHandshakeTimeoutCall.cancel()
            self.closeHandshakeTimeoutCall = None
        self._part()
        self.factory.closed(self)

    # What the peer says

    def onMessageFrameBegin(self, length: int) -> None:
        """Hear of a part of a message; an empty one counts too, as it is kept."""
        super().onMessageFrameBegin(length or 1)

    def onMessageEnd(self) -> None:
        """Hear that a message is complete."""
        if not self.failedByMe:
            self.onMessage(b"".join(self.message_data), self.message_is_binary)
        self.message_data = self.current_frame_masker = None

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """Handle one request."""
        if self._parted:
            return
        if isBinary:
            self._fail(1003, "Bayeux is text")
            return
        try:
            messages = read(payload, self.factory.limits)
        except Malformed as error:
            self._fail(1007, str(error))
        except TooLarge as error:
            self._fail(1009, str(error))
        else:
            if not messages:
                self.transport.write(EMPTY_LIST)
            elif self._busy or self._crowded:
                self._wait(messages)
            else:
                self._process(messages)

    def _process(self, messages: list[Any]) -> None:
        self._busy = True
        if is_disconnect(messages):
            self.factory.work_queue.add(partial(self._ask, messages))
        else:
            self._ask(messages)

    def _ask(self, messages: list[Any]) -> None:
        answer = self.factory.processor.process(messages, self._source, self.outlet)
        response = response_now(answer)
        if response is None:
            answer.addCallbacks(self._answered, self._broken)
        else:
            self._answered(response)

    def _wait(self, messages: list[Any]) -> None:
        if self._backlog is None:
            self._backlog = deque()
            self.transport.pauseProducing()
        self._backlog.append(messages)

    def _answered(self, response: Response) -> None:
        self._busy = False
        self._reply(response)
        held = response.held
        if held is not None:
            self._held = (*_pending(self._held), held)
            self._crowded = len(self._held) >= MOST_HELD
            held.addCallbacks(self._came, self._broken)
            if self._parted:
                held.cancel()
        if self._backlog is not None:
            self._drain(self._backlog)
        if self._farewell is not None:
            self._take_leave()

    def _came(self, response: Response) -> None:
        self._reply(response)
        if self._farewell is not None:
            self.factory.work_queue.add(self._take_leave)
        if self._crowded and not self._parted:
            self._held = _pending(self._held)
            self._crowded = len(self._held) >= MOST_HELD
            if self._backlog is not None:
                self._drain(self._backlog)

    def _drain(self, backlog: deque[list[Any]]) -> None:
        # A loop, since a server that answers at once would recurse for each message.
        if self._draining:
            return
        self._draining = True
        while backlog and not (self._busy or self._crowded or self._parted):
            self._process(backlog.popleft())
        self._draining = False
        if not self._busy and not self._crowded:
            self._backlog = None
            if self.writable:
                self.transport.resumeProducing()

    def _broken(self, failure: Failure) -> None:
        if not self._parted:
            _log.failure("Answering a request failed", failure)
            self._fail(1011, "Internal server error")

    # What the server says

    def send(self, entries: Sequence[Entry]) -> None:
        """Write messages, each in a frame of its own."""
        if self._spoke:
            # Its last words may have come with the end of the connection, of which
            # only the kernel knows yet.
            self._spoke = False
            if has_closed(self.transport):
                # An outlet knows by itself what has not been written.
                self._part(entries if self.outlet is self else ())
                self.transport.resumeProducing()  # to read of the end
                return
        if self._perMessageCompress is None:
            write_now(self.transport, self.factory.frames.joined(entries))
        else:
            self._write(encode_list(entries))

    def replaced(self) -> None:
        """Stay open: the client may speak over several connections at once."""

    def close(self, reason: Reason) -> None:
        """Close the connection once pending replies are written."""
        self._farewell = _CODES[reason]
        # Not before who calls has done all that belongs to a session's end.
        self.factory.work_queue.add(self._take_leave)

    def _take_leave(self) -> None:
        # With storage elsewhere, a session's end may be known before its reply is.
        if _pending(self._held):
            if self._linger is None:
                self._linger = self.factory.clock.callLater(LINGER, self._depart)
        elif not self._busy:
            self._depart()

    def pauseProducing(self) -> None:
        """Hear that the peer does not keep up; ask it for nothing more meanwhile."""
        self.writable = False
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Hear that it has read all that was written."""
        outlet = None if self._parted else self.outlet
        if outlet is not None:
            self._silent = 0
            self.writable = True
            if self._backlog is None:
                self.transport.resumeProducing()
            self.factory.processor.resume(outlet)

    def stopProducing(self) -> None:
        """Hear that the connection closes; its loss is told separately."""
        self.writable = False

    def _reply(self, response: Response) -> None:
        if self._parted:
            response.give_back()
        elif response.items:
            self._write(encode_list(response.items))

    def _write(self, payload: bytes) -> None:
        if self._perMessageCompress is None or len(payload) < _WORTH_DEFLATING:
            frame = text_frame(payload)
            if self._prompt:
                write_now(self.transport, frame)
            else:
                self.transport.write(frame)
        else:
            # Not sendMessage(), which applies the limit for requests to answers.
            self.beginMessage()
            self.sendMessageFrame(payload)
            self.endMessage()

    # The end

    def tick(self) -> None:
        """See, once in a while, whether the peer lives; ask it if it is silent."""
        if self._busy:
            return
        self._silent += 1
        if self._silent > (1 if self.writable else _PATIENCE):
            self._part()
            self.transport.abortConnection()
        elif self.writable:
            self.transport.write(PING)

    def depart(self, code: int) -> None:
        """Close the connection."""
        self._farewell = code
        self._depart()

    def sendCloseFrame(self, *args: Any, **kwargs: Any) -> None:
        """Say goodbye, first or in answer to the peer's; nothing may follow it."""
        self._part()
        super().sendCloseFrame(*args, **kwargs)

    def _depart(self) -> None:
        if self.state == self.STATE_OPEN:
            self.sendCloseFrame(code=self._farewell)

    def _part(self, unsent: Sequence[Entry] = ()) -> None:
        """Have nothing more to do with the server."""
        self._parted, self.writable = True, False
        outlet, self.outlet = self.outlet, None
        if outlet is not None:  # often the socket itself: a cycle less to collect
            self.factory.processor.detach(outlet, unsent)
            linger, self._linger = self._linger, None
            if linger is not None and linger.active():
                linger.cancel()
            held, self._held = self._held, ()
            for waiting in held:
                waiting.cancel()

    # Autobahn's verdicts.  What follows a broken frame is not looked at: Autobahn
    # would parse on, and could take it for the answer to our close.

    def _fail(self, code: int, why: str) -> None:
        if not self.failedByMe and self.state == self.STATE_OPEN:
            self.sendCloseFrame(code=code, reasonUtf8=encode_truncate(why, 123))
        self.failedByMe = True

    def _fail_connection(self, code: int = 1001, reason: str = "going away") -> None:
        self._fail(code, reason)

    def _protocol_violation(self, reason: str) -> bool:
        self._fail(1002, reason)
        return True

    def _invalid_payload(self, reason: str) -> bool:
        self._fail(1007, reason)
        return True
