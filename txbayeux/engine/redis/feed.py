"""The feed of this node: what Redis sends to it, on a connection of its own.

See ``docs/explanation/routing.md``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from txbayeux.engine.redis.log import Logged, Mark, notice, parse, position_of
from txbayeux.engine.redis.window import PART, LogGap, LogWindow
from txbayeux.errors import unavailable
from txbayeux.interfaces import Clock, ConnectionHub
from txbayeux.log_limit import LogLimit

if TYPE_CHECKING:
    from txbayeux.engine.redis.connection import FeedConnection

__all__ = ["Feed"]

_MAX_WAITING: Final = 8 * 1024 * 1024
"""Bytes that wait to be dispatched, above which the connection is not read."""

_FOREIGN: Final = (
    "Skipped entries in Redis that are broken, or not of this service: {count}, "
    "{total} since the start"
)

_log: Final = Logger()


@dataclass(frozen=True, slots=True)
class _Publication:
    """Entries that were sent to this node by one script call."""

    previous: int
    """Position of the last entry that was sent before."""
    entries: Sequence[Logged]
    mark: Mark
    size: int


@dataclass(frozen=True, slots=True)
class _Notice:
    """An entry of the inbox."""

    number: int
    fields: Sequence[bytes]
    size: int


_Received: TypeAlias = _Publication | _Notice


class Feed:
    """Dispatches what is published on the feed, and reads what is missing from the log.

    Where entries reach many sessions, the rest waits for later reactor turns.

    :param hub: says when to wait.
    :param window: reads the log.
    :param dispatch: called with each entry, in the order of the log.
    :param take_notice: called with each notice.
    :param advance: called with the position that was reached without an entry.
    :param gap: called when entries were dropped from the log before they were read.
    :param missed: called when something is missing: the node gets a mark, and calls
        :meth:`catch_up` and :meth:`follow`.
    :param missed_notices: called with the number of the last notice before the missing
        ones.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        hub: ConnectionHub,
        window: LogWindow,
        dispatch: Callable[[Logged], None],
        take_notice: Callable[[Mapping[str, str]], None],
        advance: Callable[[int], None],
        gap: Callable[[], None],
        missed: Callable[[], None],
        missed_notices: Callable[[int], None],
    ) -> None:
        self._hub = hub
        self._window = window
        self._dispatch = dispatch
        self._take_notice = take_notice
        self._advance_to = advance
        self._gap = gap
        self._missed = missed
        self._missed_notices = missed_notices
        self._connection: FeedConnection | None = None
        self._epoch = b""
        self.following = False
        """Whether what is received continues what was dispatched."""
        self._held: deque[_Received] = deque()  # while it does not
        self._undispatched: deque[Logged | _Received] = deque()
        self._bytes = 0  # of both
        self._paused = self._waits = False
        self._received = 0  # position of the last entry that was received
        self.notices = 0
        """Number of the last notice that was received."""
        self._known = 0
        self._mark: Mark | None = None
        self._waiting: deque[tuple[int, Deferred[None]]] = deque()
        self.sent = 0
        """Position of the last entry that was dispatched."""
        self.position = 0
        """The position up to which nothing for this node is missing."""
        self.seen: tuple[int, int] | None = None
        """A position, and the token of the entry there; None if none is known."""
        self._removed = 0
        self.foreign = 0
        """Entries that were skipped, because others made or broke them."""
        self._foreign_log = LogLimit(clock, partial(_log.error, _FOREIGN))

    def begin(self, epoch: str, mark: Mark) -> None:
        """Begin with another log; fail the Deferreds for positions of the old one."""
        self.abandon()
        self._epoch = epoch.encode()
        self._drop()
        self.following = False
        self.sent = self._received = self._known = mark.sent
        self.position = mark.position
        self.notices = 0
        self._mark = self.seen = None
        self._see(mark)

    def connected(self, connection: FeedConnection) -> None:
        """Take what comes on this connection."""
        self._connection = connection
        connection.on_message = self.receive

    def unfollow(self) -> None:
        """Stop following: Redis may not know what this node wants."""
        self.following = False
        self._drop()

    def down(self) -> None:
        """Stop: the connection is lost.  What was not dispatched is read again."""
        self._connection = None
        self._paused = False
        self.unfollow()

    def _drop(self) -> None:
        """Drop what was not dispatched: it is read again."""
        for item in self._undispatched:
            if isinstance(item, _Notice):
                self.notices = min(self.notices, item.number - 1)
        self._undispatched.clear()
        self._held.clear()
        self._bytes = 0
        self._received = self.sent

    # How far this node has come

    def note(self, sent: int) -> None:
        """Note that the entry at ``sent`` was sent to this node.

        A connect with ``hold=0`` waits until it is dispatched.
        """
        self._known = max(self._known, sent)

    def sent_notices(self, number: int) -> None:
        """Note how many notices were sent to this node: Redis may count anew.

        While this node follows its feed, it may have received more since.
        """
        if not self.following:
            self.notices = min(self.notices, number)

    def advance(self, mark: Mark) -> None:
        """Note a mark: the position follows as soon as its last entry is dispatched."""
        self.note(mark.sent)
        if self.sent >= mark.sent and self.following:
            self._reach(mark)
        elif self._mark is None or mark.position > self._mark.position:
            self._mark = mark

    def _reach(self, mark: Mark) -> None:
        self.sent = max(self.sent, mark.sent)
        if mark.position >= self.position:
            self.position = mark.position
            self._see(mark)
            self._advance_to(mark.position)

    def _see(self, mark: Mark) -> None:
        if mark.token is not None:
            self.seen = mark.position, mark.token

    @property
    def behind(self) -> bool:
        """Whether entries are known to have been sent that were not dispatched yet."""
        return self.sent < self._known

    def caught_up(self) -> Deferred[None]:
        """Return a Deferred that fires when they are dispatched."""
        return self.reached(self._known)

    def reached(self, sent: int) -> Deferred[None]:
        """Return a Deferred that fires when the entry at ``sent`` is dispatched.

        It fails with :class:`~txbayeux.errors.BayeuxError` 503 if that cannot happen.
        """
        if self.sent >= sent and self.following:
            return succeed(None)
        if self._epoch == b"":
            return fail(unavailable())
        result: Deferred[None] = Deferred()
        self._waiting.append((sent, result))
        return result

    def wait_for(self, mark: Mark) -> Deferred[None]:
        """Return a Deferred that fires when :attr:`position` has come to a mark.

        It fails as that of :meth:`reached` does.
        """
        self.advance(mark)
        # Again, since a later mark may have taken its place meanwhile.
        return self.reached(mark.sent).addCallback(lambda _: self.advance(mark))

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

    # What is missing

    async def catch_up(self, mark: Mark, *, whole: bool) -> None:
        """Dispatch what was sent to this node, or all, up to a mark, from the log.

        :param whole: whether Redis may not have known what this node wants.
        :raises BayeuxError: 503.
        """
        connection, epoch = self._connection, self._epoch
        if not whole and mark.sent <= self.sent:
            return
        while self.position < mark.position:
            first = self.position + 1
            try:
                part = await self._window.read(
                    first, min(mark.position, first + PART - 1)
                )
            except LogGap:
                self._check(connection, epoch)
                self.position = mark.position
                self._gap()
                break
            for item in part:
                while self._hub.busy:
                    await self._hub.next_turn()
                self._check(connection, epoch)
                self._dispatch_entry(item)

    def _check(self, connection: FeedConnection | None, epoch: bytes) -> None:
        if connection is not self._connection or epoch != self._epoch:
            raise unavailable()

    def follow(self, mark: Mark) -> None:
        """Go on with what was received after ``mark``; all before it is dispatched."""
        self.following = True
        self._received = mark.sent
        self._reach(mark)
        held, self._held, self._bytes = self._held, deque(), 0
        for item in held:
            self._accept(item)
        self._missed_notices(self.notices)
        self._dispatch_undispatched()

    # What is received

    def receive(self, payload: bytes) -> None:
        """Take a publication."""
        try:
            item = self._parse(payload)
        except (AttributeError, TypeError, ValueError):  # It need not be bytes.
            self._count_foreign(1)
            return
        if item is not None:
            self._accept(item)
            self._dispatch_undispatched()

    def _parse(self, payload: bytes) -> _Received | None:
        """Parse what ``close.lua`` and ``notify()`` of ``sessions.lua`` publish.

        Texts have a NUL between them, which is in none of them; an empty text comes
        before each entry.

        :raises ValueError: for what they do not.
        """
        head, _, rest = payload.partition(b"\0\0")
        epoch, position, number = head.split(b"\0")
        if epoch != self._epoch:
            return None
        if position == b"notice":
            return _Notice(int(number), rest.split(b"\0"), len(payload))
        identity, entries = b"", list[Logged]()
        for text in rest.split(b"\0\0"):
            identity, _, fields = text.partition(b"\0")
            entry = parse(identity, fields.split(b"\0"))
            if entry is None:
                raise ValueError
            entries.append(entry)
        token = int(identity.partition(b"-")[2])
        mark = Mark(int(position), token, entries[-1].position)
        return _Publication(int(number), entries, mark, len(payload))

    def _accept(self, item: _Received) -> None:
        if not self.following:
            self._hold(item)
        elif isinstance(item, _Notice):
            if item.number == self.notices + 1:
                self.notices = item.number
                self._undispatched.append(item)
                self._bytes += item.size
            elif item.number > self.notices:
                self._missed_notices(self.notices)
        elif item.previous == self._received:
            self._received = item.mark.sent
            self._undispatched += item.entries
            self._undispatched.append(item)
            self._bytes += item.size
        elif item.mark.sent > self._received:
            # Others have published, or Redis has lost something.
            self.following = False
            self._drop()
            self._hold(item)
            self._missed()

    def _hold(self, item: _Received) -> None:
        self._held.append(item)
        self._bytes += item.size

    def take_inbox(self, entries: Sequence[tuple[bytes, Sequence[bytes]]]) -> bool:
        """Take the notices after the last one; return whether all are there."""
        complete = True
        for identity, fields in entries:
            number = position_of(identity)
            if number > self.notices:
                complete &= number == self.notices + 1
                self.notices = number
                self._undispatched.append(_Notice(number, fields, 0))
        self._dispatch_undispatched()
        return complete

    def _pause_or_resume(self) -> None:
        if self._connection is None:
            return
        if not self._paused and self._bytes > _MAX_WAITING:
            self._paused = True
            self._connection.pause()
        elif self._paused and self._bytes <= _MAX_WAITING / 2:
            self._paused = False
            self._connection.resume()

    # Dispatching

    def _dispatch_undispatched(self) -> None:
        """Dispatch what was received; the rest of it in a later turn of the reactor."""
        undispatched, hub = self._undispatched, self._hub
        while undispatched and self.following and not hub.busy:
            item = undispatched.popleft()
            if isinstance(item, _Publication):
                self._bytes -= item.size
                self._reach(item.mark)
            elif isinstance(item, _Notice):
                self._bytes -= item.size
                self._notice(item)
            else:
                self.sent = item.position
                self._dispatch_entry(item)
        if undispatched and self.following and not self._waits:
            self._waits = True
            waiting = hub.next_turn()
            waiting.addCallback(lambda _: self._resume())
            waiting.addErrback(self._broken)
        self._pause_or_resume()
        mark = self._mark
        if mark is not None and self.following and self.sent >= mark.sent:
            self._mark = None
            self._reach(mark)
        if self._waiting and self.following:
            self._fire()

    def _resume(self) -> None:
        self._waits = False
        self._dispatch_undispatched()

    def _dispatch_entry(self, item: Logged) -> None:
        self.position = item.position
        try:
            self._dispatch(item)
        except Exception:
            _log.failure("Dispatching entry {position} failed", position=item.position)

    def _notice(self, item: _Notice) -> None:
        try:
            self._take_notice(notice(item.fields))
        except Exception as error:
            _log.debug("Notice {number}: {error!r}", number=item.number, error=error)
            self._count_foreign(1)

    def removed_foreign(self, total: int, *, new: bool = False) -> None:
        """Count entries of others that were removed from Redis.

        :param total: how many there were in all.
        :param new: whether this node counts from here.
        """
        count, self._removed = total - self._removed, total
        if count > 0 and not new:
            self._count_foreign(count)

    def _count_foreign(self, count: int) -> None:
        self.foreign += count
        self._foreign_log.add(count, total=self.foreign)

    def _fire(self) -> None:
        waiting, self._waiting = self._waiting, deque()
        for sent, result in waiting:
            if self.sent < sent:
                self._waiting.append((sent, result))
            elif not result.called:
                result.callback(None)

    def _broken(self, failure: Failure) -> None:
        _log.failure("Dispatching entries of the feed failed", failure)
        if self._connection is not None:
            self._connection.abort()
