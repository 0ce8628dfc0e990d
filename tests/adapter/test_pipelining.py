"""Many requests in one read: they take turns with other connections, none is lost.

Answers that the client does not read are bounded.
"""

import random
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from twisted.web.static import Data

from txbayeux.adapter.http import REQUESTS_PER_TURN
from txbayeux.adapter.io import TIME_SLICE
from txbayeux.adapter.site import BYTES_PER_TURN
from txbayeux.processor import Response

from .http_ways import outcome
from .sockets import TEXT, frame, upgrade
from .support import HTTP_WAY, Answer, FullTransport, Service, request, settle, turn
from .test_fast_http import a_request

READ = 65536
"""Bytes that the reactor reads at once."""

CHUNKED = (
    b"POST /bayeux HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"1\r\n[\r\n2\r\n1]\r\n0\r\n\r\n"
)
REQUESTS = {
    "poll": request("POST", body=b"[1]"),
    "chunked": CHUNKED,
    "preflight": request("OPTIONS"),
    "without messages": request("GET"),
    "client script": request("GET", "/bayeux/client.js"),
    "page": request("GET", "/page"),
    "chunked page": request("GET", "/parts"),
    "missing page": request("GET", "/missing"),
    "method": request("PUT"),
}
POST = REQUESTS["poll"]
PAGE = REQUESTS["page"]


class Parts(Resource):
    """A page whose length is not known."""

    def render_GET(self, request: Request) -> int:
        request.write(b"x" * 2000)
        request.write(b"y" * 2000)
        request.finish()
        return NOT_DONE_YET


