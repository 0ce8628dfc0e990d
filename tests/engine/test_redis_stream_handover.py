"""WebSockets and event streams of sessions that change their owner."""

from tests.engine.redis_harness import NodesHarness
from txbayeux.testing import RecordingStream, contract


class TestStreamHandover(NodesHarness):
    @contract
    async def test_a_stream_on_another_node_replaces_the_present_one(self) -> None:
        a, b = await self.nodes(2)
        first, second = RecordingStream(), RecordingStream()
        alice = await self.join(a, "/a")
        await a.attach(alice, first)
        await self.publish(a, "/a", 1)
        await self.until(lambda: first.data == [1])
        await b.attach(alice, second)
        await self.until(lambda: first.replacements == 1)
        await self.publish(a, "/a", 2)
        await self.until(lambda: second.data == [2])
        assert (first.data, first.closed) == ([1], [])

    @contract
    async def test_a_socket_that_moves_while_messages_flow_repeats_none(self) -> None:
        a, b = await self.nodes(2)
        alice = await self.join(a, "/a")
        streams: list[RecordingStream] = []
        for n in range(60):
            if n % 6 == 0:
                streams.append(RecordingStream())
                engine = (a, b)[len(streams) % 2]
                await engine.connect(alice, hold=0, stream=streams[-1])
            await self.publish(b, "/a", n)
        await self.until(lambda: sum(len(one.data) for one in streams) >= 60)
        await self.settle()
        assert [n for stream in streams for n in stream.data] == list(range(60))

    @contract
    async def test_a_poll_on_another_node_leaves_messages_to_an_event_stream(
        self,
    ) -> None:
        a, b = await self.nodes(2)
        stream = RecordingStream(preempted_by_poll=False)
        alice = await self.join(a, "/a")
        await a.attach(alice, stream)
        held = b.connect(alice, hold=self.short_timeout)
        await self.unanswered(held)
        await self.publish(b, "/a", 1)
        await self.until(lambda: stream.data == [1])
        assert stream.replacements == 0
        assert not (await b.connect(alice, hold=0)).entries
        await self.advance(self.short_timeout)
        assert not (await self.answered(held)).entries

    @contract
    async def test_a_poll_that_acknowledges_gets_messages_whatever_node_has_the_stream(
        self,
    ) -> None:
        a, b = await self.nodes(2)
        stream = RecordingStream(preempted_by_poll=False)
        alice = await self.join(a, "/a", acknowledges=True)
        await a.attach(alice, stream)
        position = (await a.connect(alice, hold=0)).acknowledgement
        for number, node in enumerate((b, a, b)):
            held = node.connect(alice, hold=self.hold, acknowledged=position)
            await self.unanswered(held)
            await self.publish(a, "/a", number)
            delivery = await self.answered(held)
            assert self.data(delivery.entries) == [number]
            position = delivery.acknowledgement
        assert (stream.data, stream.closed) == ([], [])

    @contract
    async def test_a_new_stream_during_such_a_poll_acquires_the_session(
        self,
    ) -> None:
        a, b = await self.nodes(2)
        events = RecordingStream(preempted_by_poll=False)
        alice = await self.join(a, "/a")
        await a.attach(alice, events)
        polled = b.connect(alice, hold=0)
        socket, other = RecordingStream(), RecordingStream()
        connected = b.connect(alice, hold=0, stream=socket)
        await self.answered(polled)
        await self.answered(connected)
        await self.publish(a, "/a", 1)
        await self.until(lambda: socket.data == [1])
        await self.until(lambda: events.replacements == 1)
        bob = await self.join(a, "/b")
        await a.attach(bob, RecordingStream(preempted_by_poll=False))
        polled, attached = b.connect(bob, hold=0), b.attach(bob, other)
        await self.answered(polled)
        await self.answered(attached)
        await self.publish(a, "/b", 2)
        await self.until(lambda: other.data == [2])

    @contract
    async def test_a_poll_on_another_node_gets_messages_after_the_event_stream_closed(
        self,
    ) -> None:
        a, b = await self.nodes(2)
        stream = RecordingStream(preempted_by_poll=False)
        alice = await self.join(a, "/a")
        await a.attach(alice, stream)
        await self.publish(a, "/a", 1)
        await self.until(lambda: stream.data == [1])
        a.hub.detach(stream)
        await self.publish(a, "/a", 2)
        # Not before a checkpoint has told the other nodes that the stream is gone.
        assert await self.receive(b, alice, 1) == [2]

    @contract
    async def test_messages_that_a_dead_stream_could_not_write_reach_the_new_owner(
        self,
    ) -> None:
        a, b = await self.nodes(2)
        first, second = RecordingStream(), RecordingStream()
        alice = await self.join(a, "/a")
        await a.attach(alice, first)
        await self.publish(a, "/a", 1, 2)
        await self.until(lambda: first.data == [1, 2])
        await b.attach(alice, second)
        a.hub.detach(first, first.entries[1:])
        await self.until(lambda: second.data)
        assert second.data == [2]
