"""Test your own engine (here it is the memory engine):

pytest examples/engine_test.py
"""

from __future__ import annotations

from txbayeux.engine.memory import MemoryEngine
from txbayeux.limits import Limits
from txbayeux.testing import EngineContract, contract


class TestMyEngine(EngineContract):
    """The contract of all engines, and a test of this engine's own."""

    def make_engine(self, *, limits: Limits, session_timeout: float) -> MemoryEngine:
        return MemoryEngine(self.clock, limits=limits, session_timeout=session_timeout)

    @contract
    async def test_positions_begin_at_one(self) -> None:
        engine = await self.start()
        alice = await self.join(engine, "/a")
        await self.publish(engine, "/a", "hello")
        delivery = await self.connect(engine, alice)
        assert [entry.position for entry in delivery.entries] == [1]
