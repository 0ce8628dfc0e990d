"""Test an extension on a server in memory, without a network:

pytest examples/extension_test.py
"""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock

from examples.auth import Auth
from txbayeux.engine.memory import MemoryEngine
from txbayeux.server import Server
from txbayeux.testing import FakeRequest


@pytest.mark.parametrize(("token", "allowed"), [("s3cret", True), ("pa55", False)])
def test_users_write_below_their_own_channel(token: str, allowed: bool) -> None:
    server = Server(MemoryEngine(Clock()), extensions=[Auth()])
    server.start()
    replies: list[Any] = []
    message = {"channel": "/users/alice/x", "data": 1, "ext": {"token": token}}
    answer = server.process([message], FakeRequest(transport="websocket"))
    answer.addCallback(lambda response: replies.extend(response.items))
    assert replies[0]["successful"] is allowed
