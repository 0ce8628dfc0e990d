"""What clients can use up is bounded: what waits for Redis, and sessions of a node."""

from dataclasses import replace
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from tests.engine.redis_harness import NodesHarness
from tests.engine.redis_own_server import OwnServer
from tests.engine.redis_parts import record_replies
from txbayeux.engine.redis import RedisEngine, RedisOptions
from txbayeux.engine.redis.commands import Commands
from txbayeux.engine.redis.options import (
    SHARED,
    SHARED_LIMITS,
    describe_shared,
    differences,
)
from txbayeux.errors import BayeuxError
from txbayeux.events import Reason
from txbayeux.limits import Limits
from txbayeux.testing import contract

SESSION = "0" * 32


def unconnected(clock: Clock | None = None, **options: Any) -> Commands:
    """Return commands that wait for Redis."""
    return Commands(
        clock or Clock(),
        RedisOptions(**options),
        node="n",
        keys=("{ns}:epoch",),
        stale=lambda: None,
    )


def refused(deferred: Any) -> bool:
    """Return whether an operation was refused at once, with 503."""
    if not deferred.called:
        return False
    failed: list[Any] = []
    deferred.addErrback(failed.append)
    error = failed[0].value
    assert isinstance(error, BayeuxError)
    return error.code == 503


def test_subscriptions_that_wait_are_counted_in_bytes() -> None:
    commands = unconnected(pending_bytes=1024 * 1024)
    channels = [f"/{n:01023d}" for n in range(90)]
    waiting = [
        commands.run("change", SESSION, "+", 1000, *channels) for _ in range(100)
    ]
    kept = [one for one in waiting if not refused(one)]
    assert 9 <= len(kept) <= 11
    assert refused(commands.publish("/a", b"x" * 100_000, ""))
    commands.stop()
    assert all(refused(one) for one in kept)


def test_what_waits_may_fill_the_limit_exactly() -> None:
    commands = unconnected(pending_bytes=1000)
    fits = commands.run("acquire", "x" * 900, 1)
    assert not fits.called
    assert refused(commands.run("acquire", ""))
    commands.stop()
    assert refused(fits)
    commands = unconnected(pending_bytes=1000)
    assert refused(commands.run("acquire", "x" * 901, 1))


def test_clients_do_not_use_up_what_the_node_needs_itself() -> None:
    commands = unconnected(pending_bytes=1000)
    full = commands.run("acquire", "x" * 950)
    assert refused(commands.run("acquire", ""))
    heartbeat = commands.run("heartbeat", 1, "", 1)
    assert not heartbeat.called
    # The feed needs these.
    kept = [commands.run("read", 1, 500, 500), commands.run("complete")]
    assert not any(one.called for one in kept)
    checkpoint = commands.run("checkpoint", "x" * 1000)
    assert refused(checkpoint)
    commands.stop()
    assert all(refused(one) for one in (full, heartbeat, *kept))


def test_refused_calls_are_counted_and_logged_once_a_minute() -> None:
    clock = Clock()
    commands = unconnected(clock, pending_bytes=1000, pending_messages=1)
    kept = commands.run("acquire", "x", patience=1000)
    with capturedLogs() as log:
        for refusals in (2, 3):
            for _ in range(refusals):
                assert refused(commands.publish("/a", b"", ""))
            clock.advance(59)
            assert refused(commands.run("acquire", "x" * 1000))
            clock.advance(1)
        assert refused(commands.publish("/a", b"", ""))
        commands.stop()
    assert commands.refused == 8
    limits = "(pending_messages=1, pending_bytes=1000)"
    full = f"as much waits for Redis as may {limits}"
    assert [formatEvent(event) for event in log] == [
        f"Operations refused: 1, 1 since the start; {full}",
        f"Operations refused: 2, 3 since the start; {full}",
        f"Operations refused: 4, 7 since the start; {full}",
        f"Operations refused: 1, 8 since the start; {full}",
    ]
    assert clock.getDelayedCalls() == []
    assert refused(kept)
    assert refused(commands.run("acquire", ""))
    assert commands.refused == 8


class TestSessions(NodesHarness):
    @contract
    async def test_a_session_is_not_taken_over_beyond_the_limit(self) -> None:
        a, b = await self.nodes(2, limits=Limits(sessions=2))
        at_a = [await a.create_session() for _ in range(2)]
        at_b = [await b.create_session() for _ in range(2)]
        for session in at_a:
            error = await self.refused_with(b.connect(session, hold=0))
            assert error.code == 503
        assert len(b.hub.sessions) == 2
        assert b.statistics()["refused_total"] == 2
        assert self.closed() == []
        await self.fetch_now(a, at_a[0])
        await b.destroy_session(at_b[0], Reason.CLIENT)
        await self.fetch_now(b, at_a[0])
        assert set(b.hub.sessions) == {at_a[0], at_b[1]}

    @contract
    async def test_sessions_arriving_together_stay_within_the_limit(self) -> None:
        a, b = await self.nodes(2, limits=Limits(sessions=3))
        at_a = [await a.create_session() for _ in range(3)]
        begun: list[Any] = [b.connect(session, hold=0) for session in at_a[:2]]
        begun += [b.create_session() for _ in range(5)]
        outcomes = []
        for one in begun:
            try:
                await one
            except BayeuxError as error:
                outcomes.append(error.code)
        assert outcomes == [503] * 4
        assert len(b.hub.sessions) == 3

    async def fetch_now(self, engine: RedisEngine, session: str) -> None:
        await self.answered(engine.connect(session, hold=0))

    async def refused_with(self, deferred: Any) -> BayeuxError:
        try:
            await deferred
        except BayeuxError as error:
            return error
        raise AssertionError("it was not refused")


