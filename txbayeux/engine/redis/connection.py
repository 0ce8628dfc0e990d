"""A connection to Redis: txredisapi's protocol and factory, adapted to the engine.

Importing txredisapi imports the global reactor, and so installs one: this module is
imported when an engine is made, which has been given a reactor.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final, cast

import hiredis
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from txredisapi import RedisFactory, RedisProtocol

from txbayeux.engine.redis.errors import Lost, RedisError
from txbayeux.interfaces import Clock
from txbayeux.writing import write_now

__all__ = ["Connection", "ConnectionFactory", "FeedConnection", "request"]

_INCOMPLETE: Final = object()
"""Says that no reply is complete.  By default ``False`` does, a value of RESP3."""


class Connection(RedisProtocol):  # type: ignore[misc]
    """txredisapi's protocol, at a third of its cost for each command.

    Commands are packed by hiredis, replies are not converted (``bytes``, ``int``,
    ``None`` and lists), and each command costs one Deferred.
    """

    factory: ConnectionFactory

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._reader = hiredis.Reader(
            protocolError=Lost, replyError=RedisError, notEnoughData=_INCOMPLETE
        )
        self._waiting: deque[Deferred[Any]] = deque()
        self._since = 0.0

    def execute_command(self, *command: str | bytes | int) -> Deferred[Any]:
        """Send a command; fires with its reply.

        Fails with :class:`~txbayeux.engine.redis.errors.RedisError`, or with
        :class:`~txbayeux.engine.redis.errors.Lost`.
        """
        if not self.connected:
            return fail(Lost("not connected"))
        # It goes out with the reactor's next turn, together with others.
        self.transport.write(hiredis.pack_command(command))  # type: ignore[arg-type]
        return self._reply()

    def execute_now(self, *command: str | bytes | int) -> Deferred[Any]:
        """Send a command like :meth:`execute_command`, but write it at once."""
        if not self.connected:
            return fail(Lost("not connected"))
        write_now(self.transport, hiredis.pack_command(command))  # type: ignore[arg-type]
        return self._reply()

    def _reply(self) -> Deferred[Any]:
        """Return a Deferred for the reply to the command that was written last."""
        if not self._waiting:
            self._since = self.factory.clock.seconds()
        result: Deferred[Any] = Deferred()
        self._waiting.append(result)
        return result

    def silence(self) -> float:
        """Return for how many seconds commands have waited without any reply."""
        return self.factory.clock.seconds() - self._since if self._waiting else 0.0

    def abort(self) -> None:
        """Close the connection at once."""
        if self.connected:
            self.transport.abortConnection()

    def reject(self, error: object) -> None:
        """Close the connection because Redis cannot be used, and log the reason."""
        self.factory.connectionError(error)
        self.abort()

    def connectionMade(self) -> Any:
        """Turn off Nagle's algorithm, which delays small commands, and log in."""
        no_delay = getattr(self.transport, "setTcpNoDelay", None)
        if no_delay is not None:
            no_delay(True)
        return super().connectionMade()

    def dataReceived(self, data: bytes, unpause: bool = False) -> None:
        """Pass each reply to its command."""
        self._since = self.factory.clock.seconds()
        self._reader.feed(data)
        while True:
            try:
                reply = self._reader.gets()
            except Exception as error:  # TypeError, too, for some maps of RESP3
                self.reject(f"invalid data: {error}")
                return
            if reply is _INCOMPLETE:
                return
            if not self._take(reply):
                # txredisapi would treat it as the reply to the next command.
                self.reject(f"a reply to no command: {reply!r}")
                return

    def _take(self, reply: Any) -> bool:
        """Pass a reply to the command that has waited longest, if there is one."""
        if not self._waiting:
            return False
        waiting = self._waiting.popleft()
        if isinstance(reply, RedisError):
            waiting.errback(reply)
        else:
            waiting.callback(reply)
        return True

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Fail the commands that wait for a reply."""
        super().connectionLost(reason)
        waiting, self._waiting = self._waiting, deque()
        self.factory.connectionLost(reason)
        for result in waiting:
            result.errback(Lost(reason.getErrorMessage()))


class FeedConnection(Connection):
    """A connection that subscribes to one publish/subscribe channel of Redis.

    Reading it can be paused; the reply to a PING shows that it is alive.
    """

    on_message: Callable[[bytes], None] | None = None
    """Called with each message that is published on the channel."""
    _paused = False

    def _take(self, reply: Any) -> bool:
        if isinstance(reply, list) and len(reply) == 3 and reply[0] == b"message":
            if self.on_message is not None:
                self.on_message(reply[2])
            return True
        return super()._take(reply)

    def silence(self) -> float:
        """Return for how many seconds commands have waited, unless it is paused."""
        return 0.0 if self._paused else super().silence()

    def ping(self, idle: float) -> None:
        """Send a PING, unless a reply is due or something came in ``idle`` seconds."""
        if not self._waiting and self.factory.clock.seconds() - self._since >= idle:
            # A server that cannot reply closes the connection, or is silent.
            self.execute_now("PING").addErrback(
                lambda failure: failure.trap(Lost, RedisError)
            )

    def pause(self) -> None:
        """Read no more."""
        self._paused = True
        self.transport.pauseProducing()

    def resume(self) -> None:
        """Read again."""
        self._paused = False
        self._since = self.factory.clock.seconds()
        self.transport.resumeProducing()


class ConnectionFactory(RedisFactory):  # type: ignore[misc]
    """txredisapi's factory, for one connection, without its pool.

    The pool keeps dead connections, and its handler queues commands without a bound
    while there is no connection: callers drive the protocol itself.

    :param name: what the connection is for, in the log.
    """

    protocol = Connection

    def __init__(
        self,
        clock: Clock,
        name: str,
        *,
        username: str | None = None,
        password: str | None = None,
        database: int = 0,
    ) -> None:
        super().__init__(
            name, database or None, 1, username=username, password=password
        )
        self.clock = clock
        self.refusal: object = None
        """The error that made the last connection unusable, if Redis replied one."""

    def buildProtocol(self, addr: object) -> Any:
        """Make the protocol of a new connection."""
        self.refusal = None
        return super().buildProtocol(addr)

    def connectionError(self, why: object) -> None:
        """Called when Redis refused AUTH, SELECT or the test of the connection."""
        self.refusal = why

    def connectionLost(self, reason: Failure) -> None:
        """Called when a connection is closed."""

    def addConnection(self, conn: Connection) -> None:
        """Called when AUTH and SELECT are done."""

    def stopTrying(self) -> Deferred[None]:
        """Do nothing: txredisapi would not reconnect after a refused AUTH."""
        return succeed(None)


async def request(
    endpoint: IStreamClientEndpoint,
    factory: ConnectionFactory,
    timeout: float,
    *command: str,
) -> Any:
    """Send one command on a connection of its own, and return the reply.

    :param timeout: seconds to wait for the reply.
    :raises RedisError: with what Redis replied, and if it refused AUTH.
    """
    connection = cast(Connection, await endpoint.connect(factory))
    try:
        return await connection.execute_command(*command).addTimeout(
            timeout, cast(Any, factory.clock)
        )
    except (RedisError, Lost):
        if factory.refusal is not None:
            raise RedisError(str(factory.refusal)) from None
        raise
    finally:
        connection.abort()
