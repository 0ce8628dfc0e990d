"""Redis slow, gone, emptied, gone back, full, read-only, and what comes of it."""

from typing import Any

from tests.engine.redis_harness import pause
from tests.engine.redis_own_server import OwnServer, text
from tests.engine.redis_parts import feed_connection, forget_tail, termination_of
from txbayeux.events import Reason
from txbayeux.testing import RecordingStream, contract


class TestAway(OwnServer):
    @contract
    async def test_it_starts_without_redis_and_is_there_when_redis_is(self) -> None:
        self.server.stop()
        engine = await self.start()
        await pause(0.3)
        assert not engine.ready()
        published = engine.publish("/a", text(1))
        session = engine.create_session()
        self.server.start()
        await self.soon(engine.ready)
        await published
        await engine.subscribe(await session, ["/a"])

    @contract
    async def test_operations_that_wait_too_long_are_refused(self) -> None:
        self.server.stop()
        self.patience = 0.3
        engine = await self.start()
        for begun in (
            engine.create_session(),
            engine.publish("/a", text(1)),
            engine.subscribe("0" * 32, ["/a"]),
            engine.connect("0" * 32, hold=0),
            engine.attach("0" * 32, RecordingStream()),
        ):
            assert (await self.refusal(begun)).code == 503

    @contract
    async def test_more_than_the_bound_is_refused_at_once(self) -> None:
        self.server.stop()
        engine = await self.start()
        begun = [engine.publish("/a", text(n)) for n in range(10_001)]
        assert (await self.refusal(begun[-1])).code == 503
        assert not begun[0].called
        large = [engine.publish("/a", text("x" * 9_000_000)) for _ in range(2)]
        assert (await self.refusal(large[-1])).code == 503
        for one in begun[:-1]:
            one.addErrback(lambda failure: None)
        large[0].addErrback(lambda failure: None)

    @contract
    async def test_a_restart_with_all_kept_is_not_noticed_by_sessions(self) -> None:
        self.server.options = ("--appendonly", "yes", "--appendfsync", "always")
        self.server.stop()
        self.server.start()
        engine, observer = await self.start_node()
        stream = RecordingStream()
        alice = await self.join(engine, "/a")
        held = engine.connect(alice, hold=self.hold)
        bob = await self.join(engine, "/a")
        await engine.attach(bob, stream)
        await self.publish(engine, "/a", 1)
        assert self.data((await self.answered(held)).entries) == [1]
        held = engine.connect(alice, hold=self.hold)
        self.server.stop()
        waiting = engine.publish("/a", text(2))
        await pause(0.5)
        assert not engine.ready()
        assert not waiting.called
        self.server.start()
        await self.soon(engine.ready)
        await waiting
        assert self.data((await self.answered(held)).entries) == [2]
        await self.soon(lambda: stream.data == [1, 2])
        assert observer.closed == []
        assert engine.statistics()["epochs_total"] == 0

    @contract
    async def test_a_restart_with_nothing_left_sends_sessions_to_handshake(
        self,
    ) -> None:
        engine, observer = await self.start_node()
        stream = RecordingStream()
        alice, bob = await self.join(engine, "/a"), await self.join(engine, "/a")
        held = engine.connect(alice, hold=self.hold)
        await engine.attach(bob, stream)
        await self.publish(engine, "/a", 1)
        await self.answered(held)
        held = engine.connect(alice, hold=self.hold)
        self.server.stop()
        self.server.start()
        await self.soon(engine.ready)
        delivery = await self.answered(held)
        assert delivery.ended is Reason.KICKED
        assert stream.closed == [Reason.KICKED]
        await self.refused(engine.connect(alice, hold=0))
        assert sorted(observer.closed) == sorted(
            [(alice, Reason.KICKED), (bob, Reason.KICKED)]
        )
        carol = await self.join(engine, "/a")
        await self.publish(engine, "/a", 2)
        assert await self.poll(engine, carol) == [2]

    @contract
    async def test_a_flush_is_noticed_by_publishers_and_by_idle_nodes(
        self,
    ) -> None:
        (a, _), (b, observer) = await self.start_node(), await self.start_node()
        alice = await self.join(b, "/a")
        held = b.connect(alice, hold=self.hold)
        await self.unanswered(held)
        self.server.client.flushall()
        await a.publish("/a", text(1))
        await self.soon(lambda: held.called)
        assert (await held).ended is Reason.KICKED
        assert observer.closed == [(alice, Reason.KICKED)]
        bob = await self.join(b, "/a")
        await self.publish(a, "/a", 2)
        await self.soon(lambda: b.statistics()["queued_messages"] == 1)
        assert await self.poll(b, bob) == [2]

    @contract
    async def test_an_old_snapshot_is_noticed_although_the_log_grew_again(self) -> None:
        a, _ = await self.start_node()
        alice = await self.join(a, "/a")
        await self.publish(a, "/a", *range(5))
        assert await self.poll(a, alice) == list(range(5))
        self.server.client.save()
        await self.publish(a, "/a", *range(5, 8))
        assert await self.poll(a, alice) == [5, 6, 7]
        self.server.stop()
        self.server.options = ("--dbfilename", "dump.rdb")
        # Somebody else is there first, and lets the log grow past where it was.
        former, self.server.socket = (
            self.server.socket,
            self.server.socket.with_suffix(".x"),
        )
        self.server.start()
        b, _ = await self.start_node()
        bob = await self.join(b, "/a")
        await self.publish(b, "/a", *range(100, 120))
        elsewhere = self.server.socket
        former.symlink_to(elsewhere)
        await self.soon(a.ready)
        await self.soon(lambda: a.statistics()["epochs_total"] == 1)
        await self.refused(a.connect(alice, hold=0))
        await self.soon(lambda: b.statistics()["epochs_total"] == 1)
        await self.refused(b.connect(bob, hold=0))
        former.unlink()

    @contract
    async def test_a_frozen_redis_refuses_and_then_goes_on(self) -> None:
        self.patience = 5.0
        engine, observer = await self.start_node()
        alice = await self.join(engine, "/a")
        held = engine.connect(alice, hold=self.hold)
        await self.unanswered(held)
        with self.server.frozen():
            unsure = engine.publish("/a", text("unsure"))
            assert (await self.refusal(unsure)).code == 503
            assert not engine.ready()
            late = engine.publish("/a", text("late"))
            await pause(1.0)
            assert not held.called
        await late
        await self.soon(engine.ready)
        found = self.data((await self.answered(held)).entries)
        found += await self.poll(engine, alice)
        assert found in (["late"], ["unsure", "late"])
        assert observer.closed == []

    @contract
    async def test_sessions_outlive_a_freeze_longer_than_their_time(self) -> None:
        self.session_timeout = 2.0
        engine, observer = await self.start_node()
        alice = await self.join(engine, "/a")
        stream = RecordingStream()
        held = engine.connect(alice, hold=self.hold, stream=stream)
        with self.server.frozen():
            await pause(6.0)
        await self.soon(engine.ready)
        await pause(1.5)
        assert observer.closed == []
        await self.publish(engine, "/a", 1)
        await self.soon(lambda: stream.data == [1])
        assert not held.called


