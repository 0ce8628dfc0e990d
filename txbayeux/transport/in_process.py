"""The ``in-process`` connection type: a client of a server in the same process.

Messages are encoded as JSON all the same, so that neither side holds the other's
objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from txbayeux.message import Entry, Message, decode, encode_list
from txbayeux.processor import Processor, Response
from txbayeux.transport.base import Context, Factory, NoReply, Receiver
from txbayeux.transport.replies import PendingReplies, note_replies

__all__ = ["InProcess", "in_process"]


def in_process(server: Processor) -> Factory:
    """Return a factory of transports to ``server``."""

    def factory(context: Context, receiver: Receiver) -> InProcess:
        return InProcess(context, receiver, server)

    return factory


class InProcess:
    """Calls a :class:`~txbayeux.processor.Processor`."""

    connection_type = "in-process"
    pipelined = True
    batch_bytes = 1024 * 1024

    def __init__(self, context: Context, receiver: Receiver, server: Processor) -> None:
        self._context = context
        self._receiver = receiver
        self._server = server
        self._server_stream = _ServerStream(self)
        self._wrapped_stream: Any = None
        self._turn: Deferred[None] = succeed(None)
        self._held: dict[Deferred[Response], None] = {}
        self._batches: dict[PendingReplies, Deferred[None]] = {}
        self._closed = False

    def send(self, messages: Sequence[Message], timeout: float) -> Deferred[None]:
        """See :meth:`Transport.send <txbayeux.transport.base.Transport.send>`."""
        pending = PendingReplies(messages)
        done: Deferred[None] = Deferred(lambda _: self._forget(pending))
        self._batches[pending] = done
        text = encode_list(messages)

        def timed_out(result: object, seconds: float) -> Any:
            raise NoReply(f"no reply within {seconds:g} s")

        done.addTimeout(timeout, self._context.reactor, timed_out)
        before, self._turn = self._turn, Deferred()
        turn = self._turn

        def process(_: object) -> None:
            processing = self._server.process(decode(text), None, self._stream())
            processing.addCallback(self._answered)
            processing.addErrback(self._failed, pending)
            processing.addBoth(lambda _: turn.callback(None))

        before.addCallback(process)
        return done

    def _stream(self) -> Any:
        if self._wrapped_stream is None:
            self._wrapped_stream = self._server.wrap_stream(
                self._server_stream, cast(Any, None)
            )
        return self._wrapped_stream

    def _answered(self, response: Response) -> None:
        if self._closed:
            response.give_back()
        else:
            self._take(response.items)
        held = response.held
        if held is None:
            return
        if self._closed:
            held.addErrback(lambda _: None)
            held.cancel()
            return
        self._held[held] = None

        def released(result: Any) -> None:
            self._held.pop(held, None)
            if isinstance(result, Response):
                self._answered(result)

        held.addBoth(released)

    def _failed(self, failure: Failure, pending: PendingReplies) -> None:
        done = self._drop(pending)
        if done is not None:
            done.errback(NoReply(f"the server failed: {failure.value}"))

    def _forget(self, pending: PendingReplies) -> None:
        self._drop(pending)

    def _drop(self, pending: PendingReplies) -> Deferred[None] | None:
        return self._batches.pop(pending, None)

    def _take(self, items: Sequence[Message | Entry]) -> None:
        if not items:
            return
        messages = decode(encode_list(items))
        note_replies(messages, self._batches)
        self._receiver.received(messages)
        for pending in [e for e in self._batches if e.complete]:
            done = self._drop(pending)
            if done is not None:
                done.callback(None)

    def attach(self, session_id: str) -> None:
        """Do nothing: the first connect binds the stream to its session."""

    def pause(self) -> None:
        """Stop taking messages, which wait in the session's queue."""
        self._server_stream.writable = False

    def resume(self) -> None:
        """Begin to take messages again."""
        self._server_stream.writable = True
        if self._wrapped_stream is not None:
            self._server.resume(self._wrapped_stream)

    def close(self) -> Deferred[None]:
        """Withdraw held connects; messages delivered later are given back."""
        if not self._closed:
            self._closed = True
            for held in list(self._held):
                held.cancel()
            if self._wrapped_stream is not None:
                self._server.detach(self._wrapped_stream)
            for pending in list(self._batches):
                done = self._drop(pending)
                if done is not None:
                    done.errback(NoReply("the transport was closed"))
        return succeed(None)

    def pushed(self, entries: Sequence[Entry]) -> None:
        """Called with messages that the server pushes."""
        if not self._closed:
            self._take(entries)

    def ended(self) -> None:
        """Called when the server ended the session."""
        if not self._closed:
            self._receiver.broken(NoReply("the server ended the session"))


class _ServerStream:
    """The :class:`~txbayeux.interfaces.Stream` that the server writes to."""

    preempted_by_poll = True

    def __init__(self, transport: InProcess) -> None:
        self._transport = transport
        self.writable = True

    def send(self, entries: Sequence[Entry]) -> None:
        self._transport.pushed(entries)

    def replaced(self) -> None:
        """Do nothing: the client chooses its transport itself."""

    def close(self, reason: object) -> None:
        self._transport.ended()
