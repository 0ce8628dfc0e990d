"""The engine contract: delivery to connects and to local listeners."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred

from txbayeux.events import Reason
from txbayeux.interfaces import Engine
from txbayeux.limits import Limits
from txbayeux.message import Entry, encode
from txbayeux.testing.fakes import RecordingStream
from txbayeux.testing.harness import EngineHarness, contract

__all__ = ["DeliveryContract"]

_SESSIONS: Final = 400
_MESSAGES: Final = 120
"""Together more than twice what one reactor turn delivers."""


class DeliveryContract(EngineHarness):
    """Order, once each, give_back, held connects, overflow, listeners."""

    @contract
    async def test_messages_come_in_order_as_they_were_published(self) -> None:
        engine = await self.start()
        alice = await self.join(engine, "/a")
        texts = [encode({"channel": "/a", "data": n, "id": str(n)}) for n in range(100)]
        for text in texts:
            await engine.publish("/a", text)
        entries: list[Entry] = []
        while len(entries) < len(texts):
            delivery = await self.connect(engine, alice)
            assert delivery.entries
            entries += delivery.entries
        assert [entry.json for entry in entries] == texts
        assert {entry.channel for entry in entries} == {"/a"}
        positions = [entry.position for entry in entries]
        assert positions == sorted(set(positions))
        assert 0 < positions[-1] < 2**53

    @contract
    async def test_all_subscribers_see_one_order(self) -> None:
        engine = await self.start()
        alice, bob = await self.join(engine, "/**"), await self.join(engine, "/b", "/a")
        begun = [
            engine.publish(channel, encode({"channel": channel, "data": [channel, n]}))
            for n in range(20)
            for channel in ("/a", "/b")
        ]
        for deferred in begun:
            await self.answered(deferred)
        seen = await self.poll(engine, alice)
        assert len(seen) == 40
        assert await self.poll(engine, bob) == seen

    @contract
    async def test_a_session_gets_one_copy_however_many_subscriptions_match(
        self,
    ) -> None:
        engine = await self.start()
        alice = await self.join(engine, "/a/b", "/a/*", "/a/**", "/**")
        await self.publish(engine, "/a/b", 1, 2)
        assert await self.poll(engine, alice) == [1, 2]

    @contract
    async def test_a_publisher_gets_its_own_message(self) -> None:
        engine = await self.start()
        alice = await self.join(engine, "/a")
        await engine.publish("/a", encode({"channel": "/a", "data": 1}), alice)
        assert await self.poll(engine, alice) == [1]

    @contract
    async def test_a_message_releases_a_held_connect(self) -> None:
        engine = await self.start()
        alice, bob = await self.join(engine, "/a"), await self.join(engine, "/b")
        first = engine.connect(alice, hold=self.hold)
        second = engine.connect(bob, hold=self.hold)
        await self.unanswered(first, second)
        await self.publish(engine, "/a", 1)
        delivery = await self.answered(first)
        assert self.data(delivery.entries) == [1]
        assert (delivery.superseded, delivery.ended) == (False, None)
        assert delivery.acknowledgement is None
        await self.unanswered(second)

    @contract
    async def test_a_held_connect_is_answered_when_its_time_is_up(self) -> None:
        engine = await self.start()
        alice = await self.join(engine, "/a")
        held = engine.connect(alice, hold=self.short_timeout)
        await self.advance(self.short_timeout / 2)
        await self.unanswered(held)
        await self.advance(self.short_timeout)
        delivery = await self.answered(held)
        assert (list(delivery.entries), delivery.ended) == ([], None)
        await self.publish(engine, "/a", 1)
        assert await self.poll(engine, alice) == [1]

    @contract
    async def test_what_waits_answers_a_connect_at_once(self) -> None:
        engine = await self.start()
        alice = await self.join(engine, "/a")
        await self.publish(engine, "/a", 1, 2)
        await self.settle()
        delivery = await self.answered(engine.connect(alice, hold=self.hold))
        assert self.data(delivery.entries) + await self.poll(engine, alice) == [1, 2]

    @contract
    async def test_a_second_connect_releases_the_first_with_nothing(self) -> None:
        engine = await self.start()
        alice = await self.join(engine, "/a")
        first = engine.connect(alice, hold=self.hold)
        await self.unanswered(first)
        second = engine.connect(alice, hold=self.hold)
        delivery = await self.answered(first)
        assert delivery.superseded
        assert (list(delivery.entries), delivery.ended) == ([], None)
        await self.unanswered(second)
        await self.publish(engine, "/a", 1)
        assert self.data((await self.answered(second)).entries) == [1]

    @contract
    async def test_a_connect_made_while_another_is_answered_is_released_in_time(
        self,
    ) -> None:
        engine = await self.start()
        alice = await self.join(engine)
        again: list[Deferred[Any]] = []
        first = engine.connect(alice, hold=self.short_timeout)
        first.addCallback(
            lambda _: again.append(engine.connect(alice, hold=self.short_timeout))
        )
        await self.unanswered(first)
        await self.advance(self.short_timeout * 1.1)
        await self.answered(first)
        await self.unanswered(*again)
        await self.advance(self.short_timeout * 1.1)
        assert (await self.answered(again[0])).ended is None

    @contract
    async def test_a_message_beside_two_connects_comes_once(self) -> None:
        engine = await self.start()
        alice = await self.join(engine, "/a")
        first = engine.connect(alice, hold=self.hold)
        await self.unanswered(first)
        published = engine.publish("/a", encode({"channel": "/a", "data": 1}))
        second = engine.connect(alice, hold=self.hold)
        await self.answered(published)
        entries = [
            *(await self.answered(first)).entries,
            *(await self.answered(second)).entries,
        ]
        assert self.data(entries) == [1]

    @contract
    async def test_what_is_given_back_comes_again_ahead_of_the_rest(self) -> None:
        engine = await self.start()
        alice, bob = await self.join(engine, "/a"), await self.join(engine, "/a")
        await self.publish(engine, "/a", 1, 2)
        lost = await self.connect(engine, alice)
        assert lost.entries
        await self.publish(engine, "/a", 3)
        await self.settle()
        lost.give_back()
        assert await self.poll(engine, alice) == [1, 2, 3]
        assert await self.poll(engine, bob) == [1, 2, 3]

    @contract
    async def test_what_is_given_back_releases_a_held_connect(self) -> None:
        engine = await self.start()
        alice = await self.join(engine, "/a")
        await self.publish(engine, "/a", 1)
        lost = await self.connect(engine, alice)
        held = engine.connect(alice, hold=self.hold)
        await self.unanswered(held)
        lost.give_back()
        assert self.data((await self.answered(held)).entries) == [1]

    @contract
    async def test_giving_back_twice_or_too_late_changes_nothing(self) -> None:
        engine = await self.start()
        alice = await self.join(engine, "/a")
        await self.publish(engine, "/a", 1)
        lost = await self.connect(engine, alice)
        lost.give_back()
        lost.give_back()
        lost = await self.connect(engine, alice)
        assert self.data(lost.entries) == [1]
        await engine.destroy_session(alice, Reason.CLIENT)
        lost.give_back()
        await self.settle()
        assert engine.statistics()["queued_messages"] == 0

    @contract
    async def test_a_withdrawn_connect_loses_nothing(self) -> None:
        engine = await self.start()
        alice = await self.join(engine, "/a")
        gone = engine.connect(alice, hold=self.hold)
        await self.unanswered(gone)
        gone.cancel()
        await _cancelled(gone)
        await self.publish(engine, "/a", 1)
        assert await self.poll(engine, alice) == [1]

    @contract
    async def test_a_connect_withdrawn_beside_a_message_loses_nothing(self) -> None:
        engine = await self.start()
        alice = await self.join(engine, "/a")
        gone = engine.connect(alice, hold=self.hold)
        await self.unanswered(gone)
        published = engine.publish("/a", encode({"channel": "/a", "data": 1}))
        gone.cancel()
        await _cancelled(gone)
        await self.answered(published)
        assert await self.poll(engine, alice) == [1]

    @contract
    async def test_a_withdrawn_connect_still_keeps_the_session_alive(self) -> None:
        engine = await self.start(session_timeout=self.short_timeout)
        alice = await self.join(engine)
        await self.advance(self.short_timeout / 2)
        gone = engine.connect(alice, hold=0.01)
        if not gone.called:
            gone.cancel()
        gone.addErrback(lambda failure: failure.trap(CancelledError))
        await self.advance(self.short_timeout * 0.7)
        await engine.check_session(alice)

    @contract
    async def test_deliver_reaches_one_session_whatever_it_asked_for(self) -> None:
        engine = await self.start()
        alice, bob = await self.join(engine, "/a"), await self.join(engine, "/a", "/s")
        received: list[Entry] = []
        engine.hub.listen("/**", received.append)
        await self.publish(engine, "/a", 1)
        await engine.deliver(alice, "/s", encode({"channel": "/s", "data": 2}))
        await self.publish(engine, "/a", 3)
        assert await self.poll(engine, alice) == [1, 2, 3]
        assert await self.poll(engine, bob) == [1, 3]
        await self.until(lambda: len(received) >= 2)
        assert self.data(received) == [1, 3]

    # Bounds

    async def _overflow(self, engine: Engine, *data: object) -> str:
        alice, bob = await self.join(engine, "/a"), await self.join(engine, "/a")
        held = engine.connect(bob, hold=self.hold)
        await self.unanswered(held)
        await self.publish(engine, "/a", data[0])
        assert self.data((await self.answered(held)).entries) == [data[0]]
        for item in data[1:-1]:
            await self.publish(engine, "/a", item)
            assert await self.poll(engine, bob) == [item]
        await engine.check_session(alice)
        await self.publish(engine, "/a", data[-1])
        assert await self.ended(alice) is Reason.KICKED
        assert self.observer.closed == [(alice, Reason.KICKED)]
        assert self.observer.channels == {alice: ["/a"]}
        assert await self.poll(engine, bob) == [data[-1]]
        return alice

    @contract
    async def test_a_session_with_too_many_queued_messages_is_closed(
        self,
    ) -> None:
        engine = await self.start(limits=Limits(queue_messages=3))
        alice = await self._overflow(engine, 1, 2, 3, 4)
        error = await self.refused(engine.connect(alice, hold=0))
        assert "too many messages" in error.text

    @contract
    async def test_a_session_with_too_many_queued_bytes_is_closed(self) -> None:
        size = len(encode({"channel": "/a", "data": "x" * 100}))
        engine = await self.start(limits=Limits(queue_bytes=2 * size))
        alice = await self._overflow(engine, "x" * 100, "y" * 100, "z")
        error = await self.refused(engine.connect(alice, hold=0))
        assert "too many messages" in error.text

    @contract
    async def test_delivered_messages_do_not_count(self) -> None:
        engine = await self.start(limits=Limits(queue_messages=3, queue_bytes=1000))
        alice = await self.join(engine, "/a")
        for n in range(30):
            await self.publish(engine, "/a", [n, "x" * 100])
            assert await self.poll(engine, alice) == [[n, "x" * 100]]

    @contract
    async def test_the_largest_queues_are_closed_if_too_much_waits_in_all(self) -> None:
        engine = await self.start(limits=Limits(queued_bytes=100_000))
        sessions = [await self.join(engine, f"/{n}") for n in range(4)]
        for n, size in enumerate((10_000, 40_000, 30_000)):
            await self.publish(engine, f"/{n}", "x" * size)
        await self.settle()
        assert self.observer.closed == []
        await self.publish(engine, "/3", "x" * 25_000)
        assert await self.ended(sessions[1]) is Reason.KICKED
        assert self.observer.closed == [(sessions[1], Reason.KICKED)]
        error = await self.refused(engine.connect(sessions[1], hold=0))
        assert "too many messages" in error.text
        for session, size in ((0, 10_000), (2, 30_000), (3, 25_000)):
            assert await self.poll(engine, sessions[session]) == ["x" * size]

    @contract
    async def test_a_message_that_waits_for_many_counts_once(self) -> None:
        engine = await self.start(limits=Limits(queued_bytes=100_000))
        sessions = [await self.join(engine, "/a") for _ in range(5)]
        await self.publish(engine, "/a", "x" * 40_000, "y" * 40_000)
        for session in sessions:
            assert await self.poll(engine, session) == ["x" * 40_000, "y" * 40_000]
        assert self.observer.closed == []

    # Many messages to many sessions

    async def _publish_at_once(self, engine: Engine, data: Sequence[object]) -> None:
        texts = [encode({"channel": "/a", "data": item}) for item in data]
        for accepted in [engine.publish("/a", text) for text in texts]:
            await self.answered(accepted)

    @contract
    async def test_everybody_gets_everything_in_order_however_much_it_is(self) -> None:
        engine, texts = await self.start(), list(range(_MESSAGES))
        streams = [RecordingStream() for _ in range(_SESSIONS)]
        for stream in streams:
            await engine.attach(await self.join(engine, "/a"), stream)
        acknowledges = await self.join(engine, "/a", acknowledges=True)
        leaves, late = await self.join(engine, "/**"), await self.join(engine)
        half = _MESSAGES // 2
        await self._publish_at_once(engine, texts[:half])
        await engine.subscribe(late, ["/a"])
        await engine.unsubscribe(leaves, ["/**"])
        await self._publish_at_once(engine, texts[half:])
        await self.until(lambda: all(len(s.entries) == _MESSAGES for s in streams))
        assert all(stream.data == texts for stream in streams)
        assert await self.poll(engine, leaves) == texts[:half]
        assert await self.poll(engine, late) == texts[half:]
        delivery = await self.connect(engine, acknowledges)
        assert self.data(delivery.entries) == texts
        assert delivery.acknowledgement == delivery.entries[-1].position

    @contract
    async def test_stopping_delivers_however_much_was_accepted(self) -> None:
        engine, texts = await self.start(), list(range(_MESSAGES))
        streams = [RecordingStream() for _ in range(_SESSIONS)]
        for stream in streams:
            await engine.attach(await self.join(engine, "/a"), stream)
        await self._publish_at_once(engine, texts)
        await self.stop(engine)
        assert all(stream.data == texts for stream in streams)

    # Listeners in the process

    @contract
    async def test_a_listener_gets_what_its_pattern_matches(self) -> None:
        engine = await self.start()
        received: list[Entry] = []
        registration = engine.hub.listen("/a/*", received.append)
        for n, channel in enumerate(["/a", "/a/b", "/a/b/c", "/b", "/a/c"]):
            await self.publish(engine, channel, n)
        await self.until(lambda: len(received) >= 2)
        await self.settle()
        assert self.data(received) == [1, 4]
        registration.cancel()
        await self.publish(engine, "/a/b", 5)
        await self.settle()
        assert self.data(received) == [1, 4]

    @contract
    async def test_a_listener_that_fails_does_not_stop_the_others(self) -> None:
        engine = await self.start()
        alice, received = await self.join(engine, "/a"), list[Any]()

        def fail(entry: Entry) -> None:
            received.append("failed")
            raise RuntimeError("a listener's own fault")

        engine.hub.listen("/a", fail)
        engine.hub.listen("/a", received.append)
        await self.publish(engine, "/a", 1)
        await self.until(lambda: len(received) >= 2)
        assert received[0] == "failed"
        assert self.data(received[1:]) == [1]
        self.expect_logged(RuntimeError)
        assert await self.poll(engine, alice) == [1]

    @contract
    async def test_a_listener_may_publish_and_stop_listening(self) -> None:
        engine = await self.start()
        alice = await self.join(engine, "/**")
        answers: list[Deferred[None]] = []

        def echo(entry: Entry) -> None:
            registration.cancel()
            received = entry.message()["data"]
            text = encode({"channel": "/b", "data": f"received {received}"})
            answers.append(engine.publish("/b", text))

        registration = engine.hub.listen("/a", echo)
        await self.publish(engine, "/a", 1, 2)
        await self.until(lambda: answers)
        for deferred in answers:
            await self.answered(deferred)
        # Both may have been on their way when it stopped listening, and what it
        # publishes may come between them.
        found = await self.poll(engine, alice)
        echoes = [data for data in found if data not in (1, 2)]
        assert [data for data in found if data in (1, 2)] == [1, 2]
        assert echoes in (["received 1"], ["received 1", "received 2"])
        assert found.index("received 1") > found.index(1)


async def _cancelled(deferred: Deferred[Any]) -> None:
    try:
        await deferred
    except CancelledError:
        return
    raise AssertionError("a withdrawn connect was answered")
