"""What the client asks of a transport, and what it hears from one.

A transport carries lists of messages.  It holds no session, no subscription
and no state of the protocol: the client may drop it at any moment and go on
with another one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Final, Protocol, TypeAlias

from treq.cookies import IndexableCookieJar
from twisted.internet.defer import Deferred
from twisted.web.iweb import IPolicyForHTTPS

from txbayeux.message import Message
from txbayeux.transport.url import Proxy, ServerURL

__all__ = [
    "MAX_RESPONSE",
    "Context",
    "Factory",
    "NoReply",
    "Receiver",
    "ReplyTimeout",
    "Transport",
    "TransportError",
    "TransportUnavailable",
    "Unreachable",
]

MAX_RESPONSE: Final = 16 * 1024 * 1024
"""Largest answer or frame that is read, in bytes, decompressed: twice what our
server lets wait for one session."""


class TransportError(Exception):
    """Messages could not be exchanged; trying again may help."""

    status: int | None = None
    """HTTP status of the answer, where there was one."""


class Unreachable(TransportError):
    """No connection came about: refused, no route, no name, no trust."""


class NoReply(TransportError):
    """A connection came about, but not the reply that was asked for."""

    def __init__(self, why: str, status: int | None = None) -> None:
        super().__init__(why)
        self.status = status


class ReplyTimeout(NoReply):
    """Nothing was heard in the time that was given."""


class TransportUnavailable(TransportError):
    """This connection type does not work here; another one may."""

    def __init__(self, why: str, status: int | None = None) -> None:
        super().__init__(why)
        self.status = status


class Receiver(Protocol):
    """What a transport tells the client."""

    def received(self, messages: list[Message]) -> None:
        """Take messages and replies, in the order in which they came."""

    def broken(self, error: TransportError) -> None:
        """Hear that nothing comes any more until something is sent again.

        For connections that messages are pushed over; called once for each
        that ends, after the Deferreds of what was sent on it have failed.
        """


class Transport(Protocol):
    """One connection type to one endpoint."""

    @property
    def connection_type(self) -> str:
        """Its name in the protocol."""

    @property
    def pipelined(self) -> bool:
        """Whether a batch may be sent before the last one was answered.

        Only where batches arrive in the order in which they were sent.
        """

    @property
    def batch_bytes(self) -> int:
        """How much JSON to put in one batch; a single message may be larger."""

    def send(self, messages: Sequence[Message], timeout: float) -> Deferred[None]:
        """Send a batch; fires once each of its messages was answered.

        The replies themselves go to :meth:`Receiver.received`, before it fires.
        Fails with :class:`TransportError`, at the latest after ``timeout``
        seconds, if any reply is missing.  Cancelling it gives the request up.
        """

    def attach(self, session_id: str) -> None:
        """Hear which session the transport is used for from now on."""

    def close(self) -> Deferred[None]:
        """Give up whatever is open; fires when nothing of it is left.

        May be called twice.  Afterwards the receiver hears nothing more.
        """


@dataclass(slots=True, kw_only=True)
class Context:
    """What the transports of one client share."""

    reactor: Any
    """Provides IReactorTime, and for network transports what endpoints need."""
    endpoint: ServerURL
    tls: IPolicyForHTTPS | None = None
    """None for Twisted's default: verified against the platform's roots."""
    proxy: Proxy | None = None
    """An HTTP proxy; never taken from the environment."""
    network_delay: float = 10.0
    """Seconds a reply may take beyond what the server was asked to hold it.

    Precedent: CometD's ``maxNetworkDelay``."""
    ping_interval: float = 20.0
    """Seconds of silence after which a socket is pinged; precedent: websockets."""
    compression: bool = False
    """Whether to offer permessage-deflate."""
    max_response: int = MAX_RESPONSE
    jar: IndexableCookieJar = field(
        default_factory=lambda: IndexableCookieJar(
            DefaultCookiePolicy(strict_domain=True)
        )
    )
    """The client's own cookies; a server can set them for its own domain only."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers for the origin of ``home`` and no other."""
    home: ServerURL | None = None
    """The endpoint that the user named, where ``endpoint`` is one that was advised."""

    def headers_for(self, endpoint: ServerURL) -> Mapping[str, str]:
        """Give the user's headers, Authorization among them, for their own origin."""
        return self.headers if endpoint.origin == self.credentials_origin else {}

    @property
    def credentials_origin(self) -> tuple[str, str, int]:
        """The origin that headers and cookies of the user's are meant for."""
        return (self.home or self.endpoint).origin


Factory: TypeAlias = Callable[[Context, Receiver], Transport]
"""Makes one transport; given to the client by the name of its connection type."""
