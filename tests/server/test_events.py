"""The service's events: who hears what, when, and why a session ended."""

from typing import Any

import pytest

from txbayeux.events import (
    Connected,
    Disconnected,
    Event,
    Events,
    Handshaken,
    Published,
    Reason,
    Subscribed,
    Unsubscribed,
)
from txbayeux.limits import Limits

from .actors import Actor, World, now

KINDS = [Handshaken, Connected, Subscribed, Unsubscribed, Published, Disconnected]


def listen(world: World, *kinds: type[Any]) -> list[Any]:
    heard: list[Any] = []
    for kind in kinds or KINDS:
        world.server.events.listen(kind, heard.append)
    return heard


def test_a_sessions_life(world: World) -> None:
    heard = listen(world)
    alice = world.actor()
    alice.subscribe("/a", "/b/*")
    alice.connect(advice={"timeout": 0})
    alice.publish("/c", {"x": 1})
    alice.ask("/meta/unsubscribe", subscription="/a")
    alice.ask("/meta/disconnect")
    assert heard == [
        Handshaken(alice.id, alice.request),
        Subscribed(alice.id, "/a"),
        Subscribed(alice.id, "/b/*"),
        Connected(alice.id, alice.request),
        Published(alice.id, "/c", {"x": 1}),
        Unsubscribed(alice.id, "/a"),
        Disconnected(alice.id, Reason.CLIENT),
    ]


def test_a_connect_is_told_when_it_is_accepted_not_when_it_is_answered(
    world: World, alice: Actor
) -> None:
    heard = listen(world, Connected)
    poll = alice.connect()
    assert poll.held
    assert heard == [Connected(alice.id, alice.request)]
    world.advance(100)
    assert len(heard) == 1


def test_a_held_connect_can_be_withdrawn_while_somebody_listens(
    world: World, alice: Actor
) -> None:
    listen(world, Connected)
    response = now(alice.begin(alice.connect_message()))
    response.held.cancel()
    assert world.server.statistics()["held"] == 0


def test_nothing_is_told_of_what_was_refused(world: World, alice: Actor) -> None:
    heard = listen(world)
    world.send({"channel": "/meta/handshake", "version": "7"})
    alice.connect(clientId="nobody")
    alice.connect(connectionType="iframe")
    alice.subscribe("/meta/x")
    alice.ask("/meta/subscribe", subscription="/a", clientId="nobody")
    alice.publish("/*", 1)
    alice.ask("/a")
    alice.ask("/meta/disconnect", clientId="nobody")
    assert heard == []


def test_nothing_is_told_of_what_changed_nothing(world: World, alice: Actor) -> None:
    alice.subscribe("/a")
    heard = listen(world, Subscribed, Unsubscribed)
    alice.subscribe("/a", "/a")
    alice.subscribe("/service/a")
    alice.ask("/meta/unsubscribe", subscription="/b")
    assert heard == []


@pytest.mark.parametrize("session", [None, "", "nobody\n", ...])
def test_a_message_without_a_session_has_none(world: World, session: Any) -> None:
    heard = listen(world, Published)
    message = {"channel": "/a", "data": 1, "clientId": session}
    if session is ...:
        del message["clientId"]
    world.send(message)
    now(world.server.client().publish("/b", 2))
    assert heard == [Published(None, "/a", 1), Published(None, "/b", 2)]


def test_why_a_session_ended(world: World) -> None:
    small = World(limits=Limits(queue_messages=1))
    bob = small.actor("/a")
    overflown = listen(small, Disconnected)
    bob.publish("/a", 1)
    bob.publish("/a", 2)
    assert overflown == [Disconnected(bob.id, Reason.KICKED)]

    heard = listen(world, Disconnected)
    alice = [world.actor() for _ in range(4)]
    alice[0].ask("/meta/disconnect")
    now(world.server.kick(alice[1].id))
    world.advance(30)
    alice[2].connect(advice={"timeout": 0})
    world.advance(40)
    now(world.server.stop())
    assert heard == [
        Disconnected(alice[0].id, Reason.CLIENT),
        Disconnected(alice[1].id, Reason.KICKED),
        Disconnected(alice[3].id, Reason.TIMEOUT),
        Disconnected(alice[2].id, Reason.SHUTDOWN),
    ]


def test_a_listener_that_raises_harms_nobody(world: World) -> None:
    def fail(event: Event) -> None:
        raise RuntimeError("a listener's own fault")

    for kind in KINDS:
        world.server.events.listen(kind, fail)
    heard = listen(world)
    alice = world.actor("/a")
    assert alice.publish("/a", 1)["successful"]
    assert alice.poll() == [1]
    assert alice.ask("/meta/disconnect")["successful"]
    assert [type(event) for event in heard] == [
        Handshaken,
        Subscribed,
        Published,
        Connected,
        Disconnected,
    ]


def test_a_listener_may_end_the_session_it_hears_of(world: World) -> None:
    def kick(event: Event) -> None:
        world.server.kick(event.session_id, "Not here")

    world.server.events.listen(Connected, kick)
    alice = world.actor()
    assert alice.connect().reply["error"] == f"402:{alice.id}:Not here"


def test_a_cancelled_listener_is_not_called_again() -> None:
    events, got = Events(), list[Any]()
    first = events.listen(Subscribed, got.append)
    second = events.listen(Subscribed, got.append)
    assert events.has_listeners(Subscribed)
    assert not events.has_listeners(Unsubscribed)
    first.cancel()
    first.cancel()
    events.emit(Subscribed("s", "/a"))
    assert got == [Subscribed("s", "/a")]
    second.cancel()
    assert not events.has_listeners(Subscribed)
    events.emit(Subscribed("s", "/b"))
    assert len(got) == 1


def test_a_listener_may_cancel_itself_and_others() -> None:
    events, got = Events(), list[Any]()

    def cancel(event: Event) -> None:
        got.append(event)
        first.cancel()
        second.cancel()

    first = events.listen(Subscribed, cancel)
    second = events.listen(Subscribed, got.append)
    third = events.listen(Subscribed, got.append)
    events.emit(Subscribed("s", "/a"))
    third.cancel()
    events.emit(Subscribed("s", "/b"))
    assert set(got) == {Subscribed("s", "/a")}
