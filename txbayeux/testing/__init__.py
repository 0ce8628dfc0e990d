"""Test support for authors of engines, adapters and extensions.

Needs neither pytest nor a reactor to import.  An engine's whole test is::

    class TestMyEngine(EngineContract):
        def make_engine(self, *, limits, session_timeout):
            return MyEngine(self.clock, limits=limits, session_timeout=session_timeout)

with pytest and pytest-twisted, or together with Twisted's own ``TestCase``.
"""

from txbayeux.testing.contract import EngineContract
from txbayeux.testing.fakes import FakeRequest, RecordingObserver, RecordingStream
from txbayeux.testing.harness import EngineHarness, contract

__all__ = [
    "EngineContract",
    "EngineHarness",
    "FakeRequest",
    "RecordingObserver",
    "RecordingStream",
    "contract",
]
