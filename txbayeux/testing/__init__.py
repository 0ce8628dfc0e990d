"""Test support for programs that use Bayeux, and for engines and extensions.

Needs neither pytest nor a reactor to import.

Programs are tested with a :class:`MemoryServer`, on which they have their clients.  An
engine's whole test is::

    class TestMyEngine(EngineContract):
        def make_engine(self, *, limits, session_timeout):
            return MyEngine(self.clock, limits=limits, session_timeout=session_timeout)

with pytest and pytest-twisted, or together with Twisted's own ``TestCase``.
"""

from txbayeux.testing.contract import EngineContract
from txbayeux.testing.fake_server import FakeServer
from txbayeux.testing.fakes import FakeRequest, RecordingObserver, RecordingStream
from txbayeux.testing.faults import Fault
from txbayeux.testing.harness import EngineHarness, contract
from txbayeux.testing.memory_server import MemoryServer
from txbayeux.testing.scripted_server import ScriptedServer
from txbayeux.testing.transport import ClientRequest, FakeTransport

__all__ = [
    "ClientRequest",
    "EngineContract",
    "EngineHarness",
    "FakeRequest",
    "FakeServer",
    "FakeTransport",
    "Fault",
    "MemoryServer",
    "RecordingObserver",
    "RecordingStream",
    "ScriptedServer",
    "contract",
]
