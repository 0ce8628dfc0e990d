"""Published messages; specification, "Publish" and "Delivery"."""

from typing import Any

import pytest
from twisted.internet.defer import fail

from txbayeux.errors import unavailable

from .harness import Client, Harness


def test_the_reply_is_neither_a_delivery_nor_more_than_it_must(alice: Client) -> None:
    reply = alice.publish("/a", {"secret": 1}, id="p1", ext={"token": "t"})
    assert reply == {"channel": "/a", "successful": True, "id": "p1"}


def test_subscribers_get_channel_data_and_id_only(
    harness: Harness, alice: Client, bob: Client
) -> None:
    alice.subscribe("/a")
    bob.publish(
        "/a",
        {"x": [1, None]},
        id="p1",
        ext={"token": "secret"},
        advice={"timeout": 0},
        successful=True,
        error="no",
        whatever="else",
    )
    [message] = alice.connect().messages
    assert message == {"channel": "/a", "data": {"x": [1, None]}, "id": "p1"}


def test_messages_come_in_the_order_they_were_published(
    alice: Client, bob: Client, carol: Client
) -> None:
    alice.subscribe("/**")
    for n in range(50):
        (bob if n % 3 else carol).publish("/a" if n % 2 else "/b", n)
    assert alice.poll() == list(range(50))


def test_a_publisher_that_is_subscribed_gets_its_own(alice: Client) -> None:
    alice.subscribe("/a")
    alice.publish("/a", 1)
    assert alice.poll() == [1]


@pytest.mark.parametrize("data", [None, 0, "", False, [], {}, 0.0, "\u2028", "🎉"])
def test_any_data_is_data(alice: Client, data: object) -> None:
    alice.subscribe("/a")
    assert alice.publish("/a", data)["successful"]
    assert alice.poll() == [data]


def test_missing_data_is_refused(harness: Harness, alice: Client) -> None:
    alice.subscribe("/a")
    reply = alice.send("/a", id="p1")
    assert reply == {
        "channel": "/a",
        "successful": False,
        "id": "p1",
        "error": "400:data:Missing required parameter",
    }
    assert alice.poll() == []


@pytest.mark.parametrize("channel", ["/*", "/**", "/a/*", "/a/**"])
def test_a_pattern_is_refused(alice: Client, channel: str) -> None:
    alice.subscribe("/**")
    reply = alice.publish(channel, 1)
    assert reply["error"] == f"405:{channel}:Invalid channel"
    assert alice.poll() == []


@pytest.mark.parametrize(
    "channel", ["", "a", "/", "/a/", "//a", "/a b", "/a\n", "/é", "/a" * 65, "/a\0"]
)
def test_what_is_no_channel_is_refused(alice: Client, channel: str) -> None:
    alice.subscribe("/**")
    reply = alice.publish(channel, 1)
    assert (reply["successful"], reply["channel"]) == (False, channel)
    assert reply["error"].startswith("405:")
    assert alice.poll() == []


@pytest.mark.parametrize("identity", ["1", "x", 7, "a" * 256])
def test_an_id_is_echoed_and_passed_on(alice: Client, identity: Any) -> None:
    alice.subscribe("/a")
    assert alice.publish("/a", 1, id=identity)["id"] == identity
    assert alice.connect().messages[0]["id"] == identity


@pytest.mark.parametrize("identity", [None, True, 1.5, [], {}, "a" * 257, 2**63])
def test_an_invalid_id_is_ignored(alice: Client, identity: Any) -> None:
    alice.subscribe("/a")
    assert "id" not in alice.publish("/a", 1, id=identity)
    assert "id" not in alice.connect().messages[0]


@pytest.mark.parametrize("session", [..., None, "", "unknown"])
def test_a_publish_needs_no_session(
    harness: Harness, alice: Client, session: Any
) -> None:
    alice.subscribe("/a")
    message = {"channel": "/a", "data": 1, "clientId": session}
    if session is ...:
        del message["clientId"]
    [reply] = harness.send(message)
    assert reply == {"channel": "/a", "successful": True}
    assert alice.poll() == [1]


@pytest.mark.parametrize("session", [7, True, [], {}])
def test_a_session_of_a_wrong_type_is_refused(alice: Client, session: Any) -> None:
    reply = alice.publish("/a", 1, clientId=session)
    assert reply["error"] == "400:clientId:Invalid parameter"


@pytest.mark.parametrize("channel", ["/a", "/service/a"])
@pytest.mark.parametrize(
    ("session", "error", "advice"),
    [
        (None, "401::No client ID", None),
        ("", "401::No client ID", None),
        (
            "gone",
            "402:gone:Unknown client",
            {"reconnect": "handshake", "interval": 0},
        ),
    ],
)
def test_a_session_can_be_required(
    channel: str, session: Any, error: str, advice: Any
) -> None:
    harness = Harness(publish_without_session=False)
    alice, received = harness.client("/**"), list[Any]()
    harness.server.client().subscribe("/service/a", received.append)
    reply = alice.publish(channel, 1, clientId=session)
    assert (reply["successful"], reply["error"]) == (False, error)
    assert reply.get("advice") == advice
    assert alice.publish(channel, 2)["successful"]
    assert alice.poll() + [message["data"] for message in received] == [2]


def test_queued_messages_are_not_shared_with_other_sessions(
    alice: Client, bob: Client, carol: Client
) -> None:
    alice.subscribe("/a")
    bob.subscribe("/b")
    carol.publish("/a", 1)
    assert (bob.poll(), alice.poll()) == ([], [1])


def test_an_unreachable_engine_refuses_a_publish(
    harness: Harness, alice: Client
) -> None:
    harness.engine.publish = lambda *_: fail(unavailable())  # type: ignore[method-assign]
    reply = alice.publish("/a", 1, id="p1")
    assert reply == {
        "channel": "/a",
        "successful": False,
        "id": "p1",
        "error": "503::Service temporarily unavailable",
    }
