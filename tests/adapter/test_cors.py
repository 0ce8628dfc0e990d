"""Cross-origin requests: preflights, and the headers of responses."""

from typing import Any

import pytest
from twisted.internet.interfaces import ISSLTransport
from twisted.logger import LogEvent, formatEvent
from zope.interface import alsoProvides

from txbayeux.adapter.origins import Origins

from .support import Answer, Service, Transport, request

LISTED = "https://a.example"
ORIGINS = Origins([LISTED])


def test_a_listed_origin_may_read_the_response() -> None:
    service = Service(origins=ORIGINS)
    answer = service.post(
        b"message=%5B1%5D", origin=LISTED, content_type="text/plain;charset=UTF-8"
    )
    assert answer.json() == [{"echo": 1}]
    assert answer.headers["access-control-allow-origin"] == LISTED
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["vary"] == "Origin"


def test_a_listed_origin_may_read_an_error() -> None:
    answer = Service(origins=ORIGINS).post(b"{", origin=LISTED)
    assert answer.code == 400
    assert answer.headers["access-control-allow-origin"] == LISTED


def test_the_preflight_of_faye_s_client() -> None:
    answer = Service(origins=ORIGINS).ask(
        "OPTIONS",
        origin=LISTED,
        access_control_request_method="POST",
        access_control_request_headers="pragma",
    )
    assert (answer.code, answer.body) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == LISTED
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["access-control-allow-methods"] == "GET, POST"
    allowed = answer.headers["access-control-allow-headers"].lower()
    for name in ("pragma", "content-type", "x-requested-with", "authorization"):
        assert name in allowed
    assert answer.headers["access-control-max-age"] == "86400"


def test_a_page_may_send_its_own_headers() -> None:
    answer = Service(origins=ORIGINS).ask(
        "OPTIONS",
        origin=LISTED,
        access_control_request_method="POST",
        access_control_request_headers="x-token,pragma",
    )
    assert "x-token" in answer.headers["access-control-allow-headers"]


def test_options_without_an_origin() -> None:
    answer = Service().ask("OPTIONS")
    assert answer.code == 204
    assert answer.headers["allow"] == "GET, POST, OPTIONS"
    assert "access-control-allow-methods" not in answer.headers


EVENTS = "text/event-stream"


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("POST", "/bayeux", {"content_type": "application/json"}),
        ("POST", "/bayeux", {"content_type": "text/plain"}),
        ("OPTIONS", "/bayeux", {"access_control_request_method": "POST"}),
        ("GET", "/bayeux/s1", {"accept": EVENTS}),
        ("GET", "/bayeux?message=[1]&jsonp=a", {}),
        (
            "GET",
            "/bayeux",
            {
                "upgrade": "websocket",
                "connection": "upgrade",
                "sec_websocket_version": "13",
                "sec_websocket_key": "dGhlIHNhbXBsZSBub25jZQ==",
            },
        ),
    ],
)
@pytest.mark.parametrize("origin", ["https://b.example", "null", "*", "file://", ""])
def test_other_origins_are_refused_without_effect(
    method: str, path: str, headers: dict[str, str], origin: str
) -> None:
    service = Service(origins=ORIGINS)
    body = b"[1]" if method == "POST" else b""
    answer = service.ask(method, path, body, origin=origin, **headers)
    assert answer.code == 403
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert "access-control-allow-origin" not in answer.headers
    assert service.processor.requests == []
    assert service.processor.attached == {}
    assert service.processor.streams == []


def test_two_origins_are_refused() -> None:
    service = Service(origins=Origins(["*"]))
    answer = service.post([1], origin=f"{LISTED}\r\nOrigin: {LISTED}")
    assert answer.code == 403


def test_refusals_are_logged_once_for_each_origin(log: list[LogEvent]) -> None:
    service = Service(origins=ORIGINS)
    for origin in ["https://b.example"] * 3 + ["https://c.example\x85x: y"]:
        assert service.post([1], origin=origin).code == 403
    said = [formatEvent(event) for event in log]
    assert len(said) == 2
    assert said[0].endswith("--allow-origin https://b.example")
    assert "c.example" not in said[1]  # which is not an origin, and could be anything
    for number in range(1000):
        service.post([1], origin=f"https://{number}.example")
    assert len(log) == 100


def test_the_service_s_own_page_is_allowed_by_default() -> None:
    service = Service()
    assert service.post([1], origin="http://bayeux.example").code == 200
    assert service.post([1], origin="http://evil.example").code == 403


def test_over_tls_a_page_without_tls_is_another_origin() -> None:
    service = Service()
    transport: Any = Transport()
    alsoProvides(transport, ISSLTransport)
    transport.setTcpNoDelay = lambda on: None
    transport.protocol = service.factory.buildProtocol(None)
    transport.protocol.makeConnection(transport)
    for origin, code in (
        ("https://bayeux.example", 200),
        ("http://bayeux.example", 403),
    ):
        data = request("POST", body=b"[1]", origin=origin)
        for _ in range(2):
            transport.protocol.dataReceived(data)
            assert Answer(transport.take()).code == code


def test_a_page_that_may_not_post_may_not_load_a_script() -> None:
    service = Service()
    browser = {"user_agent": "Mozilla/5.0", "sec_fetch_dest": "script"}
    path = "/bayeux?message=%5B1%5D&jsonp=cb"
    assert service.ask(path=path, sec_fetch_site="cross-site", **browser).code == 403
    assert service.ask(path=path, referer="http://evil.example/", **browser).code == 403
    assert service.ask(path=path, **browser).code == 403
    assert service.processor.requests == []
    assert service.ask(path=path, sec_fetch_site="same-origin", **browser).code == 200
