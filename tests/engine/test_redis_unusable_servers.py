"""A server that cannot be used is logged once, in one sentence, and tried again."""

from collections.abc import Callable
from typing import Any

import hiredis
import pytest
from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import capturedLogs, formatEvent

from tests.engine.redis_harness import RedisHarness, pause
from tests.engine.redis_own_server import OwnServer
from txbayeux.engine.redis import RedisEngine
from txbayeux.engine.redis.location import parse
from txbayeux.limits import Limits
from txbayeux.testing import contract


def logged(log: list[Any]) -> list[str]:
    """Return the lines that the engine logged."""
    events = (event for event in log if event["log_namespace"].startswith("txbayeux"))
    return [formatEvent(event) for event in events]


class FakeRedis(Protocol):
    """Replies from a table; closes the connection at any other command."""

    factory: Any

    def connectionMade(self) -> None:
        self.reader = hiredis.Reader()
        self.factory.connections.append(self)

    def dataReceived(self, data: bytes) -> None:
        transport: Any = self.transport
        self.reader.feed(data)
        while command := self.reader.gets():
            reply = self.factory.replies.get(command[0])
            if reply is None:
                transport.loseConnection()
                return
            transport.write(reply + b"\r\n")

    def connectionLost(self, reason: Any = connectionDone) -> None:
        self.factory.connections.remove(self)
        self.factory.tried += 1


UNKNOWN = b"-ERR unknown command `%s`, with args beginning with: "
STREAMS = {
    b"XADD": b"$-1",
    b"XRANGE": b"*0",
    b"SUBSCRIBE": b"*3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:1",
}


SERVERS = {
    "without streams": (
        {b"XADD": UNKNOWN % b"XADD"},
        "it lacks a command that the engine needs (ERR unknown command `XADD`",
    ),
    "Redis 6.0": (
        {b"XADD": b"-ERR Invalid stream ID specified as stream command argument"},
        "it is older than Redis 6.2 (ERR Invalid stream ID",
    ),
    "without scripts": (
        {**STREAMS, b"EVAL": UNKNOWN % b"EVAL"},
        "it lacks a command that the engine needs (ERR unknown command `EVAL`",
    ),
    "a proxy that hangs up": (
        STREAMS,
        "it closed the connection before the engine could use it (",
    ),
    "in protected mode": (
        {b"XADD": b"-DENIED Redis is running in protected mode"},
        "DENIED Redis is running in protected mode",
    ),
    "no Redis at all": (
        {b"XADD": b"HTTP/1.1 400 Bad Request"},
        "invalid data: Protocol error, got ",
    ),
}


class TestOtherServers(RedisHarness):
    """Servers that are not Redis 6.2 or later, by fake replies."""

    @pytest.fixture(autouse=True, params=SERVERS)
    def _server(self, request: pytest.FixtureRequest) -> None:
        replies, self.sentence = SERVERS[request.param]
        self.factory: Any = Factory.forProtocol(FakeRedis)
        self.factory.noisy = False
        self.factory.connections, self.factory.tried = [], 0
        self.factory.replies = replies
        there: Any = reactor
        self.listening = there.listenTCP(0, self.factory, interface="127.0.0.1")

    async def tear_down(self) -> None:
        await self.listening.stopListening()
        while self.factory.connections:
            await pause(0.01)

    def make_engine(self, *, limits: Limits, session_timeout: float) -> RedisEngine:
        port = self.listening.getHost().port
        return RedisEngine(reactor, parse(f"redis://127.0.0.1:{port}"))

    @contract
    async def test_the_reason_is_logged_once_and_connecting_is_repeated(self) -> None:
        with capturedLogs() as log:
            engine = await self.start()
            while self.factory.tried < 6:
                await pause(0.05)
        (line,) = logged(log)
        assert line.startswith("Cannot use Redis (127.0.0.1:")
        assert self.sentence in line
        assert not engine.ready()


class TestRights(OwnServer):
    """A real Redis that refuses the engine at first, and then accepts it."""

    user = ""

    def make_engine(self, *, limits: Limits, session_timeout: float) -> RedisEngine:
        return RedisEngine(
            reactor,
            parse(f"redis+unix://{self.user}{self.server.socket}"),
            limits=limits,
            session_timeout=session_timeout,
            options=self.options(),
        )

    def rights(self, *rights: str) -> None:
        self.user = "bayeux:secret@"
        # Redis 7.0 gives no right to channels by default, 6.2 to all.
        self.server.client.execute_command(
            *("ACL", "SETUSER", "bayeux", "reset", "on", ">secret", "&*", *rights)
        )

    async def refused_until(self, sentence: str, remedy: Callable[[], object]) -> None:
        with capturedLogs() as log:
            engine = await self.start()
            await self.soon(lambda: logged(log))
        (line,) = logged(log)
        assert sentence in line
        assert not engine.ready()
        waiting = engine.create_session()
        await pause(0.1)
        assert not waiting.called
        remedy()
        await self.soon(engine.ready)
        await waiting

    @contract
    async def test_a_wrong_password(self) -> None:
        self.rights("~*", "+@all")
        self.user = "bayeux:wrong@"
        await self.refused_until(
            "the user or the password in its URL is wrong",
            lambda: self.rights(">wrong", "~*", "+@all"),
        )

    @contract
    async def test_no_password_where_one_is_required(self) -> None:
        client = self.server.client
        client.config_set("requirepass", "secret")
        await self.refused_until(
            "it requires a password, which its URL must give",
            lambda: client.config_set("requirepass", ""),
        )

    @contract
    async def test_no_rights(self) -> None:
        self.rights()
        await self.refused_until(
            "its user lacks a right that the engine needs",
            lambda: self.rights("~*", "+@all"),
        )

    @contract
    async def test_no_right_to_the_keys(self) -> None:
        self.rights("+@all", "~{other}:*")
        await self.refused_until(
            "its user lacks a right that the engine needs",
            lambda: self.rights("~*", "+@all"),
        )

    @pytest.mark.parametrize("command", ["xadd", "xrange", "eval", "hset"])
    def test_one_command_is_missing(self, command: str) -> Any:
        self.rights("~*", "+@all", f"-{command}")
        return self.refused_for_a_command()

    @contract
    async def refused_for_a_command(self) -> None:
        await self.refused_until(
            "its user lacks a right that the engine needs",
            lambda: self.rights("~*", "+@all"),
        )

    @contract
    async def test_no_right_to_the_feed(self) -> None:
        self.rights("~*", "+@all", "resetchannels", "&other")
        with capturedLogs() as log:
            engine = await self.start()
            await self.soon(lambda: logged(log))
        (line,) = logged(log)
        assert "its user lacks a right that the engine needs" in line
        assert not engine.ready()
        self.rights("~*", "+@all", "&*")
        await self.soon(engine.ready)

    @contract
    async def test_a_replica(self) -> None:
        client = self.server.client
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        await self.refused_until(
            "it is a replica (READONLY ",
            lambda: client.execute_command("REPLICAOF", "NO", "ONE"),
        )
