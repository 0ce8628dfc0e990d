"""The sessions that this node owns: created, acquired from other nodes, released."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Final, cast

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from txbayeux.engine.hub import Hub
from txbayeux.engine.redis.acquisition import (
    Acquisition,
    OwnedSession,
    Progress,
    Returned,
    SessionEnded,
    Superseded,
    progress_of,
    wait_for_predecessor,
)
from txbayeux.engine.redis.commands import Argument, Commands
from txbayeux.engine.redis.feed import Feed
from txbayeux.engine.redis.interest import Interest
from txbayeux.engine.redis.log import Addressed, Change, Mark, Tail, missed_entries
from txbayeux.engine.redis.options import RedisOptions
from txbayeux.engine.redis.window import PART, LogGap, LogWindow
from txbayeux.engine.session import Session
from txbayeux.errors import (
    BayeuxError,
    TooManySessions,
    UnknownSession,
    unavailable,
)
from txbayeux.events import Reason
from txbayeux.message import Entry

__all__ = ["SessionOwner"]

_log: Final = Logger()


class SessionOwner:
    """The sessions of one node.

    :param lost: called with a session, and the generation that this node owns it with,
        when entries that it needs were dropped; returns the error for its client.
    """

    def __init__(
        self,
        clock: Any,
        options: RedisOptions,
        *,
        hub: Hub,
        commands: Commands,
        feed: Feed,
        tail: Tail,
        window: LogWindow,
        interest: Interest,
        session_timeout: float,
        lost: Callable[[str, int], UnknownSession],
    ) -> None:
        self._clock = clock
        self._options = options
        self._hub = hub
        self._commands = commands
        self._feed = feed
        self._tail = tail
        self._window = window
        self._interest = interest
        self._session_timeout = session_timeout
        self._lost = lost
        self.owned: dict[str, OwnedSession] = {}
        self.acquisitions: dict[str, Acquisition] = {}
        self._creating = 0

    def has_room(self) -> bool:
        """Return whether one more session may be created or acquired."""
        return self._hub.has_room(self._creating + len(self.acquisitions))

    def session(self, session_id: str) -> OwnedSession | None:
        """Return a session that this node owns, or None."""
        return self.owned.get(session_id)

    def sessions(self) -> list[OwnedSession]:
        """Return all sessions that this node owns."""
        return list(self.owned.values())

    # Acquiring sessions

    def create(self, session_id: str, *, acknowledges: bool) -> Deferred[str]:
        """Create a session in Redis and own it; fires with its id.

        Fails with ``TooManySessions``, or ``BayeuxError`` 503.
        """
        if not self.has_room():
            return fail(TooManySessions())
        self._creating += 1

        def done(result: Any) -> Any:
            self._creating -= 1
            return result

        def created(reply: Sequence[bytes]) -> str:
            self._created(session_id, acknowledges, int(reply[0]))
            return session_id

        creating = self._commands.run(
            "create",
            session_id,
            "1" if acknowledges else "",
            round(self._session_timeout * 1000),
        )
        return creating.addBoth(done).addCallback(created)

    def _created(self, session_id: str, acknowledges: bool, position: int) -> None:
        session = OwnedSession(
            session_id,
            acknowledges=acknowledges,
            position=position,
            generation=1,
            written=(position, ""),
        )
        self._own(session)

    def acquire(
        self, session_id: str, *, hold: float, patience: float, leave: bool
    ) -> Deferred[OwnedSession | None]:
        """Make this node the owner of a session; fires with it.

        Fires with None if ``leave`` is true and the owner has an event stream open for
        the session.  Fails with :class:`Superseded`, ``UnknownSession``, or
        ``BayeuxError`` 503, also if there is no room for another session: it stays
        where it is.

        :param hold: seconds that a connect for it may be held.
        :param patience: seconds to wait while Redis is out of reach.
        """
        session = self.session(session_id)
        if session is not None:
            return succeed(session)
        waiter: Deferred[OwnedSession | None] = Deferred()
        acquisition = self.acquisitions.get(session_id)
        if acquisition is not None:
            acquisition.waiters.append(waiter)
            return waiter
        if not self.has_room():
            return fail(TooManySessions())
        acquisition = self.acquisitions[session_id] = Acquisition(session_id)
        acquisition.waiters.append(waiter)
        self._start(acquisition, self._acquire(acquisition, hold, patience, leave))
        return waiter

    def _start(
        self, acquisition: Acquisition, work: Coroutine[Any, Any, OwnedSession | None]
    ) -> None:
        acquisition.task = Deferred.fromCoroutine(work)
        acquisition.task.addCallbacks(
            self._acquired,
            self._failed,
            callbackArgs=(acquisition,),
            errbackArgs=(acquisition,),
        )

    async def _acquire(
        self, acquisition: Acquisition, hold: float, patience: float, leave: bool
    ) -> OwnedSession | None:
        acquisition.number = self._interest.begin_acquisition()
        try:
            return await self._acquire_numbered(acquisition, hold, patience, leave)
        finally:
            self._interest.end_acquisition(acquisition.number)

    async def _acquire_numbered(
        self,
        acquisition: Acquisition,
        hold: float,
        patience: float,
        leave: bool,
    ) -> OwnedSession | None:
        session_id = acquisition.session_id
        reply = await self._commands.run(
            "acquire",
            session_id,
            round((hold + self._session_timeout) * 1000),
            round(self._options.dead_after * 1000),
            "1" if leave else "",
            acquisition.number,
            patience=patience,
        )
        if reply[0] == 0:
            return None
        acquisition.acquired(generation := int(reply[0]))
        acquisition.check()
        try:
            fields = [item.decode() for item in reply[2:]]
            mark, acknowledges = Mark.parse(*fields[:3]), fields[3]
            progress = Progress.parse(*fields[4:8])
            subscriptions = {
                name: int(since)
                for name, since in zip(fields[8::2], fields[9::2], strict=True)
            }
        except ValueError:
            # Others changed it.
            raise LogGap from None
        self._interest.acquiring(acquisition.number, subscriptions)
        released: Mark | None = None
        if reply[1]:
            progress, released = await wait_for_predecessor(
                acquisition,
                progress,
                self._commands,
                self._clock,
                options=self._options,
                patience=patience,
            )
        if progress.cursor is None:
            raise LogGap
        # From here on nothing is delivered here that the former owner has delivered.
        await self._feed.wait_for(mark if released is None else released)
        acquisition.check()
        entries = await self._missed(
            acquisition, progress, subscriptions, mark.position
        )
        # No other event is handled between here and the end.
        acquisition.check()
        session = OwnedSession(
            session_id,
            acknowledges=acknowledges == "1",
            position=self._hub.position,
            generation=generation,
            # The next checkpoint must remove `behind` from Redis.
            written=(-1 if progress.behind else progress.cursor, ""),
        )
        session.subscriptions = set(subscriptions)
        session.queue = entries
        session.queued_bytes = sum(len(entry.json) for entry in entries)
        if session.acknowledges:
            if progress.seen is not None:
                session.seen = progress.seen
            session.sent = sum(entry.position <= session.seen for entry in entries)
            session.repeats = progress.repeats
        self._own(session)
        return session

    def _own(self, session: OwnedSession) -> None:
        self.owned[session.id] = session
        self._hub.open(session)
        if self._hub.lagging is not None:
            self._hub.lagging.add(session)

    async def _missed(
        self,
        acquisition: Acquisition,
        progress: Progress,
        subscriptions: dict[str, int],
        known: int,
    ) -> list[Entry]:
        """Return the entries dispatched here that the session has not received."""
        chosen: list[Entry] = []
        choose = partial(
            missed_entries,
            session_id=acquisition.session_id,
            subscriptions=subscriptions,
            cursor=progress.cursor or 0,
            known=known,
            behind=frozenset(progress.behind),
        )
        # The former owner may have read past changes that Redis did not report here.
        following = min(progress.first, known + 1)
        # The feed has what comes after `known`, and the tail the newest part of that.
        while following <= max(known, self._tail.start):
            last = min(max(known, self._tail.start), following + PART - 1)
            part = await self._window.read(following, last)
            acquisition.check()
            chosen += choose(part)
            following = last + 1
        return chosen + choose(self._tail.after(following - 1))

    def _acquired(self, session: OwnedSession | None, acquisition: Acquisition) -> None:
        self.acquisitions.pop(acquisition.session_id, None)
        for waiter in acquisition.waiters:
            if not waiter.called:
                waiter.callback(session)
        for returned in acquisition.returned:
            self._take_back(acquisition.session_id, returned)

    def _failed(self, failure: Failure, acquisition: Acquisition) -> None:
        session_id = acquisition.session_id
        if self.acquisitions.get(session_id) is not acquisition:
            return
        del self.acquisitions[session_id]
        if acquisition.task is not None:
            acquisition.task.cancel()
        error = failure.value
        if isinstance(error, LogGap):
            error = self._lost(session_id, acquisition.generation or 0)
        elif not isinstance(error, Superseded | BayeuxError):
            _log.failure("Acquiring session {id} failed", failure, id=session_id[:8])
        for returned in acquisition.returned:
            self._pass_on(session_id, returned)
        for waiter in acquisition.waiters:
            if not waiter.called:
                waiter.errback(error)

    # Releasing sessions

    def close(self, session_id: str, reason: Reason, why: str | None) -> None:
        """Close a session that has ended, if this node owns or is acquiring it."""
        session = self.owned.pop(session_id, None)
        if session is not None:
            self._hub.close(session, reason, why)
        acquisition = self.acquisitions.get(session_id)
        if acquisition is not None:
            acquisition.ended = SessionEnded(session_id, reason, why)
            if acquisition.generation is not None:
                self._failed(Failure(acquisition.ended), acquisition)

    def release(self, session_id: str) -> None:
        """Release a session that another node has acquired."""
        session = self.owned.pop(session_id, None)
        if session is not None:
            self._hub.catch_up(session)
            progress = progress_of(session, self._hub.position)
            self._say_released(session_id, session.generation, *progress)
            self._hub.move(session)

    def release_all(self) -> Sequence[Argument]:
        """Release all sessions; return the arguments for ``release.lua``."""
        arguments: list[Argument] = []
        owned, self.owned = self.owned, {}
        for session_id, session in owned.items():
            self._hub.leave(session)
            arguments += (session_id, session.generation)
            arguments += progress_of(session, self._hub.position)
        return arguments

    def fail_acquisitions(self, *, sessions_gone: bool = False) -> None:
        """Fail the acquisitions under way.

        :param sessions_gone: whether Redis has lost its sessions; an acquisition whose
            script has not been sent yet continues.
        """
        for acquisition in tuple(self.acquisitions.values()):
            if not sessions_gone:
                self._failed(Failure(unavailable()), acquisition)
            elif acquisition.generation is not None:
                unknown = UnknownSession(acquisition.session_id)
                self._failed(Failure(unknown), acquisition)

    def verify(
        self, sessions: Sequence[OwnedSession], *, patience: float | None = None
    ) -> Deferred[Mark]:
        """Query which sessions this node still owns, and release the others.

        Fires with a mark; fails with
        :class:`~txbayeux.errors.BayeuxError` 503, having released nothing.

        :param patience: seconds to wait while Redis is out of reach.
        """
        arguments: list[Argument] = []
        for session in sessions:
            arguments += (session.id, session.generation)

        def verified(reply: Sequence[Any]) -> Mark:
            lost = {session_id.decode() for session_id in reply[3:]}
            for session in sessions:
                # It may have been released and acquired again meanwhile.
                if session.id in lost and self.owned.get(session.id) is session:
                    self.release(session.id)
            return Mark.parse(*reply[:3])

        verifying = self._commands.run("verify", *arguments, patience=patience)
        return verifying.addCallback(verified)

    # Changes and notices

    def change(self, change: Change) -> None:
        """Apply a change of subscriptions that was read from the log."""
        session = self.session(change.session_id)
        acquisition = self.acquisitions.get(change.session_id)
        if session is not None:
            if change.added:
                self._hub.subscribe(session, change.channels)
            else:
                self._hub.unsubscribe(session, change.channels)
        elif acquisition is not None:
            self._interest.acquiring(acquisition.number, change.channels)
        else:
            self._interest.withdraw_unless_wanted(change.channels)

    def receive_notice(self, notice: Mapping[str, str]) -> None:
        """Act on a notice from this node's inbox."""
        kind, session_id = notice["k"], notice.get("s", "")
        acquisition = self.acquisitions.get(session_id)
        if kind == "acquired":
            self._acquired_elsewhere(session_id, int(notice["g"]))
        elif kind == "ended":
            self.close(session_id, Reason(notice["r"]), notice["w"] or None)
        elif kind == "released" and acquisition is not None:
            acquisition.accept_release(notice)
        elif kind == "returned":
            returned = int(notice["g"]), notice["b"]
            if acquisition is not None:
                acquisition.returned.append(returned)
            else:
                self._take_back(session_id, returned)

    def _acquired_elsewhere(self, session_id: str, generation: int) -> None:
        acquisition = self.acquisitions.get(session_id)
        if acquisition is not None:
            acquisition.latest = max(acquisition.latest, generation)
            if (
                acquisition.generation is not None
                and generation > acquisition.generation
            ):
                self._failed(Failure(Superseded()), acquisition)
        session = self.owned.get(session_id)
        if session is None:
            # This node was the owner in Redis only: the new owner need not wait for it.
            self._say_released(session_id, generation - 1, "", "", "", 0)
        elif session.generation < generation:
            self.release(session_id)

    def _say_released(self, *arguments: Argument) -> None:
        # It is needed for as long as the session may be alive.
        self._commands.run(
            "release", *arguments, patience=self._session_timeout
        ).addErrback(_ignore)

    # Messages that could not be delivered

    def give_back(self, session: Session, entries: Sequence[Entry]) -> None:
        """Pass undelivered messages to the node that owns the session now."""
        generation = cast(OwnedSession, session).generation  # the hub has no others
        positions = " ".join(str(entry.position) for entry in entries)
        self._give_back(session.id, (generation, positions))

    def _pass_on(self, session_id: str, returned: Returned) -> None:
        acquisition = self.acquisitions.get(session_id)
        if acquisition is not None:
            acquisition.returned.append(returned)
        else:
            self._give_back(session_id, returned, "1")

    def _give_back(self, session_id: str, returned: Returned, absent: str = "") -> None:
        self._commands.run("give_back", session_id, *returned, absent).addErrback(
            _ignore
        )

    def _take_back(self, session_id: str, returned: Returned) -> None:
        Deferred.fromCoroutine(self._fetch_back(session_id, returned)).addErrback(
            lambda failure: _log.failure(
                "Undelivered messages of session {id} are lost",
                failure,
                id=session_id[:8],
            )
        )

    async def _fetch_back(self, session_id: str, returned: Returned) -> None:
        wanted = sorted(int(position) for position in returned[1].split())
        found: dict[int, Entry] = {}
        left, gap = wanted, False
        while left and not gap:
            part = [position for position in left if position < left[0] + PART]
            try:
                for item in await self._window.read(part[0], part[-1]):
                    if isinstance(item, Entry):
                        found[item.position] = item
            except (LogGap, BayeuxError):
                gap = True
            left = left[len(part) :]
        session = self.session(session_id)
        if session is None:
            self._pass_on(session_id, returned)
            return
        if gap:
            self._lost(session_id, session.generation)
            return
        entries = [
            entry
            for position in wanted
            if (entry := found.get(position)) is not None
            and (not isinstance(entry, Addressed) or entry.session_id == session_id)
        ]
        self._hub.give_back(session, entries)


def _ignore(failure: Failure) -> None:
    """Do nothing: Redis is unavailable, and the next owner uses a checkpoint."""
