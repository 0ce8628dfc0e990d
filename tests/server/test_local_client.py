"""``server.client()`` publishes and subscribes in the server's process."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from txbayeux.errors import BayeuxError, UnknownSession
from txbayeux.extension import Extension
from txbayeux.message import Message

from .harness import Client, Harness, result_of


def failed(deferred: Deferred[Any]) -> Any:
    failures: list[Any] = []
    deferred.addErrback(failures.append)
    assert failures, "it has not failed"
    return failures[0].value


def test_it_publishes_to_remote_and_local_subscribers(
    harness: Harness, alice: Client
) -> None:
    received: list[Message] = []
    client = harness.server.client()
    client.subscribe("/a", received.append)
    alice.subscribe("/a")
    assert result_of(client.publish("/a", {"n": 1})) is None
    assert received == []
    assert alice.poll() == [{"n": 1}]
    assert received == [{"channel": "/a", "data": {"n": 1}}]


def test_it_gets_messages_of_remote_publishers_in_order(
    harness: Harness, alice: Client
) -> None:
    received: list[Message] = []
    harness.server.client().subscribe("/a/**", received.append)
    for n in range(5):
        alice.publish("/a/b", n, id=str(n), ext={"token": "t"})
    harness.settle()
    assert received == [{"channel": "/a/b", "data": n, "id": str(n)} for n in range(5)]


def test_listeners_do_not_share_what_they_change(
    harness: Harness, alice: Client
) -> None:
    client, received = harness.server.client(), list[Any]()
    client.subscribe("/a", lambda message: message["data"].clear())
    client.subscribe("/*", lambda message: received.append(message["data"]))
    alice.publish("/a", [1])
    harness.settle()
    assert received == [[1]]


def test_a_cancelled_subscription_gets_no_more_messages(
    harness: Harness, alice: Client
) -> None:
    received: list[Message] = []
    client = harness.server.client()
    first = client.subscribe("/a", received.append)
    client.subscribe("/a", received.append)
    first.cancel()
    first.cancel()
    alice.publish("/a", 1)
    harness.settle()
    assert len(received) == 1


@pytest.mark.parametrize("channel", ["/a", "/service/a"])
def test_a_listener_may_be_a_coroutine_function(
    harness: Harness, alice: Client, channel: str
) -> None:
    gate: Deferred[None] = Deferred()
    received: list[Any] = []

    async def listener(message: Message) -> None:
        await gate
        received.append(message["data"])
        raise ValueError("logged")

    harness.server.client().subscribe(channel, listener)
    alice.publish(channel, 1)
    harness.settle()
    assert received == []
    with capturedLogs() as log:
        gate.callback(None)
    assert received == [1]
    assert log[0]["log_failure"].check(ValueError)
    assert log[0]["purpose"] == channel


@pytest.mark.parametrize("channel", ["", "/", "/a/", "no", "/*/a", "/a\n"])
def test_what_is_no_channel_is_refused(harness: Harness, channel: str) -> None:
    client = harness.server.client()
    with pytest.raises(BayeuxError, match=r"^405:"):
        client.subscribe(channel, print)
    assert failed(client.publish(channel, 1)).code == 405
    assert failed(client.deliver("x", channel, 1)).code == 405


def test_patterns_and_meta_channels_cannot_be_published_to(
    harness: Harness, alice: Client
) -> None:
    client = harness.server.client()
    assert failed(client.publish("/a/*", 1)).code == 405
    assert failed(client.publish("/meta/x", 1)).code == 403
    assert failed(client.deliver(alice.id, "/meta/x", 1)).code == 405


def test_it_delivers_to_one_session(
    harness: Harness, alice: Client, bob: Client
) -> None:
    client = harness.server.client()
    bob.subscribe("/a")
    result_of(client.deliver(alice.id, "/a", 1))
    assert (alice.poll(), bob.poll()) == ([1], [])
    assert isinstance(failed(client.deliver("gone", "/a", 1)), UnknownSession)


def test_it_needs_no_session_where_others_do() -> None:
    harness = Harness(publish_without_session=False)
    alice = harness.client("/a")
    result_of(harness.server.client().publish("/a", 1))
    assert alice.poll() == [1]


def test_it_passes_the_incoming_extensions_with_no_request(alice: Client) -> None:
    requests: list[Any] = []

    class Guard(Extension):
        def incoming(self, message: Message, request: Any) -> Message:
            requests.append(request)
            if message.get("data") == "bad":
                message["error"] = "403::No"
            return message

    harness = Harness(Guard())
    client = harness.server.client()
    result_of(client.publish("/a", "good"))
    assert str(failed(client.publish("/a", "bad"))) == "403::No"
    assert requests == [None, None]


def test_it_waits_for_an_extension() -> None:
    gates: list[Deferred[Any]] = []

    class Slow(Extension):
        def incoming(self, message: Message, request: Any) -> Any:
            gates.append(Deferred())
            return gates[-1]

    harness = Harness(Slow())
    done: list[Any] = []
    harness.server.client().publish("/a", 1).addBoth(done.append)
    assert done == []
    gates[0].callback({"channel": "/a", "data": 2})
    assert done == [None]


def test_data_that_json_cannot_represent_fails(harness: Harness) -> None:
    assert failed(harness.server.client().publish("/a", object())).code == 500
    client, alice = harness.server.client(), harness.client()
    assert isinstance(failed(client.deliver(alice.id, "/a", object())), TypeError)
    assert isinstance(failed(client.deliver("x", "/a", "\ud800")), UnicodeEncodeError)
