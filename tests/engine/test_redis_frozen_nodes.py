"""A node that was frozen does no harm to sessions that it lost meanwhile."""

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from tests.engine.freezing import FreezingReactor
from tests.engine.redis_harness import pause
from tests.engine.redis_own_server import OwnServer, text
from tests.engine.redis_parts import checkpoint, node_id
from txbayeux.engine.redis import RedisEngine, RedisOptions
from txbayeux.engine.redis.location import parse
from txbayeux.interfaces import Delivery, Engine
from txbayeux.limits import Limits
from txbayeux.testing import RecordingStream, contract


class TestFrozenNodes(OwnServer):
    limits = Limits()
    retained_messages = 100_000

    def make_engine(self, *, limits: Limits, session_timeout: float) -> Any:
        self.reactors: dict[RedisEngine, FreezingReactor] = getattr(
            self, "reactors", {}
        )
        clock = FreezingReactor(reactor)
        engine = RedisEngine(
            clock,
            parse(self.server.url),
            limits=self.limits,
            session_timeout=session_timeout,
            options=RedisOptions(
                namespace=self.namespace, retained_messages=self.retained_messages
            ),
        )
        self.reactors[engine] = clock
        return engine

    async def nodes(self, count: int) -> list[RedisEngine]:
        return [(await self.start_node())[0] for _ in range(count)]

    def freeze(self, engine: RedisEngine) -> None:
        """Freeze a node and make it count as dead."""
        self.reactors[engine].freeze()
        [key] = self.server.client.keys(f"*:node:{node_id(engine)}")  # type: ignore[union-attr]
        self.server.client.hset(key, "heartbeat", 0)

    async def thaw(self, engine: RedisEngine) -> None:
        self.reactors[engine].thaw(elapsed=4.0)
        await pause(0.5)

    async def stop(self, engine: Engine) -> None:
        # After a failure a node may still be frozen, and would wait for Redis forever.
        for clock in self.reactors.values():
            clock.thaw()
        await super().stop(engine)

    async def checkpointed(self) -> None:
        for engine, clock in self.reactors.items():
            if engine.ready() and not clock.frozen:
                await checkpoint(engine)

    @contract
    async def test_its_late_release_does_not_move_the_new_owners_cursor(self) -> None:
        a, b = await self.nodes(2)
        alice = await self.join(a, "/a")
        await self.publish(b, "/a", 1)
        assert await self.poll(a, alice) == [1]
        await self.checkpointed()
        self.freeze(a)
        await self.publish(b, "/a", 2, 3)
        assert await self.poll(b, alice) == [2, 3]
        await self.checkpointed()
        await self.thaw(a)
        await self.crash(b)
        await self.publish(a, "/a", 4)
        assert await self.poll(a, alice) == [4]

    @contract
    async def test_its_clients_first_poll_repeats_nothing(self) -> None:
        a, b = await self.nodes(2)
        alice = await self.join(a, "/a")
        await self.checkpointed()
        self.freeze(a)
        await self.publish(b, "/a", 1, 2)
        assert await self.poll(b, alice) == [1, 2]
        self.reactors[a].thaw(elapsed=4.0)
        # Before it has read that it lost the session.
        delivery = await a.connect(alice, hold=0)
        assert self.data(delivery.entries) + await self.poll(a, alice) == []
        await self.publish(b, "/a", 3)
        assert await self.poll(a, alice) == [3]

    @contract
    async def test_its_event_stream_repeats_nothing(self) -> None:
        a, b = await self.nodes(2)
        alice, stream = await self.join(a, "/a"), RecordingStream()
        await self.checkpointed()
        self.freeze(a)
        await self.publish(b, "/a", 1, 2)
        assert await self.poll(b, alice) == [1, 2]
        self.reactors[a].thaw(elapsed=4.0)
        await a.attach(alice, stream)
        await self.publish(b, "/a", 3)
        await self.until(lambda: stream.data)
        assert stream.data == [3]

    @contract
    async def test_messages_that_it_could_not_write_are_delivered_once(self) -> None:
        a, b = await self.nodes(2)
        alice, bob = await self.join(a, "/a"), await self.join(a, "/a")
        await self.publish(b, "/a", 1)
        written = [await self.connect(a, one) for one in (alice, bob)]
        await self.checkpointed()
        await self.publish(b, "/a", 2)
        # After the last checkpoint, so the next owner delivers it again.
        written += [await self.connect(a, one) for one in (alice, bob)]
        self.freeze(a)
        assert await self.poll(b, alice) == [2]
        await self.thaw(a)
        for delivery in written:
            delivery.give_back()
        assert await self.receive(b, alice, 1) == [1]
        assert await self.receive(b, bob, 2) == [1, 2]
        assert await self.poll(b, alice) == []
        assert await self.poll(b, bob) == []

    @contract
    async def test_messages_that_it_has_queued_again_are_not_lost(self) -> None:
        a, b = await self.nodes(2)
        alice = await self.join(a, "/a")
        await self.publish(b, "/a", 1)
        written = await self.connect(a, alice)
        await self.checkpointed()
        self.freeze(a)
        await self.publish(b, "/a", 2)
        assert await self.poll(b, alice) == [2]
        # It notices the broken connection before it reads of the new owner.
        written.give_back()
        await self.thaw(a)
        assert await self.receive(b, alice, 1) == [1]
        assert await self.poll(b, alice) == []

    @contract
    async def test_an_overflow_of_its_queue_ends_no_session(self) -> None:
        self.limits = Limits(queue_messages=9)
        a, b = await self.nodes(2)
        alice = await self.join(a, "/a")
        await self.checkpointed()
        self.freeze(a)
        for n in range(30):
            await self.publish(b, "/a", n)
            assert await self.poll(b, alice) == [n]
        await self.thaw(a)
        await self.publish(b, "/a", 30)
        assert await self.poll(b, alice) == [30]
        assert a.statistics()["gaps_total"] == 0

    @contract
    async def test_a_gap_in_the_log_ends_no_session_that_it_lost(self) -> None:
        self.retained_messages = 100
        a, b = await self.nodes(2)
        alice = await self.join(a, "/a")
        bob = await self.join(a, "/b")
        await self.checkpointed()
        self.freeze(a)
        client: Any = self.server.client
        client.client_kill_filter(_type="pubsub")  # as for a full output buffer
        await self.soon(b.ready)
        await self.publish(b, "/a", 0)
        assert await self.poll(b, alice) == [0]
        for _ in range(20):
            for begun in [b.publish("/b", text(n)) for n in range(50)]:
                await begun
            # The successor has read them: only the frozen node falls behind.
            assert await self.poll(b, alice) == []
        await self.thaw(a)
        await self.publish(b, "/a", 1)
        assert await self.poll(b, alice) == [1]
        await self.soon(lambda: a.statistics()["gaps_total"] == 1)
        await self.refused(a.connect(bob, hold=0))

    @contract
    async def test_an_old_deadline_does_not_end_a_session(self) -> None:
        a, b = await self.nodes(2)
        alice = await self.join(a, "/a")
        held: Deferred[Delivery] = a.connect(alice, hold=1.0)
        self.freeze(a)
        assert await self.poll(b, alice) == []
        await pause(0.3)
        self.reactors[a].thaw(elapsed=60.0, timers_first=True)
        await pause(2.5)
        assert (await self.answered(held)).ended is None
        await self.publish(b, "/a", 1)
        assert await self.poll(b, alice) == [1]

    @contract
    async def test_two_nodes_frozen_in_turn_repeat_nothing(self) -> None:
        a, b = await self.nodes(2)
        alice = await self.join(a, "/a")
        for n, (frozen, awake) in enumerate([(a, b), (b, a)] * 2):
            await self.checkpointed()
            self.freeze(frozen)
            await self.publish(awake, "/a", n)
            assert await self.poll(awake, alice) == [n]
            await self.thaw(frozen)
        assert await self.poll(a, alice) == []
