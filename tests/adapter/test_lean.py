"""What Autobahn keeps for each connection is shared only where that is safe."""

from typing import Any

import pytest
from autobahn.twisted.websocket import WebSocketServerProtocol

from .sockets import TEXT, Client, frame
from .support import Service


def test_an_idle_connection_has_little_of_its_own() -> None:
    client = Client(Service())
    client.send([1])
    # Up to 30, Python keeps no table of names for each.
    assert len(vars(client.transport.protocol)) <= 30


def test_what_a_later_autobahn_may_add_is_copied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = WebSocketServerProtocol._connectionMade

    def more(self: Any) -> None:
        made(self)
        self.something_new = []

    monkeypatch.setattr(WebSocketServerProtocol, "_connectionMade", more)
    service = Service()
    one, two = (Client(service).transport.protocol for _ in range(2))
    one.something_new.append(1)
    assert two.something_new == []


def test_connections_do_not_meet() -> None:
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
