"""The command's standard input and output."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any, BinaryIO, Final, Protocol

from twisted.internet.defer import Deferred

from txbayeux.cli.ends import USAGE, Failed
from txbayeux.message import Message, encode

__all__ = ["Lines", "Printer", "Readable"]

_PIECE: Final = 64 * 1024
"""Bytes that are read at a time."""


class Readable(Protocol):
    """A file without a buffer: what is read is what there is."""

    def read(self, size: int, /) -> bytes:
        """Wait for some bytes; none at the end."""


class Lines:
    """Standard input by lines, until its end or the first error.

    It is read in threads that nobody waits for: an interrupt would wait for a line.
    """

    def __init__(self, reactor: Any, stdin: Readable) -> None:
        self._reactor = reactor
        self._stdin = stdin
        self._lines: deque[bytes] = deque()
        self._rest = b""
        self._ended = False
        self._reading: Deferred[bytes] | None = None
        self.error: Exception | None = None
        """Why it was stopped, if it was."""

    def stop(self, error: Exception) -> None:
        """Give no more lines, because of ``error``; only the first one counts."""
        self.error = self.error or error
        self._read(b"")

    def __aiter__(self) -> Lines:
        return self

    async def __anext__(self) -> bytes:
        while self.error is None:
            if self._lines:
                return self._lines.popleft()
            if self._ended:
                break
            piece = await self._piece()
            *lines, self._rest = (self._rest + piece).split(b"\n")
            self._lines.extend(lines)
            if not piece:
                self._ended = True
                self._lines.append(self._rest)
        raise StopAsyncIteration

    def _piece(self) -> Deferred[bytes]:
        def work() -> None:
            try:
                piece = self._stdin.read(_PIECE)
            except OSError as error:
                failed = Failed(USAGE, f"standard input: {error}")
                self._reactor.callFromThread(self.stop, failed)
            else:
                self._reactor.callFromThread(self._read, piece)

        self._reading = Deferred()
        threading.Thread(target=work, daemon=True).start()
        return self._reading

    def _read(self, piece: bytes) -> None:
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.callback(piece)


class Printer:
    """Prints messages until there were enough of them, or nobody reads them."""

    def __init__(self, stdout: BinaryIO, count: int | None) -> None:
        self._stdout = stdout
        self._left = count
        self.finished: Deferred[None] = Deferred()
        """Fires, or fails, once nothing more will be printed."""

    def finish(self, error: Exception | None = None) -> None:
        """Print no more, because of ``error`` if there was one."""
        if self.finished.called:
            return
        if error is None:
            self.finished.callback(None)
        else:
            self.finished.errback(error)

    def show(self, message: Message) -> None:
        """Print a message, and see that it leaves."""
        if self.finished.called:
            return
        try:
            self._stdout.write(encode(message) + b"\n")
            self._stdout.flush()
        except OSError as error:
            self.finish(error)
            return
        if self._left is not None:
            self._left -= 1
            if not self._left:
                self.finish()
