"""The ``eventsource`` connection type: server-sent events, and POST for requests.

The stream is opened at ``<url>/<session>``, as Faye's clients do.  When it ends,
the client sends a connect to learn whether the session still exists, and then
opens the stream again; until then messages wait at the server.  A stream whose
keep-alives stop counts as ended.

A stream that could not be opened is asked for once more at first: behind a balancer
that alternates between servers, and has not noticed that one has stopped, connects
could reach the others each time, and requests for the stream the one that stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.iweb import IResponse

from txbayeux.interfaces import DelayedCall
from txbayeux.message import Message
from txbayeux.transport.base import (
    GATEWAY,
    Context,
    NoReply,
    Receiver,
    ReplyTimeout,
    TransportError,
    TransportUnavailable,
    Unreachable,
)
from txbayeux.transport.failures import to_transport_error
from txbayeux.transport.http import Http
from txbayeux.transport.long_polling import BATCH_BYTES, post
from txbayeux.transport.replies import read
from txbayeux.transport.sse import EventStreamParser, EventTooLarge

__all__ = ["EventSource"]

_MIN_KEEP_ALIVES: Final = 3
"""Keep-alives after which the server is expected to go on sending them."""

_MIN_INTERVAL: Final = 20.0
"""Seconds: a shorter interval between keep-alives is taken for this one."""

_AGAIN_SECONDS: Final = 0.5
"""Seconds after which a stream that could not be opened is asked for once more."""

_HEADERS: Final = {"Accept": "text/event-stream", "Cache-Control": "no-cache"}
_UNKNOWN: Final = frozenset({404, 410})


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
        self._again: Any = None
        """The delayed call that asks once more; None if there is none."""
        self._stream: _Stream | None = None
        self._paused = False

    def send(self, messages: Sequence[Message], timeout: float) -> Deferred[None]:
        """See :meth:`Transport.send <txbayeux.transport.base.Transport.send>`."""
        return post(self._http, self._context, self._receiver, messages, timeout)

    def attach(self, session_id: str) -> None:
        """Open the session's stream, if it is not open."""
        busy = (self._opening, self._again, self._stream) != (None, None, None)
        if session_id == self._session and busy:
            return
        self._drop()
        self._session = session_id
        self._open()

    def _open(self, *, is_last_try: bool = False) -> None:
        context = self._context
        endpoint = context.endpoint.below(self._session)
        opening = self._http.open(endpoint, _HEADERS, context.network_delay)
        self._opening = opening

        def opened(response: Any) -> None:
            stream, wanted = _Stream(self, context), self._opening is opening
            if wanted:
                self._opening = None
            if wanted and _is_stream(response):
                # Before deliverBody, which may deliver the whole body at once.
                self._stream = stream
                response.deliverBody(stream)
                if self._paused:
                    stream.pause()
                return
            response.deliverBody(stream)
            stream.abort()
            if wanted:
                self._receiver.broken(
                    TransportUnavailable("the response is not an event stream")
                )

        def failed(failure: Failure) -> None:
            if self._opening is not opening:
                return
            self._opening = None
            error = _stream_error(failure)
            if is_last_try or not _may_be_elsewhere(error):
                self._receiver.broken(error)
            else:
                self._again = context.reactor.callLater(_AGAIN_SECONDS, open_again)

        def open_again() -> None:
            self._again = None
            self._open(is_last_try=True)

        opening.addCallbacks(opened, failed)

    def pause(self) -> None:
        """Read nothing from the stream; replies come by other connections."""
        self._paused = True
        if self._stream is not None:
            self._stream.pause()

    def resume(self) -> None:
        """Read from the stream."""
        self._paused = False
        if self._stream is not None:
            self._stream.resume()

    def received(self, stream: _Stream, messages: list[Message]) -> None:
        """Called with messages from a stream."""
        if stream is self._stream:
            self._receiver.received(messages)

    def ended(self, stream: _Stream, error: TransportError) -> None:
        """Called when a stream has ended."""
        if stream is not self._stream:
            return
        self._stream = None
        self._receiver.broken(error)

    def _drop(self) -> None:
        again, self._again = self._again, None
        if again is not None:
            again.cancel()
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.cancel()
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.abort()

    def close(self) -> Deferred[None]:
        """Close the stream, abort requests, close idle connections."""
        self._drop()
        return self._http.close()


