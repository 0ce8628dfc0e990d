"""Show how the client recovers beside an event stream.

There, connects come at the interval that the server advises: they only tell it that the
client lives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pytest

from txbayeux.client import State
from txbayeux.testing import FakeTransport
from txbayeux.transport.base import Factory, NoReply

from .harness import Harness

STREAM_ADVICE = {"reconnect": "retry", "interval": 45_000, "timeout": 0}


class StreamHarness(Harness):
    """A server with event streams, which advises what ours does beside them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(["eventsource"], **options)
        self.offer = ["eventsource"]
        self.advice = dict(STREAM_ADVICE)

    def _factories(
        self, types: Sequence[str], made: list[FakeTransport]
    ) -> Mapping[str, Factory]:
        return {name: partial(self._connect, name, made) for name in types}

    def connect(self) -> None:
        """Connect; no connect is held."""
        self.client.connect()
        self.advance()
        assert self.client.state is State.CONNECTED


@pytest.mark.parametrize("status", [502, 503, None])
def test_a_connect_beside_a_stream_is_not_repeated_at_its_rhythm(
    status: int | None,
) -> None:
    harness = StreamHarness()
    harness.connect()
    [transport] = harness.transports
    assert transport.attached == ["session1"]
    # One of the servers behind a balancer stops: the stream ends, and the balancer
    # sends the next requests there, too.
    harness.respond = lambda request: request.fail(NoReply("no", status))
    transport.receiver.broken(NoReply("the event stream ended"))
    harness.pass_time(1.5)
    assert 2 <= len(harness.failures) <= 4
    harness.respond = harness.reply_to_all
    harness.pass_time(2.5)
    assert harness.client.state is State.CONNECTED
    assert transport.attached == ["session1"] * 2


def test_a_stream_that_ends_after_a_refused_connect_is_opened_again() -> None:
    # A server that stops answers a connect with an error, and then ends the stream.
    harness = StreamHarness()
    harness.connect()
    [transport] = harness.transports
    advice = {"reconnect": "retry", "interval": 1000}
    harness.respond = lambda request: harness.answer(
        request, error="503::Service temporarily unavailable", advice=advice
    )
    harness.pass_time(45.1)
    assert harness.client.state is State.BROKEN
    transport.receiver.broken(NoReply("the event stream ended"))
    harness.respond = harness.reply_to_all
    harness.pass_time(4)
    assert harness.client.state is State.CONNECTED
    assert transport.attached == ["session1"] * 2
