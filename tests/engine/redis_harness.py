"""Harnesses for tests of the Redis engine: the real reactor and a redis-server."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from tests.engine.redis_parts import (
    caught_up,
    owner_of,
    redirect_notices,
)
from tests.engine.redis_server import RedisServer
from txbayeux.engine.redis import RedisEngine, RedisOptions
from txbayeux.engine.redis.location import parse
from txbayeux.events import Reason
from txbayeux.interfaces import Delivery, Engine
from txbayeux.limits import Limits
from txbayeux.testing import EngineHarness, RecordingObserver


def pause(seconds: float) -> Deferred[None]:
    """Return a Deferred that fires after this time."""
    result: Deferred[None] = Deferred()
    reactor.callLater(seconds, result.callback, None)  # type: ignore[attr-defined]
    return result


class RedisHarness(EngineHarness):
    """Runs a test's engines on the real reactor and the run's redis-server.

    Nothing expires and no hold ends in a test that does not wait for it, however slow
    the machine is.
    """

    session_timeout = 30.0
    hold = 20.0
    short_timeout = 1.5

    @pytest.fixture(autouse=True)
    def _server(self, redis_server: RedisServer) -> None:
        self.server = redis_server
        self.namespace = f"test-{secrets.token_hex(4)}"

    def options(self) -> RedisOptions:
        return RedisOptions(namespace=self.namespace)

    def make_engine(self, *, limits: Limits, session_timeout: float) -> Any:
        return RedisEngine(
            reactor,
            parse(self.server.url),
            limits=limits,
            session_timeout=session_timeout,
            options=self.options(),
        )

    async def settle(self) -> None:
        await pause(0.02)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for a condition; a busy machine may take its time."""
        for _ in range(3000):
            if condition():
                return
            await self.settle()
        assert condition(), "it did not happen"

    async def connect(
        self, engine: Engine, session: str, *, acknowledged: int | None = None
    ) -> Delivery:
        """Send a connect that is not held, for what has been published anywhere."""
        await self.caught_up(getattr(engine, "engines", [engine]))
        return await super().connect(engine, session, acknowledged=acknowledged)

    async def caught_up(self, nodes: Sequence[RedisEngine]) -> None:
        """Wait until nodes have dispatched what Redis has sent to them."""
        for node in nodes:
            await self.until(node.ready)
            await caught_up(node)

    async def receive(self, engine: Engine, session: str, count: int) -> list[Any]:
        """Poll until this many messages have arrived; return the data of all."""
        found: list[Any] = []
        for _ in range(3000):
            found += await self.poll(engine, session)
            if len(found) >= count:
                break
        return found

    async def advance(self, seconds: float) -> None:
        await pause(seconds)
        await self.settle()

    async def stop(self, engine: Engine) -> None:
        await super().stop(engine)
        # A cancelled attempt to connect is removed from the reactor in the next turn.
        await pause(0)

    def leftovers(self) -> Sequence[object]:
        there: Any = reactor
        return [call for call in there.getDelayedCalls() if _ours(call)]


class NodesHarness(RedisHarness):
    """Starts several nodes on one Redis."""

    async def nodes(
        self,
        count: int,
        *,
        limits: Limits | None = None,
        session_timeout: float | None = None,
    ) -> list[RedisEngine]:
        """Return this many nodes, started and ready."""
        found = []
        self.observers: list[RecordingObserver] = []
        for _ in range(count):
            engine = await self.start(limits=limits, session_timeout=session_timeout)
            assert isinstance(engine, RedisEngine)
            self.observers.append(self.observer)
            found.append(engine)
        for engine in found:
            await self.until(engine.ready)
        return found

    def withhold_notices(self, engine: RedisEngine) -> list[Mapping[str, str]]:
        """Withhold the notices of a node's inbox; see :meth:`pass_notices`."""
        notices: list[Mapping[str, str]] = []
        redirect_notices(engine, notices.append)
        return notices

    def pass_notices(
        self, engine: RedisEngine, notices: list[Mapping[str, str]]
    ) -> None:
        """Pass on the notices that were withheld, and those that come."""
        redirect_notices(engine, owner_of(engine).receive_notice)
        for notice in notices:
            owner_of(engine).receive_notice(notice)

    def closed(self) -> list[tuple[str, Reason]]:
        return [end for observer in self.observers for end in observer.closed]

    async def fetch(
        self, engine: RedisEngine, session: str, *, acknowledged: int | None = None
    ) -> Delivery:
        return await self.answered(
            engine.connect(session, hold=self.hold, acknowledged=acknowledged)
        )


def _ours(call: Any) -> bool:
    # pytest-twisted's own greenlet keeps one.
    return "pytest" not in getattr(call.func, "__module__", "")
