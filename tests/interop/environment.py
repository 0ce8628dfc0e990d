"""What a scenario runs in: a server, and a program with clients of one kind."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from .client_program import ClientProgram
from .servers import Server

Program = Literal["node", "browser", "java"]
Family = Literal["faye", "cometd"]
Origin = Literal["none", "own", "other", "neighbour", "stranger"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientKind:
    """A client library, the program it runs in, and the transport that it uses."""

    program: Program
    family: Family
    transport: str
    origin: Origin = "none"
    """The origin of the page that a browser shows: the server's own, another one that
    is allowed, another port of the server's host that is not, or another host.
    """

    def __str__(self) -> str:
        parts = [self.program, self.family, self.transport]
        return "-".join(parts if self.origin == "none" else [*parts, self.origin])

    @property
    def keeps_order(self) -> bool:
        """Whether concurrent publishes arrive in order."""
        if self.family == "cometd":
            return self.program != "java" or self.transport == "websocket"
        return self.transport == "websocket"

    @property
    def decodes_whole(self) -> bool:
        """Whether characters that are split between two chunks are decoded correctly.

        Not by cometd-nodejs-client 2.0.0, which decodes each chunk on its own.
        """
        return (
            self.program != "node"
            or self.family != "cometd"
            or self.transport == "websocket"
        )

    @property
    def sends_large(self) -> bool:
        """Whether messages may be larger than a URL."""
        return self.transport != "callback-polling"


class Received(NamedTuple):
    """A message that a listener got."""

    channel: str
    data: Any


_numbers: Final = itertools.count(1)


class RemoteClient:
    """A client in a program, with a unique name."""

    def __init__(self, program: ClientProgram, role: str) -> None:
        """:param role: alice, bob, ...: its name in the transcript, with a number."""
        self._program = program
        self._name = f"{role}-{next(_numbers)}"
        self._start = len(program.events)

    def ask(self, operation: str, **fields: Any) -> Any:
        """Execute a command and return its result."""
        return self._program.ask(operation, client=self._name, **fields)

    def subscribe(self, channel: str) -> None:
        """Subscribe, successfully."""
        reply = self.ask("subscribe", channel=channel)
        assert reply["successful"], reply

    def unsubscribe(self, channel: str) -> None:
        """Unsubscribe, successfully."""
        reply = self.ask("unsubscribe", channel=channel)
        assert reply["successful"], reply

    def publish(self, channel: str, data: Any) -> None:
        """Publish, successfully."""
        reply = self.ask("publish", channel=channel, data=data)
        assert reply["successful"], reply

    def publish_all(
        self, channel: str, items: list[Any], *, pipelined: bool
    ) -> list[dict[str, Any]]:
        """Publish all items concurrently, or each after the reply to the last."""
        replies: list[dict[str, Any]] = self.ask(
            "publishAll", channel=channel, items=items, pipelined=pipelined
        )
        return replies

    def received(self, subscription: str) -> list[Received]:
        """Return what the listener of ``subscription`` received, in order."""
        return [
            Received(event["channel"], event["data"])
            for event in self._events("message")
            if event["subscription"] == subscription
        ]

    def arrivals(self) -> list[str]:
        """Return the channels of the messages received, without replies."""
        return [event["channel"] for event in self._events("arrival")]

    def wait_for(self, subscription: str, count: int) -> list[Received]:
        """Wait until the listener received ``count`` messages; return all of them."""
        self._program.wait(
            lambda: len(self.received(subscription)) >= count,
            f"{count} messages for {self._name} on {subscription}",
        )
        return self.received(subscription)

    def replies(self, channel: str) -> list[dict[str, Any]]:
        """Return the successful replies on a meta channel."""
        return [
            event
            for event in self._events("reply")
            if event["channel"] == channel and event["successful"]
        ]

    def wait_for_reply(self, channel: str, count: int) -> None:
        """Wait for ``count`` successful replies on a meta channel."""
        self._program.wait(
            lambda: len(self.replies(channel)) >= count,
            f"{count} successful replies on {channel} for {self._name}",
        )

    def _events(self, kind: str) -> list[dict[str, Any]]:
        return [
            event
            for event in self._program.events[self._start :]
            if event["client"] == self._name and event["event"] == kind
        ]


class Environment:
    """A server, a program, and the clients that a scenario asks for."""

    def __init__(
        self, kind: ClientKind, server: Server, program: ClientProgram, page: str
    ) -> None:
        """:param page: URL of the page that a browser shows."""
        self.kind = kind
        self.server = server
        self.program = program
        self._page = page
        self._clients: list[RemoteClient] = []

    def open(self, role: str, **options: Any) -> tuple[RemoteClient, dict[str, Any]]:
        """Return a new client and the reply to its handshake."""
        client = RemoteClient(self.program, role)
        self._clients.append(client)
        reply = client.ask(
            "open",
            family=self.kind.family,
            transport=self.kind.transport,
            url=self.server.url,
            page=self._page,
            **options,
        )
        return client, reply

    def client(self, role: str, **options: Any) -> RemoteClient:
        """Return a new client; its handshake must succeed."""
        client, reply = self.open(role, **options)
        assert reply["successful"], reply
        return client

    def close_clients(self) -> None:
        """Close all clients."""
        if self.program.alive:
            for client in self._clients:
                client.ask("close")
