"""Channels that resemble ``/meta/subscribe``, which extensions might not recognise.

They subscribe to nothing.  Faye's advisory about them is in ``test_advisories.py``.
"""

import pytest

from txbayeux.extension import Extension
from txbayeux.message import Message

from .harness import Client, Harness

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
]


class Guard(Extension):
    """What Faye's documentation advises: refuse subscriptions on their way in."""

    def incoming(self, message: Message, request: object) -> Message:
        if message.get("channel") == "/meta/subscribe":
            message["error"] = "403::Forbidden"
        return message


@pytest.mark.parametrize("guarded", [False, True])
@pytest.mark.parametrize("channel", VARIANTS)
def test_a_similar_channel_is_refused_without_effect(
    channel: str, guarded: bool
) -> None:
    harness = Harness(*([Guard()] if guarded else []))
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


@pytest.mark.parametrize(
    "subscription", [channel for channel in VARIANTS if channel.isascii()]
)
def test_a_similar_channel_cannot_be_subscribed_to(
    alice: Client, subscription: str
) -> None:
    reply = alice.subscribe(subscription)
    assert reply["successful"] is False
    assert reply["error"].startswith(("403:", "405:"))
