"""A connection is given a bounded part of a large queue at once; the rest waits.

What a connection cannot send is copied for it and counted nowhere, while messages in
queues are shared and counted.
"""

from collections.abc import Sequence

import pytest

from txbayeux.engine.session import WRITE_BYTES
from txbayeux.message import Entry
from txbayeux.testing import RecordingStream

from .hub_fixture import HubFixture, positions

QUARTER = b"x" * (WRITE_BYTES // 4)


@pytest.fixture
def fixture() -> HubFixture:
    return HubFixture()


def batches(stream: RecordingStream) -> list[list[int]]:
    return [positions(batch) for batch in stream.batches]


class StallingStream(RecordingStream):
    """One that takes nothing after each batch, until a test makes it writable."""

    def send(self, entries: Sequence[Entry]) -> None:
        super().send(entries)
        self.writable = False


def test_a_stream_gets_a_large_queue_in_several_turns(fixture: HubFixture) -> None:
    stream, alice = RecordingStream(), fixture.session("alice", "/a")
    for _ in range(9):
        fixture.dispatch(json=QUARTER)
    fixture.hub.attach(alice, stream)
    fixture.turn()
    assert batches(stream) == [[1, 2, 3, 4]]
    fixture.turn()
    fixture.turn()
    assert batches(stream) == [[1, 2, 3, 4], [5, 6, 7, 8], [9]]


def test_messages_that_are_larger_are_given_one_by_one(fixture: HubFixture) -> None:
    stream, alice = RecordingStream(), fixture.session("alice", "/a")
    for _ in range(2):
        fixture.dispatch(json=QUARTER * 5)
    fixture.hub.attach(alice, stream)
    fixture.turn()
    assert batches(stream) == [[1]]
    fixture.turn()
    assert batches(stream) == [[1], [2]]


def test_the_rest_waits_for_a_stream_that_stalls(fixture: HubFixture) -> None:
    stream, alice = StallingStream(), fixture.session("alice", "/a")
    fixture.hub.attach(alice, stream)
    for _ in range(9):
        fixture.dispatch(json=QUARTER)
    fixture.finish()
    assert batches(stream) == [[1, 2, 3, 4]]
    statistics = fixture.hub.statistics()
    assert statistics["queued_bytes"] == 5 * len(QUARTER)
    assert statistics["backlog_bytes"] > 5 * len(QUARTER)
    for _ in range(2):
        stream.writable = True
        fixture.hub.resume(stream)
        fixture.finish()
    assert batches(stream) == [[1, 2, 3, 4], [5, 6, 7, 8], [9]]
    assert fixture.hub.statistics()["backlog_bytes"] == 0


def test_polls_get_a_large_queue_one_after_the_other(fixture: HubFixture) -> None:
    alice = fixture.session("alice", "/a")
    for _ in range(9):
        fixture.dispatch(json=QUARTER)
    fixture.finish()
    received = []
    for _ in range(3):
        answers = fixture.connect(alice)
        fixture.finish()
        received.append(positions(answers[0].entries))
    assert received == [[1, 2, 3, 4], [5, 6, 7, 8], [9]]
    assert fixture.hub.statistics()["backlog_bytes"] == 0


def test_a_part_is_acknowledged_as_such(fixture: HubFixture) -> None:
    alice = fixture.session("alice", "/a", acknowledges=True)
    for _ in range(5):
        fixture.dispatch(json=QUARTER)
    fixture.dispatch("/other")
    (first,) = fixture.connect(alice, hold=0)
    assert (positions(first.entries), first.acknowledgement) == ([1, 2, 3, 4], 4)
    (again,) = fixture.connect(alice, hold=0, acknowledged=2)
    assert (positions(again.entries), again.acknowledgement) == ([3, 4, 5], 6)
    (rest,) = fixture.connect(alice, hold=0, acknowledged=6)
    assert (positions(rest.entries), rest.acknowledgement) == ([], 6)
    assert fixture.hub.statistics()["queued_bytes"] == 0


def test_a_queue_over_its_limit_is_written_part_by_part_at_once() -> None:
    fixture = HubFixture(queue_bytes=len(QUARTER))
    stream, alice = RecordingStream(), fixture.session("alice", "/a")
    fixture.hub.attach(alice, stream)
    fixture.hub.give_back(alice, [Entry(n, "/a", QUARTER) for n in range(1, 10)])
    assert batches(stream) == [[1, 2, 3, 4], [5, 6, 7, 8]]
    fixture.finish()
    assert batches(stream)[2:] == [[9]]
    assert fixture.ended == []


def test_everything_is_written_before_a_stop(fixture: HubFixture) -> None:
    stream, alice = RecordingStream(), fixture.session("alice", "/a")
    fixture.hub.attach(alice, stream)
    bob = fixture.session("bob", "/a")
    answers = fixture.connect(bob)
    for _ in range(9):
        fixture.dispatch(json=QUARTER)
    fixture.hub.flush()
    assert positions(stream.entries) == positions(answers[0].entries)
    assert positions(stream.entries) == list(range(1, 10))
