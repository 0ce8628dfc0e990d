"""``/meta/disconnect``; specification, "Disconnect"."""

from typing import Any

import pytest

from txbayeux.events import Reason
from txbayeux.testing import RecordingStream

from .actors import Actor, World


def test_a_disconnect_ends_the_session(world: World, alice: Actor) -> None:
    assert alice.ask("/meta/disconnect", id="d1") == {
        "channel": "/meta/disconnect",
        "successful": True,
        "clientId": alice.id,
        "id": "d1",
    }
    assert not any(
        world.server.statistics()[name] for name in ("sessions", "subscriptions")
    )
    assert alice.connect().reply["error"] == f"402:{alice.id}:Unknown client"


def test_it_answers_the_held_connect(alice: Actor) -> None:
    poll = alice.connect(id="c1")
    alice.ask("/meta/disconnect")
    assert (poll.reply["successful"], poll.reply["id"]) == (True, "c1")
    assert poll.reply["advice"] == {"reconnect": "none"}


def test_it_closes_the_stream(alice: Actor) -> None:
    stream = RecordingStream()
    alice.connect(stream)
    alice.ask("/meta/disconnect")
    assert stream.closed == [Reason.CLIENT]


def test_it_leaves_others_alone(world: World, alice: Actor, bob: Actor) -> None:
    bob.subscribe("/a")
    poll = bob.connect()
    alice.ask("/meta/disconnect")
    assert poll.held
    bob.publish("/a", 1)
    world.settle()
    assert poll.data == [1]


def test_a_second_one_is_refused(alice: Actor) -> None:
    alice.ask("/meta/disconnect")
    reply = alice.ask("/meta/disconnect")
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
def test_whose_session_must_be_told(alice: Actor, session: Any, error: str) -> None:
    reply = alice.ask("/meta/disconnect", clientId=session)
    assert (reply["successful"], reply["error"]) == (False, error)
    assert alice.subscribe("/a")["successful"]
