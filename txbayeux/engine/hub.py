"""The hub: the sessions that this process holds, their queues and connections.

Every engine has one.  It knows no storage: the engine opens and closes sessions and
dispatches entries in log order; the hub queues each entry for the sessions that are
subscribed to its channel, and writes the queues to the connections once per turn.

A reactor turn queues and writes only so much: an entry with many subscribers is queued
for some of them in each turn (:mod:`txbayeux.engine.large_entries`), those who dispatch
many entries wait for the next turn once :attr:`Hub.busy`, and the queues are written in
the order in which they filled, as many in each turn as :data:`TURN_WORK` allows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from math import inf
from typing import Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from txbayeux.engine.backlog import Backlog
from txbayeux.engine.expiry import ExpiryTimer
from txbayeux.engine.large_entries import SLICE, LargeEntries
from txbayeux.engine.listeners import Listeners
from txbayeux.engine.queue_limits import NOTHING_WRITTEN, QueueLimits
from txbayeux.engine.session import WRITE_BYTES, ConnectDelivery, Session
from txbayeux.engine.subscribers import Subscribers
from txbayeux.events import Reason
from txbayeux.interfaces import Clock, ConnectionHub, DelayedCall, Delivery, Stream
from txbayeux.limits import Limits
from txbayeux.log_limit import LogLimit
from txbayeux.message import Entry
from txbayeux.registration import Registration

__all__ = ["SMALL_FAN_OUT", "TURN_WORK", "WRITE_WORK", "Hub"]

TURN_WORK: Final = 20_000
"""Deliveries queued in one reactor turn, and work done in it to write queues.

