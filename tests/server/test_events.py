"""Events of the server: which are emitted, when, and the reason of a session's end."""

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

from .harness import Client, Harness, result_of

KINDS = [Handshaken, Connected, Subscribed, Unsubscribed, Published, Disconnected]


def listen(harness: Harness, *kinds: type[Any]) -> list[Any]:
    received: list[Any] = []
    for kind in kinds or KINDS:
        harness.server.events.listen(kind, received.append)
    return received


def test_the_events_of_a_session(harness: Harness) -> None:
    received = listen(harness)
    alice = harness.client()
    alice.subscribe("/a", "/b/*")
    alice.connect(advice={"timeout": 0})
    alice.publish("/c", {"x": 1})
    alice.send("/meta/unsubscribe", subscription="/a")
    alice.send("/meta/disconnect")
    assert received == [
        Handshaken(alice.id, alice.request),
        Subscribed(alice.id, "/a"),
        Subscribed(alice.id, "/b/*"),
        Connected(alice.id, alice.request),
        Published(alice.id, "/c", {"x": 1}),
        Unsubscribed(alice.id, "/a"),
        Unsubscribed(alice.id, "/b/*"),
        Disconnected(alice.id, Reason.CLIENT),
    ]


def test_connected_is_emitted_when_the_connect_is_accepted(
    harness: Harness, alice: Client
) -> None:
    received = listen(harness, Connected)
    poll = alice.connect()
    assert poll.held
    assert received == [Connected(alice.id, alice.request)]
    harness.advance(100)
    assert len(received) == 1


def test_a_held_connect_can_be_cancelled_while_there_are_listeners(
    harness: Harness, alice: Client
) -> None:
    listen(harness, Connected)
    response = result_of(alice.process(alice.connect_message()))
    response.held.cancel()
    assert harness.server.statistics()["held"] == 0


def test_refused_messages_emit_no_event(harness: Harness, alice: Client) -> None:
    received = listen(harness)
    harness.send({"channel": "/meta/handshake", "version": "7"})
    alice.connect(clientId="nobody")
    alice.connect(connectionType="iframe")
    alice.subscribe("/meta/x")
    alice.send("/meta/subscribe", subscription="/a", clientId="nobody")
    alice.publish("/*", 1)
    alice.send("/a")
    alice.send("/meta/disconnect", clientId="nobody")
    assert received == []


def test_what_changes_nothing_emits_no_event(harness: Harness, alice: Client) -> None:
    alice.subscribe("/a")
    received = listen(harness, Subscribed, Unsubscribed)
    alice.subscribe("/a", "/a")
    alice.subscribe("/service/a")
    alice.send("/meta/unsubscribe", subscription="/b")
    assert received == []


@pytest.mark.parametrize("session", [None, "", "nobody\n", ...])
def test_a_publish_without_session_has_no_session_id(
    harness: Harness, session: Any
) -> None:
    received = listen(harness, Published)
    message = {"channel": "/a", "data": 1, "clientId": session}
    if session is ...:
        del message["clientId"]
    harness.send(message)
    result_of(harness.server.client().publish("/b", 2))
    assert received == [Published(None, "/a", 1), Published(None, "/b", 2)]


def test_the_reason_of_a_sessions_end(harness: Harness) -> None:
    small = Harness(limits=Limits(queue_messages=1))
    bob = small.client("/a")
    overflown = listen(small, Disconnected)
    bob.publish("/a", 1)
    bob.publish("/a", 2)
    assert overflown == [Disconnected(bob.id, Reason.KICKED)]

    received = listen(harness, Disconnected)
    alice = [harness.client() for _ in range(4)]
    alice[0].send("/meta/disconnect")
    result_of(harness.server.kick(alice[1].id))
    harness.advance(30)
    alice[2].connect(advice={"timeout": 0})
    harness.advance(40)
    result_of(harness.server.stop())
    assert received == [
        Disconnected(alice[0].id, Reason.CLIENT),
        Disconnected(alice[1].id, Reason.KICKED),
        Disconnected(alice[3].id, Reason.TIMEOUT),
        Disconnected(alice[2].id, Reason.SHUTDOWN),
    ]


def test_an_exception_in_a_listener_affects_nobody_else(harness: Harness) -> None:
    def fail(event: Event) -> None:
        raise RuntimeError("from a listener")

    for kind in KINDS:
        harness.server.events.listen(kind, fail)
    received = listen(harness)
    alice = harness.client("/a")
    assert alice.publish("/a", 1)["successful"]
    assert alice.poll() == [1]
    assert alice.send("/meta/disconnect")["successful"]
    assert [type(event) for event in received] == [
        Handshaken,
        Subscribed,
        Published,
        Connected,
        Unsubscribed,
        Disconnected,
    ]


def test_a_listener_may_end_the_session_of_its_event(harness: Harness) -> None:
    def kick(event: Event) -> None:
        harness.server.kick(event.session_id, "Not here")

    harness.server.events.listen(Connected, kick)
    alice = harness.client()
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


def test_the_server_can_end_one_subscription(
    harness: Harness, alice: Client, bob: Client
) -> None:
    received = listen(harness, Unsubscribed)
    for client in (alice, bob):
        client.subscribe("/a", "/b")
    assert result_of(harness.server.unsubscribe(alice.id, "/a")) is True
    assert result_of(harness.server.unsubscribe(alice.id, "/a")) is False
    assert received == [Unsubscribed(alice.id, "/a")]
    harness.server.client().publish("/a", 1)
    harness.server.client().publish("/b", 2)
    assert (alice.poll(), bob.poll()) == ([2], [1, 2])
    failed: list[Any] = []
    harness.server.unsubscribe("nobody", "/a").addErrback(failed.append)
    assert str(failed[0].value) == "402:nobody:Unknown client"


@pytest.mark.parametrize("end", ["timeout", "kicked", "shutdown"])
def test_a_session_that_ends_is_unsubscribed_first(
    harness: Harness, alice: Client, end: str
) -> None:
    """As Faye's server does it."""
    alice.subscribe("/b", "/a/**")
    received = listen(harness, Unsubscribed, Disconnected)
    if end == "timeout":
        harness.advance(200)
    elif end == "kicked":
        result_of(harness.server.kick(alice.id))
    else:
        result_of(harness.server.stop())
    assert received == [
        Unsubscribed(alice.id, "/a/**"),
        Unsubscribed(alice.id, "/b"),
        Disconnected(alice.id, Reason(end)),
    ]
