"""Reads parts of the log from Redis, for sessions and feeds that missed them."""

from __future__ import annotations

from collections import deque
from typing import Final

from twisted.internet.defer import Deferred

from txbayeux.engine.redis.commands import Commands
from txbayeux.engine.redis.log import Logged, parse, size_of
from txbayeux.engine.redis.options import RedisOptions

__all__ = ["PART", "LogGap", "LogWindow"]

PART: Final = 500
"""Most entries in one call."""

_FOREIGN: Final = 1000
"""Most entries of others that are skipped in one call."""

_LARGEST: Final = 2**64 - 1


class LogGap(Exception):
    """Entries that are needed were dropped from the log."""


class LogWindow:
    """Reads the log, and keeps the newest part that was read.

    When a node dies, thousands of sessions need the same entries at the same time.
    """

    def __init__(self, commands: Commands, options: RedisOptions) -> None:
        self._commands = commands
        self._messages, self._octets = options.tail_messages, options.tail_bytes
        self._reading = self._waking = False
        self._waiting: deque[Deferred[None]] = deque()
        self._items: list[Logged] = []
        self._bytes = 0
        self._first = self._next = 1
        self._cleared = 0

    def clear(self) -> None:
        """Forget what was read: Redis has another log."""
        self._items, self._bytes = [], 0
        self._first = self._next = 1
        self._cleared += 1

    async def read(self, first: int, last: int) -> list[Logged]:
        """Return the entries from ``first`` to ``last``, at most :data:`PART`.

        :raises LogGap: if they are not all in the log.
        :raises BayeuxError: 503.
        """
        while self._reading:
            self._waiting.append(waiting := Deferred[None]())
            await waiting
        self._reading = True
        try:
            return await self._read(first, last)
        finally:
            self._reading = False
            self._wake()

    def _wake(self) -> None:
        """Wake the others, in a loop.

        If each woke the next one at its end, as with a DeferredLock, hundreds of them
        that find their entries in memory would exceed Python's recursion limit.
        """
        if self._waking:
            return
        self._waking = True
        try:
            while self._waiting and not self._reading:
                self._waiting.popleft().callback(None)
        finally:
            self._waking = False

    async def _read(self, first: int, last: int) -> list[Logged]:
        if not self._first <= first <= self._next:
            self.clear()
            self._first = self._next = first
        if self._next <= last:
            cleared = self._cleared
            part = await self._fetch(self._next, last)
            if cleared != self._cleared or len(part) != last + 1 - self._next:
                raise LogGap
            self._items += part
            self._bytes += sum(size_of(item) for item in part)
            self._next = last + 1
        found = self._items[first - self._first : last + 1 - self._first]
        self._shrink()
        return found

    async def _fetch(self, first: int, last: int) -> list[Logged]:
        # Others may have appended some, too.
        found = await self._commands.run(
            "read", f"{first}-0", f"{last}-{_LARGEST}", last + 1 - first + _FOREIGN
        )
        items: list[Logged] = []
        for identity, fields in found:
            item = parse(identity, fields)
            if item is not None and item.position == first + len(items):
                items.append(item)
        return items

    def _shrink(self) -> None:
        count = max(0, len(self._items) - self._messages)
        self._bytes -= sum(size_of(item) for item in self._items[:count])
        while self._bytes > self._octets:
            self._bytes -= size_of(self._items[count])
            count += 1
        if count:
            del self._items[:count]
            self._first += count
