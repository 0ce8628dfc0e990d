"""A batch that is published to many sessions keeps nobody else waiting."""

from collections.abc import Sequence
from typing import Any

import pytest

from txbayeux.engine.hub import SMALL_FAN_OUT, TURN_WORK
from txbayeux.limits import Limits
from txbayeux.message import Message
from txbayeux.processor import Response
from txbayeux.testing import FakeRequest

from .harness import Harness, messages_of, result_of

MANY = 1000
"""Sessions in most tests."""

PER_TURN = TURN_WORK // MANY
"""Messages that are published to them in one turn."""


class Crowd(Harness):
    """A server with many sessions that are subscribed to everything."""

    def __init__(self, sessions: int = MANY, **limits: int) -> None:
        super().__init__(limits=Limits(**limits))
        self.sessions = [
            result_of(self.engine.create_session()) for _ in range(sessions)
        ]
        for session in self.sessions:
            result_of(self.engine.subscribe(session, ["/**"]))

    def begin(self, *messages: Any) -> list[Response]:
        """Send one request; its response comes into the list that is returned."""
        responses: list[Response] = []
        self.server.process(messages, FakeRequest()).addCallback(responses.append)
        return responses

    def turn(self) -> None:
        self.clock.turn()

    def published(self) -> int:
        return self.server.statistics()["published_total"]

    def received(self, session: str) -> list[Any]:
        delivery = result_of(self.engine.connect(session, hold=0))
        return [entry.message()["data"] for entry in delivery.entries]


def batch(count: int, name: str = "/a") -> list[Message]:
    return [{"channel": name, "data": n, "id": str(n)} for n in range(count)]


def succeeded(responses: Sequence[Response]) -> list[bool]:
    [response] = responses
    return [reply["successful"] for reply in messages_of(response.items)]


def test_a_turn_publishes_a_bounded_part_of_a_batch() -> None:
    harness = Crowd()
    responses = harness.begin(*batch(5 * PER_TURN))
    for turns in range(1, 5):
        assert harness.published() == turns * PER_TURN
        assert responses == []
        harness.turn()
    assert succeeded(responses) == [True] * 5 * PER_TURN
    [response] = responses
    ids = [reply["id"] for reply in messages_of(response.items)]
    assert ids == [str(n) for n in range(5 * PER_TURN)]
    for session in harness.sessions:
        assert harness.received(session) == list(range(5 * PER_TURN))


def test_others_are_served_meanwhile() -> None:
    harness = Crowd()
    alice = harness.client("/alice")
    responses = harness.begin(*batch(10 * PER_TURN))
    [reply] = harness.send(alice.connect_message(advice={"timeout": 0}))
    assert reply["successful"]
    assert alice.subscribe("/more")["successful"]
    published = harness.begin(alice.message("/alice", data="hello"))
    harness.turn()
    harness.turn()
    assert succeeded(published) == [True]
    assert responses == []
    assert harness.received(alice.id) == ["hello"]
    for _ in range(10):
        harness.turn()
    assert succeeded(responses) == [True] * 10 * PER_TURN


def test_what_reaches_few_does_not_wait() -> None:
    harness = Crowd(sessions=0)
    for channel, count in (("/many", MANY), ("/few", SMALL_FAN_OUT)):
        for _ in range(count):
            harness.sessions.append(
                session := result_of(harness.engine.create_session())
            )
            result_of(harness.engine.subscribe(session, [channel]))
    responses = harness.begin(*batch(2 * PER_TURN, "/many"))
    [reply] = harness.send({"channel": "/few", "data": 1})
    assert reply["successful"]
    assert responses == []
    assert harness.received(harness.sessions[-1]) == [1]


def test_many_requests_of_one_message_each_wait_too_and_take_turns() -> None:
    harness = Crowd()
    responses = [harness.begin(*batch(1)) for _ in range(3 * PER_TURN)]
    for turns in range(1, 4):
        done = [bool(response) for response in responses]
        assert done == [True] * turns * PER_TURN + [False] * (3 - turns) * PER_TURN
        assert harness.published() == turns * PER_TURN
        harness.turn()


