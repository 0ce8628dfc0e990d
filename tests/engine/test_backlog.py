"""What waits for all sessions is counted in bytes, and bounded."""

import pytest

from txbayeux.engine.backlog import ENTRY_BYTES, REFERENCE_BYTES
from txbayeux.engine.queue_limits import CLOSED_AT_ONCE
from txbayeux.engine.session import Session
from txbayeux.events import Reason
from txbayeux.message import Entry
from txbayeux.testing import RecordingStream

from .hub_fixture import HubFixture


class BacklogFixture(HubFixture):
    """A hub whose clock is advanced by a turn after each message."""

    def end(
        self, session: Session, reason: Reason = Reason.CLIENT, why: str | None = None
    ) -> None:
        assert "too many messages" in str(why)
        super().end(session, reason, why)

    def publish(self, channel: str, size: int) -> None:
        self.dispatch(channel, b"x" * size)
        self.clock.advance(0)

    def poll(self, session: Session, acknowledged: int | None = None) -> None:
        self.connect(session, hold=0, acknowledged=acknowledged)
        self.clock.advance(0)

    @property
    def size(self) -> int:
        return self.hub.statistics()["backlog_bytes"]


def waiting(size: int, queues: int = 1) -> int:
    """Return what an entry of ``size`` bytes counts."""
    return ENTRY_BYTES + size + queues * REFERENCE_BYTES


@pytest.fixture
def fixture() -> BacklogFixture:
    return BacklogFixture(queued_bytes=10**9)


def test_an_entry_counts_once_however_many_sessions_it_waits_for(
    fixture: BacklogFixture,
) -> None:
    sessions = [fixture.session(str(n), "/a") for n in range(10)]
    fixture.publish("/a", 1000)
    assert fixture.size == waiting(1000, 10)
    for left, session in enumerate(reversed(sessions)):
        fixture.poll(session)
        assert fixture.size == (waiting(1000, 9 - left) if left < 9 else 0)


def test_what_a_connection_takes_at_once_does_not_count(
    fixture: BacklogFixture,
) -> None:
    fixture.hub.attach(fixture.session("alice", "/a"), RecordingStream())
    for _ in range(3):
        fixture.publish("/a", 1000)
    assert fixture.size == 0


def test_what_is_sent_counts_until_it_is_acknowledged(fixture: BacklogFixture) -> None:
    alice = fixture.session("alice", "/a", acknowledges=True)
    fixture.publish("/a", 10)
    fixture.publish("/a", 20)
    fixture.poll(alice)
    assert fixture.size == waiting(10) + waiting(20)
    fixture.publish("/a", 30)
    fixture.poll(alice, acknowledged=1)
    assert fixture.size == waiting(20) + waiting(30)
    fixture.poll(alice, acknowledged=3)
    assert fixture.size == 0


def test_what_is_acknowledged_before_it_was_counted_is_not_taken_off(
    fixture: BacklogFixture,
) -> None:
    alice = fixture.session("alice", "/a", acknowledges=True)
    fixture.hub.dispatch(Entry(1, "/a", b"x"))
    fixture.hub.connect(alice, hold=0, stream=None, acknowledged=None)
    fixture.hub.connect(alice, hold=0, stream=None, acknowledged=1)
    fixture.clock.advance(0)
    assert fixture.size == 0


def test_what_is_given_back_counts_again(fixture: BacklogFixture) -> None:
    stream, alice = RecordingStream(), fixture.session("alice", "/a")
    fixture.hub.attach(alice, stream)
    fixture.publish("/a", 10)
    stream.writable = False
    fixture.publish("/a", 20)
    fixture.hub.detach(stream, stream.entries)
    fixture.clock.advance(0)
    assert fixture.size == waiting(10) + waiting(20)
    fixture.poll(alice)
    assert fixture.size == 0


def test_what_waits_for_a_session_that_is_gone_does_not_count(
    fixture: BacklogFixture,
) -> None:
    sessions = [fixture.session(str(n), "/a") for n in range(3)]
    fixture.publish("/a", 1000)
    fixture.hub.dispatch(Entry(2, "/a", b"x"))
    fixture.hub.close(sessions[0], Reason.CLIENT)
    fixture.hub.move(sessions[1])
    fixture.hub.leave(sessions[2])
    fixture.clock.advance(0)
    assert fixture.size == 0


def test_a_session_that_is_opened_with_a_queue_counts(fixture: BacklogFixture) -> None:
    alice = Session("alice", acknowledges=False, position=0)
    alice.queue = [Entry(1, "/a", b"xx")]
    fixture.hub.open(alice)
    assert fixture.size == waiting(2)


def test_at_the_limit_nobody_is_closed_and_above_it_the_largest_is() -> None:
    fixture = BacklogFixture(queued_bytes=waiting(100) + waiting(300) + waiting(200))
    for name, size in (("small", 100), ("large", 300), ("middle", 200)):
        fixture.session(name, f"/{name}")
        fixture.publish(f"/{name}", size)
    assert fixture.ended_ids() == []
    fixture.session("new", "/new")
    fixture.publish("/new", 1)
    assert fixture.ended_ids() == ["large"]
    assert fixture.size == waiting(100) + waiting(200) + waiting(1)
    assert fixture.hub.statistics()["overflowed_total"] == 1


def test_sessions_are_closed_until_the_others_are_within_the_limit() -> None:
    fixture = BacklogFixture(queued_bytes=waiting(1000, 4))
    for n in range(4):
        fixture.session(f"shares {n}", "/a")
    fixture.publish("/a", 1000)
    fixture.session("small", "/b")
    # To close one of those who share a message frees little.
    fixture.publish("/b", 10)
    assert fixture.ended_ids() == [f"shares {n}" for n in range(4)]
    assert fixture.size == waiting(10)


def test_a_connection_that_reads_is_not_affected() -> None:
    fixture = BacklogFixture(queued_bytes=waiting(1000))
    stream = RecordingStream()
    fixture.hub.attach(fixture.session("reads", "/**"), stream)
    fixture.session("slow", "/a")
    fixture.publish("/a", 1000)
    fixture.publish("/a", 1000)
    fixture.publish("/a", 1000)
    assert fixture.ended_ids() == ["slow"]
    assert len(stream.entries) == 3


def test_a_bounded_number_of_sessions_is_closed_in_a_turn() -> None:
    fixture = BacklogFixture(queued_bytes=1)
    for n in range(CLOSED_AT_ONCE + 1):
        fixture.session(str(n), "/a")
    fixture.hub.dispatch(Entry(1, "/a", b"x"))
    fixture.clock.turn()
    assert len(fixture.ended_ids()) == CLOSED_AT_ONCE
    fixture.clock.turn()
    assert len(fixture.ended_ids()) == CLOSED_AT_ONCE + 1
    assert fixture.size == 0
