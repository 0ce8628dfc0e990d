"""Calls that a function answers: ``server.on_call`` and CometD's ``remoteCall``."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import LogEvent, globalLogPublisher

from txbayeux.errors import BayeuxError, CallError, unavailable
from txbayeux.message import Message

from .harness import Client, Harness, result_of


@pytest.fixture
def log() -> Iterator[list[LogEvent]]:
    events: list[LogEvent] = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


def double(message: Message) -> Any:
    return message["data"] * 2


def double_later(message: Message) -> Deferred[Any]:
    return succeed(message["data"] * 2)


async def double_in_a_coroutine(message: Message) -> Any:
    return await succeed(message["data"] * 2)


def answers(client: Client) -> list[Message]:
    client.harness.settle()
    return client.connect(advice={"timeout": 0}).messages


@pytest.mark.parametrize("function", [double, double_later, double_in_a_coroutine])
def test_the_caller_alone_gets_the_result(
    harness: Harness, alice: Client, bob: Client, function: Callable[[Message], Any]
) -> None:
    harness.server.on_call("/double", function)
    bob.subscribe("/service/double")
    reply = alice.publish("/service/double", 21, id="7")
    assert reply == {"channel": "/service/double", "successful": True, "id": "7"}
    answer = {"channel": "/service/double", "id": "7", "data": 42, "successful": True}
    assert answers(alice) == [answer]
    assert answers(bob) == []


def test_a_result_may_come_later_and_be_null(harness: Harness, alice: Client) -> None:
    waiting: Deferred[None] = Deferred()
    harness.server.on_call("/wait", lambda _: waiting)
    assert alice.publish("/service/wait", {}, id="1")["successful"]
    assert answers(alice) == []
    waiting.callback(None)
    (answer,) = answers(alice)
    assert (answer["data"], answer["successful"]) == (None, True)


def refuse(message: Message) -> Any:
    raise CallError({"reason": "not today"})


def refuse_later(message: Message) -> Deferred[Any]:
    return fail(CallError({"reason": "not today"}))


async def refuse_in_a_coroutine(message: Message) -> Any:
    raise CallError({"reason": "not today"})


@pytest.mark.parametrize("function", [refuse, refuse_later, refuse_in_a_coroutine])
def test_a_function_can_answer_with_a_failure(
    harness: Harness, alice: Client, function: Callable[[Message], Any]
) -> None:
    harness.server.on_call("/refuse", function)
    alice.publish("/service/refuse", {}, id="1")
    (answer,) = answers(alice)
    assert answer == {
        "channel": "/service/refuse",
        "id": "1",
        "data": {"reason": "not today"},
        "successful": False,
    }


def defective(message: Message) -> Any:
    raise KeyError("a secret")


async def defective_in_a_coroutine(message: Message) -> Any:
    raise KeyError("a secret")


def not_json(message: Message) -> Any:
    return object()


def not_unicode(message: Message) -> Any:
    return "\ud800"


@pytest.mark.parametrize(
    "function", [defective, defective_in_a_coroutine, not_json, not_unicode]
)
def test_what_goes_wrong_is_logged_and_not_told(
    harness: Harness,
    alice: Client,
    function: Callable[[Message], Any],
    log: list[LogEvent],
) -> None:
    harness.server.on_call("/defect", function)
    alice.publish("/service/defect", {}, id="1")
    (answer,) = answers(alice)
    assert answer["successful"] is False
    assert answer["data"] == {"message": "Internal server error"}
    (failure,) = [event for event in log if "log_failure" in event]
    assert failure["channel"] == "/service/defect"


def test_a_call_without_a_session_or_id(harness: Harness, alice: Client) -> None:
    called: list[Message] = []
    harness.server.on_call("/note", called.append)
    harness.send({"channel": "/service/note", "data": 1})
    assert called == []
    alice.publish("/service/note", 2)
    assert [(call["clientId"], call["data"]) for call in called] == [(alice.id, 2)]
    (answer,) = answers(alice)
    assert "id" not in answer


def test_a_session_that_has_ended_gets_no_answer(
    harness: Harness, alice: Client, log: list[LogEvent]
) -> None:
    waiting: Deferred[int] = Deferred()
    harness.server.on_call("/wait", lambda _: waiting)
    alice.publish("/service/wait", {}, id="1")
    alice.send("/meta/disconnect")
    waiting.callback(1)
    assert [event for event in log if "log_failure" in event] == []


def test_an_answer_that_the_engine_does_not_take_is_logged(
    harness: Harness, alice: Client, log: list[LogEvent]
) -> None:
    harness.server.on_call("/double", double)
    harness.engine.deliver = lambda *_: fail(unavailable())  # type: ignore[method-assign]
    assert alice.publish("/service/double", 1, id="1")["successful"]
    (event,) = [event for event in log if "error" in event]
    assert event["error"].code == 503


def test_a_name_may_be_a_pattern_and_is_answered_until_it_is_cancelled(
    harness: Harness, alice: Client
) -> None:
    registration = harness.server.on_call("/items/*", lambda call: call["channel"])
    alice.publish("/service/items/7", {}, id="1")
    assert [answer["data"] for answer in answers(alice)] == ["/service/items/7"]
    registration.cancel()
    alice.publish("/service/items/7", {}, id="2")
    assert answers(alice) == []


def test_an_invalid_name_is_refused(harness: Harness) -> None:
    with pytest.raises(ValueError, match="slash"):
        harness.server.on_call("double", double)
    with pytest.raises(BayeuxError, match="405"):
        harness.server.on_call("/a//b", double)


def test_an_answer_can_be_delivered_by_hand(harness: Harness, alice: Client) -> None:
    client = harness.server.client()
    sent = client.deliver(alice.id, "/service/x", [1], id="9", successful=True)
    assert result_of(sent) is None
    result_of(client.deliver(alice.id, "/service/x", [2], id=3))
    assert answers(alice) == [
        {"channel": "/service/x", "data": [1], "id": "9", "successful": True},
        {"channel": "/service/x", "data": [2], "id": 3},
    ]
