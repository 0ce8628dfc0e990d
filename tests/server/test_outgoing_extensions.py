"""Outgoing extensions: replies, and messages in the replies to connects."""

from typing import Any

from txbayeux.message import Message
from txbayeux.testing import FakeRequest

from .extensions import outgoing, put
from .harness import Client, Harness, messages_of, result_of


def test_a_reply_can_be_changed_dropped_and_refused(answer: Any) -> None:
    def step(message: Message, _: Any) -> Any:
        if message["id"] == "drop":
            return answer(harness, None)
        if message["id"] == "refuse":
            return answer(harness, {**message, "error": "403::No"})
        return answer(harness, {**message, "ext": {"seen": True}})

    harness = Harness(outgoing(step))
    replies = harness.send_and_wait(
        *({"channel": "/a", "data": 1, "id": name} for name in ("x", "drop", "refuse")),
    )
    assert replies == [
        {"channel": "/a", "successful": True, "id": "x", "ext": {"seen": True}},
        {"channel": "/a", "successful": False, "id": "refuse", "error": "403::No"},
    ]


def test_a_handshake_refused_by_an_outgoing_extension_leaves_no_session() -> None:
    harness = Harness(outgoing(put("error", "403::No"), "/meta/**"))
    reply = Client(harness).handshake()
    assert (reply["successful"], reply["error"]) == (False, "403::No")
    assert reply["advice"] == {"reconnect": "none"}
    assert "clientId" not in reply
    assert harness.server.statistics()["sessions"] == 0


def test_messages_can_be_changed_and_dropped_for_each_client(answer: Any) -> None:
    def step(message: Message, request: Any) -> Any:
        if message["data"] == request.headers.get("hide"):
            return answer(harness, None)
        return answer(harness, {**message, "to": request.peer})

    harness = Harness(outgoing(step, "/a"))
    alice, bob = harness.client("/a"), harness.client("/a")
    alice.request = FakeRequest(peer="alice", headers={"hide": 1})  # type: ignore[dict-item]
    bob.request = FakeRequest(peer="bob")
    for data in (1, 2):
        harness.send_and_wait({"channel": "/a", "data": data})
    fetched: dict[str, list[Message]] = {}
    for client in (alice, bob):
        answers: list[Any] = []
        message = client.connect_message(advice={"timeout": 0})
        client.process(message).addCallback(answers.append)
        for _ in range(5):
            harness.advance(1)
        items = messages_of(answers[0].items)
        fetched[client.request.peer] = [item for item in items if "data" in item]
    assert fetched == {
        "alice": [{"channel": "/a", "data": 2, "to": "alice"}],
        "bob": [
            {"channel": "/a", "data": 1, "to": "bob"},
            {"channel": "/a", "data": 2, "to": "bob"},
        ],
    }


def test_a_message_whose_extension_fails_is_dropped_the_rest_is_not() -> None:
    def bad(message: Message, _: Any) -> Any:
        if message["data"] == "raise":
            raise RuntimeError("from an extension")
        if message["data"] == "wrong":
            return 7
        if message["data"] == "unwritable":
            return {**message, "data": object()}
        return {**message, "error": "no"} if message["data"] == "error" else message

    harness = Harness(outgoing(lambda m, r: bad(m, r) if "data" in m else m, "/a"))
    alice = harness.client("/a")
    for data in (1, "raise", "wrong", "unwritable", "error", 2):
        alice.publish("/a", data)
    assert alice.poll() == [1, 2]


def test_a_reply_that_cannot_be_encoded_is_refused() -> None:
    harness = Harness(outgoing(put("ext", object()), "/a"))
    replies = harness.send({"channel": "/a", "data": 1, "id": "1"}, {"channel": "/b"})
    assert replies[0] == {
        "channel": "/a",
        "successful": False,
        "id": "1",
        "error": "500::Internal server error",
    }
    assert replies[1]["error"].startswith("400:")


def test_a_message_sent_again_is_transformed_from_the_original() -> None:
    harness = Harness(outgoing(lambda m, _: {**m, "n": m.get("n", 0) + 1}, "/a"))
    alice = harness.client("/a")
    result_of(harness.server.client().publish("/a", 1))
    alice.connect().answer.give_back()
    assert alice.connect().messages == [{"channel": "/a", "data": 1, "n": 1}]
