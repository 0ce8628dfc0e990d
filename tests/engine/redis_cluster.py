"""A Redis Cluster of real processes: three masters, and a replica of one of them."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from redis.exceptions import ResponseError

from tests.engine.redis_server import EXECUTABLE, RedisServer
from tests.ports import free_port

SLOTS = 16384


class RedisCluster:
    """Starts the nodes, and moves the slot of a namespace among them."""

    def __init__(
        self,
        folder: Path,
        namespace: str,
        *options: str,
        tls: bool = False,
        executable: str = EXECUTABLE,
    ) -> None:
        self.tag = f"{{{namespace}}}"
        self.nodes: list[RedisServer] = []
        self.ports: list[int] = []
        for number in range(4):
            port = free_port(10_000)  # the bus
            node = RedisServer(
                folder / f"node-{number}",
                *("--cluster-enabled", "yes", "--cluster-node-timeout", "1000"),
                *("--cluster-require-full-coverage", "no", *options),
                *(("--tls-port", str(port)) if tls else ()),
                port=0 if tls else port,
                executable=executable,
            )
            self.ports.append(port)
            self.nodes.append(node)
        self.masters = self.nodes[:3]
        self.replica = self.nodes[3]

    def start(self) -> None:
        for node in self.nodes:
            node.start()
        for number, node in enumerate(self.masters):
            slots = range(number * SLOTS // 3, (number + 1) * SLOTS // 3)
            self.call(node, "ADDSLOTS", *slots)
        for number, node in enumerate(self.nodes):
            self.call(node, "SET-CONFIG-EPOCH", number + 1)
            self.call(self.nodes[0], "MEET", "127.0.0.1", self.ports[number])
        self.slot = self.call(self.nodes[0], "KEYSLOT", self.tag)
        self.master = self.masters[self.slot * 3 // SLOTS]
        self.wait(lambda: all(self.known(node) == 4 for node in self.nodes))
        self.wait(lambda: self.replicate(self.identity(self.master)))
        self.wait(self.synchronized)
        self.wait(lambda: all(self.healthy(node) for node in self.nodes))
        self.wait(lambda: all(self.replicas(node) for node in self.masters))

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()

    @staticmethod
    def call(node: RedisServer, *command: Any) -> Any:
        return node.client.execute_command("CLUSTER", *command)

    def port(self, node: RedisServer) -> int:
        return self.ports[self.nodes.index(node)]

    def info(self, node: RedisServer) -> dict[str, str]:
        lines = self.call(node, "INFO").decode().split()
        return dict(line.split(":") for line in lines)

    def identity(self, node: RedisServer) -> str:
        return str(node.client.execute_command("CLUSTER", "MYID").decode())

    def known(self, node: RedisServer) -> int:
        return int(self.info(node)["cluster_known_nodes"])

    def healthy(self, node: RedisServer) -> bool:
        return bool(self.info(node)["cluster_state"] == "ok")

    def replicate(self, master: str) -> bool:
        try:
            self.call(self.replica, "REPLICATE", master)
        except ResponseError:
            return False
        return True

    def replicas(self, node: RedisServer) -> bool:
        """Whether a node knows of the replica, which could take over otherwise not."""
        return any(len(found) > 3 for found in self.call(node, "SLOTS"))

    def synchronized(self) -> bool:
        mine: Any = self.replica.client.info("replication")
        other: Any = self.master.client.info("replication")
        return bool(
            mine["role"] == "slave"
            and mine["master_link_status"] == "up"
            and mine["slave_repl_offset"] == other["master_repl_offset"]
        )

    # A migration of the slot, in the steps of the cluster specification

    def begin_migration(self, source: RedisServer, target: RedisServer) -> None:
        self.call(target, "SETSLOT", self.slot, "IMPORTING", self.identity(source))
        self.call(source, "SETSLOT", self.slot, "MIGRATING", self.identity(target))

    def keys(self, node: RedisServer) -> list[bytes]:
        return list(self.call(node, "GETKEYSINSLOT", self.slot, 1000))

    def migrate(self, source: RedisServer, target: RedisServer, key: bytes) -> None:
        source.client.execute_command(
            "MIGRATE", "127.0.0.1", self.port(target), key, 0, 5000
        )

    def end_migration(self, target: RedisServer) -> None:
        identity = self.identity(target)
        for node in (target, *self.masters):
            self.call(node, "SETSLOT", self.slot, "NODE", identity)

    @staticmethod
    def wait(condition: Callable[[], object], seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise RuntimeError("the cluster is not as it should be")
            time.sleep(0.05)