class TestOptions(NodesHarness):
    async def logged(self, **options: Any) -> list[str]:
        """Start a node; return what it logs about options."""
        with capturedLogs() as log:
            [self.node] = await self.nodes(1, **options)
        return [line for line in map(formatEvent, log) if line and "options" in line]

    @contract
    async def test_a_node_with_another_session_timeout_logs_it(self) -> None:
        await self.nodes(1)
        assert await self.logged() == []
        (line,) = await self.logged(session_timeout=77.0)
        assert line == (
            f"Another node of namespace {self.namespace} has other options, and all "
            "must have the same: session_timeout=30 there, session_timeout=77 here"
        )

    @contract
    async def test_only_what_differs_is_logged(self) -> None:
        await self.nodes(1)
        limits = Limits(queue_messages=100, session_subscriptions=7, sessions=3)
        (line,) = await self.logged(limits=limits)
        assert line.endswith(
            ": session_subscriptions=1000 queue_messages=4096 there, "
            "session_subscriptions=7 queue_messages=100 here"
        )

    @contract
    async def test_what_each_process_has_for_itself_may_differ(self) -> None:
        await self.nodes(1)
        limits = Limits(
            sessions=3,
            batch_messages=4,
            request_objects=5,
            request_deliveries=6,
            queued_bytes=2**24,
        )
        assert await self.logged(limits=limits) == []

    @contract
    async def test_a_node_that_has_stopped_does_not_count(self) -> None:
        [node] = await self.nodes(1)
        await self.stop(node)
        assert await self.logged(session_timeout=77.0) == []

    @contract
    async def test_the_nodes_that_live_count_not_the_last_that_was_started(
        self,
    ) -> None:
        await self.nodes(1)
        assert len(await self.logged(session_timeout=77.0)) == 1
        await self.stop(self.node)
        key = f"{{{self.namespace}}}:{await self.epoch()}:state"
        await self.until(lambda: self.server.client.hget(key, "options"))
        assert await self.logged() == []
        assert len(await self.logged(session_timeout=77.0)) == 1

    async def epoch(self) -> str:
        found: Any = self.server.client.get(f"{{{self.namespace}}}:epoch")
        return str(found.decode())


@pytest.mark.parametrize("name", [*SHARED, *SHARED_LIMITS])
def test_each_shared_option_is_compared(name: str) -> None:
    limits, options = Limits(), RedisOptions()
    before = describe_shared(options, limits, 60.0)
    if name in SHARED:
        options = replace(options, **{name: 7})
    else:
        limits = replace(limits, **{name: 7})
    here, there = differences(describe_shared(options, limits, 60.0), before)
    assert here == f"{name}=7"
    assert there.startswith(f"{name}=")
    assert " " not in there


def test_options_that_another_version_does_not_know_are_not_compared() -> None:
    assert differences("a=1 b=2 c=3", "b=2 c=4 d=5 ?") == ("c=3", "c=4")
    assert differences("a=1", "") == ("", "")


class TestExpiry(OwnServer):
    async def expire(self, count: int, *channels: str) -> list[int]:
        """Return how many of these expired sessions each script call ended."""
        engine, observer = await self.start_node()
        sessions = [
            await one for one in [engine.create_session() for _ in range(count)]
        ]
        if channels:
            for one in [engine.subscribe(session, channels) for session in sessions]:
                await one
        client: Any = self.server.client
        (key,) = [key for key in self.keys() if key.endswith(b":expiry")]
        replies = record_replies(engine, "heartbeat")
        client.zadd(key, dict.fromkeys(sessions, 0))
        await self.soon(lambda: len(observer.closed) == count)
        assert {session for session, _ in observer.closed} == set(sessions)
        # Sessions begin at the ninth place; a call between expiries ends none.
        return [len(reply) - 8 for reply in replies if len(reply) > 8]

    @contract
    async def test_expired_sessions_end_in_step_with_their_number(self) -> None:
        # A session without subscriptions counts once or twice, a call ends up to 1,000.
        assert 3 <= len(await self.expire(3000)) <= 6

    @contract
    async def test_sessions_with_many_subscriptions_end_in_more_calls(self) -> None:
        channels = [f"/{n}" for n in range(1000)]
        # A session counts as 102 of the 1,000 that a call may end.
        assert await self.expire(25, *channels) == [10, 10, 5]
