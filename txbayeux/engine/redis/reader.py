"""The reader of the log and of this node's inbox, on a connection of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeGuard

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from txbayeux.engine.redis.errors import Lost
from txbayeux.engine.redis.log import Logged, notice, parse, position_of
from txbayeux.errors import unavailable
from txbayeux.interfaces import Clock, ConnectionHub
from txbayeux.log_limit import LogLimit

if TYPE_CHECKING:
    from txbayeux.engine.redis.connection import Connection

__all__ = ["Reader"]

_COUNT: Final = 100
"""Maximum entries in one reply."""

_BLOCK: Final = 1000
"""Milliseconds that XREAD blocks: its reply shows that the connection is alive."""

_LAST: Final = 2**64 - 1

_FOREIGN: Final = (
    "Skipped entries in Redis that are broken, or not of this service: {count}, "
    "{total} since the start"
)

Notices: TypeAlias = Sequence[tuple[bytes, Sequence[bytes]]]
"""Ids and fields of entries of the inbox."""

Parsed: TypeAlias = tuple[bytes, Logged | None]
"""The id of an entry of the log, and the entry; None for one of others."""

Received: TypeAlias = tuple[bytes, Logged]
"""The id of an entry of the log, and the entry."""

_log: Final = Logger()


class Reader:
    """Follows the log and the inbox.

    Where the entries of a reply reach many sessions, the rest of them waits for later
    reactor turns, and the next reply for it.

    :param hub: says when to wait.
    :param dispatch: called with each entry of the log, in order.
    :param take_notice: called with each notice of the inbox.
    :param gap: called when entries were dropped from the log before they were read.
    :param clean: removes entries that others appended; fires with the log's position.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        hub: ConnectionHub,
        dispatch: Callable[[Logged], None],
        take_notice: Callable[[Mapping[str, str]], None],
        gap: Callable[[], None],
        clean: Callable[[], Deferred[int]],
    ) -> None:
        self._clean = clean
        self._hub = hub
        self._dispatch = dispatch
        self._take_notice = take_notice
        self._gap = gap
        self._redis: Connection | None = None
        self._log_key = self._inbox_key = b""
        # Of what was dispatched last, and of what was received last.
        self._log_dispatched = self._inbox_dispatched = b"0-0"
        self._log_received = self._inbox_received = b"0-0"
        # Not dispatched yet:
        self._undispatched: deque[Received] = deque()
        self._notices: deque[tuple[bytes, Sequence[bytes]]] = deque()
        self._reading = False
        self._expected = 1
        """Position of the next entry to be received."""
        self.foreign = 0
        """Entries that were skipped, because others made or broke them."""
        self._foreign_log = LogLimit(clock, partial(_log.error, _FOREIGN))
        self._waiting: deque[tuple[int, Deferred[None]]] = deque()
        self.position = 0
        self._known = 0

    @property
    def seen(self) -> tuple[int, int] | None:
        """Position and token of the last entry that was read; None before the first."""
        position, _, token = self._log_dispatched.partition(b"-")
        if int(position) == 0 or int(token) == _LAST:
            return None
        return int(position), int(token)

    def begin(self, log: str, inbox: str, position: int) -> None:
        """Follow another log; fail the Deferreds for positions of the old one."""
        self.abandon()
        self._log_key, self._inbox_key = log.encode(), inbox.encode()
        self._inbox_dispatched = self._inbox_received = b"0-0"
        self.position = self._known = position
        self._expected = position + 1
        self._log_dispatched = self._log_received = b"%d-%d" % (position, _LAST)
        self._undispatched.clear()
        self._notices.clear()

    def begin_inbox(self) -> None:
        """Read the inbox from its start: it was made anew."""
        self._inbox_dispatched = self._inbox_received = b"0-0"

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
        self._undispatched.clear()
        self._notices.clear()
        self._log_received, self._inbox_received = (
            self._log_dispatched,
            self._inbox_dispatched,
        )
        self._expected = self.position + 1

    def note(self, position: int) -> None:
        """Note that the log has reached ``position``.

        A connect with ``hold=0`` waits until that is read.
        """
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

    def stop(self) -> None:
        """Fail these Deferreds, and leave nothing in the reactor."""
        self.abandon()
        self._foreign_log.stop()

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
        try:
            streams = dict(reply or ())
            notices = streams.get(self._inbox_key, ())
            for identity, _ in notices:
                position_of(identity)
            entries = [
                (identity, parse(identity, fields))
                for identity, fields in streams.get(self._log_key, ())
            ]
        except (AttributeError, IndexError, TypeError, ValueError):
            redis.reject(f"an invalid reply to XREAD: {reply!r:.100}")
            return
        if self._are_next(entries):
            if entries:
                self._log_received = entries[-1][0]
            self._receive(redis, entries, notices)
            return
        # Entries were dropped, or others appended some.
        arguments = redis, self._log_key, entries, notices
        cleaning = self._clean().addCallbacks(
            self._sort_out, lambda _: redis.abort(), callbackArgs=arguments
        )
        cleaning.addErrback(self._broken, redis)

    def _are_next(self, entries: list[Parsed]) -> TypeGuard[list[Received]]:
        """Return whether these follow what was received, without a gap."""
        position = self._expected
        for _, item in entries:
            if item is None or item.position != position:
                return False
            position += 1
        return True

    def _sort_out(
        self,
        last: int,
        redis: Connection,
        key: bytes,
        entries: Sequence[Parsed],
        notices: Notices,
    ) -> None:
        """Skip entries of others: broken, out of order, or after ``last``.

        :param last: the log's position; what others appended after it is removed.
        :param key: the log's key when these were read.
        """
        if redis is not self._redis:
            return
        if key != self._log_key:
            entries, notices = (), ()
        received: list[Received] = []
        expected, skipped = self._expected, b""
        for identity, item in entries:
            position = position_of(identity)
            if position > last:
                continue
            if item is not None and position >= expected:
                expected = position + 1
                self._log_received = identity
                received.append((identity, item))
            elif position < expected:
                self._log_received = identity
            else:
                # If it was removed, the next entry may have a smaller id.
                skipped = identity
        if not received and skipped and len(entries) == _COUNT:
            self._log_received = skipped
        if len(received) < len(entries):
            self._count_foreign(len(entries) - len(received))
        self._receive(redis, received, notices)

    def _receive(
        self, redis: Connection, entries: Sequence[Received], notices: Notices
    ) -> None:
        self._reading = False
        paused = bool(self._undispatched or self._notices)
        if entries:
            self._expected = entries[-1][1].position + 1
        if notices:
            self._inbox_received = notices[-1][0]
        self._undispatched += entries
        self._notices += notices
        if not paused:
            # Redis reads the next entries while these are dispatched.
            self._read()
            self._dispatch_received(redis)

    def _dispatch_received(self, redis: Connection) -> None:
        """Dispatch what was received; the rest of it in a later turn of the reactor."""
        received, hub = self._undispatched, self._hub
        while received and not hub.busy:
            self._log_dispatched, item = received.popleft()
            if item.position != self.position + 1:
                self.position = item.position - 1
                self._gap()
            self.position = item.position
            try:
                self._dispatch(item)
            except Exception:
                _log.failure(
                    "Dispatching entry {position} failed", position=item.position
                )
        if received:
            waiting = hub.next_turn()
            waiting.addCallback(lambda _: self._resume(redis))
            waiting.addErrback(self._broken, redis)
        else:
            while self._notices:
                self._notice(*self._notices.popleft())
            self._read()
        if self._waiting:
            self._fire()

    def _resume(self, redis: Connection) -> None:
        if redis is self._redis:
            self._dispatch_received(redis)

    def _notice(self, identity: bytes, fields: Sequence[bytes]) -> None:
        self._inbox_dispatched = identity
        try:
            self._take_notice(notice(fields))
        except Exception as error:
            _log.debug("Notice {identity}: {error!r}", identity=identity, error=error)
            self._count_foreign(1)

    def _count_foreign(self, count: int) -> None:
        self.foreign += count
        self._foreign_log.add(count, total=self.foreign)

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