class Later(Resource):
    """A page that is answered when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[Request] = []

    def render_GET(self, request: Request) -> int:
        self.waiting.append(request)
        return NOT_DONE_YET


class TickingClock(Clock):
    """A clock on which each look takes a quarter of a time slice."""

    def seconds(self) -> float:
        self.rightNow += TIME_SLICE / 4
        return self.rightNow


def make(tmp_path: Path, **options: Any) -> Service:
    script = tmp_path / "client.js"
    script.write_text("x" * 8000)
    service = Service(client_script=script, **options)
    service.root.putChild(b"page", Data(b"z" * 5000, "text/html"))
    service.root.putChild(b"parts", Parts())
    return service


def count(data: bytes) -> int:
    return data.count(b"HTTP/1.")


@pytest.mark.parametrize("name", REQUESTS)
def test_answers_that_are_not_read_are_bounded(tmp_path: Path, name: str) -> None:
    service = make(tmp_path)
    data = REQUESTS[name]
    longest = len(service.send(data).value())
    transport: FullTransport = service.connect_through(FullTransport())
    number = READ // len(data)
    transport.protocol.dataReceived(data * number)
    settle(service.clock)
    assert READ < len(transport.value()) <= READ + longest
    assert transport.producerState == "paused"
    answered = 0
    while transport.value():
        answered += count(transport.drain())
        settle(service.clock)
        assert len(transport.value()) <= READ + longest
    assert answered == number
    assert transport.producerState == "producing"
    transport.protocol.dataReceived(data)
    assert count(transport.value()) == 1


@pytest.mark.parametrize("name", REQUESTS)
def test_connections_that_pipeline_take_turns(tmp_path: Path, name: str) -> None:
    service = make(tmp_path, clock=TickingClock())
    data = REQUESTS[name]
    transports = [service.send(data * 50) for _ in range(8)]
    answered = [count(one.value()) for one in transports]
    assert max(answered) <= REQUESTS_PER_TURN
    assert {one.producerState for one in transports} == {"paused"}
    bystander = service.send(POST)
    assert Answer(bystander.take()).code == 200
    while min(answered) < 50:
        turn(service.clock)
        before, answered = answered, [count(one.value()) for one in transports]
        # Four looks at the clock are a time slice.
        assert sum(answered) - sum(before) <= 4 * REQUESTS_PER_TURN
        assert max(answered) - min(answered) <= REQUESTS_PER_TURN
    settle(service.clock)
    assert {one.producerState for one in transports} == {"producing"}


def test_a_few_requests_in_one_read_do_not_wait(tmp_path: Path) -> None:
    service = make(tmp_path)
    for data in (POST, PAGE, CHUNKED):
        transport = service.send(data * REQUESTS_PER_TURN)
        assert count(transport.value()) == REQUESTS_PER_TURN


def test_a_body_in_tiny_chunks_is_read_in_several_turns() -> None:
    service = Service(clock=TickingClock())
    body = b"1\r\n \r\n" * 10_000 + b"3\r\n[1]\r\n0\r\n\r\n"
    data = CHUNKED[: CHUNKED.index(b"\r\n\r\n") + 4] + body
    transport = service.send(data + POST)
    turns = 0
    while not transport.value():
        turn(service.clock)
        turns += 1
        assert turns <= len(data) / BYTES_PER_TURN + 1
    assert turns > len(data) / BYTES_PER_TURN / 4
    settle(service.clock)
    assert count(transport.value()) == 2


def test_requests_behind_a_held_one_wait_in_order(tmp_path: Path) -> None:
    service = make(tmp_path)
    waiting: Deferred[Response] = Deferred()
    service.processor.answers.append(waiting)
    transport = service.send(PAGE + POST + POST * 300)
    transport.protocol.dataReceived(request("POST", body=b"[2]") + PAGE)
    settle(service.clock)
    assert count(transport.take()) == 1
    assert transport.producerState == "paused"
    assert len(service.processor.requests) == 1
    waiting.callback(Response([1]))
    settle(service.clock)
    assert [messages for messages, _, _ in service.processor.requests] == (
        [[1]] * 301 + [[2]]
    )
    assert transport.value().endswith(b"z" * 5000)
    assert transport.producerState == "producing"


def test_pages_that_are_answered_later_are_answered_in_order(tmp_path: Path) -> None:
    service = make(tmp_path)
    later = Later()
    service.root.putChild(b"later", later)
    transport = service.send(request("GET", "/later") * 20 + POST)
    for number in range(20):
        assert len(later.waiting) == 1
        page = later.waiting.pop()
        page.write(b"<%d>" % number)
        page.finish()
        settle(service.clock)
    data = transport.value()
    assert count(data) == 21
    places = [data.index(b"<%d>" % number) for number in range(20)]
    assert places == sorted(places)


def test_the_connection_ends_where_one_of_many_requests_says_so(tmp_path: Path) -> None:
    service = make(tmp_path)
    for end in ({"connection": "close"}, {"version": "HTTP/1.0"}):
        data = POST * 10 + request("POST", body=b"[2]", **end) + POST * 10
        transport = service.send(data)
        settle(service.clock)
        assert count(transport.value()) == 11
        assert transport.disconnecting


def test_what_waits_for_a_lost_connection_is_dropped(tmp_path: Path) -> None:
    service = make(tmp_path)
    transport = service.send(POST * 20)
    transport.lose()
    settle(service.clock)
    assert len(service.processor.requests) == REQUESTS_PER_TURN


def test_an_upgrade_behind_many_requests(tmp_path: Path) -> None:
    for first in (POST, PAGE):
        service = make(tmp_path)
        frames = frame(TEXT, b"[7]") * 1000
        transport = service.send(first * 30 + upgrade() + frames)
        settle(service.clock)
        assert transport.value().endswith(b'\x81\x0c[{"echo":7}]' * 1000)


@pytest.mark.parametrize("seed", range(20))
def test_one_read_and_many_have_the_same_outcome(seed: int) -> None:
    chance = random.Random(seed)
    data = b"".join(a_request(chance) for _ in range(40)) + b"\r\n\r\n"
    waits = [chance.random() < 0.3 for _ in range(40)]
    size = chance.choice([1, 7, 100, 1000])
    cut = [data[at : at + size] for at in range(0, len(data), size)]
    fast = HTTP_WAY.fast
    assert outcome([data], waits, fast=fast) == outcome(cut, waits, fast=fast)
