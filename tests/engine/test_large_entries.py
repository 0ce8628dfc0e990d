"""A message with very many subscribers is queued over several reactor turns.

Nobody notices but for the time: each session gets the same messages in the same order
as if it had been queued for all at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from txbayeux.engine import hub as hub_module
from txbayeux.engine.large_entries import MAX_ENTRIES, SLICE
from txbayeux.engine.session import Session
from txbayeux.message import Entry
from txbayeux.testing import RecordingStream

from .hub_fixture import HubFixture, positions

NAMES = tuple("abcdef")
CHANNELS = ("/one", "/two")


@pytest.fixture
def fixture() -> HubFixture:
    return HubFixture()


def queued(sessions: Sequence[Session]) -> int:
    return sum(len(session.queue) for session in sessions)


def test_a_turn_queues_a_message_for_a_bounded_number_of_sessions(
    fixture: HubFixture,
) -> None:
    sessions = fixture.sessions(2 * SLICE + 1)
    fixture.dispatch()
    counts = [queued(sessions)]
    while fixture.hub.busy:
        fixture.turn()
        counts.append(queued(sessions))
    assert counts == [0, SLICE, 2 * SLICE, 2 * SLICE + 1]


def test_a_later_message_does_not_overtake_it(fixture: HubFixture) -> None:
    sessions = fixture.sessions(2 * SLICE)
    fixture.hub.subscribe(sessions[-1], ["/few"])
    [stream] = fixture.streams([sessions[-1]])
    fixture.dispatch()
    fixture.dispatch("/few")
    fixture.turn()
    assert positions(stream.entries) == [1, 2]
    fixture.finish()
    assert positions(stream.entries) == [1, 2]


def test_a_message_for_one_session_does_not_overtake_it(fixture: HubFixture) -> None:
    sessions = fixture.sessions(2 * SLICE)
    fixture.dispatch()
    fixture.hub.deliver(sessions[-1], Entry(2, "/service/own", b"{}"))
    fixture.finish()
    assert positions(sessions[-1].queue) == [1, 2]


def test_a_connect_gets_it_before_its_turn(fixture: HubFixture) -> None:
    sessions = fixture.sessions(2 * SLICE)
    fixture.dispatch()
    [delivery] = fixture.connect(sessions[-1], hold=0)
    assert positions(delivery.entries) == [1]
    fixture.finish()
    assert sessions[-1].queue == []


def test_a_session_that_moves_takes_it_along(fixture: HubFixture) -> None:
    sessions = fixture.sessions(2 * SLICE)
    fixture.dispatch()
    fixture.hub.move(sessions[-1])
    fixture.hub.leave(sessions[-2])
    fixture.finish()
    assert [positions(session.queue) for session in sessions[-2:]] == [[1], [1]]


def test_a_session_that_ends_is_left_out(fixture: HubFixture) -> None:
    sessions = fixture.sessions(2 * SLICE)
    fixture.dispatch()
    fixture.end(sessions[-1])
    fixture.finish()
    assert sessions[-1].queue == []
    assert fixture.hub.statistics()["queued_messages"] == 2 * SLICE - 1


def test_whoever_subscribes_afterwards_does_not_get_it(fixture: HubFixture) -> None:
    sessions = fixture.sessions(2 * SLICE)
    late = fixture.session("late")
    fixture.dispatch()
    fixture.hub.subscribe(late, ["/a"])
    fixture.hub.unsubscribe(sessions[-1], ["/a"])
    fixture.finish()
    assert (late.queue, positions(sessions[-1].queue)) == ([], [1])


def test_the_flushed_position_stays_before_it(fixture: HubFixture) -> None:
    fixture.hub.lagging = set()
    fixture.sessions(3 * SLICE)
    fixture.dispatch("/nobody")
    fixture.dispatch()
    fixture.dispatch("/nobody")
    while fixture.hub.busy:
        assert fixture.hub.flushed == 1
        fixture.turn()
    fixture.finish()
    assert fixture.hub.flushed == 3


def test_a_bounded_number_of_them_waits(fixture: HubFixture) -> None:
    sessions = fixture.sessions(SLICE + 1)
    for _ in range(MAX_ENTRIES):
        fixture.dispatch()
    assert queued(sessions) == 0
    fixture.dispatch()
    assert [positions(session.queue) for session in sessions] == [[1]] * len(sessions)


def test_all_of_it_is_delivered_by_flush(fixture: HubFixture) -> None:
    streams = fixture.streams(fixture.sessions(2 * SLICE))
    fixture.dispatch()
    fixture.dispatch()
    fixture.hub.flush()
    assert {tuple(positions(stream.entries)) for stream in streams} == {(1, 2)}


# The same as at once, whatever happens meanwhile

Operation = tuple[str, str, str]

ACTIONS = (
    *("dispatch", "dispatch", "dispatch", "deliver", "turn"),
    *("subscribe", "unsubscribe", "connect", "attach", "end", "move"),
)

operations = st.lists(
    st.tuples(*map(st.sampled_from, (ACTIONS, NAMES, CHANNELS))), max_size=40
)


def received(script: Sequence[Operation], size: int) -> dict[str, list[int]]:
    """Return what each session got, with slices of ``size`` sessions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hub_module, "SLICE", size)
        return _Run(script).got


