"""A session changes its owner while notices are late, lost or out of order."""

import gc
from collections.abc import Mapping
from typing import Any
from weakref import ref

import pytest
from twisted.internet.defer import CancelledError, Deferred

from tests.engine.redis_harness import NodesHarness, pause
from tests.engine.redis_parts import (
    calls_made,
    commands_connection,
    commands_of,
    feed_of,
    owner_of,
)
from txbayeux.engine.redis import RedisEngine, RedisOptions
from txbayeux.errors import BayeuxError, UnknownSession, unavailable
from txbayeux.events import Reason
from txbayeux.interfaces import Delivery
from txbayeux.limits import Limits
from txbayeux.testing import RecordingStream, contract


class TestHandover(NodesHarness):
    handover = 1.0

    def options(self) -> RedisOptions:
        return RedisOptions(namespace=self.namespace, handover=self.handover)

    @contract
    async def test_a_node_that_missed_notices_releases_sessions_when_it_reconnects(
        self,
    ) -> None:
        a, b = await self.nodes(2)
        alice, bob = await self.join(a, "/a"), await self.join(a, "/a")
        stream = RecordingStream()
        await a.attach(bob, stream)
        held = a.connect(alice, hold=self.hold)
        await self.unanswered(held)
        self.withhold_notices(a)
        elsewhere = b.connect(alice, hold=self.hold)
        await b.destroy_session(bob, Reason.CLIENT)
        await self.until(lambda: b.statistics()["sessions"] == 1)
        assert a.statistics()["sessions"] == 2
        commands_connection(a).abort()  # type: ignore[union-attr]
        assert (await self.answered(held)).superseded
        await self.until(lambda: stream.replacements == 1)
        assert a.statistics()["sessions"] == 0
        await self.publish(a, "/a", 1)
        assert self.data((await self.answered(elsewhere)).entries) == [1]
        assert stream.data == []

    @contract
    async def test_a_connection_that_is_lost_after_a_handover_is_freed(self) -> None:
        a, b = await self.nodes(2)
        alice = await self.join(a, "/a")
        held = b.connect(alice, hold=self.hold)
        await self.until(lambda: b.statistics()["held"] == 1)

        def lose(connection: RecordingStream) -> None:
            held.addErrback(lambda failure: failure.trap(CancelledError) and None)
            held.cancel()

        connection = RecordingStream()
        freed = ref(connection)
        gc.disable()
        try:
            lose(connection)
            del connection
            assert freed() is None
        finally:
            gc.enable()

    @contract
    async def test_a_superseded_node_answers_its_connect_at_once(self) -> None:
        # More than the test waits: a release that does not come fails it.
        self.handover = 60.0
        a, b, c = await self.nodes(3)
        alice = await self.join(a, "/a")
        overtaken, _ = await self.stuck(b, alice)
        held = c.connect(alice, hold=self.hold)
        await self.until(lambda: c.statistics()["sessions"] == 1)
        assert (await self.answered(overtaken)).superseded
        await self.publish(a, "/a", 1)
        assert self.data((await self.answered(held)).entries) == [1]

    @contract
    async def test_messages_given_back_to_a_superseded_node_reach_the_owner(
        self,
    ) -> None:
        a, b, c = await self.nodes(3)
        alice = await self.join(a, "/a")
        await self.publish(a, "/a", 1, 2)
        lost = await self.connect(a, alice)
        overtaken, _ = await self.stuck(b, alice)
        lost.give_back()
        await self.until(lambda: owner_of(b).acquisitions[alice].returned)
        held = c.connect(alice, hold=self.hold)
        assert (await self.answered(overtaken)).superseded
        assert self.data((await self.answered(held)).entries) == [1, 2]

    @contract
    async def test_messages_given_back_to_a_node_that_failed_to_acquire_are_kept(
        self,
    ) -> None:
        a, b = await self.nodes(2)
        alice = await self.join(a, "/a")
        await self.publish(a, "/a", 1, 2)
        lost = await self.connect(a, alice)
        failing, waiting = await self.stuck(b, alice)
        waiting.errback(unavailable())
        with pytest.raises(BayeuxError, match="503"):
            await failing
        before = calls_made(b)
        lost.give_back()
        await pause(0.3)
        assert calls_made(b) - before < 20
        assert await self.receive(b, alice, 2) == [1, 2]

    @contract
    async def test_no_client_is_told_to_handshake_by_a_node_that_stops(self) -> None:
        a, b = await self.nodes(2)
        alice, bob = await self.join(a, "/a"), await self.join(a, "/a")
        await a.attach(bob, RecordingStream(preempted_by_poll=False))
        self.withhold_notices(a)
        waiting = b.connect(alice, hold=self.hold)
        elsewhere = b.connect(bob, hold=self.hold)
        await self.unanswered(waiting, elsewhere)
        await self.stop(b)
        with pytest.raises(BayeuxError, match="503"):
            await self.answered(waiting)
        assert not (await self.answered(elsewhere)).ended

    @contract
    async def test_a_frozen_redis_does_not_make_a_former_owner_unresponsive(
        self,
    ) -> None:
        a, b = await self.nodes(2)
        alice = await self.join(a, "/a")
        await self.publish(a, "/a", 1)
        notices = self.withhold_notices(a)
        # Too late for a checkpoint: only the former owner knows of this delivery.
        assert await self.poll(a, alice) == [1]
        held = b.connect(alice, hold=self.hold)
        await self.until(lambda: notices)
        with self.server.frozen():
            await pause(1.5)
        self.pass_notices(a, notices)
        await self.unanswered(held)
        await self.publish(b, "/a", 2)
        assert self.data((await self.answered(held)).entries) == [2]

    @contract
    async def test_a_release_counts_if_its_notice_is_late(self) -> None:
        a, b = await self.nodes(2)
        alice = await self.join(a, "/a")
        await self.publish(a, "/a", 1)
        assert await self.poll(a, alice) == [1]
        notices = self.withhold_notices(b)
        held = b.connect(alice, hold=self.hold)
        await self.until(lambda: alice in owner_of(b).owned)
        assert [notice["k"] for notice in notices if "s" in notice] == ["released"]
        self.pass_notices(b, notices)
        await self.unanswered(held)
        await self.publish(b, "/a", 2)
        assert self.data((await self.answered(held)).entries) == [2]

    @contract
    async def test_a_release_for_another_generation_is_ignored(self) -> None:
        a, b = await self.nodes(2)
        alice = await self.join(a, "/a")
        stale = {"k": "released", "s": alice, "c": "0", "b": "", "n": "", "r": "0"}
        await self.publish(a, "/a", 1)
        assert await self.poll(a, alice) == [1]
        notices = self.withhold_notices(a)
        held = b.connect(alice, hold=self.hold)
        owner_of(b).receive_notice({**stale, "g": "1"})
        await self.until(lambda: notices)
        owner_of(b).receive_notice({**stale, "g": "3"})
        await self.unanswered(held)
        self.pass_notices(a, notices)
        await self.publish(b, "/a", 2)
        assert self.data((await self.answered(held)).entries) == [2]

    @contract
    async def test_a_client_with_a_position_of_another_node_gets_each_message_once(
        self,
    ) -> None:
        a, b = await self.nodes(2)
        alice, position, notices, held = await self.acquired_from_an_unresponsive_node(
            a, b
        )
        await self.publish(b, "/a", 1)
        delivery = await self.answered(held)
        assert self.data(delivery.entries) == [1]
        position = delivery.acknowledgement
        await self.until(lambda: a.hub.position == position)
        back = a.connect(alice, hold=self.hold, acknowledged=position)
        await self.unanswered(back)
        self.pass_notices(a, notices)
        await self.unanswered(back)
        await self.publish(a, "/a", 2)
        assert self.data((await self.answered(back)).entries) == [2]

    @contract
    async def test_a_client_with_a_position_of_an_unresponsive_node_gets_it_once(
        self,
    ) -> None:
        a, b, c = await self.nodes(3)
        (
            alice,
            position,
            notices,
            overtaken,
        ) = await self.acquired_from_an_unresponsive_node(a, b)
        held = a.connect(alice, hold=self.hold, acknowledged=position)
        overtaken.addErrback(lambda failure: failure.trap(CancelledError)).cancel()
        await self.publish(b, "/a", 1)
        delivery = await self.answered(held)
        assert self.data(delivery.entries) == [1]
        for engine in (b, a, c):
            self.pass_notices(a, notices)
            again = engine.connect(
                alice, hold=self.hold, acknowledged=delivery.acknowledgement
            )
            await self.unanswered(again)
        await self.publish(b, "/a", 2)
        assert self.data((await self.answered(again)).entries) == [2]

    @contract
    async def test_nothing_is_released_because_a_client_claims_more(self) -> None:
        a, b, c = await self.nodes(3)
        (
            alice,
            position,
            notices,
            overtaken,
        ) = await self.acquired_from_an_unresponsive_node(a, b)
        # The unresponsive node sends the client a later position.
        held = a.connect(alice, hold=0.6, acknowledged=position)
        overtaken.addErrback(lambda failure: failure.trap(CancelledError)).cancel()
        await self.publish(b, "/other", 0)
        await pause(0.6)
        told = (await self.answered(held)).acknowledgement
        assert told is not None
        assert position is not None
        assert told > position
        self.server.client.config_set("maxmemory", "1")
        try:
            await self.fails(b.connect(alice, hold=0.3, acknowledged=told))
        finally:
            self.server.client.config_set("maxmemory", "0")
        await self.publish(c, "/a", 2)
        await pause(0.6)
        last = await self.answered(c.connect(alice, hold=1, acknowledged=told))
        assert self.data(last.entries) == [2]
        self.pass_notices(a, notices)

    @contract
    async def test_a_position_that_was_never_sent_costs_one_verify(self) -> None:
        [a] = await self.nodes(1)
        alice = await self.join(a, "/a", acknowledges=True)
        position = (await self.connect(a, alice)).acknowledgement
        owned_session = owner_of(a).owned[alice]
        run, called = commands_of(a).run, list[str]()

        def counted(script: str, *arguments: Any, **options: Any) -> Deferred[Any]:
            called.append(script)
            return run(script, *arguments, **options)

        commands_of(a).run = counted  # type: ignore[method-assign]
        for claimed in (2**60, 10**300):
            held = a.connect(alice, hold=self.hold, acknowledged=claimed)
            await self.unanswered(held)
            assert set(called) - {"checkpoint", "heartbeat"} == {"verify"}
            assert called.count("verify") == 1
            called.clear()
            assert owner_of(a).owned[alice] is owned_session
        await self.publish(a, "/a", 1)
        assert self.data((await self.answered(held)).entries) == [1]
        # Nor does the claimed position count as seen.
        delivery = await self.fetch(a, alice, acknowledged=position)
        assert self.data(delivery.entries) == [1]

    @contract
    async def test_a_position_without_the_extension_delays_nothing(
        self,
    ) -> None:
        a, b = await self.nodes(2)
        alice = await self.join(a, "/a")
        await self.publish(a, "/a", 1, 2, 3)
        position = a.hub.position
        delivery = await self.fetch(b, alice, acknowledged=position)
        assert self.data(delivery.entries) == [1, 2, 3]
        held = b.connect(alice, hold=self.hold)
        await self.publish(b, "/a", 4)
        assert self.data((await self.answered(held)).entries) == [4]

    async def acquired_from_an_unresponsive_node(
        self, a: RedisEngine, b: RedisEngine
    ) -> tuple[str, int | None, list[Mapping[str, str]], Deferred[Delivery]]:
        """Make b the owner of a session of a, which receives no notice of that.

        Return the session, the acknowledged position, the notices, and b's connect.
        """
        alice = await self.join(a, "/a", acknowledges=True)
        position = (await self.connect(a, alice)).acknowledgement
        notices = self.withhold_notices(a)
        held = b.connect(alice, hold=self.hold, acknowledged=position)
        await self.until(lambda: owner_of(b).session(alice))
        return alice, position, notices, held

    async def fails(self, connected: Deferred[Delivery]) -> None:
        """Wait for a connect that may succeed or fail."""
        await connected.addErrback(lambda failure: failure.trap(BayeuxError))

    async def stuck(
        self, engine: RedisEngine, session: str
    ) -> tuple[Deferred[Delivery], Deferred[None]]:
        """Make a node the owner, which waits until the second result fires."""
        feed, waiting = feed_of(engine), list[Deferred[None]]()

        def reached(position: int) -> Deferred[None]:
            waiting.append(Deferred())
            return waiting[-1]

        feed.reached = reached  # type: ignore[method-assign]
        connected = engine.connect(session, hold=self.hold)
        await self.until(lambda: waiting)
        del feed.reached  # type: ignore[method-assign]
        return connected, waiting[0]


