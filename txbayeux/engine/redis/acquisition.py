"""What an acquisition of a session is made of, and its wait for the former owner.

``ownership.SessionOwner.acquire`` begins them; its ``_acquire`` is the whole procedure.

While a node lives, its memory is authoritative for the progress of its sessions: a
node that acquires a session waits for the former owner to release it.  If that one has
died, it uses the checkpoint in Redis (see :mod:`checkpoints`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout

from txbayeux.engine.redis.commands import Argument, Commands
from txbayeux.engine.redis.log import Mark
from txbayeux.engine.redis.options import RedisOptions
from txbayeux.engine.session import Session
from txbayeux.errors import UnknownSession
from txbayeux.events import Reason

__all__ = [
    "Acquisition",
    "OwnedSession",
    "Progress",
    "Returned",
    "SessionEnded",
    "Superseded",
    "progress_of",
    "wait_for_predecessor",
]

Returned: TypeAlias = tuple[int, str]
"""The generation of the owner that could not deliver messages, and their positions."""


class Superseded(Exception):
    """Another node acquired the session while this one was acquiring it."""


class SessionEnded(UnknownSession):
    """The session ended while this node was acquiring it."""

    def __init__(self, session_id: str, reason: Reason, why: str | None) -> None:
        super().__init__(session_id, why or "Unknown client")
        self.reason = reason
        self.why = why


class OwnedSession(Session):
    """A session that this node owns.

    ``generation`` counts the owners of the session: Redis accepts what a node writes
    for a session only with the generation with which the node owns it.  ``written`` is
    the checkpoint in Redis: the cursor, or "" if it is the position that all sessions
    of this node have reached, and whether an event stream gets its messages.
    ``last_connect`` is the number of its last connect, in the order of their arrival.
    """

    __slots__ = ("generation", "last_connect", "written")

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
        self.last_connect = 0
        self.written = written

    def current(self) -> tuple[int | str, str]:
        """Return what ``written`` should be."""
        stream = None if self.acknowledges else self.stream
        event_stream = stream is not None and not stream.preempted_by_poll
        cursor: int | str = self.queue[0].position - 1 if self.queue else ""
        return cursor, "1" if event_stream else ""


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a session in the log.

    Everything up to ``cursor`` was delivered, except the positions in ``behind``.
    ``seen`` is the last position that was sent to an acknowledging client, None if that
    is not known; ``repeats`` is how often it was sent the same without acknowledging.
    """

    cursor: int | None
    behind: tuple[int, ...]
    seen: int | None
    repeats: int

    @classmethod
    def parse(cls, cursor: str, behind: str, seen: str, repeats: str) -> Progress:
        """Parse the fields of a session in Redis."""
        return cls(
            int(cursor) if cursor else None,
            tuple(int(position) for position in behind.split()),
            int(seen) if seen else None,
            int(repeats),
        )

    @property
    def first(self) -> int:
        """Position of the first entry that the session still needs."""
        return min(self.behind, default=(self.cursor or 0) + 1)


def progress_of(session: Session, position: int) -> Sequence[Argument]:
    """Return the progress of a session, as arguments of ``release.lua``.

    :param position: of the last entry that was dispatched.
    """
    behind = " ".join(str(entry.position) for entry in session.queue)
    return (position, behind, session.seen, session.repeats)


@dataclass(eq=False, slots=True)
class Acquisition:
    """A session that this node is acquiring, with the Deferreds that wait for it."""

    session_id: str
    number: int = 0
    """Its number among those of this node, by which Redis tags what it wants."""
    waiters: list[Deferred[OwnedSession | None]] = field(default_factory=list)
    task: Deferred[OwnedSession | None] | None = None
    released: Deferred[Mapping[str, str]] = field(default_factory=Deferred)
    """Fires with the former owner's notice that it released the session."""
    early: Mapping[str, str] | None = None
    """Such a notice that came before ``generation`` was known."""
    generation: int | None = None
    """None until Redis has made this node the owner."""
    latest: int = 0
    """The highest generation that a notice named."""
    returned: list[Returned] = field(default_factory=list)
    ended: SessionEnded | None = None
    """Set when a notice says that the session ended."""

    def acquired(self, generation: int) -> None:
        """Accept that Redis has made this node the owner."""
        self.generation = generation
        if self.early is not None:
            self.accept_release(self.early)

    def accept_release(self, notice: Mapping[str, str]) -> None:
        """Accept the former owner's notice, unless it is for another generation."""
        if self.generation is None:
            self.early = notice
        elif int(notice["g"]) == self.generation and not self.released.called:
            self.released.callback(notice)

    def check(self) -> None:
        """Raise unless this node may still own the session.

        :raises SessionEnded: if the session is gone.
        :raises Superseded: if another node has acquired it since.
        """
        if self.ended is not None:
            raise self.ended
        if self.generation is not None and self.latest > self.generation:
            raise Superseded


async def wait_for_predecessor(
    acquisition: Acquisition,
    checkpoint: Progress,
    commands: Commands,
    clock: Any,
    *,
    options: RedisOptions,
    patience: float,
) -> tuple[Progress, Mark | None]:
    """Wait for the former owner's release, and return the progress of the session.

    Return a mark of the time of the release, too.  Return ``checkpoint`` and no mark if
    the release does not arrive in time.  Only time in which
    Redis replies counts, since no notice can arrive otherwise.
    """
    half = options.handover / 2
    who = (acquisition.session_id, acquisition.generation or 0)
    for last in ("", "1"):
        try:
            notice = await acquisition.released.addTimeout(half, clock)
        except DeferredTimeout:
            acquisition.released = Deferred()
            acquisition.check()
        else:
            acquisition.check()
            progress = Progress.parse(
                notice["c"], notice["b"], notice["n"], notice["r"]
            )
            return progress, Mark.parse(notice["p"], notice["t"], notice["l"])
        found = await commands.run("check_release", *who, last, patience=patience)
        acquisition.check()
        if found is None:
            raise Superseded
        if found:
            fields = [item.decode() for item in found]
            return Progress.parse(*fields[3:]), Mark.parse(*fields[:3])
    return Progress(
        checkpoint.cursor, checkpoint.behind, None, checkpoint.repeats
    ), None
