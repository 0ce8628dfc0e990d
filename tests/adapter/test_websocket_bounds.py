"""What one WebSocket sends takes a part of each turn, and has to end.

Each look at the clock takes a fifth of what one connection may take at once.
"""

from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from txbayeux.adapter.websocket import MAX_UNACCEPTED
from txbayeux.adapter.websocket_input import GATHERED, MAX_UNFINISHED, TURN
from txbayeux.processor import Response

from .sockets import CLOSE, PING, PONG, TEXT, Client, frame
from .support import FakeProcessor, Service, turn
from .test_websocket_hostile import OFFER, deflated

KEEP_ALIVE = 20.0
REFUSAL = {"channel": "/meta/connect", "successful": False, "error": "402::"}


class BusyClock(Clock):
    """A clock on which everything takes time."""

    def seconds(self) -> float:
        self.rightNow += TURN / 5
        return self.rightNow


class SlowProcessor(FakeProcessor):
    """Takes a whole turn for each request."""

    clock: Clock

    def process(self, *arguments: Any) -> Deferred[Response]:
        self.clock.rightNow += TURN
        return super().process(*arguments)


def busy_service(**options: Any) -> Service:
    return Service(clock=BusyClock(), websocket_deflate=True, **options)


def turns_until_it_reads(service: Service, client: Client) -> int:
    turns = 0
    while client.transport.producerState == "paused":
        turn(service.clock)
        turns += 1
    return turns


# Fairness


def fragments(payload: bytes) -> bytes:
    *most, last = (payload[at : at + 1] for at in range(len(payload)))
    first = frame(0x01, most.pop(0))
    return first + b"".join(frame(0, one) for one in most) + frame(0x80, last)


INPUTS = {
    "heartbeats": (frame(TEXT, b"[]") * 400, [(TEXT, b"[]")] * 400),
    "messages": (frame(TEXT, b"[1]") * 400, [(TEXT, b'[{"echo":1}]')] * 400),
    "large messages": (
        frame(TEXT, b"[1]".ljust(5000)) * 200,
        [(TEXT, b'[{"echo":1}]')] * 200,
    ),
    "pings": (frame(PING, b"x") * 400, [(PONG, b"x")] * 400),
    "fragments": (fragments(b"[1]".ljust(400)), [(TEXT, b'[{"echo":1}]')]),
    "compressed messages": (
        frame(0xC1, deflated(b"[1]".ljust(100_000))) * 200,
        [(TEXT, b'[{"echo":1}]')] * 200,
    ),
}


@pytest.mark.parametrize("name", INPUTS)
def test_one_read_is_processed_in_several_turns(name: str) -> None:
    data, expected = INPUTS[name]
    service = busy_service()
    busy, other = Client(service, **OFFER), Client(service)
    busy.raw(data)
    first = busy.frames()
    assert len(first) <= GATHERED + 5
    assert busy.transport.producerState == "paused"
    other.send([2])
    assert other.messages() == [[{"echo": 2}]]
    assert turns_until_it_reads(service, busy) > 5
    assert first + busy.frames() == expected
    assert other.transport.producerState == "producing"


def test_a_short_read_is_processed_at_once() -> None:
    client = Client(busy_service())
    client.raw(frame(TEXT, b"[]") * (GATHERED + 3))
    assert client.transport.producerState == "producing"
    assert len(client.messages()) == GATHERED + 3


@pytest.mark.parametrize(("size", "processed"), [(3, GATHERED), (1100, 4)])
def test_a_few_small_messages_are_processed_at_once_however_slow(
    size: int, processed: int
) -> None:
    service = Service(processor=SlowProcessor())
    service.processor.clock = service.clock
    client = Client(service)
    client.raw(frame(TEXT, b"[1]".ljust(size)) * (GATHERED + 1))
    assert len(service.processor.requests) == processed
    while client.transport.producerState == "paused":
        turn(service.clock)
    assert len(client.messages()) == GATHERED + 1


