"""A client in memory: a clock, transports that a test answers for, and a server."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from txbayeux import channel as channels
from txbayeux.client import Client, Retry, State
from txbayeux.message import Message, decode, encode_list
from txbayeux.transport.base import (
    Context,
    NoReply,
    Receiver,
    ReplyTimeout,
    TransportError,
)
from txbayeux.transport.exchange import Exchange

TYPES = ("websocket", "long-polling")


class Request:
    """A batch that the client sent, and what the test makes of it."""

    def __init__(
        self, transport: Wire, messages: list[Message], timeout: float
    ) -> None:
        self.transport = transport
        self.messages = messages
        self.timeout = timeout
        self.exchange = Exchange(messages)
        self.cancelled = False
        self.done: Deferred[None] = Deferred(self._cancelled)

    def _cancelled(self, deferred: Deferred[None]) -> None:
        self.cancelled = True

    @property
    def channels(self) -> list[str]:
        return [message["channel"] for message in self.messages]

    @property
    def open(self) -> bool:
        return not self.done.called

    def push(self, *messages: Message) -> None:
        """Let messages come, without an end to the answer."""
        self.exchange.note(messages)
        self.transport.receiver.received(list(messages))

    def answer(self, *messages: Message) -> None:
        """Answer, as HTTP does: with these messages and no more."""
        if not self.open:
            return
        self.push(*messages)
        if not self.done.called:
            if self.exchange.complete:
                self.done.callback(None)
            else:
                self.done.errback(NoReply("no reply"))

    def fail(self, error: TransportError | None = None) -> None:
        if self.open:
            self.done.errback(error or NoReply("broken"))


class Wire:
    """A transport."""

    batch_bytes = 10_000

    def __init__(
        self, stage: Stage, name: str, context: Context, receiver: Receiver
    ) -> None:
        self.stage = stage
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

        def silent(result: object, seconds: float) -> Any:
            raise ReplyTimeout("silence")

        request.done.addTimeout(timeout, self.stage.clock, silent)
        self.requests.append(request)
        self.stage.requests.append(request)
        self.stage.handle(request)
        return request.done

    def attach(self, session_id: str) -> None:
        self.attached.append(session_id)

    def close(self) -> Deferred[None]:
        self.closed = True
        for request in self.requests:
            request.fail(NoReply("closed"))
        return succeed(None)

    def drop(self) -> None:
        """Break, as a socket does: everything in flight fails, then all hear of it."""
        error = NoReply("the socket was closed")
        for request in self.requests:
            request.fail(error)
        self.receiver.broken(error)


class Stage:
    """Everything around a client; ``server`` answers until a test takes over."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.requests: list[Request] = []
        self.wires: list[Wire] = []
        self.states: list[State] = []
        self.failures: list[Exception] = []
        self.session_ids = itertools.count(1)
        self.server: Callable[[Request], None] = self.serve
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
        def factory(context: Context, receiver: Receiver) -> Wire:
            wire = Wire(self, name, context, receiver)
            self.wires.append(wire)
            return wire

        return factory

    def handle(self, request: Request) -> None:
        self.server(request)

    # A server that does everything right.

    def serve(self, request: Request) -> None:
        held = any(self.is_held(message) for message in request.messages)
        if not held:
            request.answer(*[self.reply(message) for message in request.messages])

    @staticmethod
    def is_held(message: Message) -> bool:
        hold = message.get("advice", {}).get("timeout", 1)
        return message["channel"] == channels.CONNECT and hold != 0

    def reply(self, message: Message, **fields: Any) -> Message:
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

    # What a test asks.

    def sent(self, channel: str) -> list[Message]:
        return [
            message
            for request in self.requests
            for message in request.messages
            if message["channel"] == channel
        ]

    def count(self, channel: str) -> int:
        return len(self.sent(channel))

    @property
    def held(self) -> Request:
        """The connect in flight."""
        [request] = [
            request
            for request in self.requests
            if request.open and request.channels == [channels.CONNECT]
        ]
        return request

    def last(self, channel: str) -> Request:
        return [request for request in self.requests if channel in request.channels][-1]

    def deliver(self, channel: str, data: object, **fields: Any) -> None:
        """Let a message come with the connect in flight."""
        request = self.held
        message = {"channel": channel, "data": data, **fields}
        request.answer(self.reply(request.messages[0]), message)

    def connect(self) -> None:
        """Come up."""
        self.client.connect()
        self.clock.advance(0)
        assert self.client.state is State.CONNECTED
        assert self.held

    def pass_time(self, seconds: float, step: float = 0.05) -> None:
        for _ in range(round(seconds / step)):
            self.clock.advance(step)


def outcome(deferred: Deferred[Any]) -> list[Any]:
    """Collect what a Deferred ends with: a value, or an exception."""
    results: list[Any] = []
    deferred.addCallbacks(results.append, lambda f: results.append(f.value))
    return results


FAST = Retry(initial=0.5, maximum=30.0)
