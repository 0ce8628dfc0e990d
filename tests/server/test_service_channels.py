"""``/service/**``; specification, "Service Channels"."""

from typing import Any

import pytest

from txbayeux.message import Message

from .actors import Actor, World, now


def test_the_servers_listeners_hear_who_asks(world: World, alice: Actor) -> None:
    heard: list[Message] = []
    world.server.client().subscribe("/service/echo", heard.append)
    reply = alice.publish("/service/echo", {"x": 1}, id="e1", ext={"t": 1})
    assert reply == {"channel": "/service/echo", "successful": True, "id": "e1"}
    assert heard == [
        {
            "channel": "/service/echo",
            "data": {"x": 1},
            "id": "e1",
            "clientId": alice.id,
            "ext": {"t": 1},
        }
    ]


@pytest.mark.parametrize("channel", ["/service/a", "/service/a/b", "/service"])
def test_nobody_else_hears_it(
    world: World, alice: Actor, bob: Actor, channel: str
) -> None:
    local: list[Message] = []
    for pattern in ("/**", "/*", "/service/**", channel):
        bob.subscribe(pattern)
    world.server.client().subscribe("/**", local.append)
    assert alice.publish(channel, 1)["successful"]
    assert (bob.poll(), local) == ([], [])


def test_a_listener_answers_the_one_who_asked(
    world: World, alice: Actor, bob: Actor
) -> None:
    client = world.server.client()

    def echo(message: Message) -> None:
        client.deliver(message["clientId"], "/service/echo", message["data"])

    client.subscribe("/service/echo", echo)
    bob.subscribe("/service/echo")
    alice.publish("/service/echo", "hello")
    assert (alice.poll(), bob.poll()) == (["hello"], [])


def test_a_listeners_pattern_matches_as_any(world: World, alice: Actor) -> None:
    heard: list[Any] = []
    client = world.server.client()
    client.subscribe("/service/*", lambda message: heard.append(("*", message["data"])))
    client.subscribe(
        "/service/**", lambda message: heard.append(("**", message["data"]))
    )
    alice.publish("/service/a", 1)
    alice.publish("/service/a/b", 2)
    assert heard == [("*", 1), ("**", 1), ("**", 2)]


def test_a_cancelled_listener_hears_no_more(world: World, alice: Actor) -> None:
    heard: list[Message] = []
    subscription = world.server.client().subscribe("/service/a", heard.append)
    subscription.cancel()
    subscription.cancel()
    alice.publish("/service/a", 1)
    assert heard == []


def test_a_listener_that_raises_or_changes_its_message_harms_nobody(
    world: World, alice: Actor
) -> None:
    heard: list[Message] = []

    def fail(message: Message) -> None:
        message["channel"] = "/elsewhere"
        message["id"] = {"not": "an id"}
        raise RuntimeError("a listener's own fault")

    world.server.client().subscribe("/service/a", fail)
    world.server.client().subscribe("/service/*", heard.append)
    reply = alice.publish("/service/a", 1, id="x")
    assert reply == {"channel": "/service/a", "successful": True, "id": "x"}
    assert [message["data"] for message in heard] == [1]


def test_a_listener_may_publish(world: World, alice: Actor) -> None:
    alice.subscribe("/news")
    client = world.server.client()
    client.subscribe(
        "/service/ask", lambda message: client.publish("/news", message["data"])
    )
    now(client.publish("/service/ask", "local"))
    alice.publish("/service/ask", "remote")
    assert alice.poll() == ["local", "remote"]


@pytest.mark.parametrize("session", ["nobody", "", None])
def test_listeners_are_not_told_of_a_session_that_is_none(
    world: World, session: str | None
) -> None:
    heard: list[Message] = []
    world.server.client().subscribe("/service/a", heard.append)
    [reply] = world.send({"channel": "/service/a", "data": 1, "clientId": session})
    assert reply["successful"]
    assert heard == [{"channel": "/service/a", "data": 1}]