def test_messages_of_a_batch_take_effect_in_order_though_it_waits() -> None:
    harness = Crowd()
    alice = harness.client()
    responses = harness.begin(
        *batch(PER_TURN),
        {"channel": "/a", "data": "before"},
        alice.message("/meta/subscribe", subscription="/a"),
        {"channel": "/a", "data": "subscribed"},
        alice.message("/meta/unsubscribe", subscription="/a"),
        {"channel": "/a", "data": "after"},
    )
    assert responses == []
    harness.settle()
    assert succeeded(responses) == [True] * (PER_TURN + 5)
    assert harness.received(alice.id) == ["subscribed"]


def test_a_session_that_subscribes_meanwhile_gets_what_is_published_later() -> None:
    harness = Crowd()
    harness.begin(*batch(3 * PER_TURN))
    alice = harness.client("/a")
    leaves = harness.sessions.pop()
    result_of(harness.engine.unsubscribe(leaves, ["/**"]))
    harness.settle()
    harness.settle()
    assert harness.received(alice.id) == list(range(PER_TURN, 3 * PER_TURN))
    assert harness.received(leaves) == list(range(PER_TURN))
    assert harness.received(harness.sessions[0]) == list(range(3 * PER_TURN))


def test_the_applications_own_messages_do_not_wait() -> None:
    harness = Crowd(request_deliveries=1)
    client = harness.server.client()
    for n in range(2 * PER_TURN):
        result_of(client.publish("/a", n))
    assert harness.received(harness.sessions[0]) == list(range(2 * PER_TURN))


def test_stopping_delivers_what_was_accepted_and_refuses_the_rest() -> None:
    harness = Crowd()
    held: list[Any] = []
    harness.engine.connect(harness.sessions[0], hold=30).addCallback(held.append)
    responses = harness.begin(*batch(3 * PER_TURN))
    result_of(harness.server.stop())
    assert len(held[0].entries) == PER_TURN
    assert succeeded(responses) == [True] * PER_TURN + [False] * 2 * PER_TURN
    [response] = responses
    assert messages_of(response.items)[-1]["error"].startswith("503:")
    assert harness.clock.getDelayedCalls() == []


# The deliveries of one request


@pytest.mark.parametrize("limit", [30, 29])
def test_the_deliveries_of_a_request_are_bounded(limit: int) -> None:
    harness = Crowd(sessions=10, request_deliveries=limit)
    replies = harness.send(*batch(3))
    assert [reply["successful"] for reply in replies] == [True, True, limit == 30]
    if limit < 30:
        assert replies[-1]["error"] == "429::Too many deliveries"
        assert replies[-1]["advice"] == {"reconnect": "retry", "interval": 5000}
    assert harness.received(harness.sessions[0]) == [0, 1, 2][: limit // 10]
    assert harness.server.statistics()["refused_publishes_total"] == (limit < 30)


def test_the_rest_of_a_request_is_refused_whatever_it_reaches() -> None:
    harness = Crowd(sessions=10, request_deliveries=20)
    alice = harness.client()
    replies = harness.send(
        *batch(3),
        {"channel": "/service/nobody", "data": 1},
        alice.message("/meta/subscribe", subscription="/a"),
        {"channel": "/a", "data": 3},
    )
    successful = [reply["successful"] for reply in replies]
    assert successful == [True, True, False, True, True, False]
    assert harness.send({"channel": "/a", "data": 4})[0]["successful"]
    assert harness.received(harness.sessions[0]) == [0, 1, 4]


def test_the_first_message_of_a_request_is_always_accepted() -> None:
    harness = Crowd(sessions=10, request_deliveries=9)
    assert harness.send({"channel": "/a", "data": 0})[0]["successful"]
    replies = harness.send(*batch(2))
    assert [reply["successful"] for reply in replies] == [True, False]


def test_a_message_to_nobody_is_accepted_after_any_number(harness: Harness) -> None:
    assert all(reply["successful"] for reply in harness.send(*batch(100)))


def test_clients_are_told_that_too_much_waited_for_all_of_them() -> None:
    harness = Harness(limits=Limits(queued_bytes=8000))
    clients = [harness.client(f"/{n}") for n in range(4)]
    for n in range(4):
        harness.send({"channel": f"/{n}", "data": "x" * 1000 * (n + 1)})
        harness.settle()
    for client in clients[:3]:
        assert len(client.poll()) == 1
    reply = clients[3].send("/meta/connect", connectionType="long-polling")
    assert "too many messages" in reply["error"]
