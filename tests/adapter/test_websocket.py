"""Messages over WebSocket: requests, replies, pushed messages, pings and closing."""

import pytest
from twisted.internet.defer import Deferred, fail, succeed

from txbayeux.adapter import io
from txbayeux.adapter.frames import MAX_KEPT, FrameCache
from txbayeux.adapter.websocket import MAX_HELD, REPLY_TIMEOUT
from txbayeux.events import Reason
from txbayeux.message import Entry
from txbayeux.processor import Response

from .sockets import CLOSE, PING, PONG, TEXT, Client, frame
from .support import FakeDelivery, Service, entry


def test_a_request_is_one_message_or_a_list() -> None:
    client = Client(Service())
    client.send({"id": 1})
    client.send([{"id": 2}, {"id": 3}])
    assert client.messages() == [
        [{"echo": {"id": 1}}],
        [{"echo": {"id": 2}}, {"echo": {"id": 3}}],
    ]


@pytest.mark.parametrize("text", [b"[]", b"[ ]", b" []\n"])
def test_the_heartbeat_of_fayes_client(text: bytes) -> None:
    service = Service()
    client = Client(service)
    client.raw(frame(TEXT, text))
    assert client.messages() == [[]]
    assert service.processor.requests == []


def test_several_frames_in_one_read_and_one_frame_in_several() -> None:
    client = Client(Service())
    data = frame(TEXT, b"[1]") + frame(TEXT, b"[2]")
    client.raw(data)
    for byte in data:
        client.raw(bytes([byte]))
    assert client.messages() == [[{"echo": 1}], [{"echo": 2}]] * 2


def test_a_fragmented_message_around_a_ping() -> None:
    client = Client(Service())
    client.raw(frame(0x01, b'["\xc3'))
    client.raw(frame(PING, b"hi"))
    client.raw(frame(0x80, b'\xbc"]'))
    assert client.frames() == [
        (PONG, b"hi"),
        (TEXT, '[{"echo":"ü"}]'.encode()),
    ]


@pytest.mark.parametrize("size", [10, 120, 126, 300, 65535, 70000, 300_000])
def test_messages_of_every_size(size: int) -> None:
    client = Client(Service())
    client.send(["x" * size])
    assert client.messages() == [[{"echo": "x" * size}]]


def test_published_messages() -> None:
    service = Service()
    one, two = Client(service), Client(service)
    entries = [entry(1), entry(2)]
    streams = service.processor.streams
    streams[0].send(entries[:1])
    streams[0].send(entries)
    streams[1].send(tuple(entries))
    data = {"channel": "/a"}
    assert one.messages() == [
        [{**data, "data": 1}],
        [{**data, "data": 1}],
        [{**data, "data": 2}],
    ]
    assert two.messages() == [[{**data, "data": 1}], [{**data, "data": 2}]]
    assert entries[0].frame == b"\x81\x1e[" + entries[0].json + b"]"


def test_only_small_entries_keep_their_frame() -> None:
    start = b'{"channel":"/a","data":"'
    service = Service()
    client = Client(service)
    for size in (MAX_KEPT, MAX_KEPT + 1):
        text = "x" * (size - len(start) - len(b'"}'))
        sent = Entry(1, "/a", start + text.encode() + b'"}')
        assert len(sent.json) == size
        service.processor.streams[0].send([sent])
        assert client.messages() == [[{"channel": "/a", "data": text}]]
        assert (sent.frame is not None) == (size == MAX_KEPT)
        # All subscribers share one frame nevertheless.
        frames = FrameCache()
        assert frames.joined([sent]) is frames.joined((sent,))


def test_a_list_that_was_changed_since_it_was_sent() -> None:
    service = Service()
    client = Client(service)
    entries = [entry(1), entry(2)]
    service.processor.streams[0].send(entries)
    entries[1] = entry(3)
    service.processor.streams[0].send(entries)
    assert [m[0]["data"] for m in client.messages()] == [1, 2, 1, 3]