Queueing takes 0.2 µs a session if its objects are in the processor's caches, so 5 ms
in all, and up to 1 µs if not; writing 1 µs.  The unit is one delivery written.
"""

WRITE_WORK: Final = 10
"""Work of one write to one connection, besides that of its deliveries."""

SMALL_FAN_OUT: Final = 100
"""Most deliveries of an entry that need not wait: the rest of it costs more."""

_NOT_ACKNOWLEDGED: Final = "Session closed - no message was acknowledged"
_REFUSED: Final = "Sessions refused: {count}, {total} since the start; there are {held}"

_log: Final = Logger()


class Hub:
    """Local sessions, an index from channels to them, and the flush.

    :param session_timeout: seconds a session lives after its connect's holding time.
    :param expired: called with a session that has timed out.
    :param overflowed: called with a session to be closed, and the reason to tell its
        client: its queue is over its limit, or it acknowledges nothing.
    :param returned: called with entries that a connection could not write, and their
        session, which another process holds by now.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        limits: Limits,
        session_timeout: float,
        expired: Callable[[Session], None],
        overflowed: Callable[[Session, str], None],
        returned: Callable[[Session, Sequence[Entry]], None] | None = None,
    ) -> None:
        self._clock = clock
        self._limits = limits
        self._session_timeout = session_timeout
        self._expired = expired
        self._returned = returned
        self.subscribers = Subscribers()
        self.listeners = Listeners()
        self.sessions: dict[str, Session] = {}
        """The sessions that this process holds, by id; read-only for others."""
        self._by_stream: dict[Stream, Session] = {}
        self._timers: ExpiryTimer[Session] = ExpiryTimer(clock, self._expire)
        self._backlog = Backlog()
        self._queue_limits = QueueLimits(
            clock, limits, self._backlog, flush=self._flush, overflowed=overflowed
        )
        self._large = LargeEntries()
        self._dirty: list[Session] = []
        self._flushing: Iterator[Session] | None = None  # those of a flush under way
        self._flush_position = self._flushed = 0  # where it began; what is flushed
        self._flush_call: DelayedCall | None = None
        self._flushes = 0
        self._turn: int | None = None  # during a flush
        self._queued = 0  # deliveries in this turn
        self.busy = False
        """See :attr:`txbayeux.interfaces.ConnectionHub.busy`."""
        self._waiting: deque[Deferred[None]] = deque()
        self._published = self._delivered = 0
        self.totals = dict.fromkeys(("expired", "refused", "refused_publishes"), 0)
        self._refused_log = LogLimit(clock, partial(_log.warn, _REFUSED))
        self.position = 0
        """Position of the last entry dispatched."""
        self._gone: list[Callable[[str], object]] = []
        self.lagging: set[Session] | None = None
        """Sessions with a queue after a flush; None if no engine reads it."""
        self.turn_ended: Callable[[], object] = lambda: None
        """Called after a turn in which queues were written."""

    # Sessions

    def has_room(self, opening: int = 0) -> bool:
        """Return whether one more session may be opened; count the refusal if not.

        :param opening: sessions that are about to be opened.
        """
        held = len(self.sessions)
        if held + opening < self._limits.sessions:
            return True
        self.totals["refused"] += 1
        self._refused_log.add(held=held, total=self.totals["refused"])
        return False

    def open(self, session: Session) -> None:
        """Hold a session; it must connect within ``session_timeout``."""
        self.sessions[session.id] = session
        session.backlog = self._backlog
        session.count()
        session.deadline = self._clock.seconds() + self._session_timeout
        for channel in session.subscriptions:
            self.subscribers.add(channel, session)
        self._timers.set(session, session.deadline)

    def close(self, session: Session, reason: Reason, why: str | None = None) -> None:
        """End a session: answer its held connect, close its stream."""
        self._forget(session)
        session.ended, session.why = reason, why
        session.clear()
        self._answer(session)
        self._close_stream(session, reason)

    def move(self, session: Session) -> None:
        """Release a session that another process has taken over, with its queue."""
        self.catch_up(session)
        self._forget(session)
        session.moved = True
        held, session.held = session.held, None
        if held is not None:
            held.callback(self._superseded(session))
        self._replace_stream(session, None)

    def leave(self, session: Session) -> None:
        """Release a session because this process stops.

        Its held connect is answered with the queue, its stream closed.
        """
        self.catch_up(session)
        self._forget(session)
        session.moved = True
        self._answer(session, inf)
        self._close_stream(session, Reason.SHUTDOWN)

    def _close_stream(self, session: Session, reason: Reason) -> None:
        stream, session.stream = session.stream, None
        if stream is not None:
            self._by_stream.pop(stream, None)
            try:
                stream.close(reason)
            except Exception:
                _log.failure("Closing the stream of {session} failed", session=session)

    def _forget(self, session: Session) -> None:
        self.sessions.pop(session.id, None)
        for callback in self._gone:
            callback(session.id)
        for channel in session.subscriptions:
            self.subscribers.remove(channel, session)
        self._timers.discard(session)
        self._large.take_for(session)
        self._queue_limits.full.pop(session, None)
        session.discount()
        session.backlog = None
        if self.lagging is not None:
            self.lagging.discard(session)

    def subscribe(self, session: Session, channels: Sequence[str]) -> None:
        """Queue what comes on ``channels`` for ``session`` from now on."""
        for channel in channels:
            session.subscriptions.add(channel)
            self.subscribers.add(channel, session)

    def unsubscribe(self, session: Session, channels: Sequence[str]) -> None:
        """Undo :meth:`subscribe`."""
        for channel in channels:
            session.subscriptions.discard(channel)
            self.subscribers.remove(channel, session)

    # Connections

    def connect(
        self,
        session: Session,
        *,
        hold: float,
        stream: Stream | None,
        acknowledged: int | None,
    ) -> Deferred[Delivery]:
        """See :meth:`txbayeux.interfaces.Engine.connect`."""
        stalled = session.acknowledges and not session.acknowledge(acknowledged)
        now = self._clock.seconds()
        session.hold_until = now + hold
        session.deadline = session.hold_until + self._session_timeout
        self._timers.set(session, session.hold_until if hold > 0 else session.deadline)
        held: Deferred[Delivery] = Deferred(session.withdraw)
        former, session.held = session.held, held
        # From here on callbacks run, which may do anything, even end the session.
        if former is not None:
            former.callback(self._superseded(session))
        if stalled and session.ended is None:
            self._queue_limits.overflow(session, _NOT_ACKNOWLEDGED)
            return held
        if session.ended is None:
            self._route(session, stream)
        if session.held is held:
            if hold <= 0:
                self._answer(session)
            elif session.waiting and session.answers_carry_messages:
                # At the end of this turn: with ten in flight, 8 µs each instead of 14.
                self._touch(session)
        return held

    def _route(self, session: Session, stream: Stream | None) -> None:
        """Attach the connect's stream, or detach a stream that polls preempt."""
        if stream is not None:
            self.attach(session, stream)
        elif session.stream is not None and session.stream.preempted_by_poll:
            self._replace_stream(session, None)

    def attach(self, session: Session, stream: Stream) -> None:
        """Deliver messages for ``session`` on ``stream``; the former stream is told."""
        if session.stream is stream:
            return
        other = self._by_stream.get(stream)
        if other is not None:
            self._unlink(other, stream)
        self._replace_stream(session, stream)
        self._touch(session)

    def detach(self, stream: Stream, unsent: Sequence[Entry] = ()) -> None:
        """See :meth:`txbayeux.interfaces.ConnectionHub.detach`."""
        session = self._by_stream.pop(stream, None)
        if session is not None:
            self._unlink(session, stream)
            self.give_back(session, unsent)

    def _unlink(self, session: Session, stream: Stream) -> None:
        """Deliver with connects again, such as one that was held beside ``stream``."""
        if session.stream is stream:
            session.stream = None
            if self.lagging is not None:
                self.lagging.add(session)
            self._touch(session)

    def resume(self, stream: Stream) -> None:
        """See :meth:`txbayeux.interfaces.ConnectionHub.resume`."""
        session = self._by_stream.get(stream)
        if session is not None and session.stream is stream:
            self._touch(session)

    def listen(self, pattern: str, listener: Callable[[Entry], object]) -> Registration:
        """See :meth:`txbayeux.interfaces.ConnectionHub.listen`."""
        return self.listeners.add(pattern, listener)

    def call_when_gone(self, callback: Callable[[str], object]) -> None:
        """See :meth:`txbayeux.interfaces.ConnectionHub.call_when_gone`."""
        self._gone.append(callback)

    # Messages

    def dispatch(self, entry: Entry) -> int:
        """Queue ``entry`` for every session that is subscribed; return their number.

        Whoever subscribed before gets it, and whoever does so afterwards does not,
        however many turns it takes to queue it for all.
        """
        self.position = entry.position
        self._published += 1
        subscribers = self.subscribers.matching(entry.channel)
        count = len(subscribers)
        self._queued = queued = self._queued + count
        if queued >= TURN_WORK:
            self.busy = True
        if count > SLICE:
            self._dispatch_large(entry, subscribers)
        elif count:
            if self._large.entries:
                for session in subscribers:
                    self.catch_up(session)
            self._queue(entry, subscribers)
        if self.listeners.exist:
            self.listeners.queue(entry)
        if self._flush_call is None:
            self._schedule()
        if self._queue_limits.full:
            self._queue_limits.enforce_full()
        return count

    def _dispatch_large(self, entry: Entry, subscribers: Collection[Session]) -> None:
        if self._large.full:
            self._queue(*self._large.take(inf))
        self._large.add(entry, subscribers)
        self.busy = True

    def _queue(self, entry: Entry, sessions: Collection[Session]) -> None:
        """Queue ``entry`` for these sessions; see :data:`TURN_WORK` for the time."""
        size = len(entry.json)
        messages, octets = self._limits.queue_messages, self._limits.queue_bytes
        dirty = self._dirty
        full: list[Session] = []
        for session in sessions:
            queue = session.queue
            queue.append(entry)
            session.queued_bytes = waiting = session.queued_bytes + size
            if not session.dirty:
                session.dirty = True
                dirty.append(session)
            if len(queue) > messages or waiting > octets:
                full.append(session)
        if full:
            self._queue_limits.full.update(dict.fromkeys(full))

    def catch_up(self, session: Session) -> None:
        """Queue what was dispatched for ``session`` and waits for a later turn."""
        if self._large.entries:
            for entry in self._large.take_for(session):
                self._queue(entry, (session,))

    def deliver(self, session: Session, entry: Entry) -> None:
        """Queue ``entry`` for one session."""
        self.position = entry.position
        self.catch_up(session)
        self._queue(entry, (session,))
        self._schedule()
        self.enforce_limits(session)

    def give_back(self, session: Session, entries: Sequence[Entry]) -> None:
        """Queue entries again that could not be written, ahead of later ones."""
        if session.moved:
            if self._returned is not None and entries and not session.acknowledges:
                self._returned(session, entries)
            return
        if entries and session.ended is None and not session.acknowledges:
            session.put_back(entries)
            self._touch(session)
            self.enforce_limits(session)

    def enforce_limits(self, session: Session) -> None:
        """Deliver now if the queue is over its limit; close the session otherwise."""
        self._queue_limits.enforce(session)

    def stop(self) -> None:
        """Leave nothing in the reactor; to be called when publishes are refused."""
        self._queued, self.busy = 0, False
        self._fire_waiting()
        for part in (self._timers, self._queue_limits, self._refused_log):
            part.stop()
        if self._flush_call is not None and self._flush_call.active():
            self._flush_call.cancel()
        self._flush_call = None

    def statistics(self) -> dict[str, int]:
        """Return what the sessions hold now, and totals since the start."""
        sessions = self.sessions.values()
        return {
            "sessions": len(sessions),
            "subscriptions": sum(len(session.subscriptions) for session in sessions),
            "held": sum(session.held is not None for session in sessions),
            "streams": sum(session.stream is not None for session in sessions),
            "queued_messages": sum(len(session.queue) for session in sessions),
            "queued_bytes": sum(session.queued_bytes for session in sessions),
            "backlog_bytes": self._backlog.size,
            "published_total": self._published,
            "delivered_total": self._delivered,
            "overflowed_total": self._queue_limits.closed,
            **{f"{name}_total": total for name, total in self.totals.items()},
        }

    # Turns

    def reaches_many(self, channel: str) -> bool:
        """Return whether more sessions subscribe than need not wait."""
        return self.fan_out(channel) > SMALL_FAN_OUT

    def fan_out(self, channel: str) -> int:
        """See :meth:`txbayeux.interfaces.ConnectionHub.fan_out`."""
        return self.subscribers.count(channel)

    def must_wait(self, channel: str, *, first: bool) -> bool:
        """See :meth:`txbayeux.interfaces.ConnectionHub.must_wait`."""
        if not self.busy or not self.reaches_many(channel):
            return False
        return not first or self._queued >= TURN_WORK or self._large.full

    def next_turn(self) -> Deferred[None]:
        """See :meth:`txbayeux.interfaces.ConnectionHub.next_turn`."""
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        self._schedule()
        return waiting

    def may_deliver(self, count: int) -> bool:
        """See :meth:`txbayeux.interfaces.ConnectionHub.may_deliver`."""
        if count <= self._limits.request_deliveries:
            return True
        self.totals["refused_publishes"] += 1
        return False

    def _fire_waiting(self) -> None:
        for _ in range(len(self._waiting)):
            if self._queued >= TURN_WORK:
                return
            self._waiting.popleft().callback(None)

    # The flush

    def _touch(self, session: Session) -> None:
        if not session.dirty:
            session.dirty = True
            self._dirty.append(session)
        self._schedule()

    def _schedule(self) -> None:
        # At the end of this reactor turn: what arrives in it goes out in one write, and
        # a connection that closed in it is known to be closed.
        if self._flush_call is None and (
            self._dirty
            or self._flushing is not None
            or self._large.entries
            or self.listeners.pending
            or self._waiting
            or self._queue_limits.exceeded
        ):
            self._flush_call = self._clock.callLater(0, self._end_turn)

    def _end_turn(self) -> None:
        self._flush_call = None
        self._queued = 0
        if self._large.entries:
            self._queue(*self._large.take(SLICE))
        self.busy = bool(self._large.entries)
        self._flush_some(TURN_WORK)
        if self.listeners.pending:
            self.listeners.call()
        if self._queue_limits.exceeded:
            self._queue_limits.enforce_some(self.sessions.values())
        if self._waiting:
            self._fire_waiting()
        self._schedule()
        self.turn_ended()

    def flush(self) -> None:
        """Deliver now what would be delivered in the following reactor turns."""
        while self._large.entries:
            self._queue(*self._large.take(inf))
        if self._flushing is not None:
            self._flush_some(inf, inf)
        self._flush_some(inf, inf)
        self.listeners.call()

    @property
    def flushed(self) -> int:
        """The position up to which each session was sent everything, or is lagging."""
        if not self._dirty and self._flushing is None:
            self._flushed = self._large.last_before(self.position)
        return self._flushed

    def restart(self, position: int) -> None:
        """Continue at ``position`` of another log."""
        self._large.clear()
        self.position = self._flush_position = self._flushed = position

    def _flush_some(self, work: float, octets: float = WRITE_BYTES) -> None:
        """Write the queues that have filled before the flush began, or some of them."""
        if self._flushing is None:
            self._flushing, self._dirty = iter(self._dirty), []
            self._flush_position = self._large.last_before(self.position)
        self._turn = self._flushes = self._flushes + 1
        for session in self._flushing:
            work -= self._flush(session, octets)
            if work <= 0:
                break
        else:
            self._flushing = None
            self._flushed = self._flush_position
        self._turn = None

    def _flush(self, session: Session, octets: float = WRITE_BYTES) -> int:
        """Deliver what is queued, if there is a connection; return the work it was."""
        session.dirty = False
        stream, work = session.stream, NOTHING_WRITTEN
        if stream is None or session.acknowledges:
            if session.held is not None and session.waiting:
                work = WRITE_WORK + self._answer(session, octets)
        elif stream.writable and session.queue:
            entries = session.take(octets)
            count = len(entries)
            work = WRITE_WORK + count
            self._delivered += count
            try:
                stream.send(entries)
            except Exception:
                _log.failure("Sending to {session} failed", session=session)
                self.detach(stream, unsent=entries)
        if session.queue and not session.moved:
            self._keep(session, work)
        return work

    def _keep(self, session: Session, work: int) -> None:
        """Count what a flush left in a queue; write the rest in a later turn."""
        stream, queue = session.stream, session.queue
        if stream is not None and work > NOTHING_WRITTEN and stream.writable:
            self._touch(session)
        if len(queue) - session.counted == 1:  # the usual case
            session.counted += 1
            self._backlog.add_one(queue[-1])
        else:
            session.count()
        if self.lagging is not None:
            self.lagging.add(session)

    def _answer(self, session: Session, octets: float = WRITE_BYTES) -> int:
        """Answer a held connect; return with how many messages."""
        held = session.held
        if held is None:
            return 0
        session.held = None
        entries: Sequence[Entry] = ()
        if session.answers_carry_messages:
            self.catch_up(session)
            entries = session.take(octets)
            self._delivered += len(entries)
            if not session.waiting:  # Everything in the log for it has been sent.
                session.seen = max(session.seen, self.position)
        # Calls Server._respond_to_connect, or answer_connect for a connect in a batch,
        # and then the adapter's _released.
        held.callback(
            ConnectDelivery(
                entries=entries,
                acknowledgement=session.seen if session.acknowledges else None,
                superseded=False,
                ended=session.ended,
                why=session.why,
                returned=partial(self.give_back, session) if entries else None,
                turn=self._turn,
            )
        )
        return len(entries)

    def _superseded(self, session: Session) -> ConnectDelivery:
        # By another connect.  It carries no messages: its connection may be dead.
        seen = session.seen if session.acknowledges else None
        return ConnectDelivery(entries=(), acknowledgement=seen, superseded=True)

    def _replace_stream(self, session: Session, stream: Stream | None) -> None:
        former = session.stream
        session.stream = stream
        if stream is not None:
            self._by_stream[stream] = session
        # The former one is kept until it is detached: it may return unsent entries.
        if former is not None:
            try:
                former.replaced()
            except Exception:
                _log.failure(
                    "Notifying the replaced stream of {session} failed", session=session
                )

    def _expire(self, session: Session) -> float | None:
        now = self._clock.seconds()
        if session.held is not None:
            if session.hold_until > now:
                return session.hold_until
            self._answer(session)
        if session.ended is not None:
            return None
        if session.deadline > now:
            return session.deadline
        self.totals["expired"] += 1
        self._expired(session)
        return None


_: type[ConnectionHub] = Hub
