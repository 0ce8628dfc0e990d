"""``/meta/handshake``; specification, "Handshake" and "Version"."""

from typing import Any

import pytest
from twisted.internet.defer import fail

from txbayeux.errors import unavailable
from txbayeux.limits import Limits
from txbayeux.server.options import CONNECTION_TYPES

from .actors import Actor, World, now, plain

GOOD = {
    "channel": "/meta/handshake",
    "version": "1.0",
    "supportedConnectionTypes": ["long-polling"],
}


def handshake(world: World, **fields: Any) -> dict[str, Any]:
    message = {name: v for name, v in {**GOOD, **fields}.items() if v is not ...}
    [reply] = world.send(message)
    return reply


def test_a_handshake_is_answered_with_a_session(world: World) -> None:
    reply = handshake(world, id="h1")
    session = reply.pop("clientId")
    assert session.isalnum()
    assert reply == {
        "channel": "/meta/handshake",
        "successful": True,
        "id": "h1",
        "version": "1.0",
        "minimumVersion": "1.0",
        "supportedConnectionTypes": list(CONNECTION_TYPES),
        "advice": {"reconnect": "retry", "interval": 0, "timeout": 45000},
    }
    assert world.server.statistics()["sessions"] == 1


def test_the_interval_is_advised_in_milliseconds() -> None:
    reply = handshake(World(interval=1.5))
    assert reply["advice"]["interval"] == 1500


def test_each_handshake_makes_another_session(world: World) -> None:
    ids = {handshake(world)["clientId"] for _ in range(100)}
    assert len(ids) == 100
    # 128 random bits as hexadecimal digits.
    assert all(len(session) == 32 for session in ids)


def test_a_session_that_the_client_names_is_ignored(world: World) -> None:
    alice = world.actor("/a")
    reply = handshake(world, clientId=alice.id)
    assert reply["clientId"] != alice.id
    alice.publish("/a", 1)
    assert alice.poll() == [1]


def test_a_request_without_an_id_gets_a_reply_without_one(world: World) -> None:
    assert "id" not in handshake(world)


@pytest.mark.parametrize(
    ("version", "minimum"),
    [
        ("1.0", ...),
        ("1", ...),
        ("1.1", ...),
        ("1.0", "1.0beta"),
        ("1.0", "0.9"),
        ("2.0", "1.0"),
        ("1.0.alpha-2_x", "1.0"),
    ],
)
def test_versions_that_include_1_are_accepted(
    world: World, version: str, minimum: Any
) -> None:
    reply = handshake(world, version=version, minimumVersion=minimum)
    assert (reply["successful"], reply["version"]) == (True, "1.0")


@pytest.mark.parametrize(
    ("version", "minimum"),
    [("0.9", ...), ("2.0", ...), ("2.0", "2.0"), ("3", "2.1"), ("0.1", "0.1")],
)
def test_versions_that_do_not_are_refused(
    world: World, version: str, minimum: Any
) -> None:
    reply = handshake(world, version=version, minimumVersion=minimum)
    assert reply["error"] == f"300:{version}:Version mismatch"
    refused(world, reply)


@pytest.mark.parametrize(
    "version",
    ["", ".", "1.", ".1", "v1", "1.0\n", "1..0", "1.-", "1.é", "\u0661", "1" * 11, 1.0],
)
@pytest.mark.parametrize("field", ["version", "minimumVersion"])
def test_what_is_no_version_is_refused(world: World, field: str, version: Any) -> None:
    reply = handshake(world, **{field: version})
    assert reply["error"] == f"400:{field}:Invalid parameter"
    refused(world, reply)


@pytest.mark.parametrize("field", ["version", "supportedConnectionTypes"])
@pytest.mark.parametrize("value", [..., None])
def test_a_missing_field_is_refused(world: World, field: str, value: Any) -> None:
    reply = handshake(world, **{field: value})
    assert reply["error"] == f"400:{field}:Missing required parameter"
    refused(world, reply)


@pytest.mark.parametrize("kind", CONNECTION_TYPES)
def test_one_connection_type_in_common_is_enough(world: World, kind: str) -> None:
    reply = handshake(world, supportedConnectionTypes=["iframe", "flash", kind])
    assert reply["successful"]
    assert kind in reply["supportedConnectionTypes"]


@pytest.mark.parametrize(
    "kinds", [[], ["iframe"], ["iframe", "flash"], ["LONG-POLLING"]]
)
def test_no_connection_type_in_common_is_refused(
    world: World, kinds: list[str]
) -> None:
    reply = handshake(world, supportedConnectionTypes=kinds)
    joined = ",".join(kinds)
    assert reply["error"] == f"301:{joined}:Connection types not supported"
    refused(world, reply)


@pytest.mark.parametrize("kinds", ["long-polling", {"long-polling": 1}, [1], [[]], 7])
def test_connection_types_of_a_wrong_type_are_refused(world: World, kinds: Any) -> None:
    reply = handshake(world, supportedConnectionTypes=kinds)
    assert reply["error"] == "400:supportedConnectionTypes:Invalid parameter"
    refused(world, reply)


def refused(world: World, reply: dict[str, Any]) -> None:
    assert reply["channel"] == "/meta/handshake"
    assert reply["successful"] is False
    assert (reply["version"], reply["minimumVersion"]) == ("1.0", "1.0")
    assert reply["supportedConnectionTypes"] == list(CONNECTION_TYPES)
    assert reply["advice"] == {"reconnect": "none"}
    assert "clientId" not in reply
    assert world.server.statistics()["sessions"] == 0


def test_acknowledgement_is_agreed_on(world: World) -> None:
    assert handshake(world, ext={"ack": True})["ext"] == {"ack": True}
    for ext in ({"ack": False}, {"ack": 1}, {"ack": "true"}, {}, {"other": True}, []):
        assert "ext" not in handshake(world, ext=ext)


def test_acknowledgement_can_be_switched_off() -> None:
    assert "ext" not in handshake(World(acknowledge=False), ext={"ack": True})


def test_a_session_that_does_not_connect_ends(world: World, alice: Actor) -> None:
    world.advance(61)
    reply = alice.subscribe("/a")
    assert reply["error"] == f"402:{alice.id}:Unknown client"


def test_an_engine_out_of_reach_asks_to_come_back_later(world: World) -> None:
    world.engine.create_session = lambda **_: fail(unavailable())  # type: ignore[method-assign]
    response = now(world.server.process([GOOD], None))
    [reply] = plain(response.items)
    assert reply["error"].startswith("503:")
    assert reply["advice"] == {"reconnect": "handshake", "interval": 5000}


def test_past_the_limit_of_sessions_clients_are_asked_to_come_back_later() -> None:
    world = World(limits=Limits(sessions=1))
    alice = world.actor()
    [reply] = world.send(GOOD)
    assert reply["error"] == "503::Too many sessions"
    assert "clientId" not in reply
    assert reply["advice"] == {"reconnect": "handshake", "interval": 5000}
    alice.ask("/meta/disconnect")
    assert world.send(GOOD)[0]["successful"]