class _Run:
    def __init__(self, script: Sequence[Operation]) -> None:
        self.fixture = HubFixture()
        self.fixture.hub.lagging = set()
        self.got: dict[str, list[int]] = defaultdict(list)
        self.streams: dict[str, RecordingStream] = {}
        self.sent: dict[str, int] = {}
        for n, name in enumerate(NAMES):
            self.fixture.session(name, CHANNELS[0], acknowledges=n % 3 == 2)
        for operation in script:
            self.apply(*operation)
        self.apply("turn", "", "")
        self.fixture.finish()
        for name, session in self.fixture.hub.sessions.items():
            self.take(name)
            self.got[name] += positions(session.queue)
        for name, reason in self.fixture.ended:
            self.got[f"{name} {reason}"] = []

    def apply(self, operation: str, name: str, channel: str) -> None:
        session = self.fixture.hub.sessions.get(name)
        if operation == "dispatch":
            self.fixture.dispatch(channel)
        elif operation == "turn":
            self.fixture.turn()
            self.check_flushed()
        elif session is not None:
            self.take(name)
            self.change(operation, session, channel)

    def change(self, operation: str, session: Session, channel: str) -> None:
        hub, got = self.fixture.hub, self.got[session.id]
        match operation:
            case "subscribe":
                hub.subscribe(session, [channel])
            case "unsubscribe":
                hub.unsubscribe(session, [channel])
            case "deliver":
                hub.deliver(session, Entry(hub.position + 1, channel, b"{}"))
            case "connect":
                last = got[-1] if got else None
                answers = self.fixture.connect(session, hold=0, acknowledged=last)
                got += [p for a in answers for p in positions(a.entries)]
            case "attach":
                self.streams[session.id] = stream = RecordingStream()
                hub.attach(session, stream)
            case "end":
                self.fixture.end(session)
                got.clear()  # How much it got by now is a matter of time.
            case "move":
                hub.move(session)
                got += positions(session.queue)  # The next process delivers it.

    def take(self, name: str) -> None:
        """Add what came on a stream."""
        if name in self.streams:
            self.got[name] += positions(self.streams[name].entries)
            self.streams[name].batches.clear()

    def check_flushed(self) -> None:
        hub = self.fixture.hub
        assert hub.lagging is not None
        for session in hub.sessions.values():
            if session not in hub.lagging and session.queue:
                assert session.queue[0].position > hub.flushed


@settings(max_examples=300)
@given(operations)
def test_each_session_gets_the_same_as_if_it_were_queued_at_once(
    script: Sequence[Operation],
) -> None:
    assert received(script, 2) == received(script, SLICE)
