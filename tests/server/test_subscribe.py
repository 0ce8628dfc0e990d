"""``/meta/subscribe`` and ``/meta/unsubscribe``; specification, same names."""

from typing import Any

import pytest

from txbayeux.limits import Limits

from .harness import Client, Harness

BOTH = pytest.mark.parametrize("verb", ["subscribe", "unsubscribe"])


@BOTH
@pytest.mark.parametrize("subscription", ["/a", "/a/*", ["/a"], ["/a", "/b/**"]])
def test_the_reply_names_what_was_asked_for(
    alice: Client, verb: str, subscription: Any
) -> None:
    assert alice.send(f"/meta/{verb}", subscription=subscription, id="s1") == {
        "channel": f"/meta/{verb}",
        "successful": True,
        "clientId": alice.id,
        "subscription": subscription,
        "id": "s1",
    }


@pytest.mark.parametrize(
    ("pattern", "hears"),
    [
        ("/foo/bar", ["/foo/bar"]),
        ("/foo/*", ["/foo/bar", "/foo/boo"]),
        ("/foo/**", ["/foo/bar", "/foo/boo", "/foo/bar/boo"]),
        ("/*", ["/foo", "/foobar"]),
        ("/foo", ["/foo"]),
    ],
)
def test_a_subscriber_gets_what_its_pattern_matches(
    alice: Client, bob: Client, pattern: str, hears: list[str]
) -> None:
    alice.subscribe(pattern)
    for channel in ["/foo/bar", "/foo/boo", "/foo", "/foobar", "/foo/bar/boo"]:
        bob.publish(channel, channel)
    assert alice.poll() == hears


def test_a_message_that_matches_several_subscriptions_comes_once(
    alice: Client, bob: Client
) -> None:
    alice.subscribe("/a/b", "/a/*", "/a/**", "/**")
    alice.subscribe("/a/b")
    bob.publish("/a/b", 1)
    assert alice.poll() == [1]


def test_repeating_a_subscription_changes_nothing(
    harness: Harness, alice: Client, bob: Client
) -> None:
    for _ in range(3):
        assert alice.subscribe("/a", "/a")["successful"]
    bob.publish("/a", 1)
    assert alice.poll() == [1]
    assert harness.server.statistics()["subscriptions"] == 1
    alice.send("/meta/unsubscribe", subscription="/a")
    bob.publish("/a", 2)
    assert alice.poll() == []


def test_unsubscribing_from_what_was_not_subscribed_succeeds(alice: Client) -> None:
    assert alice.send("/meta/unsubscribe", subscription="/a")["successful"]


@BOTH
@pytest.mark.parametrize("value", [None, []])
def test_a_missing_subscription_is_refused(
    alice: Client, verb: str, value: Any
) -> None:
    reply = alice.send(f"/meta/{verb}", subscription=value)
    assert reply["error"] == "400:subscription:Missing required parameter"
    assert reply["subscription"] == value


@BOTH
@pytest.mark.parametrize("value", [7, True, {}, {"a": 1}, 1.5, [[]], [["/a"]], [None]])
def test_a_subscription_of_a_wrong_type_is_refused(
    alice: Client, verb: str, value: Any
) -> None:
    reply = alice.send(f"/meta/{verb}", subscription=value)
    assert reply["error"] == "400:subscription:Invalid parameter"


@BOTH
@pytest.mark.parametrize(
    "value", ["", "a", "/", "//", "/a/", "/*/a", "/a*", "/***", "/a b", "/é", "/a\n"]
)
def test_an_invalid_name_or_pattern_is_refused(
    alice: Client, verb: str, value: str
) -> None:
    reply = alice.send(f"/meta/{verb}", subscription=value)
    assert reply["error"].startswith("405:")
    assert reply["subscription"] == value


@BOTH
@pytest.mark.parametrize(
    "value", ["/meta/connect", "/meta/*", "/meta/**", "/meta", "/META/x", "/Meta/**"]
)
def test_meta_channels_are_refused(alice: Client, verb: str, value: str) -> None:
    reply = alice.send(f"/meta/{verb}", subscription=value)
    assert reply["error"] == f"403:{value}:Forbidden channel"


@pytest.mark.parametrize("bad", ["/meta/x", "no", 7, None, "/a/"])
def test_a_list_is_applied_whole_or_not_at_all(
    harness: Harness, alice: Client, bob: Client, bad: Any
) -> None:
    reply = alice.send("/meta/subscribe", subscription=["/a", bad, "/b"])
    assert reply["successful"] is False
    assert reply["subscription"] == ["/a", bad, "/b"]
    assert harness.server.statistics()["subscriptions"] == 0
    alice.subscribe("/c")
    assert not alice.send("/meta/unsubscribe", subscription=["/c", bad])["successful"]
    bob.publish("/a", 1)
    bob.publish("/c", 2)
    assert alice.poll() == [2]


def test_too_many_subscriptions_are_refused_as_a_whole() -> None:
    harness = Harness(limits=Limits(session_subscriptions=2))
    alice = harness.client("/a")
    reply = alice.subscribe("/b", "/c")
    assert reply["error"] == "403::More than 2 subscriptions"
    assert harness.server.statistics()["subscriptions"] == 1
    assert alice.subscribe("/b", "/a")["successful"]


def test_all_channels_but_meta_and_service_can_be_subscribed_to(
    alice: Client, bob: Client
) -> None:
    alice.subscribe("/**")
    bob.send("/meta/unsubscribe", subscription="/x")
    bob.publish("/service/a", 1)
    bob.publish("/service", 2)
    bob.publish("/services", 3)
    assert alice.poll() == [3]


@pytest.mark.parametrize("channel", ["/service/a", "/service/**", "/service"])
def test_service_subscriptions_are_accepted_and_not_recorded(
    harness: Harness, alice: Client, channel: str
) -> None:
    assert alice.subscribe(channel)["successful"]
    assert harness.server.statistics()["subscriptions"] == 0
    assert alice.send("/meta/unsubscribe", subscription=channel)["successful"]


@BOTH
def test_an_unknown_session_is_told_to_handshake(
    harness: Harness, alice: Client, verb: str
) -> None:
    reply = alice.send(f"/meta/{verb}", subscription="/a", clientId="nobody")
    assert reply["error"] == "402:nobody:Unknown client"
    assert reply["advice"] == {"reconnect": "handshake", "interval": 0}
    assert reply["subscription"] == "/a"


@BOTH
def test_no_session_is_refused(alice: Client, verb: str) -> None:
    reply = alice.send(f"/meta/{verb}", subscription="/a", clientId=None)
    assert reply["error"] == "401::No client ID"
    assert "advice" not in reply  # as on Faye's server: its connect gets the advice


def test_a_subscription_ends_with_its_session(
    harness: Harness, alice: Client, bob: Client
) -> None:
    alice.subscribe("/a")
    alice.send("/meta/disconnect")
    assert bob.publish("/a", 1)["successful"]
    assert harness.server.statistics()["queued_messages"] == 0
