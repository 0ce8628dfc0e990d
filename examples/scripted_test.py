"""Test a program with a server that behaves as no good one does:

pytest examples/scripted_test.py
"""

from __future__ import annotations

from examples.board import Board
from txbayeux.testing import ClientRequest, ScriptedServer


def test_a_server_that_delivers_before_it_confirms() -> None:
    server = ScriptedServer()

    def respond(request: ClientRequest) -> None:
        if request.channels == ["/meta/subscribe"]:
            request.push({"channel": "/prices/tea", "data": 2.5})
            server.answer(request, error="500::Out of memory")
        else:
            server.reply_to_all(request)

    server.respond = respond
    board = Board(server.new_client())
    assert board.prices == {"tea": 2.5}
    assert board.status == "refused: 500::Out of memory"


def test_a_server_that_never_answers_orders() -> None:
    server = ScriptedServer()
    board = Board(server.new_client(transports=["long-polling"]))
    server.respond = lambda request: None
    order = board.order("tea")
    assert server.last("/orders").open
    server.advance(60)
    assert not order.called
    server.respond = server.reply_to_all
    assert server.wait_for(order)["successful"]
