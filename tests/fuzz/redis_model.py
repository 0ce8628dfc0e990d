"""Redis as one node sees it: a log, and the inbox and the feed of the node.

It does what the scripts of ``txbayeux/engine/redis/lua`` do; others may add to its
streams.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from txbayeux.engine.redis.log import Mark

__all__ = ["KINDS", "TOKEN", "Id", "RedisModel", "Refused", "Stream"]

KINDS: Final = (b"m", b"a", b"u")
"""Messages for all and for one session, and changes of subscriptions."""

TOKEN: Final = 7
"""Of the only connection that the service appends entries on."""

_MOST: Final = 2**64 - 1

Id = tuple[int, int]


class Refused(Exception):
    """Raised where XADD refuses an id."""


class Stream:
    """A stream of Redis."""

    def __init__(self) -> None:
        self._entries: list[tuple[Id, list[bytes]]] = []
        self._last: Id = (0, 0)

    def add(self, identity: Id | None, fields: list[bytes]) -> None:
        """Append an entry; an id that is None is made from the time."""
        if identity is None:
            position, token = max(self._last, (1_700_000_000_000, -1))
            identity = (position, token + 1)
        if identity <= self._last or max(identity) > _MOST:
            raise Refused
        self._entries.append((identity, fields))
        self._last = identity

    def remove_after(self, position: int) -> int:
        """Remove what others appended; return how many: ``remove_foreign()``."""
        kept = [one for one in self._entries if one[0][0] <= position]
        count = len(self._entries) - len(kept)
        self._entries = kept
        self._last = kept[-1][0] if kept else (position, 0)
        return count

    def trim(self) -> int:
        """Remove the older half; return the position up to which all was removed."""
        if not self._entries:
            return 0
        position = self._entries[len(self._entries) // 2][0][0]
        self._entries = [one for one in self._entries if one[0][0] > position]
        return position

    def range(self, first: int, last: int, count: int = _MOST) -> list[Any]:
        """Return entries as XRANGE does, for ids without a second half."""
        found = [one for one in self._entries if first <= one[0][0] <= last]
        return [(b"%d-%d" % identity, fields) for identity, fields in found[:count]]


class RedisModel:
    """Redis with a log, and with the inbox and the feed of one node."""

    def __init__(self) -> None:
        self.log, self.inbox = Stream(), Stream()
        self.inbox.add((0, 1), [b"k", b"created"])
        self.position = self.sent = self.notices = 0
        self.foreign = 0
        """Entries and notices of others that were removed."""
        self.trimmed = 0
        """Position up to which the log was trimmed."""
        self.deleted = 0
        """Number up to which notices were lost with the inbox."""
        self.appended: dict[int, list[bytes]] = {}
        self.for_us: set[int] = set()
        self.published: list[bytes] = []
        self.feed: deque[bytes] = deque()

    # Scripts

    def append(self, kinds: Sequence[bytes]) -> None:
        """Append entries and publish those for the node, as ``log.lua`` does."""
        previous, entries = self.sent, list[bytes]()
        for kind in kinds:
            self.position += 1
            fields = _ours(kind.lower(), self.position)
            self.appended[self.position] = fields
            try:
                self.log.add((self.position, TOKEN), fields)
            except Refused:
                self.foreign += self.log.remove_after(self.position - 1)
                self.log.add((self.position, TOKEN), fields)
            if kind.islower():
                self.sent = self.position
                self.for_us.add(self.position)
                entries += [b"", b"%d-%d" % (self.position, TOKEN), *fields]
        if entries:
            self._publish([b"e", b"%d" % self.position, b"%d" % previous, *entries])

    def notify(self) -> None:
        """Send a notice, as ``notify()`` of ``sessions.lua`` does."""
        self.notices += 1
        fields = [b"k", b"%d" % self.notices]
        try:
            self.inbox.add((self.notices, 0), fields)
        except Refused:
            self.inbox = Stream()
            self.inbox.add((self.notices, 0), fields)
            self.deleted = self.notices - 1
            self.foreign += 1
        self._publish([b"e", b"notice", b"%d" % self.notices, b"", *fields])

    def _publish(self, texts: Sequence[bytes]) -> None:
        payload = b"\0".join(texts)
        self.published.append(payload)
        self.feed.append(payload)

    def register(self, seen: tuple[int, int] | None) -> Any:
        """Return a mark and the number of notices: ``register.lua``."""
        if seen is not None and seen[0] > self.trimmed:
            position, token = seen
            found = self.log.range(position, position)
            assert b"%d-%d" % (position, token) in dict(found), "another log"
        return self.mark(), self.notices

    def heartbeat(self) -> Any:
        """Return a mark, what was removed, and sent as notices: ``heartbeat.lua``."""
        if self.log.range(self.position + 1, _MOST):
            self.foreign += self.log.remove_after(self.position)
        return self.mark(), self.foreign, self.notices

    def trim(self) -> None:
        """Trim the log."""
        self.trimmed = max(self.trimmed, self.log.trim())

    def mark(self) -> Mark:
        """Return a mark: ``route.lua``."""
        return Mark(self.position, TOKEN if self.position else None, self.sent)

    def run(self, script: str, *arguments: Any) -> Any:
        """Execute a script that only reads."""
        if script == "notices":
            return self.inbox.range(arguments[0] + 1, self.notices)
        assert script == "read"
        first, last = (int(end.partition("-")[0]) for end in arguments[:2])
        return self.log.range(first, last, arguments[2])


def _ours(kind: bytes, position: int) -> list[bytes]:
    message = [b"c", b"/a", b"j", b'{"channel":"/a","data":%d}' % position]
    if kind == b"a":
        return [*message, b"t", b"session"]
    return (
        [b"u", b"session%d" % position, b"+", b"/a /b/*"] if kind == b"u" else message
    )
