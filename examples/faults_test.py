"""Test what a program does when something goes wrong, one test for each fault:

pytest examples/faults_test.py
"""

from __future__ import annotations

import pytest

from examples.board import Board
from txbayeux import BayeuxError
from txbayeux.client import State
from txbayeux.testing import MemoryServer


def live_board() -> tuple[MemoryServer, Board]:
    server = MemoryServer()
    board = Board(server.new_client())
    server.advance()
    assert board.status == "live"
    return server, board


def test_refuse() -> None:
    server = MemoryServer()
    server.refuse("/meta/handshake", "503::Later", advice={"interval": 5000})
    board = Board(server.new_client())
    server.advance(4.9)
    assert board.status == "connecting"
    server.advance(1)
    assert board.status == "live"


def test_refuse_always() -> None:
    server, board = live_board()
    fault = server.refuse("/orders", "403::Closed", times=None)
    for _ in range(3):
        with pytest.raises(BayeuxError, match="403::Closed"):
            server.wait_for(board.order("tea"))
    fault.cancel()
    assert server.wait_for(board.order("tea"))["successful"]
    assert fault.strikes == 3


def test_drop_requests() -> None:
    server, board = live_board()
    server.drop_requests("/orders")
    server.wait_for(board.order("tea"))  # sent again after ten seconds
    assert len(server.received("/orders")) == 1


def test_drop_replies() -> None:
    server, board = live_board()
    server.drop_replies("/orders")
    server.wait_for(board.order("tea"))
    assert len(server.received("/orders")) == 2  # orders need numbers


def test_delay_replies() -> None:
    server, board = live_board()
    server.delay_replies(3, "/orders")
    server.wait_for(board.order("tea"))
    assert server.clock.seconds() == 3


def test_answer_with_status() -> None:
    server = MemoryServer()
    server.answer_with_status(404, connection_type="websocket", times=None)
    client = server.new_client()  # behind a proxy that knows no WebSockets
    server.wait_for(client.connect())
    assert client.transport == "long-polling"


def test_disconnect() -> None:
    server, board = live_board()
    server.disconnect()
    assert board.status == "old"
    server.publish("/prices/tea", 2.5)
    server.advance(1)
    assert board.status == "live"
    assert board.prices == {"tea": 2.5}  # the session went on


def test_unreachable() -> None:
    server, board = live_board()
    with server.unreachable():
        server.advance(60)
        assert board.status == "old"
    server.until(lambda: board.status == "live")


def test_restart() -> None:
    server, board = live_board()
    server.restart()
    server.publish("/prices/tea", 2.5)  # nobody is subscribed yet
    server.until(lambda: board.status == "live")
    server.publish("/prices/salt", 1)
    assert board.prices == {"salt": 1}


def test_end_session() -> None:
    server = MemoryServer()
    client = server.new_client()
    server.wait_for(client.connect())
    server.end_session(client)
    assert client.state is State.WAITING
    server.until(lambda: client.state is State.CONNECTED)
