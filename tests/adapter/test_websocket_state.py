"""What Autobahn keeps for each connection is shared by all only where that is safe."""

from typing import Any

import pytest
from autobahn.twisted.websocket import WebSocketServerProtocol

from .sockets import TEXT, Client, frame
from .support import Service


def test_autobahn_has_the_private_names_that_are_used() -> None:
    state: Any = WebSocketServerProtocol()
    state.factory = Client(Service()).transport.protocol.factory
    WebSocketServerProtocol._connectionMade(state)
    expected = {"_perMessageCompress", "state", "data", "failedByMe", "send_queue"}
    assert expected <= vars(state).keys(), (
        "_connection_class() in txbayeux/adapter/websocket.py uses what has moved"
    )


def test_an_idle_connection_has_little_state_of_its_own() -> None:
    client = Client(Service())
    client.send([1])
    # Up to 30 attributes, Python keeps no table of names for each instance.
    assert len(vars(client.transport.protocol)) <= 30


def test_mutable_state_of_a_later_autobahn_is_copied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = WebSocketServerProtocol._connectionMade

    def make_more(self: Any) -> None:
        made(self)
        self.something_new = []

    monkeypatch.setattr(WebSocketServerProtocol, "_connectionMade", make_more)
    service = Service()
    one, two = (Client(service).transport.protocol for _ in range(2))
    one.something_new.append(1)
    assert two.something_new == []


def test_connections_share_no_input() -> None:
    service = Service()
    one, two = Client(service), Client(service)
    one.raw(frame(0x01, b'["a'))
    two.raw(frame(0x01, b'["b'))
    one.raw(frame(0x80, b'1"]'))
    two.raw(frame(0x80, b'2"]'))
    one.raw(frame(0x83, b""))
    two.raw(frame(TEXT, b"[3]"))
    assert one.frames()[0] == (TEXT, b'[{"echo":"a1"}]')
    assert two.messages() == [[{"echo": "b2"}], [{"echo": 3}]]
