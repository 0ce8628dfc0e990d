"""The engine contract: sessions that acknowledge messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from txbayeux.events import Reason
from txbayeux.interfaces import Delivery, Engine
from txbayeux.limits import Limits
from txbayeux.message import encode
from txbayeux.testing.fakes import RecordingStream
from txbayeux.testing.harness import EngineHarness, contract

__all__ = ["AcknowledgementContract"]

_ENOUGH = 1000
"""Connects after which a client that acknowledges nothing must have been stopped."""


class AcknowledgementContract(EngineHarness):
    """Kept until acknowledged, sent again in order, without doubles, bounded."""

    async def fetched(
        self, engine: Engine, session: str, count: int, acknowledged: int | None = None
    ) -> tuple[list[Any], int]:
        """Connect until ``count`` messages came; return them and the last position."""
        await self.settle()
        delivery = await self.answered(
            engine.connect(session, hold=self.hold, acknowledged=acknowledged)
        )
        found = self.data(delivery.entries)
        position = _position(delivery)
        while len(found) < count:
            delivery = await self.answered(
                engine.connect(session, hold=self.hold, acknowledged=position)
            )
            found += self.data(delivery.entries)
            position = _position(delivery)
        return found, position

    @contract
    async def test_an_answer_tells_the_position_of_its_last_message(self) -> None:
        engine = await self.start()
        alice = await self.join(engine, "/a", acknowledges=True)
        await self.publish(engine, "/a", 1, 2)
        delivery = await self.connect(engine, alice)
        assert _position(delivery) == delivery.entries[-1].position

    @contract
    async def test_an_empty_answer_tells_a_position_too(self) -> None:
        engine = await self.start()
        await self.publish(engine, "/a", 0)
        alice = await self.join(engine, "/a", acknowledges=True)
        position = _position(await self.connect(engine, alice))
        await self.publish(engine, "/a", 1)
        assert await self.fetched(engine, alice, 1, position)
        found, later = await self.fetched(engine, alice, 1, position)
        assert (found, later > position) == ([1], True)

    @contract
    async def test_what_was_acknowledged_does_not_come_again(self) -> None:
        engine = await self.start()
        alice = await self.join(engine, "/a", acknowledges=True)
        await self.publish(engine, "/a", 1, 2)
        found, position = await self.fetched(engine, alice, 2)
        assert found == [1, 2]
        held = engine.connect(alice, hold=self.hold, acknowledged=position)
        await self.unanswered(held)
        await self.publish(engine, "/a", 3)
        assert self.data((await self.answered(held)).entries) == [3]

    @contract
    async def test_what_was_not_acknowledged_comes_again_in_order(self) -> None:
        engine = await self.start()
        alice = await self.join(engine, "/a", acknowledges=True)
        start = _position(await self.connect(engine, alice))
        await self.publish(engine, "/a", 1, 2)
        assert (await self.fetched(engine, alice, 2, start))[0] == [1, 2]
        await self.publish(engine, "/a", 3)
        found, position = await self.fetched(engine, alice, 3, start)
        assert found == [1, 2, 3]
        await self.publish(engine, "/a", 4)
        assert (await self.fetched(engine, alice, 1, position))[0] == [4]

    @contract
    async def test_a_part_may_be_acknowledged(self) -> None:
        engine = await self.start()
        alice = await self.join(engine, "/a", acknowledges=True)
        await self.publish(engine, "/a", 1)
        _, first = await self.fetched(engine, alice, 1)
        await self.publish(engine, "/a", 2)
        await self.fetched(engine, alice, 1, first)
        await self.publish(engine, "/a", 3)
        assert (await self.fetched(engine, alice, 2, first))[0] == [2, 3]

    @contract
    async def test_an_older_position_does_not_bring_back_what_was_forgotten(
        self,
    ) -> None:
        engine = await self.start()
        alice = await self.join(engine, "/a", acknowledges=True)
        start = _position(await self.connect(engine, alice))
        await self.publish(engine, "/a", 1)
        _, first = await self.fetched(engine, alice, 1, start)
        await self.publish(engine, "/a", 2)
        assert (await self.fetched(engine, alice, 1, first))[0] == [2]
        for older in (start, -1, 0, -(2**70), None):
            assert (await self.fetched(engine, alice, 1, older))[0] == [2]

    @contract
    async def test_a_position_that_was_never_sent_forgets_nothing_unsent(self) -> None:
        engine = await self.start()
        alice = await self.join(engine, "/a", acknowledges=True)
        await self.publish(engine, "/a", 1)
        await self.settle()
        huge = 10**300
        delivery = await engine.connect(alice, hold=0, acknowledged=huge)
        assert self.data(delivery.entries) == [1]
        held = engine.connect(alice, hold=self.hold, acknowledged=2**53)
        await self.unanswered(held)
        await self.publish(engine, "/a", 2)
        assert self.data((await self.answered(held)).entries) == [2]

    @contract
    async def test_messages_come_with_answers_only(self) -> None:
        engine, stream = await self.start(), RecordingStream()
        alice = await self.join(engine, "/a", acknowledges=True)
        held = engine.connect(alice, hold=self.hold, stream=stream)
        await self.unanswered(held)
        await self.publish(engine, "/a", 1)
        delivery = await self.answered(held)
        assert self.data(delivery.entries) == [1]
        assert stream.entries == []
        engine.hub.detach(stream)
        assert (await self.fetched(engine, alice, 1))[0] == [1]

    @contract
    async def test_messages_come_with_answers_beside_an_event_stream(self) -> None:
        engine, stream = await self.start(), RecordingStream(preempted_by_poll=False)
        alice = await self.join(engine, "/a", acknowledges=True)
        await engine.attach(alice, stream)
        position = _position(await self.connect(engine, alice))
        for number in range(3):
            held = engine.connect(alice, hold=self.hold, acknowledged=position)
            await self.unanswered(held)
            await self.publish(engine, "/a", number)
            delivery = await self.answered(held)
            assert self.data(delivery.entries) == [number]
            position = _position(delivery)
        assert (stream.entries, stream.closed) == ([], [])

    @contract
    async def test_giving_back_makes_no_duplicates(self) -> None:
        engine = await self.start()
        alice = await self.join(engine, "/a", acknowledges=True)
        start = _position(await self.connect(engine, alice))
        await self.publish(engine, "/a", 1)
        await self.settle()
        delivery = await engine.connect(alice, hold=0, acknowledged=start)
        delivery.give_back()
        await self.settle()
        assert (await self.fetched(engine, alice, 1, start))[0] == [1]

    @contract
    async def test_a_superseded_connect_acknowledges_nothing_more(self) -> None:
        engine = await self.start()
        alice = await self.join(engine, "/a", acknowledges=True)
        start = _position(await self.connect(engine, alice))
        first = engine.connect(alice, hold=self.hold, acknowledged=start)
        await self.unanswered(first)
        second = engine.connect(alice, hold=self.hold, acknowledged=start)
        released = await self.answered(first)
        assert (released.superseded, list(released.entries)) == (True, [])
        assert _position(released) == start
        await self.publish(engine, "/a", 1)
        assert self.data((await self.answered(second)).entries) == [1]

    @contract
    async def test_a_withdrawn_connect_loses_nothing_unacknowledged(self) -> None:
        engine = await self.start()
        alice = await self.join(engine, "/a", acknowledges=True)
        start = _position(await self.connect(engine, alice))
        gone = engine.connect(alice, hold=self.hold, acknowledged=start)
        await self.unanswered(gone)
        gone.addErrback(lambda failure: None)
        gone.cancel()
        await self.publish(engine, "/a", 1)
        assert (await self.fetched(engine, alice, 1, start))[0] == [1]

    @contract
    async def test_what_is_not_acknowledged_is_bounded_by_count(self) -> None:
        engine = await self.start(limits=Limits(queue_messages=3))
        await self._never_acknowledges(engine, range(4))

    @contract
    async def test_what_is_not_acknowledged_is_bounded_by_bytes(self) -> None:
        size = len(encode({"channel": "/a", "data": "x" * 100}))
        engine = await self.start(limits=Limits(queue_bytes=2 * size))
        await self._never_acknowledges(engine, ["x" * 100, "y" * 100, "z"])

    async def _never_acknowledges(self, engine: Engine, data: Sequence[object]) -> None:
        alice = await self.join(engine, "/a", acknowledges=True)
        for n, item in enumerate(data[:-1]):
            await self.publish(engine, "/a", item)
            await self.fetched(engine, alice, n + 1)
        assert self.observer.closed == []
        await self.publish(engine, "/a", data[-1])
        assert await self.ended(alice) is Reason.KICKED
        error = await self.refused(engine.connect(alice, hold=0))
        assert "too many messages" in error.text

    @contract
    async def test_a_client_that_acknowledges_nothing_is_closed(self) -> None:
        engine = await self.start()
        alice = await self.join(engine, "/a", acknowledges=True)
        await self.publish(engine, "/a", 1)
        await self.settle()
        for _ in range(_ENOUGH):
            delivery = await engine.connect(alice, hold=0, acknowledged=-1)
            if delivery.ended or self.observer.closed:
                break
        assert await self.ended(alice) is Reason.KICKED
        assert (await self.refused(engine.connect(alice, hold=0))).text


def _position(delivery: Delivery) -> int:
    position = delivery.acknowledgement
    assert position is not None
    return position
