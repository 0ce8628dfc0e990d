"""Stop a reactor once, however many signals and calls ask for it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any, Final

__all__ = ["StopOnce"]

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)

_Handler = Callable[[int, FrameType | None], Any]


class StopOnce:
    """Stop a reactor at the first signal or call, and ignore all that follow.

    Twisted calls ``reactor.stop()`` for each SIGINT and SIGTERM.  All but the first
    raise ``ReactorNotRunning``, which is logged with a traceback.  A second signal is
    common: Ctrl-C reaches a worker from the terminal, and SIGTERM from its parent.

    :param reactor: one that handles signals itself, as it does by default.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._stopping = False
        reactor.addSystemEventTrigger("before", "shutdown", self._on_shutdown)
        # The reactor installs its signal handlers while it starts.
        reactor.callWhenRunning(self._wrap_handlers)

    def stop(self) -> None:
        """Stop the reactor, unless it is stopping."""
        if not self._stopping:
            self._stopping = True
            self._reactor.stop()

    def _on_shutdown(self) -> None:
        self._stopping = True

    def _wrap_handlers(self) -> None:
        for number in _SIGNALS:
            handler = signal.getsignal(number)
            if callable(handler):
                signal.signal(number, partial(self._on_signal, handler))

    def _on_signal(
        self, handler: _Handler, number: int, frame: FrameType | None
    ) -> None:
        if not self._stopping:
            self._stopping = True
            handler(number, frame)
