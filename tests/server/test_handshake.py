"""``/meta/handshake``; specification, "Handshake" and "Version"."""

from typing import Any

import pytest
from twisted.internet.defer import fail

from txbayeux.errors import unavailable
from txbayeux.limits import Limits
from txbayeux.server.options import CONNECTION_TYPES

from .harness import Client, Harness, messages_of, result_of

GOOD = {
    "channel": "/meta/handshake",
    "version": "1.0",
    "supportedConnectionTypes": ["long-polling"],
}

NO_VERSIONS = [
    *(".", "1.", ".1", "v1", "1.0\n", "1..0", "1.-", "1.é", "\u0661", "1" * 11),
    *(True, [], {}, -1, 1e-7, 1e300, 10**4000),
]


def handshake(harness: Harness, **fields: Any) -> dict[str, Any]:
    message = {name: v for name, v in {**GOOD, **fields}.items() if v is not ...}
    [reply] = harness.send(message)
    return reply


def test_a_handshake_is_answered_with_a_session(harness: Harness) -> None:
    reply = handshake(harness, id="h1")
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
    assert harness.server.statistics()["sessions"] == 1


def test_the_interval_is_advised_in_milliseconds() -> None:
    reply = handshake(Harness(interval=1.5))
    assert reply["advice"]["interval"] == 1500


def test_each_handshake_makes_another_session(harness: Harness) -> None:
    ids = {handshake(harness)["clientId"] for _ in range(100)}
    assert len(ids) == 100
    # 128 random bits as hexadecimal digits.
    assert all(len(session) == 32 for session in ids)


def test_a_session_that_the_client_names_is_ignored(harness: Harness) -> None:
    alice = harness.client("/a")
    reply = handshake(harness, clientId=alice.id)
    assert reply["clientId"] != alice.id
    alice.publish("/a", 1)
    assert alice.poll() == [1]


def test_a_request_without_an_id_gets_a_reply_without_one(harness: Harness) -> None:
    assert "id" not in handshake(harness)


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
        (1, ...),
        (1.0, 0.9),
        (2, 1),
    ],
)
def test_versions_that_include_1_are_accepted(
    harness: Harness, version: Any, minimum: Any
) -> None:
    reply = handshake(harness, version=version, minimumVersion=minimum)
    assert (reply["successful"], reply["version"]) == (True, "1.0")


@pytest.mark.parametrize(
    ("version", "minimum"),
    [
        ("0.9", ...),
        ("2.0", ...),
        ("2.0", "2.0"),
        ("3", "2.1"),
        ("0.1", "0.1"),
        (2.0, ...),
        (0, ...),
        ("2.0", 2),
    ],
)
def test_versions_that_do_not_are_refused(
    harness: Harness, version: Any, minimum: Any
) -> None:
    reply = handshake(harness, version=version, minimumVersion=minimum)
    assert reply["error"] == f"300:{version}:Version mismatch"
    refused(harness, reply)


@pytest.mark.parametrize("version", NO_VERSIONS)
def test_an_invalid_version_is_refused(harness: Harness, version: Any) -> None:
    reply = handshake(harness, version=version)
    assert reply["error"] == "400:version:Invalid parameter"
    refused(harness, reply)


@pytest.mark.parametrize("minimum", ["", None, *NO_VERSIONS])
def test_an_invalid_minimum_version_is_ignored(harness: Harness, minimum: Any) -> None:
    """As Faye's and CometD's servers ignore it."""
    assert handshake(harness, minimumVersion=minimum)["successful"]
    reply = handshake(harness, version="2.0", minimumVersion=minimum)
    assert reply["error"] == "300:2.0:Version mismatch"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", ...),
        ("version", None),
        ("version", ""),
        ("supportedConnectionTypes", ...),
        ("supportedConnectionTypes", None),
    ],
)
def test_a_missing_field_is_refused(harness: Harness, field: str, value: Any) -> None:
    reply = handshake(harness, **{field: value})
    assert reply["error"] == f"400:{field}:Missing required parameter"
    refused(harness, reply)


