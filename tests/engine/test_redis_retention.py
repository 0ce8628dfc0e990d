"""Redis keeps a log that is bounded by number, size and age of its entries."""

from typing import Any

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from tests.engine.redis_harness import pause
from tests.engine.redis_own_server import OwnServer, text
from tests.engine.redis_parts import checkpoint, feed_of, forget_tail
from txbayeux.engine.redis import RedisEngine, RedisOptions
from txbayeux.engine.redis.log import Change, Tail
from txbayeux.engine.redis.termination import Termination
from txbayeux.testing import contract

BLOCK = 100
"""Entries that Redis drops together: ``MAXLEN ~`` and ``MINID ~`` are approximate."""

PAUSE = 16
"""Entries between trims by count."""


def test_the_tail_counts_changes_of_subscriptions() -> None:
    tail = Tail(10_000, 1024)
    for position in range(1, 101):
        tail.append(Change(position, "a", True, ("/" + "x" * 255,), 256))
    assert [item.position for item in tail.after(tail.start)] == [97, 98, 99, 100]
    assert tail.start == 96
    tail.append(Change(101, "a", True, ("/" + "x" * 1024,), 1025))
    assert list(tail.after(0)) == []
    assert tail.start == 101


def lines(log: Any) -> list[str]:
    """Return the lines about gaps."""
    return [line for line in map(formatEvent, log) if "dropped" in line]


def test_gaps_are_logged_once_a_minute_with_their_number() -> None:
    unused: Any = None
    clock = Clock()
    termination = Termination(clock, RedisOptions(), unused, unused, unused)
    with capturedLogs() as log:
        termination.log_gaps("retained_seconds")
        for gaps, option in ((3, "retained_seconds"), (5, ""), (9, "")):
            termination.gaps = gaps
            termination.log_gaps(option)
            clock.advance(59)
            termination.log_gaps(option)
            clock.advance(1)
        for gaps in (10, 12):
            termination.gaps = gaps
            termination.log_gaps("")
        termination.stop()
    assert clock.getDelayedCalls() == []
    why = "entries that they had not received were dropped from the log"
    assert lines(log) == [
        f"3 sessions closed, 3 since the start: {why} (last for retained_seconds=300)",
        f"2 sessions closed, 5 since the start: {why} by others",
        f"4 sessions closed, 9 since the start: {why} by others",
        f"1 sessions closed, 10 since the start: {why} by others",
        f"2 sessions closed, 12 since the start: {why} by others",
    ]


class TestRetention(OwnServer):
    retained_messages = 100_000
    retained_seconds = 300.0
    retained_bytes = 256 * 1024 * 1024

    def options(self, **others: Any) -> RedisOptions:
        return super().options(
            retained_messages=self.retained_messages,
            retained_seconds=self.retained_seconds,
            retained_bytes=self.retained_bytes,
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
    async def test_the_log_is_capped_by_bytes(self) -> None:
        self.retained_bytes = 1024 * 1024
        engine, observer = await self.start_node()
        for _ in range(10):
            for begun in [engine.publish("/a", text("x" * 9_900)) for _ in range(100)]:
                await begun
        # 10,000 bytes each: up to an eighth more than the limit, and one call.
        assert self.retained_bytes <= 10_000 * self.length() <= 1.25 * 2**20 + 2**20
        for begun in [engine.publish("/a", text("x" * 99_900)) for _ in range(5)]:
            await begun
        await engine.publish("/a", text(1))
        assert self.memory() <= 2.5 * self.retained_bytes
        assert observer.closed == []

    @contract
    async def test_what_fits_exactly_is_kept(self) -> None:
        message = text("x" * 1000)
        size = len(message) + len("/a") + 64
        self.retained_bytes = 50 * size
        engine, _ = await self.start_node()
        for _ in range(50):
            await engine.publish("/a", message)
        assert self.length() == 50

    @contract
    async def test_changes_of_subscriptions_are_capped_in_redis_and_in_the_node(
        self,
    ) -> None:
        self.retained_bytes = 1024 * 1024
        engine, observer = await self.start_node()
        alice = await self.join(engine, "/a")
        channels = [f"/{n:01023d}" for n in range(90)]
        for _ in range(50):
            await engine.subscribe(alice, channels)
            await engine.unsubscribe(alice, channels)
        assert self.memory() <= 2.5 * self.retained_bytes
        assert observer.closed == []
        assert await self.poll(engine, alice) == []

    @contract
    async def test_changes_and_deliveries_alone_are_capped_by_count(self) -> None:
        self.retained_messages = 200
        engine, _ = await self.start_node()
        alice = await self.join(engine, "/a")
        for _ in range(50):
            for begun in [engine.deliver(alice, "/x", text(n)) for n in range(20)]:
                await begun
            await self.poll(engine, alice)
        assert self.length() <= 200 + BLOCK + PAUSE
        for _ in range(200):
            await engine.subscribe(alice, ["/b"])
            await engine.unsubscribe(alice, ["/b"])
        assert self.length() <= 200 + BLOCK + PAUSE

    def memory(self) -> int:
        (log,) = [key for key in self.keys() if key.endswith(b":log")]
        used: Any = self.server.client.memory_usage(log, samples=0)
        return int(used)

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
        # Its position follows the log with its heartbeats.
        await self.soon(lambda: feed_of(a).position >= 1000)
        await checkpoint(a)
        forget_tail(b)
        await self.crash(a)
        await b.publish("/quiet", text(1))
        assert await self.poll(b, alice) == [1]
        assert observer.closed == []

    async def gap_line(self, size: int) -> str:
        """Return what a node logs that lacks 3 MB of the log for a session."""
        (a, _), (b, _) = await self.start_node(), await self.start_node()
        alice = await self.join(a, "/a")
        await self.crash(a)
        count = 100_000 // size
        for _ in range(30):
            for begun in [b.publish("/b", text("x" * size)) for _ in range(count)]:
                await begun
        await self.soon(lambda: self.length() <= 2 * BLOCK)
        forget_tail(b)
        with capturedLogs() as log:
            error = await self.refusal(b.connect(alice, hold=0))
            assert "missed" in error.text
            await self.soon(lambda: lines(log))
        (line,) = lines(log)
        return line

    @contract
    async def test_a_gap_is_logged_with_the_limit_that_caused_it(self) -> None:
        self.retained_bytes = 1024 * 1024
        assert await self.gap_line(10_000) == (
            "1 sessions closed, 1 since the start: entries that they had not received "
            "were dropped from the log (last for retained_bytes=1048576)"
        )

    @contract
    async def test_so_is_one_for_the_number_of_entries(self) -> None:
        self.retained_messages = 100
        assert "(last for retained_messages=100)" in await self.gap_line(1_000)

    @contract
    async def test_so_is_one_for_their_age(self) -> None:
        self.retained_seconds = 0.5
        assert "(last for retained_seconds=0.5)" in await self.gap_line(1_000)

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