def test_a_held_connect_is_answered_later() -> None:
    service = Service()
    client = Client(service)
    waiting: Deferred[Response] = Deferred()
    service.processor.answers.append(succeed(Response([{"id": 1}], waiting)))
    client.send([{"id": 1}])
    assert client.messages() == [[{"id": 1}]]
    client.send([{"id": 2}])
    assert client.messages() == [[{"echo": {"id": 2}}]]
    waiting.callback(Response([{"id": 3}]))
    assert client.messages() == [[{"id": 3}]]
    client.transport.lose()


def test_nothing_is_sent_for_an_empty_response() -> None:
    service = Service()
    client = Client(service)
    service.processor.answers.append(succeed(Response(())))
    client.send([1])
    assert client.messages() == []


def test_losing_the_connection_cancels_held_connects() -> None:
    service = Service()
    client = Client(service)
    cancelled: list[Deferred[Response]] = []
    for _ in range(2):
        waiting: Deferred[Response] = Deferred(cancelled.append)
        service.processor.answers.append(succeed(Response((), waiting)))
        client.send([1])
    stream = service.processor.streams[0]
    client.transport.lose()
    assert len(cancelled) == 2
    assert service.processor.detached == [stream]
    assert not stream.writable


def test_a_response_after_the_connection_is_lost_is_given_back() -> None:
    service = Service()
    client = Client(service)
    answer: Deferred[Response] = Deferred()
    service.processor.answers.append(answer)
    client.send([1])
    client.transport.lose()
    cancelled: list[Deferred[Response]] = []
    given = FakeDelivery()
    answer.callback(Response([entry(1)], Deferred(cancelled.append), given))
    assert given.given_back == 1
    assert len(cancelled) == 1
    assert client.transport.value() == b""


def test_a_request_waits_for_the_one_before_and_nothing_is_read_meanwhile() -> None:
    service = Service()
    client = Client(service)
    answer: Deferred[Response] = Deferred()
    service.processor.answers.append(answer)
    client.send([1])
    assert client.transport.producerState == "producing"
    client.raw(b"".join(frame(TEXT, b"[%d]" % number) for number in range(2, 5000)))
    assert client.transport.producerState == "paused"
    assert len(service.processor.requests) == 1
    answer.callback(Response([{"echo": 1}]))
    assert client.transport.producerState == "producing"
    assert client.messages() == [[{"echo": number}] for number in range(1, 5000)]


def test_a_second_request_in_the_backlog_that_waits() -> None:
    service = Service()
    client = Client(service)
    answers: list[Deferred[Response]] = [Deferred(), Deferred()]
    service.processor.answers += answers
    client.raw(b"".join(frame(TEXT, b"[%d]" % number) for number in range(4)))
    answers[0].callback(Response([0]))
    assert client.messages() == [[0]]
    assert client.transport.producerState == "paused"
    answers[1].callback(Response([1]))
    assert client.messages() == [[1], [{"echo": 2}], [{"echo": 3}]]
    assert client.transport.producerState == "producing"


def test_reading_stops_at_the_limit_of_held_responses() -> None:
    service = Service()
    client = Client(service)
    held: list[Deferred[Response]] = [Deferred() for _ in range(MAX_HELD + 1)]
    service.processor.answers += [succeed(Response((), one)) for one in held]
    client.raw(b"".join(frame(TEXT, b"[1]") for _ in held))
    assert len(service.processor.requests) == MAX_HELD
    assert client.transport.producerState == "paused"
    held[3].callback(Response([3]))
    assert len(service.processor.requests) == MAX_HELD + 1
    held[5].callback(Response([5]))
    assert client.transport.producerState == "producing"
    assert client.messages() == [[3], [5]]


