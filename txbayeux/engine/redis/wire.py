"""Redis's protocol on one connection: commands out, replies in, in order.

It is written on hiredis, which parses and packs in C, and not on txredisapi: that
imports the global reactor, packs in Python (27 µs a call where this takes 9), and
leaves Nagle's algorithm on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

import hiredis
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from txbayeux.interfaces import Clock

__all__ = ["Argument", "Lost", "Redis", "RedisError"]

Argument = str | bytes | int
"""What a command can be made of."""

_log: Final = Logger()


class RedisError(Exception):
    """An error that Redis replied; ``code`` is its first word (``NOSCRIPT``)."""

    def __init__(self, text: str = "") -> None:
        super().__init__(text)
        self.code, _, self.text = text.partition(" ")


class Lost(Exception):
    """The connection was lost: a command may have been carried out, or not."""


class Redis(Protocol):
    """A connection to Redis; replies are ``bytes``, ``int``, ``None`` and lists."""

    def __init__(self, clock: Clock, lost: Callable[[Redis], None]) -> None:
        self._clock = clock
        self._lost = lost
        self._reader = hiredis.Reader(protocolError=Lost, replyError=RedisError)
        self._waiting: deque[Deferred[Any]] = deque()
        self._since = 0.0
        self._gone = False

    def call(self, *command: Argument) -> Deferred[Any]:
        """Send a command; fires with its reply.

        Fails with :class:`RedisError`, or with :class:`Lost`.
        """
        result: Deferred[Any] = Deferred()
        if self._gone:
            result.errback(Lost("not connected"))
            return result
        if not self._waiting:
            self._since = self._clock.seconds()
        self._waiting.append(result)
        transport: Any = self.transport
        transport.write(hiredis.pack_command(command))  # type: ignore[arg-type]
        return result

    def silence(self) -> float:
        """Seconds for which a reply has been waited for in vain."""
        return self._clock.seconds() - self._since if self._waiting else 0.0

    def abort(self) -> None:
        """Give the connection up."""
        abort = getattr(self.transport, "abortConnection", None)
        if abort is not None:
            abort()

    def connectionMade(self) -> None:
        """Send small commands at once."""
        no_delay = getattr(self.transport, "setTcpNoDelay", None)
        if no_delay is not None:
            no_delay(True)

    def dataReceived(self, data: bytes) -> None:
        """Hand replies to those who wait for them."""
        self._since = self._clock.seconds()
        try:
            self._reader.feed(data)
            # RESP2 has no booleans: False says that no reply is whole.
            while (reply := self._reader.gets()) is not False:
                if not self._waiting:
                    _log.error("Redis replied to no command: {reply!r}", reply=reply)
                    self.abort()
                    return
                waiting = self._waiting.popleft()
                if isinstance(reply, RedisError):
                    waiting.errback(reply)
                else:
                    waiting.callback(reply)
        except Lost as error:
            _log.error("What came from Redis makes no sense: {error}", error=error)
            self.abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Fail what waits."""
        self._gone = True
        waiting, self._waiting = self._waiting, deque()
        self._lost(self)
        for result in waiting:
            result.errback(Lost("connection lost"))
