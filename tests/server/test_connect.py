"""``/meta/connect``; specification, "Connect"."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from txbayeux.events import Reason
from txbayeux.limits import Limits
from txbayeux.message import Message
from txbayeux.server.options import CONNECTION_TYPES
from txbayeux.testing import RecordingStream

from .extensions import incoming
from .harness import (
    SESSION_TIMEOUT,
    TIMEOUT,
    Client,
    Harness,
    Poll,
    messages_of,
    result_of,
)

ADVICE = {"reconnect": "retry", "interval": 0, "timeout": 45000}


def test_a_connect_is_held_until_its_timeout(harness: Harness, alice: Client) -> None:
    poll = alice.connect(id="c1")
    harness.advance(TIMEOUT - 1)
    assert poll.held
    harness.advance(1)
    assert poll.items == [
        {
            "channel": "/meta/connect",
            "successful": True,
            "id": "c1",
            "clientId": alice.id,
            "advice": ADVICE,
        }
    ]


def test_a_message_answers_a_held_connect(
    harness: Harness, alice: Client, bob: Client
) -> None:
    alice.subscribe("/a")
    poll = alice.connect()
    bob.publish("/a", 1)
    harness.settle()
    assert poll.data == [1]
    assert poll.items[-1] == poll.reply


def test_messages_of_one_reactor_turn_come_in_one_answer(
    harness: Harness, alice: Client, bob: Client
) -> None:
    alice.subscribe("/a")
    poll = alice.connect()
    for n in range(5):
        bob.publish("/a", n)
    harness.settle()
    assert poll.data == [0, 1, 2, 3, 4]


def test_a_queued_message_answers_a_connect_at_once(alice: Client, bob: Client) -> None:
    alice.subscribe("/a")
    bob.publish("/a", 1)
    assert alice.connect().data == [1]


@pytest.mark.parametrize(("timeout", "seconds"), [(0, 0), (1500, 1.5), (10.5, 0.0105)])
def test_the_clients_timeout_is_honoured(
    harness: Harness, alice: Client, timeout: float, seconds: float
) -> None:
    poll = alice.connect(advice={"timeout": timeout})
    assert poll.held == (seconds > 0)
    harness.advance(seconds)
    assert poll.reply["successful"]


@pytest.mark.parametrize(
    "advice",
    [
        *(
            {"timeout": value}
            for value in [10**9, 10**400, -1, True, "0", None, [], {}]
        ),
        {"timeout": 1e308},
        *(0, "x", [], None, {}),
    ],
)
def test_an_invalid_or_longer_timeout_is_replaced_by_the_servers(
    harness: Harness, alice: Client, advice: Any
) -> None:
    poll = alice.connect(advice=advice)
    harness.advance(TIMEOUT - 1)
    assert poll.held
    harness.advance(1)
    assert poll.reply["successful"]


def test_a_second_connect_releases_the_first(harness: Harness, alice: Client) -> None:
    alice.subscribe("/a")
    first, second = alice.connect(id="1"), alice.connect(id="2")
    assert (first.reply["id"], first.reply["successful"]) == ("1", True)
    # Two tabs that share a session would release each other without end.
    assert first.reply["advice"] == {**ADVICE, "interval": 1000}
    assert second.held
    alice.publish("/a", 1)
    harness.settle()
    assert (first.data, second.data) == ([], [1])


@pytest.mark.parametrize("kind", CONNECTION_TYPES)
def test_every_connection_type_is_accepted(alice: Client, kind: str) -> None:
    poll = alice.connect(connectionType=kind, advice={"timeout": 0})
    assert poll.reply["successful"]


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (None, "400:connectionType:Missing required parameter"),
        (7, "400:connectionType:Invalid parameter"),
        ([], "400:connectionType:Invalid parameter"),
        ("iframe", "301:iframe:Connection types not supported"),
        ("", "301::Connection types not supported"),
    ],
)
def test_other_connection_types_are_refused(
    alice: Client, kind: Any, error: str
) -> None:
    reply = alice.connect(connectionType=kind).reply
    assert (reply["successful"], reply["error"]) == (False, error)
    assert reply["advice"] == {"reconnect": "none"}


@pytest.mark.parametrize("session", ["gone", "x" * 5000, "\0", "a\n", "é"])
def test_an_unknown_session_is_told_to_handshake(
    harness: Harness, session: str
) -> None:
    reply = harness.client(handshake=False).connect(clientId=session).reply
    assert reply["successful"] is False
    assert reply["error"].startswith("402:")
    assert reply["advice"] == {"reconnect": "handshake", "interval": 0}


@pytest.mark.parametrize("session", [None, ""])
def test_a_connect_without_session_is_refused(
    alice: Client, session: str | None
) -> None:
    reply = alice.connect(clientId=session).reply
    assert (reply["successful"], reply["error"]) == (False, "401::No client ID")


@pytest.mark.parametrize("session", [None, "", 7, ["x"]])
def test_a_client_that_lost_its_session_id_is_told_to_handshake(
    alice: Client, session: Any
) -> None:
    reply = alice.connect(clientId=session).reply
    assert reply["advice"] == {"reconnect": "handshake", "interval": 0}
    alice.handshake()
    assert alice.connect(advice={"timeout": 0}).reply["successful"]


def test_a_lost_connection_loses_no_message(harness: Harness, alice: Client) -> None:
    alice.subscribe("/a")
    response = result_of(alice.process(alice.connect_message()))
    response.held.cancel()
    alice.publish("/a", 1)
    assert alice.poll() == [1]


def test_an_answer_that_was_not_written_is_sent_again(
    harness: Harness, alice: Client
) -> None:
    alice.subscribe("/a")
    alice.publish("/a", 1)
    lost = alice.connect().answer
    alice.publish("/a", 2)
    lost.give_back()
    assert alice.poll() == [1, 2]


def test_a_connect_with_a_stream_sends_messages_there(
    harness: Harness, alice: Client
) -> None:
    alice.subscribe("/a")
    stream = RecordingStream()
    poll = alice.connect(stream, connectionType="websocket")
    alice.publish("/a", 1)
    harness.settle()
    assert stream.data == [1]
    assert poll.held
    harness.advance(TIMEOUT)
    assert poll.data == []


def test_a_poll_takes_the_session_from_a_stream(
    harness: Harness, alice: Client
) -> None:
    alice.subscribe("/a")
    stream = RecordingStream()
    alice.connect(stream, connectionType="websocket")
    poll = alice.connect()
    alice.publish("/a", 1)
    harness.settle()
    assert (poll.data, stream.data, stream.replacements) == ([1], [], 1)


def test_a_connect_of_type_eventsource_is_answered_at_once(
    harness: Harness, alice: Client
) -> None:
    reply = alice.connect(connectionType="eventsource").reply
    assert reply["advice"] == {"reconnect": "retry", "interval": 45000, "timeout": 0}


def test_a_connect_of_type_eventsource_that_acknowledges_is_held(
    harness: Harness,
) -> None:
    alice = harness.client("/a", ack=True)
    stream = RecordingStream(preempted_by_poll=False)
    result_of(harness.server.attach(alice.id, stream))
    first = alice.connect(
        connectionType="eventsource", ext={"ack": -1}, advice={"timeout": 0}
    ).reply
    assert first["advice"] == ADVICE
    poll = alice.connect(connectionType="eventsource", ext={"ack": first["ext"]["ack"]})
    assert poll.held
    alice.publish("/a", 1)
    assert (poll.data, stream.entries) == ([1], [])
    assert poll.reply["advice"] == ADVICE


@pytest.mark.parametrize("ack", [None, True, "1", 1.5, []])
def test_one_that_does_not_is_answered_at_once_and_spaced(
    harness: Harness, ack: Any
) -> None:
    """Also in a session that could acknowledge: its client connects again at once."""
    alice = harness.client("/a", ack=True)
    reply = alice.connect(connectionType="eventsource", ext={"ack": ack}).reply
    assert reply["advice"] == {"reconnect": "retry", "interval": 45000, "timeout": 0}


def test_a_session_ends_when_it_does_not_connect_in_time(
    harness: Harness, alice: Client
) -> None:
    poll = alice.connect()
    harness.advance(TIMEOUT)
    assert poll.reply["successful"]
    harness.advance(SESSION_TIMEOUT - 1)
    assert alice.connect(advice={"timeout": 0}).reply["successful"]
    harness.advance(SESSION_TIMEOUT + 1)
    assert alice.connect().reply["error"] == f"402:{alice.id}:Unknown client"


def test_a_kicked_session_is_told_why_and_to_handshake(
    harness: Harness, alice: Client
) -> None:
    poll = alice.connect()
    result_of(harness.server.kick(alice.id, "Please pay"))
    for reply in (poll.reply, alice.connect().reply):
        assert reply["error"] == f"402:{alice.id}:Please pay"
        assert reply["advice"]["reconnect"] == "handshake"


def test_a_session_with_too_many_queued_messages_is_told_why() -> None:
    harness = Harness(limits=Limits(queue_messages=2))
    alice = harness.client("/a")
    for n in range(3):
        assert alice.publish("/a", n)["successful"]
    reply = alice.connect().reply
    text = "Session closed - too many messages waited"
    assert reply["error"] == f"402:{alice.id}:{text}"
    assert reply["advice"] == {"reconnect": "handshake", "interval": 0}


def test_a_stop_answers_held_connects(harness: Harness, alice: Client) -> None:
    poll = alice.connect()
    stream = RecordingStream()
    harness.client().connect(stream)
    result_of(harness.server.stop())
    assert poll.reply["successful"]
    assert poll.reply["advice"]["reconnect"] == "retry"
    assert stream.closed == [Reason.SHUTDOWN]
    assert harness.clock.getDelayedCalls() == []


def test_acknowledgements_are_in_ext(harness: Harness) -> None:
    alice = harness.client("/a", ack=True)
    first = alice.connect(ext={"ack": -1}, advice={"timeout": 0}).reply["ext"]["ack"]
    alice.publish("/a", 1)
    answers = []
    for _ in range(3):
        answers.append(alice.connect(ext={"ack": first}))
        assert answers[-1].data == [1]
    last = answers[-1].reply["ext"]["ack"]
    assert last == answers[-1].answer.items[0].position > first  # type: ignore[union-attr]
    assert alice.connect(ext={"ack": last}).held


@pytest.mark.parametrize("ack", ["1", 1.0, 1e300, True, None, [], {}, -1, -(10**30)])
def test_an_invalid_acknowledgement_acknowledges_nothing(
    harness: Harness, ack: Any
) -> None:
    alice = harness.client("/a", ack=True)
    alice.publish("/a", 1)
    alice.connect(ext={"ack": 0})
    assert alice.connect(ext={"ack": ack}).data == [1]


def test_a_session_without_acknowledgement_gets_no_position(alice: Client) -> None:
    assert "ext" not in alice.connect(ext={"ack": 7}, advice={"timeout": 0}).reply


def test_replies_of_a_batch_wait_for_the_engine_together(harness: Harness) -> None:
    alice = harness.client()
    late: Deferred[list[str]] = Deferred()
    harness.engine.subscribe = lambda *_: late  # type: ignore[method-assign,assignment]
    response = result_of(
        alice.process(
            alice.message("/meta/subscribe", subscription="/a", id="1"),
            alice.message("/b", data=1, id="2"),
        )
    )
    assert response.items == ()
    late.callback(["/a"])
    answer = result_of(response.held)
    assert [item["id"] for item in messages_of(answer.items)] == ["1", "2"]


def test_a_connect_delayed_by_an_extension_is_held_like_others() -> None:
    gates: list[Deferred[Message]] = []

    def think(message: Message, _: Any) -> Deferred[Message]:
        gates.append(Deferred())
        return gates[-1].addCallback(lambda _: message)

    harness = Harness(incoming(think, "/meta/connect"))
    alice = harness.client("/a")
    began = alice.process(alice.connect_message())
    gates[0].callback({})
    poll = Poll(began, harness.settle)
    assert poll.held
    alice.publish("/a", 1)
    assert poll.data == [1]
