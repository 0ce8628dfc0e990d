"""Entries and keys that others put into the namespace do no harm."""

from typing import Any

import pytest
from twisted.logger import capturedLogs, formatEvent

from tests.engine.redis_harness import pause
from tests.engine.redis_own_server import OwnServer
from tests.engine.redis_parts import forget_tail
from txbayeux.engine.redis.log import Change, parse
from txbayeux.errors import BayeuxError
from txbayeux.testing import RecordingStream, contract

BROKEN = (
    {"a": "b"},
    {"c": "/a", "j": "{}"},
    {"c": "/a", "x": "{}"},
    {"c": b"\xff", "j": "{}"},
    {"u": "x", "*": "/a"},
)


@pytest.mark.parametrize(
    "fields",
    [
        [b"a", b"b"],
        [b"c", b"/a"],
        [b"c", b"/a", b"x", b"{}"],
        [b"c", b"\xff", b"j", b"{}"],
        [b"c", b"", b"j", b"{}"],
        [b"c", b"a", b"j", b"{}"],
        [b"c", b"/a/*", b"j", b"{}"],
        [b"c", b"/a", b"j", b"{\xff}"],
        [b"c", b"/a", b"j", b"no JSON"],
        [b"c", b"/a", b"j", b"{}", b"x", b"y"],
        [b"u", b"session", b"*", b"/a"],
    ],
)
def test_an_entry_with_other_fields_is_no_entry(fields: list[bytes]) -> None:
    assert parse(b"5-1", fields) is None


def test_an_entry_with_the_id_of_a_time_is_no_entry() -> None:
    fields = [b"c", b"/a", b"j", b"{}"]
    assert parse(b"1700000000000-0", fields) is None
    assert parse(b"5-1", fields) is not None


def test_channels_of_a_change_may_have_spaces_and_a_final_slash() -> None:
    channels = ("/a b/c", "/a", "/d/", "/e f/*", "/g", "/**")
    change = parse(b"5-1", [b"u", b"session", b"+", " ".join(channels).encode()])
    assert isinstance(change, Change)
    assert change.channels == channels


