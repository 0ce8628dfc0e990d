"""``server.client()``: publishing and subscribing in the process."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from txbayeux.errors import BayeuxError, UnknownSession
from txbayeux.extension import Extension
from txbayeux.message import Message

from .actors import Actor, World, now


def failed(deferred: Deferred[Any]) -> Any:
    failures: list[Any] = []
    deferred.addErrback(failures.append)
    assert failures, "it has not failed"
    return failures[0].value


def test_it_publishes_to_remote_and_local_subscribers(
    world: World, alice: Actor
) -> None:
    heard: list[Message] = []
    client = world.server.client()
    client.subscribe("/a", heard.append)
    alice.subscribe("/a")
    assert now(client.publish("/a", {"n": 1})) is None
    assert heard == []
    assert alice.poll() == [{"n": 1}]
    assert heard == [{"channel": "/a", "data": {"n": 1}}]


def test_it_hears_remote_publishers_in_order(world: World, alice: Actor) -> None:
    heard: list[Message] = []
    world.server.client().subscribe("/a/**", heard.append)
    for n in range(5):
        alice.publish("/a/b", n, id=str(n), ext={"token": "t"})
    world.settle()
    assert heard == [{"channel": "/a/b", "data": n, "id": str(n)} for n in range(5)]


def test_listeners_do_not_share_what_they_change(world: World, alice: Actor) -> None:
    client, heard = world.server.client(), list[Any]()
    client.subscribe("/a", lambda message: message["data"].clear())
    client.subscribe("/*", lambda message: heard.append(message["data"]))
    alice.publish("/a", [1])
    world.settle()
    assert heard == [[1]]


def test_a_cancelled_subscription_hears_no_more(world: World, alice: Actor) -> None:
    heard: list[Message] = []
    client = world.server.client()
    first = client.subscribe("/a", heard.append)
    client.subscribe("/a", heard.append)
    first.cancel()
    first.cancel()
    alice.publish("/a", 1)
    world.settle()
    assert len(heard) == 1


@pytest.mark.parametrize("channel", ["", "/", "/a/", "no", "/*/a", "/a\n"])
def test_what_is_no_channel_is_refused(world: World, channel: str) -> None:
    client = world.server.client()
    with pytest.raises(BayeuxError, match=r"^405:"):
        client.subscribe(channel, print)
    assert failed(client.publish(channel, 1)).code == 405
    assert failed(client.deliver("x", channel, 1)).code == 405


def test_a_pattern_and_a_meta_channel_take_no_message(
    world: World, alice: Actor
) -> None:
    client = world.server.client()
    assert failed(client.publish("/a/*", 1)).code == 405
    assert failed(client.publish("/meta/x", 1)).code == 403
    assert failed(client.deliver(alice.id, "/meta/x", 1)).code == 405


def test_it_delivers_to_one_session(world: World, alice: Actor, bob: Actor) -> None:
    client = world.server.client()
    bob.subscribe("/a")
    now(client.deliver(alice.id, "/a", 1))
    assert (alice.poll(), bob.poll()) == ([1], [])
    assert isinstance(failed(client.deliver("gone", "/a", 1)), UnknownSession)


def test_it_needs_no_session_where_others_do() -> None:
    world = World(publish_without_session=False)
    alice = world.actor("/a")
    now(world.server.client().publish("/a", 1))
    assert alice.poll() == [1]


def test_it_passes_the_incoming_extensions_with_no_request(alice: Actor) -> None:
    requests: list[Any] = []

    class Guard(Extension):
        def incoming(self, message: Message, request: Any) -> Message:
            requests.append(request)
            if message.get("data") == "bad":
                message["error"] = "403::No"
            return message

    world = World(Guard())
    client = world.server.client()
    now(client.publish("/a", "good"))
    assert str(failed(client.publish("/a", "bad"))) == "403::No"
    assert requests == [None, None]


def test_it_waits_for_an_extension() -> None:
    gates: list[Deferred[Any]] = []

    class Slow(Extension):
        def incoming(self, message: Message, request: Any) -> Any:
            gates.append(Deferred())
            return gates[-1]

    world = World(Slow())
    done: list[Any] = []
    world.server.client().publish("/a", 1).addBoth(done.append)
    assert done == []
    gates[0].callback({"channel": "/a", "data": 2})
    assert done == [None]


def test_what_json_cannot_hold_fails(world: World) -> None:
    assert failed(world.server.client().publish("/a", object())).code == 500
    client, alice = world.server.client(), world.actor()
    assert isinstance(failed(client.deliver(alice.id, "/a", object())), TypeError)
    assert isinstance(failed(client.deliver("x", "/a", "\ud800")), UnicodeEncodeError)
