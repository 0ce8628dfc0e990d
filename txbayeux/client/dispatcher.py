"""Sends envelopes over a transport, and matches what comes back to them.

Each envelope's attempt ends in exactly one way: with its reply, or with the error
why there is none.  Incoming messages are handled strictly in the order in which
they arrived, also while an extension takes its time.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from txbayeux.client.envelope import Envelope
from txbayeux.errors import BayeuxError
from txbayeux.extension import Extension, Pipeline
from txbayeux.message import Message
from txbayeux.transport.base import NoReply, Transport, TransportError
from txbayeux.transport.replies import ReplyMatcher

__all__ = ["Dispatcher"]

_log: Final = Logger()


class Dispatcher:
    """The path of all messages between the client and its transports.

    :param deliver: is called with each message that is not a reply.
    :param queued: is called with how many messages wait for an extension, after each
        change.
    """

    def __init__(
        self, deliver: Callable[[Message], None], queued: Callable[[int], None]
    ) -> None:
        self._deliver = deliver
        self._queued = queued
        self._extensions: list[Extension] = []
        self._outgoing = Pipeline("outgoing", ())
        self._incoming = Pipeline("incoming", ())
        self._ids = itertools.count(1)
        self._pending: ReplyMatcher[Envelope] = ReplyMatcher()
        """What was sent and not answered yet, by message id; oldest first."""
        self._inbox: deque[Message | Callable[[], None]] = deque()
        self._busy = False
        self._extending: Deferred[Any] | None = None
        """The incoming message that an extension is still working on."""

    def add_extension(self, extension: Extension) -> None:
        """Install an extension behind those that are there."""
        self._extensions.append(extension)
        self._outgoing = Pipeline("outgoing", self._extensions)
        self._incoming = Pipeline("incoming", self._extensions)

    @property
    def resumes(self) -> bool:
        """Whether an extension lets new sessions continue where the last one ended."""
        return any(extension.resumes for extension in self._extensions)

    def extends(self, channel: str) -> bool:
        """Return whether an extension looks at outgoing messages of ``channel``."""
        return self._outgoing.applies_to(channel)

    def stop(self) -> None:
        """Discard what was not handled yet; do not wait for extensions."""
        self._inbox.clear()
        if self._extending is not None:
            self._extending.cancel()

    # Outgoing.

    def send(
        self, transport: Transport, envelopes: Sequence[Envelope], timeout: float
    ) -> Deferred[None]:
        """Send one batch through the extensions and over ``transport``.

        :param timeout: seconds in which all replies must have arrived.

        Fires once the outcome of each envelope was reported; never fails.
        Cancelling it gives the request up.
        """
        if self._outgoing.empty:
            return self._transmit(transport, envelopes, timeout)
        return Deferred.fromCoroutine(self._extend(transport, envelopes, timeout))

    async def _extend(
        self, transport: Transport, envelopes: Sequence[Envelope], timeout: float
    ) -> None:
        """Run the outgoing extensions, one message after the other, then send."""
        ready: list[Envelope] = []
        for envelope in envelopes:
            message: Message | None = envelope.message
            if self._outgoing.applies_to(envelope.channel) and not envelope.settled:
                outcome = self._outgoing.run(envelope.message, None)
                message = await outcome if isinstance(outcome, Deferred) else outcome
            if message is None:
                error = BayeuxError(500, (), "An extension dropped the message")
                envelope.sender.failed(envelope, error)
            elif "error" in message:
                error = BayeuxError.parse(message["error"])
                envelope.sender.failed(envelope, error)
            else:
                envelope.message = message
                ready.append(envelope)
        await self._transmit(transport, ready, timeout)

    def _transmit(
        self, transport: Transport, envelopes: Sequence[Envelope], timeout: float
    ) -> Deferred[None]:
        sent: dict[str, Message] = {}
        for envelope in envelopes:
            if envelope.settled:  # while an extension had it
                envelope.sender.failed(envelope, NoReply("the request was given up"))
                continue
            message_id = envelope.message["id"] = format(next(self._ids), "x")
            self._pending.add(envelope.message, envelope)
            sent[message_id] = envelope.message
        if not sent:
            return succeed(None)

        def ended(result: object) -> None:
            # Behind the replies, which may be waiting for an extension.
            self.after(partial(self._finish, list(sent), result, finished))

        def give_up(_: Deferred[None]) -> None:
            sending.cancel()
            if not finished.called:  # an extension still has a reply
                finished.callback(None)

        finished: Deferred[None] = Deferred(give_up)
        sending = maybeDeferred(transport.send, list(sent.values()), timeout)
        sending.addBoth(ended)
        return finished

    def _finish(
        self, message_ids: list[str], result: object, finished: Deferred[None]
    ) -> None:
        """Fail what got no reply; ``result`` is that of the transport."""
        found = map(self._pending.discard, message_ids)
        lost = [envelope for envelope in found if envelope is not None]
        try:
            if lost:
                error = _transport_error(result)
                for envelope in lost:
                    envelope.sender.failed(envelope, error)
        finally:
            if not finished.called:  # given up
                finished.callback(None)

    # Incoming.

    def received(self, messages: Iterable[Message]) -> None:
        """Called with what a transport received."""
        self._inbox.extend(messages)
        self._work()

    def after(self, call: Callable[[], None]) -> None:
        """Call ``call`` once everything that has arrived by now is handled."""
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
            self._busy = self._extending is not None
        if not self._inbox or self._extending is not None:
            self._queued(len(self._inbox))

    def _take(self, message: Message) -> None:
        channel = message.get("channel")
        if not isinstance(channel, str):
            _log.debug("Ignoring a message without a channel")
            return
        envelope = self._pending.take(message)
        if not self._incoming.applies_to(channel):
            self._pass_on(envelope, message)
            return
        outcome = self._incoming.run(message, None)
        if not isinstance(outcome, Deferred):
            self._pass_on(envelope, outcome)
            return

        def extended(result: Any) -> None:
            self._extending = None
            self._pass_on(envelope, None if isinstance(result, Failure) else result)

        def log(failure: Failure) -> None:
            _log.failure("Handling a message failed", failure)

        def go_on(_: object) -> None:
            self._busy = False
            self._work()

        self._extending = outcome
        outcome.addBoth(extended).addErrback(log)
        if self._extending is not None:  # otherwise the loop of _work goes on
            outcome.addCallback(go_on)

    def _pass_on(self, envelope: Envelope | None, message: Message | None) -> None:
        if envelope is None:
            if message is not None and isinstance(message.get("channel"), str):
                self._deliver(message)
        elif message is None or not isinstance(message.get("successful"), bool):
            error = NoReply("an extension dropped the reply")
            envelope.sender.failed(envelope, error)
        else:
            envelope.sender.replied(envelope, message)


def _transport_error(result: object) -> TransportError:
    """Return why there is no reply, also if the transport broke its contract."""
    if not isinstance(result, Failure):
        return NoReply("the reply was lost")
    error = result.value
    if isinstance(error, TransportError):
        return error
    if not isinstance(error, CancelledError):
        _log.failure("A transport failed", result)
    return NoReply(f"the transport failed: {error!r}")
