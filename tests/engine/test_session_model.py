"""A model of the state of sessions in one engine, compared after random operations.

It has each session's queue, held connect, stream, acknowledgements and limits.  Which
messages arrive when sessions move between nodes is in test_delivery_model.py.
"""

from collections.abc import Sequence
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from txbayeux.channel import matches
from txbayeux.engine.memory import MemoryEngine
from txbayeux.events import Reason
from txbayeux.interfaces import Delivery
from txbayeux.limits import Limits
from txbayeux.message import Entry, encode
from txbayeux.testing import RecordingObserver, RecordingStream

MOST_MESSAGES = 6
MOST_SUBSCRIPTIONS = 4

CHANNELS = st.sampled_from(["/a", "/b", "/a/b", "/a/c", "/a/b/c"])
PATTERNS = st.sampled_from(["/a", "/b", "/a/b", "/*", "/a/*", "/a/**", "/**"])


class SessionModel:
    """The expected state of one session."""

    def __init__(self, session_id: str, acknowledges: bool) -> None:
        self.id = session_id
        self.acknowledges = acknowledges
        self.alive = True
        self.subscriptions: set[str] = set()
        self.queue: list[int] = []
        self.sent = 0
        self.stream: RecordingStream | None = None
        self.streamed: dict[int, list[int]] = {}
        self.held: list[Delivery] | None = None
        self.withdraw: Deferred[Any] | None = None
        self.last: tuple[Delivery, list[int]] | None = None
        self.positions: dict[int, int] = {}

    def take(self) -> list[int]:
        if self.acknowledges:
            fresh, self.sent = self.queue[self.sent :], len(self.queue)
            return fresh
        taken, self.queue = self.queue, []
        return taken


