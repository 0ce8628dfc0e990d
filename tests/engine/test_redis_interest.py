"""Nodes get what their own sessions and listeners want, and nothing else."""

from typing import Any

from tests.engine.redis_harness import pause
from tests.engine.redis_own_server import OwnServer, text
from tests.engine.redis_parts import (
    commands_connection,
    feed_connection,
    feed_of,
    node_id,
    owner_of,
    record_log_reads,
    record_replies,
)
from txbayeux.channel import expand
from txbayeux.engine.redis import RedisEngine
from txbayeux.events import Reason
from txbayeux.message import Entry
from txbayeux.testing import RecordingStream, contract


class TestInterest(OwnServer):
    def key(self, name: str) -> bytes:
        (found,) = [key for key in self.keys() if key.endswith(name.encode())]
        return found

    def interest(self) -> dict[str, int]:
        """Return how many nodes want each channel or pattern."""
        client: Any = self.server.client
        keys = [key for key in self.keys() if key.endswith(b":interest")]
        found = client.hgetall(keys[0]) if keys else {}
        return {
            name.decode(): len(value.split())
            for name, value in found.items()
            if name.startswith(b"/")
        }

    def registered(self) -> set[str]:
        """Return the nodes that Redis sends something to."""
        client: Any = self.server.client
        keys = [key for key in self.keys() if key.endswith(b":nodes")]
        return {name.decode() for name in client.hkeys(keys[0])} if keys else set()

    def published(self) -> int:
        """Return how many times Redis has published anything."""
        client: Any = self.server.client
        return int(
            client.info("commandstats").get("cmdstat_publish", {"calls": 0})["calls"]
        )

    async def node(self) -> RedisEngine:
        engine, _ = await self.start_node()
        return engine

    @contract
    async def test_a_node_is_sent_nothing_that_it_does_not_want(self) -> None:
        a, b, c = await self.node(), await self.node(), await self.node()
        alice = await self.join(b, "/a")
        before = self.published(), feed_of(a).sent, feed_of(c).sent
        await self.publish(a, "/a", *range(5))
        assert await self.poll(b, alice) == list(range(5))
        assert self.published() - before[0] == 5
        assert (feed_of(a).sent, feed_of(c).sent) == before[1:]

    @contract
    async def test_one_call_publishes_once_for_each_node_that_wants_any_of_it(
        self,
    ) -> None:
        a, b = await self.node(), await self.node()
        for n in range(10):
            await self.join(a, f"/a/{n}")
            await self.join(b, f"/a/{n}", "/a/*", "/**")
        before = self.published()
        for begun in [a.publish(f"/a/{n}", text(n)) for n in range(10)]:
            await begun
        assert self.published() - before == 2

    @contract
    async def test_a_call_sends_each_message_to_who_wants_its_channel_or_a_pattern(
        self,
    ) -> None:
        a = await self.node()
        client: Any = self.server.client
        prefix = self.key(":state").removesuffix(b"state")
        client.hset(prefix + b"node:cc", "heartbeat", 2**50)
        client.hset(prefix + b"nodes", "cc", 0)
        feed = client.pubsub()
        feed.subscribe(f"{{{self.namespace}}}:feed:cc")
        assert feed.get_message(timeout=10)["type"] == "subscribe"
        channels = ["/a", "/a/", "/b", "/a/b", "/a/c", "/a/b/c/d", "/s" * 64, "/a"]
        wanted = {pattern for channel in channels for pattern in expand(channel)}
        for name in sorted(wanted | {"/a/b/c", "/c/*", "/a/b/c/d/**"}):
            client.hset(prefix + b"interest", name, "cc:0:0 ")
            for begun in [a.publish(channel, text(1)) for channel in channels]:
                await begun
            client.hdel(prefix + b"interest", name)
            got: list[str] = []
            feed.ping()
            while (message := feed.get_message(timeout=10))["type"] != "pong":
                _, *entries = message["data"].split(b"\0\0")
                got += [entry.split(b"\0")[2].decode() for entry in entries]
            assert got == [channel for channel in channels if name in expand(channel)]

    @contract
    async def test_redis_knows_of_each_channel_once_for_a_node(self) -> None:
        a, b = await self.node(), await self.node()
        sessions = [await self.join(a, "/a", "/b/*") for _ in range(3)]
        assert self.interest() == {"/a": 1, "/b/*": 1}
        await self.join(b, "/a")
        assert self.interest() == {"/a": 2, "/b/*": 1}
        await a.unsubscribe(sessions[0], ["/b/*"])
        await pause(1.5)
        assert self.interest() == {"/a": 2, "/b/*": 1}

    @contract
    async def test_interest_ends_with_the_last_subscriber(self) -> None:
        a, b = await self.node(), await self.node()
        alice, bob = await self.join(a, "/a", "/b"), await self.join(a, "/a")
        await a.unsubscribe(alice, ["/a"])
        await a.unsubscribe(bob, ["/a"])
        await self.soon(lambda: self.interest() == {"/b": 1})
        await self.publish(b, "/b", 1)
        assert await self.poll(b, alice) == [1]  # it moves
        await self.soon(lambda: self.interest() == {"/b": 1})
        await self.publish(a, "/b", 2)
        assert await self.poll(b, alice) == [2]

    @contract
    async def test_a_channel_that_is_wanted_again_stays(self) -> None:
        a, b = await self.node(), await self.node()
        alice = await self.join(a, "/a")
        for n in range(200):
            await a.unsubscribe(alice, ["/a"])
            await a.subscribe(alice, ["/a"])
            await self.publish(b, "/a", n)
            assert await self.poll(a, alice) == [n]
            await pause(0.01)

    @contract
    async def test_a_withdrawal_does_not_end_what_was_asked_for_later(self) -> None:
        a, b = await self.node(), await self.node()
        alice = await self.join(a, "/a")
        await self.poll(a, alice)
        sent = feed_of(a).sent
        await b.subscribe(alice, ["/b"])  # the change is on its way to a
        kept = await a._commands.run("interest", sent, 0, "-", "/b", "-", "/a")
        assert kept == [b"/b"]
        assert self.interest() == {"/b": 1}

    @contract
    async def test_listeners_count(self) -> None:
        a, b = await self.node(), await self.node()
        heard: list[Entry] = []
        registration = a.hub.listen("/l/*", heard.append)
        await self.soon(lambda: self.interest() == {"/l/*": 1})
        await self.publish(b, "/l/a", 1)
        await self.soon(lambda: heard)
        registration.cancel()
        await self.soon(lambda: self.interest() == {})

    @contract
    async def test_thousands_of_listeners_share_calls(self) -> None:
        a = await self.node()
        calls = record_replies(a, "interest")
        heard: list[Entry] = []
        for n in range(5000):
            a.hub.listen(f"/l/{n}", heard.append)
        await self.soon(lambda: len(self.interest()) == 5000)
        assert len(calls) <= 1010
        await self.publish(a, "/l/4999", 1)
        await self.soon(lambda: heard)

    @contract
    async def test_nothing_is_withdrawn_for_what_only_listeners_get(self) -> None:
        a = await self.node()
        heard: list[Entry] = []
        a.hub.listen("/l/**", heard.append)
        withdrawals = record_replies(a, "interest")
        await a._commands.run("interest", 0, 0)  # the listener's comes first
        withdrawals.clear()
        await self.publish(a, "/l/a/b", *range(3))
        await self.soon(lambda: len(heard) == 3)
        a._node.interest.update()
        await a._commands.run("notices", 0)
        assert withdrawals == []

    @contract
    async def test_listeners_outlive_the_log(self) -> None:
        engine = await self.node()
        heard: list[Entry] = []
        engine.hub.listen("/l", heard.append)
        self.server.client.flushall()
        for n in range(100):
            await engine.publish("/l", text(n))
            if heard:
                return
            await pause(0.1)
        raise AssertionError("nothing was heard")

    @contract
    async def test_the_interest_of_a_node_that_left_is_removed(self) -> None:
        a, b = await self.node(), await self.node()
        await self.join(a, "/a", "/both")
        await self.join(b, "/both")
        await self.stop(a)
        await self.soon(lambda: self.interest() == {"/both": 1})
        assert node_id(a).encode() not in self.server.client.hkeys(self.key(":nodes"))

    @contract
    async def test_the_interest_of_a_dead_node_is_removed(self) -> None:
        a, b = await self.node(), await self.node()
        alice = await self.join(a, "/a")
        await self.join(b, "/both")
        await self.crash(a)
        client: Any = self.server.client
        client.hset(self.key(f":node:{node_id(a)}"), "heartbeat", 1)
        client.hdel(self.key(":state"), "looked")
        await self.soon(lambda: self.interest() == {"/both": 1})
        await self.publish(b, "/a", 1)
        assert await self.poll(b, alice) == [1]
        assert self.interest() == {"/both": 1, "/a": 1}

    @contract
    async def test_interest_of_dead_nodes_is_removed_although_redis_was_restarted(
        self,
    ) -> None:
        b = await self.node()
        await self.join(b, "/both")
        dead = 16 * "d"
        both = f"{node_id(b)}:0:0 {dead}:0:0 "
        found = {f"/a/{n}": f"{dead}:0:0 " for n in range(600)} | {"/both": both}
        with self.server.client.pipeline(transaction=True) as pipeline:
            pipeline.hset(self.key(":interest"), mapping=found)
            # Half of the table, and not the half that was visited before the restart.
            state = {"removing": f"{dead} ", "cursor": 1}
            pipeline.hset(self.key(":state"), mapping=state)
            pipeline.execute_command("CLIENT", "KILL", "TYPE", "normal")
            pipeline.execute()
        await self.soon(lambda: self.interest() == {"/both": 1})

    @contract
    async def test_a_living_node_that_was_forgotten_registers_anew(self) -> None:
        a, b = await self.node(), await self.node()
        alice = await self.join(a, "/a")
        heard: list[Entry] = []
        a.hub.listen("/l", heard.append)
        client: Any = self.server.client
        received: list[Any] = []
        for key in (":nodes", ":interest"):
            client.delete(self.key(key))
            # Published while Redis does not know who wants them.
            await self.publish(b, "/a", *range(3))
            await self.publish(b, "/l", 0)
            await self.soon(lambda: self.registered() == {node_id(a), node_id(b)})
            await self.soon(lambda: self.interest() == {"/a": 1, "/l": 1})
            await self.soon(a.ready)
            received += await self.poll(a, alice)
        assert received == [0, 1, 2] * 2
        await self.soon(lambda: len(heard) == 2)

    @contract
    async def test_the_work_for_a_name_of_many_segments_is_bounded(self) -> None:
        engine = await self.node()
        name = "/s" * 64
        await self.join(engine, name)
        client: Any = self.server.client
        client.config_resetstat()
        await self.publish(engine, name, 1)
        calls = client.info("commandstats")
        assert calls["cmdstat_publish"]["calls"] == 1
        assert calls["cmdstat_hmget"]["calls"] <= 3
        assert calls["cmdstat_hget"]["calls"] <= 2

    @contract
    async def test_a_session_that_moves_does_not_read_what_others_published(
        self,
    ) -> None:
        a, b = await self.node(), await self.node()
        alice = await self.join(a, "/a")
        assert await self.poll(a, alice) == []
        reads = record_log_reads(a), record_log_reads(b)
        for n in range(4):
            await self.publish(a, "/other", *range(50))
            owner = (b, a)[n % 2]
            assert await self.poll(owner, alice) == []
            await self.publish(b, "/a", n)
            assert await self.poll(owner, alice) == [n]
        assert reads == ([], [])

    @contract
    async def test_until_all_interest_is_registered_nothing_is_passed_over(
        self,
    ) -> None:
        a, b = await self.node(), await self.node()
        alice = await self.join(a, "/a")
        await self.poll(a, alice)
        client: Any = self.server.client
        # As after register.lua and before complete.lua.
        client.hset(self.key(f":node:{node_id(a)}"), "incomplete", 1)
        client.hdel(self.key(":interest"), "/a")
        await self.publish(b, "/a", 1)
        assert await self.poll(b, alice) == [1]

    @contract
    async def test_nothing_is_passed_over_after_others_removed_all_interest(
        self,
    ) -> None:
        a, b = await self.node(), await self.node()
        alice = await self.join(a, "/a")
        assert await self.poll(a, alice) == []
        client: Any = self.server.client
        interest = self.key(":interest")
        client.delete(interest)
        await self.publish(b, "/a", 1)
        await b.deliver(alice, "/a", text(2))
        for node in (a, b):
            await self.soon(lambda node=node: client.hexists(interest, node_id(node)))
            await self.until(node.ready)
        assert await self.receive(a, alice, 2) == [1, 2]
        client.delete(interest)
        await self.publish(b, "/a", 3)
        assert await owner_of(b).acquire(alice, hold=0, patience=60, leave=False)
        await self.until(b.ready)
        assert await self.receive(b, alice, 1) == [3]

    @contract
    async def test_a_registration_that_is_not_complete_is_repeated(self) -> None:
        a = await self.node()
        await self.join(a, "/a")
        client: Any = self.server.client
        # As after a failover that lost the last of it.
        client.hset(self.key(f":node:{node_id(a)}"), "incomplete", 1)
        client.hdel(self.key(":interest"), "/a")
        commands_connection(a).abort()
        await self.soon(lambda: self.interest() == {"/a": 1})
        await self.soon(
            lambda: not client.hexists(self.key(f":node:{node_id(a)}"), "incomplete")
        )
        await self.soon(a.ready)

    @contract
    async def test_a_node_that_was_forgotten_acquires_after_registering(self) -> None:
        a, b = await self.node(), await self.node()
        alice = await self.join(a, "/a")
        self.server.client.hdel(self.key(":nodes"), node_id(b))
        acquired = await owner_of(b).acquire(alice, hold=0, patience=60, leave=False)
        assert acquired is not None
        assert self.registered() == {node_id(a), node_id(b)}
        await self.publish(a, "/a", 1)
        assert await self.poll(b, alice) == [1]

    @contract
    async def test_a_node_that_stops_withdraws_nothing_before_it_has_released_all(
        self,
    ) -> None:
        a, b = await self.node(), await self.node()
        # More than one call releases.
        sessions = [await a.create_session() for _ in range(501)]
        alice = sessions[-1]
        await a.subscribe(alice, ["/a"])
        assert await self.poll(a, alice) == []
        wait = a._wait
        released: list[int] = []

        async def waited(deferred: Any) -> None:
            await wait(deferred)
            if not a.statistics()["sessions"]:
                # As at the tick of a heartbeat.
                a._node.interest.update()
                await a._commands.run("notices", 0)
                await self.publish(b, "/a", len(released))
                released.append(len(released))

        a._wait = waited  # type: ignore[method-assign]
        await self.stop(a)
        assert released == [0, 1, 2]
        assert await self.receive(b, alice, 3) == released

    @contract
    async def test_a_notice_that_was_lost_is_read_after_a_heartbeat(self) -> None:
        a, b = await self.node(), await self.node()
        alice = await self.join(a, "/a")
        connection = feed_connection(a)
        receive = connection.on_message
        connection.on_message = lambda payload: b"notice" in payload or receive(payload)
        held = b.connect(alice, hold=self.hold)
        await self.soon(lambda: a.statistics()["sessions"] == 0)
        await self.publish(a, "/a", 1)
        assert self.data((await self.answered(held)).entries) == [1]

    @contract
    async def test_a_session_that_ended_while_its_node_was_forgotten_is_closed(
        self,
    ) -> None:
        a, b = await self.node(), await self.node()
        alice, stream = await self.join(a, "/a"), RecordingStream()
        await a.attach(alice, stream)
        self.server.client.hdel(self.key(":nodes"), node_id(a))
        feed_connection(a).abort()
        await b.destroy_session(alice, Reason.CLIENT)
        await self.soon(lambda: a.statistics()["sessions"] == 0)
        assert (stream.closed, stream.replacements) == ([Reason.CLIENT], 0)
