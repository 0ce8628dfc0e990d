"""Headers, cookies and ext, asked for before each handshake; and their refusal."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed

from txbayeux.client import State
from txbayeux.transport.base import NoReply, TransportUnavailable
from txbayeux.transport.cookies import cookie_header

from .stage import Request, Stage, outcome


def refusing(stage: Stage, *tokens: str, **fields: Any) -> Any:
    """Refuse handshakes that carry one of these tokens."""

    def serve(request: Request) -> None:
        message = request.messages[0]
        if message.get("ext", {}).get("token") in tokens:
            error = {"error": "401::Authentication invalid"} | fields
            request.answer(stage.reply(message, **error))
        else:
            stage.serve(request)

    return serve


def lose_session(stage: Stage) -> None:
    held = stage.held
    held.answer(stage.reply(held.messages[0], error="402::Unknown client"))


def test_mappings_are_used_as_they_are() -> None:
    stage = Stage(headers={"X-A": "1"}, cookies={"c": "2"}, ext={"token": "3"})
    stage.connect()
    [handshake] = stage.sent("/meta/handshake")
    assert handshake["ext"] == {"token": "3"}
    context = stage.wires[0].context
    assert context.headers == {"X-A": "1"}
    assert cookie_header(context.jar, context.endpoint) == "c=2"


@pytest.mark.parametrize("kind", ["plain", "deferred", "coroutine"])
def test_callables_are_asked_before_each_handshake(kind: str) -> None:
    numbers = itertools.count(1)

    def plain() -> Any:
        fields = {"token": str(next(numbers))}
        return succeed(fields) if kind == "deferred" else fields

    async def coroutine() -> Any:
        return plain()

    stage = Stage(ext=coroutine if kind == "coroutine" else plain)
    stage.connect()
    lose_session(stage)
    stage.pass_time(1)
    tokens = [message["ext"]["token"] for message in stage.sent("/meta/handshake")]
    assert tokens == ["1", "2"]


def test_a_token_that_takes_its_time_is_waited_for_once() -> None:
    asked: list[Deferred[dict[str, Any]]] = []

    def ask() -> Deferred[dict[str, Any]]:
        asked.append(Deferred())
        return asked[-1]

    stage = Stage(ext=ask)
    stage.client.connect()
    stage.client.publish("/a", 1)
    stage.pass_time(100, step=1)
    assert len(asked) == 1
    assert stage.requests == []
    asked[0].callback({"token": "x"})
    assert stage.count("/meta/handshake") == 1


def test_disconnecting_gives_up_the_token() -> None:
    cancelled: list[object] = []
    stage = Stage(ext=lambda: Deferred(cancelled.append))
    stage.client.connect().addErrback(lambda _: None)
    assert outcome(stage.client.disconnect()) == [None]
    assert len(cancelled) == 1
    assert stage.requests == []
    assert stage.clock.getDelayedCalls() == []


def test_a_hook_that_fails_is_asked_again_later() -> None:
    asked: list[float] = []

    def fail_first() -> dict[str, Any]:
        asked.append(stage.clock.seconds())
        if len(asked) < 3:
            raise OSError("the token server is away")
        return {"token": "x"}

    stage = Stage(ext=fail_first)
    stage.client.connect()
    stage.pass_time(5)
    assert stage.client.state is State.CONNECTED
    assert asked == pytest.approx([0, 0.4, 1.15], abs=0.1)


@pytest.mark.parametrize(
    "fields",
    [
        {"headers": {"X-A": "1\r\nX-B: 2"}},
        {"headers": {"X A": "1"}},
        {"headers": {"X-A": 1}},
        {"headers": {"X-A": "ü"}},
        {"cookies": {"a": "1; b=2"}},
        {"cookies": {"a=b": "1"}},
        {"headers": 7},
        {"ext": [1]},
        {"ext": {"token": object()}},
    ],
)
def test_credentials_that_cannot_be_sent_are_not(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"headers|cookies|ext"):
        Stage(**fields)
    # What a function gives may be better the next time.
    [(kind, value)] = fields.items()
    stage = Stage(**{kind: lambda: value})
    stage.client.connect()
    stage.pass_time(5)
    assert stage.requests == []
    assert stage.client.state is State.WAITING
    assert isinstance(stage.client.last_failure, ValueError)


@pytest.mark.parametrize(
    "advice", [None, {"reconnect": "none"}, {"reconnect": "handshake"}]
)
def test_an_authentication_failure_is_final(advice: Any) -> None:
    stage = Stage(ext={"token": "bad"})
    stage.server = refusing(stage, "bad", advice=advice)
    result = outcome(stage.client.publish("/a", 1))
    stage.pass_time(60)
    assert stage.client.state is State.REFUSED
    assert result[0].code == 401
    assert stage.count("/meta/handshake") == 1


def test_fresh_credentials_are_tried() -> None:
    tokens = iter(["bad", "worse", "good"])
    stage = Stage(ext=lambda: {"token": next(tokens)})
    stage.server = refusing(stage, "bad", "worse", advice={"reconnect": "none"})
    result = outcome(stage.client.publish("/a", 1))
    stage.pass_time(10)
    assert result[0]["successful"] is True
    assert stage.count("/meta/handshake") == 3


def test_the_same_credentials_are_not_tried_twice() -> None:
    stage = Stage(ext=lambda: {"token": "bad"})
    stage.server = refusing(stage, "bad")
    stage.client.connect().addErrback(lambda _: None)
    stage.pass_time(60)
    assert stage.client.state is State.REFUSED
    assert stage.count("/meta/handshake") == 1


def test_endless_fresh_credentials_are_tried_ever_more_slowly() -> None:
    numbers = itertools.count()
    stage = Stage(ext=lambda: {"token": "bad", "n": next(numbers)})
    stage.server = refusing(stage, "bad")
    stage.client.connect()
    stage.pass_time(10)
    assert 1 < stage.count("/meta/handshake") < 10


@pytest.mark.parametrize("fresh", [True, False])
def test_a_token_that_expires_during_the_session(fresh: bool) -> None:
    numbers = itertools.count(1)
    stage = Stage(ext=lambda: {"token": str(next(numbers)) if fresh else "1"})
    stage.connect()
    held = stage.held
    advice = {"reconnect": "none", "interval": 0}
    held.answer(stage.reply(held.messages[0], error="401::Expired", advice=advice))
    stage.pass_time(5)
    expected = State.CONNECTED if fresh else State.REFUSED
    assert stage.client.state is expected


@pytest.mark.parametrize("status", [401, 403])
def test_http_s_way_to_say_so(status: int) -> None:
    stage = Stage(types=["long-polling"])
    stage.server = lambda request: request.fail(NoReply("no", status))
    [error] = outcome(stage.client.connect())
    assert error.code == status
    assert stage.client.state is State.REFUSED


@pytest.mark.parametrize("status", [401, 403])
def test_a_socket_s_refusal_is_final_where_there_is_nothing_else(status: int) -> None:
    stage = Stage(types=["websocket"])
    stage.server = lambda request: request.fail(TransportUnavailable("no", status))
    [error] = outcome(stage.client.connect())
    assert error.code == status
    assert stage.client.state is State.REFUSED


def test_a_socket_s_refusal_says_nothing_of_polling() -> None:
    stage = Stage()
    stage.server = lambda request: (
        request.fail(TransportUnavailable("no", 403))
        if request.transport.connection_type == "websocket"
        else stage.serve(request)
    )
    stage.client.connect()
    stage.pass_time(1)
    assert stage.client.state is State.CONNECTED


@pytest.mark.parametrize("status", [400, 404, 500, 502, 503])
def test_other_statuses_are_not_final(status: int) -> None:
    stage = Stage(types=["long-polling"])
    stage.server = lambda request: request.fail(NoReply("no", status))
    stage.client.connect()
    stage.pass_time(60)
    stage.server = stage.serve
    stage.pass_time(40)
    assert stage.client.state is State.CONNECTED


def test_credentials_are_not_shown() -> None:
    stage = Stage(url="http://alice:secret@example.com/", ext={"token": "secret"})
    stage.connect()
    assert "secret" not in repr(stage.client)
    assert stage.client.url == "http://example.com/"
    assert stage.wires[0].context.headers["Authorization"] == "Basic YWxpY2U6c2VjcmV0"
