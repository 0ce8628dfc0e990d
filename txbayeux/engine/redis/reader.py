"""The reader of the log and of this node's inbox, on a connection of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from txbayeux.engine.redis.errors import Lost
from txbayeux.engine.redis.log import Logged, notice, parse
from txbayeux.errors import unavailable

if TYPE_CHECKING:
    from txbayeux.engine.redis.connection import Connection

__all__ = ["Reader"]

_COUNT: Final = 100
"""Maximum entries in one reply: with 1,000 subscribers, a reactor turn of 100 ms."""

_BLOCK: Final = 1000
"""Milliseconds that XREAD blocks: its reply shows that the connection is alive."""

_LAST: Final = 2**64 - 1

_log: Final = Logger()


class Reader:
    """Follows the log and the inbox.

    :param logged: called with each entry of the log, in order.
    :param noticed: called with each notice of the inbox.
    :param gap: called when entries were dropped from the log before they were read.
    """

    def __init__(
        self,
        *,
        logged: Callable[[Logged], None],
        noticed: Callable[[Mapping[str, str]], None],
        gap: Callable[[], None],
    ) -> None:
        self._logged = logged
        self._noticed = noticed
        self._gap = gap
        self._redis: Connection | None = None
        self._log_key = self._inbox_key = b""
        self._log_id = self._inbox_id = b"0-0"
        self._waiting: deque[tuple[int, Deferred[None]]] = deque()
        self.position = 0
        self._known = 0

    @property
    def seen(self) -> tuple[int, int] | None:
        """Position and token of the last entry that was read; None before the first."""
        position, _, token = self._log_id.partition(b"-")
        if int(position) == 0 or int(token) == _LAST:
            return None
        return int(position), int(token)

    def begin(self, log: str, inbox: str, position: int) -> None:
        """Follow another log; fail the Deferreds for positions of the old one."""
        self.abandon()
        self._log_key, self._inbox_key = log.encode(), inbox.encode()
        self._inbox_id = b"0-0"
        self.position = self._known = position
        self._log_id = b"%d-%d" % (position, _LAST)

    def follow(self, redis: Connection) -> None:
        """Start reading on this connection."""
        self._redis = redis
        self._read()

    def down(self) -> None:
        """Stop reading: the connection is lost."""
        self._redis = None

    def note(self, position: int) -> None:
        """Note that the log has reached ``position``."""
        self._known = max(self._known, position)

    @property
    def behind(self) -> bool:
        """Whether the log is known to have entries that were not read yet."""
        return self.position < self._known

    def caught_up(self) -> Deferred[None]:
        """Return a Deferred that fires when those are read; see :meth:`reached`."""
        return self.reached(self._known)

    def reached(self, position: int) -> Deferred[None]:
        """Return a Deferred that fires when the entry at ``position`` is dispatched.

        It fails with :class:`~txbayeux.errors.BayeuxError` 503 if that cannot happen.
        """
        if self.position >= position:
            return succeed(None)
        if self._log_key == b"":
            return fail(unavailable())
        result: Deferred[None] = Deferred()
        self._waiting.append((position, result))
        return result

    def abandon(self) -> None:
        """Fail the Deferreds for positions that were not reached."""
        waiting, self._waiting = self._waiting, deque()
        for _, result in waiting:
            if not result.called:
                result.errback(unavailable())

    def _read(self) -> None:
        redis = self._redis
        if redis is None:
            return
        streams = (self._log_key, self._inbox_key, self._log_id, self._inbox_id)
        redis.execute_command(
            "XREAD", "COUNT", _COUNT, "BLOCK", _BLOCK, "STREAMS", *streams
        ).addCallbacks(
            self._replied, self._failed, callbackArgs=(redis,), errbackArgs=(redis,)
        ).addErrback(self._broken, redis)

    def _replied(self, reply: Any, redis: Connection) -> None:
        if redis is not self._redis:
            return
        streams = dict(reply or ())
        entries = streams.get(self._log_key, ())
        notices = streams.get(self._inbox_key, ())
        if entries:
            first = int(entries[0][0].partition(b"-")[0])
            self._log_id = entries[-1][0]
            if first != self.position + 1:
                self.position = first - 1
                self._gap()
        if notices:
            self._inbox_id = notices[-1][0]
        # Redis reads the next entries while these are dispatched.
        self._read()
        for identity, fields in entries:
            self._dispatch(identity, fields)
        for identity, fields in notices:
            try:
                self._noticed(notice(fields))
            except Exception:
                _log.failure("Acting on notice {identity} failed", identity=identity)
        if self._waiting:
            self._fire()

    def _dispatch(self, identity: bytes, fields: Sequence[bytes]) -> None:
        try:
            item = parse(identity, fields)
            self.position = item.position
            self._logged(item)
        except Exception:
            _log.failure("Dispatching entry {identity} failed", identity=identity)
            self.position = int(identity.partition(b"-")[0])

    def _fire(self) -> None:
        waiting, self._waiting = self._waiting, deque()
        for position, result in waiting:
            if self.position < position:
                self._waiting.append((position, result))
            elif not result.called:
                result.callback(None)

    def _failed(self, failure: Failure, redis: Connection) -> None:
        if not isinstance(failure.value, Lost):
            redis.reject(failure.value)

    def _broken(self, failure: Failure, redis: Connection) -> None:
        _log.failure("Dispatching entries of the log failed", failure)
        redis.abort()
