"""The memory engine behaves as its model in random sequences of operations."""

from hypothesis import settings
from twisted.internet.task import Clock

from txbayeux.engine.memory import MemoryEngine
from txbayeux.limits import Limits

from .model import EngineMachine


class MemoryMachine(EngineMachine):
    def make_engine(self, limits: Limits) -> MemoryEngine:
        self.clock = Clock()
        return MemoryEngine(self.clock, limits=limits, session_timeout=1e9)

    def settle(self) -> None:
        self.clock.advance(0)

    def teardown(self) -> None:
        super().teardown()
        assert self.clock.getDelayedCalls() == []


TestMemoryMachine = MemoryMachine.TestCase
TestMemoryMachine.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None
)
