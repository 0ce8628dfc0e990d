"""Show with hypothesis that client and server get over any sequence of faults."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from txbayeux.client import State
from txbayeux.errors import UnknownSession
from txbayeux.extensions import Ack
from txbayeux.testing import Fault, MemoryServer

from .harness import no_logged_failures, outcome

CHANNELS = st.sampled_from(
    [None, "/meta/*", "/meta/connect", "/meta/handshake", "/meta/subscribe", "/b"]
)
FAULTS = st.one_of(
    st.tuples(st.just("drop_requests"), CHANNELS),
    st.tuples(st.just("drop_replies"), CHANNELS),
    st.tuples(st.just("delay_replies"), st.floats(0, 20), CHANNELS),
    st.tuples(st.just("answer_with_status"), st.sampled_from([404, 503]), CHANNELS),
    st.tuples(st.just("refuse"), st.just("/meta/**"), st.just("503::Later")),
)
STEPS = st.one_of(
    st.tuples(st.just("fault"), FAULTS, st.integers(1, 3)),
    st.tuples(st.just("advance"), st.floats(0, 60)),
    st.tuples(st.just("publish")),
    st.tuples(st.just("send")),
    st.tuples(st.just("disconnect")),
    st.tuples(st.just("outage"), st.floats(0, 30)),
)
ENDS = st.one_of(st.tuples(st.just("restart")), st.tuples(st.just("end")))


class Run:
    """A client that is subscribed to /a and sends to /b, and what goes wrong."""

    def __init__(self, kind: str, *, acknowledges: bool) -> None:
        self.server = MemoryServer()
        extensions = [Ack()] if acknowledges else []
        types = [kind] if kind == "long-polling" else [kind, "long-polling"]
        self.client = self.server.new_client(transports=types, extensions=extensions)
        self.got: list[int] = []
        self.client.subscribe("/a", lambda message: self.got.append(message["data"]))
        self.server.advance()
        self.published = 0
        self.faults: list[Fault] = []
        self.sent: list[list[Any]] = []

    def do(self, step: Any) -> None:
        server = self.server
        match step:
            case ("advance", seconds):
                server.advance(seconds)
            case ("publish",):
                self.published += 1
                server.publish("/a", self.published)
            case ("send",):
                self.sent.append(outcome(self.client.publish("/b", len(self.sent))))
            case ("fault", (name, *arguments), times):
                fault = getattr(server, name)(*arguments, times=times)
                self.faults.append(fault)
            case ("disconnect",):
                server.disconnect()
            case ("outage", seconds):
                with server.unreachable():
                    server.advance(seconds)
            case ("restart",):
                server.restart()
            case ("end",) if self.client.state is State.CONNECTED:
                with suppress(UnknownSession):  # the client does not know yet
                    server.end_session(self.client)

    def finish(self) -> None:
        """Check that all is well once nothing goes wrong any more."""
        server, client = self.server, self.client
        for fault in self.faults:
            fault.cancel()
        server.advance(600)
        assert client.state is State.CONNECTED
        self.do(("publish",))
        self.do(("send",))
        server.advance(20)
        assert self.got[-1] == self.published
        assert all(len(result) == 1 for result in self.sent)
        assert self.sent[-1][0]["successful"] is True
        server.wait_for(client.disconnect())
        server.stop()
        assert server.clock.getDelayedCalls() == []


@settings(max_examples=60)
@given(
    kind=st.sampled_from(["websocket", "long-polling"]),
    acknowledges=st.booleans(),
    steps=st.lists(st.one_of(STEPS, STEPS, STEPS, ENDS), max_size=20),
)
def test_client_and_server_recover_from_any_faults(
    kind: str, acknowledges: bool, steps: list[Any]
) -> None:
    with no_logged_failures():
        run = Run(kind, acknowledges=acknowledges)
        for step in steps:
            run.do(step)
        run.finish()
        assert run.got == sorted(set(run.got))


@settings(max_examples=60)
@given(
    kind=st.sampled_from(["websocket", "long-polling"]),
    steps=st.lists(STEPS, max_size=20),
)
def test_an_acknowledging_session_gets_every_message_once(
    kind: str, steps: list[Any]
) -> None:
    with no_logged_failures():
        run = Run(kind, acknowledges=True)
        session = run.client.session_id
        for step in steps:
            run.do(step)
        run.finish()
        if len(run.server.received("/meta/handshake")) == 1:
            assert session is not None
            assert run.got == list(range(1, run.published + 1))
