"""A harness with a redis-server for each test, which the test may kill or freeze."""

import secrets
from pathlib import Path
from typing import Any

import pytest

from tests.engine.redis_harness import RedisHarness, pause
from tests.engine.redis_parts import stop_node
from tests.engine.redis_server import RedisServer
from txbayeux.engine.redis import RedisEngine, RedisOptions
from txbayeux.errors import BayeuxError
from txbayeux.message import encode
from txbayeux.testing import RecordingObserver


class OwnServer(RedisHarness):
    """Starts a redis-server for each test."""

    patience = 60.0

    @pytest.fixture(autouse=True)
    def _server(self, tmp_path: Path) -> Any:
        self.namespace = f"test-{secrets.token_hex(4)}"
        self.server = RedisServer(tmp_path)
        self.server.start()
        yield
        self.server.stop()

    def options(self, **others: Any) -> RedisOptions:
        return RedisOptions(
            namespace=self.namespace,
            reply_timeout=1.0,
            patience=self.patience,
            **others,
        )

    async def start_node(self) -> tuple[RedisEngine, RecordingObserver]:
        """Return a new node that is ready, and its observer."""
        engine = await self.start()
        assert isinstance(engine, RedisEngine)
        await self.until(engine.ready)
        return engine, self.observer

    async def soon(self, condition: Any, seconds: float = 60.0) -> None:
        """Wait until a condition is true, for at most this time."""
        for _ in range(int(seconds / 0.05)):
            if condition():
                return
            await pause(0.05)
        assert condition(), "it did not happen"

    async def crash(self, engine: RedisEngine) -> None:
        """Stop a node as ``kill -9`` does: it releases no sessions."""
        self._engines.remove(engine)
        await stop_node(engine)
        engine.hub.stop()

    async def refusal(self, deferred: Any) -> BayeuxError:
        with pytest.raises(BayeuxError) as caught:
            await deferred
        return caught.value

    def keys(self) -> list[bytes]:
        found: Any = self.server.client.keys("*")
        return list(found)


def text(data: object) -> bytes:
    return encode({"channel": "/a", "data": data})
