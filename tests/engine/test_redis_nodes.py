"""Several nodes on one Redis form one service: any request may reach any node."""

from typing import Any
from unittest.mock import patch

import pytest
from twisted.internet.defer import Deferred

from tests.engine.redis_harness import NodesHarness, pause
from tests.engine.redis_parts import feed_connection, in_doubt
from txbayeux.engine.redis import session_connects
from txbayeux.events import Reason
from txbayeux.limits import Limits
from txbayeux.message import encode
from txbayeux.testing import contract


class TestNodes(NodesHarness):
    @contract
    async def test_each_operation_of_a_session_may_reach_another_node(
        self,
    ) -> None:
        a, b, c = await self.nodes(3)
        alice = await a.create_session()
        assert await b.subscribe(alice, ["/a"]) == ["/a"]
        held = b.connect(alice, hold=self.hold)
        await self.unanswered(held)
        await self.publish(c, "/a", 1)
        assert self.data((await self.answered(held)).entries) == [1]
        assert await a.unsubscribe(alice, ["/a"]) == ["/a"]
        await self.publish(b, "/a", 2)
        assert await self.poll(c, alice) == []
        await a.destroy_session(alice, Reason.CLIENT)
        await self.refused(b.connect(alice, hold=0))
        await self.refused(c.subscribe(alice, ["/a"]))
        assert self.closed() == [(alice, Reason.CLIENT)]

    @contract
    async def test_a_connect_that_waits_for_redis_does_not_release_a_later_one(
        self,
    ) -> None:
        (engine,) = await self.nodes(1)
        alice = await self.join(engine, "/a")
        with in_doubt(engine):
            first = engine.connect(alice, hold=self.hold)
        second = engine.connect(alice, hold=self.hold)
        delivery = await self.answered(first)
        assert delivery.superseded
        assert (list(delivery.entries), delivery.ended) == ([], None)
        await self.unanswered(second)
        await self.publish(engine, "/a", 1)
        assert self.data((await self.answered(second)).entries) == [1]

    @contract
    async def test_a_poll_waits_for_what_the_log_is_known_to_have(self) -> None:
        (engine,) = await self.nodes(1)
        alice = await self.join(engine, "/a")
        transport = feed_connection(engine).transport
        transport.pauseProducing()
        await self.publish(engine, "/a", 1)
        with patch.object(session_connects, "_ELSEWHERE", 60.0):
            polled = engine.connect(alice, hold=0)
            await self.unanswered(polled)
            transport.resumeProducing()
            delivery = await self.answered(polled)
        assert self.data(delivery.entries) == [1]

    @contract
    async def test_a_session_that_moves_at_every_connect_gets_each_message_once(
        self,
    ) -> None:
        engines = await self.nodes(3)
        alice = await self.join(engines[0], "/a/**")
        found: list[Any] = []
        for n in range(60):
            await engines[n % 2].publish("/a/b", encode({"channel": "/a/b", "data": n}))
            if n % 3 == 0:
                delivery = await engines[(n // 3) % 3].connect(alice, hold=0)
                found += self.data(delivery.entries)
        found += await self.poll(engines[1], alice)
        assert found == list(range(60))

    @contract
    async def test_moving_while_messages_flow_neither_loses_nor_repeats_any(
        self,
    ) -> None:
        engines = await self.nodes(3)
        alice = await self.join(engines[0], "/a")
        found: list[Any] = []
        published: list[Deferred[None]] = []

        # All on one node, so that their order is known.
        async def publishing_in_order() -> None:
            for n in range(300):
                text = encode({"channel": "/a", "data": n})
                published.append(engines[2].publish("/a", text))
                if n % 7 == 0:
                    await pause(0.002)

        busy = Deferred.fromCoroutine(publishing_in_order())
        turn = 0
        while len(found) < 300:
            turn += 1
            delivery = await self.fetch(engines[turn % 3], alice)
            assert not delivery.superseded
            found += self.data(delivery.entries)
        await busy
        for deferred in published:
            await deferred
        found += await self.poll(engines[0], alice)
        assert found == list(range(300))
        assert turn > 3

    @contract
    async def test_all_subscribers_on_all_nodes_see_one_order(self) -> None:
        engines = await self.nodes(3)
        sessions = [await self.join(engine, "/**") for engine in engines]
        begun = [
            engines[n % 3].publish("/a", encode({"channel": "/a", "data": n}))
            for n in range(90)
        ]
        for deferred in begun:
            await self.answered(deferred)
        seen = [
            await self.poll(engine, session)
            for engine, session in zip(engines, sessions, strict=True)
        ]
        assert sorted(seen[0]) == list(range(90))
        assert seen[0] == seen[1] == seen[2]
        for node in range(3):
            own = [n for n in seen[0] if n % 3 == node]
            assert own == sorted(own)

    @contract
    async def test_a_connect_on_another_node_releases_the_held_one(self) -> None:
        a, b = await self.nodes(2)
        alice = await self.join(a, "/a")
        first = a.connect(alice, hold=self.hold)
        await self.unanswered(first)
        second = b.connect(alice, hold=self.hold)
        released = await self.answered(first)
        assert (released.superseded, list(released.entries)) == (True, [])
        await self.unanswered(second)
        await self.publish(a, "/a", 1)
        assert self.data((await self.answered(second)).entries) == [1]
        assert a.statistics()["sessions"] == 0
        assert b.statistics()["sessions"] == 1

    @contract
    async def test_overlapping_connects_on_all_nodes_end_with_one_owner(self) -> None:
        engines = await self.nodes(3)
        alice = await self.join(engines[0], "/a")
        held = [engines[n % 3].connect(alice, hold=self.hold) for n in range(12)]
        await self.until(lambda: sum(one.called for one in held) == 11)
        await self.publish(engines[0], "/a", 1, 2)
        await self.until(lambda: all(one.called for one in held))
        deliveries = [await one for one in held]
        data = [item for each in deliveries for item in self.data(each.entries)]
        data += await self.poll(engines[2], alice)
        assert data == [1, 2]
        await self.settle()
        assert sum(engine.statistics()["sessions"] for engine in engines) == 1

    @contract
    async def test_subscriptions_made_while_a_session_moves_take_effect(self) -> None:
        a, b, c = await self.nodes(3)
        alice = await self.join(a, "/old")
        notices = self.withhold_notices(a)
        held = b.connect(alice, hold=self.hold)
        await self.until(lambda: notices)
        # The former owner reads these changes before the notice of the new owner.
        await c.subscribe(alice, ["/new"])
        await c.unsubscribe(alice, ["/old"])
        await self.settle()
        self.pass_notices(a, notices)
        await self.unanswered(held)
        await self.publish(c, "/old", 1)
        await self.publish(c, "/new", 2)
        assert self.data((await self.answered(held)).entries) == [2]
        assert await self.poll(b, alice) == []

    @contract
    async def test_the_connect_of_a_session_that_ends_while_it_moves_is_answered(
        self,
    ) -> None:
        a, b, c = await self.nodes(3)
        alice = await self.join(a, "/a")
        notices = self.withhold_notices(a)
        held = b.connect(alice, hold=self.hold)
        await self.until(lambda: notices)
        await c.destroy_session(alice, Reason.CLIENT)
        assert (await self.answered(held)).ended is Reason.CLIENT
        self.pass_notices(a, notices)
        await self.refused(a.connect(alice, hold=0))

    @contract
    async def test_messages_for_a_dead_connection_reach_the_new_owner(
        self,
    ) -> None:
        a, b = await self.nodes(2)
        alice = await self.join(a, "/a")
        await self.publish(a, "/a", 1, 2)
        lost = await self.connect(a, alice)
        assert self.data(lost.entries) == [1, 2]
        held = b.connect(alice, hold=self.hold)
        await self.until(lambda: a.statistics()["sessions"] == 0)
        lost.give_back()
        assert self.data((await self.answered(held)).entries) == [1, 2]
        assert await self.poll(b, alice) == []

    @contract
    async def test_queued_messages_move_with_the_session(self) -> None:
        a, b = await self.nodes(2)
        alice = await self.join(a, "/a", "/b")
        await self.publish(a, "/a", 1)
        await self.publish(b, "/b", 2)
        await a.unsubscribe(alice, ["/b"])
        await a.deliver(alice, "/s", encode({"channel": "/s", "data": 3}))
        await self.publish(b, "/b", 4)
        await self.publish(b, "/a", 5)
        assert await self.poll(b, alice) == [1, 2, 3, 5]

    @contract
    async def test_a_subscription_counts_from_its_place_in_the_log(self) -> None:
        a, b = await self.nodes(2)
        alice = await self.join(a)
        held = a.connect(alice, hold=self.hold)
        await self.publish(b, "/a", 1)
        begun = [
            b.publish("/a", encode({"channel": "/a", "data": 2})),
            b.subscribe(alice, ["/a"]),
            b.publish("/a", encode({"channel": "/a", "data": 3})),
            b.unsubscribe(alice, ["/a"]),
            b.publish("/a", encode({"channel": "/a", "data": 4})),
        ]
        for deferred in begun:
            await self.answered(deferred)
        found = self.data((await self.answered(held)).entries)
        assert found + await self.poll(a, alice) == [3]

    @contract
    async def test_limits_hold_on_every_node(self) -> None:
        a, b = await self.nodes(2, limits=Limits(session_subscriptions=2))
        alice = await self.join(a, "/a")
        assert await b.subscribe(alice, ["/a", "/b"]) == ["/b"]
        with pytest.raises(Exception, match="More than 2"):
            await a.subscribe(alice, ["/c"])

    @contract
    async def test_a_publish_of_an_ended_session_is_refused_on_every_node(
        self,
    ) -> None:
        a, b = await self.nodes(2)
        alice = await self.join(a)
        text = encode({"channel": "/a", "data": 1})
        await b.publish("/a", text, alice)
        await a.destroy_session(alice, Reason.KICKED, "You know why")
        assert (await self.refused(b.connect(alice, hold=0))).text == "You know why"
        await self.refused(b.publish("/a", text, alice))

    @contract
    async def test_expired_sessions_are_unknown_on_all_nodes_and_reported_once(
        self,
    ) -> None:
        engines = await self.nodes(3, session_timeout=self.short_timeout)
        sessions = [await self.join(engine, "/a") for engine in engines]
        held = engines[1].connect(sessions[0], hold=0.1)
        await self.advance(self.short_timeout * 1.5 + 0.5)
        assert not (await self.answered(held)).entries
        await self.until(lambda: len(self.closed()) >= 3)
        assert sorted(self.closed()) == sorted(
            (session, Reason.TIMEOUT) for session in sessions
        )
        for engine in engines:
            await self.refused(engine.connect(sessions[0], hold=0))
            assert engine.statistics()["sessions"] == 0

    @contract
    async def test_a_listener_receives_messages_published_on_any_node(self) -> None:
        a, b = await self.nodes(2)
        received: list[Any] = []
        a.hub.listen("/a/**", lambda entry: received.append(entry.message()["data"]))
        await self.publish(b, "/a/b", 1)
        await self.publish(a, "/a/c", 2)
        await self.until(lambda: len(received) == 2)
        assert received == [1, 2]

    @contract
    async def test_a_node_that_stops_leaves_its_sessions_to_the_others(
        self,
    ) -> None:
        a, b = await self.nodes(2)
        alice = await self.join(a, "/a")
        held = a.connect(alice, hold=self.hold)
        await self.unanswered(held)
        await self.publish(a, "/a", 1)
        await self.stop(a)
        assert self.data((await self.answered(held)).entries) == [1]
        await self.publish(b, "/a", 2)
        assert await self.poll(b, alice) == [2]
        assert self.closed() == []

    @contract
    async def test_acknowledgement_continues_on_another_node(self) -> None:
        engines = await self.nodes(3)
        alice = await self.join(engines[0], "/a", acknowledges=True)
        delivery = await engines[0].connect(alice, hold=0, acknowledged=-1)
        found: list[Any] = []
        for n in range(30):
            await self.publish(engines[n % 2], "/a", n)
            position = delivery.acknowledgement
            delivery = await self.fetch(engines[n % 3], alice, acknowledged=position)
            # As if the answer was lost: the next node receives the old position.
            if n % 4 == 0:
                lost = self.data(delivery.entries)
                delivery = await self.fetch(
                    engines[(n + 1) % 3], alice, acknowledged=position
                )
                assert self.data(delivery.entries)[: len(lost)] == lost
            found += self.data(delivery.entries)
        assert found == list(range(30))

    @contract
    async def test_a_client_that_moves_and_never_acknowledges_is_closed(self) -> None:
        engines = await self.nodes(2)
        alice = await self.join(engines[0], "/a", acknowledges=True)
        await self.publish(engines[0], "/a", 1)
        for n in range(400):
            delivery = await engines[n % 2].connect(alice, hold=0, acknowledged=-1)
            if delivery.ended:
                break
        assert delivery.ended is Reason.KICKED
        assert n < 150
        await self.refused(engines[0].connect(alice, hold=0))

    @contract
    async def test_namespaces_keep_services_apart(self) -> None:
        (a,) = await self.nodes(1)
        alice = await self.join(a, "/a")
        self.namespace += "-other"
        (b,) = await self.nodes(1)
        await self.refused(b.connect(alice, hold=0))
        await self.publish(b, "/a", 1)
        assert await self.poll(a, alice) == []
