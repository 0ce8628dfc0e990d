"""The reader of the log and of this node's inbox, on a connection of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from txbayeux.engine.redis.errors import Lost
from txbayeux.engine.redis.log import Logged, notice, parse
from txbayeux.errors import unavailable
from txbayeux.interfaces import ConnectionHub

if TYPE_CHECKING:
    from txbayeux.engine.redis.connection import Connection

__all__ = ["Reader"]

_COUNT: Final = 100
"""Maximum entries in one reply."""

_BLOCK: Final = 1000
"""Milliseconds that XREAD blocks: its reply shows that the connection is alive."""

_LAST: Final = 2**64 - 1

_log: Final = Logger()


class Reader:
    """Follows the log and the inbox.

    Where the entries of a reply reach many sessions, the rest of them waits for later
    reactor turns, and the next reply for it.

    :param hub: says when to wait.
    :param logged: called with each entry of the log, in order.
    :param noticed: called with each notice of the inbox.
    :param gap: called when entries were dropped from the log before they were read.
    """

    def __init__(
        self,
        *,
        hub: ConnectionHub,
        logged: Callable[[Logged], None],
        noticed: Callable[[Mapping[str, str]], None],
        gap: Callable[[], None],
    ) -> None:
        self._hub = hub
        self._logged = logged
        self._noticed = noticed
        self._gap = gap
        self._redis: Connection | None = None
        self._log_key = self._inbox_key = b""
        # Of what was dispatched last, and of what was received last.
        self._log_id = self._inbox_id = b"0-0"
        self._log_received = self._inbox_received = b"0-0"
        self._received: deque[Callable[[], None]] = deque()  # not dispatched yet
        self._reading = False
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
        self._inbox_id = self._inbox_received = b"0-0"
        self.position = self._known = position
        self._log_id = self._log_received = b"%d-%d" % (position, _LAST)
        self._received.clear()

    def follow(self, redis: Connection) -> None:
        """Start reading on this connection."""
        self._redis = redis
        self._reading = False
        self._read()

    def down(self) -> None:
        """Stop reading: the connection is lost.

        What was not dispatched is read again on the next one.
        """
        self._redis = None
        self._received.clear()
        self._log_received, self._inbox_received = self._log_id, self._inbox_id

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
        if redis is None or self._reading:
            return
        self._reading = True
        ids = (self._log_received, self._inbox_received)
        streams = (self._log_key, self._inbox_key, *ids)
        redis.execute_command(
            "XREAD", "COUNT", _COUNT, "BLOCK", _BLOCK, "STREAMS", *streams
        ).addCallbacks(
            self._replied, self._failed, callbackArgs=(redis,), errbackArgs=(redis,)
        ).addErrback(self._broken, redis)

    def _replied(self, reply: Any, redis: Connection) -> None:
        if redis is not self._redis:
            return
        self._reading = False
        streams = dict(reply or ())
        entries = streams.get(self._log_key, ())
        notices = streams.get(self._inbox_key, ())
        paused = bool(self._received)
        if entries:
            self._log_received = entries[-1][0]
            self._received.append(partial(self._check, entries[0][0]))
        if notices:
            self._inbox_received = notices[-1][0]
        self._received += [partial(self._dispatch, *entry) for entry in entries]
        self._received += [partial(self._notice, *entry) for entry in notices]
        if not paused:
            # Redis reads the next entries while these are dispatched.
            self._read()
            self._dispatch_received(redis)

    def _dispatch_received(self, redis: Connection) -> None:
        """Dispatch what was received; the rest of it in a later turn of the reactor."""
        while self._received:
            if self._hub.busy:
                waiting = self._hub.next_turn()
                waiting.addCallback(lambda _: self._resume(redis))
                waiting.addErrback(self._broken, redis)
                break
            self._received.popleft()()
        else:
            self._read()
        if self._waiting:
            self._fire()

    def _resume(self, redis: Connection) -> None:
        if redis is self._redis:
            self._dispatch_received(redis)

    def _check(self, identity: bytes) -> None:
        """Check that a reply's first entry follows what was read before."""
        first = int(identity.partition(b"-")[0])
        if first != self.position + 1:
            self.position = first - 1
            self._gap()

    def _notice(self, identity: bytes, fields: Sequence[bytes]) -> None:
        self._inbox_id = identity
        try:
            self._noticed(notice(fields))
        except Exception:
            _log.failure("Acting on notice {identity} failed", identity=identity)

    def _dispatch(self, identity: bytes, fields: Sequence[bytes]) -> None:
        self._log_id = identity
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
