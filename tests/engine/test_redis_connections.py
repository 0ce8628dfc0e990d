"""Connections that end, replies that are lost, scripts that are forgotten."""

from typing import Any

import pytest
from redis.exceptions import ResponseError
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs, formatEvent

from tests.engine.redis_harness import pause
from tests.engine.redis_own_server import OwnServer, text
from tests.engine.redis_parts import (
    commands_connection,
    feed_connection,
    script_arguments,
)
from txbayeux.engine.redis.scripts import load
from txbayeux.testing import RecordingStream, contract


class TestConnections(OwnServer):
    @contract
    async def test_each_connection_that_redis_kills_is_made_again(self) -> None:
        engine, observer = await self.start_node()
        stream = RecordingStream()
        alice = await self.join(engine, "/a")
        await engine.attach(alice, stream)
        for n in range(6):
            found = self.server.client.client_list()
            # The feed has a subscription, the other connection none.
            killed = [client for client in found if int(client["sub"]) == n % 2]
            assert killed
            for client in killed:
                self.server.client.client_kill_filter(_id=client["id"])
            await self.publish(engine, "/a", n)
            await self.soon(lambda n=n: stream.data[-1:] == [n])
            await self.soon(engine.ready)
        assert stream.data == list(range(6))
        assert observer.closed == []

    @contract
    async def test_a_reply_to_no_command_is_not_taken_for_the_next_ones(self) -> None:
        engine, _ = await self.start_node()
        alice = await self.join(engine, "/a")
        main: Any = commands_connection(engine)
        await self.soon(lambda: main.silence() == 0)
        with capturedLogs() as log:
            main.dataReceived(b":1\r\n")
            await self.publish(engine, "/a", 1)
        assert any("a reply to no command: 1" in formatEvent(event) for event in log)
        assert commands_connection(engine) is not main
        assert await self.poll(engine, alice) == [1]

    @contract
    async def test_what_a_given_up_connection_brings_late_is_not_appended(self) -> None:
        engine, _ = await self.start_node()
        alice = await self.join(engine, "/a")
        await self.publish(engine, "/a", 1)
        former = commands_connection(engine)
        keys, common = script_arguments(engine)
        assert former is not None
        former.abort()
        await self.soon(
            lambda: commands_connection(engine) not in {None, former} and engine.ready()
        )
        await self.publish(engine, "/a", 2)
        # What it would bring late: a frozen Redis still reads what it was sent.
        late = (100, 10**6, "", "", "/a", text("late"))
        with pytest.raises(ResponseError, match="STALE"):
            self.server.client.eval(load("publish").source, *keys, *common, *late)
        # A hello that comes late is put right.
        key = next(key for key in self.keys() if b":node:" in key)
        self.server.client.hset(key, "token", "1")
        await self.publish(engine, "/a", 3)
        assert await self.poll(engine, alice) == [1, 2, 3]

    @contract
    async def test_whose_reply_was_lost_does_not_take_the_log_for_another(self) -> None:
        (a, observer), (b, _) = await self.start_node(), await self.start_node()
        stream = RecordingStream()
        await b.attach(await self.join(b, "/a"), stream)
        main: Any = commands_connection(a)
        main.transport.pauseProducing()
        published = a.publish("/a", text(1))
        await self.soon(lambda: stream.data == [1])
        await self.publish(b, "/a", 2)
        main.abort()
        await published
        again: Any = commands_connection(a)
        again.abort()
        await self.soon(
            lambda: commands_connection(a) not in {None, again} and a.ready()
        )
        assert a.statistics()["epochs_total"] == 0
        await self.publish(a, "/a", 3)
        await self.soon(lambda: stream.data == [1, 2, 3])
        assert observer.closed == []

    @contract
    async def test_a_feed_killed_for_its_output_buffer_is_read_from_the_log(
        self,
    ) -> None:
        engine, observer = await self.start_node()
        stream = RecordingStream()
        alice = await self.join(engine, "/a")
        await engine.attach(alice, stream)
        client = self.server.client
        client.config_set("client-output-buffer-limit", "pubsub 300000 0 0")
        for turn in range(4):
            former = feed_connection(engine)
            numbers = range(turn * 10, turn * 10 + 10)
            for published in [
                engine.publish("/a", text([n, "x" * 50_000])) for n in numbers
            ]:
                await published
            await self.soon(lambda n=10 * turn + 10: len(stream.entries) >= n)
            assert feed_connection(engine) is not former
        assert [n for n, _ in stream.data] == list(range(40))
        assert observer.closed == []

    @contract
    async def test_forgotten_scripts_are_loaded_again(self) -> None:
        engine, _ = await self.start_node()
        alice = await self.join(engine, "/a")
        for n in range(3):
            self.server.client.script_flush()
            await self.publish(engine, "/a", n)
        assert await self.poll(engine, alice) == [0, 1, 2]

    @contract
    async def test_order_is_kept_where_redis_knows_no_script_yet(self) -> None:
        engine, _ = await self.start_node()
        stream = RecordingStream()
        alice = await engine.create_session()
        await engine.attach(alice, stream)
        told = [engine.subscribe(alice, ["/a"])]
        for n in range(20):
            told.append(engine.publish("/a", text(n)))
            await pause(0)
        for deferred in told:
            await deferred
        await self.soon(lambda: len(stream.data) >= 20)
        assert stream.data == list(range(20))

    @contract
    async def test_order_is_kept_while_redis_forgets_scripts(self) -> None:
        engine, _ = await self.start_node()
        alice, stream = await self.join(engine, "/a"), RecordingStream()
        await engine.attach(alice, stream)
        client = self.server.client
        forgetting = deferToThread(lambda: [client.script_flush() for _ in range(1000)])
        told = []
        for n in range(1000):
            told.append(engine.publish("/a", text(n)))
            await pause(0)
        await forgetting
        for deferred in told:
            await deferred
        await self.soon(lambda: len(stream.data) >= 1000)
        assert stream.data == list(range(1000))
