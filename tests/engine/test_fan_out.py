"""A fan-out to many sessions takes a bounded amount of work in each reactor turn."""

from collections.abc import Callable, Sequence

import pytest

from txbayeux.engine.hub import SMALL_FAN_OUT, TURN_WORK, WRITE_WORK
from txbayeux.engine.large_entries import MAX_ENTRIES
from txbayeux.engine.queue_limits import CLOSED_AT_ONCE
from txbayeux.testing import RecordingStream

from .hub_fixture import HubFixture, positions

WRITES = TURN_WORK // (WRITE_WORK + 1) + 1
"""Most connections to which one message is written in one turn."""


@pytest.fixture
def fixture() -> HubFixture:
    return HubFixture()


def sent(streams: Sequence[RecordingStream]) -> int:
    return sum(len(stream.batches) for stream in streams)


# Writing


def test_a_turn_writes_to_a_bounded_number_of_connections(fixture: HubFixture) -> None:
    streams = fixture.streams(fixture.sessions(3 * WRITES))
    fixture.dispatch()
    counts = []
    while sent(streams) < len(streams):
        before = sent(streams)
        fixture.turn()
        counts.append(sent(streams) - before)
    assert counts == [WRITES] * 3
    assert all(positions(stream.entries) == [1] for stream in streams)


