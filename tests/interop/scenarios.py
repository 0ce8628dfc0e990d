"""The tests that every client passes over every transport."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from .environment import Environment
from .poster import Poster

_TEXT: Final = 'é ☃ 漢字 \U0001f600 \u2028\u2029 </script> \x00\x1f " \\ \ufffe'
DATA: Final = [
    _TEXT,
    {_TEXT: _TEXT},
    0,
    "",
    False,
    [],
    {},
    -1.5e-07,
    2**53 - 1,
    [{"deep": [None, True]}],
]


class Scenarios:
    """Collected through its subclasses, which choose the client."""

    def test_handshake(self, environment: Environment) -> None:
        alice, reply = environment.open("alice")

        assert reply["successful"], reply
        assert alice.ask("transport") == environment.kind.transport

    def test_publish_with_its_reply(self, environment: Environment) -> None:
        alice, bob = environment.client("alice"), environment.client("bob")
        alice.subscribe("/chat/room")

        bob.publish("/chat/room", {"text": "hello"})
        alice.publish("/chat/room", {"text": "welcome"})

        got = alice.wait_for("/chat/room", 2)
        assert sorted(data["text"] for _, data in got) == ["hello", "welcome"]

    def test_wildcards(self, environment: Environment) -> None:
        alice, bob = environment.client("alice"), environment.client("bob")
        for channel in ("/wild/*", "/wild/**"):
            alice.subscribe(channel)

        for name in ("", "/one", "/one/two", "er/one", "/end"):
            channel = f"/wild{name}"
            bob.publish(channel, channel)

        alice.wait_for("/wild/*", 2)
        alice.wait_for("/wild/**", 3)
        assert _channels(alice.received("/wild/*")) == ["/wild/one", "/wild/end"]
        assert _channels(alice.received("/wild/**")) == [
            "/wild/one",
            "/wild/one/two",
            "/wild/end",
        ]
        # One copy each: the client finds the listeners.
        assert alice.arrivals() == ["/wild/one", "/wild/one/two", "/wild/end"]

    def test_200_messages_in_order(self, environment: Environment) -> None:
        alice, bob = environment.client("alice"), environment.client("bob")
        alice.subscribe("/order")
        items = list(range(200))

        replies = bob.publish_all(
            "/order", items, pipelined=environment.kind.keeps_order
        )

        assert [reply["successful"] for reply in replies] == [True] * len(items)
        got = alice.wait_for("/order", len(items))
        assert [data for _, data in got] == items

    def test_300_kilobytes(self, environment: Environment) -> None:
        alice = environment.client("alice")
        alice.subscribe("/large")
        bob = (
            environment.client("bob")
            if environment.kind.sends_large
            else Poster(environment.server.url)
        )
        snowman = "☃" if environment.kind.decodes_whole else "*"
        text = "".join(f"{number:07} {snowman}\n" for number in range(30_000))
        assert len(text.encode()) >= 300_000

        bob.publish("/large", {"text": text})
        bob.publish("/large", "end")

        got = alice.wait_for("/large", 2)
        assert [data for _, data in got] == [{"text": text}, "end"]

    def test_data_arrives_as_it_was(self, environment: Environment) -> None:
        alice = environment.client("alice")
        alice.subscribe("/data")

        for data in DATA:
            alice.publish("/data", data)

        got = alice.wait_for("/data", len(DATA))
        assert json.dumps([data for _, data in got]) == json.dumps(DATA)

    def test_refusal_by_an_extension(self, environment: Environment) -> None:
        alice = environment.client("alice")

        for operation in ("subscribe", "publish"):
            reply = alice.ask(operation, channel="/forbidden/fruit", data="apple")
            assert not reply["successful"]
            assert reply["error"].startswith(environment.server.refusal)

        # The session can still do what is allowed.
        alice.subscribe("/allowed")
        alice.publish("/allowed", "pear")
        assert [data for _, data in alice.wait_for("/allowed", 1)] == ["pear"]
        assert alice.arrivals() == ["/allowed"]

    def test_refused_handshake(self, environment: Environment) -> None:
        _, reply = environment.open("mallory", ext={"refuse": True})

        assert not reply["successful"]
        assert reply["error"].startswith(environment.server.refusal)

    def test_unsubscribe(self, environment: Environment) -> None:
        alice, bob = environment.client("alice"), environment.client("bob")
        alice.subscribe("/news")
        alice.subscribe("/end")
        bob.publish("/news", 1)
        alice.wait_for("/news", 1)

        alice.unsubscribe("/news")
        bob.publish("/news", 2)
        bob.publish("/end", "end")

        alice.wait_for("/end", 1)
        assert alice.arrivals() == ["/news", "/end"]

    def test_disconnect(self, environment: Environment) -> None:
        alice, bob = environment.client("alice"), environment.client("bob")
        for client in (alice, bob):
            client.subscribe("/news")

        reply = alice.ask("disconnect")
        assert reply["successful"], reply

        bob.publish("/news", "she has left")
        bob.wait_for("/news", 1)
        assert alice.arrivals() == []

    @pytest.mark.parametrize("server", [2], ids=["2s"], indirect=True)
    def test_a_connect_that_was_held_to_its_end(self, environment: Environment) -> None:
        alice, bob = environment.client("alice"), environment.client("bob")
        alice.subscribe("/news")
        bob.publish("/news", "before")
        alice.wait_for("/news", 1)

        # The first reply may carry the message; the second one was held to its end.
        alice.wait_for_reply("/meta/connect", len(alice.replies("/meta/connect")) + 2)

        bob.publish("/news", "after")
        got = alice.wait_for("/news", 2)
        assert [data for _, data in got] == ["before", "after"]
        assert len(alice.replies("/meta/handshake")) == 1

    @pytest.mark.parametrize("end", ["kill", "stop"])
    def test_recovery_after_a_restart(self, environment: Environment, end: str) -> None:
        alice, bob = environment.client("alice"), environment.client("bob")
        alice.subscribe("/news")
        bob.publish("/news", "before")
        alice.wait_for("/news", 1)
        seen = [
            (client, channel, len(client.replies(channel)))
            for client, channel in [
                (bob, "/meta/handshake"),
                (alice, "/meta/handshake"),
                (alice, "/meta/subscribe"),
            ]
        ]

        getattr(environment.server, end)()
        environment.server.start()

        for client, channel, before in seen:
            client.wait_for_reply(channel, before + 1)
        bob.publish("/news", "after")
        got = alice.wait_for("/news", 2)
        assert [data for _, data in got] == ["before", "after"]


def _channels(received: list[Any]) -> list[str]:
    return [channel for channel, _ in received]
