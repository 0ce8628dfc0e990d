"""Where a scenario is played: who plays, over what, and against which server."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from .puppet import Puppet
from .servers import Server

Program = Literal["node", "browser", "java"]
Family = Literal["faye", "cometd"]
Origin = Literal["none", "own", "other", "neighbour", "stranger"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cast:
    """A client and the transport that it is to use."""

    program: Program
    family: Family
    transport: str
    origin: Origin = "none"
    """Of the page that a browser shows: the server's own, another one that the server
    was told to let in, another port of its host that it was not, or another host.
    """

    def __str__(self) -> str:
        parts = [self.program, self.family, self.transport]
        return "-".join(parts if self.origin == "none" else [*parts, self.origin])

    @property
    def keeps_order(self) -> bool:
        """Whether publishes made at once arrive in order: one is sent after another."""
        if self.family == "cometd":
            return self.program != "java" or self.transport == "websocket"
        return self.transport == "websocket"

    @property
    def decodes_whole(self) -> bool:
        """Whether a character survives that two reads of a response share.

        In cometd-nodejs-client 2.0.0 it does not: it decodes each chunk for itself.
        """
        return (
            self.program != "node"
            or self.family != "cometd"
            or self.transport == "websocket"
        )

    @property
    def sends_large(self) -> bool:
        """Whether a message need not fit into a URL."""
        return self.transport != "callback-polling"


class Received(NamedTuple):
    """A message that a listener got."""

    channel: str
    data: Any


_numbers: Final = itertools.count(1)


class Actor:
    """A client in a program, by a name of its own."""

    def __init__(self, puppet: Puppet, role: str) -> None:
        """:param role: alice, bob, ...: what the transcript calls it, with a number."""
        self._puppet = puppet
        self._name = f"{role}-{next(_numbers)}"
        self._start = len(puppet.events)

    def ask(self, operation: str, **fields: Any) -> Any:
        """Have it perform a command."""
        return self._puppet.ask(operation, actor=self._name, **fields)

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
        """Publish them at once, or each after the reply to the one before."""
        replies: list[dict[str, Any]] = self.ask(
            "publishAll", channel=channel, items=items, pipelined=pipelined
        )
        return replies

    def received(self, subscription: str) -> list[Received]:
        """Give what the listener of ``subscription`` got, in order."""
        return [
            Received(event["channel"], event["data"])
            for event in self._events("message")
            if event["subscription"] == subscription
        ]

    def arrivals(self) -> list[str]:
        """Give the channels of the messages that came over the wire, replies apart."""
        return [event["channel"] for event in self._events("arrival")]

    def wait_for(self, subscription: str, count: int) -> list[Received]:
        """Wait until the listener got ``count`` messages, and give what it got."""
        self._puppet.wait(
            lambda: len(self.received(subscription)) >= count,
            f"{count} messages for {self._name} on {subscription}",
        )
        return self.received(subscription)

    def replies(self, channel: str) -> list[dict[str, Any]]:
        """Give the successful replies on a meta channel."""
        return [
            event
            for event in self._events("reply")
            if event["channel"] == channel and event["successful"]
        ]

    def wait_for_reply(self, channel: str, count: int) -> None:
        """Wait until it has ``count`` successful replies on a meta channel."""
        self._puppet.wait(
            lambda: len(self.replies(channel)) >= count,
            f"{count} successful replies on {channel} for {self._name}",
        )

    def _events(self, kind: str) -> list[dict[str, Any]]:
        return [
            event
            for event in self._puppet.events[self._start :]
            if event["actor"] == self._name and event["event"] == kind
        ]


class Stage:
    """A server, a program, and the actors that a scenario asks for."""

    def __init__(self, cast: Cast, server: Server, puppet: Puppet, page: str) -> None:
        """:param page: what a browser is to show."""
        self.cast = cast
        self.server = server
        self.puppet = puppet
        self._page = page
        self._actors: list[Actor] = []

    def enter(self, role: str, **options: Any) -> tuple[Actor, dict[str, Any]]:
        """Have an actor handshake, and give it with the handshake's reply."""
        actor = Actor(self.puppet, role)
        self._actors.append(actor)
        reply = actor.ask(
            "open",
            family=self.cast.family,
            transport=self.cast.transport,
            url=self.server.url,
            page=self._page,
            **options,
        )
        return actor, reply

    def actor(self, role: str, **options: Any) -> Actor:
        """Give an actor whose handshake succeeded."""
        actor, reply = self.enter(role, **options)
        assert reply["successful"], reply
        return actor

    def clear(self) -> None:
        """Send the actors home."""
        if self.puppet.alive:
            for actor in self._actors:
                actor.ask("close")
