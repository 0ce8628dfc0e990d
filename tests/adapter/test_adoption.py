"""Connections of a site that go on at the fast door: which, and that nobody notices."""

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.testing import StringTransport
from twisted.web.http import HTTPChannel
from twisted.web.resource import EncodingResourceWrapper, IResource, Resource
from twisted.web.server import GzipEncoderFactory, Request, Site
from twisted.web.static import Data

from txbayeux.adapter.fast_http import FastHTTPProtocol
from txbayeux.adapter.resource import BayeuxResource
from txbayeux.adapter.site import BoundedRequest, bounded_request
from txbayeux.limits import Limits
from txbayeux.protocol import Response

from .sockets import TEXT, frame, upgrade
from .support import Answer, Service, Transport, request

pytestmark = pytest.mark.parametrize("door", ["twisted.web"], indirect=True)

POST = request("POST", body=b"[1]")


class Nested(Service):
    """A resource in somebody's site, whose first poll is held until it is told."""

    def __init__(self, root: IResource | None = None, **options: Any) -> None:
        super().__init__(bounded=False, **options)
        if root is not None:
            self.put_below(root)

    def put_below(self, root: Any) -> None:
        root.putChild(b"bayeux", self.resource)
        self.site.resource = root

    def poll(self, data: bytes = POST, meanwhile: bytes = b"") -> Transport:
        waiting: Deferred[Response] = Deferred()
        self.processor.answers.append(waiting)
        transport = self.send(data)
        assert transport.value() == b""
        if meanwhile:
            transport.protocol.dataReceived(meanwhile)
        waiting.callback(Response([{"echo": 0}]))
        return transport


def is_adopted(transport: Transport) -> bool:
    return isinstance(transport.protocol, FastHTTPProtocol)


def ask(transport: Transport, data: bytes = POST) -> Answer:
    transport.clear()
    transport.protocol.dataReceived(data)
    return Answer(transport.take())


def test_a_connection_that_polls_is_adopted_after_its_first_held_poll() -> None:
    service = Nested()
    transport = service.poll()
    first = Answer(transport.value())
    assert is_adopted(transport)
    second = ask(transport)
    assert (first.json(), second.json()) == ([{"echo": 0}], [{"echo": 1}])
    del first.headers["server"], first.headers["date"], second.headers["date"]
    assert first.headers == second.headers


def test_one_that_does_not_poll_is_not() -> None:
    transport = Nested().send(POST + POST)
    assert not is_adopted(transport)


def test_all_else_still_goes_to_the_site_and_comes_back() -> None:
    service = Nested()
    service.site.resource.putChild(b"page", Data(b"a page", "text/plain"))
    transport = service.poll()
    assert ask(transport, request("GET", "/page")).body == b"a page"
    assert not is_adopted(transport)
    waiting: Deferred[Response] = Deferred()
    service.processor.answers.append(waiting)
    transport.protocol.dataReceived(POST)
    waiting.callback(Response([2]))
    assert is_adopted(transport)
    transport.clear()
    transport.protocol.dataReceived(upgrade() + frame(TEXT, b"[7]"))
    assert transport.value().endswith(b'\r\n\r\n\x81\x0c[{"echo":7}]')


@pytest.mark.parametrize(
    "data",
    [
        request("POST", body=b"[1]", connection="close"),
        request("POST", body=b"[1]", version="HTTP/1.0"),
        b"POST /bayeux HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\n[1]\r\n0\r\n\r\n",
        request("POST", body=b"[1]", te="trailers"),
    ],
)
def test_requests_that_the_fast_door_would_not_take_leave_it(data: bytes) -> None:
    assert not is_adopted(Nested().poll(data))


def test_it_can_be_switched_off() -> None:
    assert not is_adopted(Nested(adopt_connections=False).poll())


class Curious(Resource):
    def getChildWithDefault(self, path: bytes, request: Any) -> IResource:
        return super().getChildWithDefault(path, request)


def test_a_way_on_which_somebody_looks_at_requests_is_kept_to() -> None:
    service = Nested(Curious())
    assert not is_adopted(service.poll())
    service = Nested()
    root = Resource()
    root.putChild(
        b"bayeux", EncodingResourceWrapper(service.resource, [GzipEncoderFactory()])
    )
    service.site.resource = root
    assert not is_adopted(service.poll())


class _Dynamic(Resource):
    def __init__(self, resource: BayeuxResource) -> None:
        super().__init__()
        self._resource = resource

    def getChild(self, path: bytes, request: Any) -> IResource:
        return self._resource


def test_so_is_one_that_is_made_for_each_request() -> None:
    service = Nested()
    service.site.resource = _Dynamic(service.resource)
    assert not is_adopted(service.poll())


class _Site(Site):
    def getResourceFor(self, request: Any) -> IResource:
        resource: IResource = super().getResourceFor(request)
        return resource


class _Counting(Site):
    def log(self, request: Any) -> None:
        super().log(request)


class _Request(Request):
    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        super().requestReceived(command, path, version)


class _Bounded(BoundedRequest):
    def getClientAddress(self) -> Any:
        return super().getClientAddress()


class _Channel(HTTPChannel):
    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)


