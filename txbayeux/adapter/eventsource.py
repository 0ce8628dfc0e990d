"""EventSource: messages as server-sent events.

Faye's client opens it at ``<mount>/<session>`` once it has a session, goes on
sending by POST, and takes the messages from here.  Each event is a JSON list.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, cast

from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer

from txbayeux.adapter.io import has_closed
from txbayeux.adapter.request import HttpRequest
from txbayeux.adapter.response import refuse
from txbayeux.errors import UnknownSession
from txbayeux.events import Reason
from txbayeux.interfaces import Clock, Stream
from txbayeux.message import Entry, encode_list
from txbayeux.protocol import Processor

__all__ = ["EventStream", "EventStreams"]

_RETRY: Final = b"retry: 2000\r\n\r\n"  # milliseconds; what Faye's server advises
_KEEP_ALIVE: Final = b":\r\n\r\n"
_SESSION: Final = re.compile(rb"[A-Za-z0-9]{1,128}\Z")
_LINE_END: Final = re.compile(rb"\r\n|\r|\n")

_log: Final = Logger()


@implementer(IPushProducer)
class EventStream:
    """One open stream: a :class:`txbayeux.interfaces.Stream`."""

    preempted_by_poll = False

    def __init__(self, request: Request, streams: EventStreams) -> None:
        self.writable = True
        self._request = request
        self._streams = streams
        self._open = self._fresh = True
        source = HttpRequest(
            "eventsource", request.getClientAddress(), request.requestHeaders
        )
        self.outlet: Stream = streams.server.wrap_stream(self, source)
        request.notifyFinish().addErrback(self._lost)

    # The server's side

    def send(self, entries: Sequence[Entry]) -> None:
        """Write one event with these messages."""
        if self._fresh:
            # The request may have come with the end of its connection.
            self._fresh = False
            if has_closed(self._request.transport):
                # An outlet knows by itself what has not been written.
                self._leave(entries if self.outlet is self else ())
                return
        self._begin()
        self._request.write(self._streams.event(entries))

    def replaced(self) -> None:
        """Stay open, idle: a client whose stream ends would open it again at once.

        Two streams of one session would take it from each other for ever.
        """

    def close(self, reason: Reason) -> None:
        """End the stream: its client comes back, and hears that the session is gone."""
        self.end()

    # twisted.web's side

    def pauseProducing(self) -> None:
        """Hear that the peer does not keep up."""
        self.writable = False

    def resumeProducing(self) -> None:
        """Hear that it does again."""
        if self._open:
            self.writable = True
            self._streams.server.resume(self.outlet)

    def stopProducing(self) -> None:
        """Hear that the connection closes; its loss is told separately."""
        self.writable = False

    # The registry's

    def attached(self, _: None = None) -> None:
        """Hear that the session's messages come here."""
        if self._open:
            self._begin()

    def failed(self, failure: Failure) -> None:
        """Hear that they do not."""
        if not self._open:
            return
        if isinstance(failure.value, UnknownSession):
            # Anything but a 200 makes a browser give up for good, and Faye's client
            # take its next transport, on which it is told to handshake anew.
            body = refuse(self._request, 404, "No such session")
            self._request.setHeader(b"Content-Length", b"%d" % len(body))
            self._request.write(body)
        else:
            _log.error("A stream could not be attached: {error}", error=failure.value)
            self._begin()  # and end: the browser tries again after the retry time
        self.end()

    def keep_alive(self) -> None:
        """Show proxies, and ourselves, that the connection lives."""
        if self.writable and self._request.startedWriting:
            self._request.write(_KEEP_ALIVE)

    def end(self) -> None:
        """Close the connection in order."""
        if self._open:
            self._begin()
            self._leave()
            self._request.unregisterProducer()
            self._request.finish()

    def _begin(self) -> None:
        request = self._request
        if request.startedWriting:
            return
        request.setHeader(b"Content-Type", b"text/event-stream")
        request.setHeader(b"Cache-Control", b"no-cache, no-store, no-transform")
        request.setHeader(b"X-Accel-Buffering", b"no")  # nginx
        request.setHeader(b"X-Content-Type-Options", b"nosniff")
        request.registerProducer(self, True)
        request.write(_RETRY)

    def _lost(self, reason: Failure) -> None:
        if self._open:
            self._leave()

    def _leave(self, unsent: Sequence[Entry] = ()) -> None:
        self._open = self.writable = False
        self._streams.discard(self)
        self._streams.server.detach(self.outlet, unsent)


class EventStreams:
    """The open event streams of one resource."""

    def __init__(self, server: Processor, reactor: Clock, *, keep_alive: float) -> None:
        self.server = server
        self._streams: set[EventStream] = set()
        self._interval = keep_alive
        # One timer for all, which runs while there are any.
        self._alarm = LoopingCall(self._tick)
        self._alarm.clock = cast(Any, reactor)
        self._last: tuple[tuple[Entry, ...], bytes] = ((), b"")

    def open(self, request: Request) -> bytes | int:
        """Answer a request for a session's stream."""
        path = request.postpath or []
        if len(path) != 1 or not _SESSION.match(path[0]):
            return refuse(request, 404, "An event stream is at <mount>/<session>")
        stream = EventStream(request, self)
        self._streams.add(stream)
        if not self._alarm.running:
            self._alarm.start(self._interval, now=False)
        attached = self.server.attach(path[0].decode("ascii"), stream.outlet)
        attached.addCallbacks(stream.attached, stream.failed)
        return NOT_DONE_YET

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
        if not self._streams and self._alarm.running:
            self._alarm.stop()

    def close(self) -> None:
        """End them all."""
        for stream in tuple(self._streams):
            stream.end()

    def _tick(self) -> None:
        for stream in tuple(self._streams):
            stream.keep_alive()
