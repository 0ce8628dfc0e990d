"""Show that faulty servers are not retried in a tight loop, and recovered from."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from txbayeux.client import State
from txbayeux.transport.base import NoReply, Unreachable

from .harness import Harness, Request, outcome

Fault = Callable[[Harness], Callable[[Request], None]]
UNKNOWN = "402:session1:Unknown client"


def refusing_connections(harness: Harness) -> Callable[[Request], None]:
    return lambda request: request.fail(Unreachable("refused"))


def closing_at_once(harness: Harness) -> Callable[[Request], None]:
    return lambda request: request.fail(NoReply("closed"))


def refusing_handshakes(harness: Harness) -> Callable[[Request], None]:
    return lambda request: request.answer(
        *[harness.reply(m, error="500::No") for m in request.messages]
    )


def refusing_with_advice_to_go_on(harness: Harness) -> Callable[[Request], None]:
    advice = {"reconnect": "handshake", "interval": 0}
    return lambda request: request.answer(
        *[harness.reply(m, error="500::No", advice=advice) for m in request.messages]
    )


def refusing_with_a_short_interval(harness: Harness) -> Callable[[Request], None]:
    advice = {"reconnect": "handshake", "interval": 500}
    return lambda request: request.answer(
        *[harness.reply(m, error="500::No", advice=advice) for m in request.messages]
    )


def forgetting_every_session(harness: Harness) -> Callable[[Request], None]:
    def serve(request: Request) -> None:
        if "/meta/handshake" in request.channels:
            harness.reply_to_all(request)
            return
        advice = {"reconnect": "handshake", "interval": 0}
        request.answer(
            *[harness.reply(m, error=UNKNOWN, advice=advice) for m in request.messages]
        )

    return serve


def forgetting_the_second_connect(harness: Harness) -> Callable[[Request], None]:
    def serve(request: Request) -> None:
        if not any(harness.is_held(message) for message in request.messages):
            harness.reply_to_all(request)
            return
        advice = {"reconnect": "handshake"}
        request.answer(
            *[harness.reply(m, error=UNKNOWN, advice=advice) for m in request.messages]
        )

    return serve


def forgetting_after_a_message(harness: Harness) -> Callable[[Request], None]:
    forget = forgetting_the_second_connect(harness)

    def serve(request: Request) -> None:
        if "/meta/connect" in request.channels:
            request.push({"channel": "/a", "data": 1})
        forget(request)

    return serve


def advising_handshakes_on_success(harness: Harness) -> Callable[[Request], None]:
    def serve(request: Request) -> None:
        advice = {"reconnect": "handshake", "interval": 1000}
        request.answer(*[harness.reply(m, advice=advice) for m in request.messages])

    return serve


def accepting_nothing_but_handshakes(harness: Harness) -> Callable[[Request], None]:
    def serve(request: Request) -> None:
        if "/meta/handshake" in request.channels:
            harness.reply_to_all(request)
        else:
            request.fail()

    return serve


def forgetting_whoever_publishes(harness: Harness) -> Callable[[Request], None]:
    def serve(request: Request) -> None:
        if "/a" not in request.channels:
            harness.reply_to_all(request)
            return
        request.answer(*[harness.reply(m, error=UNKNOWN) for m in request.messages])

    return serve


def forbidding_connects(harness: Harness) -> Callable[[Request], None]:
    def serve(request: Request) -> None:
        if "/meta/connect" in request.channels:
            request.answer(
                *[harness.reply(m, error="403::No") for m in request.messages]
            )
        else:
            harness.reply_to_all(request)

    return serve


def answering_without_the_reply(harness: Harness) -> Callable[[Request], None]:
    return lambda request: request.answer()


def replying_to_something_else(harness: Harness) -> Callable[[Request], None]:
    def serve(request: Request) -> None:
        reply = harness.reply(request.messages[0]) | {"id": "not this one"}
        request.answer(reply, reply, {"channel": 7}, {"advice": []}, {})

    return serve


def handshakes_of_wrong_shape(harness: Harness) -> Callable[[Request], None]:
    def serve(request: Request) -> None:
        message = request.messages[0]
        wrong: dict[str, object] = {
            "clientId": ["no", "string"],
            "supportedConnectionTypes": "all",
            "advice": {"interval": "soon", "reconnect": 7, "hosts": 1},
        }
        request.answer(harness.reply(message) | wrong)

    return serve


FAULTS: list[Fault] = [
    refusing_connections,
    closing_at_once,
    refusing_handshakes,
    refusing_with_advice_to_go_on,
    refusing_with_a_short_interval,
    forgetting_every_session,
    forgetting_the_second_connect,
    forgetting_after_a_message,
    advising_handshakes_on_success,
    accepting_nothing_but_handshakes,
    forgetting_whoever_publishes,
    forbidding_connects,
    answering_without_the_reply,
    replying_to_something_else,
    handshakes_of_wrong_shape,
]


@pytest.mark.parametrize("jitter", [0.0, 0.999])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda p: p.__name__)
def test_no_faulty_server_is_retried_in_a_tight_loop(
    fault: Fault, jitter: float
) -> None:
    harness = Harness(random=lambda: jitter)
    harness.respond = fault(harness)
    harness.client.subscribe("/a", lambda message: None)
    harness.client.publish("/a", 1).addErrback(lambda _: None)
    harness.pass_time(10)
    assert 1 <= harness.count("/meta/handshake") < 10
    assert harness.count("/meta/connect") < 20
    assert len(harness.requests) < 50
    harness.pass_time(300)
    assert harness.count("/meta/handshake") < 60


@pytest.mark.parametrize("fault", FAULTS, ids=lambda p: p.__name__)
def test_everything_recovers_once_the_server_works(
    fault: Fault,
) -> None:
    harness = Harness()
    harness.respond = fault(harness)
    got: list[object] = []
    subscription = harness.client.subscribe("/a", lambda m: got.append(m["data"]))
    ready = outcome(subscription.ready)
    published = outcome(harness.client.publish("/a", "mine"))
    harness.pass_time(20)
    harness.respond = harness.reply_to_all
    harness.pass_time(60)
    assert harness.client.state is State.CONNECTED
    assert published[0]["successful"] is True
    assert ready == [None]
    got.clear()
    harness.deliver("/a", "after")
    assert got == ["after"]
    assert len(harness.sent("/meta/connect")) < 200
    harness.client.disconnect()
    assert harness.clock.getDelayedCalls() == []
