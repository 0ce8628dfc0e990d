"""Messages on ``/service/**``; specification, "Service Channels"."""

from typing import Any

import pytest

from txbayeux.message import Message

from .harness import Client, Harness, result_of


def test_listeners_get_the_publishers_session(harness: Harness, alice: Client) -> None:
    received: list[Message] = []
    harness.server.client().subscribe("/service/echo", received.append)
    reply = alice.publish("/service/echo", {"x": 1}, id="e1", ext={"t": 1})
    assert reply == {"channel": "/service/echo", "successful": True, "id": "e1"}
    assert received == [
        {
            "channel": "/service/echo",
            "data": {"x": 1},
            "id": "e1",
            "clientId": alice.id,
            "ext": {"t": 1},
        }
    ]


@pytest.mark.parametrize("channel", ["/service/a", "/service/a/b", "/service"])
def test_no_subscriber_gets_a_service_message(
    harness: Harness, alice: Client, bob: Client, channel: str
) -> None:
    local: list[Message] = []
    for pattern in ("/**", "/*", "/service/**", channel):
        bob.subscribe(pattern)
    harness.server.client().subscribe("/**", local.append)
    assert alice.publish(channel, 1)["successful"]
    assert (bob.poll(), local) == ([], [])


def test_a_listener_can_answer_the_publisher_alone(
    harness: Harness, alice: Client, bob: Client
) -> None:
    client = harness.server.client()

    def echo(message: Message) -> None:
        client.deliver(message["clientId"], "/service/echo", message["data"])

    client.subscribe("/service/echo", echo)
    bob.subscribe("/service/echo")
    alice.publish("/service/echo", "hello")
    assert (alice.poll(), bob.poll()) == (["hello"], [])


def test_a_listener_may_use_a_pattern(harness: Harness, alice: Client) -> None:
    received: list[Any] = []
    client = harness.server.client()
    client.subscribe(
        "/service/*", lambda message: received.append(("*", message["data"]))
    )
    client.subscribe(
        "/service/**", lambda message: received.append(("**", message["data"]))
    )
    alice.publish("/service/a", 1)
    alice.publish("/service/a/b", 2)
    assert received == [("*", 1), ("**", 1), ("**", 2)]


def test_a_cancelled_listener_gets_no_more_messages(
    harness: Harness, alice: Client
) -> None:
    received: list[Message] = []
    subscription = harness.server.client().subscribe("/service/a", received.append)
    subscription.cancel()
    subscription.cancel()
    alice.publish("/service/a", 1)
    assert received == []


def test_a_listener_that_raises_or_changes_its_message_affects_nobody_else(
    harness: Harness, alice: Client
) -> None:
    received: list[Message] = []

    def fail(message: Message) -> None:
        message["channel"] = "/elsewhere"
        message["id"] = {"not": "an id"}
        raise RuntimeError("from a listener")

    harness.server.client().subscribe("/service/a", fail)
    harness.server.client().subscribe("/service/*", received.append)
    reply = alice.publish("/service/a", 1, id="x")
    assert reply == {"channel": "/service/a", "successful": True, "id": "x"}
    assert [message["data"] for message in received] == [1]


def test_a_listener_may_publish(harness: Harness, alice: Client) -> None:
    alice.subscribe("/news")
    client = harness.server.client()
    client.subscribe(
        "/service/ask", lambda message: client.publish("/news", message["data"])
    )
    result_of(client.publish("/service/ask", "local"))
    alice.publish("/service/ask", "remote")
    assert alice.poll() == ["local", "remote"]


def test_one_listener_may_be_added_twice(harness: Harness, alice: Client) -> None:
    received: list[Message] = []
    client = harness.server.client()
    registrations = [client.subscribe("/service/a", received.append) for _ in "ab"]
    alice.publish("/service/a", 1)
    assert len(received) == 2
    registrations[0].cancel()
    alice.publish("/service/a", 2)
    assert len(received) == 3


@pytest.mark.parametrize("session", ["nobody", "", None])
def test_listeners_get_no_session_that_does_not_exist(
    harness: Harness, session: str | None
) -> None:
    received: list[Message] = []
    harness.server.client().subscribe("/service/a", received.append)
    [reply] = harness.send({"channel": "/service/a", "data": 1, "clientId": session})
    assert reply["successful"]
    assert received == [{"channel": "/service/a", "data": 1}]
