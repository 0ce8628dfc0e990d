"""Channels that resemble ``/meta/subscribe``, which extensions might not recognise.

They subscribe to nothing, whichever names the server takes.  Faye's advisory about them
is in ``test_advisories.py``.
"""

import pytest

from txbayeux.extension import Extension
from txbayeux.message import Message

from .harness import Harness, result_of

NAMES = ["/meta/subscribe", "/META/SUBSCRIBE", "/Meta/Subscribe"]
BEFORE = ["/", "//", " ", "/x/..", ".", "\ufeff"]
AFTER = ["/", "//", "/x", "/*", "/**", "%2fx", "%2F", "\0", "\n", " ", "?x"]

VARIANTS = [
    *(f"{before}{name}" for name in NAMES for before in BEFORE),
    *(f"{name}{after}" for name in NAMES for after in AFTER),
    *NAMES[1:],
    "/meta/subscribe/../subscribe",
    "/meta//subscribe",
    "/meta%2fsubscribe",
    "%2fmeta%2fsubscribe",
    "/meta\0/subscribe",
    "\0/meta/subscribe",
    "/meta\\subscribe",
    "/meta/\u017fubscribe",
    "/\uff4deta/subscribe",
    "/meta",
    "/meta/",
    "/meta/*",
    "/meta/**",
    "/META",
    "/meta/unsubscribe/x",
    "/meta/handshake/",
    "/meta/connect/x",
    "/meta/disconnect/x",
    "/meta/other",
    "/meta./subscribe ",
    "/ meta/subscribe",
    "/meta /subscribe",
    "/meta/subscribe#",
    "/./meta/subscribe",
    "/meta/subscribe:x",
    "/meta/{subscribe}",
    "/META/",
]
NAMES_OF = ["bayeux", "cometd"]


class Guard(Extension):
    """What Faye's documentation advises: refuse subscriptions on their way in."""

    def incoming(self, message: Message, request: object) -> Message:
        if message.get("channel") == "/meta/subscribe":
            message["error"] = "403::Forbidden"
        return message


@pytest.mark.parametrize("names", NAMES_OF)
@pytest.mark.parametrize("guarded", [False, True])
@pytest.mark.parametrize("channel", VARIANTS)
def test_a_similar_channel_is_refused_without_effect(
    channel: str, guarded: bool, names: str
) -> None:
    harness = Harness(*([Guard()] if guarded else []), channel_names=names)
    alice = harness.client()
    bob = Harness().client() if guarded else harness.client("/**")
    before = dict(harness.server.statistics())
    for extra in ({}, {"data": 1}):
        reply = alice.send(channel, subscription="/secret", **extra)
        assert reply["successful"] is False
        assert reply["error"].startswith(("403:", "405:"))
        assert reply["channel"] == channel
    assert dict(harness.server.statistics()) == before
    alice.publish("/secret", 1)
    assert alice.poll() == []
    assert bob.poll() == ([] if guarded else [1])


@pytest.mark.parametrize("names", NAMES_OF)
@pytest.mark.parametrize(
    "subscription", [channel for channel in VARIANTS if channel.isascii()]
)
def test_a_similar_channel_cannot_be_subscribed_to(
    subscription: str, names: str
) -> None:
    reply = Harness(channel_names=names).client().subscribe(subscription)
    assert reply["successful"] is False
    assert reply["error"].startswith(("403:", "405:"))


SECRET = ["/secret/", "/secret//", "/secret ", "/secret.", "/secret#", "/{secret}"]
SECRET += ["/./secret", "/x/../secret", "/Secret", "/secret:", "/secret+", "/ secret"]


class Private(Extension):
    """Refuses to subscribe to one channel, and to publish on it."""

    channels = ("/secret", "/meta/subscribe")

    def incoming(self, message: Message, request: object) -> Message:
        if "/secret" in (message["channel"], message.get("subscription")):
            message["error"] = "403::Forbidden"
        return message


@pytest.mark.parametrize("names", NAMES_OF)
@pytest.mark.parametrize("similar", SECRET)
def test_no_similar_name_stands_for_a_guarded_one(similar: str, names: str) -> None:
    harness = Harness(Private(), channel_names=names)
    alice = harness.client()
    received: list[Message] = []
    harness.server.client().subscribe("/secret", received.append)
    assert not alice.subscribe("/secret")["successful"]
    alice.subscribe(similar)
    alice.publish(similar, 1)
    alice.poll()
    assert received == []
    secret = b'{"channel": "/secret", "data": 2}'
    result_of(harness.engine.publish("/secret", secret))
    assert alice.poll() == []
    assert [message["data"] for message in received] == [2]


class Below(Extension):
    """Refuses what is published below a channel."""

    channels = ("/secret/**",)

    def incoming(self, message: Message, request: object) -> Message:
        message["error"] = "403::Forbidden"
        return message


@pytest.mark.parametrize("names", NAMES_OF)
@pytest.mark.parametrize("name", ["x", "x.y", "x y", "#", "{x}", "x/", "x/y/", "+:"])
def test_an_extension_gets_all_names_that_its_pattern_matches(
    name: str, names: str
) -> None:
    harness = Harness(Below(), channel_names=names)
    alice, bob = harness.client(), harness.client("/**")
    assert not alice.publish(f"/secret/{name}", 1)["successful"]
    assert bob.poll() == []


@pytest.mark.parametrize("names", NAMES_OF)
@pytest.mark.parametrize("channel", ["/", "//", "/" * 1000, "/a" * 500, "/a//", "/*"])
def test_what_is_no_name_is_refused_whatever_an_extension_gets(
    channel: str, names: str
) -> None:
    harness = Harness(Below(), Private(), channel_names=names)
    alice = harness.client()
    assert alice.publish(channel, 1)["error"].startswith("405:")
    assert alice.subscribe("/a")["successful"]
