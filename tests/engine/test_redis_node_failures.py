"""When a node is killed, its sessions continue on another node.

No message is lost, and only those since the last checkpoint are repeated.
"""

from typing import Any

from tests.engine.redis_harness import pause
from tests.engine.redis_own_server import OwnServer, text
from tests.engine.redis_parts import checkpoint, feed_of, forget_tail
from txbayeux.engine.redis import RedisEngine
from txbayeux.limits import Limits
from txbayeux.testing import RecordingStream, contract


class TestNodeFailures(OwnServer):
    @contract
    async def test_a_session_continues_on_another_node_with_unsent_messages(
        self,
    ) -> None:
        (a, _), (b, observer) = await self.start_node(), await self.start_node()
        alice = await self.join(a, "/a")
        await self.publish(a, "/a", 1, 2)
        assert await self.poll(a, alice) == [1, 2]
        await checkpoint(a)
        await self.publish(a, "/a", 3)
        await self.crash(a)
        await self.publish(b, "/a", 4)
        assert await self.poll(b, alice) == [3, 4]
        assert observer.closed == []

    @contract
    async def test_messages_not_in_memory_are_read_from_redis_in_parts(self) -> None:
        (a, _), (b, _) = await self.start_node(), await self.start_node()
        alice = await self.join(a, "/a")
        await self.settle()
        await self.crash(a)
        begun: list[Any] = [b.publish("/a", text(n)) for n in range(600)]
        begun.append(b.publish("/b", text("before")))
        begun.append(b.subscribe(alice, ["/b"]))
        begun += [b.publish("/b", text(n)) for n in range(600, 1200)]
        for one in begun:
            await one
        await self.soon(lambda: not feed_of(b).behind)
        forget_tail(b)
        assert await self.poll(b, alice) == list(range(1200))

    @contract
    async def test_queue_limits_apply_to_an_acknowledging_session_when_it_is_acquired(
        self,
    ) -> None:
        a, b = [await self.start(limits=Limits(queue_messages=9)) for _ in range(2)]
        assert isinstance(a, RedisEngine)
        await self.soon(lambda: a.ready() and b.ready())
        alice = await self.join(a, "/a", acknowledges=True)
        bob = await self.join(a, "/a")
        await self.crash(a)
        await self.publish(b, "/a", *range(10))
        await b.connect(alice, hold=self.hold, acknowledged=-1)
        error = await self.refused(b.connect(alice, hold=self.hold, acknowledged=-1))
        assert "too many messages" in error.text
        assert await self.poll(b, bob) == list(range(10))

    @contract
    async def test_messages_sent_just_before_may_be_repeated_and_none_is_lost(
        self,
    ) -> None:
        (a, _), (b, _) = await self.start_node(), await self.start_node()
        alice, stream = await self.join(a, "/a"), RecordingStream()
        await a.attach(alice, stream)
        for n in range(30):
            await self.publish(a, "/a", n)
            await pause(0.02)
        await self.soon(lambda: len(stream.data) == 30)
        await self.crash(a)
        await self.publish(b, "/a", 30)
        found = await self.poll(b, alice)
        assert found == list(range(found[0], 31))
        assert found[0] <= 30

    @contract
    async def test_an_acknowledging_client_gets_each_message_once(self) -> None:
        engines = [(await self.start_node())[0] for _ in range(4)]
        alice = await self.join(engines[0], "/a", acknowledges=True)
        position, found = -1, []
        for n in range(40):
            await engines[-1].publish("/a", text(n))
            if n % 10 == 9 and len(engines) > 2:
                await self.crash(engines.pop(0))
            if n % 3 == 0:
                delivery = await engines[0].connect(
                    alice, hold=self.hold, acknowledged=position
                )
                found += self.data(delivery.entries)
                position = delivery.acknowledgement
        while len(found) < 40:
            delivery = await engines[0].connect(
                alice, hold=self.hold, acknowledged=position
            )
            found += self.data(delivery.entries)
            position = delivery.acknowledgement
        assert found == list(range(40))

    @contract
    async def test_a_second_node_dies_while_it_acquires_the_session(self) -> None:
        a, b, c = [(await self.start_node())[0] for _ in range(3)]
        alice = await self.join(a, "/a")
        await self.publish(a, "/a", 1)
        await self.crash(a)
        wanted = b.connect(alice, hold=self.hold)
        wanted.addErrback(lambda failure: None)
        await self.settle()
        await self.crash(b)
        assert await self.poll(c, alice) == [1]

    @contract
    async def test_every_key_expires_without_a_node(self) -> None:
        self.session_timeout = 0.5
        a, _ = await self.start_node()
        await self.join(a, "/a", "/b/**")
        await self.publish(a, "/a", 1)
        await self.crash(a)
        lives = {key: self.server.client.pttl(key) for key in self.keys()}
        assert lives
        assert all(0 < life < 3_700_000 for life in lives.values()), lives
        sessions = [key for key in lives if b":session:" in key]
        assert sessions
        assert all(lives[key] < 65_000 for key in sessions)
