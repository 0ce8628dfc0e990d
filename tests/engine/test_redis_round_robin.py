"""The engine contract with two nodes: each call goes to the other one.

So every operation of a session works on a node that does not own it.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from tests.engine.redis_harness import RedisHarness
from txbayeux.engine.redis import RedisEngine
from txbayeux.events import Reason
from txbayeux.interfaces import Delivery, Engine, SessionObserver, Stream
from txbayeux.limits import Limits
from txbayeux.message import Entry
from txbayeux.registration import Registration
from txbayeux.testing import EngineContract


class RoundRobin:
    """An engine that passes each call to one of its nodes in turn, one at a time."""

    def __init__(self, engines: Sequence[RedisEngine]) -> None:
        self.engines = engines
        self._turns = cycle(engines)
        self._last: Deferred[Any] | None = None
        self._streams: dict[Stream, RedisEngine] = {}

    def _next(self, operation: Callable[[RedisEngine], Deferred[Any]]) -> Deferred[Any]:
        """Begin an operation when the one before it is done."""
        former = self._last
        result: Deferred[Any] = Deferred(lambda _: begun and begun[0].cancel())
        done: Deferred[None] = Deferred()
        self._last = done
        begun: list[Deferred[Any]] = []
        engine = next(self._turns)

        def begin(_: object) -> None:
            deferred = operation(engine)
            begun.append(deferred)
            deferred.addBoth(finish)

        def finish(outcome: object) -> None:
            done.callback(None)
            if not result.called:
                result.callback(outcome)

        if former is None:
            begin(None)
        else:
            former.addCallback(begin)
        return result

    def _place(self, stream: Stream | None) -> RedisEngine:
        """Return the node for a connection: the one that accepted it."""
        if stream is None:
            return next(self._turns)
        if stream not in self._streams:
            self._streams[stream] = next(self._turns)
        return self._streams[stream]

    def start(self, observer: SessionObserver) -> Deferred[None]:
        started = gatherResults([engine.start(observer) for engine in self.engines])
        return started.addCallback(lambda _: None)

    def stop(self) -> Deferred[None]:
        stopped = gatherResults([engine.stop() for engine in self.engines])
        return stopped.addCallback(lambda _: None)

    def create_session(self, *, acknowledges: bool = False) -> Deferred[str]:
        return self._next(
            lambda engine: engine.create_session(acknowledges=acknowledges)
        )

    def destroy_session(
        self, session_id: str, reason: Reason, why: str | None = None
    ) -> Deferred[None]:
        return self._next(
            lambda engine: engine.destroy_session(session_id, reason, why)
        )

    def check_session(self, session_id: str) -> Deferred[None]:
        return self._next(lambda engine: engine.check_session(session_id))

    def subscribe(
        self, session_id: str, channels: Sequence[str]
    ) -> Deferred[Sequence[str]]:
        return self._next(lambda engine: engine.subscribe(session_id, channels))

    def unsubscribe(
        self, session_id: str, channels: Sequence[str]
    ) -> Deferred[Sequence[str]]:
        return self._next(lambda engine: engine.unsubscribe(session_id, channels))

    def publish(
        self, channel: str, json: bytes, session_id: str | None = None
    ) -> Deferred[None]:
        return self._next(lambda engine: engine.publish(channel, json, session_id))

    def deliver(self, session_id: str, channel: str, json: bytes) -> Deferred[None]:
        return self._next(lambda engine: engine.deliver(session_id, channel, json))

    def connect(
        self,
        session_id: str,
        *,
        hold: float,
        stream: Stream | None = None,
        acknowledged: int | None = None,
    ) -> Deferred[Delivery]:
        return self._place(stream).connect(
            session_id, hold=hold, stream=stream, acknowledged=acknowledged
        )

    def attach(self, session_id: str, stream: Stream) -> Deferred[None]:
        return self._place(stream).attach(session_id, stream)

    def detach(self, stream: Stream, unsent: Sequence[Entry] = ()) -> None:
        for engine in self.engines:
            engine.hub.detach(stream, unsent)

    def resume(self, stream: Stream) -> None:
        for engine in self.engines:
            engine.hub.resume(stream)

    @property
    def hub(self) -> "RoundRobin":
        return self

    def listen(self, pattern: str, listener: Callable[[Entry], object]) -> Registration:
        return self.engines[0].hub.listen(pattern, listener)

    def statistics(self) -> Mapping[str, int]:
        one, other = (engine.statistics() for engine in self.engines)
        return {name: one[name] + other[name] for name in one}

    def ready(self) -> bool:
        return all(engine.ready() for engine in self.engines)


class TestRoundRobin(RedisHarness, EngineContract):
    short_timeout = 2.5  # each call moves the session

    def make_engine(self, *, limits: Limits, session_timeout: float) -> Engine:
        return RoundRobin(
            [
                RedisHarness.make_engine(
                    self, limits=limits, session_timeout=session_timeout
                )
                for _ in range(2)
            ]
        )

    async def settle(self) -> None:
        # Messages between the nodes take longer than those to a connection.
        await super().settle()
        await super().settle()


_: type[Engine] = RoundRobin
