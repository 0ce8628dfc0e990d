"""A stream behind outgoing extensions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from txbayeux.events import Reason
from txbayeux.interfaces import Engine, Stream
from txbayeux.message import Entry

__all__ = ["ExtensionStream", "Pipe", "TransformedEntry"]

_log: Final = Logger()


class TransformedEntry(Entry):
    """What extensions made of an entry, for one client."""

    __slots__ = ("original",)

    def __init__(self, original: Entry, json: bytes) -> None:
        super().__init__(original.position, original.channel, json)
        self.original = original


Pipe: TypeAlias = Callable[[Entry], Entry | Deferred[Entry | None] | None]
"""Passes one message through; gives None if it was dropped."""


class ExtensionStream:
    """A :class:`~txbayeux.interfaces.Stream` that pipes what it is sent.

    Messages pass one after the other.  Until all of them have been written it is
    not writable, so what comes meanwhile stays with the engine; what is lost with
    the connection goes back there as it came, to be piped anew.
    """

    def __init__(self, stream: Stream, pipe: Pipe, engine: Engine) -> None:
        self._stream = stream
        self._pipe = pipe
        self._engine = engine
        self._entries: Sequence[Entry] = ()
        self._piped = 0
        self._written = 0
        self._ready: list[Entry] = []
        self.preempted_by_poll = stream.preempted_by_poll

    @property
    def writable(self) -> bool:
        """See :class:`~txbayeux.interfaces.Stream`."""
        return not self._entries and self._stream.writable

    def send(self, entries: Sequence[Entry]) -> None:
        """See :meth:`txbayeux.interfaces.Stream.send`."""
        self._entries, self._piped, self._written = entries, 0, 0
        Deferred.fromCoroutine(self._pass(entries))

    async def _pass(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            outcome = self._pipe(entry)
            if isinstance(outcome, Deferred):
                self._write()
                outcome = await outcome
            if self._entries is not entries:
                return
            if outcome is not None:
                self._ready.append(outcome)
            self._piped += 1
        self._write()

    def _write(self) -> None:
        if self._ready and self._stream.writable:
            try:
                self._stream.send(self._ready)
            except Exception:
                _log.failure("Sending to a stream failed")
                self._engine.hub.detach(self, self.lost(()))
                return
            self._ready = []
        if not self._ready:
            self._written = self._piped
            if self._piped == len(self._entries):
                self._entries = ()
                self._engine.hub.resume(self)

    def resume(self) -> None:
        """Hear that the stream is writable again."""
        if self._entries:
            self._write()
        else:
            self._engine.hub.resume(self)

    def lost(self, unsent: Sequence[Entry]) -> Sequence[Entry]:
        """Hear that the connection is gone; give what had not been written."""
        left = self._entries[self._written :]
        self._entries, self._ready = (), []
        handed = [
            entry.original if isinstance(entry, TransformedEntry) else entry
            for entry in unsent
        ]
        return [*handed, *left]

    def replaced(self) -> None:
        """See :meth:`txbayeux.interfaces.Stream.replaced`."""
        self._stream.replaced()

    def close(self, reason: Reason) -> None:
        """See :meth:`txbayeux.interfaces.Stream.close`."""
        self.lost(())
        self._stream.close(reason)