class TestRefusing(OwnServer):
    @contract
    async def test_redis_out_of_memory_refuses_publishes_and_recovers(self) -> None:
        engine, observer = await self.start_node()
        stream = RecordingStream()
        alice = await self.join(engine, "/a")
        await engine.attach(alice, stream)
        self.server.client.config_set("maxmemory", "1")
        assert (await self.refusal(engine.publish("/a", text(1)))).code == 503
        assert (await self.refusal(engine.create_session())).code == 503
        await pause(1.5)
        self.server.client.config_set("maxmemory", "0")
        await self.publish(engine, "/a", 2)
        await self.soon(lambda: stream.data == [2])
        assert observer.closed == []

    @contract
    async def test_sessions_outlive_a_full_redis(self) -> None:
        self.session_timeout = 1.5
        engine, observer = await self.start_node()
        alice, stream = await self.join(engine, "/a"), RecordingStream()
        self.server.client.config_set("maxmemory", "1")
        held = engine.connect(alice, hold=self.hold, stream=stream)
        await pause(2.5)
        self.server.client.config_set("maxmemory", "0")
        await pause(1.5)
        assert observer.closed == []
        await self.publish(engine, "/a", 1)
        await self.soon(lambda: stream.data == [1])
        assert not held.called

    @contract
    async def test_a_disk_in_trouble_puts_off_the_end_of_a_session(self) -> None:
        (a, observer), (b, _) = await self.start_node(), await self.start_node()
        alice = await self.join(a, "/a")
        client: Any = self.server.client
        client.config_set("save", "3600 1")
        self.server.folder.rmdir()
        client.bgsave()
        await self.soon(lambda: client.info()["rdb_last_bgsave_status"] == "err")
        assert (await self.refusal(a.publish("/a", text(1)))).code == 503
        termination_of(a).terminate(alice, Reason.KICKED, "You know why")
        await pause(0.3)
        assert observer.closed == []
        await self.refused(a.connect(alice, hold=0))
        client.config_set("stop-writes-on-bgsave-error", "no")
        await self.soon(lambda: observer.closed == [(alice, Reason.KICKED)])
        await self.refused(b.connect(alice, hold=0))

    @contract
    async def test_redis_read_only_refuses_publishes_and_recovers(self) -> None:
        engine, observer = await self.start_node()
        stream = RecordingStream()
        alice = await self.join(engine, "/a")
        await engine.attach(alice, stream)
        client = self.server.client
        client.config_set("replica-serve-stale-data", "yes")
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        assert (await self.refusal(engine.publish("/a", text(1)))).code == 503
        await pause(0.5)
        client.execute_command("REPLICAOF", "NO", "ONE")
        await self.soon(engine.ready)
        await self.publish(engine, "/a", 2)
        await self.soon(lambda: stream.data == [2])
        assert observer.closed == []

    @contract
    async def test_a_log_that_was_trimmed_too_far_is_a_gap_that_is_told(self) -> None:
        engine, observer = await self.start_node()
        alice = await self.join(engine, "/a")
        held = engine.connect(alice, hold=self.hold)
        await self.unanswered(held)
        reading: Any = feed_connection(engine)
        reading.transport.pauseProducing()
        await self.publish(engine, "/a", *range(50))
        log = next(key for key in self.keys() if key.endswith(b":log"))
        self.server.client.xtrim(log, maxlen=10, approximate=False)
        reading.abort()
        await self.soon(lambda: held.called)
        delivery = await held
        assert delivery.ended is Reason.KICKED
        assert engine.statistics()["gaps_total"] == 1
        await self.soon(lambda: observer.closed == [(alice, Reason.KICKED)])
        error = await self.refused(engine.connect(alice, hold=0))
        assert "missed" in error.text

    @contract
    async def test_a_session_whose_place_is_forgotten_is_told_when_it_hops(
        self,
    ) -> None:
        (a, _), (b, observer) = await self.start_node(), await self.start_node()
        alice = await self.join(a, "/a")
        await self.publish(a, "/a", 1)
        await self.settle()
        await self.crash(a)
        await self.publish(b, "/b", *range(5))
        forget_tail(b)
        log = next(key for key in self.keys() if key.endswith(b":log"))
        self.server.client.xtrim(log, maxlen=1, approximate=False)
        error = await self.refused(b.connect(alice, hold=0))
        assert "missed" in error.text
        await self.soon(lambda: observer.closed == [(alice, Reason.KICKED)])
        assert b.statistics()["gaps_total"] == 1

    @contract
    async def test_messages_given_back_after_they_left_the_log_are_a_gap(self) -> None:
        (a, _), (b, observer) = await self.start_node(), await self.start_node()
        alice = await self.join(a, "/a")
        await self.publish(a, "/a", 1)
        lost = await self.connect(a, alice)
        assert self.data(lost.entries) == [1]
        assert await self.poll(b, alice) == []
        log = next(key for key in self.keys() if key.endswith(b":log"))
        self.server.client.xtrim(log, maxlen=0, approximate=False)
        forget_tail(b)
        lost.give_back()
        await self.soon(lambda: b.statistics()["gaps_total"] == 1)
        error = await self.refused(b.connect(alice, hold=0))
        assert "missed" in error.text
        assert observer.closed == [(alice, Reason.KICKED)]
