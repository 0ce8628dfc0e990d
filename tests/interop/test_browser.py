"""Faye's and CometD's JavaScript clients in Chromium."""

from typing import Final

import pytest

from .environment import ClientKind, Environment, Family, Origin
from .scenarios import Scenarios

# What the browser sends over each, the handshake included: Faye's client makes it over
# HTTP, to another origin by JSON-P, whatever the transport it then goes on with.
OWN: Final[dict[tuple[Family, str], set[str]]] = {
    ("faye", "websocket"): {"xhr", "websocket"},
    ("faye", "eventsource"): {"xhr", "eventsource"},
    ("faye", "long-polling"): {"xhr"},
    ("faye", "callback-polling"): {"script"},
    ("cometd", "websocket"): {"websocket"},
    ("cometd", "long-polling"): {"xhr"},
    ("cometd", "callback-polling"): {"script"},
}
OTHER: Final[dict[tuple[Family, str], set[str]]] = {
    ("faye", "websocket"): {"script", "websocket"},
    ("faye", "cross-origin-long-polling"): {"script", "xhr"},
    ("faye", "callback-polling"): {"script"},
    ("cometd", "websocket"): {"websocket"},
    ("cometd", "long-polling"): {"xhr"},
    ("cometd", "callback-polling"): {"script"},
}
TRANSPORTS: Final[dict[Origin, dict[tuple[Family, str], set[str]]]] = {
    "own": OWN,
    "other": OTHER,
}
REQUESTS: Final[dict[ClientKind, set[str]]] = {
    ClientKind(
        program="browser", family=family, transport=transport, origin=origin
    ): kinds
    for origin, transports in TRANSPORTS.items()
    for (family, transport), kinds in transports.items()
}


@pytest.mark.parametrize("environment", REQUESTS, ids=str, indirect=True)
class TestBrowser(Scenarios):
    def test_sends_what_the_transport_is_for(self, environment: Environment) -> None:
        alice = environment.client("alice", fresh=True)
        alice.subscribe("/kinds")
        alice.publish("/kinds", "sent")
        alice.wait_for("/kinds", 1)

        mount = environment.server.url.removeprefix("http")
        kinds = {
            request["kind"]
            for request in alice.ask("requests")
            if mount in request["url"]
        }
        assert kinds == REQUESTS[environment.kind]


UNLISTED: Final[tuple[Origin, ...]] = ("neighbour", "stranger")
# CometD's client handshakes over the transport itself.
STRANGERS: Final = [
    ClientKind(program="browser", family="cometd", transport=transport, origin=origin)
    for origin in UNLISTED
    for transport in ("websocket", "long-polling", "callback-polling")
]


@pytest.mark.parametrize("environment", STRANGERS, ids=str, indirect=True)
def test_pages_of_other_origins_are_not_let_in(environment: Environment) -> None:
    _, reply = environment.open("mallory")

    assert not reply["successful"]
