"""A site that serves Bayeux at one path, and a resource tree beside it."""

from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.web.resource import Resource
from twisted.web.static import Data

from txbayeux import BayeuxResource, BayeuxSite, Limits

from .sockets import TEXT, frame, upgrade
from .support import Answer, FakeProcessor, Transport, request

pytestmark = pytest.mark.parametrize("http_way", ["fast"], indirect=True)


def connect(site: BayeuxSite) -> Transport:
    """Open a connection to the site."""
    transport = Transport()
    transport.protocol = site.buildProtocol(transport.getPeer())
    transport.protocol.makeConnection(transport)
    return transport


def ask(transport: Transport, data: bytes) -> Answer:
    transport.clear()
    transport.protocol.dataReceived(data)
    return Answer(transport.take())


def bayeux(**options: Any) -> BayeuxResource:
    return BayeuxResource(FakeProcessor(), Clock(), **options)


def test_bayeux_and_pages_share_one_connection() -> None:
    root = Resource()
    root.putChild(b"page", Data(b"a page", "text/plain"))
    transport = connect(BayeuxSite(root, bayeux(), Clock()))
    poll = request("POST", body=b"[1]")
    assert ask(transport, poll).json() == [{"echo": 1}]
    assert ask(transport, request("GET", "/page")).body == b"a page"
    assert ask(transport, poll).json() == [{"echo": 1}]
    transport.protocol.dataReceived(upgrade() + frame(TEXT, b"[7]"))
    assert transport.value().endswith(b'\r\n\r\n\x81\x0c[{"echo":7}]')


def test_a_path_below_a_folder_that_is_there() -> None:
    root, folder = Resource(), Resource()
    root.putChild(b"a", folder)
    folder.putChild(b"page", Data(b"a page", "text/plain"))
    transport = connect(BayeuxSite(root, bayeux(), Clock(), path="/a/b-c/bayeux"))
    below = request("POST", "/a/b-c/bayeux/connect", b"[1]")
    assert ask(transport, below).json() == [{"echo": 1}]
    assert ask(transport, request("OPTIONS", "/a/b-c/bayeux")).code == 204
    assert ask(transport, request("GET", "/a/page")).body == b"a page"
    assert ask(transport, request("POST", "/bayeux", b"[1]")).code == 404


def test_bayeux_at_the_root() -> None:
    transport = connect(BayeuxSite(None, bayeux(), Clock(), path="/"))
    assert ask(transport, request("POST", "/", b"[1]")).json() == [{"echo": 1}]
    assert ask(transport, request("OPTIONS", "/")).code == 204


@pytest.mark.parametrize("path", ["/a b", "/ü", "/a%20b", "/a?b"])
def test_a_path_that_urls_write_in_several_ways_is_an_error(path: str) -> None:
    with pytest.raises(ValueError, match="plain path"):
        BayeuxSite(Resource(), bayeux(), Clock(), path=path)


@pytest.mark.parametrize(("root", "path"), [(Resource(), "/"), (None, "/bayeux")])
def test_a_root_that_does_not_fit_to_the_path_is_an_error(root: Any, path: str) -> None:
    with pytest.raises(ValueError, match="root"):
        BayeuxSite(root, bayeux(), Clock(), path=path)


@pytest.mark.parametrize("path", ["/bayeux", "/page"])
def test_no_body_may_be_larger_than_the_limit_of_the_resource(path: str) -> None:
    root = Resource()
    root.putChild(b"page", Data(b"a page", "text/plain"))
    resource = bayeux(limits=Limits(request_bytes=500))
    transport = connect(BayeuxSite(root, resource, Clock()))
    assert ask(transport, request("POST", path, b"[1]".ljust(501))).code == 413


def test_an_idle_connection_is_closed_and_no_timer_is_left() -> None:
    clock = Clock()
    site = BayeuxSite(Resource(), BayeuxResource(FakeProcessor(), clock), clock)
    site.doStart()
    transport = connect(site)
    clock.pump([15] * 5)
    assert transport.disconnecting
    transport.lose()
    site.doStop()
    assert clock.getDelayedCalls() == []
