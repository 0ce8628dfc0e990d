"""Show that channel names are the server's: the client asks, and delivers.

Logitech's server names channels after hardware addresses, Salesforce's have filters.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
from twisted.logger import formatEvent, globalLogPublisher

from txbayeux.extension import Extension
from txbayeux.extensions import Replay
from txbayeux.message import Message

from .harness import Harness, outcome

NAMES = [
    "/slim/playerstatus/00:04:20:12:34:56",
    "/users/a.b",
    "/users/*",
    "/a b/#+{}",
    "/größe",
    "/a/",
    "//",
    "/topic/X?Field='v/w'",
]


@contextmanager
def logged() -> Generator[list[str]]:
    """Collect the texts of log events."""
    texts: list[str] = []

    def observe(event: Any) -> None:
        texts.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    try:
        yield texts
    finally:
        globalLogPublisher.removeObserver(observe)


@pytest.mark.parametrize("channel", NAMES)
def test_the_server_is_asked_for_any_name(channel: str) -> None:
    harness = Harness()
    got: list[Any] = []
    ready = outcome(harness.client.subscribe(channel, got.append).ready)
    published = outcome(harness.client.publish(channel, 1))
    harness.connect()
    assert ready == [None]
    [subscribe] = harness.sent("/meta/subscribe")
    assert subscribe["subscription"] == channel
    assert published[0]["successful"] is True
    message_channel = channel.replace("/*", "/x")
    harness.deliver(message_channel, 2)
    assert [(m["channel"], m["data"]) for m in got] == [(message_channel, 2)]


def test_the_server_decides_which_names_are_invalid() -> None:
    harness = Harness()
    harness.connect()
    harness.respond = lambda request: harness.answer(
        request, error="405:/a.b:Invalid channel"
    )
    [error] = outcome(harness.client.publish("/a.b", 1))
    assert str(error) == "405:/a.b:Invalid channel"


@pytest.mark.parametrize(
    ("pattern", "channel"),
    [
        ("/slim/**", "/slim/playerstatus/00:04:20:12:34:56"),
        ("/users/*", "/users/a.b"),
        ("/**", "/a b/größe"),
        ("/topic/*", "/topic/X?Field='v/w'"),
        ("/topic/X?Field='v'", "/topic/X"),
        ("/topic/X", "/topic/X?Field='v'"),
        ("/topic/X?Field='v'", "/topic/X?Field = 'v'"),
    ],
)
def test_messages_are_delivered_whatever_their_channel(
    pattern: str, channel: str
) -> None:
    harness = Harness()
    got: list[Any] = []
    harness.client.subscribe(pattern, lambda m: got.append(m["data"]))
    harness.client.subscribe("/other/**", lambda m: got.append("other"))
    harness.connect()
    harness.deliver(channel, 1)
    assert got == [1]


def test_a_filtered_and_a_plain_subscription_get_their_own_messages() -> None:
    harness = Harness()
    got: list[tuple[str, int]] = []
    for channel in ("/topic/X", "/topic/X?a='b'"):
        harness.client.subscribe(
            channel, lambda m, name=channel: got.append((name, m["data"]))
        )
    harness.connect()
    harness.deliver("/topic/X", 1)
    harness.clock.advance(0)
    harness.deliver("/topic/X?a='b'", 2)
    assert got == [("/topic/X", 1), ("/topic/X?a='b'", 2)]


@pytest.mark.parametrize("channel", ["/b", "no slash", "/" * 2000, "/\n", "/a/*"])
def test_what_cannot_be_placed_is_logged_once(channel: str) -> None:
    harness = Harness()
    got: list[Any] = []
    harness.client.subscribe("/a", got.append)
    harness.connect()
    with logged() as texts:
        for number in range(3):
            harness.deliver(channel, number)
            harness.clock.advance(0)
    expected = f"Ignoring messages of {channel!r}, to which nothing is subscribed"
    assert texts == [expected]
    assert got == []


def test_extensions_get_messages_of_any_channel() -> None:
    class Seen(Extension):
        channels = ("/slim/**",)

        def incoming(self, message: Message, request: object) -> Message:
            return message | {"data": "seen"}

    harness = Harness(extensions=[Seen()])
    got: list[Any] = []
    harness.client.subscribe("/slim/**", lambda m: got.append(m["data"]))
    harness.connect()
    harness.deliver("/slim/00:04:20", 1)
    assert got == ["seen"]


def test_replay_ids_of_a_filtered_topic_have_its_plain_name() -> None:
    # Source: Salesforce's EMP connector, ReplayExtension.topicWithoutQueryString.
    store = {"/topic/X": 7}
    harness = Harness(extensions=[Replay(store)])
    harness.client.subscribe("/topic/X?Field='v'", lambda m: None)
    harness.connect()
    [subscribe] = harness.sent("/meta/subscribe")
    assert subscribe["subscription"] == "/topic/X?Field='v'"
    assert subscribe["ext"] == {"replay": {"/topic/X": 7}}
    for replay_id, channel in ((8, "/topic/X"), (9, "/topic/X?Field='v'")):
        harness.deliver(channel, {"event": {"replayId": replay_id}})
        harness.clock.advance(0)
        assert store == {"/topic/X": replay_id}
