"""Find the server to use: a fixed one, Sentinel's master, or a cluster node."""

from __future__ import annotations

import binascii
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.logger import Logger
from zope.interface import implementer

from txbayeux.engine.redis.connection import ConnectionFactory, request
from txbayeux.engine.redis.errors import RedisError
from txbayeux.engine.redis.location import Location

__all__ = ["RedisEndpoint"]

_SLOTS: Final = 16384
"""Number of hash slots of a cluster."""

_AGAIN: Final = 60.0
"""Seconds until it is logged again that Redis cannot be used."""

_SENTENCES: Final = (
    ("WRONGPASS", "the user or the password in its URL is wrong"),
    ("NOAUTH", "it requires a password, which its URL must give"),
    ("NOPERM", "its user lacks a right that the engine needs"),
    (
        "The user executing the script can't",
        "its user lacks a right that the engine needs",
    ),
    ("unknown command", "it lacks a command that the engine needs"),
    ("Invalid stream ID", "it is older than Redis 6.2"),
    ("READONLY", "it is a replica"),
    ("MOVED ", "the slot of its keys is at another node"),
    ("ASK ", "the slot of its keys is migrating to another node"),
    ("TRYAGAIN ", "the slot of its keys is migrating to another node"),
    (
        "closed cleanly",
        "it closed the connection before the engine could use it",
    ),
)
"""Explanations of Redis's errors for an operator."""

_log: Final = Logger()


@implementer(IStreamClientEndpoint)
class RedisEndpoint:
    """An endpoint that looks up the current server at each attempt.

    :param timeout: seconds that each connection or reply may take.
    :param absent: a key in the hash slot of the engine's that never exists.
    """

    def __init__(
        self, reactor: Any, location: Location, timeout: float, absent: str
    ) -> None:
        self._reactor = reactor
        self.location = location
        self._timeout = timeout
        # Reasons, each with the connection and the time for which it was logged.
        self._logged: dict[str, tuple[str, float]] = {}
        self._moved: tuple[str, int] | None = None
        self._nodes = set(location.hosts)
        tag = absent.partition("{")[2].partition("}")[0]
        self._slot = binascii.crc_hqx(tag.encode(), 0) % _SLOTS
        self.probes = (
            ("XADD", absent, "NOMKSTREAM", "*", "k", "v"),
            ("XRANGE", absent, "-", "+"),
        )
        """They have no effect, and fail on a server older than Redis 6.2, on a replica,
        without rights, and on a cluster node without the namespace's slot."""

    def __repr__(self) -> str:
        """Return a description without the password: Twisted logs this."""
        return f"Redis ({self.location})"

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """Connect; see :meth:`IStreamClientEndpoint.connect`."""
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    def succeeded(self, connection: str) -> None:
        """Called when a connection, which has this name, is in use."""
        self._logged = {
            why: entry
            for why, entry in self._logged.items()
            if entry[0] not in ("", connection)
        }

    def failed(self, error: object, connection: str = "") -> None:
        """Log why Redis cannot be used, unless that was logged just now.

        :param connection: the name of the connection that was refused; empty if none
            could be made.

        If the keys are at another cluster node, or move to it, connect to that one
        next.  While they move it answers MOVED or TRYAGAIN: no script runs, also not
        after ASKING, as each needs all keys on one node.
        """
        if isinstance(error, RedisError) and error.code in ("ASK", "MOVED"):
            host, _, port = error.text.rpartition(" ")[2].rpartition(":")
            if host:
                self._moved = (host, int(port))
        why = _explain(error)
        now = self._reactor.seconds()
        self._logged = {
            known: entry
            for known, entry in self._logged.items()
            if now - entry[1] <= _AGAIN
        }
        if why not in self._logged:
            self._logged[why] = connection, now
            _log.error(
                "Cannot use Redis ({where}), trying again: {why}",
                where=self.location,
                why=why,
            )

    async def _connect(self, factory: IProtocolFactory) -> Any:
        try:
            host, port = await self._find()
            return await self._endpoint(host, port).connect(factory)
        except CancelledError:
            raise
        except Exception as error:
            self.failed(error)
            raise

    def _endpoint(self, host: str, port: int) -> IStreamClientEndpoint:
        return self.location.endpoint(self._reactor, host, port, self._timeout)

    async def _find(self) -> tuple[str, int]:
        location = self.location
        if location.path is not None:
            return "", 0
        if location.cluster:
            return await self._find_node()
        if location.service is not None:
            return await self._find_master(location.service)
        return location.hosts[0]

    async def _find_master(self, service: str) -> tuple[str, int]:
        """Query the Sentinels until one knows the master.

        Source: Redis documentation, "Sentinel client spec".  txredisapi's ``Sentinel``
        verifies no host name (one TLS context for all Sentinels), hides why none
        replied, and leaves a timer in the reactor when it is stopped meanwhile.
        """

        async def named_by(host: str, port: int) -> tuple[str, int] | None:
            address = await request(
                self._endpoint(host, port),
                ConnectionFactory(self._reactor, "Sentinel"),
                self._timeout,
                *("SENTINEL", "get-master-addr-by-name", service),
            )
            return (address[0].decode(), int(address[1])) if address else None

        return await self._first(
            f"no Sentinel names a master of {service}", self.location.hosts, named_by
        )

    async def _find_node(self) -> tuple[str, int]:
        """Query nodes of the cluster until one knows the master of the keys' slot.

        Source: Redis documentation, "Redis cluster specification", on clients.
        """
        if self._moved is not None:
            place, self._moved = self._moved, None
            return place
        location = self.location

        async def named_by(host: str, port: int) -> tuple[str, int] | None:
            ranges = await request(
                self._endpoint(host, port),
                ConnectionFactory(
                    self._reactor,
                    "a node of the cluster",
                    username=location.username,
                    password=location.password,
                ),
                self._timeout,
                *("CLUSTER", "SLOTS"),
            )
            found = None
            self._nodes = set(location.hosts)
            for first, last, *servers in ranges:
                # A cluster node that does not know its own address omits it.
                places = [
                    (host if name in (None, b"", b"?") else name.decode(), int(number))
                    for name, number, *_ in servers
                ]
                self._nodes.update(places)
                if first <= self._slot <= last:
                    found = places[0]
            return found

        # In random order: a node cut off from the others may name an old master.
        nodes = random.sample(sorted(self._nodes), len(self._nodes))
        return await self._first(
            f"no node of the cluster names the master of slot {self._slot}",
            nodes,
            named_by,
        )

    async def _first(
        self,
        failure: str,
        places: Sequence[tuple[str, int]],
        named_by: Callable[[str, int], Awaitable[tuple[str, int] | None]],
    ) -> tuple[str, int]:
        errors = []
        for host, port in places:
            try:
                found = await named_by(host, port)
            except CancelledError:
                raise
            except Exception as error:
                errors.append(f"{host}:{port}: {_explain(error)}")
            else:
                if found is not None:
                    return found
                errors.append(f"{host}:{port} does not know it")
        raise RedisError(f"{failure} ({'; '.join(errors)})")


def _explain(error: object) -> str:
    text = str(error) or type(error).__name__
    for sign, sentence in _SENTENCES:
        if sign in text:
            return f"{sentence} ({text})"
    return text
