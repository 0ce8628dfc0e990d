"""The hub: gathering, flushing, and being called back in the middle."""

from collections.abc import Sequence
from typing import Any

import pytest
from twisted.internet.task import Clock

from txbayeux.engine.hub import Hub
from txbayeux.engine.session import Session
from txbayeux.events import Reason
from txbayeux.interfaces import Delivery
from txbayeux.limits import Limits
from txbayeux.message import Entry
from txbayeux.testing import RecordingStream


class House:
    def __init__(self, **limits: int) -> None:
        self.clock = Clock()
        self.hub = Hub(
            self.clock,
            limits=Limits(**limits),
            session_timeout=60,
            expired=lambda session: self.end(session, Reason.TIMEOUT),
            overflowed=lambda session: self.end(session, Reason.KICKED),
        )
        self.ended: list[tuple[str, Reason]] = []
        self.position = 0

    def end(self, session: Session, reason: Reason) -> None:
        self.ended.append((session.id, reason))
        self.hub.close(session, reason)

    def session(self, name: str, *channels: str, acknowledges: bool = False) -> Session:
        session = Session(name, acknowledges=acknowledges, position=self.position)
        self.hub.open(session)
        self.hub.subscribe(session, channels)
        return session

    def dispatch(self, channel: str = "/a") -> int:
        self.position += 1
        self.hub.dispatch(Entry(self.position, channel, b"{}"))
        return self.position

    def connect(
        self, session: Session, hold: float = 30, stream: Any = None
    ) -> list[Delivery]:
        answers: list[Delivery] = []
        self.hub.connect(
            session, hold=hold, stream=stream, acknowledged=None
        ).addCallback(answers.append)
        return answers

    def turn(self) -> None:
        self.clock.advance(0)


@pytest.fixture
def house() -> House:
    return House()


def positions(entries: Sequence[Entry]) -> list[int]:
    return [entry.position for entry in entries]


def test_what_comes_in_one_turn_goes_out_in_one_write(house: House) -> None:
    stream, alice = RecordingStream(), house.session("alice", "/a")
    house.connect(alice, stream=stream)
    house.turn()
    house.dispatch()
    house.dispatch()
    assert stream.batches == []
    house.turn()
    house.dispatch()
    house.turn()
    assert [positions(batch) for batch in stream.batches] == [[1, 2], [3]]


def test_nothing_is_scheduled_where_nobody_listens(house: House) -> None:
    house.dispatch()
    assert house.clock.getDelayedCalls() == []


def test_subscribers_share_one_entry(house: House) -> None:
    streams = [RecordingStream() for _ in range(3)]
    for n, stream in enumerate(streams):
        house.connect(house.session(str(n), "/a"), stream=stream)
    house.dispatch()
    house.turn()
    assert len({id(stream.entries[0]) for stream in streams}) == 1


def test_a_connection_that_goes_in_the_same_turn_gets_nothing(house: House) -> None:
    stream, alice = RecordingStream(), house.session("alice", "/a")
    house.connect(alice, 0, stream)
    house.dispatch()
    house.hub.detach(stream)
    house.turn()
    assert stream.batches == []
    answers = house.connect(alice)
    house.turn()
    assert positions(answers[0].entries) == [1]


def test_a_queue_that_would_overflow_is_written_at_once() -> None:
    house = House(queue_messages=2)
    stream, alice = RecordingStream(), house.session("alice", "/a")
    house.connect(alice, stream=stream)
    house.turn()
    for _ in range(3):
        house.dispatch()
    assert [positions(batch) for batch in stream.batches] == [[1, 2, 3]]
    assert house.ended == []


def test_an_overflow_in_the_middle_of_a_dispatch_spares_the_others() -> None:
    house = House(queue_messages=2)
    for name in ("a", "b", "c"):
        house.session(name, "/a")
    bob = house.session("bob", "/a")
    poll = house.connect(bob)
    for _ in range(3):
        house.dispatch()
    assert sorted(name for name, _ in house.ended) == ["a", "b", "c"]
    house.turn()
    assert positions(poll[0].entries) == [1, 2, 3]


def test_answering_a_connect_may_end_its_session(house: House) -> None:
    alice = house.session("alice", "/a")
    held = house.hub.connect(alice, hold=30, stream=None, acknowledged=None)
    held.addCallback(lambda _: house.end(alice, Reason.KICKED))
    [delivery] = house.connect(alice)
    assert (delivery.ended, list(delivery.entries)) == (Reason.KICKED, [])
    assert house.ended == [("alice", Reason.KICKED)]
    house.clock.advance(1000)
    assert house.clock.getDelayedCalls() == []


