"""``/meta/disconnect``; specification, "Disconnect"."""

from typing import Any

import pytest

from txbayeux.events import Reason
from txbayeux.testing import RecordingStream

from .harness import Client, Harness


def test_a_disconnect_ends_the_session(harness: Harness, alice: Client) -> None:
    assert alice.send("/meta/disconnect", id="d1") == {
        "channel": "/meta/disconnect",
        "successful": True,
        "clientId": alice.id,
        "id": "d1",
    }
    assert not any(
        harness.server.statistics()[name] for name in ("sessions", "subscriptions")
    )
    assert alice.connect().reply["error"] == f"402:{alice.id}:Unknown client"


def test_a_disconnect_answers_the_held_connect(alice: Client) -> None:
    poll = alice.connect(id="c1")
    alice.send("/meta/disconnect")
    assert (poll.reply["successful"], poll.reply["id"]) == (True, "c1")
    assert poll.reply["advice"] == {"reconnect": "none"}


def test_a_disconnect_closes_the_stream(alice: Client) -> None:
    stream = RecordingStream()
    alice.connect(stream)
    alice.send("/meta/disconnect")
    assert stream.closed == [Reason.CLIENT]


def test_a_disconnect_leaves_other_sessions_alone(
    harness: Harness, alice: Client, bob: Client
) -> None:
    bob.subscribe("/a")
    poll = bob.connect()
    alice.send("/meta/disconnect")
    assert poll.held
    bob.publish("/a", 1)
    harness.settle()
    assert poll.data == [1]


def test_a_second_disconnect_is_refused(alice: Client) -> None:
    alice.send("/meta/disconnect")
    reply = alice.send("/meta/disconnect")
    assert (reply["successful"], reply["error"]) == (
        False,
        f"402:{alice.id}:Unknown client",
    )


@pytest.mark.parametrize(
    ("session", "error"),
    [
        (None, "401::No client ID"),
        ("", "401::No client ID"),
        ("nobody", "402:nobody:Unknown client"),
        (7, "400:clientId:Invalid parameter"),
        (["x"], "400:clientId:Invalid parameter"),
    ],
)
def test_a_disconnect_needs_a_valid_session(
    alice: Client, session: Any, error: str
) -> None:
    reply = alice.send("/meta/disconnect", clientId=session)
    assert (reply["successful"], reply["error"]) == (False, error)
    assert alice.subscribe("/a")["successful"]
