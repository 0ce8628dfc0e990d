"""The hub writes once per reactor turn, and callbacks may change its sessions."""

from collections.abc import Sequence

import pytest

from txbayeux.events import Reason
from txbayeux.interfaces import Delivery
from txbayeux.message import Entry
from txbayeux.testing import RecordingStream

from .hub_fixture import HubFixture, positions


@pytest.fixture
def fixture() -> HubFixture:
    return HubFixture()


def test_entries_of_one_turn_are_written_at_once(fixture: HubFixture) -> None:
    stream, alice = RecordingStream(), fixture.session("alice", "/a")
    fixture.connect(alice, stream=stream)
    fixture.turn()
    fixture.dispatch()
    fixture.dispatch()
    assert stream.batches == []
    fixture.turn()
    fixture.dispatch()
    fixture.turn()
    assert [positions(batch) for batch in stream.batches] == [[1, 2], [3]]


def test_nothing_is_scheduled_without_subscribers(fixture: HubFixture) -> None:
    fixture.dispatch()
    assert fixture.clock.getDelayedCalls() == []


def test_subscribers_share_one_entry(fixture: HubFixture) -> None:
    streams = [RecordingStream() for _ in range(3)]
    for n, stream in enumerate(streams):
        fixture.connect(fixture.session(str(n), "/a"), stream=stream)
    fixture.dispatch()
    fixture.turn()
    assert len({id(stream.entries[0]) for stream in streams}) == 1


def test_a_connection_lost_in_the_same_turn_gets_nothing(fixture: HubFixture) -> None:
    stream, alice = RecordingStream(), fixture.session("alice", "/a")
    fixture.connect(alice, 0, stream)
    fixture.dispatch()
    fixture.hub.detach(stream)
    fixture.turn()
    assert stream.batches == []
    answers = fixture.connect(alice)
    fixture.turn()
    assert positions(answers[0].entries) == [1]


def test_a_queue_over_its_limit_is_written_at_once() -> None:
    fixture = HubFixture(queue_messages=2)
    stream, alice = RecordingStream(), fixture.session("alice", "/a")
    fixture.connect(alice, stream=stream)
    fixture.turn()
    for _ in range(3):
        fixture.dispatch()
    assert [positions(batch) for batch in stream.batches] == [[1, 2, 3]]
    assert fixture.ended == []


def test_an_overflow_during_a_dispatch_does_not_affect_others() -> None:
    fixture = HubFixture(queue_messages=2)
    for name in ("a", "b", "c"):
        fixture.session(name, "/a")
    bob = fixture.session("bob", "/a")
    poll = fixture.connect(bob)
    for _ in range(3):
        fixture.dispatch()
    assert sorted(name for name, _ in fixture.ended) == ["a", "b", "c"]
    fixture.turn()
    assert positions(poll[0].entries) == [1, 2, 3]


def test_answering_a_connect_may_end_its_session(fixture: HubFixture) -> None:
    alice = fixture.session("alice", "/a")
    held = fixture.hub.connect(alice, hold=30, stream=None, acknowledged=None)
    held.addCallback(lambda _: fixture.end(alice, Reason.KICKED))
    [delivery] = fixture.connect(alice)
    assert (delivery.ended, list(delivery.entries)) == (Reason.KICKED, [])
    assert fixture.ended == [("alice", Reason.KICKED)]
    fixture.clock.advance(1000)
    assert fixture.clock.getDelayedCalls() == []


def test_being_replaced_may_end_the_session(fixture: HubFixture) -> None:
    class EndsSession(RecordingStream):
        def replaced(self) -> None:
            fixture.end(alice, Reason.KICKED)

    alice = fixture.session("alice", "/a")
    fixture.connect(alice, 0, EndsSession())
    [delivery] = fixture.connect(alice)
    assert delivery.ended is Reason.KICKED


def test_answering_a_connect_may_connect_again(fixture: HubFixture) -> None:
    alice, again = fixture.session("alice", "/a"), list[Delivery]()

    def reconnect(delivery: Delivery) -> None:
        again.append(delivery)
        if len(again) < 5:
            third = fixture.hub.connect(alice, hold=30, stream=None, acknowledged=None)
            third.addCallback(reconnect)

    fixture.hub.connect(alice, hold=30, stream=None, acknowledged=None).addCallback(
        reconnect
    )
    for _ in range(3):
        fixture.dispatch()
        fixture.turn()
    assert [positions(delivery.entries) for delivery in again] == [[1], [2], [3]]