def test_being_replaced_may_end_the_session(house: House) -> None:
    class Sore(RecordingStream):
        def replaced(self) -> None:
            house.end(alice, Reason.KICKED)

    alice = house.session("alice", "/a")
    house.connect(alice, 0, Sore())
    [delivery] = house.connect(alice)
    assert delivery.ended is Reason.KICKED


def test_answering_a_connect_may_connect_again(house: House) -> None:
    alice, again = house.session("alice", "/a"), list[Delivery]()

    def reconnect(delivery: Delivery) -> None:
        again.append(delivery)
        if len(again) < 5:
            third = house.hub.connect(alice, hold=30, stream=None, acknowledged=None)
            third.addCallback(reconnect)

    house.hub.connect(alice, hold=30, stream=None, acknowledged=None).addCallback(
        reconnect
    )
    for _ in range(3):
        house.dispatch()
        house.turn()
    assert [positions(delivery.entries) for delivery in again] == [[1], [2], [3]]


def test_an_alarm_that_ends_a_session_leaves_none(house: House) -> None:
    alice = house.session("alice")
    held = house.hub.connect(alice, hold=30, stream=None, acknowledged=None)
    held.addCallback(lambda _: (house.end(alice, Reason.CLIENT), house.hub.stop()))
    house.clock.advance(30)
    assert house.clock.getDelayedCalls() == []
    assert house.ended == [("alice", Reason.CLIENT)]


def test_a_stream_whose_end_fails_harms_nobody(house: House) -> None:
    class Bad(RecordingStream):
        def replaced(self) -> None:
            raise RuntimeError("a stream's own fault")

        def close(self, reason: Reason) -> None:
            raise RuntimeError("a stream's own fault")

    alice = house.session("alice", "/a")
    house.connect(alice, 0, Bad())
    house.connect(alice, 0, Bad())
    house.end(alice, Reason.CLIENT)
    assert house.ended == [("alice", Reason.CLIENT)]


def test_sending_may_publish_and_end_sessions(house: House) -> None:
    class Busy(RecordingStream):
        def send(self, entries: Sequence[Entry]) -> None:
            super().send(entries)
            if len(self.batches) == 1:
                house.dispatch()
                house.end(bob, Reason.CLIENT)

    stream, other = Busy(), RecordingStream()
    house.connect(house.session("alice", "/a"), stream=stream)
    bob = house.session("bob", "/a")
    house.connect(bob, stream=other)
    house.dispatch()
    house.turn()
    house.turn()
    assert [positions(batch) for batch in stream.batches] == [[1], [2]]
    assert other.closed == [Reason.CLIENT]


def test_a_busy_session_costs_one_alarm(house: House) -> None:
    alice = house.session("alice", "/a")
    for _ in range(100):
        house.connect(alice, 0)
        house.clock.advance(0.5)
    assert len(house.hub._alarms._heap) <= 3
    assert len(house.clock.getDelayedCalls()) == 1


def test_a_flush_can_be_asked_for(house: House) -> None:
    alice, heard = house.session("alice", "/a"), list[Entry]()
    house.hub.listeners.add("/a", heard.append)
    poll = house.connect(alice)
    house.dispatch()
    house.hub.flush()
    assert (positions(poll[0].entries), positions(heard)) == ([1], [1])


def test_totals_count_what_was_done() -> None:
    house = House(queue_messages=1)
    alice, bob = house.session("alice", "/a"), house.session("bob", "/a")
    house.dispatch()
    house.connect(alice)
    house.turn()
    house.dispatch()
    house.turn()
    house.clock.advance(1000)
    house.clock.advance(1000)
    found = house.hub.statistics([alice, bob])
    assert {name: n for name, n in found.items() if name.endswith("_total")} == {
        "published_total": 2,
        "delivered_total": 1,
        "expired_total": 1,
        "overflowed_total": 1,
        "refused_total": 0,
    }


def test_who_is_answered_together_is_told_so(house: House) -> None:
    sessions = [house.session(name, "/a") for name in ("alice", "bob")]
    turns = []
    for _ in range(2):
        held = [house.connect(session) for session in sessions]
        house.dispatch()
        house.turn()
        (first, second) = [answer.turn for (answer,) in held]
        assert first == second
        turns.append(first)
    (alone,) = house.connect(sessions[0], hold=0)
    held = house.connect(sessions[1])
    house.clock.advance(30)
    assert [alone.turn, held[0].turn] == [None, None]
    assert None not in turns
    assert turns[0] != turns[1]
