"""Callback-polling (JSON-P): requests by GET, responses as scripts."""

import json
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from twisted.internet.defer import Deferred, succeed

from txbayeux.limits import Limits
from txbayeux.processor import Response

from .support import Answer, Service, request

MESSAGE = {"channel": "/a", "data": "ü"}


def url(message: Any = MESSAGE, callback: str | None = "cb", first: bool = True) -> str:
    fields = [f"message={quote(json.dumps(message, ensure_ascii=False))}"]
    if callback is not None:
        fields.insert(0 if first else 1, f"jsonp={quote_plus(callback)}")
    return "/bayeux?" + "&".join(fields)


@pytest.mark.parametrize("first", [True, False])
def test_an_answer_is_a_script(first: bool) -> None:
    answer = Service().ask(path=url(first=first))
    assert answer.code == 200
    assert answer.body == b'/**/cb([{"echo":{"channel":"/a","data":"\xc3\xbc"}}]);'
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["content-disposition"] == "attachment; filename=f.txt"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-cache, no-store"


def test_the_default_callback_is_that_of_faye() -> None:
    assert Service().ask(path=url(callback=None)).body.startswith(b"/**/jsonpcallback(")


def test_below_the_mount() -> None:
    path = url().replace("/bayeux", "/bayeux/connect")
    assert Service().ask(path=path).code == 200


def test_extensions_see_the_transport() -> None:
    service = Service()
    service.ask(path=url())
    source = service.processor.requests[0][1]
    assert source is not None
    assert source.transport == "callback-polling"


def test_several_messages() -> None:
    service = Service()
    service.ask(path=url([1]) + "&message=[2]")
    assert service.processor.requests[0][0] == [1, 2]


@pytest.mark.parametrize(
    "name", ["a", "_", "$", "__jsonp1__", "jQuery.x_1.$y", "A" * 128]
)
def test_valid_callbacks(name: str) -> None:
    body = Service().ask(path=url(callback=name)).body
    assert body.startswith(f"/**/{name}([".encode())


@pytest.mark.parametrize(
    "name",
    [
        "",
        "1a",
        "a b",
        "a(",
        "a;alert(1)//",
        "a\n",
        "a\r\nX: 1",
        "a.",
        ".a",
        "a..b",
        "a[0]",
        "<script>",
        "ü",
        "a\x00",
        "a'",
        "A" * 129,
        "*/alert(1)",
    ],
)
def test_invalid_callbacks(name: str) -> None:
    service = Service()
    answer = service.ask(path=url(callback=name))
    assert answer.code == 400
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert service.processor.requests == []


def test_two_callbacks() -> None:
    assert Service().ask(path=url() + "&jsonp=b").code == 400


def test_line_ends_of_older_javascript_are_escaped() -> None:
    answer = Service().ask(path=url({"a\u2028": "\u2029"}))
    assert answer.body == b'/**/cb([{"echo":{"a\\u2028":"\\u2029"}}]);'
    text = answer.body.removeprefix(b"/**/cb(").removesuffix(b");")
    assert json.loads(text) == [{"echo": {"a\u2028": "\u2029"}}]


@pytest.mark.parametrize("message", ["%7B", "%ff", "%22%ed%a0%80%22", "1", "%zz", ""])
def test_malformed_messages(message: str) -> None:
    service = Service()
    assert service.ask(path=f"/bayeux?jsonp=a&message={message}").code == 400
    assert service.processor.requests == []


def test_the_limits() -> None:
    service = Service(limits=Limits(request_bytes=20, batch_messages=2))
    assert service.ask(path=url([1, 2])).code == 200
    assert service.ask(path=url([1, 2, 3])).code == 413
    assert service.ask(path=url("x" * 20)).code == 413
    assert service.ask(path="/bayeux?" + "&" * 50).code == 413


def test_a_held_connect() -> None:
    service = Service()
    waiting: Deferred[Response] = Deferred()
    service.processor.answers.append(succeed(Response((), waiting)))
    transport = service.send(request(path=url()))
    assert transport.value() == b""
    waiting.callback(Response([1]))
    assert Answer(transport.value()).body == b"/**/cb([1]);"


@pytest.mark.parametrize(
    ("destination", "code"),
    [("script", 200), ("empty", 200), ("document", 403), ("iframe", 403)],
)
def test_a_link_publishes_nothing(destination: str, code: int) -> None:
    service = Service()
    answer = service.ask(path=url(), sec_fetch_site="none", sec_fetch_dest=destination)
    assert answer.code == code
    assert len(service.processor.requests) == (code == 200)
