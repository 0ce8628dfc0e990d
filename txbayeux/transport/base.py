"""The interface between the client and its transports.

A transport carries lists of messages.  It holds no session, no subscription
and no state of the protocol: the client may drop it at any time and continue
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
    "GATEWAY",
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
"""Bytes of the largest response or frame that is read, decompressed: twice what our
server queues for one session."""

GATEWAY: Final = frozenset({500, 502, 503, 504})
"""HTTP statuses of a proxy whose server is away: another request may succeed."""


class TransportError(Exception):
    """Messages could not be exchanged; trying again may help."""

    status: int | None = None
    """HTTP status of the response, if there was one."""


class Unreachable(TransportError):
    """No connection: refused, no route, DNS or TLS failure."""


class NoReply(TransportError):
    """There was a connection, but no reply on it."""

    def __init__(self, why: str, status: int | None = None) -> None:
        super().__init__(why)
        self.status = status


class ReplyTimeout(NoReply):
    """Nothing was received in time."""


class TransportUnavailable(TransportError):
    """This connection type does not work here; another one may."""

    def __init__(self, why: str, status: int | None = None) -> None:
        super().__init__(why)
        self.status = status


class Receiver(Protocol):
    """The client, as a transport calls it."""

    def received(self, messages: list[Message]) -> None:
        """Called with messages and replies, in the order in which they arrived."""

    def broken(self, error: TransportError) -> None:
        """Called when a connection that messages are pushed over has ended.

        Nothing is received until something is sent again.  Called once for each
        connection, after the Deferreds of what was sent on it have failed.
        """


class Transport(Protocol):
    """One connection type to one endpoint."""

    @property
    def connection_type(self) -> str:
        """Its name in the protocol."""

    @property
    def pipelined(self) -> bool:
        """Whether a batch may be sent before the last one was answered.

        True only if batches arrive in the order in which they were sent.
        """

    @property
    def batch_bytes(self) -> int:
        """Bytes of JSON to put in one batch; a single message may be larger."""

    def send(self, messages: Sequence[Message], timeout: float) -> Deferred[None]:
        """Send a batch; fires once each of its messages was answered.

        The replies themselves go to :meth:`Receiver.received`, before it fires.
        Fails with :class:`TransportError`, at the latest after ``timeout``
        seconds, if any reply is missing.  Cancelling it abandons the request.
        """

    def attach(self, session_id: str) -> None:
        """Called with the session that the transport is used for from now on."""

    def pause(self) -> None:
        """Stop reading messages that the server pushes; it keeps them, or waits.

        Replies are read all the same, except that to a connect which the server may
        hold: time does not count for it until :meth:`resume`.  Messages that were
        read already, or that are read with a reply, still go to the receiver.
        """

    def resume(self) -> None:
        """Read again what the server pushes."""

    def close(self) -> Deferred[None]:
        """Close everything that is open; fires when that is done.

        May be called twice.  Afterwards the receiver is not called any more.
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
    """Seconds that a reply may take beyond the requested holding time.

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
    """The URL that the user gave, if ``endpoint`` is one that the server advised."""

    def headers_for(self, endpoint: ServerURL) -> Mapping[str, str]:
        """Return the user's headers, if ``endpoint`` is of the origin they are for."""
        return self.headers if endpoint.origin == self.credentials_origin else {}

    @property
    def credentials_origin(self) -> tuple[str, str, int]:
        """The origin that the user's headers and cookies are sent to."""
        return (self.home or self.endpoint).origin


Factory: TypeAlias = Callable[[Context, Receiver], Transport]
"""Makes a transport; the client has one factory for each connection type."""
