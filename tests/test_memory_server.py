"""The servers in memory: their clients, and how time passes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import unittest
from collections.abc import Callable
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from examples import aio_memory_test, client_test, faults_test, scripted_test
from txbayeux import Bayeux, BayeuxError, Client, Extension, aio
from txbayeux.client import State
from txbayeux.engine.memory import MemoryEngine
from txbayeux.errors import UnknownSession
from txbayeux.extensions import Ack
from txbayeux.message import Message
from txbayeux.testing import MemoryServer, ScriptedServer
from txbayeux.transport.base import Unreachable

EXAMPLES = [
    function
    for module in (client_test, faults_test, scripted_test, aio_memory_test)
    for name, function in vars(module).items()
    if name.startswith("test_")
]

TYPES = pytest.mark.parametrize("kind", ["websocket", "long-polling"])


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.__name__)
def test_the_examples_run(example: Callable[[], None]) -> None:
    example()


def subscribed(server: MemoryServer, **options: Any) -> tuple[Client, list[Any]]:
    """Return a client that is subscribed to /a, and the data that it gets."""
    got: list[Any] = []
    client = server.new_client(**options)
    client.subscribe("/a", lambda message: got.append(message["data"]))
    server.advance()
    assert client.state is State.CONNECTED
    return client, got


# Clients.


def test_importing_it_imports_neither_pytest_nor_a_reactor() -> None:
    program = (
        "import sys, txbayeux.testing;"
        "print({'pytest', 'twisted.internet.reactor'} & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout == "set()\n"


@TYPES
def test_messages_arrive_in_order_and_once(kind: str) -> None:
    server = MemoryServer()
    client, got = subscribed(server, transports=[kind])
    for number in range(20):
        server.publish("/a", number)
        server.advance(number % 3)
    assert got == list(range(20))
    assert client.transport == kind
    held = [r for r in server.requests if r.open]
    assert [request.channels for request in held] == [["/meta/connect"]]


@TYPES
def test_nothing_is_left_when_clients_and_server_have_stopped(kind: str) -> None:
    server = MemoryServer()
    client, _ = subscribed(server, transports=[kind])
    crashed, _ = subscribed(server, transports=[kind])
    server.stop()
    server.advance(1)
    assert client.state is State.BROKEN
    assert isinstance(crashed.last_failure, Unreachable)
    server.wait_for(client.disconnect())
    server.wait_for(crashed.disconnect())
    assert server.clock.getDelayedCalls() == []


def test_a_program_may_make_its_own_client() -> None:
    server = MemoryServer()
    client = Client(
        "http://localhost/x", reactor=server.clock, transports=server.transports
    )
    server.wait_for(client.connect())


def test_new_client_takes_the_place_of_the_class() -> None:
    server = MemoryServer()
    types = ["eventsource", "long-polling"]
    client = server.new_client(
        "https://bayeux.example", reactor=object(), transports=types
    )
    server.wait_for(client.connect())
    assert client.transport == "long-polling"
    assert client.url == "https://bayeux.example/"


@pytest.mark.parametrize("types", [[], ["eventsource"], "websocket"])
def test_a_client_without_a_connection_type_is_refused(types: Any) -> None:
    with pytest.raises(ValueError, match="connection type"):
        MemoryServer().new_client(transports=types)


@pytest.mark.parametrize("acknowledges", [True, False])
@TYPES
def test_what_a_slow_client_does_not_read_waits_on_the_server(
    kind: str, acknowledges: bool
) -> None:
    server = MemoryServer()
    client = server.new_client(
        transports=[kind], extensions=[Ack()] if acknowledges else []
    )
    working: list[Deferred[None]] = []
    got: list[int] = []

    def listener(message: Message) -> Deferred[None]:
        got.append(message["data"])
        working.append(Deferred())
        return working[-1]

    client.subscribe("/a", listener)
    server.advance()
    for number in range(1000):
        server.publish("/a", number)
    server.advance(20)
    assert len(got) < 200
    assert server.bayeux.server.statistics()["queued_messages"] > 700
    while working:
        working.pop(0).callback(None)
        server.advance()
    assert got == list(range(1000))
    assert client.state is State.CONNECTED


def test_a_held_connect_does_not_time_out_while_nothing_is_read() -> None:
    server = ScriptedServer()
    client = server.new_client()
    client.connect()
    server.advance()
    connect = server.held_connect
    connect.transport.pause()
    server.advance(3600)
    assert connect.open
    connect.transport.resume()
    server.advance(3600)
    assert not connect.open


def test_extensions_of_the_server_see_the_request() -> None:
    seen: list[Any] = []

    class Seeing(Extension):
        def incoming(self, message: Message, request: Any) -> Message:
            seen.append((request.transport, request.headers))
            return message

    server = MemoryServer(lambda clock: Bayeux(clock, extensions=[Seeing()]))
    client = server.new_client(headers={"Authorization": "Bearer x"})
    server.wait_for(client.connect())
    assert seen[0] == ("websocket", {"authorization": "Bearer x"})


def test_a_message_can_be_delivered_to_one_client() -> None:
    server = MemoryServer()
    (client, got), (_, others) = subscribed(server), subscribed(server)
    server.deliver(client, "/a", 1)
    assert (got, others) == ([1], [])


def test_what_the_server_refuses_is_raised() -> None:
    server = MemoryServer()
    idle = server.new_client()
    with pytest.raises(BayeuxError, match="405"):
        server.publish("no channel", 1)
    for call in (
        lambda: server.deliver(idle, "/a", 1),
        lambda: server.end_session(idle),
    ):
        with pytest.raises(UnknownSession):
            call()


def test_a_client_gets_no_answer_while_it_asks() -> None:
    server = MemoryServer()
    connected = server.new_client().connect()
    assert not connected.called
    server.advance()
    assert connected.called


def test_it_can_be_used_in_a_test_case_of_twisteds() -> None:
    class Case(SynchronousTestCase):
        def test_connect(self) -> None:
            server = MemoryServer()
            connected = server.new_client().connect()
            self.assertNoResult(connected)
            server.advance()
            self.successResultOf(connected)

    result = unittest.TestResult()
    Case("test_connect").run(result)
    assert result.testsRun == 1
    assert result.wasSuccessful(), [*result.errors, *result.failures]


def test_a_server_for_asyncio_needs_a_running_loop() -> None:
    with pytest.raises(RuntimeError, match="event loop"):
        MemoryServer.for_asyncio()


def test_nothing_of_a_server_for_asyncio_is_left_in_its_loop() -> None:
    async def scenario() -> None:
        server = MemoryServer.for_asyncio()
        async with aio.Client(server.url, transports=server.transports) as client:
            await client.connect()
        await server.stop().asFuture(asyncio.get_running_loop())
        assert server.clock.getDelayedCalls() == []

    asyncio.run(scenario())


# Time.


def test_time_goes_from_timer_to_timer() -> None:
    server = MemoryServer(clock=Clock())
    times: list[float] = []

    def again() -> None:
        times.append(server.clock.seconds())
        server.clock.callLater(0.7, again)

    again()
    server.advance(3)
    assert times == pytest.approx([0, 0.7, 1.4, 2.1, 2.8])
    assert server.clock.seconds() == 3


def test_waiting_returns_the_result_or_raises_the_error() -> None:
    server = MemoryServer()
    later: Deferred[int] = Deferred()
    server.clock.callLater(50, later.callback, 7)

    async def doubled() -> int:
        return 2 * await later

    assert server.wait_for(doubled()) == 14
    with pytest.raises(ZeroDivisionError):
        server.wait_for(fail(ZeroDivisionError()))


def test_waiting_in_vain_ends() -> None:
    server = MemoryServer()
    subscribed(server)
    with pytest.raises(TimeoutError, match="within 90 s"):
        server.wait_for(Deferred(), timeout=90)
    with pytest.raises(TimeoutError):
        server.until(lambda: False)
    assert server.clock.seconds() <= 150


def test_a_server_that_cannot_start_without_a_network_is_refused() -> None:
    class Remote(MemoryEngine):
        def start(self, observer: object) -> Deferred[None]:
            return Deferred()

    with pytest.raises(TimeoutError):
        MemoryServer(lambda clock: Bayeux(clock, engine=Remote))


@pytest_twisted.ensureDeferred
async def test_with_a_real_reactor_time_passes_by_itself() -> None:
    from twisted.internet import reactor  # noqa: PLC0415

    server = MemoryServer(clock=reactor)
    client = server.new_client()
    subscription = client.subscribe("/a")
    await subscription.ready
    server.publish("/a", 1)
    assert (await anext(subscription))["data"] == 1
    server.refuse("/b", "403::No")
    with pytest.raises(BayeuxError, match="403"):
        await client.publish("/b", 1)
    server.end_session(client)
    for call in (server.advance, lambda: server.until(lambda: False)):
        with pytest.raises(TypeError, match="real reactor"):
            call()
    await client.disconnect()
    await server.stop()


# Scripted servers.


def test_a_scripted_response_without_the_reply_fails() -> None:
    server = ScriptedServer()
    server.respond = lambda request: request.answer()
    client = server.new_client()
    client.connect()
    assert "holds no reply" in str(client.last_failure)


def test_faults_strike_a_scripted_server_too() -> None:
    server = ScriptedServer()
    server.refuse("/meta/handshake", "401::No", advice={"reconnect": "none"})
    client = server.new_client()
    with pytest.raises(BayeuxError, match="401"):
        server.wait_for(client.connect())
    with pytest.raises(ValueError, match="unpack"):
        server.held_connect  # noqa: B018
