"""Streams behind outgoing extensions: order, pace, and nothing lost."""

from collections.abc import Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from txbayeux.events import Reason
from txbayeux.extension import Extension
from txbayeux.interfaces import Stream
from txbayeux.message import Entry, Message
from txbayeux.testing import FakeRequest, RecordingStream

from .actors import Actor, World, now
from .extensions import outgoing


class Gate(Extension):
    """An extension that lets a message pass when the test says so."""

    channels = ("/a",)

    def __init__(self) -> None:
        self.waiting: list[tuple[Message, Deferred[Any]]] = []

    def outgoing(self, message: Message, request: Any) -> Any:
        if "data" not in message:
            return message
        self.waiting.append((message, Deferred()))
        return self.waiting[-1][1]

    def open(self) -> None:
        message, deferred = self.waiting.pop(0)
        deferred.callback({**message, "data": f"{message['data']}!"})


class Scene:
    """Alice on a stream, whose messages pass a gate."""

    def __init__(self, *extensions: Any) -> None:
        self.gate = Gate()
        self.world = World(*(extensions or (self.gate,)))
        self.server = self.world.server
        self.alice = self.world.actor("/a")
        self.stream = RecordingStream()
        self.outlet = self.connect(self.stream)

    def connect(self, stream: Stream) -> Stream:
        outlet = self.server.wrap_stream(stream, FakeRequest(transport="websocket"))
        self.alice.connect(outlet, advice={"timeout": 0})
        return outlet

    def publish(self, *data: object) -> None:
        for item in data:
            now(self.server.client().publish("/a", item))
        self.world.settle()

    def open(self, count: int = 1) -> None:
        for _ in range(count):
            self.gate.open()
            self.world.settle()


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_messages_keep_their_order_however_late_they_pass(scene: Scene) -> None:
    scene.publish(1, 2)
    scene.publish(3)
    assert (scene.stream.data, len(scene.gate.waiting)) == ([], 1)
    scene.open()
    assert scene.stream.data == ["1!"]
    scene.open(2)
    assert scene.stream.data == ["1!", "2!", "3!"]


def test_what_passes_at_once_is_written_at_once_and_together() -> None:
    scene = Scene(outgoing(lambda m, _: m, "/a"))
    scene.publish(*range(3))
    for n in range(3, 6):
        now(scene.server.client().publish("/a", n))
    scene.world.settle()
    assert scene.stream.data == [0, 1, 2, 3, 4, 5]
    assert len(scene.stream.batches[-1]) == 3


def test_dropped_messages_leave_no_empty_write() -> None:
    scene = Scene(outgoing(lambda m, _: None if m.get("data") else m, "/a"))
    scene.publish(1, 2, 0)
    scene.publish(3)
    assert scene.stream.batches == [scene.stream.entries]
    assert scene.stream.data == [0]


def test_what_had_not_passed_when_the_connection_went_is_not_lost(
    scene: Scene,
) -> None:
    scene.publish(1, 2, 3)
    scene.open()
    scene.publish(4)
    scene.server.detach(scene.outlet)
    again = RecordingStream()
    scene.connect(again)
    scene.world.settle()
    late, *_ = scene.gate.waiting
    scene.gate.waiting.remove(late)
    late[1].callback(late[0])
    scene.open(3)
    assert scene.stream.data == ["1!"]
    assert again.data == ["2!", "3!", "4!"]


def test_what_had_passed_and_was_not_written_comes_again_piped_once(
    scene: Scene,
) -> None:
    scene.publish(1, 2)
    scene.open(2)
    scene.server.detach(scene.outlet, scene.stream.entries[1:])
    again = RecordingStream()
    scene.connect(again)
    scene.world.settle()
    scene.open()
    assert again.data == ["2!"]