def test_nothing_is_read_from_a_peer_that_does_not_keep_up() -> None:
    service = Service()
    client = Client(service)
    stream = service.processor.streams[0]
    producer = client.transport.producer
    assert producer is not None
    producer.pauseProducing()
    assert not stream.writable
    assert client.transport.producerState == "paused"
    producer.resumeProducing()
    assert stream.writable
    assert client.transport.producerState == "producing"
    assert service.processor.resumed == [stream]


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (Reason.CLIENT, 1000),
        (Reason.TIMEOUT, 1000),
        (Reason.KICKED, 1008),
        (Reason.SHUTDOWN, 1001),
    ],
)
def test_the_end_of_a_session_closes_its_connection(reason: Reason, code: int) -> None:
    service = Service()
    client = Client(service)
    service.processor.streams[0].close(reason)
    service.clock.advance(0)
    assert client.closed_with() == code
    client.raw(frame(CLOSE, code.to_bytes(2, "big")))
    assert client.transport.disconnecting
    client.transport.lose()
    assert len(service.processor.detached) == 1


def test_a_disconnect_is_answered_before_the_close() -> None:
    service = Service()
    client = Client(service)
    answer: Deferred[Response] = Deferred()
    service.processor.answers.append(answer)
    client.send([{"channel": "/meta/disconnect"}])
    service.processor.streams[0].close(Reason.CLIENT)
    service.clock.advance(1)
    assert client.frames() == []
    answer.callback(Response([{"successful": True}]))
    service.clock.advance(0)
    assert [first for first, _ in client.frames()] == [TEXT, CLOSE]


@pytest.mark.parametrize("answered", [True, False])
def test_a_close_waits_for_a_pending_reply(answered: bool) -> None:
    service = Service()
    timers = len(service.clock.getDelayedCalls())
    client = Client(service)
    reply: Deferred[Response] = Deferred()
    service.processor.answers.append(succeed(Response((), reply)))
    client.send([1])
    service.processor.streams[0].close(Reason.CLIENT)
    service.clock.advance(0)
    assert client.frames() == []
    if answered:
        reply.callback(Response([{"id": 1}]))
        service.clock.advance(0)
        (text, _), (close, code) = client.frames()
        assert (text, close) == (TEXT, CLOSE)
        assert code[:2] == (1000).to_bytes(2, "big")
    else:
        service.clock.advance(REPLY_TIMEOUT)
        assert client.closed_with() == 1000
    client.transport.lose()
    assert len(service.clock.getDelayedCalls()) == timers


def test_a_close_waits_for_a_reply_in_an_extension() -> None:
    service = Service()
    client = Client(service)
    reply: Deferred[Response] = Deferred()
    passed: Deferred[Response] = Deferred()
    reply.addCallback(lambda _: passed)
    service.processor.answers.append(succeed(Response((), reply)))
    client.send([1])
    reply.callback(Response(()))
    service.processor.streams[0].close(Reason.CLIENT)
    service.clock.advance(0)
    assert client.frames() == []
    passed.callback(Response([{"id": 1}]))
    service.clock.advance(0)
    assert [first for first, _ in client.frames()] == [TEXT, CLOSE]


def test_the_connection_is_aborted_if_a_close_is_not_answered() -> None:
    service = Service()
    client = Client(service)
    closed = service.resource.close()
    assert client.closed_with() == 1001
    assert not closed.called
    service.clock.advance(1)
    assert client.transport.aborted
    client.transport.lose()
    assert closed.called


def test_a_stopping_service_does_not_answer_what_the_client_can_send_again() -> None:
    service = Service()
    client = Client(service)
    passed: Deferred[Response] = Deferred()
    service.processor.answers.append(passed)
    client.send([{"id": 1}])
    client.send([{"id": 2}])  # waits for the first one
    service.resource.refuse_requests()
    client.send([{"id": 3}])
    passed.callback(Response([{"id": 1, "successful": True}]))
    assert client.messages() == [[{"id": 1, "successful": True}]]
    assert len(service.processor.requests) == 1
    service.resource.close()
    assert client.closed_with() == 1001


