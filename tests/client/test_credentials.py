"""Show when headers, cookies and ext are read and sent, and what a refusal leads to."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed

from txbayeux.client import State
from txbayeux.transport.cookies import cookie_header

from .harness import Harness, Request, outcome


def refusing(harness: Harness, *tokens: str, **fields: Any) -> Any:
    """Refuse handshakes that carry one of these tokens."""

    def serve(request: Request) -> None:
        message = request.messages[0]
        if message.get("ext", {}).get("token") in tokens:
            error = {"error": "401::Authentication invalid"} | fields
            request.answer(harness.reply(message, **error))
        else:
            harness.reply_to_all(request)

    return serve


def lose_session(harness: Harness) -> None:
    held = harness.held_connect
    harness.answer(held, error="402::Unknown client")


def test_mappings_are_sent_unchanged() -> None:
    harness = Harness(headers={"X-A": "1"}, cookies={"c": "2"}, ext={"token": "3"})
    harness.connect()
    [handshake] = harness.sent("/meta/handshake")
    assert handshake["ext"] == {"token": "3"}
    context = harness.transports[0].context
    assert context.headers == {"X-A": "1"}
    assert cookie_header(context.jar, context.endpoint) == "c=2"


@pytest.mark.parametrize("kind", ["plain", "deferred", "coroutine"])
def test_callables_are_called_before_each_handshake(kind: str) -> None:
    numbers = itertools.count(1)

    def plain() -> Any:
        fields = {"token": str(next(numbers))}
        return succeed(fields) if kind == "deferred" else fields

    async def coroutine() -> Any:
        return plain()

    harness = Harness(ext=coroutine if kind == "coroutine" else plain)
    harness.connect()
    lose_session(harness)
    harness.pass_time(1)
    tokens = [message["ext"]["token"] for message in harness.sent("/meta/handshake")]
    assert tokens == ["1", "2"]


def test_an_asynchronous_token_is_awaited_once() -> None:
    calls: list[Deferred[dict[str, Any]]] = []

    def ask() -> Deferred[dict[str, Any]]:
        calls.append(Deferred())
        return calls[-1]

    harness = Harness(ext=ask)
    harness.client.connect()
    harness.client.publish("/a", 1)
    harness.pass_time(100)
    assert len(calls) == 1
    assert harness.requests == []
    calls[0].callback({"token": "x"})
    assert harness.count("/meta/handshake") == 1


def test_disconnecting_cancels_the_request_for_a_token() -> None:
    cancelled: list[object] = []
    harness = Harness(ext=lambda: Deferred(cancelled.append))
    harness.client.connect().addErrback(lambda _: None)
    assert outcome(harness.client.disconnect()) == [None]
    assert len(cancelled) == 1
    assert harness.requests == []
    assert harness.clock.getDelayedCalls() == []


def test_a_callable_that_fails_is_retried() -> None:
    calls: list[float] = []

    def fail_first() -> dict[str, Any]:
        calls.append(harness.clock.seconds())
        if len(calls) < 3:
            raise OSError("the token server is away")
        return {"token": "x"}

    harness = Harness(ext=fail_first)
    harness.client.connect()
    harness.pass_time(5)
    assert harness.client.state is State.CONNECTED
    assert calls == pytest.approx([0, 0.4, 1.15], abs=0.1)


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
def test_invalid_credentials_are_not_sent(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"headers|cookies|ext"):
        Harness(**fields)
    # What a function gives may be better the next time.
    [(kind, value)] = fields.items()
    harness = Harness(**{kind: lambda: value})
    harness.client.connect()
    harness.pass_time(5)
    assert harness.requests == []
    assert harness.client.state is State.WAITING
    assert isinstance(harness.client.last_failure, ValueError)


@pytest.mark.parametrize(
    "advice",
    [
        None,
        {},
        {"interval": 0},
        {"reconnect": "none"},
        {"reconnect": "later"},
        {"reconnect": "handshake", "interval": -1},
    ],
)
def test_an_authentication_failure_is_final_unless_advised(advice: Any) -> None:
    harness = Harness(ext={"token": "bad"})
    harness.respond = refusing(harness, "bad", advice=advice)
    result = outcome(harness.client.publish("/a", 1))
    harness.pass_time(60)
    assert harness.client.state is State.REFUSED
    assert result[0].code == 401
    assert harness.count("/meta/handshake") == 1


@pytest.mark.parametrize("code", [401, 403])
@pytest.mark.parametrize("reconnect", ["handshake", "retry"])
def test_a_refused_handshake_is_repeated_if_that_is_advised(
    code: int, reconnect: str
) -> None:
    # Source: Bayeux specification, "advice": clients MUST follow it.  Faye's server
    # advises a handshake with every refusal.
    calls: list[int] = []

    def ext() -> dict[str, Any]:
        calls.append(1)
        return {"token": "the same"}

    harness = Harness(ext=ext)
    error, advice = f"{code}::Not yet", {"reconnect": reconnect, "interval": 0}
    harness.respond = refusing(harness, "the same", error=error, advice=advice)
    result = outcome(harness.client.publish("/a", 1))
    harness.pass_time(10)
    assert 3 < harness.count("/meta/handshake") < 10
    assert len(calls) == harness.count("/meta/handshake")
    assert {str(failure) for failure in harness.failures} == {error}
    assert len(harness.failures) == harness.count("/meta/handshake")
    assert result == []
    harness.respond = harness.reply_to_all
    harness.pass_time(30)
    assert harness.client.state is State.CONNECTED
    assert result[0]["successful"] is True


def test_credentials_that_do_not_change_are_sent_again_if_advised() -> None:
    harness = Harness(ext={"token": "bad"})
    advice = {"reconnect": "handshake", "interval": 3000}
    harness.respond = refusing(harness, "bad", advice=advice)
    harness.client.connect()
    harness.pass_time(10)
    assert harness.count("/meta/handshake") == 4  # at the advised interval


def test_fresh_credentials_are_tried() -> None:
    tokens = iter(["bad", "worse", "good"])
    harness = Harness(ext=lambda: {"token": next(tokens)})
    harness.respond = refusing(harness, "bad", "worse", advice={"reconnect": "none"})
    result = outcome(harness.client.publish("/a", 1))
    harness.pass_time(10)
    assert result[0]["successful"] is True
    assert harness.count("/meta/handshake") == 3


def test_credentials_refused_once_are_tried_again_after_others_were_accepted() -> None:
    tokens = iter(["a", "b", "a"])
    harness = Harness(ext=lambda: {"token": next(tokens)})
    harness.refuse("/meta/handshake", "401::No", advice={"reconnect": "none"})
    harness.client.connect()
    harness.pass_time(5)
    assert harness.client.state is State.CONNECTED
    lose_session(harness)
    harness.pass_time(5)
    assert harness.client.state is State.CONNECTED
    assert harness.count("/meta/handshake") == 3


def test_the_same_credentials_are_not_tried_twice() -> None:
    harness = Harness(ext=lambda: {"token": "bad"})
    harness.respond = refusing(harness, "bad")
    harness.client.connect().addErrback(lambda _: None)
    harness.pass_time(60)
    assert harness.client.state is State.REFUSED
    assert harness.count("/meta/handshake") == 1


def test_ever_new_credentials_are_tried_with_backoff() -> None:
    numbers = itertools.count()
    harness = Harness(ext=lambda: {"token": "bad", "n": next(numbers)})
    harness.respond = refusing(harness, "bad")
    harness.client.connect()
    harness.pass_time(10)
    assert 1 < harness.count("/meta/handshake") < 10


@pytest.mark.parametrize("fresh", [True, False])
def test_a_token_that_expires_during_the_session(fresh: bool) -> None:
    numbers = itertools.count(1)
    harness = Harness(ext=lambda: {"token": str(next(numbers)) if fresh else "1"})
    harness.connect()
    held = harness.held_connect
    advice = {"reconnect": "none", "interval": 0}
    harness.answer(held, error="401::Expired", advice=advice)
    harness.pass_time(5)
    expected = State.CONNECTED if fresh else State.REFUSED
    assert harness.client.state is expected


@pytest.mark.parametrize("status", [401, 403])
def test_an_http_status_of_401_or_403_is_final(status: int) -> None:
    harness = Harness(types=["long-polling"])
    harness.answer_with_status(status)
    [error] = outcome(harness.client.connect())
    assert error.code == status
    assert harness.client.state is State.REFUSED


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_websocket_is_final_without_other_transports(status: int) -> None:
    harness = Harness(types=["websocket"])
    harness.answer_with_status(status)
    [error] = outcome(harness.client.connect())
    assert error.code == status
    assert harness.client.state is State.REFUSED


def test_a_refused_websocket_does_not_rule_out_polling() -> None:
    harness = Harness()
    harness.answer_with_status(403, connection_type="websocket", times=None)
    harness.client.connect()
    harness.pass_time(1)
    assert harness.client.state is State.CONNECTED


@pytest.mark.parametrize("status", [400, 404, 500, 502, 503])
def test_other_statuses_are_not_final(status: int) -> None:
    harness = Harness(types=["long-polling"])
    with harness.answer_with_status(status, times=None):
        harness.client.connect()
        harness.pass_time(60)
    harness.pass_time(40)
    assert harness.client.state is State.CONNECTED


def test_credentials_are_not_in_the_repr() -> None:
    harness = Harness(url="http://alice:secret@example.com/", ext={"token": "secret"})
    harness.connect()
    assert "secret" not in repr(harness.client)
    assert harness.client.url == "http://example.com/"
    assert (
        harness.transports[0].context.headers["Authorization"]
        == "Basic YWxpY2U6c2VjcmV0"
    )


@pytest.mark.parametrize("kind", ["headers", "cookies", "ext"])
def test_other_headers_and_cookies_go_over_another_connection(kind: str) -> None:
    # A WebSocket sends them once, with its upgrade.
    tokens = iter(["x", "x", "y"])
    harness = Harness(**{kind: lambda: {"token": next(tokens)}})
    harness.connect()
    for transports in (1, 1 if kind == "ext" else 2):
        lose_session(harness)
        harness.pass_time(5)
        assert harness.client.state is State.CONNECTED
        assert len(harness.transports) == transports
    assert [transport.closed for transport in harness.transports[:-1]] in ([], [True])
