"""The engine contract: connections that messages are pushed to."""

from __future__ import annotations

from collections.abc import Sequence

from txbayeux.events import Reason
from txbayeux.interfaces import Engine
from txbayeux.limits import Limits
from txbayeux.message import Entry, encode
from txbayeux.testing.fakes import RecordingStream
from txbayeux.testing.harness import EngineHarness, contract

__all__ = ["StreamContract"]


class StreamContract(EngineHarness):
    """Attach, detach, replace, back-pressure, resume, unsent, close."""

    async def attached(
        self, engine: Engine, *channels: str, stream: RecordingStream
    ) -> str:
        """Return the id of a new session whose messages go to ``stream``."""
        session = await self.join(engine, *channels)
        await engine.attach(session, stream)
        return session

    async def sent(self, stream: RecordingStream, *data: object) -> None:
        """Wait until ``stream`` was sent exactly ``data``."""
        await self.until(lambda: len(stream.entries) >= len(data))
        await self.settle()
        assert stream.data == list(data)

    @contract
    async def test_messages_go_to_the_stream_in_order(self) -> None:
        engine, stream = await self.start(), RecordingStream()
        await self.attached(engine, "/a", "/**", stream=stream)
        await self.publish(engine, "/a", *range(20))
        await self.sent(stream, *range(20))
        assert all(stream.batches)

    @contract
    async def test_a_connects_stream_gets_what_its_answer_then_lacks(self) -> None:
        engine, stream = await self.start(), RecordingStream()
        alice = await self.join(engine, "/a")
        await self.publish(engine, "/a", 1)
        await self.settle()
        held = engine.connect(alice, hold=self.short_timeout, stream=stream)
        await self.sent(stream, 1)
        await self.publish(engine, "/a", 2)
        await self.sent(stream, 1, 2)
        await self.unanswered(held)
        await self.advance(self.short_timeout * 1.5)
        assert not (await self.answered(held)).entries

    @contract
    async def test_a_message_between_two_connects_goes_to_the_stream(self) -> None:
        engine, stream = await self.start(), RecordingStream()
        alice = await self.join(engine, "/a")
        await engine.connect(alice, hold=0, stream=stream)
        await self.publish(engine, "/a", 1)
        await self.sent(stream, 1)
        delivery = await engine.connect(alice, hold=0, stream=stream)
        assert not delivery.entries
        assert stream.replacements == 0

    @contract
    async def test_what_waits_goes_to_the_stream_that_is_attached(self) -> None:
        engine, stream = await self.start(), RecordingStream()
        alice = await self.join(engine, "/a")
        await self.publish(engine, "/a", 1, 2)
        await self.settle()
        await engine.attach(alice, stream)
        await self.sent(stream, 1, 2)

    @contract
    async def test_a_detached_session_lives_on_and_lets_messages_wait(self) -> None:
        engine, stream = await self.start(), RecordingStream()
        alice = await self.attached(engine, "/a", stream=stream)
        await self.publish(engine, "/a", 1)
        await self.sent(stream, 1)
        engine.hub.detach(stream)
        await self.publish(engine, "/a", 2)
        assert await self.poll(engine, alice) == [2]
        assert (stream.data, stream.replacements, stream.closed) == ([1], 0, [])

    @contract
    async def test_what_a_stream_could_not_write_comes_first(self) -> None:
        engine, stream = await self.start(), RecordingStream()
        alice = await self.attached(engine, "/a", stream=stream)
        await self.publish(engine, "/a", 1, 2)
        await self.sent(stream, 1, 2)
        stream.writable = False
        await self.publish(engine, "/a", 3)
        await self.settle()
        engine.hub.detach(stream, stream.entries[1:])
        assert await self.poll(engine, alice) == [2, 3]

    @contract
    async def test_what_a_replaced_stream_could_not_write_comes_again(self) -> None:
        engine = await self.start()
        stream, other = RecordingStream(), RecordingStream()
        alice = await self.attached(engine, "/a", stream=stream)
        await self.publish(engine, "/a", 1, 2)
        await self.sent(stream, 1, 2)
        await engine.attach(alice, other)
        engine.hub.detach(stream, stream.entries[1:])
        await self.sent(other, 2)
        assert engine.statistics()["streams"] == 1

    @contract
    async def test_what_waited_for_a_stream_answers_a_connect_beside_it(self) -> None:
        engine = await self.start()
        stream = RecordingStream(writable=False, preempted_by_poll=False)
        alice = await self.attached(engine, "/a", stream=stream)
        held = engine.connect(alice, hold=self.hold)
        await self.publish(engine, "/a", 1)
        await self.unanswered(held)
        engine.hub.detach(stream)
        assert self.data((await self.answered(held)).entries) == [1]

    @contract
    async def test_detaching_an_unknown_stream_changes_nothing(self) -> None:
        engine, stream = await self.start(), RecordingStream()
        await self.attached(engine, "/a", stream=stream)
        engine.hub.detach(RecordingStream())
        engine.hub.resume(RecordingStream())
        await self.publish(engine, "/a", 1)
        await self.sent(stream, 1)

    @contract
    async def test_a_second_stream_replaces_the_first_which_is_told(self) -> None:
        engine = await self.start()
        first, second = RecordingStream(), RecordingStream()
        alice = await self.attached(engine, "/a", stream=first)
        await engine.attach(alice, first)
        assert first.replacements == 0
        await engine.attach(alice, second)
        assert (first.replacements, second.replacements) == (1, 0)
        engine.hub.detach(first)
        await self.publish(engine, "/a", 1)
        await self.sent(second, 1)
        assert (first.data, first.closed) == ([], [])

    @contract
    async def test_a_poll_takes_messages_from_a_stream_that_yields(self) -> None:
        engine, stream = await self.start(), RecordingStream()
        alice = await self.attached(engine, "/a", stream=stream)
        held = engine.connect(alice, hold=self.hold)
        await self.until(lambda: stream.replacements)
        await self.publish(engine, "/a", 1)
        assert self.data((await self.answered(held)).entries) == [1]
        assert (stream.data, stream.replacements) == ([], 1)

    @contract
    async def test_a_poll_leaves_messages_to_a_stream_that_does_not_yield(
        self,
    ) -> None:
        engine, stream = await self.start(), RecordingStream(preempted_by_poll=False)
        alice = await self.attached(engine, "/a", stream=stream)
        held = engine.connect(alice, hold=self.hold)
        await self.publish(engine, "/a", 1)
        await self.sent(stream, 1)
        await self.unanswered(held)
        assert stream.replacements == 0
        assert await self.poll(engine, alice) == []

    @contract
    async def test_one_connection_may_turn_to_another_session(self) -> None:
        engine, stream = await self.start(), RecordingStream()
        alice = await self.attached(engine, "/a", stream=stream)
        bob = await self.join(engine, "/b")
        await engine.connect(bob, hold=0, stream=stream)
        await self.publish(engine, "/a", 1)
        await self.publish(engine, "/b", 2)
        await self.sent(stream, 2)
        assert await self.poll(engine, alice) == [1]
        engine.hub.detach(stream)
        await self.publish(engine, "/b", 3)
        assert await self.poll(engine, bob) == [3]

    @contract
    async def test_nothing_is_sent_while_a_stream_is_not_writable(self) -> None:
        engine, stream = await self.start(), RecordingStream(writable=False)
        await self.attached(engine, "/a", stream=stream)
        await self.publish(engine, "/a", 1, 2)
        await self.sent(stream)
        stream.writable = True
        engine.hub.resume(stream)
        await self.sent(stream, 1, 2)
        await self.publish(engine, "/a", 3)
        await self.sent(stream, 1, 2, 3)

    @contract
    async def test_a_stream_that_never_becomes_writable_ends_its_session(self) -> None:
        engine = await self.start(limits=Limits(queue_messages=3))
        slow, fast = RecordingStream(writable=False), RecordingStream()
        alice = await self.attached(engine, "/a", stream=slow)
        await self.attached(engine, "/a", stream=fast)
        for n in range(4):
            await self.publish(engine, "/a", n)
            await self.sent(fast, *range(n + 1))
        assert await self.ended(alice) is Reason.KICKED
        assert (slow.closed, slow.data, fast.closed) == ([Reason.KICKED], [], [])

    @contract
    async def test_more_than_a_queue_at_once_is_no_fault_of_a_fast_stream(self) -> None:
        engine, stream = (
            await self.start(limits=Limits(queue_messages=3)),
            RecordingStream(),
        )
        await self.attached(engine, "/a", stream=stream)
        texts = [encode({"channel": "/a", "data": n}) for n in range(20)]
        for begun in [engine.publish("/a", text) for text in texts]:
            await self.answered(begun)
        await self.sent(stream, *range(20))

    @contract
    async def test_a_stream_that_fails_is_let_go_and_nothing_is_lost(self) -> None:
        engine, stream = await self.start(), _Broken()
        alice = await self.attached(engine, "/a", stream=stream)
        bystander = RecordingStream()
        await self.attached(engine, "/a", stream=bystander)
        await self.publish(engine, "/a", 1)
        await self.sent(bystander, 1)
        assert await self.poll(engine, alice) == [1]
        assert stream.attempts == 1
        self.expect_logged(RuntimeError)

    @contract
    async def test_an_ended_session_closes_its_stream_with_the_reason(self) -> None:
        engine, stream = await self.start(), RecordingStream()
        alice = await self.attached(engine, "/a", stream=stream)
        await engine.destroy_session(alice, Reason.CLIENT)
        await self.until(lambda: stream.closed)
        engine.hub.detach(stream, ())
        await self.publish(engine, "/a", 1)
        await self.sent(stream)
        assert (stream.closed, stream.replacements) == ([Reason.CLIENT], 0)

    @contract
    async def test_delivered_messages_go_to_the_stream_too(self) -> None:
        engine, stream = await self.start(), RecordingStream()
        alice = await self.attached(engine, stream=stream)
        await engine.deliver(alice, "/s", encode({"channel": "/s", "data": 1}))
        await self.sent(stream, 1)

    @contract
    async def test_giving_back_to_a_session_with_a_stream_sends_there(self) -> None:
        engine, stream = await self.start(), RecordingStream()
        alice = await self.join(engine, "/a")
        await self.publish(engine, "/a", 1)
        lost = await self.connect(engine, alice)
        await engine.attach(alice, stream)
        lost.give_back()
        await self.sent(stream, 1)


class _Broken(RecordingStream):
    attempts = 0

    def send(self, entries: Sequence[Entry]) -> None:
        self.attempts += 1
        raise RuntimeError("a stream's own fault")