def test_shutdown_closes_every_connection_with_1001() -> None:
    service = Service()
    clients = [Client(service) for _ in range(3)]
    first, second = service.resource.close(), service.resource.close()
    for client in clients:
        assert client.closed_with() == 1001
        client.raw(frame(CLOSE, b"\x03\xe9"))
        assert not first.called
        client.transport.lose()
    assert first.called
    assert second.called
    assert service.resource.close().called


def test_a_close_by_the_peer_is_answered() -> None:
    service = Service()
    client = Client(service)
    stream = service.processor.streams[0]
    client.raw(frame(CLOSE, b"\x03\xe8bye"))
    assert client.closed_with() == 1000
    assert client.transport.disconnecting
    assert service.processor.detached == [stream]
    assert not stream.writable


def test_a_close_without_a_code() -> None:
    client = Client(Service())
    client.raw(frame(CLOSE, b""))
    assert client.closed_with() == 1000


def test_a_replaced_stream_stays_open() -> None:
    service = Service()
    client = Client(service)
    service.processor.streams[0].replaced()
    client.send([1])
    assert client.messages() == [[{"echo": 1}]]


def test_one_timer_sends_pings_and_aborts_silent_connections() -> None:
    service = Service(keep_alive=20.0)
    dead, quiet = Client(service), Client(service)
    quiet.send([1])
    assert quiet.messages() == [[{"echo": 1}]]
    timers = len(service.clock.getDelayedCalls())
    service.clock.advance(20)
    assert dead.frames() == quiet.frames() == [(PING, b"")]
    quiet.raw(frame(PONG, b""))
    service.clock.advance(20)
    assert dead.transport.aborted
    assert not quiet.transport.aborted
    assert len(service.clock.getDelayedCalls()) == timers
    dead.transport.lose()
    quiet.transport.lose()
    assert len(service.clock.getDelayedCalls()) == timers - 1


def test_pings_leave_time_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(io, "TIME_SLICE", 0)
    service = Service(keep_alive=20.0)
    clients = [Client(service) for _ in range(40)]
    pinged: list[int] = []

    def look() -> None:
        pinged.append(sum(client.frames() != [] for client in clients))
        if sum(pinged) < 40 and len(pinged) < 100:
            service.clock.callLater(0, look)

    service.clock.callLater(20, look)
    service.clock.advance(20)
    assert sum(pinged) == 40
    assert max(pinged) < 10


def test_a_peer_that_does_not_keep_up_has_four_intervals() -> None:
    service = Service(keep_alive=20.0)
    client = Client(service)
    assert client.transport.producer is not None
    client.transport.producer.pauseProducing()
    for _ in range(4):
        service.clock.advance(20)
        assert not client.transport.aborted
    service.clock.advance(20)
    assert client.transport.aborted


def test_no_peer_counts_as_silent_while_its_request_is_processed() -> None:
    service = Service(keep_alive=20.0)
    client = Client(service)
    answer: Deferred[Response] = Deferred()
    service.processor.answers.append(answer)
    client.send([1])
    for _ in range(10):
        service.clock.advance(20)
    assert not client.transport.aborted
    answer.callback(Response([1]))
    assert client.messages() == [[1]]


def test_a_failure_of_the_server_closes_with_1011() -> None:
    service = Service()
    client = Client(service)
    service.processor.answers.append(fail(RuntimeError()))
    client.send([1])
    assert client.closed_with() == 1011


def test_a_response_may_be_larger_than_the_limit_of_requests() -> None:
    offer = "permessage-deflate"
    for deflate in (True, False):
        service = Service(websocket_deflate=deflate)
        client = Client(service, sec_websocket_extensions=offer)
        huge = Entry(1, "/a", b'"' + bytes(range(48, 58)) * 300_000 + b'"')
        service.processor.streams[0].send([huge])
        assert not client.transport.disconnecting
        assert client.frames()
