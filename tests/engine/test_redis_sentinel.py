"""The Redis engine finds the master by Sentinel, also after a failover."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.logger import capturedLogs, formatEvent

from tests.engine.certificates import LOOPBACK, certificate
from tests.engine.redis_harness import pause
from tests.engine.redis_own_server import OwnServer
from tests.engine.redis_server import EXECUTABLE, RedisServer
from tests.ports import free_port
from txbayeux.engine.redis import RedisEngine
from txbayeux.engine.redis.location import parse
from txbayeux.limits import Limits
from txbayeux.testing import contract


def lines(log: Any) -> list[str]:
    """Return what the engine logged."""
    return [
        formatEvent(event)
        for event in log
        if event["log_namespace"].startswith("txbayeux")
    ]


class TestSentinel(OwnServer):
    """A master, a replica and a Sentinel."""

    executable = EXECUTABLE
    options_of_tls: tuple[str, ...] = ()

    def serve(self, name: str, *options: str, **others: Any) -> RedisServer:
        port = free_port()
        if self.options_of_tls:
            options += (*self.options_of_tls, "--tls-port", str(port))
        server = RedisServer(
            self.folder / name,
            *options,
            port=0 if self.options_of_tls else port,
            executable=self.executable,
            **others,
        )
        server.start()
        server.port = port
        self.servers.append(server)
        return server

    @pytest.fixture(autouse=True)
    def _server(self, tmp_path: Path) -> Iterator[None]:
        self.namespace = "sentinel"
        self.folder = tmp_path
        self.servers: list[RedisServer] = []
        self.prepare()
        try:
            self.server = self.serve("master")
            master = ("127.0.0.1", str(self.server.port))
            self.replica = self.serve("replica", "--replicaof", *master)
            configuration = tmp_path / "sentinel.conf"
            configuration.write_text(
                f"sentinel monitor main {' '.join(master)} 1\n"
                "sentinel down-after-milliseconds main 500\n"
                "sentinel failover-timeout main 2000\n"
            )
            self.sentinel = self.serve("sentinel", configuration=str(configuration))
            yield
        finally:
            for server in self.servers:
                server.stop()

    def prepare(self) -> None:
        pass

    def where(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.sentinel.port}/main/0"

    def make_engine(self, *, limits: Limits, session_timeout: float) -> RedisEngine:
        return RedisEngine(
            reactor,
            parse(self.where()),
            limits=limits,
            session_timeout=session_timeout,
            options=self.options(),
        )

    @contract
    async def test_sessions_continue_on_the_new_master_after_a_failover(self) -> None:
        engine, observer = await self.start_node()
        alice = await self.join(engine, "/a")
        await self.publish(engine, "/a", 1)
        replica: Any = self.replica.client
        await self.soon(lambda: replica.info()["master_link_status"] == "up")
        sentinel: Any = self.sentinel.client
        await self.soon(
            lambda: sentinel.execute_command("SENTINEL", "REPLICAS", "main")
        )
        master: Any = self.server.client
        await self.soon(
            lambda: (
                replica.info()["slave_repl_offset"]
                == master.info()["master_repl_offset"]
            )
        )
        self.server.stop()
        await self.soon(lambda: replica.info()["role"] == "master", 30)
        await self.soon(engine.ready, 30)
        await self.publish(engine, "/a", 2)
        assert await self.poll(engine, alice) == [1, 2]
        assert observer.closed == []

    @contract
    async def test_the_log_says_why_no_sentinel_replies(self) -> None:
        self.sentinel.stop()
        with capturedLogs() as log:
            engine = await self.start()
            await self.soon(lambda: lines(log))
        assert not engine.ready()
        (line,) = lines(log)
        assert "no Sentinel names a master of main" in line
        assert f"127.0.0.1:{self.sentinel.port}: Connection was refused" in line

    @contract
    async def test_an_engine_that_stops_during_a_query_leaves_nothing(self) -> None:
        # The harness also checks the reactor when the test has ended.
        with self.sentinel.frozen():
            engine = await self.start()
            await pause(0.3)
            assert not engine.ready()
            await self.stop(engine)
            assert self.leftovers() == []


@pytest.mark.skipif(
    shutil.which("redis-server") is None, reason="needs a redis-server with TLS"
)
@pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")
class TestSentinelTLS(TestSentinel):
    """The same with TLS only."""

    executable = shutil.which("redis-server") or ""

    def prepare(self) -> None:
        pem = self.folder / "all.pem"
        pem.write_bytes(certificate(LOOPBACK))
        self.options_of_tls = (
            *("--tls-cert-file", str(pem), "--tls-key-file", str(pem)),
            *("--tls-ca-cert-file", str(pem), "--tls-auth-clients", "no"),
            *("--tls-replication", "yes"),
        )
        self.trusted = pem

    def where(self) -> str:
        port = self.sentinel.port
        return f"rediss+sentinel://127.0.0.1:{port}/main/0?ca={self.trusted}"

    @contract
    async def test_a_sentinel_with_an_untrusted_certificate_is_refused(self) -> None:
        self.trusted = self.folder / "other.pem"
        self.trusted.write_bytes(certificate(LOOPBACK))
        with capturedLogs() as log:
            engine = await self.start()
            await self.soon(lambda: lines(log))
        assert not engine.ready()
        assert any("certificate verify failed" in line for line in lines(log))