def test_a_timer_that_ends_its_session_is_not_set_again(fixture: HubFixture) -> None:
    alice = fixture.session("alice")
    held = fixture.hub.connect(alice, hold=30, stream=None, acknowledged=None)
    held.addCallback(lambda _: (fixture.end(alice, Reason.CLIENT), fixture.hub.stop()))
    fixture.clock.advance(30)
    assert fixture.clock.getDelayedCalls() == []
    assert fixture.ended == [("alice", Reason.CLIENT)]


def test_a_stream_that_raises_when_closed_is_logged(fixture: HubFixture) -> None:
    class Bad(RecordingStream):
        def replaced(self) -> None:
            raise RuntimeError("an error in a stream")

        def close(self, reason: Reason) -> None:
            raise RuntimeError("an error in a stream")

    alice = fixture.session("alice", "/a")
    fixture.connect(alice, 0, Bad())
    fixture.connect(alice, 0, Bad())
    fixture.end(alice, Reason.CLIENT)
    assert fixture.ended == [("alice", Reason.CLIENT)]


def test_sending_may_publish_and_end_sessions(fixture: HubFixture) -> None:
    class PublishesWhenSent(RecordingStream):
        def send(self, entries: Sequence[Entry]) -> None:
            super().send(entries)
            if len(self.batches) == 1:
                fixture.dispatch()
                fixture.end(bob, Reason.CLIENT)

    stream, other = PublishesWhenSent(), RecordingStream()
    fixture.connect(fixture.session("alice", "/a"), stream=stream)
    bob = fixture.session("bob", "/a")
    fixture.connect(bob, stream=other)
    fixture.dispatch()
    fixture.turn()
    fixture.turn()
    assert [positions(batch) for batch in stream.batches] == [[1], [2]]
    assert other.closed == [Reason.CLIENT]


def test_a_polling_session_needs_one_timer(fixture: HubFixture) -> None:
    alice = fixture.session("alice", "/a")
    for _ in range(100):
        fixture.connect(alice, 0)
        fixture.clock.advance(0.5)
    wakes = []
    while calls := fixture.clock.getDelayedCalls():
        wakes.append(calls[0].getTime())
        assert len(calls) == 1
        fixture.clock.advance(wakes[-1] - fixture.clock.seconds())
    # Once for the first connect, which set the timer, and once for the last.
    assert wakes == [60, 109.5]
    assert fixture.ended == [("alice", Reason.TIMEOUT)]


def test_flush_delivers_at_once(fixture: HubFixture) -> None:
    alice, received = fixture.session("alice", "/a"), list[Entry]()
    fixture.hub.listen("/a", received.append)
    poll = fixture.connect(alice)
    fixture.dispatch()
    fixture.hub.flush()
    assert (positions(poll[0].entries), positions(received)) == ([1], [1])


def test_totals_count_since_the_start() -> None:
    fixture = HubFixture(queue_messages=1)
    alice, _ = fixture.session("alice", "/a"), fixture.session("bob", "/a")
    fixture.dispatch()
    fixture.connect(alice)
    fixture.turn()
    fixture.dispatch()
    fixture.turn()
    fixture.clock.advance(1000)
    fixture.clock.advance(1000)
    found = fixture.hub.statistics()
    assert {name: n for name, n in found.items() if name.endswith("_total")} == {
        "published_total": 2,
        "delivered_total": 1,
        "expired_total": 1,
        "overflowed_total": 1,
        "refused_total": 0,
        "refused_publishes_total": 0,
    }


def test_deliveries_of_one_flush_share_a_turn_number(fixture: HubFixture) -> None:
    sessions = [fixture.session(name, "/a") for name in ("alice", "bob")]
    turns = []
    for _ in range(2):
        held = [fixture.connect(session) for session in sessions]
        fixture.dispatch()
        fixture.turn()
        (first, second) = [answer.turn for (answer,) in held]
        assert first == second
        turns.append(first)
    (alone,) = fixture.connect(sessions[0], hold=0)
    held = fixture.connect(sessions[1])
    fixture.clock.advance(30)
    assert [alone.turn, held[0].turn] == [None, None]
    assert None not in turns
    assert turns[0] != turns[1]
