"""The engine works with an ACL user that has only the documented rights."""

import secrets
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor

from tests.engine.redis_harness import RedisHarness
from tests.engine.redis_rights import commands, rules
from tests.engine.redis_server import RedisServer
from txbayeux.engine.redis import RedisEngine
from txbayeux.engine.redis.location import parse
from txbayeux.limits import Limits
from txbayeux.testing import EngineContract


class TestAclUser(RedisHarness, EngineContract):
    """The contract, with a user whose rights are limited to the namespace."""

    @pytest.fixture(autouse=True)
    def _server(self, redis_server: RedisServer) -> Any:
        self.server = redis_server
        self.namespace = f"test-{secrets.token_hex(4)}"
        redis_server.client.execute_command(
            "ACL", "SETUSER", self.namespace, *rules(self.namespace)
        )
        yield
        redis_server.client.execute_command("ACL", "DELUSER", self.namespace)

    def make_engine(self, *, limits: Limits, session_timeout: float) -> Any:
        return RedisEngine(
            reactor,
            parse(f"redis+unix://{self.namespace}:secret@{self.server.socket}"),
            limits=limits,
            session_timeout=session_timeout,
            options=self.options(),
        )


def test_each_right_that_is_documented_is_used() -> None:
    folder = Path(__file__).parents[2] / "txbayeux/engine/redis"
    sources = [*folder.glob("*.py"), *folder.glob("lua/*.lua")]
    text = "".join(path.read_text() for path in sources)
    library = {"auth", "select"}
    unused = [
        name for name in commands() if f"{name.split('|')[0].upper()}" not in text
    ]
    assert set(unused) <= library
