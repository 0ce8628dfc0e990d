"""Redis keeps a log that is bounded by number and age of its entries."""

from typing import Any

from tests.engine.redis_harness import pause
from tests.engine.redis_own_server import OwnServer, text
from txbayeux.engine.redis import RedisEngine, RedisOptions
from txbayeux.testing import contract

BLOCK = 100
"""Entries that Redis drops together: ``MAXLEN ~`` and ``MINID ~`` are approximate."""


class TestRetention(OwnServer):
    retained_messages = 100_000
    retained_seconds = 300.0

    def options(self, **others: Any) -> RedisOptions:
        return super().options(
            retained_messages=self.retained_messages,
            retained_seconds=self.retained_seconds,
            **others,
        )

    def length(self) -> int:
        (log,) = [key for key in self.keys() if key.endswith(b":log")]
        length: Any = self.server.client.xlen(log)
        return int(length)

    async def filled(self, count: int) -> RedisEngine:
        engine, _ = await self.start_node()
        for begun in [engine.publish("/a", text(n)) for n in range(count)]:
            await begun
        return engine

    @contract
    async def test_the_log_is_capped_by_count(self) -> None:
        self.retained_messages = 500
        await self.filled(3000)
        assert 500 <= self.length() <= 500 + BLOCK

    @contract
    async def test_the_log_is_capped_by_age(self) -> None:
        self.retained_seconds = 0.5
        await self.filled(1000)
        await self.soon(lambda: self.length() <= BLOCK)

    @contract
    async def test_young_entries_are_kept(self) -> None:
        await self.filled(1000)
        await pause(1.5)
        assert self.length() == 1000

    @contract
    async def test_an_idle_session_keeps_its_position(
        self,
    ) -> None:
        self.retained_messages = 200
        (a, _), (b, observer) = await self.start_node(), await self.start_node()
        alice = await self.join(a, "/quiet")
        for _ in range(20):
            for begun in [a.publish("/loud", text(n)) for n in range(50)]:
                await begun
            await pause(0.05)
        await pause(0.6)
        b._node._tail.clear()
        await self.crash(a)
        await b.publish("/quiet", text(1))
        assert await self.poll(b, alice) == [1]
        assert observer.closed == []

    @contract
    async def test_a_slow_redis_loses_nothing(self) -> None:
        engine, observer = await self.start_node()
        alice = await self.join(engine, "/a")
        sleeping = self.server.client
        sleeping.execute_command("CLIENT", "PAUSE", "700", "ALL")
        begun = [engine.publish("/a", text(n)) for n in range(10)]
        for one in begun:
            await one
        assert await self.poll(engine, alice) == list(range(10))
        assert engine.ready()
        assert observer.closed == []