class TestForeignEntries(OwnServer):
    def key(self, name: str) -> bytes:
        (found,) = [key for key in self.keys() if name.encode() in key]
        return found

    @contract
    async def test_entries_with_the_id_of_a_time_are_skipped(self) -> None:
        await self.skips("*")

    @contract
    async def test_entries_far_ahead_are_skipped(self) -> None:
        await self.skips("far")

    @contract
    async def test_entries_just_ahead_are_skipped(self) -> None:
        await self.skips("next")

    @contract
    async def test_entries_with_the_greatest_ids_are_skipped(self) -> None:
        await self.skips("last")

    @contract
    async def test_entries_with_the_position_of_another_are_skipped(self) -> None:
        await self.skips("same")

    async def skips(self, identity: str) -> None:
        (a, at_a), (b, at_b) = await self.start_node(), await self.start_node()
        alice, bob = await self.join(a, "/a"), await self.join(b, "/a")
        stream = RecordingStream()
        await b.attach(bob, stream)
        await self.publish(a, "/a", 1)
        client: Any = self.server.client
        log = self.key(":log")
        for number, fields in enumerate(BROKEN):
            top = int(client.xrevrange(log, count=1)[0][0].partition(b"-")[0])
            position = int(client.hget(self.key(":state"), "position"))
            client.xadd(
                log,
                fields,
                {
                    "*": "*",
                    "far": f"{max(top, position) + 10**12}-{2**40}",
                    "next": f"{position + 1}-{2**40}",
                    "last": f"{2**64 - 1}-{2**64 - 1 - 5 + number}",
                    "same": f"{position}-{2**40 + number}",
                }[identity],
            )
            await self.publish(a, "/a", 10 + number)
        everything = [1, *range(10, 10 + len(BROKEN))]
        await self.soon(lambda: stream.data == everything)
        assert await self.poll(a, alice) == everything
        assert await a.subscribe(alice, ["/b"]) == ["/b"]
        assert a.ready()
        assert b.ready()
        assert [at_a.closed, at_b.closed] == [[], []]
        # And for a session that must read them from Redis.
        forget_tail(b)
        await self.crash(a)
        await self.publish(b, "/a", 2)
        received = await self.poll(b, alice)
        assert received == [*everything, 2][-len(received) :]

    @contract
    async def test_foreign_entries_are_counted_and_logged_once(self) -> None:
        engine, observer = await self.start_node()
        await self.publish(engine, "/a", 1)
        client: Any = self.server.client
        with capturedLogs() as log:
            for count in range(1, 4):
                client.xadd(self.key(":log"), {"a": "b"})
                await self.soon(
                    lambda count=count: engine.statistics()["foreign_total"] == count
                )
        lines = [str(formatEvent(event)) for event in log]
        assert len([line for line in lines if "not of this service" in line]) == 1
        assert client.xlen(self.key(":log")) == 1
        assert observer.closed == []

    @contract
    async def test_entries_that_were_removed_again_do_no_harm(self) -> None:
        engine, _ = await self.start_node()
        alice = await self.join(engine, "/a")
        await self.publish(engine, "/a", 1)
        client: Any = self.server.client
        log = self.key(":log")
        identity = client.xadd(log, {"a": "b"}, f"{10**15}-0")
        client.xdel(log, identity)
        await self.publish(engine, "/a", 2)
        assert await self.poll(engine, alice) == [1, 2]

    @contract
    async def test_foreign_notices_do_no_harm(self) -> None:
        (a, _), (b, _) = await self.start_node(), await self.start_node()
        alice = await self.join(a, "/a")
        client: Any = self.server.client
        for key in self.keys():
            if b":inbox:" in key:
                client.xadd(key, {"k": "acquired"})
                client.xadd(key, {"k": b"\xff"})
                client.xadd(key, {"a": "b"}, f"{2**64 - 1}-{2**64 - 1}")
        await self.publish(a, "/a", 1)
        assert await self.poll(b, alice) == [1]
        await self.soon(lambda: a.statistics()["foreign_total"])
        await self.publish(a, "/a", 2)
        assert await self.poll(a, alice) == [2]
        assert await self.poll(b, alice) == []

    @contract
    async def test_a_state_of_another_type_is_made_anew(self) -> None:
        await self.recovers(":state")

    @contract
    async def test_a_log_of_another_type_is_made_anew(self) -> None:
        await self.recovers(":log")

    @contract
    async def test_a_table_of_expiry_of_another_type_is_made_anew(self) -> None:
        await self.recovers(":expiry")

    @contract
    async def test_a_table_of_interest_of_another_type_is_made_anew(self) -> None:
        await self.recovers(":interest")

    @contract
    async def test_a_table_of_nodes_of_another_type_is_made_anew(self) -> None:
        await self.recovers(":nodes")

    @contract
    async def test_a_node_of_another_type_is_made_anew(self) -> None:
        await self.recovers(":node:")

    @contract
    async def test_an_inbox_of_another_type_is_made_anew(self) -> None:
        await self.recovers(":inbox:")

    @contract
    async def test_an_epoch_of_another_type_is_made_anew(self) -> None:
        await self.recovers("epoch")

    async def recovers(self, name: str) -> None:
        engine, _ = await self.start_node()
        await self.join(engine, "/a")
        await self.publish(engine, "/a", 1)
        client: Any = self.server.client
        client.set(self.key(name), "x")
        for _ in range(600):
            try:
                alice = await self.join(engine, "/a")
                await self.publish(engine, "/a", 2)
                break
            except BayeuxError:
                await pause(0.1)
        received: list[Any] = []
        for _ in range(600):
            received += await self.poll(engine, alice)
            if received:
                break
            await pause(0.1)
        assert received == [2]
        await self.soon(engine.ready)

    @contract
    async def test_a_session_of_another_type_is_unknown(self) -> None:
        (a, _), (b, _) = await self.start_node(), await self.start_node()
        client: Any = self.server.client
        for broken in ("type", "fields", "number"):
            alice = await self.join(a, "/a")
            key = self.key(f":session:{alice}")
            if broken == "type":
                client.set(key, "x")
            elif broken == "fields":
                client.hdel(key, "generation")
            else:
                client.hset(key, "/a", "x")
            await self.refused(b.connect(alice, hold=0))
        await self.publish(a, "/a", 1)
        assert a.ready()

    @contract
    async def test_sessions_expire_beside_a_broken_one(self) -> None:
        engine, observer = await self.start_node()
        alice, bob = await self.join(engine, "/a"), await self.join(engine, "/a")
        client: Any = self.server.client
        client.set(self.key(f":session:{alice}"), "x")
        client.zadd(self.key(":expiry"), {alice: 0, bob: 1, b"\xff": 0})
        await self.soon(lambda: bob in [session for session, _ in observer.closed])
        assert engine.ready()

    @contract
    async def test_a_node_whose_publishes_fail_is_not_ready(self) -> None:
        engine, _ = await self.start_node()
        assert engine.ready()
        client: Any = self.server.client
        client.config_set("maxmemory", "1")
        assert (await self.refusal(engine.publish("/a", b"{}"))).code == 503
        assert not engine.ready()
        client.config_set("maxmemory", "0")
        await self.publish(engine, "/a", 1)
        assert engine.ready()
