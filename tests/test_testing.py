"""The test kit: its examples run, and it fails what ought to fail."""

import unittest
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial import runner
from twisted.trial.unittest import TestCase as TwistedCase

from examples import engine_test, extension_test
from txbayeux.engine.memory import MemoryEngine
from txbayeux.interfaces import Engine
from txbayeux.limits import Limits
from txbayeux.message import Entry
from txbayeux.testing import EngineHarness, FakeRequest, RecordingStream, contract

TestMyEngine = engine_test.TestMyEngine
test_users_write = extension_test.test_users_write_below_their_own_channel


class Harness(EngineHarness):
    def make_engine(self, *, limits: Limits, session_timeout: float) -> Engine:
        return MemoryEngine(self.clock, limits=limits, session_timeout=session_timeout)

    @contract
    async def leaves_something(self) -> None:
        self.clock.callLater(1, print)

    @contract
    async def waits_in_vain(self) -> None:
        await self.answered(Deferred())

    @contract
    async def is_answered_too_early(self) -> None:
        engine = await self.start()
        await self.unanswered(engine.create_session())

    @contract
    async def knows_the_session(self) -> None:
        engine = await self.start()
        await self.refused(engine.subscribe(await self.join(engine), []))

    @contract
    async def sees_no_end(self) -> None:
        engine = await self.start()
        await self.ended(await self.join(engine))


@pytest.mark.parametrize(
    "name",
    [
        "leaves_something",
        "waits_in_vain",
        "is_answered_too_early",
        "knows_the_session",
        "sees_no_end",
    ],
)
def test_a_contract_that_is_not_kept_fails(name: str) -> None:
    failures: list[Any] = []
    harness = Harness()
    getattr(harness, name)().addErrback(failures.append)
    assert isinstance(failures[0].value, AssertionError)
    left = harness.clock.getDelayedCalls()
    assert len(left) == (1 if name == "leaves_something" else 0)


def test_the_contract_runs_in_a_test_case_of_twisteds() -> None:
    class Case(engine_test.TestMyEngine, TwistedCase):
        pass

    result = unittest.TestResult()
    runner.TestLoader().loadClass(Case).run(result)
    assert result.testsRun > 80
    assert result.wasSuccessful(), [*result.errors, *result.failures]


def test_a_harness_without_an_engine_says_so() -> None:
    with pytest.raises(NotImplementedError):
        EngineHarness().make_engine(limits=Limits(), session_timeout=1)


def test_a_stream_that_is_not_writable_takes_nothing() -> None:
    stream = RecordingStream(writable=False)
    with pytest.raises(AssertionError):
        stream.send([Entry(1, "/a", b'{"data":1}')])
    assert (stream.entries, stream.data, Clock().seconds()) == ([], [], 0)


def test_requests_are_values() -> None:
    assert FakeRequest() == FakeRequest()
    assert FakeRequest(headers={"a": "b"}).headers == {"a": "b"}
