"""Streams behind outgoing extensions keep the order, wait, and lose nothing."""

from collections.abc import Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from txbayeux.events import Reason
from txbayeux.extension import Extension
from txbayeux.interfaces import Stream
from txbayeux.message import Entry, Message
from txbayeux.testing import FakeRequest, RecordingStream

from .extensions import outgoing
from .harness import Client, Harness, result_of


class Gate(Extension):
    """Hold messages until the test calls open()."""

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


class Setup:
    """A client with a stream whose messages pass an extension."""

    def __init__(self, *extensions: Any) -> None:
        self.gate = Gate()
        self.harness = Harness(*(extensions or (self.gate,)))
        self.server = self.harness.server
        self.alice = self.harness.client("/a")
        self.stream = RecordingStream()
        self.wrapped = self.connect(self.stream)

    def connect(self, stream: Stream) -> Stream:
        wrapped = self.server.wrap_stream(stream, FakeRequest(transport="websocket"))
        self.alice.connect(wrapped, advice={"timeout": 0})
        return wrapped

    def publish(self, *data: object) -> None:
        for item in data:
            result_of(self.server.client().publish("/a", item))
        self.harness.settle()

    def open(self, count: int = 1) -> None:
        for _ in range(count):
            self.gate.open()
            self.harness.settle()


@pytest.fixture
def setup() -> Setup:
    return Setup()


def test_messages_keep_their_order_behind_a_slow_extension(setup: Setup) -> None:
    setup.publish(1, 2)
    setup.publish(3)
    assert (setup.stream.data, len(setup.gate.waiting)) == ([], 1)
    setup.open()
    assert setup.stream.data == ["1!"]
    setup.open(2)
    assert setup.stream.data == ["1!", "2!", "3!"]


def test_messages_that_pass_at_once_are_written_together() -> None:
    setup = Setup(outgoing(lambda m, _: m, "/a"))
    setup.publish(*range(3))
    for n in range(3, 6):
        result_of(setup.server.client().publish("/a", n))
    setup.harness.settle()
    assert setup.stream.data == [0, 1, 2, 3, 4, 5]
    assert len(setup.stream.batches[-1]) == 3


def test_dropped_messages_leave_no_empty_write() -> None:
    setup = Setup(outgoing(lambda m, _: None if m.get("data") else m, "/a"))
    setup.publish(1, 2, 0)
    setup.publish(3)
    assert setup.stream.batches == [setup.stream.entries]
    assert setup.stream.data == [0]


def test_messages_in_the_extension_survive_a_lost_connection(
    setup: Setup,
) -> None:
    setup.publish(1, 2, 3)
    setup.open()
    setup.publish(4)
    setup.server.detach(setup.wrapped)
    again = RecordingStream()
    setup.connect(again)
    setup.harness.settle()
    late, *_ = setup.gate.waiting
    setup.gate.waiting.remove(late)
    late[1].callback(late[0])
    setup.open(3)
    assert setup.stream.data == ["1!"]
    assert again.data == ["2!", "3!", "4!"]


def test_unwritten_messages_are_sent_again_transformed_once(
    setup: Setup,
) -> None:
    setup.publish(1, 2)
    setup.open(2)
    setup.server.detach(setup.wrapped, setup.stream.entries[1:])
    again = RecordingStream()
    setup.connect(again)
    setup.harness.settle()
    setup.open()
    assert again.data == ["2!"]


def test_messages_wait_for_a_slow_peer(setup: Setup) -> None:
    setup.publish(1, 2)
    setup.stream.writable = False
    setup.open(2)
    assert setup.stream.data == []
    setup.publish(3)
    setup.stream.writable = True
    setup.server.resume(setup.wrapped)
    assert setup.stream.data == ["1!", "2!"]
    setup.harness.settle()
    setup.open()
    assert setup.stream.data == ["1!", "2!", "3!"]


def test_a_slow_peer_that_disconnects_loses_nothing(setup: Setup) -> None:
    setup.publish(1, 2)
    setup.stream.writable = False
    setup.open(1)
    setup.server.detach(setup.wrapped)
    again = RecordingStream()
    setup.connect(again)
    setup.harness.settle()
    setup.gate.waiting.pop(0)
    setup.open(2)
    assert (setup.stream.data, again.data) == ([], ["1!", "2!"])


def test_a_peer_that_resumes_with_nothing_to_write_gets_later_messages() -> None:
    setup = Setup(outgoing(lambda m, _: m, "/a"))
    setup.stream.writable = False
    setup.publish(1)
    assert setup.stream.data == []
    setup.stream.writable = True
    setup.server.resume(setup.wrapped)
    setup.harness.settle()
    assert setup.stream.data == [1]


def test_a_poll_that_takes_over_loses_nothing(setup: Setup) -> None:
    setup.publish(1, 2)
    poll = setup.alice.connect()
    assert setup.stream.replacements == 1
    setup.server.detach(setup.wrapped)
    setup.harness.settle()
    setup.gate.waiting.pop(0)
    setup.open(2)
    assert (poll.data, setup.stream.data) == (["1!", "2!"], [])


def test_a_stream_that_raises_is_detached_and_nothing_is_lost() -> None:
    class Broken(RecordingStream):
        def send(self, entries: Sequence[Entry]) -> None:
            raise RuntimeError("from a stream")

    setup = Setup()
    setup.connect(Broken())
    setup.publish(1, 2)
    setup.open()
    setup.gate.waiting.pop(0)
    again = RecordingStream()
    setup.connect(again)
    setup.harness.settle()
    setup.open(2)
    assert again.data == ["1!", "2!"]


def test_an_ended_session_closes_the_stream_and_writes_no_more(setup: Setup) -> None:
    setup.publish(1)
    result_of(setup.server.kick(setup.alice.id))
    setup.open()
    assert (setup.stream.closed, setup.stream.data) == ([Reason.KICKED], [])


def test_an_event_source_keeps_its_messages_behind_extensions() -> None:
    gate = Gate()
    harness = Harness(gate)
    alice, stream = harness.client("/a"), RecordingStream(preempted_by_poll=False)
    wrapped = harness.server.wrap_stream(stream, FakeRequest(transport="eventsource"))
    result_of(harness.server.attach(alice.id, wrapped))
    poll = alice.connect()
    result_of(harness.server.client().publish("/a", 1))
    harness.settle()
    gate.open()
    assert (stream.data, poll.held) == (["1!"], True)


@pytest.mark.parametrize("extensions", [(), (outgoing(lambda m, _: m, "/meta/**"),)])
def test_without_extensions_for_messages_a_stream_is_not_wrapped(
    extensions: Any,
) -> None:
    stream = RecordingStream()
    assert Harness(*extensions).server.wrap_stream(stream, FakeRequest()) is stream


def test_each_connection_has_its_own_request() -> None:
    def to(message: Message, request: Any) -> Message:
        return {**message, "to": request.peer} if "data" in message else message

    harness = Harness(outgoing(to, "/a"))
    streams: dict[str, RecordingStream] = {}
    for name in ("alice", "bob"):
        streams[name] = RecordingStream()
        client: Client = harness.client("/a")
        client.connect(
            harness.server.wrap_stream(streams[name], FakeRequest(peer=name))
        )
    result_of(harness.server.client().publish("/a", 1))
    harness.settle()
    for name, stream in streams.items():
        assert stream.entries[0].message() == {"channel": "/a", "data": 1, "to": name}
