"""Several messages in one request; specification, "Messages"."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from txbayeux.extension import Extension
from txbayeux.message import Message, decode, encode_list

from .harness import Client, Harness, messages_of, result_of

NOT_MESSAGES: list[Any] = [None, True, False, 0, -1, 1.5, "", "x", [], [[]], [{}]]
NOT_CHANNELS: list[Any] = [None, True, 0, 1.5, [], ["/a"], {}, {"/a": 1}]


def test_replies_come_in_the_order_of_the_request(
    harness: Harness, alice: Client
) -> None:
    replies = harness.send(
        alice.message("/a", data=1, id="1"),
        alice.message("/meta/subscribe", subscription="/a", id="2"),
        alice.message("/*", data=1, id="3"),
        alice.message("/meta/unsubscribe", subscription="/a", id="4"),
        {"channel": "/b", "data": None, "id": "5"},
        alice.message("/meta/disconnect", id="6"),
    )
    assert [reply["id"] for reply in replies] == ["1", "2", "3", "4", "5", "6"]
    successful = [reply["successful"] for reply in replies]
    assert successful == [True, True, False, True, True, True]


def test_messages_of_a_batch_take_effect_in_order(
    harness: Harness, alice: Client, bob: Client
) -> None:
    harness.send(
        alice.message("/a", data=1),
        alice.message("/meta/subscribe", subscription="/a"),
        bob.message("/a", data=2),
        alice.message("/meta/unsubscribe", subscription="/a"),
        bob.message("/a", data=3),
    )
    assert alice.poll() == [2]


def test_an_empty_list_is_answered_with_an_empty_list(harness: Harness) -> None:
    assert harness.send() == []


def test_other_messages_beside_a_handshake_are_ignored(harness: Harness) -> None:
    bob = harness.client("/a")
    handshake = {
        "channel": "/meta/handshake",
        "version": "1.0",
        "supportedConnectionTypes": ["long-polling"],
    }
    for messages in (
        [handshake, {"channel": "/a", "data": 1}],
        [{"channel": "/a", "data": 1}, handshake, None],
        [handshake, bob.message("/meta/disconnect")],
        [handshake, handshake],
    ):
        [reply] = harness.send(*messages)
        assert (reply["channel"], reply["successful"]) == ("/meta/handshake", True)
    assert bob.poll() == []


def test_a_connect_in_a_batch_is_answered_at_once(
    harness: Harness, alice: Client
) -> None:
    replies = harness.send(
        alice.connect_message(id="1"),
        alice.message("/meta/subscribe", subscription="/a", id="2"),
    )
    assert [reply["id"] for reply in replies] == ["1", "2"]
    replies = harness.send(
        alice.message("/a", data=1, id="3"), alice.connect_message(id="4")
    )
    assert [reply["id"] for reply in replies] == ["3", "4"]


def test_messages_precede_the_connect_reply_they_go_with(
    harness: Harness, alice: Client
) -> None:
    alice.subscribe("/a")
    alice.publish("/a", 1)
    response = result_of(
        alice.process(
            alice.message("/b", data=2, id="p"), alice.connect_message(id="c")
        )
    )
    channels = [item["channel"] for item in messages_of(response.items)]
    assert channels == ["/b", "/a", "/meta/connect"]


def test_two_connects_in_a_batch_return_their_messages(harness: Harness) -> None:
    alice, bob = harness.client("/a"), harness.client("/a")
    alice.publish("/a", 1)
    response = result_of(alice.process(alice.connect_message(), bob.connect_message()))
    assert len(response.items) == 4
    response.give_back()
    assert (alice.poll(), bob.poll()) == ([1], [1])


def test_two_connects_of_one_session_return_their_messages_in_order(
    harness: Harness,
) -> None:
    alice = harness.client("/a")
    alice.publish("/a", 1)
    response = result_of(
        alice.process(
            alice.connect_message(),
            alice.message("/a", data=2),
            alice.connect_message(),
        )
    )
    assert len(response.items) == 5
    response.give_back()
    assert alice.poll() == [1, 2]


@pytest.mark.parametrize("item", NOT_MESSAGES)
def test_an_invalid_message_is_answered_and_others_are_processed(
    harness: Harness, alice: Client, item: Any
) -> None:
    alice.subscribe("/a")
    replies = harness.send(item, alice.message("/a", data=1, id="x"), item)
    assert [reply["successful"] for reply in replies] == [False, True, False]
    assert replies[0]["error"].startswith("400:")
    assert alice.poll() == [1]


@pytest.mark.parametrize("channel", NOT_CHANNELS)
def test_an_invalid_channel_is_answered(harness: Harness, channel: Any) -> None:
    [reply] = harness.send({"channel": channel, "data": 1, "id": "x"})
    assert (reply["successful"], reply["id"]) == (False, "x")
    assert reply["error"].startswith("400:channel:")
    [reply] = harness.send({"data": 1})
    assert reply["error"] == "400:channel:Missing required parameter"


@pytest.mark.parametrize("value", [*NOT_MESSAGES, {}, {"a": 1}, 10**18, "\ud7ff"])
@pytest.mark.parametrize(
    "channel",
    [
        "/meta/handshake",
        "/meta/connect",
        "/meta/subscribe",
        "/meta/unsubscribe",
        "/meta/disconnect",
        "/a",
        "/service/a",
    ],
)
def test_any_field_may_be_of_any_type(
    harness: Harness, channel: str, value: Any
) -> None:
    alice = harness.client()
    good: Message = {
        "channel": channel,
        "version": "1.0",
        "minimumVersion": "1.0",
        "supportedConnectionTypes": ["long-polling"],
        "connectionType": "long-polling",
        "subscription": "/a",
        "clientId": alice.id,
        "advice": {"timeout": 0},
        "ext": {"ack": 1},
        "id": "1",
        "data": {},
        "error": "",
        "successful": True,
    }
    for field in good:
        if field != "channel":
            response = result_of(alice.process({**good, field: value}))
            if response.held is not None:
                harness.advance(100)
                response = result_of(response.held)
            [reply] = [
                item for item in messages_of(response.items) if "data" not in item
            ]
            assert reply["channel"] == channel
            assert isinstance(reply["successful"], bool)
            assert reply["successful"] or reply["error"][:3].isdigit()
            assert decode(encode_list(response.items)) == messages_of(response.items)


class Dropping(Extension):
    """Drop messages with a field ``drop``, at once or later."""

    def __init__(self) -> None:
        self.later: list[Deferred[Message | None]] = []

    def incoming(self, message: Message, request: Any) -> Any:
        if message.get("drop") == "later":
            self.later.append(Deferred())
            return self.later[-1]
        return None if message.get("drop") else message


def test_a_dropped_message_leaves_no_gap_in_the_reply() -> None:
    harness = Harness(Dropping())
    kept = {"channel": "/a", "data": 1, "id": "x"}
    dropped = {"channel": "/a", "data": 1, "drop": True}
    assert [r["id"] for r in harness.send(dropped, kept, dropped)] == ["x"]
    assert harness.send(dropped) == []


def test_a_message_dropped_later_leaves_no_gap_and_keeps_the_order() -> None:
    extension = Dropping()
    harness = Harness(extension)
    kept = [{"channel": "/a", "data": 1, "id": str(n)} for n in range(2)]
    late = {"channel": "/a", "data": 1, "drop": "later"}
    answers: list[Any] = []
    harness.server.process([kept[0], late, kept[1]], None).addCallback(answers.append)
    assert answers == []
    extension.later[0].callback(None)
    assert [item["id"] for item in messages_of(answers[0].items)] == ["0", "1"]