@pytest.mark.parametrize("kind", CONNECTION_TYPES)
def test_one_connection_type_in_common_is_enough(harness: Harness, kind: str) -> None:
    reply = handshake(harness, supportedConnectionTypes=["iframe", "flash", kind])
    assert reply["successful"]
    assert kind in reply["supportedConnectionTypes"]


@pytest.mark.parametrize(
    "kinds", [[], ["iframe"], ["iframe", "flash"], ["LONG-POLLING"]]
)
def test_no_connection_type_in_common_is_refused(
    harness: Harness, kinds: list[str]
) -> None:
    reply = handshake(harness, supportedConnectionTypes=kinds)
    joined = ",".join(kinds)
    assert reply["error"] == f"301:{joined}:Connection types not supported"
    refused(harness, reply)


@pytest.mark.parametrize("others", [[None], [1], [[]], [{}, True, None, 1.5]])
def test_what_is_no_connection_type_among_them_is_ignored(
    harness: Harness, others: list[Any]
) -> None:
    kinds = [*others, "long-polling", *others]
    assert handshake(harness, supportedConnectionTypes=kinds)["successful"]
    reply = handshake(harness, supportedConnectionTypes=[*others, "iframe"])
    assert reply["error"] == "301:iframe:Connection types not supported"
    reply = handshake(harness, supportedConnectionTypes=others)
    assert reply["error"] == "301::Connection types not supported"


@pytest.mark.parametrize("kinds", ["long-polling", {"long-polling": 1}, 7])
def test_connection_types_of_a_wrong_type_are_refused(
    harness: Harness, kinds: Any
) -> None:
    reply = handshake(harness, supportedConnectionTypes=kinds)
    assert reply["error"] == "400:supportedConnectionTypes:Invalid parameter"
    refused(harness, reply)


def refused(harness: Harness, reply: dict[str, Any]) -> None:
    assert reply["channel"] == "/meta/handshake"
    assert reply["successful"] is False
    assert (reply["version"], reply["minimumVersion"]) == ("1.0", "1.0")
    assert reply["supportedConnectionTypes"] == list(CONNECTION_TYPES)
    assert reply["advice"] == {"reconnect": "none"}
    assert "clientId" not in reply
    assert harness.server.statistics()["sessions"] == 0


def test_acknowledgement_is_agreed_on(harness: Harness) -> None:
    assert handshake(harness, ext={"ack": True})["ext"] == {"ack": True}
    for ext in ({"ack": False}, {"ack": 1}, {"ack": "true"}, {}, {"other": True}, []):
        assert "ext" not in handshake(harness, ext=ext)


def test_acknowledgement_can_be_switched_off() -> None:
    assert "ext" not in handshake(Harness(acknowledge=False), ext={"ack": True})


def test_a_session_that_does_not_connect_ends(harness: Harness, alice: Client) -> None:
    harness.advance(61)
    reply = alice.subscribe("/a")
    assert reply["error"] == f"402:{alice.id}:Unknown client"


def test_an_unreachable_engine_makes_clients_retry_later(harness: Harness) -> None:
    harness.engine.create_session = lambda **_: fail(unavailable())  # type: ignore[method-assign]
    response = result_of(harness.server.process([GOOD], None))
    [reply] = messages_of(response.items)
    assert reply["error"].startswith("503:")
    assert reply["advice"] == {"reconnect": "handshake", "interval": 5000}


def test_above_the_limit_of_sessions_clients_retry_later() -> None:
    harness = Harness(limits=Limits(sessions=1))
    alice = harness.client()
    [reply] = harness.send(GOOD)
    assert reply["error"] == "503::Too many sessions"
    assert "clientId" not in reply
    assert reply["advice"] == {"reconnect": "handshake", "interval": 5000}
    alice.send("/meta/disconnect")
    assert harness.send(GOOD)[0]["successful"]
