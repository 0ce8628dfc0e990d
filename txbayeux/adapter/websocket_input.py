"""The input of a WebSocket connection: from bytes to messages, a few at once.

What one peer sends takes a part of each reactor turn, however much it is.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from autobahn.twisted.websocket import WebSocketServerProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from txbayeux.adapter.frames import take_message
from txbayeux.adapter.io import WorkQueue
from txbayeux.interfaces import Clock
from txbayeux.limits import Limits

__all__ = ["GATHERED", "MAX_UNFINISHED", "TURN", "WebSocketInput"]

TURN: Final = 0.0005
"""Seconds for which what one peer sent is processed before others have their turn.

A message is not interrupted.
"""

GATHERED: Final = 16
"""Small messages, of 4 KiB together, that are processed at once without regard to time.

What they publish is written to each subscriber at once.  With ten publishes in flight
to 100 subscribers, a delivery takes half of the time that it takes one by one.
"""

_GATHERED_BYTES: Final = 4096

MAX_UNFINISHED: Final = 4
"""Keep-alive intervals that a message, or control frame, may take to come whole.

With those of 25 s, the connection is closed after 100 to 125 s: 1 MiB at 90 kbit/s.
"""


class _FrameRefused(Exception):
    """Raised to leave Autobahn's parser when it has refused a frame."""


class _Factory(Protocol):
    @property
    def clock(self) -> Clock: ...
    @property
    def limits(self) -> Limits: ...
    @property
    def work_queue(self) -> WorkQueue: ...


class WebSocketInput(WebSocketServerProtocol):
    """Calls ``onMessage()`` with each message, in order.

    Small unfragmented text messages are parsed by :func:`~.frames.take_message`, all
    others by Autobahn; both end in ``onMessage()``.

    A subclass sets ``_waiting`` if a message has to wait.  Nothing is read from the
    connection while something that was read waits, or while the peer does not read.
    """

    factory: _Factory
    transport: Any
    message_data: Any
    current_frame_masker: Any

    # Most connections are idle: what few messages need is kept on the class.
    _blocked = False  # Written data waits for the peer to read it.
    _lost = False
    _unfinished = 0  # keep-alive intervals in the middle of one message

    def __init__(self, factory: _Factory) -> None:
        # Not Autobahn's __init__(), which makes objects that are not used here.
        # What each message needs is kept on the instance, where Python finds it faster
        # than on the class.  That saves 3 % of the instructions of a publish.
        self.factory = factory
        self.state = self.STATE_OPEN
        self.data = b""  # what was received and is not parsed yet
        self.inside_message = False
        self.current_frame: Any = None
        self.failedByMe = False
        self._waiting: list[Any] | None = None  # a request; nothing after it is parsed
        self._queued = False  # What was received is parsed further in another turn.
        self._reading = True
        self._silent = 0  # keep-alive intervals without a sign of life
        self._heard = False  # Something was received since messages were last sent.

    def dataReceived(self, data: bytes) -> None:
        """Called by Twisted with what the peer sent."""
        self._silent = 0
        self._heard = True
        # What follows a refused frame is not looked at: Autobahn would go on, and might
        # take it for the answer to the close frame.
        if not self.failedByMe:
            self.data += data
            if not self._queued and self._waiting is None:
                self._parse()

    def _parse(self) -> None:
        """Process what was received until a request has to wait or the turn is over."""
        end = self.factory.clock.seconds() + TURN
        try:
            while True:
                self._take_small_messages(end)
                if not self.data and self.current_frame is None:
                    break
                if self.failedByMe or self.state == self.STATE_CLOSED:
                    self.data = b""
                    break
                if self._waiting is not None:
                    break
                if self.factory.clock.seconds() >= end:
                    self._queued = True
                    self.factory.work_queue.add(self._parse_further)
                    break
                if not self.processData():
                    break
        except _FrameRefused:
            self.data = b""
        if self._queued or not self._reading:
            self._read_or_pause()

    def _take_small_messages(self, end: float) -> None:
        """Process the small messages at the beginning of what was received.

        :param end: time at which the turn is over.
        """
        if (
            self.state != self.STATE_OPEN
            or self.current_frame is not None
            or self.inside_message
        ):
            return
        limit = self.factory.limits.request_bytes
        data, at, count = self.data, 0, 0
        while (taken := take_message(data, at, limit)) is not None:
            payload, at = taken
            count += 1
            self.onMessage(payload, False)
            if at == len(data) or self._waiting is not None or self.failedByMe:
                break
            is_gathered = count < GATHERED and at < _GATHERED_BYTES
            if not is_gathered and self.factory.clock.seconds() >= end:
                break
        self.data = data[at:]

    def _parse_further(self) -> None:
        self._queued = False
        self._parse()
        if self._lost and not self._queued:
            self._end()

    def _read_or_pause(self) -> None:
        """Read only while nothing that was read waits, and the peer reads, too."""
        if self._lost or self.state == self.STATE_CLOSED:
            return
        reading = not (self._blocked or self._queued or self._waiting is not None)
        if reading is not self._reading:
            self._reading = reading
            if reading:
                self.transport.resumeProducing()
            else:
                self.transport.pauseProducing()

    def _is_unfinished(self) -> bool:
        """Count a keep-alive interval; return whether a message takes too long."""
        if self.data or self.inside_message or self.current_frame is not None:
            self._unfinished += 1
        else:
            self._unfinished = 0
        return self._unfinished > MAX_UNFINISHED

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Called by Twisted when the connection is gone.

        Autobahn's own would end timers and fire Deferreds that are not used here.
        """
        self._lost = True
        if not self._queued:
            self._end()

    def _end(self) -> None:
        """Called when the connection is gone and what came before is processed."""
        self.state = self.STATE_CLOSED

    # Called by Autobahn's parser

    def onMessageBegin(self, isBinary: bool) -> None:
        """Called by Autobahn at the beginning of a message."""
        super().onMessageBegin(isBinary)
        # One buffer, not Autobahn's list: a million fragments would take 57 MB in it.
        self.message_data = bytearray()

    def onMessageFrameBegin(self, length: int) -> None:
        """Called by Autobahn at a frame of a message.

        Counts an empty frame as one byte: each takes time, and there is a limit.
        """
        super().onMessageFrameBegin(length or 1)

    def onMessageFrameData(self, payload: bytes) -> None:
        """Called by Autobahn with a part of a message."""
        if not self.failedByMe:
            self.message_data += payload

    def onMessageFrameEnd(self) -> None:
        """Called by Autobahn at the end of a frame of a message."""

    def onMessageEnd(self) -> None:
        """Called by Autobahn at the end of a message."""
        self._unfinished = 0
        payload, self.message_data = bytes(self.message_data), None
        self.current_frame_masker = None
        if not self.failedByMe:
            self.onMessage(payload, self.message_is_binary)

    def sendCloseFrame(
        self,
        code: int | None = None,
        reasonUtf8: bytes | None = None,
        isReply: bool = False,
    ) -> None:
        """Called by Autobahn to answer a close frame, or to refuse any other frame."""
        super().sendCloseFrame(code, reasonUtf8, isReply)
        if self.failedByMe:
            raise _FrameRefused
