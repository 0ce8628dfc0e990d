"""A hub on a clock, for tests of the hub and of what works with it."""

from collections.abc import Sequence
from typing import Any

from tests.turns import TurnClock
from txbayeux.engine.hub import Hub
from txbayeux.engine.session import Session
from txbayeux.events import Reason
from txbayeux.interfaces import Delivery
from txbayeux.limits import Limits
from txbayeux.message import Entry
from txbayeux.testing import RecordingStream


class HubFixture:
    """A hub with a clock, which ends sessions as an engine does."""

    def __init__(self, **limits: int) -> None:
        self.clock = TurnClock()
        self.hub = Hub(
            self.clock,
            limits=Limits(**limits),
            session_timeout=60,
            expired=lambda session: self.end(session, Reason.TIMEOUT),
            overflowed=lambda session, why: self.end(session, Reason.KICKED, why),
        )
        self.ended: list[tuple[str, Reason]] = []

    def end(
        self, session: Session, reason: Reason = Reason.CLIENT, why: str | None = None
    ) -> None:
        self.ended.append((session.id, reason))
        self.hub.close(session, reason, why)

    def session(self, name: str, *channels: str, acknowledges: bool = False) -> Session:
        session = Session(name, acknowledges=acknowledges, position=self.hub.position)
        self.hub.open(session)
        self.hub.subscribe(session, channels)
        return session

    def sessions(self, count: int, channel: str = "/a") -> list[Session]:
        return [self.session(str(n), channel) for n in range(count)]

    def dispatch(self, channel: str = "/a", json: bytes = b"{}") -> int:
        self.hub.dispatch(Entry(self.hub.position + 1, channel, json))
        return self.hub.position

    def connect(
        self,
        session: Session,
        hold: float = 30,
        stream: Any = None,
        acknowledged: int | None = None,
    ) -> list[Delivery]:
        """Return a list that has the answer once there is one."""
        answers: list[Delivery] = []
        self.hub.connect(
            session, hold=hold, stream=stream, acknowledged=acknowledged
        ).addCallback(answers.append)
        return answers

    def streams(self, sessions: Sequence[Session]) -> list[RecordingStream]:
        streams = [RecordingStream() for _ in sessions]
        for session, stream in zip(sessions, streams, strict=True):
            self.hub.attach(session, stream)
        self.finish()
        return streams

    def turn(self) -> None:
        self.clock.turn()

    def finish(self) -> int:
        """Pass turns until nothing is left to do; return how many it took."""
        turns = 0
        now = self.clock.seconds()
        while any(call.getTime() <= now for call in self.clock.getDelayedCalls()):
            self.turn()
            turns += 1
        return turns

    def ended_ids(self) -> list[str]:
        return [session_id for session_id, _ in self.ended]


def positions(entries: Sequence[Entry]) -> list[int]:
    return [entry.position for entry in entries]
