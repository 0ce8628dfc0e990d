"""A client with a clock and fake transports, and a server that a test controls."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from txbayeux import channel as channels
from txbayeux.client import Client, State
from txbayeux.message import Message, decode, encode_list
from txbayeux.transport.base import (
    Context,
    NoReply,
    Receiver,
    ReplyTimeout,
    TransportError,
)
from txbayeux.transport.replies import PendingReplies, note_replies

TYPES = ("websocket", "long-polling")


class Request:
    """A batch that the client sent, to be answered by the test."""

    def __init__(
        self, transport: FakeTransport, messages: list[Message], timeout: float
    ) -> None:
        self.transport = transport
        self.messages = messages
        self.timeout = timeout
        self.pending = PendingReplies(messages)
        self.done: Deferred[None] = Deferred()

    @property
    def channels(self) -> list[str]:
        return [message["channel"] for message in self.messages]

    @property
    def open(self) -> bool:
        return not self.done.called

    def push(self, *messages: Message) -> None:
        """Deliver messages; the request stays open."""
        note_replies(messages, [self.pending])
        self.transport.receiver.received(list(messages))

    def answer(self, *messages: Message) -> None:
        """Answer with these messages and no more, as HTTP does."""
        if not self.open:
            return
        self.push(*messages)
        if not self.done.called:
            if self.pending.complete:
                self.done.callback(None)
            else:
                self.done.errback(NoReply("no reply"))

    def fail(self, error: TransportError | None = None) -> None:
        if self.open:
            self.done.errback(error or NoReply("broken"))


class FakeTransport:
    """A transport that hands its requests to the harness."""

    batch_bytes = 10_000

    def __init__(
        self, harness: Harness, name: str, context: Context, receiver: Receiver
    ) -> None:
        self.harness = harness
        self.connection_type = name
        self.pipelined = name == "websocket"
        self.context = context
        self.receiver = receiver
        self.attached: list[str] = []
        self.closed = False
        self.requests: list[Request] = []

    def send(self, messages: Sequence[Message], timeout: float) -> Deferred[None]:
        assert not self.closed
        request = Request(self, decode(encode_list(messages)), timeout)

        def late(result: object, seconds: float) -> Any:
            raise ReplyTimeout("no reply in time")

        request.done.addTimeout(timeout, self.harness.clock, late)
        self.requests.append(request)
        self.harness.requests.append(request)
        self.harness.respond(request)
        return request.done

    def attach(self, session_id: str) -> None:
        self.attached.append(session_id)

    def close(self) -> Deferred[None]:
        self.closed = True
        for request in self.requests:
            request.fail(NoReply("closed"))
        return succeed(None)

    def drop(self) -> None:
        """Break as a WebSocket does: fail all requests, then report it."""
        error = NoReply("the socket was closed")
        for request in self.requests:
            request.fail(error)
        self.receiver.broken(error)


class Harness:
    """A client, what it sent and reported, and a server that answers correctly.

    A test replaces :attr:`respond` to answer differently.
    """

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.requests: list[Request] = []
        self.transports: list[FakeTransport] = []
        self.states: list[State] = []
        self.failures: list[Exception] = []
        self.session_ids = itertools.count(1)
        self.respond: Callable[[Request], None] = self.reply_to_all
        self.offer: list[str] = list(TYPES)
        self.advice: Message = {}
        types = options.pop("types", TYPES)
        self.client = Client(
            options.pop("url", "http://example.com/bayeux"),
            reactor=self.clock,
            transports={name: self._factory(name) for name in types},
            random=options.pop("random", lambda: 0.5),
            **options,
        )
        self.client.on_state(lambda new, old: self.states.append(new))
        self.client.on_failure(self.failures.append)

    def _factory(self, name: str) -> Any:
        def factory(context: Context, receiver: Receiver) -> FakeTransport:
            transport = FakeTransport(self, name, context, receiver)
            self.transports.append(transport)
            return transport

        return factory

    # The server.

    def reply_to_all(self, request: Request) -> None:
        """Answer as a correct server does, which holds connects."""
        if not any(self.is_held(message) for message in request.messages):
            request.answer(*[self.reply(message) for message in request.messages])

    @staticmethod
    def is_held(message: Message) -> bool:
        hold = message.get("advice", {}).get("timeout", 1)
        return message["channel"] == channels.CONNECT and hold != 0

    def reply(self, message: Message, **fields: Any) -> Message:
        """Return the reply to ``message``; unsuccessful if ``error`` is given."""
        channel = message["channel"]
        reply: Message = {"channel": channel, "id": message["id"], "successful": True}
        if channel == channels.HANDSHAKE:
            reply |= {
                "version": "1.0",
                "clientId": f"session{next(self.session_ids)}",
                "supportedConnectionTypes": self.offer,
            }
        if channel in (channels.HANDSHAKE, channels.CONNECT) and self.advice:
            reply["advice"] = self.advice
        if channel in (channels.SUBSCRIBE, channels.UNSUBSCRIBE):
            reply["subscription"] = message["subscription"]
        reply |= fields
        if "error" in fields:
            reply["successful"] = False
        return reply

    def answer(self, request: Request, *messages: Message, **fields: Any) -> None:
        """Answer a request of one message; ``messages`` come after the reply.

        :param fields: of the reply; see :meth:`reply`.
        """
        request.answer(self.reply(request.messages[0], **fields), *messages)

    def deliver(self, channel: str, data: object, **fields: Any) -> None:
        """Deliver a message together with the reply to the held connect."""
        message = {"channel": channel, "data": data, **fields}
        self.answer(self.held_connect, message)

    # What the client sent.

    def sent(self, channel: str) -> list[Message]:
        return [
            message
            for request in self.requests
            for message in request.messages
            if message["channel"] == channel
        ]

    def count(self, channel: str) -> int:
        return len(self.sent(channel))

    def last(self, channel: str) -> Request:
        return [request for request in self.requests if channel in request.channels][-1]

    @property
    def held_connect(self) -> Request:
        """The one connect in flight."""
        [request] = [
            request
            for request in self.requests
            if request.open and request.channels == [channels.CONNECT]
        ]
        return request

    # Progress.

    def connect(self) -> None:
        self.client.connect()
        self.clock.advance(0)
        assert self.client.state is State.CONNECTED
        assert self.held_connect

    def pass_time(self, seconds: float, step: float = 0.05) -> None:
        for _ in range(round(seconds / step)):
            self.clock.advance(step)


def outcome(deferred: Deferred[Any]) -> list[Any]:
    """Return a list that gets the Deferred's result or exception when it fires."""
    results: list[Any] = []
    deferred.addCallbacks(results.append, lambda f: results.append(f.value))
    return results


@contextmanager
def no_logged_failures() -> Generator[None]:
    """Assert that nothing is logged as a failure."""
    failures: list[Any] = []

    def observe(event: Any) -> None:
        if "log_failure" in event:
            failures.append(event["log_failure"])

    globalLogPublisher.addObserver(observe)
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(observe)
    assert failures == []
