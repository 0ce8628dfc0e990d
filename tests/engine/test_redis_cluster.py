"""The Redis engine on a Redis Cluster: contract, failover, migration of its slot."""

import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from tests.engine.certificates import LOOPBACK, certificate
from tests.engine.redis_cluster import RedisCluster
from tests.engine.redis_harness import RedisHarness, pause
from tests.engine.redis_own_server import OwnServer, text
from tests.engine.redis_rights import rules
from tests.engine.redis_server import RedisServer
from txbayeux.engine.redis import RedisEngine
from txbayeux.engine.redis.location import parse
from txbayeux.limits import Limits
from txbayeux.testing import EngineContract, RecordingStream, contract


class OnCluster(RedisHarness):
    """Engines that know one node of the cluster, whichever."""

    cluster: RedisCluster
    seed: RedisServer

    def url(self) -> str:
        return f"redis+cluster://127.0.0.1:{self.cluster.port(self.seed)}"

    def make_engine(self, *, limits: Limits, session_timeout: float) -> Any:
        return RedisEngine(
            reactor,
            parse(self.url()),
            limits=limits,
            session_timeout=session_timeout,
            options=self.options(),
        )


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    cluster = RedisCluster(tmp_path_factory.mktemp("cluster"), "shared")
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


class TestClusterContract(OnCluster, EngineContract):
    """Namespaces in any slots, from any node."""

    @pytest.fixture(autouse=True)
    def _server(self, shared_cluster: RedisCluster) -> None:  # type: ignore[override]
        self.cluster = shared_cluster
        self.seed = secrets.choice(shared_cluster.nodes)
        self.namespace = f"test-{secrets.token_hex(4)}"


class OwnCluster(OnCluster, OwnServer):
    options_of_tls: tuple[str, ...] = ()

    @pytest.fixture(autouse=True)
    def _server(self, tmp_path: Path) -> Iterator[None]:
        self.namespace = "cluster"
        self.cluster = self.make_cluster(tmp_path)
        try:
            self.cluster.start()
            # Neither the master of the slot nor the one that it moves to.
            others = [n for n in self.cluster.masters if n is not self.cluster.master]
            self.seed, self.target = others
            yield
        finally:
            self.cluster.stop()

    def make_cluster(self, folder: Path) -> RedisCluster:
        return RedisCluster(folder, self.namespace)

    async def fetch_all(
        self, engine: RedisEngine, session: str, count: int
    ) -> list[Any]:
        """Connect with acknowledgements until that many messages came."""
        found: list[Any] = []
        acknowledged: int | None = None
        while len(found) < count:
            delivery = await self.answered(
                engine.connect(session, hold=self.hold, acknowledged=acknowledged)
            )
            assert delivery.ended is None
            found += self.data(delivery.entries)
            acknowledged = delivery.acknowledgement
        return found


