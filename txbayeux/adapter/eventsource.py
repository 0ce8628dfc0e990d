"""EventSource: messages as server-sent events.

Faye's client opens it at ``<mount>/<session>`` once it has a session, goes on
sending by POST, and takes the messages from here.  Each event is a JSON list.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, Protocol, cast

from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from txbayeux.adapter.io import WorkQueue
from txbayeux.adapter.request import HTTPRequest, RequestInfo
from txbayeux.adapter.response import (
    Header,
    Refused,
    ResponseHead,
    ResponseWriter,
    plain_text,
)
from txbayeux.errors import UnknownSession
from txbayeux.events import Reason
from txbayeux.interfaces import Clock, Stream
from txbayeux.message import Entry, encode_list
from txbayeux.processor import Processor

__all__ = ["EventStream", "EventStreams", "ended_stream", "wants_events"]

_RETRY: Final = b"retry: 2000\r\n\r\n"  # milliseconds; what Faye's server advises
_KEEP_ALIVE: Final = b":\r\n\r\n"
_SESSION: Final = re.compile(rb"[A-Za-z0-9]{1,128}\Z")
_LINE_END: Final = re.compile(rb"\r\n|\r|\n")
_HEADERS: Final = (
    (b"Content-Type", b"text/event-stream"),
    (b"Cache-Control", b"no-cache, no-store, no-transform"),
    (b"X-Accel-Buffering", b"no"),  # nginx
    (b"X-Content-Type-Options", b"nosniff"),
)

_log: Final = Logger()


def wants_events(request: HTTPRequest) -> bool:
    """Return whether a GET asks for an event stream."""
    return "text/event-stream" in (request.headers.get("accept") or "")


def ended_stream(headers: Sequence[Header]) -> tuple[ResponseHead, bytes]:
    """Make the response of a stream that ends at once, as the service stops.

    Its client tries again after the retry time, on another connection.  Anything but a
    200 makes a browser give up for good (HTML, "Server-sent events").
    """
    close = (b"Connection", b"close")
    return ResponseHead(200, (*_HEADERS, close, *headers)), _RETRY


class StreamRegistry(Protocol):
    """The part of :class:`EventStreams` that a stream uses."""

    @property
    def server(self) -> Processor:
        """The server."""

    def event(self, entries: Sequence[Entry]) -> bytes:
        """Write messages as one event."""

    def discard(self, stream: EventStream) -> None:
        """Forget a stream that has ended."""


@implementer(IPushProducer)
class EventStream:
    """One open stream: a :class:`txbayeux.interfaces.Stream`."""

    preempted_by_poll = False

    def __init__(
        self,
        request: HTTPRequest,
        writer: ResponseWriter,
        streams: StreamRegistry,
        headers: Sequence[Header],
    ) -> None:
        self.writable = True
        self._writer = writer
        self._streams = streams
        self._headers = headers
        self._first = True
        self._started = False
        info = RequestInfo("eventsource", request)
        # This stream, or one that refers to it; None once it has ended, so that it is
        # freed, and the response with what was not sent.
        self._wrapped: Stream | None = streams.server.wrap_stream(self, info)
        writer.call_when_lost(self._leave)

    # The server's side

    def send(self, entries: Sequence[Entry]) -> None:
        """Write one event with these messages."""
        if self._first:
            # The request may have come with the end of its connection.
            self._first = False
            if self._writer.client_gone(None):
                # A stream of extensions knows by itself what has not been written.
                self._leave(entries if self._wrapped is self else ())
                return
        self._start()
        self._writer.write(self._streams.event(entries))

    def replaced(self) -> None:
        """Stay open, idle: a client whose stream ends would open it again at once.

        Two streams of one session would take it from each other for ever.
        """

    def close(self, reason: Reason) -> None:
        """End the stream: its client comes back, and learns that the session ended."""
        self.end()

    # The connection's side

    def pauseProducing(self) -> None:
        """Called when the client does not keep up."""
        self.writable = False

    def resumeProducing(self) -> None:
        """Called when the client has read all that was written."""
        if self._wrapped is not None:
            self.writable = True
            self._streams.server.resume(self._wrapped)

    def stopProducing(self) -> None:
        """Called when the connection closes; its loss is reported separately."""
        self.writable = False

    # The registry's side

    def attach(self, session_id: str) -> None:
        """Attach the stream to a session, whose messages then come here."""
        if self._wrapped is not None:
            attached = self._streams.server.attach(session_id, self._wrapped)
            attached.addCallbacks(self._attached, self._failed)

    def _attached(self, _: None = None) -> None:
        if self._wrapped is not None:
            self._start()

    def _failed(self, failure: Failure) -> None:
        if self._wrapped is None:
            return
        if isinstance(failure.value, UnknownSession):
            # Anything but a 200 makes a browser give up for good, and Faye's client
            # take its next transport, on which it is told to handshake anew.
            self._leave()
            self._writer.respond(*plain_text(404, "No such session", self._headers))
        else:
            _log.error("A stream could not be attached: {error}", error=failure.value)
            self.end()  # the browser tries again after the retry time

    def keep_alive(self) -> None:
        """Send a comment, to show that the connection works."""
        if self.writable and self._started:
            self._writer.write(_KEEP_ALIVE)

    def end(self) -> None:
        """End the response in order."""
        if self._wrapped is not None:
            self._start()
            self._leave()
            self._writer.finish()

    def _start(self) -> None:
        if not self._started:
            self._started = True
            head = ResponseHead(200, (*_HEADERS, *self._headers))
            self._writer.start_stream(head, self)
            self._writer.write(_RETRY)

    def _leave(self, unsent: Sequence[Entry] = ()) -> None:
        wrapped, self._wrapped = self._wrapped, None
        self.writable = False
        if wrapped is not None:
            self._streams.discard(self)
            self._streams.server.detach(wrapped, unsent)


class EventStreams:
    """The open event streams of one resource.

    :param keep_alive: seconds between comments on idle streams.
    """

    def __init__(self, server: Processor, reactor: Clock, *, keep_alive: float) -> None:
        self.server = server
        self._streams: set[EventStream] = set()
        self._interval = keep_alive
        # One timer for all, which runs while there are any.
        self._timer = LoopingCall(self._keep_alive)
        self._timer.clock = cast(Any, reactor)
        self._work_queue = WorkQueue(reactor)
        self._last: tuple[tuple[Entry, ...], bytes] = ((), b"")

    def open(
        self, request: HTTPRequest, writer: ResponseWriter, headers: Sequence[Header]
    ) -> None:
        """Answer a request for a session's stream.

        :param headers: fields of the response that allow the client's page to read it.
        :raises Refused: with 404, if the path names no session.
        """
        if len(request.path) != 1 or not _SESSION.match(request.path[0]):
            raise Refused(404, "An event stream is at <mount>/<session>")
        stream = EventStream(request, writer, self, headers)
        self._streams.add(stream)
        if not self._timer.running:
            self._timer.start(self._interval, now=False)
        stream.attach(request.path[0].decode("ascii"))

    def event(self, entries: Sequence[Entry]) -> bytes:
        """Write messages as one event."""
        key = tuple(entries)
        if key != self._last[0]:
            # In fan-out every subscriber is given the same list.
            body = _LINE_END.sub(b"\r\ndata: ", encode_list(key))
            self._last = key, b"data: " + body + b"\r\n\r\n"
        return self._last[1]

    def discard(self, stream: EventStream) -> None:
        """Forget a stream that has ended."""
        self._streams.discard(stream)
        if not self._streams and self._timer.running:
            self._timer.stop()

    def close(self) -> None:
        """End all streams, and leave nothing in the reactor."""
        self._work_queue.finish()
        for stream in tuple(self._streams):
            stream.end()

    def _keep_alive(self) -> None:
        # A few in each turn: others are served in between.
        for stream in self._streams:
            self._work_queue.add(stream.keep_alive)
