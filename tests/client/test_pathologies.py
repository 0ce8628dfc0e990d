"""Servers that would drive other clients into a loop."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from txbayeux.client import State
from txbayeux.transport.base import NoReply, Unreachable

from .stage import Request, Stage, outcome

Pathology = Callable[[Stage], Callable[[Request], None]]
UNKNOWN = "402:session1:Unknown client"


def refusing_connections(stage: Stage) -> Callable[[Request], None]:
    return lambda request: request.fail(Unreachable("refused"))


def closing_at_once(stage: Stage) -> Callable[[Request], None]:
    return lambda request: request.fail(NoReply("closed"))


def refusing_handshakes(stage: Stage) -> Callable[[Request], None]:
    return lambda request: request.answer(
        *[stage.reply(m, error="500::No") for m in request.messages]
    )


def refusing_with_advice_to_go_on(stage: Stage) -> Callable[[Request], None]:
    advice = {"reconnect": "handshake", "interval": 0}
    return lambda request: request.answer(
        *[stage.reply(m, error="500::No", advice=advice) for m in request.messages]
    )


def refusing_with_a_short_interval(stage: Stage) -> Callable[[Request], None]:
    advice = {"reconnect": "handshake", "interval": 500}
    return lambda request: request.answer(
        *[stage.reply(m, error="500::No", advice=advice) for m in request.messages]
    )


def forgetting_every_session(stage: Stage) -> Callable[[Request], None]:
    def serve(request: Request) -> None:
        if "/meta/handshake" in request.channels:
            stage.serve(request)
            return
        advice = {"reconnect": "handshake", "interval": 0}
        request.answer(
            *[stage.reply(m, error=UNKNOWN, advice=advice) for m in request.messages]
        )

    return serve


def forgetting_the_second_connect(stage: Stage) -> Callable[[Request], None]:
    def serve(request: Request) -> None:
        if not any(stage.is_held(message) for message in request.messages):
            stage.serve(request)
            return
        advice = {"reconnect": "handshake"}
        request.answer(
            *[stage.reply(m, error=UNKNOWN, advice=advice) for m in request.messages]
        )

    return serve


def forgetting_after_a_message(stage: Stage) -> Callable[[Request], None]:
    forget = forgetting_the_second_connect(stage)

    def serve(request: Request) -> None:
        if "/meta/connect" in request.channels:
            request.push({"channel": "/a", "data": 1})
        forget(request)

    return serve


def advising_handshakes_on_success(stage: Stage) -> Callable[[Request], None]:
    def serve(request: Request) -> None:
        advice = {"reconnect": "handshake", "interval": 1000}
        request.answer(*[stage.reply(m, advice=advice) for m in request.messages])

    return serve


def accepting_nothing_but_handshakes(stage: Stage) -> Callable[[Request], None]:
    def serve(request: Request) -> None:
        if "/meta/handshake" in request.channels:
            stage.serve(request)
        else:
            request.fail()

    return serve


def forgetting_whoever_publishes(stage: Stage) -> Callable[[Request], None]:
    def serve(request: Request) -> None:
        if "/a" not in request.channels:
            stage.serve(request)
            return
        request.answer(*[stage.reply(m, error=UNKNOWN) for m in request.messages])

    return serve


def answering_without_the_reply(stage: Stage) -> Callable[[Request], None]:
    return lambda request: request.answer()


def replying_to_something_else(stage: Stage) -> Callable[[Request], None]:
    def serve(request: Request) -> None:
        reply = stage.reply(request.messages[0]) | {"id": "not this one"}
        request.answer(reply, reply, {"channel": 7}, {"advice": []}, {})

    return serve


def handshakes_of_wrong_shape(stage: Stage) -> Callable[[Request], None]:
    def serve(request: Request) -> None:
        message = request.messages[0]
        wrong: dict[str, object] = {
            "clientId": ["no", "string"],
            "supportedConnectionTypes": "all",
            "advice": {"interval": "soon", "reconnect": 7, "hosts": 1},
        }
        request.answer(stage.reply(message) | wrong)

    return serve


def no_type_in_common(stage: Stage) -> Callable[[Request], None]:
    stage.offer = ["carrier-pigeon"]
    return stage.serve


PATHOLOGIES: list[Pathology] = [
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
    answering_without_the_reply,
    replying_to_something_else,
    handshakes_of_wrong_shape,
    no_type_in_common,
]


@pytest.mark.parametrize("luck", [0.0, 0.999])
@pytest.mark.parametrize("pathology", PATHOLOGIES, ids=lambda p: p.__name__)
def test_no_server_is_asked_in_a_loop(pathology: Pathology, luck: float) -> None:
    stage = Stage(random=lambda: luck)
    stage.server = pathology(stage)
    stage.client.subscribe("/a", lambda message: None)
    stage.client.publish("/a", 1).addErrback(lambda _: None)
    stage.pass_time(10)
    assert 1 <= stage.count("/meta/handshake") < 10
    assert stage.count("/meta/connect") < 20
    assert len(stage.requests) < 50
    stage.pass_time(300, step=1)
    assert stage.count("/meta/handshake") < 60


@pytest.mark.parametrize("pathology", PATHOLOGIES, ids=lambda p: p.__name__)
def test_when_the_server_comes_to_its_senses_so_does_everything(
    pathology: Pathology,
) -> None:
    stage = Stage()
    stage.server = pathology(stage)
    got: list[object] = []
    subscription = stage.client.subscribe("/a", lambda m: got.append(m["data"]))
    ready = outcome(subscription.ready)
    published = outcome(stage.client.publish("/a", "mine"))
    stage.pass_time(20)
    stage.server = stage.serve
    stage.offer = ["websocket", "long-polling"]
    stage.pass_time(60)
    assert stage.client.state is State.CONNECTED
    assert published[0]["successful"] is True
    assert ready == [None]
    got.clear()
    stage.deliver("/a", "after")
    assert got == ["after"]
    assert len(stage.sent("/meta/connect")) < 200
    stage.client.disconnect()
    assert stage.clock.getDelayedCalls() == []
