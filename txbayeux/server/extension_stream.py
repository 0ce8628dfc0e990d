"""A stream whose messages pass the outgoing extensions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from txbayeux.events import Reason
from txbayeux.interfaces import ConnectionHub, Stream
from txbayeux.message import Entry

__all__ = ["ExtensionStream", "Transform", "TransformedEntry"]

_log: Final = Logger()


class TransformedEntry(Entry):
    """An entry that extensions changed for one client."""

    __slots__ = ("original",)

    def __init__(self, original: Entry, json: bytes) -> None:
        super().__init__(original.position, original.channel, json)
        self.original = original


Transform: TypeAlias = Callable[[Entry], Entry | Deferred[Entry | None] | None]
"""Passes one entry through the extensions; returns None if they drop it."""


class ExtensionStream:
    """A :class:`~txbayeux.interfaces.Stream` that transforms what it is sent.

    Messages are transformed one after the other.  The stream is not writable until
    all of them are written, so later ones wait in the session's queue.  Those that
    the connection did not write go back there untransformed.
    """

    def __init__(
        self, stream: Stream, transform: Transform, hub: ConnectionHub
    ) -> None:
        self._stream: Final = stream
        self._transform: Final = transform
        self._hub: Final = hub
        self._entries: Sequence[Entry] = ()
        self._transformed = 0
        self._written = 0
        self._ready: list[Entry] = []
        self.preempted_by_poll = stream.preempted_by_poll

    @property
    def writable(self) -> bool:
        """See :class:`~txbayeux.interfaces.Stream`."""
        return not self._entries and self._stream.writable

    def send(self, entries: Sequence[Entry]) -> None:
        """See :meth:`txbayeux.interfaces.Stream.send`."""
        self._entries, self._transformed, self._written = entries, 0, 0
        Deferred.fromCoroutine(self._send(entries)).addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        _log.failure("Sending to a stream failed", failure)
        self._hub.detach(self, self.connection_lost(()))

    async def _send(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            outcome = self._transform(entry)
            if isinstance(outcome, Deferred):
                self._write()
                outcome = await outcome
            if self._entries is not entries:
                return
            if outcome is not None:
                self._ready.append(outcome)
            self._transformed += 1
        self._write()

    def _write(self) -> None:
        if self._ready and self._stream.writable:
            try:
                self._stream.send(self._ready)
            except Exception:
                _log.failure("Sending to a stream failed")
                self._hub.detach(self, self.connection_lost(()))
                return
            self._ready = []
        if not self._ready:
            self._written = self._transformed
            if self._transformed == len(self._entries):
                self._entries = ()
                self._hub.resume(self)

    def resume(self) -> None:
        """Called when the wrapped stream is writable again."""
        if self._entries:
            self._write()
        else:
            self._hub.resume(self)

    def connection_lost(self, unsent: Sequence[Entry]) -> Sequence[Entry]:
        """Forget what has not been written, and return it untransformed.

        :param unsent: what the wrapped stream was sent and could not write.
        """
        remaining = self._entries[self._written :]
        self._entries, self._ready = (), []
        originals = [
            entry.original if isinstance(entry, TransformedEntry) else entry
            for entry in unsent
        ]
        return [*originals, *remaining]

    def replaced(self) -> None:
        """See :meth:`txbayeux.interfaces.Stream.replaced`."""
        self._stream.replaced()

    def close(self, reason: Reason) -> None:
        """See :meth:`txbayeux.interfaces.Stream.close`."""
        self.connection_lost(())
        self._stream.close(reason)
