"""The Redis engine fulfils the engine contract."""

from tests.engine.redis_harness import RedisHarness
from txbayeux.testing import EngineContract


class TestRedisEngine(RedisHarness, EngineContract):
    pass
