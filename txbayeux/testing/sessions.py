"""The engine contract: the life of sessions."""

from __future__ import annotations

from txbayeux.errors import BayeuxError, TooManySessions
from txbayeux.events import Reason
from txbayeux.limits import Limits
from txbayeux.message import encode
from txbayeux.testing.fakes import RecordingStream
from txbayeux.testing.harness import EngineHarness, contract

__all__ = ["SessionContract"]

_MESSAGE = encode({"channel": "/a", "data": 1})


class SessionContract(EngineHarness):
    """Ids, expiry, destruction, stop, statistics."""

    @contract
    async def test_an_id_is_alphanumeric_long_and_never_the_same(self) -> None:
        engine = await self.start()
        ids = [await engine.create_session() for _ in range(50)]
        assert len(set(ids)) == 50
        # 128 bits need 22 characters of 62 kinds.
        assert all(id_.isascii() and id_.isalnum() and len(id_) >= 22 for id_ in ids)

    @contract
    async def test_past_the_limit_no_session_is_made_until_one_ends(self) -> None:
        engine = await self.start(limits=Limits(sessions=2))
        made: list[str] = []
        try:
            while len(made) < 10:  # the limit is each process's own
                made.append(await engine.create_session())
        except TooManySessions as error:
            assert error.code == 503
        assert 2 <= len(made) < 10
        for session in made:
            await engine.destroy_session(session, Reason.CLIENT)
            await self.ended(session)
        assert await self.poll(engine, await self.join(engine)) == []

    @contract
    async def test_an_unknown_session_is_refused_without_effect(self) -> None:
        engine = await self.start()
        bob = await self.join(engine, "/a")
        for nobody in ("nobody", "", "\0", "é" * 300, bob.upper() + "x"):
            await self.refused(engine.subscribe(nobody, ["/a"]))
            await self.refused(engine.check_session(nobody))
            await self.refused(engine.unsubscribe(nobody, ["/a"]))
            await self.refused(engine.publish("/a", _MESSAGE, nobody))
            await self.refused(engine.deliver(nobody, "/a", _MESSAGE))
            await self.refused(engine.connect(nobody, hold=0))
            await self.refused(engine.attach(nobody, RecordingStream()))
            await self.refused(engine.destroy_session(nobody, Reason.KICKED))
        assert await self.poll(engine, bob) == []
        assert self.observer.closed == []

    @contract
    async def test_a_destroyed_session_is_gone_and_told_of_once(self) -> None:
        engine = await self.start()
        alice, bob = await self.join(engine, "/a"), await self.join(engine, "/a")
        await engine.destroy_session(alice, Reason.CLIENT)
        assert await self.ended(alice) is Reason.CLIENT
        await self.refused(engine.connect(alice, hold=0))
        await self.refused(engine.destroy_session(alice, Reason.KICKED))
        await self.advance(self.short_timeout / 2)
        assert self.observer.closed == [(alice, Reason.CLIENT)]
        await self.publish(engine, "/a", 1)
        assert await self.poll(engine, bob) == [1]

    @contract
    async def test_the_end_of_a_session_tells_its_subscriptions(self) -> None:
        engine = await self.start()
        alice = await self.join(engine, "/a", "/b/*", "/c d/", "/**")
        bob = await self.join(engine)
        await engine.unsubscribe(alice, ["/a"])
        await engine.destroy_session(alice, Reason.CLIENT)
        await engine.destroy_session(bob, Reason.KICKED)
        await self.ended(alice)
        await self.ended(bob)
        assert self.observer.channels == {alice: ["/**", "/b/*", "/c d/"], bob: []}

    @contract
    async def test_a_destroyed_sessions_held_connect_is_answered(self) -> None:
        engine = await self.start()
        alice = await self.join(engine)
        held = engine.connect(alice, hold=self.hold)
        await self.unanswered(held)
        await engine.destroy_session(alice, Reason.CLIENT)
        delivery = await self.answered(held)
        assert delivery.ended is Reason.CLIENT
        assert (list(delivery.entries), delivery.superseded) == ([], False)

    @contract
    async def test_why_a_session_was_ended_is_told_to_its_held_connect(self) -> None:
        engine = await self.start()
        alice = await self.join(engine)
        held = engine.connect(alice, hold=self.hold)
        await self.unanswered(held)
        await engine.destroy_session(alice, Reason.KICKED, "You know why")
        delivery = await self.answered(held)
        assert (delivery.ended, delivery.why) == (Reason.KICKED, "You know why")

    @contract
    async def test_why_a_session_was_ended_is_told_at_its_return(self) -> None:
        engine = await self.start()
        alice, bob = await self.join(engine), await self.join(engine)
        await engine.destroy_session(alice, Reason.KICKED, "You know why")
        await engine.destroy_session(bob, Reason.KICKED)
        assert (await self.refused(engine.connect(alice, hold=0))).text == (
            "You know why"
        )
        assert (await self.refused(engine.subscribe(alice, ["/a"]))).text == (
            "You know why"
        )
        assert (await self.refused(engine.connect(bob, hold=0))).text != "You know why"

    @contract
    async def test_a_session_that_never_connects_expires(self) -> None:
        engine = await self.start(session_timeout=self.short_timeout)
        alice = await self.join(engine, "/a")
        await self.advance(self.short_timeout / 2)
        await engine.subscribe(alice, ["/b"])
        assert self.observer.closed == []
        await self.advance(self.short_timeout)
        assert await self.ended(alice) is Reason.TIMEOUT
        assert self.observer.channels == {alice: ["/a", "/b"]}
        await self.refused(engine.subscribe(alice, ["/b"]))

    @contract
    async def test_a_connect_keeps_a_session_and_nothing_else_does(self) -> None:
        engine = await self.start(session_timeout=self.short_timeout)
        alice, bob = await self.join(engine, "/a"), await self.join(engine, "/a")
        for _ in range(4):
            await self.advance(self.short_timeout * 0.6)
            await engine.connect(alice, hold=0)
            if not self.observer.closed:
                await engine.publish("/b", _MESSAGE, bob)
        assert await self.ended(bob) is Reason.TIMEOUT
        await engine.check_session(alice)

    @contract
    async def test_a_held_connect_keeps_its_session(self) -> None:
        engine = await self.start(session_timeout=self.short_timeout)
        alice = await self.join(engine)
        held = engine.connect(alice, hold=self.short_timeout * 2)
        await self.advance(self.short_timeout * 1.5)
        await self.unanswered(held)
        await self.advance(self.short_timeout)
        assert (await self.answered(held)).ended is None
        await engine.check_session(alice)
        await self.advance(self.short_timeout * 1.5)
        assert await self.ended(alice) is Reason.TIMEOUT

    @contract
    async def test_an_expired_session_leaves_its_stream_closed(self) -> None:
        engine = await self.start(session_timeout=self.short_timeout)
        alice, stream = await self.join(engine), RecordingStream()
        await engine.attach(alice, stream)
        await self.advance(self.short_timeout * 1.5)
        assert await self.ended(alice) is Reason.TIMEOUT
        assert stream.closed == [Reason.TIMEOUT]

    @contract
    async def test_many_sessions_expire_each_told_of_once(self) -> None:
        engine = await self.start(session_timeout=self.short_timeout)
        ids = [await engine.create_session() for _ in range(1200)]
        await self.advance(self.short_timeout * 1.5)
        await self.until(lambda: len(self.observer.closed) >= len(ids))
        assert sorted(self.observer.closed) == sorted(
            (id_, Reason.TIMEOUT) for id_ in ids
        )

    @contract
    async def test_it_is_ready_between_start_and_stop(self) -> None:
        engine = await self.start()
        await self.until(engine.ready)
        await self.stop(engine)
        assert not engine.ready()
        try:
            await engine.publish("/a", _MESSAGE)
        except BayeuxError as error:
            assert error.code == 503
        else:
            raise AssertionError("a stopped engine accepted a message")

    @contract
    async def test_stop_releases_held_connects_and_leaves_nothing(self) -> None:
        engine = await self.start()
        sessions = [await self.join(engine, "/a") for _ in range(3)]
        held = [engine.connect(session, hold=self.hold) for session in sessions]
        stream = RecordingStream()
        await engine.attach(await self.join(engine, "/a"), stream)
        engine.hub.listen("/a", lambda entry: None)
        await self.unanswered(*held)
        await self.publish(engine, "/b", 1)
        await self.stop(engine)
        for deferred in held:
            assert not (await self.answered(deferred)).entries
        assert not self.leftovers()

    @contract
    async def test_what_was_accepted_before_stop_is_delivered(self) -> None:
        engine = await self.start()
        held = engine.connect(await self.join(engine, "/a"), hold=self.hold)
        await self.unanswered(held)
        await self.publish(engine, "/a", 1)
        await self.stop(engine)
        assert self.data((await self.answered(held)).entries) == [1]

    @contract
    async def test_statistics_count_what_is_held(self) -> None:
        engine = await self.start()
        assert not any(engine.statistics().values())
        alice, bob = await self.join(engine, "/a", "/b/**"), await self.join(engine)
        carol = await self.join(engine, "/c")
        await engine.attach(bob, RecordingStream())
        held = engine.connect(alice, hold=self.hold)
        await engine.connect(carol, hold=0)
        await self.unanswered(held)
        await self.publish(engine, "/c", 1)
        await self.until(lambda: engine.statistics()["queued_messages"])
        size = len(encode({"channel": "/c", "data": 1}))
        expected = {
            "sessions": 3,
            "subscriptions": 3,
            "held": 1,
            "streams": 1,
            "queued_messages": 1,
            "queued_bytes": size,
        }
        found = engine.statistics()
        assert {name: found[name] for name in expected} == expected
        for session in (alice, bob, carol):
            await engine.destroy_session(session, Reason.CLIENT)
        await self.answered(held)
        found = engine.statistics()
        assert not any(found[name] for name in expected)
