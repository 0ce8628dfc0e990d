"""Extensions on the way out: replies, and messages that connects fetch."""

from typing import Any

from txbayeux.message import Message
from txbayeux.testing import FakeRequest

from .actors import Actor, World, now, plain
from .extensions import outgoing, put


def test_a_reply_can_be_changed_dropped_and_refused(answer: Any) -> None:
    def step(message: Message, _: Any) -> Any:
        if message["id"] == "drop":
            return answer(world, None)
        if message["id"] == "refuse":
            return answer(world, {**message, "error": "403::No"})
        return answer(world, {**message, "ext": {"seen": True}})

    world = World(outgoing(step))
    replies = world.ask(
        *({"channel": "/a", "data": 1, "id": name} for name in ("x", "drop", "refuse")),
    )
    assert replies == [
        {"channel": "/a", "successful": True, "id": "x", "ext": {"seen": True}},
        {"channel": "/a", "successful": False, "id": "refuse", "error": "403::No"},
    ]


def test_a_handshake_refused_on_its_way_out_leaves_no_session() -> None:
    world = World(outgoing(put("error", "403::No"), "/meta/**"))
    reply = Actor(world).handshake()
    assert (reply["successful"], reply["error"]) == (False, "403::No")
    assert reply["advice"] == {"reconnect": "none"}
    assert "clientId" not in reply
    assert world.server.statistics()["sessions"] == 0


def test_messages_can_be_changed_and_dropped_for_each_client(answer: Any) -> None:
    def step(message: Message, request: Any) -> Any:
        if message["data"] == request.headers.get("hide"):
            return answer(world, None)
        return answer(world, {**message, "to": request.peer})

    world = World(outgoing(step, "/a"))
    alice, bob = world.actor("/a"), world.actor("/a")
    alice.request = FakeRequest(peer="alice", headers={"hide": 1})  # type: ignore[dict-item]
    bob.request = FakeRequest(peer="bob")
    for data in (1, 2):
        world.ask({"channel": "/a", "data": data})
    fetched: dict[str, list[Message]] = {}
    for actor in (alice, bob):
        answers: list[Any] = []
        message = actor.connect_message(advice={"timeout": 0})
        actor.begin(message).addCallback(answers.append)
        for _ in range(5):
            world.advance(1)
        items = plain(answers[0].items)
        fetched[actor.request.peer] = [item for item in items if "data" in item]
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
            raise RuntimeError("an extension's own fault")
        if message["data"] == "wrong":
            return 7
        if message["data"] == "unwritable":
            return {**message, "data": object()}
        return {**message, "error": "no"} if message["data"] == "error" else message

    world = World(outgoing(lambda m, r: bad(m, r) if "data" in m else m, "/a"))
    alice = world.actor("/a")
    for data in (1, "raise", "wrong", "unwritable", "error", 2):
        alice.publish("/a", data)
    assert alice.poll() == [1, 2]


def test_a_reply_that_cannot_be_written_is_refused() -> None:
    world = World(outgoing(put("ext", object()), "/a"))
    replies = world.send({"channel": "/a", "data": 1, "id": "1"}, {"channel": "/b"})
    assert replies[0] == {
        "channel": "/a",
        "successful": False,
        "id": "1",
        "error": "500::Internal server error",
    }
    assert replies[1]["error"].startswith("400:")


def test_what_an_extension_changed_is_changed_anew_when_it_comes_again() -> None:
    world = World(outgoing(lambda m, _: {**m, "n": m.get("n", 0) + 1}, "/a"))
    alice = world.actor("/a")
    now(world.server.client().publish("/a", 1))
    alice.connect().answer.give_back()
    assert alice.connect().messages == [{"channel": "/a", "data": 1, "n": 1}]
