"""The ``eventsource`` connection type: messages by server-sent events, rest by POST.

The stream is opened at ``<url>/<session>``, as Faye's clients do.  When it
ends, the client finds out by a connect whether the session lives before it has
the stream opened again; meanwhile messages wait at the server.  One that stops to
show signs of life, where there were any, has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.iweb import IResponse

from txbayeux.interfaces import DelayedCall
from txbayeux.message import Message
from txbayeux.transport.base import (
    Context,
    NoReply,
    Receiver,
    ReplyTimeout,
    TransportError,
    TransportUnavailable,
)
from txbayeux.transport.exchange import read
from txbayeux.transport.failures import explained
from txbayeux.transport.http import Http
from txbayeux.transport.long_polling import BATCH_BYTES, post
from txbayeux.transport.sse import EventStream, TooLong

__all__ = ["EventSource"]

_RHYTHM: Final = 3
"""Signs of life that make a rhythm."""

_SHORTEST: Final = 20.0
"""Seconds between signs of life, at least, for what is waited for: some come late."""

_HEADERS: Final = {"Accept": "text/event-stream", "Cache-Control": "no-cache"}
_UNKNOWN: Final = frozenset({404, 410})
_GATEWAY: Final = frozenset({500, 502, 503, 504})


class EventSource:
    """Source: Faye's ``event_source.js``; WHATWG HTML, "Server-sent events"."""

    connection_type = "eventsource"
    pipelined = False
    batch_bytes = BATCH_BYTES

    def __init__(
        self, context: Context, receiver: Receiver, http: Http | None = None
    ) -> None:
        self._context = context
        self._receiver = receiver
        self._http = http or Http(context)
        self._session = ""
        self._opening: Deferred[IResponse] | None = None
        self._stream: _Stream | None = None

    def send(self, messages: Sequence[Message], timeout: float) -> Deferred[None]:
        """See :meth:`Transport.send <txbayeux.transport.base.Transport.send>`."""
        return post(self._http, self._context, self._receiver, messages, timeout)

    def attach(self, session_id: str) -> None:
        """Open the stream of this session, if it is not open."""
        busy = (self._opening, self._stream) != (None, None)
        if session_id == self._session and busy:
            return
        self._drop()
        self._session = session_id
        self._open()

    def _open(self) -> None:
        context = self._context
        endpoint = context.endpoint.below(self._session)
        opening = self._http.open(endpoint, _HEADERS, context.network_delay)
        self._opening = opening

        def opened(response: Any) -> None:
            stream, wanted = _Stream(self, context), self._opening is opening
            if wanted:
                self._opening = None
            if wanted and _is_stream(response):
                # First of all: the body may be there already, and its end.
                self._stream = stream
                response.deliverBody(stream)
                return
            response.deliverBody(stream)
            stream.abort()
            if wanted:
                self._receiver.broken(
                    TransportUnavailable("the answer is no event stream")
                )

        def failed(failure: Failure) -> None:
            if self._opening is opening:
                self._opening = None
                self._receiver.broken(_judged(failure))

        opening.addCallbacks(opened, failed)

    def received(self, stream: _Stream, messages: list[Message]) -> None:
        """Hear of messages from a stream."""
        if stream is self._stream:
            self._receiver.received(messages)

    def ended(self, stream: _Stream, error: TransportError) -> None:
        """Hear that a stream has ended."""
        if stream is not self._stream:
            return
        self._stream = None
        self._receiver.broken(error)

    def _drop(self) -> None:
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.cancel()
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.abort()

    def close(self) -> Deferred[None]:
        """Close the stream, abort what is in flight, close idle connections."""
        self._drop()
        return self._http.close()


def _is_stream(response: IResponse) -> bool:
    kinds: list[bytes] = response.headers.getRawHeaders(b"Content-Type") or [b""]
    return kinds[0].lower().startswith(b"text/event-stream")


def _judged(failure: Failure) -> TransportError:
    error = failure.value
    if not isinstance(error, NoReply) or error.status in _GATEWAY:
        return explained(failure)
    if error.status in _UNKNOWN:
        return NoReply("the server has no event stream for the session", error.status)
    if error.status is not None or isinstance(error, ReplyTimeout):
        # A proxy that waits for the end of the body never answers a stream.
        return TransportUnavailable(f"no event stream: {error}", error.status)
    return error


class _Stream(Protocol):
    """The body of the answer: events until it ends."""

    def __init__(self, owner: EventSource, context: Context) -> None:
        self._owner = owner
        self._events = EventStream(context.max_response)
        self._pulse = _Pulse(context.reactor, context.network_delay, self._fell_silent)
        self._ended = False

    def dataReceived(self, data: bytes) -> None:
        comments = self._events.comments
        try:
            for event in self._events.feed(data):
                if self._ended:
                    return
                self._owner.received(self, read(event))
        except TooLong:
            self.fail(NoReply("an event is larger than what is read"))
        except NoReply as error:
            self.fail(error)
        if not self._ended:
            self._pulse.heard(beat=self._events.comments > comments)

    def _fell_silent(self) -> None:
        self.fail(NoReply("the event stream fell silent"))

    def fail(self, error: TransportError) -> None:
        self._end(error)
        self.abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        # However it ends: a stream has no length, and a proxy may cut it.
        self._end(NoReply("the event stream ended"))

    def _end(self, error: TransportError) -> None:
        if not self._ended:
            self._ended = True
            self._pulse.stop()
            self._owner.ended(self, error)

    def abort(self) -> None:
        self._ended = True
        self._pulse.stop()
        lose = getattr(self.transport, "loseConnection", None)
        if lose is not None:
            lose()


class _Pulse:
    """Learns how often a server shows that it lives, and tells when it does no more.

    No document says how often: Faye's comes every 10 s, others send none, and are
    waited for without end.

    :param margin: seconds that a sign of life may be late, beyond another turn.
    """

    def __init__(self, clock: Any, margin: float, missed: Callable[[], None]) -> None:
        self._clock = clock
        self._margin = margin
        self._missed = missed
        self._beat: float | None = None
        self._beats = 0
        self._longest = _SHORTEST
        self._call: DelayedCall | None = None

    def heard(self, *, beat: bool) -> None:
        """Hear that something came, perhaps a sign of life."""
        if beat:
            now = self._clock.seconds()
            if self._beat is not None:
                self._longest = max(self._longest, now - self._beat)
            self._beat, self._beats = now, self._beats + 1
        if self._beats >= _RHYTHM:
            self.stop()
            wait = 2 * self._longest + self._margin
            self._call = self._clock.callLater(wait, self._missed)

    def stop(self) -> None:
        """Leave nothing in the reactor."""
        call, self._call = self._call, None
        if call is not None and call.active():
            call.cancel()
