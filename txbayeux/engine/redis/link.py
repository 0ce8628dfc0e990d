"""A connection to Redis that is made again whenever it is lost."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final, cast

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from txbayeux.engine.redis.location import Location
from txbayeux.engine.redis.sentinel import find
from txbayeux.engine.redis.wire import Redis, RedisError
from txbayeux.interfaces import DelayedCall

__all__ = ["Link"]

_FIRST_DELAY: Final = 0.05
_LONGEST_DELAY: Final = 2.0
"""Seconds between attempts: whatever Redis does, the service is back within seconds."""

_log: Final = Logger()


class Link:
    """Connects, introduces itself, and tells when a connection is there or lost.

    :param name: what the connection is for, in the log.
    :param up: is told of a connection; :meth:`confirm` is to be called when it
        proved useful, or its :meth:`Redis.abort`.
    :param down: is told when a connection that was ``up`` is lost.
    """

    def __init__(
        self,
        reactor: Any,
        location: Location,
        name: str,
        *,
        timeout: float,
        up: Callable[[Redis], None],
        down: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._location = location
        self._name = name
        self._timeout = timeout
        self._up = up
        self._down = down
        self._redis: Redis | None = None
        self._up_told = False
        self._attempt: Deferred[None] | None = None
        self._retry: DelayedCall | None = None
        self._failures = 0
        self._stopped: Deferred[None] | None = None

    def start(self) -> None:
        """Begin to connect."""
        self._retry = None
        self._attempt = Deferred.fromCoroutine(self._connect())

    def stop(self) -> Deferred[None]:
        """Close; fires when nothing is left in the reactor."""
        self._stopped = Deferred()
        if self._retry is not None:
            self._retry.cancel()
        if self._attempt is not None:
            self._attempt.cancel()
        if self._redis is None:
            return succeed(None)
        # What was written, is: yields, at the least.
        transport: Any = self._redis.transport
        transport.loseConnection()
        return self._stopped

    def confirm(self) -> None:
        """Say that the connection is of use: the next loss is a first one."""
        self._failures = 0

    def check(self) -> None:
        """Give the connection up if it has been silent for too long."""
        if self._redis is not None and self._redis.silence() > self._timeout:
            _log.error(
                "Redis ({where}) does not answer {name}",
                where=self._location,
                name=self._name,
            )
            self._redis.abort()

    async def _connect(self) -> None:
        try:
            redis = await self._open()
        except CancelledError:
            return
        except Exception as error:
            self._attempt = None
            self._failed(error)
            return
        self._attempt = None
        if not redis.connected:
            self._failed(None)
            return
        self._up_told = True
        self._up(redis)

    async def _open(self) -> Redis:
        host, port = await self._find()
        location = self._location
        endpoint = location.endpoint(self._reactor, host, port, self._timeout)
        factory = Factory.forProtocol(lambda: Redis(self._reactor, self._lost))
        factory.noisy = False
        self._redis = redis = cast(Redis, await endpoint.connect(factory))
        if location.password is not None:
            who = (location.username,) if location.username else ()
            await redis.call("AUTH", *who, location.password)
        if location.database:
            await redis.call("SELECT", location.database)
        if location.service is not None:
            role = await redis.call("ROLE")
            if role[0] != b"master":
                raise RedisError("READONLY Sentinel named a server that is no master")
        return redis

    async def _find(self) -> tuple[str, int]:
        location = self._location
        if location.path is not None:
            return "", 0
        if location.service is None:
            return location.hosts[0]
        return await find(self._reactor, location, self._timeout)

    def _lost(self, redis: Redis) -> None:
        if redis is not self._redis:
            return
        self._redis = None
        told, self._up_told = self._up_told, False
        if self._stopped is not None:
            self._stopped.callback(None)
        elif told:
            _log.warn(
                "The connection for {name} to Redis ({where}) is lost",
                where=self._location,
                name=self._name,
            )
            self._down()
            self._again()

    def _failed(self, error: Exception | None) -> None:
        # Say so at the first failure, and now and then while it lasts.
        if self._failures % 30 == 0:
            _log.error(
                "Redis ({where}) is out of reach, trying again: {error}",
                where=self._location,
                error=error or "connection lost",
            )
        if self._redis is not None:
            redis, self._redis = self._redis, None
            redis.abort()
        self._again()

    def _again(self) -> None:
        if self._stopped is not None:
            return
        delay = min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** min(self._failures, 10))
        self._failures += 1
        jitter = random.uniform(0.8, 1.2)  # noqa: S311  # no secret
        self._retry = self._reactor.callLater(delay * jitter, self.start)