def test_a_turn_writes_a_bounded_number_of_messages(fixture: HubFixture) -> None:
    streams = fixture.streams(fixture.sessions(100))
    for _ in range(TURN_WORK // 20):
        fixture.dispatch()
    fixture.turn()
    assert sent(streams) == 20
    fixture.finish()
    assert all(len(stream.entries) == TURN_WORK // 20 for stream in streams)


def test_a_fan_out_of_ordinary_size_is_written_in_one_turn(fixture: HubFixture) -> None:
    streams = fixture.streams(fixture.sessions(1000))
    fixture.dispatch()
    fixture.turn()
    assert sent(streams) == 1000


def test_queues_are_written_in_the_order_in_which_they_filled(
    fixture: HubFixture,
) -> None:
    streams = fixture.streams(fixture.sessions(WRITES + 1000))
    fixture.dispatch()
    fixture.turn()
    assert [len(stream.batches) for stream in streams] == [1] * WRITES + [0] * 1000
    fixture.dispatch()
    fixture.turn()
    assert {tuple(positions(stream.entries)) for stream in streams[:WRITES]} == {(1,)}
    assert {tuple(positions(stream.entries)) for stream in streams[WRITES:]} == {(1, 2)}
    fixture.finish()
    assert {tuple(positions(stream.entries)) for stream in streams} == {(1, 2)}


def test_sessions_without_a_connection_cost_less_of_a_turn(fixture: HubFixture) -> None:
    fixture.sessions(3 * WRITES)
    [stream] = fixture.streams([fixture.session("last", "/a")])
    fixture.dispatch()
    fixture.turn()
    assert positions(stream.entries) == [1]


def test_what_is_under_way_is_delivered_by_flush(fixture: HubFixture) -> None:
    streams = fixture.streams(fixture.sessions(2 * WRITES))
    fixture.dispatch()
    fixture.turn()
    fixture.dispatch()
    fixture.hub.flush()
    assert {tuple(positions(stream.entries)) for stream in streams} == {(1, 2)}


# What happens in the middle


def test_a_session_may_connect_while_its_queue_waits_to_be_written(
    fixture: HubFixture,
) -> None:
    sessions = fixture.sessions(2 * WRITES)
    streams = fixture.streams(sessions[:-1])
    fixture.dispatch()
    fixture.turn()
    [delivery] = fixture.connect(sessions[-1], hold=0)
    assert positions(delivery.entries) == [1]
    held = fixture.connect(sessions[-1])
    fixture.finish()
    assert held == []
    fixture.dispatch()
    fixture.finish()
    assert positions(held[0].entries) == [2]
    assert {tuple(positions(stream.entries)) for stream in streams} == {(1, 2)}


def test_subscribing_in_the_middle_takes_effect_for_the_next_message(
    fixture: HubFixture,
) -> None:
    sessions = fixture.sessions(2 * WRITES)
    streams = fixture.streams(sessions)
    late = fixture.session("late")
    [stream] = fixture.streams([late])
    fixture.dispatch()
    fixture.turn()
    fixture.hub.subscribe(late, ["/a"])
    fixture.hub.unsubscribe(sessions[-1], ["/a"])
    fixture.dispatch()
    fixture.finish()
    assert positions(stream.entries) == [2]
    assert positions(streams[-1].entries) == [1]


def test_a_session_that_ends_in_the_middle_gets_nothing_more(
    fixture: HubFixture,
) -> None:
    sessions = fixture.sessions(2 * WRITES)
    streams = fixture.streams(sessions)
    fixture.dispatch()
    fixture.turn()
    fixture.end(sessions[-1])
    fixture.finish()
    assert streams[-1].batches == []
    assert sent(streams) == 2 * WRITES - 1


def test_a_session_that_is_taken_over_in_the_middle_keeps_its_queue(
    fixture: HubFixture,
) -> None:
    sessions = fixture.sessions(2 * WRITES)
    streams = fixture.streams(sessions)
    fixture.dispatch()
    fixture.turn()
    fixture.hub.move(sessions[-1])
    fixture.finish()
    assert positions(sessions[-1].queue) == [1]
    assert streams[-1].batches == []


# What is not written yet is not claimed in a checkpoint


def test_the_flushed_position_counts_when_all_queues_were_written(
    fixture: HubFixture,
) -> None:
    fixture.hub.lagging = set()
    fixture.streams(fixture.sessions(2 * WRITES))
    fixture.dispatch("/nobody")
    assert fixture.hub.flushed == 1
    fixture.dispatch()
    assert fixture.hub.flushed == 1
    fixture.turn()
    fixture.dispatch()
    assert (fixture.hub.position, fixture.hub.flushed) == (3, 1)
    fixture.turn()
    fixture.turn()
    assert fixture.hub.flushed == 2
    fixture.finish()
    assert (fixture.hub.flushed, fixture.hub.lagging) == (3, set())


def test_what_cannot_be_written_lags_before_the_flushed_position_passes_it(
    fixture: HubFixture,
) -> None:
    fixture.hub.lagging = set()
    streams = fixture.streams(sessions := fixture.sessions(2 * WRITES))
    streams[-1].writable = False
    fixture.dispatch()
    while fixture.hub.flushed < 1:
        assert fixture.hub.lagging == set() or fixture.hub.lagging == {sessions[-1]}
        fixture.turn()
    assert fixture.hub.lagging == {sessions[-1]}


def test_another_log_is_flushed_up_to_where_it_begins(fixture: HubFixture) -> None:
    fixture.streams(fixture.sessions(2 * WRITES))
    for _ in range(10):
        fixture.dispatch()
    fixture.turn()
    fixture.hub.restart(3)
    fixture.finish()
    assert fixture.hub.flushed == 3


# Queueing


def test_the_hub_is_busy_when_a_turn_has_queued_enough(fixture: HubFixture) -> None:
    fixture.sessions(TURN_WORK // 2)
    fixture.dispatch()
    assert not fixture.hub.busy
    fixture.dispatch()
    assert fixture.hub.busy
    fixture.turn()
    assert not fixture.hub.busy


@pytest.mark.parametrize("reached", [SMALL_FAN_OUT, SMALL_FAN_OUT + 1])
def test_only_what_reaches_many_has_to_wait(fixture: HubFixture, reached: int) -> None:
    fixture.sessions(TURN_WORK)
    for n in range(reached):
        fixture.session(f"other {n}", "/b")
    assert not fixture.hub.must_wait("/b", first=False)
    fixture.dispatch()
    for first in (False, True):
        waits = fixture.hub.must_wait("/b", first=first)
        assert waits == (reached > SMALL_FAN_OUT)


def test_the_first_of_a_request_does_not_wait_until_another_is_queued_for_all(
    fixture: HubFixture,
) -> None:
    fixture.sessions(TURN_WORK)
    fixture.dispatch()
    fixture.turn()
    assert fixture.hub.busy
    assert fixture.hub.must_wait("/a", first=False)
    assert not fixture.hub.must_wait("/a", first=True)
    for _ in range(MAX_ENTRIES):
        fixture.dispatch()
    fixture.turn()
    assert fixture.hub.must_wait("/a", first=True)


def test_those_who_wait_go_on_one_after_the_other(fixture: HubFixture) -> None:
    fixture.sessions(TURN_WORK)
    order: list[str] = []

    def publishes(name: str) -> Callable[[object], None]:
        def publish(_: object) -> None:
            order.append(name)
            fixture.dispatch()
            if order.count(name) < 2:
                fixture.hub.next_turn().addCallback(publish)

        return publish

    for name in "abc":
        fixture.hub.next_turn().addCallback(publishes(name))
    assert order == []
    for turn in range(1, 7):
        fixture.turn()
        assert len(order) == turn
    assert "".join(order) == "abcabc"


def test_those_who_wait_for_little_go_on_in_the_same_turn(fixture: HubFixture) -> None:
    went: list[None] = []
    for _ in range(3):
        fixture.hub.next_turn().addCallback(went.append)
    fixture.turn()
    assert went == [None] * 3
    assert fixture.clock.getDelayedCalls() == []


def test_those_who_wait_go_on_when_the_hub_stops(fixture: HubFixture) -> None:
    fixture.sessions(TURN_WORK)
    fixture.dispatch()
    went: list[None] = []
    fixture.hub.next_turn().addCallback(went.append)
    fixture.hub.stop()
    assert went == [None]
    assert fixture.clock.getDelayedCalls() == []


def test_those_who_wait_again_do_not_keep_the_hub_from_stopping(
    fixture: HubFixture,
) -> None:
    went: list[None] = []

    def wait(_: None) -> None:
        went.append(None)
        assert len(went) < 10
        fixture.hub.next_turn().addCallback(wait)

    fixture.hub.next_turn().addCallback(wait)
    fixture.hub.stop()
    assert went == [None]
    assert fixture.clock.getDelayedCalls() == []


# Limits


def test_a_bounded_number_of_sessions_over_their_limit_is_closed_at_once() -> None:
    fixture = HubFixture(queue_messages=2)
    names = [session.id for session in fixture.sessions(CLOSED_AT_ONCE * 5 // 2)]
    for _ in range(3):
        fixture.dispatch()
    assert fixture.ended_ids() == names[:CLOSED_AT_ONCE]
    fixture.turn()
    assert fixture.ended_ids() == names[: 2 * CLOSED_AT_ONCE]
    fixture.finish()
    assert fixture.ended_ids() == names
    assert fixture.hub.statistics()["overflowed_total"] == len(names)


def test_a_session_that_reads_before_its_turn_to_be_closed_lives_on() -> None:
    fixture = HubFixture(queue_messages=2)
    sessions = fixture.sessions(2 * CLOSED_AT_ONCE)
    for _ in range(3):
        fixture.dispatch()
    [delivery] = fixture.connect(sessions[-1], hold=0)
    assert positions(delivery.entries) == [1, 2, 3]
    fixture.hub.move(sessions[-2])
    fixture.finish()
    assert len(fixture.ended) == 2 * CLOSED_AT_ONCE - 2
    assert list(fixture.hub.sessions.values()) == [sessions[-1]]