class _SiteOfChannels(Site):
    protocol = _Channel


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (_Site, {}),
        (_Counting, {}),
        (_SiteOfChannels, {}),
        (Site, {"requestFactory": _Request}),
        (Site, {"requestFactory": _Bounded}),
    ],
)
def test_so_is_a_site_of_somebodys_own_kind(kind: Any, options: dict[str, Any]) -> None:
    service = Nested()
    service.door = service.site = kind(
        service.site.resource, reactor=service.clock, **options
    )
    service.site.startFactory()
    assert not is_adopted(service.poll())


def test_so_is_a_site_with_an_access_log(tmp_path: Path) -> None:
    service = Nested()
    path = tmp_path / "access.log"
    service.door = service.site = Site(
        service.site.resource, reactor=service.clock, logPath=str(path)
    )
    service.site.startFactory()
    transport = service.poll()
    assert not is_adopted(transport)
    ask(transport)
    service.site.stopFactory()
    assert path.read_text().count("POST /bayeux") == 2


def test_a_transport_that_is_bound_to_its_protocol_stays_with_it() -> None:
    service = Nested()
    waiting: Deferred[Response] = Deferred()
    service.processor.answers.append(waiting)
    channel = service.door.buildProtocol(None)
    transport = StringTransport()
    channel.makeConnection(transport)
    channel.dataReceived(POST)
    waiting.callback(Response([{"echo": 0}]))
    transport.clear()
    channel.dataReceived(POST)
    assert Answer(transport.value()).json() == [{"echo": 1}]


def test_a_site_whose_requests_are_bounded_as_ours_are_may_be() -> None:
    service = Nested()
    service.door = service.site = Site(
        service.site.resource,
        reactor=service.clock,
        requestFactory=bounded_request(Limits()),
    )
    service.site.startFactory()
    assert is_adopted(service.poll())


def test_a_site_without_a_time_limit_keeps_its_connections() -> None:
    service = Nested()
    service.site.timeOut = None
    assert not is_adopted(service.poll())


@pytest.mark.parametrize("cut", [1, 3, 20])
def test_the_beginning_of_the_next_first_line_is_not_lost(cut: int) -> None:
    transport = Nested().poll(meanwhile=POST[:cut])
    assert is_adopted(transport)
    assert ask(transport, POST[cut:]).json() == [{"echo": 1}]


@pytest.mark.parametrize("cut", [25, 40, len(POST) - 1])
def test_nor_is_a_request_that_has_begun(cut: int) -> None:
    transport = Nested().poll(meanwhile=POST[:cut])
    assert not is_adopted(transport)
    assert ask(transport, POST[cut:]).json() == [{"echo": 1}]


def test_whole_requests_that_came_meanwhile_are_answered() -> None:
    transport = Nested().poll(meanwhile=POST + POST)
    answers = transport.value().split(b"HTTP/1.1 200 OK")
    assert [b'"echo":0' in answers[1], b'"echo":1' in answers[3]] == [True, True]


def test_who_does_not_read_is_left_alone() -> None:
    service = Nested()
    waiting: Deferred[Response] = Deferred()
    service.processor.answers.append(waiting)
    transport = service.send(POST)
    transport.producer.pauseProducing()
    waiting.callback(Response([1]))
    assert not is_adopted(transport)


def test_the_sites_time_limit_holds_and_nothing_is_left() -> None:
    service = Nested()
    service.site.timeOut = 20
    transport = service.poll()
    service.clock.pump([5] * 3)
    assert not transport.disconnecting
    service.clock.pump([5] * 2)
    assert transport.disconnecting
    transport.sever()
    service.site.stopFactory()
    assert service.clock.getDelayedCalls() == []


def test_a_deeper_way() -> None:
    service = Nested()
    root, inner = Resource(), Resource()
    root.putChild(b"a-b", inner)
    inner.putChild(b"bayeux", service.resource)
    service.site.resource = root
    data = request("POST", "/a-b/bayeux/connect", b"[1]")
    transport = service.poll(data)
    assert is_adopted(transport)
    assert ask(transport, data).json() == [{"echo": 1}]
    assert ask(transport, POST).code == 404


@pytest.mark.parametrize(
    ("name", "path"), [("a b", "/a%20b"), ("ü", "/%C3%BC"), ("a", "/%61"), ("", "//")]
)
def test_a_name_that_urls_write_in_several_ways_is_left_to_the_site(
    name: str, path: str
) -> None:
    service = Nested()
    service.site.resource.putChild(name.encode(), service.resource)
    data = request("POST", path, b"[1]")
    transport = service.poll(data)
    assert is_adopted(transport) == (name == "a")
    assert ask(transport, data).json() == [{"echo": 1}]


def test_a_body_past_the_limit_goes_back_to_the_site() -> None:
    service = Nested(limits=Limits(request_bytes=500))
    transport = service.poll()
    answer = ask(transport, request("POST", body=b"[1]".ljust(501)))
    assert answer.code == 413
    assert not is_adopted(transport)


def test_at_the_root() -> None:
    service = Nested()
    service.site.resource = service.resource
    transport = service.poll(request("POST", "/", b"[1]"))
    assert is_adopted(transport)
    assert ask(transport, request("POST", "/", b"[1]")).json() == [{"echo": 1}]
