"""Asking Sentinels which server is the master now.

Source: Redis documentation, "Sentinel client spec".
"""

from __future__ import annotations

from typing import Any, Final, cast

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from txbayeux.engine.redis.location import Location
from txbayeux.engine.redis.wire import Redis, RedisError

__all__ = ["find"]

_log: Final = Logger()


async def find(reactor: Any, location: Location, timeout: float) -> tuple[str, int]:
    """Give host and port of the master; each Sentinel is asked until one knows.

    :param timeout: seconds that each may take.
    :raises RedisError: if none knows.
    """
    for host, port in location.hosts:
        try:
            return await _ask(reactor, location, host, port, timeout)
        except Exception as error:
            _log.debug(
                "Sentinel {host}:{port} does not help: {error}",
                host=host,
                port=port,
                error=error,
            )
    raise RedisError(f"NOMASTER no Sentinel knows a master of {location.service}")


async def _ask(
    reactor: Any, location: Location, host: str, port: int, timeout: float
) -> tuple[str, int]:
    factory = Factory.forProtocol(lambda: Redis(reactor, lambda redis: None))
    factory.noisy = False
    endpoint = location.endpoint(reactor, host, port, timeout)
    redis = cast(Redis, await endpoint.connect(factory))
    asked: Deferred[Any] = redis.call(
        "SENTINEL", "get-master-addr-by-name", location.service or ""
    )
    try:
        address = await asked.addTimeout(timeout, reactor)
    finally:
        redis.abort()
    if not address:
        raise RedisError("NOMASTER unknown service")
    return address[0].decode(), int(address[1])