def test_a_slow_peer_is_waited_for_and_nothing_is_lost(scene: Scene) -> None:
    scene.publish(1, 2)
    scene.stream.writable = False
    scene.open(2)
    assert scene.stream.data == []
    scene.publish(3)
    scene.stream.writable = True
    scene.server.resume(scene.outlet)
    assert scene.stream.data == ["1!", "2!"]
    scene.world.settle()
    scene.open()
    assert scene.stream.data == ["1!", "2!", "3!"]


def test_a_slow_peer_that_goes_loses_nothing(scene: Scene) -> None:
    scene.publish(1, 2)
    scene.stream.writable = False
    scene.open(1)
    scene.server.detach(scene.outlet)
    again = RecordingStream()
    scene.connect(again)
    scene.world.settle()
    scene.gate.waiting.pop(0)
    scene.open(2)
    assert (scene.stream.data, again.data) == ([], ["1!", "2!"])


def test_a_peer_that_resumes_with_nothing_to_write_gets_what_comes() -> None:
    scene = Scene(outgoing(lambda m, _: m, "/a"))
    scene.stream.writable = False
    scene.publish(1)
    assert scene.stream.data == []
    scene.stream.writable = True
    scene.server.resume(scene.outlet)
    scene.world.settle()
    assert scene.stream.data == [1]


def test_a_poll_that_takes_over_loses_nothing(scene: Scene) -> None:
    scene.publish(1, 2)
    poll = scene.alice.connect()
    assert scene.stream.replacements == 1
    scene.server.detach(scene.outlet)
    scene.world.settle()
    scene.gate.waiting.pop(0)
    scene.open(2)
    assert (poll.data, scene.stream.data) == (["1!", "2!"], [])


def test_a_stream_that_raises_is_let_go_and_nothing_is_lost() -> None:
    class Broken(RecordingStream):
        def send(self, entries: Sequence[Entry]) -> None:
            raise RuntimeError("a stream's own fault")

    scene = Scene()
    scene.connect(Broken())
    scene.publish(1, 2)
    scene.open()
    scene.gate.waiting.pop(0)
    again = RecordingStream()
    scene.connect(again)
    scene.world.settle()
    scene.open(2)
    assert again.data == ["1!", "2!"]


def test_an_ended_session_closes_the_stream_and_writes_no_more(scene: Scene) -> None:
    scene.publish(1)
    now(scene.server.kick(scene.alice.id))
    scene.open()
    assert (scene.stream.closed, scene.stream.data) == ([Reason.KICKED], [])


def test_an_event_source_keeps_its_messages_behind_extensions() -> None:
    gate = Gate()
    world = World(gate)
    alice, stream = world.actor("/a"), RecordingStream(preempted_by_poll=False)
    outlet = world.server.wrap_stream(stream, FakeRequest(transport="eventsource"))
    now(world.server.attach(alice.id, outlet))
    poll = alice.connect()
    now(world.server.client().publish("/a", 1))
    world.settle()
    gate.open()
    assert (stream.data, poll.held) == (["1!"], True)


@pytest.mark.parametrize("extensions", [(), (outgoing(lambda m, _: m, "/meta/**"),)])
def test_without_extensions_for_messages_a_stream_is_its_own_outlet(
    extensions: Any,
) -> None:
    stream = RecordingStream()
    assert World(*extensions).server.wrap_stream(stream, FakeRequest()) is stream


def test_each_connection_has_its_own_request() -> None:
    def to(message: Message, request: Any) -> Message:
        return {**message, "to": request.peer} if "data" in message else message

    world = World(outgoing(to, "/a"))
    streams: dict[str, RecordingStream] = {}
    for name in ("alice", "bob"):
        streams[name] = RecordingStream()
        actor: Actor = world.actor("/a")
        actor.connect(world.server.wrap_stream(streams[name], FakeRequest(peer=name)))
    now(world.server.client().publish("/a", 1))
    world.settle()
    for name, stream in streams.items():
        assert stream.entries[0].message() == {"channel": "/a", "data": 1, "to": name}
