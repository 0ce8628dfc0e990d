"""The base class of the engine contract: engines, time, and helpers for tests."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeAlias, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from txbayeux.errors import UnknownSession
from txbayeux.events import Reason
from txbayeux.interfaces import Delivery, Engine
from txbayeux.limits import Limits
from txbayeux.message import Entry, encode
from txbayeux.testing.fakes import RecordingObserver

__all__ = ["EngineHarness", "contract"]

_ROUNDS: Final = 50
"""How often to settle before an answer counts as missing."""

T = TypeVar("T")
H = TypeVar("H", bound="EngineHarness")
_Test: TypeAlias = Callable[[H], Coroutine[Any, Any, None]]


def contract(test: _Test[H]) -> Callable[[H], Deferred[None]]:
    """Turn an ``async`` method into a test, after which engines are stopped.

    The test fails if it leaves anything in the reactor.
    """

    @functools.wraps(test)
    def run(self: H) -> Deferred[None]:
        return Deferred.fromCoroutine(self.run_contract(test(self)))

    return run


class EngineHarness:
    """Makes the engine under test and advances its time.

    For an engine that works on a Clock, override :meth:`make_engine` only.  For one
    that needs a network or the real reactor override the other hooks as well, and
    choose a :attr:`short_timeout` that tests can wait for.
    """

    session_timeout: float = 60.0
    """Seconds a session lives after its connect's hold: none expires in most tests."""

    hold: float = 30.0
    """Seconds that most tests hold a connect for: it is answered before."""

    short_timeout: float = 5.0
    """Seconds of the session timeouts and holds that tests wait for the end of."""

    clock: Clock
    """The time of engines that need no reactor; new in each test."""

    observer: RecordingObserver
    """The observer of the engine that was started last."""

    # To override

    def make_engine(self, *, limits: Limits, session_timeout: float) -> Engine:
        """Return a new engine that has not been started."""
        raise NotImplementedError

    async def set_up(self) -> None:
        """Prepare, before each test."""

    async def tear_down(self) -> None:
        """Clean up, after each test; its engines have been stopped."""

    async def settle(self) -> None:
        """Wait until messages have reached their connections.

        Over a network, waiting some hundredths of a second is enough: tests that
        need more time call it again.
        """
        self.clock.advance(0)

    async def advance(self, seconds: float) -> None:
        """Advance the clock by ``seconds``."""
        step = seconds / 8
        for _ in range(8):
            self.clock.advance(step)
        await self.settle()

    def leftovers(self) -> Sequence[object]:
        """Return what engines left in the reactor after they were stopped."""
        return self.clock.getDelayedCalls()

    # For tests

    async def run_contract(self, test: Coroutine[Any, Any, None]) -> None:
        """Run one test, and clean up after it."""
        self.clock = Clock()
        self._engines: list[Engine] = []
        await self.set_up()
        try:
            try:
                await test
            finally:
                for engine in tuple(self._engines):
                    await self.stop(engine)
            left = self.leftovers()
            assert not left, f"left in the reactor: {left}"
        finally:
            await self.tear_down()

    async def start(
        self, *, limits: Limits | None = None, session_timeout: float | None = None
    ) -> Engine:
        """Return a new engine, started; it is stopped after the test.

        :param session_timeout: seconds, :attr:`session_timeout` by default.
        """
        engine = self.make_engine(
            limits=limits or Limits(),
            session_timeout=session_timeout or self.session_timeout,
        )
        self._engines.append(engine)
        self.observer = RecordingObserver()
        await engine.start(self.observer)
        return engine

    async def stop(self, engine: Engine) -> None:
        """Stop an engine before the test's end."""
        self._engines.remove(engine)
        await engine.stop()

    async def join(
        self, engine: Engine, *channels: str, acknowledges: bool = False
    ) -> str:
        """Return the id of a new session with these subscriptions."""
        session = await engine.create_session(acknowledges=acknowledges)
        if channels:
            await engine.subscribe(session, channels)
        return session

    async def publish(self, engine: Engine, channel: str, *data: object) -> None:
        """Publish one message for each item of ``data``."""
        for item in data:
            await engine.publish(channel, encode({"channel": channel, "data": item}))

    async def connect(
        self, engine: Engine, session: str, *, acknowledged: int | None = None
    ) -> Delivery:
        """Send a connect that is not held, after everything has settled."""
        await self.settle()
        return await engine.connect(session, hold=0, acknowledged=acknowledged)

    async def poll(self, engine: Engine, session: str) -> list[Any]:
        """Return the data of all queued messages."""
        found: list[Any] = []
        while True:
            delivery = await self.connect(engine, session)
            if not delivery.entries:
                return found
            found += self.data(delivery.entries)

    async def answered(self, deferred: Deferred[T]) -> T:
        """Return the result of ``deferred``, which must fire without time passing."""
        await self.until(lambda: deferred.called)
        return await deferred

    async def unanswered(self, *deferreds: Deferred[Any]) -> None:
        """Check that none of these fires."""
        await self.settle()
        assert not any(deferred.called for deferred in deferreds), "answered too early"

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for a condition that must come true without time passing."""
        for _ in range(_ROUNDS):
            if condition():
                return
            await self.settle()
        assert condition(), "it did not happen"

    async def refused(self, deferred: Deferred[Any]) -> UnknownSession:
        """Check that the session is unknown; return the error."""
        try:
            await deferred
        except UnknownSession as error:
            assert error.code == 402
            return error
        raise AssertionError("the session is known")

    def expect_logged(self, kind: type[Exception]) -> None:
        """Accept logged errors of this kind, which fail a Twisted ``TestCase``."""
        flush = getattr(self, "flushLoggedErrors", None)
        if flush is not None:
            flush(kind)

    async def ended(self, session: str) -> Reason:
        """Wait until the observer was told that ``session`` ended; return why."""
        await self.until(lambda: session in dict(self.observer.closed))
        reasons = [why for closed, why in self.observer.closed if closed == session]
        assert len(reasons) == 1, "a session ends once"
        return reasons[0]

    @staticmethod
    def data(entries: Sequence[Entry]) -> list[Any]:
        """Return the ``data`` of the messages."""
        return [entry.message()["data"] for entry in entries]