def _is_stream(response: IResponse) -> bool:
    kinds: list[bytes] = response.headers.getRawHeaders(b"Content-Type") or [b""]
    return kinds[0].lower().startswith(b"text/event-stream")


def _stream_error(failure: Failure) -> TransportError:
    error = failure.value
    if not isinstance(error, NoReply) or error.status in GATEWAY:
        return to_transport_error(failure)
    if error.status in _UNKNOWN:
        return NoReply("the server has no event stream for the session", error.status)
    if error.status is not None or isinstance(error, ReplyTimeout):
        # A proxy that waits for the end of the body never forwards a stream.
        return TransportUnavailable(f"no event stream: {error}", error.status)
    return error


def _may_be_elsewhere(error: TransportError) -> bool:
    """Return whether the next request may reach a server that has the stream."""
    if isinstance(error, Unreachable):
        return True
    return isinstance(error, NoReply) and error.status in (None, *GATEWAY)


class _Stream(Protocol):
    """The body of the response: events until it ends."""

    def __init__(self, event_source: EventSource, context: Context) -> None:
        self._event_source = event_source
        self._events = EventStreamParser(context.max_response)
        self._keep_alives = _KeepAliveMonitor(
            context.reactor, context.network_delay, self._keep_alive_missed
        )
        self._ended = False

    def dataReceived(self, data: bytes) -> None:
        comments = self._events.comments
        try:
            for event in self._events.feed(data):
                if self._ended:
                    return
                self._event_source.received(self, read(event))
        except EventTooLarge:
            self.fail(NoReply("an event is too large"))
        except NoReply as error:
            self.fail(error)
        if not self._ended:
            self._keep_alives.received(keep_alive=self._events.comments > comments)

    def pause(self) -> None:
        if not self._ended:
            self._keep_alives.stop()
            cast(IPushProducer, self.transport).pauseProducing()

    def resume(self) -> None:
        if not self._ended:
            cast(IPushProducer, self.transport).resumeProducing()
            self._keep_alives.received(keep_alive=False)

    def _keep_alive_missed(self) -> None:
        self.fail(NoReply("the event stream sends no keep-alives any more"))

    def fail(self, error: TransportError) -> None:
        self._end(error)
        self.abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        # For any reason: a stream has no length, and a proxy may cut it.
        self._end(NoReply("the event stream ended"))

    def _end(self, error: TransportError) -> None:
        if not self._ended:
            self._ended = True
            self._keep_alives.stop()
            self._event_source.ended(self, error)

    def abort(self) -> None:
        self._ended = True
        self._keep_alives.stop()
        lose = getattr(self.transport, "loseConnection", None)
        if lose is not None:
            lose()


class _KeepAliveMonitor:
    """Learns the interval of a server's keep-alives, and detects when they stop.

    The interval is not specified: Faye's server sends a comment every 10 s.  From
    servers that send none, none is expected.

    :param margin: seconds that a keep-alive may be late, beyond another interval.
    :param missed: called when keep-alives have stopped.
    """

    def __init__(self, clock: Any, margin: float, missed: Callable[[], None]) -> None:
        self._clock = clock
        self._margin = margin
        self._missed = missed
        self._last: float | None = None
        self._count = 0
        self._interval = _MIN_INTERVAL
        self._call: DelayedCall | None = None

    def received(self, *, keep_alive: bool) -> None:
        """Called when data arrives, with whether it holds a keep-alive."""
        if keep_alive:
            now = self._clock.seconds()
            if self._last is not None:
                self._interval = max(self._interval, now - self._last)
            self._last, self._count = now, self._count + 1
        if self._count >= _MIN_KEEP_ALIVES:
            self.stop()
            wait = 2 * self._interval + self._margin
            self._call = self._clock.callLater(wait, self._missed)

    def stop(self) -> None:
        """Stop; leaves nothing in the reactor."""
        call, self._call = self._call, None
        if call is not None and call.active():
            call.cancel()
