"""The sessions that are held by this front-end: made, taken over, let go."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Final, cast

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from txbayeux.engine.hub import Hub
from txbayeux.engine.redis.commands import Commands
from txbayeux.engine.redis.handover import (
    Ended,
    Opening,
    OwnedSession,
    Returned,
    State,
    Superseded,
    state_of,
    word_of_former_holder,
)
from txbayeux.engine.redis.log import (
    Addressed,
    Change,
    Logged,
    Tail,
    catch_up,
    parse,
)
from txbayeux.engine.redis.options import RedisOptions
from txbayeux.engine.redis.reader import Reader
from txbayeux.engine.session import Session
from txbayeux.errors import BayeuxError, UnknownSession, unavailable
from txbayeux.events import Reason
from txbayeux.message import Entry

__all__ = ["LogGap", "SessionOwner"]

_PART: Final = 500
"""Entries that are read from Redis at a time where the tail is too short."""

_LARGEST: Final = 2**64 - 1

_log: Final = Logger()


class LogGap(Exception):
    """What a session needs has been forgotten."""


class SessionOwner:
    """The sessions of one front-end.

    :param lost: is told of a session that cannot go on, for entries that it
        needs have been forgotten.
    """

    def __init__(
        self,
        clock: Any,
        options: RedisOptions,
        *,
        hub: Hub,
        commands: Commands,
        reader: Reader,
        tail: Tail,
        session_timeout: float,
        lost: Callable[[str, int], UnknownSession],
    ) -> None:
        self._clock = clock
        self._options = options
        self._hub = hub
        self._commands = commands
        self._reader = reader
        self._tail = tail
        self._session_timeout = session_timeout
        self._lost = lost
        self.owned: dict[str, OwnedSession] = {}
        self.openings: dict[str, Opening] = {}

    def session(self, session_id: str) -> OwnedSession | None:
        """Return a session that this node owns, or None."""
        return self.owned.get(session_id)

    def sessions(self) -> list[OwnedSession]:
        """Return all sessions that this node owns."""
        return list(self.owned.values())

    # To hold

    def made(self, session_id: str, *, acknowledges: bool, position: int) -> None:
        """Own a session that was just created."""
        session = OwnedSession(
            session_id,
            acknowledges=acknowledges,
            position=position,
            generation=1,
            written=(position, ""),
        )
        self._hold(session)

    def want(
        self, session_id: str, *, hold: float, patience: float, leave: bool
    ) -> Deferred[OwnedSession | None]:
        """Have a session held here; fires with it.

        Fires with None if ``leave`` is true and the session is better left to the
        front-end that has an event stream open for it.  Fails with
        :class:`Superseded`, UnknownSession, or BayeuxError 503.

        :param hold: seconds that a connect for it may be held.
        :param patience: seconds to wait for a Redis that is away.
        """
        session = self.session(session_id)
        if session is not None:
            return succeed(session)
        opening = self.openings.get(session_id)
        if opening is None:
            opening = self.openings[session_id] = Opening(session_id)
            waiter: Deferred[OwnedSession | None] = Deferred()
            opening.waiters.append(waiter)
            self._begin(opening, self._open(opening, hold, patience, leave))
            return waiter
        waiter = Deferred()
        opening.waiters.append(waiter)
        return waiter

    def _begin(
        self, opening: Opening, work: Coroutine[Any, Any, OwnedSession | None]
    ) -> None:
        opening.task = Deferred.fromCoroutine(work)
        opening.task.addCallbacks(
            self._opened,
            self._failed,
            callbackArgs=(opening,),
            errbackArgs=(opening,),
        )

    async def _open(
        self, opening: Opening, hold: float, patience: float, leave: bool
    ) -> OwnedSession | None:
        session_id = opening.session_id
        taken = await self._commands.run(
            "take",
            session_id,
            round((hold + self._session_timeout) * 1000),
            round(self._options.dead_after * 1000),
            "1" if leave else "",
            patience=patience,
        )
        if taken[0] == 0:
            return None
        opening.taken(generation := int(taken[0]))
        opening.check()
        words = [item.decode() for item in taken[2:]]
        position, acknowledges, state = int(words[0]), words[1], State.read(*words[2:6])
        subscriptions = {
            name: int(since)
            for name, since in zip(words[6::2], words[7::2], strict=True)
        }
        if taken[1]:
            state = await word_of_former_holder(
                opening,
                state,
                self._commands,
                self._clock,
                options=self._options,
                patience=patience,
            )
        if state.cursor is None:
            raise LogGap
        await self._reader.reached(max(position, state.cursor))
        opening.check()
        entries = await self._missed(opening, state, subscriptions, position)
        # From here to the end nothing else happens in this process.
        opening.check()
        session = OwnedSession(
            session_id,
            acknowledges=acknowledges == "1",
            position=self._hub.position,
            generation=generation,
            written=(state.cursor, ""),
        )
        session.subscriptions = set(subscriptions)
        session.queue = entries
        session.queued_bytes = sum(len(entry.json) for entry in entries)
        if session.acknowledges:
            if state.seen is not None:
                session.seen = state.seen
            session.sent = sum(entry.position <= session.seen for entry in entries)
            session.repeats = state.repeats
        self._hold(session)
        return session

    def _hold(self, session: OwnedSession) -> None:
        self.owned[session.id] = session
        self._hub.open(session)
        if self._hub.lagging is not None:
            self._hub.lagging.add(session)

    async def _missed(
        self,
        opening: Opening,
        state: State,
        subscriptions: dict[str, int],
        known: int,
    ) -> list[Entry]:
        """Give what the session has not got of all that was dispatched here."""
        chosen: list[Entry] = []
        choose = partial(
            catch_up,
            session_id=opening.session_id,
            subscriptions=subscriptions,
            cursor=state.cursor or 0,
            known=known,
            behind=frozenset(state.behind),
        )
        # The former owner may have read past changes that the new one was not told.
        following = min(state.first, known + 1)
        while (start := self._start()) > following:
            last = min(start - 1, following + _PART - 1)
            part = await self._read(following, last)
            opening.check()
            if len(part) != last + 1 - following:
                raise LogGap
            chosen += choose(part)
            following = last + 1
        return chosen + choose(self._tail.after(following - 1))

    def _start(self) -> int:
        """Give the position of the first entry that is at hand, or will be."""
        first = self._tail.first
        return self._hub.position + 1 if first is None else first

    async def _read(self, first: int, last: int) -> list[Logged]:
        found = await self._commands.run(
            "read", f"{first}-0", f"{last}-{_LARGEST}", last + 1 - first
        )
        return [parse(identity, fields) for identity, fields in found]

    def _opened(self, session: OwnedSession | None, opening: Opening) -> None:
        self.openings.pop(opening.session_id, None)
        for waiter in opening.waiters:
            if not waiter.called:
                waiter.callback(session)
        for returned in opening.returned:
            self._take_back(opening.session_id, returned)

    def _failed(self, failure: Failure, opening: Opening) -> None:
        if self.openings.get(opening.session_id) is not opening:
            return
        del self.openings[opening.session_id]
        if opening.task is not None:
            opening.task.cancel()
        error = failure.value
        if isinstance(error, LogGap):
            error = self._lost(opening.session_id, opening.generation or 0)
        elif not isinstance(error, Superseded | BayeuxError):
            _log.failure("Taking over a session failed", failure)
        for returned in opening.returned:
            self._pass_on(opening.session_id, returned)
        for waiter in opening.waiters:
            if not waiter.called:
                waiter.errback(error)

    # To let go

    def ended(self, session_id: str, reason: Reason, why: str | None) -> None:
        """Let go of a session that is no more."""
        session = self.owned.pop(session_id, None)
        if session is not None:
            self._hub.close(session, reason, why)
        opening = self.openings.get(session_id)
        if opening is not None:
            opening.ended = Ended(session_id, reason, why)
            if opening.generation is not None:
                self._failed(Failure(opening.ended), opening)

    def moved(self, session_id: str) -> None:
        """Let go of a session that is held elsewhere now, and say how far it came."""
        session = self.owned.pop(session_id, None)
        if session is not None:
            state = state_of(session, self._hub.position)
            self._yield(session_id, session.generation, *state)
            self._hub.move(session)

    def leave(self) -> Sequence[Any]:
        """Let go of all sessions, and say how far they came, for ``yield.lua``."""
        words: list[Any] = []
        owned, self.owned = self.owned, {}
        for session_id, session in owned.items():
            self._hub.leave(session)
            words += (session_id, session.generation)
            words += state_of(session, self._hub.position)
        return words

    def abandon(self, *, lost: bool = False) -> None:
        """Fail those who wait for a session, or only for one ``lost`` on its way."""
        for opening in tuple(self.openings.values()):
            if not lost:
                self._failed(Failure(unavailable()), opening)
            elif opening.generation is not None:
                self._failed(Failure(UnknownSession(opening.session_id)), opening)

    # What others say

    def changed(self, change: Change) -> None:
        """Hear from the log what a session is subscribed to now."""
        session = self.session(change.session_id)
        if session is not None:
            if change.added:
                self._hub.subscribe(session, change.channels)
            else:
                self._hub.unsubscribe(session, change.channels)

    def noticed(self, notice: Mapping[str, str]) -> None:
        """Hear from the inbox."""
        kind, session_id = notice["k"], notice.get("s", "")
        opening = self.openings.get(session_id)
        if kind == "taken":
            self._taken(session_id, int(notice["g"]))
        elif kind == "ended":
            self.ended(session_id, Reason(notice["r"]), notice["w"] or None)
        elif kind == "yielded" and opening is not None:
            opening.hear(notice)
        elif kind == "returned":
            returned = int(notice["g"]), notice["b"]
            if opening is not None:
                opening.returned.append(returned)
            else:
                self._take_back(session_id, returned)

    def _taken(self, session_id: str, generation: int) -> None:
        opening = self.openings.get(session_id)
        if opening is not None:
            opening.fenced = max(opening.fenced, generation)
            if opening.generation is not None and generation > opening.generation:
                self._failed(Failure(Superseded()), opening)
        session = self.owned.get(session_id)
        if session is None:
            # Who asks does not wait in vain, even for one that was on its way here.
            self._yield(session_id, generation - 1, "", "", "", 0)
        elif session.generation < generation:
            self.moved(session_id)

    def _yield(self, *words: Any) -> None:
        # Worth saying as long as the session can be alive.
        said = self._commands.run("yield", *words, patience=self._session_timeout)
        said.addErrback(_ignore)

    # What comes back

    def hand_back(self, session: Session, entries: Sequence[Entry]) -> None:
        """Hand on what could not be written for a session that has moved away."""
        generation = cast(OwnedSession, session).generation  # the hub holds no others
        positions = " ".join(str(entry.position) for entry in entries)
        self._give_back(session.id, (generation, positions))

    def _pass_on(self, session_id: str, returned: Returned) -> None:
        opening = self.openings.get(session_id)
        if opening is not None:
            opening.returned.append(returned)
        else:
            self._give_back(session_id, returned, "1")

    def _give_back(self, session_id: str, returned: Returned, absent: str = "") -> None:
        given = self._commands.run("give_back", session_id, *returned, absent)
        given.addErrback(_ignore)

    def _take_back(self, session_id: str, returned: Returned) -> None:
        Deferred.fromCoroutine(self._fetch_back(session_id, returned)).addErrback(
            lambda failure: _log.failure("Messages that came back are lost", failure)
        )

    async def _fetch_back(self, session_id: str, returned: Returned) -> None:
        wanted = [int(position) for position in returned[1].split()]
        found: dict[int, Entry] = {}
        for item in self._tail.after(wanted[0] - 1):
            if isinstance(item, Entry):
                found[item.position] = item
        for position in wanted:
            if position not in found:
                for item in await self._read(position, position):
                    if isinstance(item, Entry):
                        found[position] = item
        session = self.session(session_id)
        if session is None:
            self._pass_on(session_id, returned)
            return
        here = [
            entry
            for position in wanted
            if (entry := found.get(position)) is not None
            and (not isinstance(entry, Addressed) or entry.session_id == session_id)
        ]
        self._hub.give_back(session, here)


def _ignore(failure: Failure) -> None:
    failure.trap(BayeuxError, CancelledError, Exception)
