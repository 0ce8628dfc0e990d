"""``/meta/subscribe`` and ``/meta/unsubscribe``; specification, same names."""

from typing import Any

import pytest

from txbayeux.limits import Limits

from .actors import Actor, World

BOTH = pytest.mark.parametrize("verb", ["subscribe", "unsubscribe"])


@BOTH
@pytest.mark.parametrize("subscription", ["/a", "/a/*", ["/a"], ["/a", "/b/**"]])
def test_the_reply_names_what_was_asked_for(
    alice: Actor, verb: str, subscription: Any
) -> None:
    assert alice.ask(f"/meta/{verb}", subscription=subscription, id="s1") == {
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
def test_a_subscriber_hears_what_its_pattern_matches(
    alice: Actor, bob: Actor, pattern: str, hears: list[str]
) -> None:
    alice.subscribe(pattern)
    for channel in ["/foo/bar", "/foo/boo", "/foo", "/foobar", "/foo/bar/boo"]:
        bob.publish(channel, channel)
    assert alice.poll() == hears


def test_several_subscriptions_that_match_bring_one_copy(
    alice: Actor, bob: Actor
) -> None:
    alice.subscribe("/a/b", "/a/*", "/a/**", "/**")
    alice.subscribe("/a/b")
    bob.publish("/a/b", 1)
    assert alice.poll() == [1]


def test_repeating_a_subscription_changes_nothing(
    world: World, alice: Actor, bob: Actor
) -> None:
    for _ in range(3):
        assert alice.subscribe("/a", "/a")["successful"]
    bob.publish("/a", 1)
    assert alice.poll() == [1]
    assert world.server.statistics()["subscriptions"] == 1
    alice.ask("/meta/unsubscribe", subscription="/a")
    bob.publish("/a", 2)
    assert alice.poll() == []


def test_unsubscribing_from_what_was_not_subscribed_succeeds(alice: Actor) -> None:
    assert alice.ask("/meta/unsubscribe", subscription="/a")["successful"]


@BOTH
@pytest.mark.parametrize("value", [None, []])
def test_a_missing_subscription_is_refused(alice: Actor, verb: str, value: Any) -> None:
    reply = alice.ask(f"/meta/{verb}", subscription=value)
    assert reply["error"] == "400:subscription:Missing required parameter"
    assert reply["subscription"] == value


@BOTH
@pytest.mark.parametrize("value", [7, True, {}, {"a": 1}, 1.5, [[]], [["/a"]], [None]])
def test_a_subscription_of_a_wrong_type_is_refused(
    alice: Actor, verb: str, value: Any
) -> None:
    reply = alice.ask(f"/meta/{verb}", subscription=value)
    assert reply["error"] == "400:subscription:Invalid parameter"


@BOTH
@pytest.mark.parametrize(
    "value", ["", "a", "/", "//", "/a/", "/*/a", "/a*", "/***", "/a b", "/é", "/a\n"]
)
def test_what_is_no_name_or_pattern_is_refused(
    alice: Actor, verb: str, value: str
) -> None:
    reply = alice.ask(f"/meta/{verb}", subscription=value)
    assert reply["error"].startswith("405:")
    assert reply["subscription"] == value


@BOTH
@pytest.mark.parametrize(
    "value", ["/meta/connect", "/meta/*", "/meta/**", "/meta", "/META/x", "/Meta/**"]
)
def test_meta_channels_are_refused(alice: Actor, verb: str, value: str) -> None:
    reply = alice.ask(f"/meta/{verb}", subscription=value)
    assert reply["error"] == f"403:{value}:Forbidden channel"


@pytest.mark.parametrize("bad", ["/meta/x", "no", 7, None, "/a/"])
def test_a_list_is_applied_whole_or_not_at_all(
    world: World, alice: Actor, bob: Actor, bad: Any
) -> None:
    reply = alice.ask("/meta/subscribe", subscription=["/a", bad, "/b"])
    assert reply["successful"] is False
    assert reply["subscription"] == ["/a", bad, "/b"]
    assert world.server.statistics()["subscriptions"] == 0
    alice.subscribe("/c")
    assert not alice.ask("/meta/unsubscribe", subscription=["/c", bad])["successful"]
    bob.publish("/a", 1)
    bob.publish("/c", 2)
    assert alice.poll() == [2]


def test_too_many_are_refused_as_a_whole() -> None:
    world = World(limits=Limits(session_subscriptions=2))
    alice = world.actor("/a")
    reply = alice.subscribe("/b", "/c")
    assert reply["error"] == "403::More than 2 subscriptions"
    assert world.server.statistics()["subscriptions"] == 1
    assert alice.subscribe("/b", "/a")["successful"]


def test_everything_but_meta_and_service_can_be_heard(alice: Actor, bob: Actor) -> None:
    alice.subscribe("/**")
    bob.ask("/meta/unsubscribe", subscription="/x")
    bob.publish("/service/a", 1)
    bob.publish("/service", 2)
    bob.publish("/services", 3)
    assert alice.poll() == [3]


@pytest.mark.parametrize("channel", ["/service/a", "/service/**", "/service"])
def test_service_subscriptions_are_accepted_and_not_recorded(
    world: World, alice: Actor, channel: str
) -> None:
    assert alice.subscribe(channel)["successful"]
    assert world.server.statistics()["subscriptions"] == 0
    assert alice.ask("/meta/unsubscribe", subscription=channel)["successful"]


@BOTH
def test_an_unknown_session_is_told_to_handshake(
    world: World, alice: Actor, verb: str
) -> None:
    reply = alice.ask(f"/meta/{verb}", subscription="/a", clientId="nobody")
    assert reply["error"] == "402:nobody:Unknown client"
    assert reply["advice"] == {"reconnect": "handshake", "interval": 0}
    assert reply["subscription"] == "/a"


@BOTH
def test_no_session_is_refused(alice: Actor, verb: str) -> None:
    reply = alice.ask(f"/meta/{verb}", subscription="/a", clientId=None)
    assert reply["error"] == "401::No client ID"


def test_a_subscription_ends_with_its_session(
    world: World, alice: Actor, bob: Actor
) -> None:
    alice.subscribe("/a")
    alice.ask("/meta/disconnect")
    assert bob.publish("/a", 1)["successful"]
    assert world.server.statistics()["queued_messages"] == 0
