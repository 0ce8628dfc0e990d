"""No confirmed publish is lost in 10,000 publishes and 20 restarts of the server."""

from __future__ import annotations

import gc
import json
import os
import random
import sys
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from tests.engine.redis_server import RedisServer
from tests.interop.servers import Server
from tests.ports import free_port
from txbayeux.client import Client, Retry
from txbayeux.extensions import Ack

pytestmark = pytest.mark.chaos

RESTARTS: Final = 20
PUBLISHES: Final = 10_000
ROUND: Final = PUBLISHES // RESTARTS
DEADLINE: Final = 120.0
SEED: Final = 20


@pytest.fixture
def record(tmp_path: Path) -> Path:
    path = tmp_path / "record"
    path.touch()
    return path


@pytest.fixture(params=["memory", "redis"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[list[str]]:
    """Return the options for an engine: Redis outlives the server, memory does not."""
    if request.param == "memory":
        yield []
        return
    redis = RedisServer(tmp_path)
    redis.start()
    yield ["--redis", redis.url]
    redis.stop()


@pytest.fixture
def server(tmp_path: Path, record: Path, engine: list[str]) -> Generator[Server]:
    port = free_port()
    here = Path(__file__).parent
    path = os.pathsep.join(filter(None, [str(here), os.environ.get("PYTHONPATH")]))
    made = Server(
        command=[
            str(Path(sys.executable).with_name("twistd")),
            "--nodaemon",
            "--pidfile=",
            "bayeux",
            f"--port={port}",
            "--mount=/bayeux",
            "--extension=recording:factory",
            *engine,
        ],
        directory=tmp_path,
        output=tmp_path / "output",
        port=port,
        environment={"PYTHONPATH": path, "TXBAYEUX_RECORD": str(record)},
    )
    made.start()
    yield made
    made.kill()


def ours() -> Counter[str]:
    """Return the numbers of living objects of the client."""
    gc.collect()
    halves = ("txbayeux.client", "txbayeux.transport")
    names = (type(thing) for thing in gc.get_objects())
    return Counter(
        t.__qualname__ for t in names if str(t.__module__).startswith(halves)
    )


class Soak:
    """A client that receives its own messages, and the outcome of each publish."""

    def __init__(self, server: Server, transport: str) -> None:
        self.client = Client(
            server.url,
            transports=[transport],
            retry=Retry(maximum=2.0),
            extensions=[Ack()],
        )
        self.received: list[int] = []
        self.confirmed: dict[int, str | None] = {}
        """Each confirmed publish, with the session in which it was confirmed."""

    def receive(self, message: Any) -> None:
        self.received.append(message["data"])

    def publish(self, number: int) -> Deferred[Any]:
        def confirmed(reply: Any) -> None:
            self.confirmed[number] = self.client.session_id

        return self.client.publish("/soak/a", number).addCallback(confirmed)

    async def run_round(
        self, server: Server, first: int, chance: random.Random
    ) -> None:
        publishing = [self.publish(n) for n in range(first, first + ROUND // 2)]
        await deferLater(reactor, chance.uniform(0, 0.05), lambda: None)  # type: ignore[arg-type]
        await deferToThread(server.kill if chance.random() < 0.5 else server.stop)
        publishing += [
            self.publish(n) for n in range(first + ROUND // 2, first + ROUND)
        ]
        await deferToThread(server.start)
        await gatherResults(publishing).addTimeout(DEADLINE, reactor)  # type: ignore[arg-type]


@pytest.mark.parametrize("transport", ["websocket", "long-polling"])
@pytest_twisted.ensureDeferred
async def test_every_confirmed_publish_arrives(
    server: Server, record: Path, transport: str, engine: list[str]
) -> None:
    before = ours()
    soak = Soak(server, transport)
    try:
        await soak_and_check(soak, server, record, outlives=bool(engine))
    finally:
        # Also after a failure, or it would try to connect during the next tests.
        await soak.client.disconnect()
    del soak
    # Leave the client's callback, on whose stack this runs.
    await deferLater(reactor, 0, lambda: None)  # type: ignore[arg-type]
    assert ours() - before == Counter()


async def soak_and_check(
    soak: Soak, server: Server, record: Path, *, outlives: bool
) -> None:
    """Restart the server while the client publishes, and check the outcome.

    :param outlives: whether sessions outlive the server.
    """
    chance = random.Random(SEED)
    await soak.client.subscribe("/soak/*", soak.receive).ready
    sessions = [soak.client.session_id]
    for number in range(RESTARTS):
        await soak.run_round(server, number * ROUND, chance)
        sessions.append(soak.confirmed[(number + 1) * ROUND - 1])
    arrived: Deferred[None] = Deferred()
    end = soak.client.subscribe("/soak/end", lambda m: arrived.callback(None))
    await end.ready
    await soak.client.publish("/soak/end", -1)
    await arrived.addTimeout(DEADLINE, reactor)  # type: ignore[arg-type]
    last_session = soak.client.session_id

    recorded = [json.loads(line) for line in record.read_text().splitlines()]
    doubled = len(recorded) - len(set(recorded))
    print(  # shown with -s
        f"{soak.client.transport}: published {PUBLISHES}, "
        f"confirmed {len(soak.confirmed)}, "
        f"recorded {len(set(recorded)) - 1}, twice {doubled}, "
        f"received {len(soak.received)}"
    )
    assert soak.confirmed.keys() == set(range(PUBLISHES))
    assert soak.confirmed.keys() <= set(recorded)
    if not outlives:
        # Publishes may be confirmed before the session's first connect, so the client
        # need not have been connected in each of them.
        assert None not in sessions
        assert len(set(sessions)) == 1 + RESTARTS
    # First arrivals are in order; later ones are those whose reply was lost.
    numbers = [n for n in recorded if n >= 0]
    firsts = [
        n for i, n in enumerate(numbers) if n not in set(numbers[max(0, i - 1000) : i])
    ]
    assert firsts == sorted(firsts)
    # No restart came after the last session confirmed these, so all were received; if
    # sessions outlive the server, that is true of every publish.
    expected = {n for n, session in soak.confirmed.items() if session == last_session}
    assert expected <= set(soak.received)
    if outlives:
        assert set(range(PUBLISHES)) <= set(soak.received)