def test_connections_share_the_turns() -> None:
    service = busy_service()
    clients = [Client(service) for _ in range(40)]
    for client in clients:
        client.raw(frame(TEXT, b"[]") * 1000)
    while all(client.transport.producerState == "paused" for client in clients):
        turn(service.clock)
    counts = [len(client.messages()) for client in clients]
    assert max(counts) == 1000
    assert min(counts) >= 900


def test_a_close_behind_many_messages() -> None:
    service = busy_service()
    client = Client(service)
    client.raw(frame(TEXT, b"[1]") * 100 + frame(CLOSE, b"\x03\xe8"))
    client.raw(frame(TEXT, b"[2]"))  # as with TLS, which may have decrypted it already
    while not client.transport.disconnecting:
        turn(service.clock)
    *messages, last = client.frames()
    assert len(messages) == 100
    assert last == (CLOSE, b"\x03\xe8")
    assert [one for one, _, _ in service.processor.requests] == [[1]] * 100
    client.transport.lose()
    assert len(service.processor.detached) == 1


def test_what_came_before_the_loss_is_processed() -> None:
    service = busy_service()
    client = Client(service)
    cancelled: list[Deferred[Response]] = []
    client.raw(frame(TEXT, b"[]") * 30 + frame(TEXT, b"[1]") * 100)
    client.transport.take()
    service.processor.answers.append(succeed(Response((), Deferred(cancelled.append))))
    client.transport.lose()
    assert service.processor.detached == service.processor.streams
    stopped = service.resource.close()
    assert stopped.called
    assert len(service.processor.requests) == 100
    assert len(cancelled) == 1
    assert client.transport.take() == b""


def test_a_malformed_frame_behind_the_loss_leaves_no_timer() -> None:
    service = busy_service()
    timers = len(service.clock.getDelayedCalls())
    client = Client(service)
    client.raw(frame(TEXT, b"[]") * 30 + frame(0x83, b"") + frame(TEXT, b"[1]"))
    client.transport.lose()
    for _ in range(10):
        turn(service.clock)
    assert service.processor.requests == []
    assert len(service.clock.getDelayedCalls()) == timers


def test_the_service_stops_while_messages_wait() -> None:
    service = busy_service()
    client = Client(service)
    client.raw(frame(TEXT, b"[1]") * 100)
    stopped = service.resource.close()
    *messages, (first, _) = client.frames()
    assert len(messages) == 100
    assert first == CLOSE
    client.transport.lose()
    assert stopped.called


def test_a_request_waits_in_the_middle_of_many() -> None:
    service = busy_service()
    client = Client(service)
    answer: Deferred[Response] = Deferred()
    service.processor.answers.append(answer)
    client.raw(frame(TEXT, b"[]") * 30 + frame(TEXT, b"[1]") * 10)
    for _ in range(20):
        turn(service.clock)
    assert len(client.messages()) == 30
    assert len(service.processor.requests) == 1
    assert client.transport.producerState == "paused"
    answer.callback(Response([0]))
    turns_until_it_reads(service, client)
    assert client.messages() == [[0]] + [[{"echo": 1}]] * 9


@pytest.mark.parametrize("first", ["peer", "input"])
def test_reading_goes_on_when_nothing_is_in_its_way(first: str) -> None:
    service = busy_service()
    client = Client(service)
    producer = client.transport.producer
    assert producer is not None
    client.raw(frame(TEXT, b"[]") * 60)
    producer.pauseProducing()
    if first == "peer":
        producer.resumeProducing()
        assert client.transport.producerState == "paused"
        turns_until_it_reads(service, client)
    else:
        for _ in range(20):
            turn(service.clock)
        assert len(client.messages()) == 60
        assert client.transport.producerState == "paused"
        producer.resumeProducing()
    assert client.transport.producerState == "producing"


# Deadlines


def assert_open_for(service: Service, client: Client, intervals: int) -> None:
    """Advance the clock; the client answers each ping."""
    for _ in range(intervals):
        service.clock.advance(KEEP_ALIVE)
        assert client.frames()[-1] == (PING, b"")
        client.raw(frame(PONG, b""))


