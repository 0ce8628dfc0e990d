"""The client's examples do what they say, with our own server in memory."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock

from examples import listen, salesforce
from txbayeux import Client, MemoryEngine, Server
from txbayeux.client import Closed

from .stage import outcome


def test_listen_answers_questions(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    server = Server(MemoryEngine(clock))
    server.start()
    client = Client.in_process(server, reactor=clock)
    asking = Client.in_process(server, reactor=clock)
    answers: list[Any] = []
    asking.subscribe("/answers", lambda m: answers.append(m["data"]))
    ended = outcome(ensureDeferred(listen.answer(client)))
    clock.pump([0.01] * 10)
    for question in ("how are you?", "really?"):
        asking.publish("/questions", question)
        clock.pump([0.01] * 10)
    assert [answer["to"] for answer in answers] == ["how are you?", "really?"]
    assert capsys.readouterr().out == "how are you?\nreally?\n"
    client.disconnect()
    assert ended == [None]


def test_salesforce_asks_for_the_token_and_keeps_the_ids(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ACCESS_TOKEN", "s3cret")
    store: dict[str, int] = {}
    client = salesforce.events("https://example.com", "/event/A", store, Clock())
    assert client.url == f"https://example.com/cometd/{salesforce.API}/"
    assert salesforce.token() == {"Authorization": "Bearer s3cret"}
    [error] = [*outcome(client.disconnect()), *outcome(client.connect())][1:]
    assert isinstance(error, Closed)
