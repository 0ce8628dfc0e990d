"""Test a program that is a client, without a network and without waiting:

pytest examples/client_test.py
"""

from __future__ import annotations

from examples.auth import Auth
from examples.board import Board
from txbayeux import Bayeux
from txbayeux.testing import MemoryServer


def test_prices_are_shown() -> None:
    server = MemoryServer()
    board = Board(server.new_client())
    server.advance()  # handshake, connect and subscribe
    server.publish("/prices/tea", 2.5)
    assert board.prices == {"tea": 2.5}


def test_an_order_reaches_the_server() -> None:
    server = MemoryServer()
    board = Board(server.new_client())
    reply = server.wait_for(board.order("tea"))
    assert reply["successful"]
    assert [m["data"] for m in server.received("/orders")] == [{"name": "tea"}]


def test_two_programs_on_one_server() -> None:
    server = MemoryServer()
    board, seller = Board(server.new_client()), server.new_client()
    server.advance()
    server.wait_for(seller.publish("/prices/tea", 3))
    server.until(lambda: board.prices)
    assert board.prices == {"tea": 3}


def test_it_stays_live_for_a_day() -> None:
    server = MemoryServer()
    board = Board(server.new_client(transports=["long-polling"]))
    server.advance(24 * 3600)  # takes a fraction of a second
    assert board.status == "live"


def test_the_server_may_be_your_own() -> None:
    server = MemoryServer(lambda clock: Bayeux(clock, extensions=[Auth()]))
    board = Board(server.new_client())
    server.advance()
    assert board.status == "refused: 403::Not yours"


def test_nothing_is_left_after_a_disconnect() -> None:
    server = MemoryServer()
    client = server.new_client()
    Board(client)
    server.advance()
    server.wait_for(client.disconnect())
    server.stop()
    assert server.clock.getDelayedCalls() == []
