"""Replies that Redis sends only if it is asked for RESP3, or is something else."""

from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs

from txbayeux.engine.redis.connection import Connection, ConnectionFactory
from txbayeux.engine.redis.errors import Lost


def received(data: bytes) -> tuple[StringTransport, list[Any]]:
    """Return the transport, and what three commands got of these bytes."""
    connection: Connection = ConnectionFactory(Clock(), "tests").buildProtocol(None)
    transport = StringTransport()
    connection.makeConnection(transport)
    got: list[Any] = []
    for _ in range(3):
        connection.execute_command("GET", "a").addBoth(got.append)
    connection.dataReceived(data)
    if transport.disconnected:
        connection.connectionLost()
    return transport, got


def test_false_is_the_reply_to_one_command() -> None:
    transport, got = received(b"#f\r\n:5\r\n")
    assert got == [False, 5]
    assert not transport.disconnected


@pytest.mark.parametrize("data", [b"%1\r\n*0\r\n:1\r\n", b"HTTP/1.1 400 x\r\n\r\n"])
def test_what_is_no_reply_closes_the_connection(data: bytes) -> None:
    with capturedLogs() as log:
        transport, got = received(b":1\r\n" + data + b":2\r\n")
    assert transport.disconnected
    assert got[0] == 1
    assert [type(failure.value) for failure in got[1:]] == [Lost, Lost]
    assert log == []