class SessionMachine(RuleBasedStateMachine):
    """Runs the operations on the engine in memory, and on the model."""

    session = Bundle("session")

    def wait(self, deferred: Deferred[Any]) -> Any:
        """Return the result of a Deferred, or raise its failure."""
        results: list[Any] = []
        deferred.addCallbacks(results.append, lambda failure: failure.raiseException())
        assert results, "it has not fired"
        return results[0]

    def settle(self) -> None:
        """Pass turns until messages have reached their connections."""
        self.clock.advance(0)

    def __init__(self) -> None:
        super().__init__()
        self.observer = RecordingObserver()
        self.clock = Clock()
        limits = Limits(
            queue_messages=MOST_MESSAGES, session_subscriptions=MOST_SUBSCRIPTIONS
        )
        self.engine = MemoryEngine(self.clock, limits=limits, session_timeout=1e9)
        self.wait(self.engine.start(self.observer))
        self.everyone: list[SessionModel] = []
        self.number = 0

    def teardown(self) -> None:
        self.wait(self.engine.stop())
        assert self.clock.getDelayedCalls() == []

    # Operations

    @rule(target=session, acknowledges=st.booleans())
    def create(self, acknowledges: bool) -> SessionModel:
        session_id = self.wait(self.engine.create_session(acknowledges=acknowledges))
        self.everyone.append(SessionModel(session_id, acknowledges))
        return self.everyone[-1]

    @rule(who=session, channels=st.lists(PATTERNS, max_size=4))
    def subscribe(self, who: SessionModel, channels: list[str]) -> None:
        new = [c for c in dict.fromkeys(channels) if c not in who.subscriptions]
        outcome = self.engine.subscribe(who.id, channels)
        if not who.alive:
            self.fails(outcome, 402)
        elif len(who.subscriptions) + len(new) > MOST_SUBSCRIPTIONS:
            self.fails(outcome, 403)
        else:
            assert list(self.wait(outcome)) == new
            who.subscriptions.update(new)

    @rule(who=session, channels=st.lists(PATTERNS, max_size=4))
    def unsubscribe(self, who: SessionModel, channels: list[str]) -> None:
        gone = [c for c in dict.fromkeys(channels) if c in who.subscriptions]
        outcome = self.engine.unsubscribe(who.id, channels)
        if not who.alive:
            return self.fails(outcome, 402)
        assert list(self.wait(outcome)) == gone
        return who.subscriptions.difference_update(gone)

    @rule(channel=CHANNELS, count=st.integers(1, 3))
    def publish(self, channel: str, count: int) -> None:
        for _ in range(count):
            self.wait(self.engine.publish(channel, self.message(channel)))
            self.settle()
            for who in self.everyone:
                if any(matches(pattern, channel) for pattern in who.subscriptions):
                    self.queued(who, [self.number])

    @rule(who=session)
    def deliver(self, who: SessionModel) -> None:
        outcome = self.engine.deliver(who.id, "/x", self.message("/x"))
        if not who.alive:
            return self.fails(outcome, 402)
        self.wait(outcome)
        return self.queued(who, [self.number])

    @rule(who=session)
    def destroy(self, who: SessionModel) -> None:
        outcome = self.engine.destroy_session(who.id, Reason.CLIENT)
        if not who.alive:
            return self.fails(outcome, 402)
        self.wait(outcome)
        return self.end(who)

    # Connections

    @rule(who=session, which=st.sampled_from(["last", "older", "none", "huge", "-1"]))
    def poll(self, who: SessionModel, which: str) -> None:
        self.connect(who, which, 0)

    @rule(who=session, which=st.sampled_from(["last", "none"]))
    def hold(self, who: SessionModel, which: str) -> None:
        self.connect(who, which, 30)

    def connect(self, who: SessionModel, which: str, hold: float) -> None:
        position = self.position(who, which)
        outcome = self.engine.connect(who.id, hold=hold, acknowledged=position)
        if not who.alive:
            return self.fails(outcome, 402)
        self.settle()
        if who.held is not None:
            self.answered(who, [], superseded=True)
        if who.acknowledges:
            known = 0 if position is None else position
            while who.sent and who.positions[who.queue[0]] <= known:
                who.queue.pop(0)
                who.sent -= 1
            who.sent = 0
        if who.stream is not None:
            assert who.stream.replacements == 1
            who.stream = None
        who.held, who.withdraw = [], outcome
        outcome.addCallbacks(who.held.append, lambda _: None)
        self.settle()
        if hold == 0 or who.queue:
            self.answered(who, who.take())
        return None

    def position(self, who: SessionModel, which: str) -> int | None:
        sent = [who.positions[number] for number in who.queue[: who.sent]]
        return {
            "last": sent[-1] if sent else 0,
            "older": sent[0] if sent else -7,
            "none": None,
            "huge": 2**60,
            "-1": -1,
        }[which]

    @rule(who=session)
    def cancel(self, who: SessionModel) -> None:
        if who.withdraw is not None and who.held is not None:
            who.withdraw.cancel()
            who.held = who.withdraw = None

    @rule(who=session)
    def give_back(self, who: SessionModel) -> None:
        if who.last is None:
            return
        delivery, numbers = who.last
        who.last = None
        delivery.give_back()
        if who.alive and not who.acknowledges:
            self.queued(who, numbers, first=True)

    @rule(who=session, writable=st.booleans())
    def attach(self, who: SessionModel, writable: bool) -> None:
        stream = RecordingStream(writable=writable)
        outcome = self.engine.attach(who.id, stream)
        if not who.alive:
            return self.fails(outcome, 402)
        self.wait(outcome)
        if who.stream is not None:
            assert who.stream.replacements == 1
        who.stream = stream
        who.streamed[id(stream)] = []
        return self.queued(who, [])

    @rule(who=session, writable=st.booleans())
    def set_writable(self, who: SessionModel, writable: bool) -> None:
        if who.stream is not None:
            who.stream.writable = writable
            if writable:
                self.engine.hub.resume(who.stream)
            self.queued(who, [])

    @rule(who=session, unsent=st.integers(0, 3))
    def detach(self, who: SessionModel, unsent: int) -> None:
        if who.stream is not None:
            stream, who.stream = who.stream, None
            lost: Sequence[Entry] = stream.entries[len(stream.entries) - unsent :]
            if len(stream.entries) < unsent:
                lost = ()
            self.engine.hub.detach(stream, lost)
            self.queued(who, [entry.message()["data"] for entry in lost], first=True)

    # Expectations

    def message(self, channel: str) -> bytes:
        self.number += 1
        return encode({"channel": channel, "data": self.number})

    def queued(
        self, who: SessionModel, numbers: list[int], *, first: bool = False
    ) -> None:
        self.settle()
        if not who.alive:
            return
        who.queue = numbers + who.queue if first else who.queue + numbers
        if who.acknowledges or who.stream is None:
            if who.held is not None and len(who.queue) > who.sent:
                self.answered(who, who.take())
        elif who.stream.writable:
            who.streamed[id(who.stream)] += who.take()
        if len(who.queue) > MOST_MESSAGES:
            self.settle()
            assert (who.id, Reason.KICKED) in self.observer.closed
            self.end(who)

    def answered(
        self, who: SessionModel, numbers: list[int], *, superseded: bool = False
    ) -> None:
        assert who.held, "a connect was not answered"
        [delivery] = who.held
        who.held = who.withdraw = None
        assert [entry.message()["data"] for entry in delivery.entries] == numbers
        assert delivery.superseded == superseded
        assert (delivery.acknowledgement is not None) == who.acknowledges
        who.positions.update(
            (number, entry.position)
            for number, entry in zip(numbers, delivery.entries, strict=True)
        )
        if numbers:
            who.last = (delivery, numbers)

    def end(self, who: SessionModel) -> None:
        self.settle()
        who.alive = False
        who.subscriptions, who.queue, who.sent = set(), [], 0
        if who.held is not None:
            assert who.held[0].ended is not None
            self.answered(who, [])
        if who.stream is not None:
            assert len(who.stream.closed) == 1
            who.stream = None

    def fails(self, outcome: Deferred[Any], code: int) -> None:
        failures: list[Any] = []
        outcome.addErrback(failures.append)
        self.settle()
        assert failures, "it did not fail"
        assert failures[0].value.code == code

    @invariant()
    def streams_got_what_they_should(self) -> None:
        for who in self.everyone:
            if who.stream is not None:
                assert who.stream.data == who.streamed[id(who.stream)]
                assert not who.stream.closed

    @invariant()
    def the_statistics_agree(self) -> None:
        alive = [who for who in self.everyone if who.alive]
        expected = {
            "sessions": len(alive),
            "subscriptions": sum(len(who.subscriptions) for who in alive),
            "held": sum(who.held is not None for who in alive),
            "streams": sum(who.stream is not None for who in alive),
            "queued_messages": sum(len(who.queue) for who in alive),
        }
        found = self.engine.statistics()
        assert {name: found[name] for name in expected} == expected

    @invariant()
    def each_end_is_reported_once(self) -> None:
        ended = [session_id for session_id, _ in self.observer.closed]
        assert sorted(ended) == sorted(who.id for who in self.everyone if not who.alive)


TestSessionMachine = SessionMachine.TestCase
TestSessionMachine.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None
)
