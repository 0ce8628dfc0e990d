"""The memory engine fulfils the engine contract."""

from txbayeux.engine.memory import MemoryEngine
from txbayeux.limits import Limits
from txbayeux.testing import EngineContract


class TestMemoryEngine(EngineContract):
    def make_engine(self, *, limits: Limits, session_timeout: float) -> MemoryEngine:
        return MemoryEngine(self.clock, limits=limits, session_timeout=session_timeout)
