"""What Redis does for a publish depends on the nodes that want it, not on subscribers.

Redis itself counts its commands, those inside scripts too, and the bytes that it sends.
"""

from collections import Counter
from itertools import takewhile
from operator import itemgetter
from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from tests.engine.redis_own_server import OwnServer, text
from tests.engine.redis_parts import commands_of, silent
from txbayeux.engine.redis import RedisEngine
from txbayeux.testing import RecordingStream, contract

_TURNS = 20
_EACH = 25
_MESSAGES = 48
"""A multiple of 16: at each sixteenth entry the log is trimmed."""

_MANY = 1000
_SEGMENTS = 64

_OTHERS = frozenset({"client", "hello", "info", "ping"})
"""Commands of the test, and the one that shows whether the feed is alive."""


class TestCost(OwnServer):
    def calls(self) -> Counter[str]:
        """Return how often Redis has executed each command since its start."""
        found: Any = self.server.client.info("commandstats")
        return Counter({name[8:]: of["calls"] for name, of in found.items()})

    def sent_bytes(self) -> int:
        found: Any = self.server.client.info("stats")
        return int(found["total_net_output_bytes"])

    async def three(self) -> list[RedisEngine]:
        return [(await self.start_node())[0] for _ in range(3)]

    async def members(self, engine: RedisEngine, count: int, channel: str) -> list[str]:
        """Return new sessions that are subscribed to a channel."""
        sessions: list[str] = []
        while (left := min(100, count - len(sessions))) > 0:
            joining = [self.join(engine, channel) for _ in range(left)]
            sessions += await gatherResults(list(map(Deferred.fromCoroutine, joining)))
        return sessions

    async def subscribers(
        self, engine: RedisEngine, count: int, channel: str
    ) -> list[RecordingStream]:
        """Return the streams of new sessions that are subscribed to a channel."""
        streams = []
        for session in await self.members(engine, count, channel):
            streams.append(RecordingStream())
            await engine.attach(session, streams[-1])
        return streams

    async def receive_all(self, streams: list[RecordingStream], count: int) -> None:
        """Wait until each has received the numbers below ``count``, and only these."""
        everything = list(range(count))
        await self.soon(lambda: all(len(one.data) >= count for one in streams))
        assert all(one.data == everything for one in streams)

    async def spent(
        self, engines: list[RedisEngine], channel: str, streams: list[RecordingStream]
    ) -> Counter[str]:
        """Publish on the first node, each message alone; return what Redis did."""
        for stream in streams:
            stream.batches.clear()
        with silent(*engines):
            commands = [commands_of(engine) for engine in engines]
            await self.until(lambda: not any(one.outstanding for one in commands))
            before = self.calls()
            for n in range(_MESSAGES):
                await engines[0].publish(channel, text(n))
            spent = self.calls() - before
        await self.receive_all(streams, _MESSAGES)
        spent["evalsha"] += spent.pop("eval", 0)  # EVAL at first use
        return Counter({name: n for name, n in spent.items() if name not in _OTHERS})

    @contract
    async def test_messages_of_one_reactor_turn_share_a_call(self) -> None:
        a, _ = await self.start_node()
        b, _ = await self.start_node()
        streams = await self.subscribers(a, 1, "/a")
        for wanting, more in ((1, 0), (2, 50)):
            streams += await self.subscribers(a, more, "/a")
            streams += await self.subscribers(b, more, "/a")
            for stream in streams:
                stream.batches.clear()
            before = self.calls()
            for turn in range(_TURNS):
                numbers = range(turn * _EACH, (turn + 1) * _EACH)
                for published in [a.publish("/a", text(n)) for n in numbers]:
                    await published
            spent = self.calls() - before
            await self.receive_all(streams, _TURNS * _EACH)
            assert spent["xadd"] == _TURNS * _EACH
            assert spent["publish"] == _TURNS * wanting
            # The rest are heartbeats, and checkpoints at intervals.
            assert spent["eval"] + spent["evalsha"] < _TURNS * _EACH / 4

    @contract
    async def test_the_work_for_a_publish_depends_on_the_nodes_that_want_it(
        self,
    ) -> None:
        engines = await self.three()
        _, b, c = engines
        totals = []
        streams: dict[str, list[RecordingStream]] = {"/0": [], "/1": [], "/2": []}
        for channel, wanting in (("/1", [b]), ("/2", [b, c])):
            for engine in wanting:
                streams[channel] += await self.subscribers(engine, 1, channel)
        for nodes in range(3):
            channel = f"/{nodes}"
            spent = await self.spent(engines, channel, streams[channel])
            assert spent["xadd"] == spent["evalsha"] == _MESSAGES
            assert spent["publish"] == nodes * _MESSAGES
            totals.append(spent.total())
        # What each node costs, and what there is without any.
        assert totals[2] - totals[1] == totals[1] - totals[0] <= 3 * _MESSAGES
        assert totals[0] <= 9 * _MESSAGES

    @contract
    async def test_the_work_for_a_publish_does_not_depend_on_subscribers(self) -> None:
        engines = await self.three()
        _, b, c = engines
        streams = []
        for engine in (b, c):
            streams += await self.subscribers(engine, 1, "/a")
        alone = await self.spent(engines, "/a", streams)
        for engine in (b, c):
            streams += await self.subscribers(engine, _MANY // 2, "/a")
        assert await self.spent(engines, "/a", streams) == alone

    @contract
    async def test_redis_sends_a_message_to_the_nodes_that_want_it(self) -> None:
        engines = await self.three()
        _, b, c = engines
        large = 10_000 * "x"
        await self.join(b, "/1")
        for engine in (b, c):
            await self.join(engine, "/2")
        for nodes in range(3):
            before = self.sent_bytes()
            for _ in range(_MESSAGES):
                await engines[0].publish(f"/{nodes}", text(large))
            await self.caught_up(engines)
            spent = (self.sent_bytes() - before) / _MESSAGES
            # The replies to the publisher, and heartbeats, take a few hundred.
            assert nodes * 10_000 < spent < nodes * 10_000 + 5_000

    @contract
    async def test_a_channel_of_many_segments_takes_one_look_up(self) -> None:
        engines = await self.three()
        long = "/s" * _SEGMENTS
        streams = await self.subscribers(engines[1], 1, long)
        short = await self.subscribers(engines[1], 1, "/s")
        spent = await self.spent(engines, long, streams)
        assert spent == await self.spent(engines, "/s", short)
        client: Any = self.server.client
        with client.monitor() as monitor:
            await engines[0].publish(long, text(0))
            client.echo("the end")
            commands = []
            while "the end" not in (command := monitor.next_command()["command"]):
                commands.append(command.split(" "))
        looked_up = [
            fields
            for name, key, *fields in (one for one in commands if len(one) > 2)
            if name.lower() == "hmget" and key.endswith(":interest")
        ]
        # The name, the pattern for its last segment, and one for each depth.
        assert [len(fields) for fields in looked_up] == [_SEGMENTS + 2]

    @contract
    async def test_interest_is_one_field_however_many_sessions_have_it(self) -> None:
        engine, _ = await self.start_node()
        client: Any = self.server.client
        (key,) = [key for key in self.keys() if key.endswith(b":interest")]
        client.config_set("notify-keyspace-events", "Kh")
        events = client.pubsub()
        events.subscribe(name := b"__keyspace@0__:" + key)

        def written() -> list[bytes]:
            """Return how the hash was changed since the last call."""
            client.publish(name, "end")
            return list(takewhile(b"end".__ne__, map(itemgetter("data"), messages)))

        messages = events.listen()
        next(messages)  # It is subscribed.
        sessions = [await self.join(engine, "/a")]
        assert written() == [b"hset"]
        fields, size = client.hlen(key), client.hstrlen(key, "/a")
        sessions += await self.members(engine, _MANY, "/a")
        # Each says since when: what was withdrawn before that stays.
        assert written() == [b"hset"] * _MANY
        assert client.hlen(key) == fields
        assert client.hstrlen(key, "/a") < size + 5
        await self.poll(engine, sessions[0])
        await self.publish(engine, "/a", 1, 2, 3)
        leaving = [engine.unsubscribe(one, ["/a"]) for one in sessions]
        await gatherResults(leaving)
        await self.soon(lambda: not client.hexists(key, "/a"))
        assert written() == [b"hdel"]
