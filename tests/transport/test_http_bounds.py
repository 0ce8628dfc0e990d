"""Answers without an end, over HTTP: each has a bound in time and in size."""

from __future__ import annotations

import pytest

from txbayeux.transport.interface import Silent

from .posts import Stage


@pytest.mark.parametrize("status", ["307 Moved", "401 Unauthorized", "500 Error"])
def test_a_page_that_does_not_end_is_not_waited_for(status: str) -> None:
    stage = Stage()
    done = stage.send(10)
    stage.pipe.send(
        f"HTTP/1.1 {status}\r\nLocation: /b\r\nContent-Length: 9\r\n\r\n<".encode()
    )
    stage.clock.advance(10)
    assert isinstance(done[0], Silent)
    assert [pipe.written.count(b"POST") for pipe in stage.network.pipes] == [1]
    stage.assert_nothing_left()