class TestCluster(OwnCluster):
    @contract
    async def test_sessions_go_on_at_the_replica_after_a_failover(self) -> None:
        (a, observer), (b, _) = await self.start_node(), await self.start_node()
        alice = await self.join(a, "/a", acknowledges=True)
        bob, stream = await self.join(b, "/a"), RecordingStream()
        await b.attach(bob, stream)
        await self.publish(a, "/a", *range(20))
        await self.soon(self.cluster.synchronized)
        self.cluster.master.stop()
        published = []
        for n in range(20, 40):
            published.append(a.publish("/a", text(n)))
            await pause(0.05)
        await self.soon(lambda: a.ready() and b.ready())
        for one in published:
            await one
        assert await self.fetch_all(a, alice, 40) == list(range(40))
        await self.soon(lambda: len(stream.data) >= 40)
        assert stream.data == list(range(40))
        assert observer.closed == []
        assert a.statistics()["epochs_total"] == 0
        assert self.cluster.replica.client.keys("*")

    @contract
    async def test_a_planned_failover_is_followed(self) -> None:
        engine, observer = await self.start_node()
        stream = RecordingStream()
        await engine.attach(await self.join(engine, "/a"), stream)
        published = [engine.publish("/a", text(0))]
        self.cluster.call(self.cluster.replica, "FAILOVER")
        for n in range(1, 40):
            published.append(engine.publish("/a", text(n)))
            await pause(0.05)
        for one in published:
            await one
        await self.soon(engine.ready)
        await self.soon(lambda: len(stream.data) >= 40)
        assert stream.data == list(range(40))
        role: Any = self.cluster.replica.client.info("replication")
        assert role["role"] == "master"
        assert observer.closed == []

    @contract
    async def test_sessions_go_on_when_their_slot_has_moved(self) -> None:
        (a, observer), (b, _) = await self.start_node(), await self.start_node()
        alice = await self.join(a, "/a", acknowledges=True)
        bob, stream = await self.join(b, "/a"), RecordingStream()
        await b.attach(bob, stream)
        source, target = self.cluster.master, self.target
        published = []

        async def publish() -> None:
            n = len(published)
            published.append((a, b)[n % 2].publish("/a", text(n)))
            await pause(0.05)

        for _ in range(10):
            await publish()
        self.cluster.begin_migration(source, target)
        while keys := await deferToThread(self.cluster.keys, source):
            # One after the other: each state between is seen by the engines.
            await deferToThread(self.cluster.migrate, source, target, keys[0])
            await publish()
        await publish()
        assert not a.ready()
        await deferToThread(self.cluster.end_migration, target)
        for _ in range(10):
            await publish()
        await self.soon(lambda: a.ready() and b.ready())
        for one in published:
            await one
        count = len(published)
        found = await self.fetch_all(a, alice, count)
        assert sorted(found) == list(range(count))
        await self.soon(lambda: len(stream.data) >= count)
        # In one order for all, and each node's own as it published them.
        assert stream.data == found
        assert found[:10] == list(range(10))
        assert observer.closed == []
        assert a.statistics()["epochs_total"] == b.statistics()["epochs_total"] == 0
        assert await deferToThread(self.cluster.keys, target)

    @contract
    async def test_a_script_does_nothing_while_its_keys_are_in_two_nodes(self) -> None:
        self.patience = 1.0
        engine, observer = await self.start_node()
        alice = await self.join(engine, "/a")
        source, target = self.cluster.master, self.target
        self.cluster.begin_migration(source, target)
        session = next(
            key for key in self.cluster.keys(source) if alice.encode() in key
        )
        self.cluster.migrate(source, target, session)
        assert (await self.refusal(engine.publish("/a", text(0), alice))).code == 503
        assert (await self.refusal(engine.create_session())).code == 503
        assert not engine.ready()
        for key in self.cluster.keys(source):
            self.cluster.migrate(source, target, key)
        self.cluster.end_migration(target)
        await self.soon(engine.ready)
        await self.publish(engine, "/a", 1)
        assert await self.poll(engine, alice) == [1]
        assert observer.closed == []


@pytest.mark.skipif(
    shutil.which("redis-server") is None, reason="needs a redis-server with TLS"
)
@pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")
class TestClusterTLS(OwnCluster):
    """A cluster whose nodes speak TLS, and a user with the documented rights."""

    def make_cluster(self, folder: Path) -> RedisCluster:
        self.trusted = folder / "all.pem"
        self.trusted.write_bytes(certificate(LOOPBACK))
        pem = str(self.trusted)
        return RedisCluster(
            folder,
            self.namespace,
            *("--tls-cert-file", pem, "--tls-key-file", pem, "--tls-ca-cert-file", pem),
            *("--tls-auth-clients", "no", "--tls-replication", "yes"),
            *("--tls-cluster", "yes"),
            tls=True,
            executable=shutil.which("redis-server") or "",
        )

    def url(self) -> str:
        for node in self.cluster.nodes:
            node.client.execute_command(
                "ACL", "SETUSER", "me", *rules(self.namespace, "cluster|slots")
            )
        return f"rediss+cluster://me:secret@127.0.0.1:{self.cluster.port(self.seed)}?ca={self.trusted}"

    @contract
    async def test_it_works_and_survives_a_failover(self) -> None:
        engine, observer = await self.start_node()
        alice = await self.join(engine, "/a")
        await self.publish(engine, "/a", 1)
        await self.soon(self.cluster.synchronized)
        self.cluster.master.stop()
        await self.soon(lambda: not engine.ready())
        await self.soon(engine.ready)
        await self.publish(engine, "/a", 2)
        assert await self.poll(engine, alice) == [1, 2]
        assert observer.closed == []
