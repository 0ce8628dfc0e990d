"""A reactor that freezes a node, as SIGSTOP and SIGCONT do with a process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class FreezingReactor:
    """Twisted's reactor for one node, which can be frozen for that node alone.

    While it is frozen, no delayed call of the node runs and nothing is read from its
    connections; afterwards, everything that has become due happens.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self.frozen = False
        self._elapsed = 0.0
        self._connectors: list[Any] = []
        self._due: list[_Call] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def seconds(self) -> float:
        now: float = self._reactor.seconds()
        return now + self._elapsed

    def callLater(
        self, delay: float, call: Callable[..., object], *args: Any, **kwargs: Any
    ) -> _Call:
        later = _Call(lambda: call(*args, **kwargs))
        later.inner = self._reactor.callLater(delay, self._run, later)
        return later

    def connectUNIX(self, *args: Any, **kwargs: Any) -> Any:
        connector = self._reactor.connectUNIX(*args, **kwargs)
        self._connectors.append(connector)
        return connector

    def freeze(self) -> None:
        self.frozen = True
        for connector in self._connected():
            connector.transport.pauseProducing()

    def thaw(self, *, elapsed: float = 0.0, timers_first: bool = False) -> None:
        """Continue, as if ``elapsed`` more seconds had passed."""
        self.frozen = False
        self._elapsed += elapsed
        due, self._due = self._due, []
        for call in due:
            if timers_first:
                self._run(call)
            else:
                call.inner = self._reactor.callLater(0.01, self._run, call)
        for connector in self._connected():
            connector.transport.resumeProducing()

    def _connected(self) -> list[Any]:
        return [one for one in self._connectors if one.state == "connected"]

    def _run(self, call: _Call) -> None:
        if self.frozen:
            self._due.append(call)
        elif call.active():
            call.done = True
            call.function()


class _Call:
    """A delayed call that can still be cancelled if it became due while frozen."""

    def __init__(self, function: Callable[[], object]) -> None:
        self.function = function
        self.inner: Any = None
        self.done = False

    def active(self) -> bool:
        return not self.done

    def cancel(self) -> None:
        self.done = True
        if self.inner.active():
            self.inner.cancel()

    def reset(self, delay: float) -> None:
        if self.inner.active():
            self.inner.reset(delay)
