"""Carries batches out and replies in: extensions, matching, order.

Each message of a batch ends in exactly one way: with its reply, or with the
error why there is none.  Messages are handled strictly in the order in which
they arrived, also when an extension takes its time.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from txbayeux.errors import BayeuxError
from txbayeux.extension import Extension, Pipeline
from txbayeux.message import Message
from txbayeux.transport.base import NoReply, Transport, TransportError

__all__ = ["Dispatcher", "Flight", "PendingRequest"]

_log: Final = Logger()


class PendingRequest:
    """One message of a batch, and who hears what becomes of it.

    ``replied`` gets the reply, whatever it says; ``failed`` the reason why there
    is none: a :class:`~txbayeux.transport.base.TransportError`, or a
    :class:`~txbayeux.errors.BayeuxError` if an extension kept it back.
    """

    __slots__ = ("failed", "message", "open", "replied")

    def __init__(
        self,
        message: Message,
        replied: Callable[[Message], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self.message = message
        self.replied = replied
        self.failed = failed
        self.open = True

    def fail(self, error: Exception) -> None:
        """End without a reply, unless it has ended."""
        if self.open:
            self.open = False
            self.failed(error)


class Flight:
    """A batch on its way."""

    __slots__ = ("_deferred", "given_up", "requests", "transport")

    def __init__(
        self, transport: Transport, requests: Sequence[PendingRequest]
    ) -> None:
        self.transport = transport
        self.requests = requests
        self._deferred: Deferred[Any] | None = None
        self.given_up = False
        """Whether nobody waits for it any more."""

    def carried_by(self, deferred: Deferred[Any]) -> None:
        """Hear what to cancel if the flight is given up."""
        self._deferred = deferred
        if self.given_up:
            deferred.cancel()

    def give_up(self) -> None:
        """Stop waiting; the requests fail."""
        self.given_up = True
        if self._deferred is not None:
            self._deferred.cancel()


class Dispatcher:
    """The way of messages between the client and its transports."""

    def __init__(self, deliver: Callable[[Message], None]) -> None:
        """:param deliver: gets each message that is no reply to anything."""
        self._deliver = deliver
        self._extensions: list[Extension] = []
        self._outgoing = Pipeline("outgoing", ())
        self._incoming = Pipeline("incoming", ())
        self._ids = itertools.count(1)
        self._open: dict[str, PendingRequest] = {}
        self._inbox: deque[Message | Callable[[], None]] = deque()
        self._busy = False
        self._waiting: Deferred[Any] | None = None

    def add_extension(self, extension: Extension) -> None:
        """Install an extension behind those that are there."""
        self._extensions.append(extension)
        self._outgoing = Pipeline("outgoing", self._extensions)
        self._incoming = Pipeline("incoming", self._extensions)

    def looks_at(self, channel: str) -> bool:
        """Tell whether an outgoing extension wants messages of ``channel``."""
        return self._outgoing.applies_to(channel)

    def stop(self) -> None:
        """Forget what was not handled yet; wait for no extension."""
        self._inbox.clear()
        if self._waiting is not None:
            self._waiting.cancel()

    # Out.

    def send(
        self, transport: Transport, requests: Sequence[PendingRequest], timeout: float
    ) -> Flight:
        """Send a batch through the extensions and over ``transport``."""
        flight = Flight(transport, requests)
        flight.carried_by(self._prepare(flight, iter(requests), [], timeout))
        return flight

    def _prepare(
        self,
        flight: Flight,
        requests: Iterator[PendingRequest],
        ready: list[PendingRequest],
        timeout: float,
    ) -> Deferred[Any]:
        """Run the outgoing extensions, one message after the other, then send."""

        def go_on(result: Any, request: PendingRequest) -> Deferred[Any] | None:
            if isinstance(result, Failure):  # given up
                self._end(flight.requests, NoReply("the request was given up"))
                return None
            self._prepared(request, result, ready)
            return self._prepare(flight, requests, ready, timeout)

        for request in requests:
            channel = request.message["channel"]
            if not self._outgoing.applies_to(channel):
                ready.append(request)
                continue
            outcome = self._outgoing.run(request.message, None)
            if isinstance(outcome, Deferred):
                return outcome.addBoth(go_on, request)
            self._prepared(request, outcome, ready)
        return self._carry(flight, ready, timeout)

    @staticmethod
    def _prepared(
        request: PendingRequest, message: Message | None, ready: list[PendingRequest]
    ) -> None:
        if message is None:
            request.fail(BayeuxError(500, (), "An extension dropped the message"))
        elif "error" in message:
            request.fail(BayeuxError.parse(message["error"]))
        else:
            request.message = message
            ready.append(request)

    def _carry(
        self, flight: Flight, requests: list[PendingRequest], timeout: float
    ) -> Deferred[Any]:
        if flight.given_up:
            self._end(requests, NoReply("the request was given up"))
        ready = [request for request in requests if request.open]
        for request in ready:
            identity = format(next(self._ids), "x")
            request.message["id"] = identity
            self._open[identity] = request

        def ended(result: object) -> None:
            # Behind the replies themselves, which may wait for an extension.
            error: Exception = NoReply("the reply was lost")
            if isinstance(result, Failure):
                error = _told(result)
            self._inbox.append(lambda: self._end(ready, error))
            self._work()

        if not ready:
            done: Deferred[None] = Deferred()
            done.callback(None)
            return done
        messages = [request.message for request in ready]
        sending = maybeDeferred(flight.transport.send, messages, timeout)
        return sending.addBoth(ended)

    def _end(self, requests: Iterable[PendingRequest], error: Exception) -> None:
        for request in requests:
            self._open.pop(str(request.message.get("id")), None)
            request.fail(error)

    # In.

    def received(self, messages: Iterable[Message]) -> None:
        """Take what a transport received."""
        self._inbox.extend(messages)
        self._work()

    def after(self, call: Callable[[], None]) -> None:
        """Call once everything that has arrived by now is handled."""
        self._inbox.append(call)
        self._work()

    def _work(self) -> None:
        while self._inbox and not self._busy:
            item = self._inbox.popleft()
            self._busy = True
            try:
                if callable(item):
                    item()
                else:
                    self._take(item)
            except Exception:
                _log.failure("Handling a message failed")
            if self._waiting is None:
                self._busy = False

    def _take(self, message: Message) -> None:
        channel = message.get("channel")
        if not isinstance(channel, str):
            _log.debug("A message without a channel")
            return
        request = self._request(message, channel)
        if not self._incoming.applies_to(channel):
            self._hand_on(request, message)
            return
        outcome = self._incoming.run(message, None)
        if not isinstance(outcome, Deferred):
            self._hand_on(request, outcome)
            return
        self._waiting = outcome
        at_once = True

        def came(result: Any) -> None:
            self._waiting = None
            try:
                self._hand_on(request, None if isinstance(result, Failure) else result)
            finally:
                self._busy = False
            if not at_once:  # otherwise the loop goes on by itself
                self._work()

        outcome.addBoth(came)
        at_once = False

    def _request(self, message: Message, channel: str) -> PendingRequest | None:
        """Find what ``message`` replies to; see :class:`Exchange` for the rule."""
        if not isinstance(message.get("successful"), bool):
            return None
        identity = message.get("id")
        if isinstance(identity, str):
            request = self._open.get(identity)
            if request is None or request.message["channel"] != channel:
                return None
            return self._open.pop(identity)
        if identity is None:
            for key, request in self._open.items():
                if request.message["channel"] == channel:
                    return self._open.pop(key)
        return None

    def _hand_on(self, request: PendingRequest | None, message: Message | None) -> None:
        if request is None:
            if message is not None and isinstance(message.get("channel"), str):
                self._deliver(message)
        elif message is None or not isinstance(message.get("successful"), bool):
            request.fail(NoReply("an extension kept the reply"))
        elif request.open:
            request.open = False
            request.replied(message)


def _told(failure: Failure) -> TransportError:
    """Give a transport's failure, also where it broke its promise."""
    error = failure.value
    if isinstance(error, TransportError):
        return error
    if not isinstance(error, CancelledError):
        _log.failure("A transport failed", failure)
    return NoReply(f"the transport failed: {error!r}")
