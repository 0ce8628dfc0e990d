"""What every client must be able to do over every transport."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from .poster import Poster
from .stage import Stage

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
    """Collected through its subclasses, which say who plays."""

    def test_handshake(self, stage: Stage) -> None:
        alice, reply = stage.enter("alice")

        assert reply["successful"], reply
        assert alice.ask("transport") == stage.cast.transport

    def test_publish_with_its_reply(self, stage: Stage) -> None:
        alice, bob = stage.actor("alice"), stage.actor("bob")
        alice.subscribe("/chat/room")

        bob.publish("/chat/room", {"text": "hello"})
        alice.publish("/chat/room", {"text": "welcome"})

        got = alice.wait_for("/chat/room", 2)
        assert sorted(data["text"] for _, data in got) == ["hello", "welcome"]

    def test_wildcards(self, stage: Stage) -> None:
        alice, bob = stage.actor("alice"), stage.actor("bob")
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

    def test_200_messages_in_order(self, stage: Stage) -> None:
        alice, bob = stage.actor("alice"), stage.actor("bob")
        alice.subscribe("/order")
        items = list(range(200))

        replies = bob.publish_all("/order", items, pipelined=stage.cast.keeps_order)

        assert [reply["successful"] for reply in replies] == [True] * len(items)
        got = alice.wait_for("/order", len(items))
        assert [data for _, data in got] == items

    def test_300_kilobytes(self, stage: Stage) -> None:
        alice = stage.actor("alice")
        alice.subscribe("/large")
        bob = stage.actor("bob") if stage.cast.sends_large else Poster(stage.server.url)
        snowman = "☃" if stage.cast.decodes_whole else "*"
        text = "".join(f"{number:07} {snowman}\n" for number in range(30_000))
        assert len(text.encode()) >= 300_000

        bob.publish("/large", {"text": text})
        bob.publish("/large", "end")

        got = alice.wait_for("/large", 2)
        assert [data for _, data in got] == [{"text": text}, "end"]

    def test_data_arrives_as_it_was(self, stage: Stage) -> None:
        alice = stage.actor("alice")
        alice.subscribe("/data")

        for data in DATA:
            alice.publish("/data", data)

        got = alice.wait_for("/data", len(DATA))
        assert json.dumps([data for _, data in got]) == json.dumps(DATA)

    def test_refusal_by_an_extension(self, stage: Stage) -> None:
        alice = stage.actor("alice")

        for operation in ("subscribe", "publish"):
            reply = alice.ask(operation, channel="/forbidden/fruit", data="apple")
            assert not reply["successful"]
            assert reply["error"].startswith(stage.server.refusal)

        # And is left with what is allowed.
        alice.subscribe("/allowed")
        alice.publish("/allowed", "pear")
        assert [data for _, data in alice.wait_for("/allowed", 1)] == ["pear"]
        assert alice.arrivals() == ["/allowed"]

    def test_refused_handshake(self, stage: Stage) -> None:
        _, reply = stage.enter("mallory", ext={"refuse": True})

        assert not reply["successful"]
        assert reply["error"].startswith(stage.server.refusal)

    def test_unsubscribe(self, stage: Stage) -> None:
        alice, bob = stage.actor("alice"), stage.actor("bob")
        alice.subscribe("/news")
        alice.subscribe("/end")
        bob.publish("/news", 1)
        alice.wait_for("/news", 1)

        alice.unsubscribe("/news")
        bob.publish("/news", 2)
        bob.publish("/end", "end")

        alice.wait_for("/end", 1)
        assert alice.arrivals() == ["/news", "/end"]

    def test_disconnect(self, stage: Stage) -> None:
        alice, bob = stage.actor("alice"), stage.actor("bob")
        for actor in (alice, bob):
            actor.subscribe("/news")

        reply = alice.ask("disconnect")
        assert reply["successful"], reply

        bob.publish("/news", "she has left")
        bob.wait_for("/news", 1)
        assert alice.arrivals() == []

    @pytest.mark.parametrize("server", [2], ids=["2s"], indirect=True)
    def test_a_connect_that_was_held_to_its_end(self, stage: Stage) -> None:
        alice, bob = stage.actor("alice"), stage.actor("bob")
        alice.subscribe("/news")
        bob.publish("/news", "before")
        alice.wait_for("/news", 1)

        # One may have brought the message; the next ends a wait for nothing.
        alice.wait_for_reply("/meta/connect", len(alice.replies("/meta/connect")) + 2)

        bob.publish("/news", "after")
        got = alice.wait_for("/news", 2)
        assert [data for _, data in got] == ["before", "after"]
        assert len(alice.replies("/meta/handshake")) == 1

    @pytest.mark.parametrize("end", ["kill", "stop"])
    def test_recovery_after_a_restart(self, stage: Stage, end: str) -> None:
        alice, bob = stage.actor("alice"), stage.actor("bob")
        alice.subscribe("/news")
        bob.publish("/news", "before")
        alice.wait_for("/news", 1)
        seen = [
            (actor, channel, len(actor.replies(channel)))
            for actor, channel in [
                (bob, "/meta/handshake"),
                (alice, "/meta/handshake"),
                (alice, "/meta/subscribe"),
            ]
        ]

        getattr(stage.server, end)()
        stage.server.start()

        for actor, channel, before in seen:
            actor.wait_for_reply(channel, before + 1)
        bob.publish("/news", "after")
        got = alice.wait_for("/news", 2)
        assert [data for _, data in got] == ["before", "after"]


def _channels(received: list[Any]) -> list[str]:
    return [channel for channel, _ in received]
