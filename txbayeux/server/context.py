"""What the operations of the protocol get, and what they return."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import msgspec
from twisted.internet.defer import Deferred

from txbayeux.channel import Grammar
from txbayeux.events import Events
from txbayeux.interfaces import Delivery, Engine, Request, Stream
from txbayeux.message import Message
from txbayeux.peer_limits import PeerRegistry
from txbayeux.server.options import ServerOptions
from txbayeux.server.service_channels import ServiceChannels

__all__ = [
    "ConnectAnswer",
    "Operation",
    "PendingConnect",
    "RequestContext",
    "Result",
    "ServerContext",
]


@dataclass(frozen=True, slots=True)
class ServerContext:
    """The parts of one server."""

    engine: Engine
    options: ServerOptions
    events: Events
    services: ServiceChannels
    peers: PeerRegistry
    advice: Message
    """The advice of successful replies; to be copied."""
    names: Grammar
    """Which channels there may be."""


# Structs are made in C: the five of each poll take 0.4 µs, as dataclasses 1.2 µs.
# None of them is changed after its creation, but for the count of deliveries.
class RequestContext(msgspec.Struct, gc=False):
    """The request that a message came with."""

    request: Request | None
    """None for messages of this process."""
    stream: Stream | None
    alone: bool
    """Whether it holds one message only, so that a connect may be held."""
    peer: str | None
    """The key by which the client is limited; None if it is not.  Not the address.

    See :attr:`txbayeux.peer_limits.PeerRegistry.key`.
    """
    deliveries: int = 0
    """How many subscriptions its published messages match, refused ones included."""


class ConnectAnswer(msgspec.Struct, gc=False):
    """The reply to a connect, and the messages that go with it."""

    delivery: Delivery
    reply: Message


class PendingConnect(msgspec.Struct, gc=False):
    """A connect to be answered, by :func:`~.connect.answer_connect`, when it fires.

    Not a Deferred of the answer: a callback would cost 1 µs and six objects for
    each connect that is held.
    """

    message: Message
    delivery: Deferred[Delivery]


Result: TypeAlias = Message | Deferred[Message] | PendingConnect

Operation: TypeAlias = Callable[[ServerContext, Message, RequestContext], Result]
"""Processes one message of a meta channel.

It raises BayeuxError, or its Deferred fails with it, to refuse the message.
"""
