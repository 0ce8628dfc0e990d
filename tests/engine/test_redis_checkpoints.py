"""A checkpoint claims only what was written to the connections."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from txbayeux.engine.hub import TURN_WORK, WRITE_WORK
from txbayeux.engine.redis.acquisition import OwnedSession
from txbayeux.engine.redis.checkpoints import Checkpoints
from txbayeux.errors import unavailable
from txbayeux.events import Reason
from txbayeux.testing import RecordingStream

from .hub_fixture import HubFixture

SESSIONS = TURN_WORK // WRITE_WORK
"""More than one turn writes to."""


class FakeCommands:
    """Keeps the position, and the cursors of sessions, as Redis would."""

    def __init__(self) -> None:
        self.live = True
        self.calls = self.position = 0
        self.cursors: dict[str, Any] = {}

    def run(self, script: str, *arguments: Any) -> Deferred[Any]:
        assert script == "checkpoint"
        self.calls += 1
        position, _, count, *rest = arguments
        if position:
            self.position = int(position)
        for n in range(0, 4 * count, 4):
            self.cursors[rest[n]] = rest[n + 2]
        return succeed(None)


class CheckpointsFixture(HubFixture):
    """Checkpoints of sessions with streams."""

    def __init__(self) -> None:
        super().__init__()
        self.redis = FakeCommands()
        self.owned: dict[str, OwnedSession] = {}
        self.checkpoints = Checkpoints(
            self.clock, self.hub, self.redis, self.owned, lifetime=1000, interval=0.2
        )

    def own(self, name: str, position: int = 0) -> RecordingStream:
        session = OwnedSession(
            name,
            acknowledges=False,
            position=position,
            generation=1,
            written=(position, ""),
        )
        self.owned[name] = session
        self.hub.open(session)
        self.hub.lagging.add(session)
        self.hub.subscribe(session, ["/a"])
        stream = RecordingStream()
        self.hub.attach(session, stream)
        return stream

    def write(self) -> None:
        """Write what is so now: it comes with the second of two checkpoints."""
        self.checkpoints.write()
        self.checkpoints.write()


@pytest.fixture
def fixture() -> CheckpointsFixture:
    return CheckpointsFixture()


def test_a_checkpoint_does_not_claim_what_waits_for_a_later_turn(
    fixture: CheckpointsFixture,
) -> None:
    streams = [fixture.own(str(n)) for n in range(SESSIONS)]
    fixture.clock.advance(0)
    fixture.dispatch()
    fixture.clock.advance(0)
    fixture.write()
    assert fixture.redis.position == 1
    fixture.dispatch()
    fixture.clock.turn()
    fixture.dispatch()
    fixture.write()
    assert [len(streams[0].entries), len(streams[-1].entries)] == [2, 1]
    assert fixture.redis.position == 1
    assert set(fixture.redis.cursors.values()) == {""}
    fixture.clock.advance(0)
    fixture.write()
    assert fixture.redis.position == 3


def test_a_session_that_lags_is_listed_before_the_position_passes_it(
    fixture: CheckpointsFixture,
) -> None:
    stream = fixture.own("slow")
    fixture.clock.advance(0)
    fixture.write()
    stream.writable = False
    for _ in range(3):
        fixture.dispatch()
    fixture.clock.advance(0)
    fixture.write()
    assert (fixture.redis.position, fixture.redis.cursors["slow"]) == (3, 0)


def test_a_session_is_not_set_back_to_a_position_before_its_own(
    fixture: CheckpointsFixture,
) -> None:
    for n in range(SESSIONS):
        fixture.own(str(n))
    fixture.clock.advance(0)
    fixture.dispatch()
    fixture.clock.turn()
    # Its former owner has delivered the first message.
    fixture.own("moved", position=1)
    fixture.write()
    assert fixture.redis.position == 0
    assert "moved" not in fixture.redis.cursors
    fixture.clock.advance(0)
    fixture.write()
    assert (fixture.redis.position, fixture.redis.cursors["moved"]) == (1, "")


def test_a_session_that_has_ended_is_not_listed(fixture: CheckpointsFixture) -> None:
    fixture.own("ended")
    fixture.clock.advance(0)
    fixture.hub.close(fixture.owned.pop("ended"), Reason.CLIENT)
    fixture.write()
    assert fixture.redis.cursors == {}


def test_checkpoints_stop_when_everything_is_written(
    fixture: CheckpointsFixture,
) -> None:
    stream = fixture.own("alice")
    fixture.clock.pump([0.1] * 10)
    assert fixture.redis.cursors == {"alice": ""}
    fixture.dispatch()
    fixture.clock.pump([0.1] * 10)
    assert (len(stream.entries), fixture.redis.position) == (1, 1)
    calls = fixture.redis.calls
    fixture.clock.pump([0.1] * 10)
    assert fixture.redis.calls == calls
    # What is left is the timer of the session.
    assert all(call.getTime() > 10.0 for call in fixture.clock.getDelayedCalls())


def test_what_a_slow_stream_gets_later_is_written(fixture: CheckpointsFixture) -> None:
    stream = fixture.own("slow")
    fixture.clock.pump([0.1] * 10)
    stream.writable = False
    fixture.dispatch()
    fixture.clock.pump([0.1] * 10)
    assert (fixture.redis.position, fixture.redis.cursors["slow"]) == (1, 0)
    stream.writable = True
    fixture.hub.resume(stream)
    fixture.clock.pump([0.1] * 10)
    assert fixture.redis.cursors["slow"] == ""


def test_a_heartbeat_carries_the_position_of_the_one_before(
    fixture: CheckpointsFixture,
) -> None:
    fixture.checkpoints.before_heartbeat()
    fixture.hub.position = 7
    carried = [fixture.checkpoints.before_heartbeat() for _ in range(3)]
    assert carried == ["0", "7", ""]
    fixture.checkpoints.heartbeat_refused(Failure(unavailable()))
    assert fixture.checkpoints.before_heartbeat() == "7"


def test_a_heartbeat_leaves_the_position_to_a_checkpoint_under_way(
    fixture: CheckpointsFixture,
) -> None:
    stream = fixture.own("slow")
    stream.writable = False
    fixture.dispatch()
    fixture.clock.advance(0)
    assert fixture.checkpoints.before_heartbeat() == ""
    fixture.checkpoints.connected(fixture.owned["slow"])
    calls = fixture.redis.calls
    assert fixture.checkpoints.before_heartbeat() == ""
    # The heartbeat ends what has expired.
    assert fixture.redis.calls == calls + 1
