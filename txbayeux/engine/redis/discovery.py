"""Where Redis is now: Sentinel's master, or the node of a cluster."""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.logger import Logger
from zope.interface import implementer

from txbayeux.engine.redis.connection import ConnectionFactory, request
from txbayeux.engine.redis.errors import RedisError
from txbayeux.engine.redis.location import Location

__all__ = ["RedisEndpoint"]

_AGAIN: Final = 60.0
"""Seconds after which it is logged again that Redis cannot be used."""

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
    (
        "closed cleanly",
        "it closes the connection, as a proxy does that lacks a command",
    ),
)
"""What errors of Redis mean to an operator."""

_log: Final = Logger()


@implementer(IStreamClientEndpoint)
class RedisEndpoint:
    """Connects to the server that is the right one at that moment.

    :param timeout: seconds that each connection or reply may take.
    :param prefix: how the engine's keys begin.
    """

    def __init__(
        self, reactor: Any, location: Location, timeout: float, prefix: str
    ) -> None:
        self._reactor = reactor
        self.location = location
        self._timeout = timeout
        self._logged = ("", 0.0)
        absent = f"{prefix}absent"
        self.probes = (
            ("XADD", absent, "NOMKSTREAM", "*", "k", "v"),
            ("XREAD", "STREAMS", absent, "0"),
        )
        """They have no effect, and fail on what is no Redis 6.2, on a replica, without
        rights, and on a node of a cluster that is not the namespace's."""

    def __repr__(self) -> str:
        """Say where, without the password: Twisted logs this."""
        return f"Redis ({self.location})"

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """Connect; see :meth:`IStreamClientEndpoint.connect`."""
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    def succeeded(self) -> None:
        """Called when a connection is in use."""
        self._logged = ("", 0.0)

    def failed(self, error: object) -> None:
        """Log why Redis cannot be used, unless that was logged just now."""
        why = _explain(error)
        now = self._reactor.seconds()
        if why != self._logged[0] or now - self._logged[1] > _AGAIN:
            self._logged = (why, now)
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
        if location.service is None:
            return location.hosts[0]
        return await self._find_master(location.service)

    async def _find_master(self, service: str) -> tuple[str, int]:
        """Ask each Sentinel until one knows the master.

        Source: Redis documentation, "Sentinel client spec".  txredisapi's ``Sentinel``
        verifies no host name (one TLS context for all Sentinels), hides why none
        answered, and leaves a timer in the reactor when it is stopped meanwhile.
        """
        errors = []
        for host, port in self.location.hosts:
            try:
                address = await request(
                    self._endpoint(host, port),
                    ConnectionFactory(self._reactor, "Sentinel"),
                    self._timeout,
                    "SENTINEL",
                    "get-master-addr-by-name",
                    service,
                )
                if address:
                    return address[0].decode(), int(address[1])
                errors.append(f"{host}:{port} does not know it")
            except CancelledError:
                raise
            except Exception as error:
                errors.append(f"{host}:{port}: {_explain(error)}")
        raise RedisError(
            f"no Sentinel names a master of {service} ({'; '.join(errors)})"
        )


def _explain(error: object) -> str:
    text = str(error) or type(error).__name__
    for sign, sentence in _SENTENCES:
        if sign in text:
            return f"{sentence} ({text})"
    return text