@pytest.mark.parametrize("sent", ["", "heartbeats", "refused messages"])
def test_a_connection_on_which_nothing_is_accepted(sent: str) -> None:
    service = Service(keep_alive=KEEP_ALIVE)
    client = Client(service)
    for _ in range(MAX_UNACCEPTED):
        if sent == "heartbeats":
            client.raw(frame(TEXT, b"[]"))
            assert client.messages() == [[]]
        elif sent:
            service.processor.answers.append(succeed(Response([REFUSAL])))
            client.send([1])
            assert client.messages() == [[REFUSAL]]
        assert_open_for(service, client, 1)
    service.clock.advance(KEEP_ALIVE)
    assert client.closed_with() == 1008
    assert len(service.processor.detached) == 1


def test_a_connection_on_which_a_message_was_accepted_stays_open() -> None:
    service = Service(keep_alive=KEEP_ALIVE)
    client = Client(service)
    accepted = {"channel": "/a", "successful": True}
    service.processor.answers += [
        succeed(Response([REFUSAL])),
        succeed(Response([REFUSAL, accepted])),
        succeed(Response([REFUSAL])),
    ]
    client.send([1])
    assert_open_for(service, client, MAX_UNACCEPTED)
    client.send([{"channel": "/a"}])
    client.send([2])
    assert_open_for(service, client, 20)


def test_a_reply_that_comes_later_counts() -> None:
    service = Service(keep_alive=KEEP_ALIVE)
    client = Client(service)
    held: Deferred[Response] = Deferred()
    service.processor.answers.append(succeed(Response((), held)))
    client.send([1])
    assert_open_for(service, client, MAX_UNACCEPTED)
    held.callback(Response([{"successful": True}]))
    assert_open_for(service, client, 20)


@pytest.mark.parametrize(
    "parts",
    [
        [frame(0x01, b"[")] + [frame(0x00, b"")] * 20,
        [frame(0x01, b"[")] + [frame(0x00, b" ")] * 20,
        [frame(0x01, b"[")] + [frame(PONG, b"")] * 20,
        [frame(0x01, b"")] + [frame(0x00, b"x"), frame(PING, b"x")] * 10,
        [b"\x81", *(bytes([one]) for one in frame(TEXT, b"[1]".ljust(100))[1:])],
        [bytes([one]) for one in frame(PING, b"[1]".ljust(100))],
    ],
)
def test_a_message_that_does_not_end(parts: list[bytes]) -> None:
    service = Service(keep_alive=KEEP_ALIVE)
    client = Client(service)
    client.send([1])
    for part in parts[:MAX_UNFINISHED]:
        client.raw(part)
        service.clock.advance(KEEP_ALIVE)
        assert client.frames()[-1] == (PING, b"")
    client.raw(parts[MAX_UNFINISHED])
    service.clock.advance(KEEP_ALIVE)
    assert client.closed_with() == 1008


def test_a_client_that_is_always_in_the_middle_of_another_message() -> None:
    service = Service(keep_alive=KEEP_ALIVE)
    client = Client(service)
    client.raw(frame(0x01, b"["))
    for _ in range(3 * MAX_UNFINISHED):
        client.raw(frame(0x80, b"1]") + frame(0x01, b"["))
        service.clock.advance(KEEP_ALIVE)
        assert client.frames() == [(TEXT, b'[{"echo":1}]'), (PING, b"")]


def test_the_time_in_which_the_server_does_not_read_does_not_count() -> None:
    service = Service(keep_alive=KEEP_ALIVE)
    client = Client(service)
    answer: Deferred[Response] = Deferred()
    service.processor.answers.append(answer)
    client.raw(frame(TEXT, b"[1]") * 2 + frame(0x01, b"["))
    assert client.transport.producerState == "paused"
    service.clock.pump([KEEP_ALIVE] * 2 * MAX_UNFINISHED)
    answer.callback(Response([1]))
    client.raw(frame(0x80, b"3]"))
    assert client.messages() == [[1], [{"echo": 1}], [{"echo": 3}]]
