"""Sessions from front-end to front-end: what is said, and what is made of it.

The owner's memory is the truth while it lives.  It writes down how far its
sessions came a few times a second (see :mod:`checkpoints`), for the case that it
dies; a front-end that takes a session over asks it first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout

from txbayeux.engine.redis.commands import Argument, Commands
from txbayeux.engine.redis.options import RedisOptions
from txbayeux.engine.session import Session
from txbayeux.errors import UnknownSession
from txbayeux.events import Reason

__all__ = [
    "Ended",
    "Opening",
    "OwnedSession",
    "Returned",
    "State",
    "Superseded",
    "state_of",
    "word_of_former_holder",
]


Returned: TypeAlias = tuple[int, str]
"""Positions that could not be delivered, and the generation they were sent with."""


class Superseded(Exception):
    """The session was taken over by another front-end while it was waited for."""


class Ended(UnknownSession):
    """The session ended while it was waited for."""

    def __init__(self, session_id: str, reason: Reason, why: str | None) -> None:
        super().__init__(session_id, why or "Unknown client")
        self.reason = reason
        self.why = why


class OwnedSession(Session):
    """A session that this node owns.

    ``generation`` counts its owners: in Redis whatever a node says of a session counts
    only with the generation that it says it for.  ``written`` is what Redis has for the
    case that this node dies: the cursor, "" where it is the position that all sessions
    of this node have reached, and whether an event stream is open.
    """

    __slots__ = ("generation", "written")

    def __init__(
        self,
        session_id: str,
        *,
        acknowledges: bool,
        position: int,
        generation: int,
        written: tuple[int | str, str],
    ) -> None:
        super().__init__(session_id, acknowledges=acknowledges, position=position)
        self.generation = generation
        self.written = written

    def current(self) -> tuple[int | str, str]:
        """Return what should be written."""
        steady = self.stream is not None and not self.stream.preempted_by_poll
        cursor: int | str = self.queue[0].position - 1 if self.queue else ""
        return cursor, "1" if steady else ""


@dataclass(frozen=True, slots=True)
class State:
    """How far a session came.

    All up to ``cursor`` has been dealt with, but for the positions in ``behind``.
    ``seen`` is what an acknowledging client was told last, None if that is not
    known; ``repeats`` how often it was told in vain.
    """

    cursor: int | None
    behind: tuple[int, ...]
    seen: int | None
    repeats: int

    @classmethod
    def read(cls, cursor: str, behind: str, seen: str, repeats: str) -> State:
        """Read what the scripts keep."""
        return cls(
            int(cursor) if cursor else None,
            tuple(int(position) for position in behind.split()),
            int(seen) if seen else None,
            int(repeats),
        )

    @property
    def first(self) -> int:
        """Position of the first entry that is needed to go on."""
        return min(self.behind, default=(self.cursor or 0) + 1)


def state_of(session: Session, position: int) -> Sequence[Argument]:
    """Say how far a session came, as ``yield.lua`` wants it.

    :param position: what was dispatched last.
    """
    behind = " ".join(str(entry.position) for entry in session.queue)
    return (position, behind, session.seen, session.repeats)


@dataclass(eq=False, slots=True)
class Opening:
    """A session on its way here, and those who wait for it, in order."""

    session_id: str
    waiters: list[Deferred[OwnedSession | None]] = field(default_factory=list)
    task: Deferred[OwnedSession | None] | None = None
    word: Deferred[Mapping[str, str]] = field(default_factory=Deferred)
    """Fires with the former owner's word."""
    early: Mapping[str, str] | None = None
    """What was heard before it was known which generation this is."""
    generation: int | None = None
    fenced: int = 0
    """Highest generation that was heard of."""
    returned: list[Returned] = field(default_factory=list)
    ended: Ended | None = None
    """That it ended, heard before Redis said whether it was there when asked for."""

    def taken(self, generation: int) -> None:
        """Hear which generation this is."""
        self.generation = generation
        if self.early is not None:
            self.hear(self.early)

    def hear(self, word: Mapping[str, str]) -> None:
        """Hear the former owner's word; one for another generation is stale."""
        if self.generation is None:
            self.early = word
        elif int(word["g"]) == self.generation and not self.word.called:
            self.word.callback(word)

    def check(self) -> None:
        """Go on only while the session is there, and nobody else has taken it.

        :raises Ended: if it is not.
        :raises Superseded: if somebody has.
        """
        if self.ended is not None:
            raise self.ended
        if self.generation is not None and self.fenced > self.generation:
            raise Superseded


async def word_of_former_holder(
    opening: Opening,
    state: State,
    commands: Commands,
    clock: Any,
    *,
    options: RedisOptions,
    patience: float,
) -> State:
    """Wait for it; go by the ``state`` that is written down if that one is mute.

    A Redis that is frozen carries nobody's word: mute is who says nothing after
    Redis has answered.
    """
    half = options.handover / 2
    who = (opening.session_id, opening.generation or 0)
    for final in ("", "1"):
        try:
            word = await opening.word.addTimeout(half, clock)
        except DeferredTimeout:
            opening.word = Deferred()
            opening.check()
        else:
            opening.check()
            return State.read(word["c"], word["b"], word["n"], word["r"])
        said = await commands.run("settle", *who, final, patience=patience)
        opening.check()
        if said is None:
            raise Superseded
        if said:
            return State.read(*(item.decode() for item in said))
    return State(state.cursor, state.behind, None, state.repeats)
