"""Time synchronization: the server's half, as CometD's ``TimesyncExtension.java``."""

from typing import Any

import pytest

from txbayeux.extensions import ServerTimeSync, TimeSync
from txbayeux.extensions import timesync as module
from txbayeux.message import Message
from txbayeux.testing import FakeRequest

from .harness import Client, Harness

START = 1_700_000_000.0


class Wall:
    """The server's clock: that of the harness, at some date."""

    harness: Harness | None = None

    def __call__(self) -> float:
        return START + (self.harness.clock.seconds() if self.harness else 0.0)


@pytest.fixture
def harness() -> Harness:
    wall = Wall()
    wall.harness = Harness(ServerTimeSync(wall))
    return wall.harness


def asking(**times: Any) -> dict[str, Any]:
    return {"id": "1", "ext": {"timesync": times}}


def now(harness: Harness) -> int:
    return round(1000 * (START + harness.clock.seconds()))


def test_a_reply_has_the_times_of_its_message(harness: Harness, alice: Client) -> None:
    sent = now(harness) - 3000
    reply = alice.send(
        "/meta/subscribe", subscription="/a", **asking(tc=sent, l=0, o=0)
    )
    times = {"tc": sent, "ts": sent + 3000, "p": 0, "a": -3000}
    assert reply["ext"] == {"timesync": times}
    assert "ext" not in alice.send("/meta/subscribe", subscription="/b", id="2")


def test_the_time_that_a_connect_was_held_is_counted(harness: Harness) -> None:
    alice = harness.client(ack=True)
    sent = now(harness)
    poll = alice.connect(**asking(tc=sent, l=10, o=500))
    harness.advance(7)
    assert poll.held
    harness.advance(38)
    ext = poll.reply["ext"]
    assert ext["timesync"] == {"tc": sent, "ts": sent, "p": 45_000, "a": 510}


@pytest.mark.parametrize(
    ("lag", "offset", "answered"),
    [(40, 60, False), (40, 84, False), (40, 36, False), (40, 85, True), (0, 100, True)],
)
def test_a_good_estimate_is_not_answered(
    harness: Harness, alice: Client, lag: int, offset: int, answered: bool
) -> None:
    asked = asking(tc=now(harness) - 100, l=lag, o=offset)
    reply = alice.send("/meta/subscribe", subscription="/a", **asked)
    assert ("ext" in reply) is answered


def test_a_client_without_an_estimate_is_answered(
    harness: Harness, alice: Client
) -> None:
    sent = now(harness)
    reply = alice.send("/meta/subscribe", subscription="/a", **asking(tc=sent))
    assert reply["ext"]["timesync"] == {"tc": sent, "ts": sent, "p": 0}


@pytest.mark.parametrize(
    "wrong", [7, [], None, {}, {"tc": "1"}, {"tc": True}, {"tc": 10**30}, {"l": 1}]
)
def test_malformed_times_are_ignored(
    harness: Harness, alice: Client, wrong: object
) -> None:
    fields: dict[str, Any] = {"id": "1", "ext": {"timesync": wrong}}
    reply = alice.send("/meta/subscribe", subscription="/a", **fields)
    assert reply["successful"]
    assert "ext" not in reply


@pytest.mark.parametrize("identity", [None, [], {"a": 1}, 1.5, "x" * 257, 10**400])
def test_a_message_without_a_valid_id_gets_no_times(
    harness: Harness, alice: Client, identity: object
) -> None:
    asked = {**asking(tc=1, l=0, o=0), "id": identity}
    reply = alice.send("/meta/subscribe", subscription="/a", **asked)
    assert reply["successful"]
    assert "ext" not in reply


def test_equal_ids_of_different_requests_are_told_apart(harness: Harness) -> None:
    alice, bob = harness.client(), harness.client()
    first = alice.connect(**asking(tc=1, l=0, o=0))
    second = bob.connect(**asking(tc=2, l=0, o=0))
    harness.advance(45)
    assert first.reply["ext"]["timesync"]["tc"] == 1
    assert second.reply["ext"]["timesync"]["tc"] == 2


def test_what_is_never_answered_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PENDING", 3)
    sync, request = ServerTimeSync(lambda: START), FakeRequest()

    def message(number: int, **ext: Any) -> Message:
        return {"channel": "/meta/connect", "id": str(number), "ext": ext}

    for number in range(5):
        sync.incoming(message(number, timesync={"tc": number}), request)
    answered = [
        number
        for number in range(5)
        if "timesync" in sync.outgoing(message(number), request)["ext"]
    ]
    assert answered == [2, 3, 4]


def test_our_client_estimates_the_offset(harness: Harness, alice: Client) -> None:
    ahead = TimeSync(lambda: START + harness.clock.seconds() - 12)
    message = ahead.outgoing({"channel": "/meta/subscribe", "id": "1"}, None)
    reply = alice.send("/meta/subscribe", subscription="/a", id="1", ext=message["ext"])
    ahead.incoming(reply, None)
    assert (ahead.offset, ahead.lag) == (pytest.approx(12), pytest.approx(0))
