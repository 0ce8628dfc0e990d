"""Standard input and output of the ``txbayeux`` command."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any, BinaryIO, Final, Protocol

from twisted.internet.defer import Deferred

from txbayeux.cli.exit_codes import USAGE, CommandFailed
from txbayeux.message import Message, encode

__all__ = ["Lines", "Printer", "Readable"]

_CHUNK: Final = 64 * 1024
"""Bytes to read at a time."""


class Readable(Protocol):
    """A binary file without a buffer."""

    def read(self, size: int, /) -> bytes:
        """Return the bytes that are available, at most ``size``; none at the end.

        Blocks until there are some.
        """


class Lines:
    """The lines of standard input, until its end or the first error.

    Reads in daemon threads, which the process does not wait for: an interrupt ends it
    even while a read blocks.
    """

    def __init__(self, reactor: Any, stdin: Readable) -> None:
        self._reactor = reactor
        self._stdin = stdin
        self._lines: deque[bytes] = deque()
        self._rest = b""
        self._ended = False
        self._reading: Deferred[bytes] | None = None
        self.error: Exception | None = None
        """The error of the first call of :meth:`stop`, if any."""

    def stop(self, error: Exception) -> None:
        """End the iteration because of ``error``.  Later errors are ignored."""
        self.error = self.error or error
        self._on_read(b"")

    def __aiter__(self) -> Lines:
        return self

    async def __anext__(self) -> bytes:
        while self.error is None:
            if self._lines:
                return self._lines.popleft()
            if self._ended:
                break
            chunk = await self._read()
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            self._lines.extend(lines)
            if not chunk:
                self._ended = True
                self._lines.append(self._rest)
        raise StopAsyncIteration

    def _read(self) -> Deferred[bytes]:
        def in_thread() -> None:
            try:
                chunk = self._stdin.read(_CHUNK)
            except OSError as error:
                failed = CommandFailed(USAGE, f"standard input: {error}")
                self._reactor.callFromThread(self.stop, failed)
            else:
                self._reactor.callFromThread(self._on_read, chunk)

        self._reading = Deferred()
        threading.Thread(target=in_thread, daemon=True).start()
        return self._reading

    def _on_read(self, chunk: bytes) -> None:
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.callback(chunk)


class Printer:
    """Prints messages to standard output, one JSON value per line.

    :param count: how many to print at most; None for no limit.
    :param data_only: print what was published, without the rest of the message.
    """

    def __init__(
        self, stdout: BinaryIO, count: int | None, *, data_only: bool = False
    ) -> None:
        self._stdout = stdout
        self._left = count
        self._data_only = data_only
        self.finished: Deferred[None] = Deferred()
        """Fires after ``count`` messages; fails with the error of :meth:`finish`, or
        with :exc:`OSError` if the output cannot be written."""

    def finish(self, error: Exception) -> None:
        """Stop printing because of ``error``."""
        if not self.finished.called:
            self.finished.errback(error)

    def print(self, message: Message) -> Deferred[None] | None:
        """Print a message, and flush it.

        A message that is not printed any more is never processed: return a Deferred
        that does not fire, so that the next run gets the message.
        """
        if self.finished.called:
            return Deferred()
        line = encode(message["data"] if self._data_only else message)
        try:
            self._stdout.write(line + b"\n")
            self._stdout.flush()
        except OSError as error:
            self.finish(error)
            return Deferred()
        if self._left is not None:
            self._left -= 1
            if not self._left:
                self.finished.callback(None)
        return None
