"""The engine contract: subscriptions."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from txbayeux.errors import TooManySubscriptions
from txbayeux.events import Reason
from txbayeux.limits import Limits
from txbayeux.message import encode
from txbayeux.testing.harness import EngineHarness, contract

__all__ = ["SubscriptionContract"]


class SubscriptionContract(EngineHarness):
    """Matching, repetition, atomicity, order, the limit."""

    @contract
    async def test_subscribe_gives_what_is_new(self) -> None:
        engine = await self.start()
        alice = await self.join(engine)
        assert list(await engine.subscribe(alice, ["/a", "/b/*"])) == ["/a", "/b/*"]
        new = await engine.subscribe(alice, ["/c", "/a", "/c", "/d/**"])
        assert list(new) == ["/c", "/d/**"]
        assert list(await engine.subscribe(alice, ["/a"])) == []
        assert list(await engine.subscribe(alice, [])) == []

    @contract
    async def test_unsubscribe_gives_what_was_there(self) -> None:
        engine = await self.start()
        alice = await self.join(engine, "/a", "/b")
        assert list(await engine.unsubscribe(alice, ["/c", "/b", "/b"])) == ["/b"]
        assert list(await engine.unsubscribe(alice, ["/b"])) == []
        assert list(await engine.subscribe(alice, ["/a", "/b"])) == ["/b"]

    @contract
    async def test_names_and_patterns_reach_what_they_match(self) -> None:
        engine = await self.start()
        names = ["/a", "/a/b", "/a/b/c", "/ab", "/b"]
        expected = {
            "/a": ["/a"],
            "/a/b": ["/a/b"],
            "/a/*": ["/a/b"],
            "/a/**": ["/a/b", "/a/b/c"],
            "/*": ["/a", "/ab", "/b"],
            "/**": names,
            "/c/**": [],
        }
        sessions = {pattern: await self.join(engine, pattern) for pattern in expected}
        for name in names:
            await self.publish(engine, name, name)
        for pattern, session in sessions.items():
            assert await self.poll(engine, session) == expected[pattern], pattern

    @contract
    async def test_names_may_have_spaces_and_a_final_slash(self) -> None:
        """See :data:`txbayeux.channel.COMETD`."""
        engine = await self.start()
        names = ["/a b/c d", "/a b", "/a", "/b", "/x.y:#+{z}/- -", "/chat/", "/chat"]
        alice = await self.join(engine, *names[:-1])
        bob = await self.join(engine, "/a b/*", "/*")
        for name in names:
            await self.publish(engine, name, name)
        assert await self.poll(engine, alice) == names[:-1]
        assert await self.poll(engine, bob) == [*names[:4], "/chat/", "/chat"]
        gone = await engine.unsubscribe(alice, ["/a b", "/chat", "/b", "/chat/"])
        assert list(gone) == ["/a b", "/b", "/chat/"]
        for name in names:
            await self.publish(engine, name, name)
        assert await self.poll(engine, alice) == ["/a b/c d", "/a", names[4]]

    @contract
    async def test_messages_count_from_the_subscription_to_its_end(self) -> None:
        engine = await self.start()
        alice, bob = await self.join(engine), await self.join(engine, "/a")
        await self.publish(engine, "/a", 1)
        await engine.subscribe(alice, ["/a"])
        await self.publish(engine, "/a", 2)
        await engine.unsubscribe(alice, ["/a"])
        await self.publish(engine, "/a", 3)
        assert await self.poll(engine, alice) == [2]
        assert await self.poll(engine, bob) == [1, 2, 3]

    @contract
    async def test_operations_take_effect_in_the_order_of_the_calls(self) -> None:
        engine = await self.start()
        alice = await self.join(engine)

        def message(data: int) -> bytes:
            return encode({"channel": "/a", "data": data})

        begun: list[Deferred[Any]] = [
            engine.publish("/a", message(1)),
            engine.subscribe(alice, ["/a"]),
            engine.publish("/a", message(2)),
            engine.publish("/a", message(3), alice),
            engine.unsubscribe(alice, ["/a"]),
            engine.publish("/a", message(4)),
            engine.subscribe(alice, ["/**"]),
            engine.publish("/a", message(5)),
        ]
        for deferred in begun:
            await self.answered(deferred)
        assert await self.poll(engine, alice) == [2, 3, 5]

    @contract
    async def test_a_remaining_subscription_still_counts(self) -> None:
        engine = await self.start()
        alice = await self.join(engine, "/a/b", "/a/*", "/a/**")
        await engine.unsubscribe(alice, ["/a/*", "/a/b"])
        await self.publish(engine, "/a/b", 1)
        assert await self.poll(engine, alice) == [1]

    @contract
    async def test_too_many_subscriptions_are_refused_as_a_whole(self) -> None:
        engine = await self.start(limits=Limits(session_subscriptions=3))
        alice = await self.join(engine, "/a")
        try:
            await engine.subscribe(alice, ["/b", "/c", "/d"])
        except TooManySubscriptions as error:
            assert error.code == 403
        else:
            raise AssertionError("more subscriptions than the limit")
        assert list(await engine.subscribe(alice, ["/b"])) == ["/b"]
        await self.publish(engine, "/c", 1)
        assert await self.poll(engine, alice) == []

    @contract
    async def test_too_long_subscriptions_are_refused_as_a_whole(self) -> None:
        engine = await self.start(limits=Limits(session_subscription_bytes=10))
        alice = await self.join(engine, "/aaa", "/b")
        for channels in (["/c", "/ddd"], ["/eeee"]):
            try:
                await engine.subscribe(alice, channels)
            except TooManySubscriptions as error:
                assert str(error) == "403::More than 10 bytes of subscriptions"
            else:
                raise AssertionError("more bytes than the limit")
        assert list(await engine.subscribe(alice, ["/ddd", "/b"])) == ["/ddd"]
        await engine.unsubscribe(alice, ["/b"])
        assert list(await engine.subscribe(alice, ["/e", "/aaa"])) == ["/e"]
        await self.publish(engine, "/c", 1)
        await self.publish(engine, "/e", 2)
        assert await self.poll(engine, alice) == [2]

    @contract
    async def test_the_limit_itself_and_repetitions_are_allowed(self) -> None:
        engine = await self.start(limits=Limits(session_subscriptions=3))
        alice = await self.join(engine, "/a", "/b", "/c")
        again = ["/a", "/b", "/c", "/a"]
        assert list(await engine.subscribe(alice, again)) == []
        await engine.unsubscribe(alice, ["/a"])
        assert list(await engine.subscribe(alice, ["/d", "/d", "/b"])) == ["/d"]

    @contract
    async def test_sessions_do_not_share_subscriptions(self) -> None:
        engine = await self.start()
        alice, bob = await self.join(engine, "/a"), await self.join(engine, "/a")
        await engine.unsubscribe(alice, ["/a"])
        await self.publish(engine, "/a", 1)
        await engine.destroy_session(alice, Reason.CLIENT)
        await self.publish(engine, "/a", 2)
        assert await self.poll(engine, bob) == [1, 2]
