"""What one peer, and one session, may use: limits, on by default.

A *peer* is the address of a client: a whole IPv4 address, the first 64 bits of an IPv6
address, which one network owns.  Behind a proxy it is the client that the proxy names.

The limits are made for a page's browsers, and for 200 users behind one address (an
office, a school), each with five tabs.  Programs that publish from other machines need
more: name their networks in :attr:`PeerLimits.unlimited`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final, Protocol, TypeGuard
from weakref import ref

from twisted.logger import Logger

from txbayeux.errors import TooManyDeliveries, too_many
from txbayeux.interfaces import Clock
from txbayeux.log_limit import LogLimit
from txbayeux.rates import Rate, TokenBuckets

__all__ = [
    "EVERYBODY",
    "REFUSALS",
    "PeerLimits",
    "PeerRegistry",
    "parse_address",
]

EVERYBODY: Final = ("0.0.0.0/0", "::/0")
"""The networks that all addresses belong to."""

_MAX_SESSION_ID: Final = 128
"""Longest id that a session may have, in characters; no longer one is looked up."""

_SWEEP_FROM: Final = 1_000
"""Connections that are counted before those that are closed are forgotten."""

_MiB: Final = 1024 * 1024

_IPV6_PREFIX: Final = 64

_log: Final = Logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerLimits:
    """What a peer, and a session, may use.  Above it, they are refused with 429.

    A rate that is None, or a number that is 0, is no limit.

    :raises ValueError: on construction, for a negative number, or what is no network.
    """

    connections: int = 2_000
    """Open connections of a peer (200 users with the six that a browser opens)."""

    sessions: int = 2_000
    """Sessions of a peer in this process (1,000 tabs, reloaded once in a minute)."""

    handshakes: Rate | None = Rate(20, 1_000)
    """Handshakes of a peer (all tabs at once after a restart)."""

    requests: Rate | None = Rate(2_000, 10_000)
    """HTTP requests and WebSocket messages of a peer; each message in a batch is one.

    Ten messages a second that 200 users get by polling; Jetty's DoSFilter, which is
    used with CometD, lets 25 a second through for one connection.
    """

    received: Rate | None = Rate(8 * _MiB, 64 * _MiB)
    """Bytes of the requests of a peer."""

    publishes: Rate | None = Rate(1_000, 5_000)
    """Messages that a peer publishes."""

    deliveries: Rate | None = Rate(500_000, 2_000_000)
    """Subscriptions in this process that they match (ten a second to 50,000).

    About half of what a process delivers in a second.
    """

    session_publishes: Rate | None = Rate(200, 2_000)
    """Messages that one session publishes (a cursor that moves: 60 a second)."""

    session_published: Rate | None = Rate(2 * _MiB, 16 * _MiB)
    """Bytes that one session publishes, as JSON."""

    session_messages: Rate | None = Rate(500, 2_500)
    """Messages of one session to meta channels: connects (a poll for each message)."""

    unlimited: Sequence[str] = ("127.0.0.0/8", "::1/128")
    """Networks whose addresses are not limited, as ``192.0.2.0/24`` or an address.

    By default this machine, where a proxy may run that names no client.  Peers without
    an address, on Unix sockets, are not limited either.
    """

    def __post_init__(self) -> None:
        for name in ("connections", "sessions"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 0:
                raise ValueError(f"{name} must be an integer, 0 or more: {value!r}")
        for network in self.unlimited:
            ip_network(network)


REFUSALS: Final = tuple(
    field.name for field in fields(PeerLimits) if field.name != "unlimited"
)
"""The limits, by name: refusals are counted for each."""


def parse_address(address: str) -> IPv4Address | IPv6Address | None:
    """Return an IP address, a mapped IPv4 one as such; None for anything else."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return mapped or parsed


class Connection(Protocol):
    """A transport of Twisted, such as that of TCP.

    :ivar connected: false once the connection is lost.
    """

    connected: int | bool