class TestOverflow(NodesHarness):
    """A queue overflows on a node that does not know yet that its session has moved."""

    handover = 10.0

    def options(self) -> RedisOptions:
        # Redis does not know what the session has received.
        return RedisOptions(
            namespace=self.namespace,
            checkpoint_interval=60.0,
            handover=self.handover,
        )

    async def moved(self) -> Deferred[Delivery]:
        """Return a connect on a, for a session that b does not know to have moved."""
        [self.a] = await self.nodes(1)
        first = self.observer
        [self.b] = await self.nodes(1, limits=Limits(queue_messages=5))
        self.observers = [first, self.observer]
        self.alice = await self.join(self.b, "/a")
        await self.publish(self.b, "/a", 1, 2)
        assert await self.poll(self.b, self.alice) == [1, 2]
        self.notices = self.withhold_notices(self.b)
        held = self.a.connect(self.alice, hold=self.hold)
        await self.until(lambda: self.notices)
        return held

    async def overflow(self) -> None:
        await self.publish(self.a, "/a", *range(3, 10))
        await self.until(lambda: self.alice not in owner_of(self.b).owned)
        assert self.b.statistics()["overflowed_total"] == 1

    @contract
    async def test_it_ends_while_the_new_owner_waits_for_its_release(self) -> None:
        held = await self.moved()
        await self.overflow()
        delivery = await self.answered(held)
        assert (delivery.ended, list(delivery.entries)) == (Reason.KICKED, [])
        self.pass_notices(self.b, self.notices)
        with pytest.raises(UnknownSession, match="too many messages waited"):
            await self.a.connect(self.alice, hold=0)
        await self.until(self.closed)
        await self.settle()
        assert self.closed() == [(self.alice, Reason.KICKED)]

    @contract
    async def test_it_goes_on_if_the_new_owner_has_continued_without(self) -> None:
        self.handover = 0.5
        held = await self.moved()
        await self.until(lambda: self.alice in owner_of(self.a).owned)
        await self.overflow()
        # From the last checkpoint.
        received = self.data((await self.answered(held)).entries)
        while 9 not in received:
            received += self.data((await self.fetch(self.a, self.alice)).entries)
        assert received == list(range(1, 10))
        self.pass_notices(self.b, self.notices)
        await self.publish(self.a, "/a", 10)
        assert self.data((await self.fetch(self.a, self.alice)).entries) == [10]
        assert self.closed() == []
