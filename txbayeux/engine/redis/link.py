"""A connection to Redis that is restored whenever it is lost."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from txbayeux.engine.redis.connection import Connection, ConnectionFactory
from txbayeux.engine.redis.discovery import RedisEndpoint
from txbayeux.engine.redis.errors import Lost, RedisError
from txbayeux.interfaces import Clock

__all__ = ["Link"]

_FIRST_DELAY: Final = 0.05
_LONGEST_DELAY: Final = 2.0
"""Seconds between attempts: short, so that the service recovers within seconds."""

_log: Final = Logger()


class Link(ConnectionFactory):
    """Keeps one connection to Redis; txredisapi connects and reconnects it.

    :param name: what the connection is for, in the log.
    :param timeout: seconds without a reply after which the connection is closed.
    :param up: called with each connection; then calls :meth:`confirm` if it is usable,
        and its :meth:`Connection.reject` if not.
    :param protocol: the kind of connection; ``up`` is called with one.
    :param down: called when a connection that was passed to ``up`` is lost.
    """

    def __init__(
        self,
        clock: Clock,
        endpoint: RedisEndpoint,
        name: str,
        *,
        timeout: float,
        up: Callable[[Any], None],
        down: Callable[[], None],
        protocol: type[Connection] = Connection,
    ) -> None:
        location = endpoint.location
        super().__init__(
            clock,
            name,
            username=location.username,
            password=location.password,
            database=location.database,
        )
        self.protocol = protocol
        self._endpoint = endpoint
        self._timeout = timeout
        self._up = up
        self._down = down
        self._connection: Connection | None = None
        self._is_up = False
        self._confirmed = False
        self._failures = 0

    def start(self) -> None:
        """Begin to connect."""
        self.startConnecting(self._endpoint)

    def stop(self) -> Deferred[Any]:
        """Close the connection after pending writes; fires when it is closed."""
        stopped: Deferred[Any] = self.disconnect()
        return stopped

    def confirm(self) -> None:
        """Mark the connection as usable: the delay between attempts starts anew."""
        self._confirmed = True
        self._failures = 0
        self._endpoint.succeeded(self.uuid)

    def check(self) -> None:
        """Close a connection that has not replied for too long.

        txredisapi's ``replyTimeout`` is a timer for each command, and loops when an
        errback repeats the command.
        """
        connection = self._connection
        if connection is not None and connection.silence() > self._timeout:
            _log.error(
                "Redis ({where}) does not reply on the connection for {name}",
                where=self._endpoint.location,
                name=self.uuid,
            )
            connection.abort()

    # Called by txredisapi

    def retryDelay(self, attempt: int) -> float:
        """Return the seconds to wait before the next attempt.

        txredisapi counts a connection as good after AUTH, the engine after its first
        script: ``attempt`` is not used.
        """
        delay: float = min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** min(self._failures, 10))
        self._failures += 1
        return delay * random.uniform(0.8, 1.2)  # noqa: S311  # no secret

    def buildProtocol(self, addr: object) -> Any:
        """Make the protocol of a new connection."""
        self._connection = super().buildProtocol(addr)
        return self._connection

    def connectionError(self, why: object) -> None:
        """Called when Redis refused AUTH, SELECT or what the connection is for."""
        super().connectionError(why)
        self._endpoint.failed(why, self.uuid)

    def addConnection(self, conn: Connection) -> None:
        """Called when AUTH and SELECT are done: test whether this Redis is usable."""
        Deferred.fromCoroutine(self._probe(conn))

    async def _probe(self, connection: Connection) -> None:
        try:
            for command in self._endpoint.probes:
                await connection.execute_command(*command)
        except RedisError as error:
            connection.reject(error)
        except Lost:
            pass
        else:
            if not self.disconnectCalled:
                self._is_up = True
                self._up(connection)

    def connectionLost(self, reason: Failure) -> None:
        """Called when the connection is closed."""
        self._connection = None
        was_up, self._is_up = self._is_up, False
        was_confirmed, self._confirmed = self._confirmed, False
        if self.disconnectCalled:
            return
        if was_confirmed:
            _log.warn(
                "Lost the connection to Redis ({where}) for {name}",
                where=self._endpoint.location,
                name=self.uuid,
            )
        elif self.refusal is None:
            self._endpoint.failed(reason.value, self.uuid)
        if was_up:
            self._down()