class PeerRegistry:
    """The peers of one process, and what they have used lately.

    The adapter and the server of a process share one.  What is kept of a
    peer without sessions and connections is dropped some time after its last request.

    """

    def __init__(self, limits: PeerLimits, clock: Clock) -> None:
        self.limits: Final = limits
        seconds = clock.seconds
        self._unlimited = [ip_network(network) for network in limits.unlimited]
        self._requests = TokenBuckets(limits.requests, limits.received, seconds)
        self._handshakes = TokenBuckets(limits.handshakes, None, seconds)
        self._publishes = TokenBuckets(limits.publishes, limits.deliveries, seconds)
        self._session_messages = TokenBuckets(limits.session_messages, None, seconds)
        self._session_publishes = TokenBuckets(
            limits.session_publishes, limits.session_published, seconds
        )
        self._sessions: Counter[str] = Counter()  # by peer
        self._peers: dict[str, str] = {}  # by session
        self._connections: dict[str, list[ref[Connection]]] = {}  # by peer
        self._counted = 0  # connections since the last sweep, and those left by it
        self._sweep_at = _SWEEP_FROM
        self._refused = dict.fromkeys(REFUSALS, 0)
        self._logged = dict(self._refused)
        self._refused_log = LogLimit(clock, self._log_refusals)
        self.key: Final[Callable[[str], str | None]] = lru_cache(4096)(self._key)
        """Return the peer of an address; None if it is not limited."""

    def _key(self, address: str) -> str | None:
        ip = parse_address(address)
        if ip is None:
            return None  # a Unix socket
        if any(ip in network for network in self._unlimited):
            return None
        if isinstance(ip, IPv6Address):
            return str(ip_network((ip, _IPV6_PREFIX), strict=False))
        return str(ip)

    # Called by the adapter

    def admit_connection(self, peer: str | None, connection: Connection) -> bool:
        """Count a new connection; return False if its peer has too many."""
        limit = self.limits.connections
        if peer is None or not limit:
            return True
        counted = self._connections.setdefault(peer, [])
        if len(counted) >= limit:
            counted[:] = filter(_is_open, counted)
            if len(counted) >= limit:
                self._refuse("connections", peer)
                return False
        counted.append(ref(connection))
        self._counted += 1
        if self._counted >= self._sweep_at:
            self._sweep()
        return True

    def _sweep(self) -> None:
        """Forget connections that are closed; seldom enough to cost next to nothing."""
        left = {
            peer: [one for one in counted if _is_open(one)]
            for peer, counted in self._connections.items()
        }
        self._connections = {peer: counted for peer, counted in left.items() if counted}
        self._counted = sum(map(len, self._connections.values()))
        self._sweep_at = max(2 * self._counted, _SWEEP_FROM)

    def admit_request(self, peer: str | None, size: int, messages: int = 1) -> float:
        """Return 0 for a request of ``size`` bytes, or the seconds until it may come.

        :param messages: in it, where that is known already; see :meth:`charge_batch`.
        """
        if peer is None:
            return 0.0
        short = self._requests.take(peer, 1, size)
        if short is not None:
            self._refuse("received" if short.of_size else "requests", peer)
            return short.seconds
        if messages > 1:
            self._requests.charge(peer, messages - 1)
        return 0.0

    def charge_batch(self, peer: str | None, messages: int) -> None:
        """Count the messages beyond the first of a request that was admitted.

        There may be too few tokens for them: then the next request waits.
        """
        if peer is not None and messages > 1:
            self._requests.charge(peer, messages - 1)

    # Called by the server

    def admit_message(self, peer: str, session_id: object) -> None:
        """Count a message to a meta channel.

        :param session_id: as the client has sent it.
        :raises BayeuxError: 429 above the rate of the session.
        """
        if _is_session_id(session_id) and self._session_messages.take(session_id):
            self._refuse("session_messages", peer)
            raise too_many("messages")

    def admit_publish(
        self, peer: str | None, session_id: object, size: int, deliveries: int = 0
    ) -> None:
        """Count a message that is published.

        :param size: its bytes, as JSON.
        :param deliveries: how many subscriptions it matches.
        :raises BayeuxError: 429 above a rate of the session, or of the peer.
        """
        if peer is None:
            return
        if _is_session_id(session_id):
            short = self._session_publishes.take(session_id, 1, size)
            if short is not None:
                name = "session_published" if short.of_size else "session_publishes"
                self._refuse(name, peer)
                raise too_many("bytes" if short.of_size else "publishes")
        short = self._publishes.take(peer, 1, deliveries)
        if short is not None:
            self._refuse("deliveries" if short.of_size else "publishes", peer)
            raise TooManyDeliveries if short.of_size else too_many("publishes")

    def admit_session(self, peer: str | None) -> None:
        """Count a handshake, and the session that it is to create.

        One of :meth:`session_created` and :meth:`session_failed` is called next.

        :raises BayeuxError: 429 above the rate, and above the number of sessions.
        """
        if peer is None:
            return
        if self._handshakes.take(peer):
            self._refuse("handshakes", peer)
            raise too_many("handshakes")
        if self._sessions[peer] >= self.limits.sessions > 0:
            self._refuse("sessions", peer)
            raise too_many("sessions")
        self._sessions[peer] += 1

    def session_created(self, peer: str | None, session_id: str) -> None:
        """Called when a session that was admitted has been created."""
        if peer is not None:
            self._peers[session_id] = peer

    def session_failed(self, peer: str | None) -> None:
        """Called when a session that was admitted could not be created."""
        if peer is not None:
            self._release(peer)

    def session_gone(self, session_id: str) -> None:
        """Called when this process no longer has the session."""
        peer = self._peers.pop(session_id, None)
        if peer is not None:
            self._release(peer)

    def _release(self, peer: str) -> None:
        self._sessions[peer] -= 1
        if not self._sessions[peer]:
            del self._sessions[peer]

    # What was refused

    def statistics(self) -> dict[str, int]:
        """Return how often each limit has refused something since the start."""
        return {f"limited_{name}_total": n for name, n in self._refused.items()}

    def stop(self) -> None:
        """Log what is left to be logged, and leave nothing in the reactor."""
        self._refused_log.stop()

    def _refuse(self, name: str, peer: str) -> None:
        self._refused[name] += 1
        self._refused_log.add(peer=peer)

    def _log_refusals(self, count: int, peer: str) -> None:
        """Log how often each limit has refused something: ``count`` times in all."""
        new = {n: total - self._logged[n] for n, total in self._refused.items()}
        self._logged = dict(self._refused)
        _log.warn(
            "Over a limit of peers and sessions: {what}; the last is {peer}"
            " (if that is a proxy, name it with --trusted-proxy)",
            what=", ".join(f"{times} {n}" for n, times in new.items() if times),
            peer=peer,
        )


def _is_open(connection: ref[Connection]) -> bool:
    alive = connection()
    return alive is not None and bool(alive.connected)


def _is_session_id(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= _MAX_SESSION_ID
