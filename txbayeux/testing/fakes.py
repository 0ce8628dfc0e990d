"""Fakes of the other side of an interface, which record their calls."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from txbayeux.events import Reason
from txbayeux.interfaces import Request, SessionObserver, Stream
from txbayeux.message import Entry

__all__ = ["FakeRequest", "RecordingObserver", "RecordingStream"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeRequest:
    """A :class:`~txbayeux.interfaces.Request` without a network."""

    transport: str = "long-polling"
    peer: str = "192.0.2.1"
    headers: Mapping[str, str] = field(default_factory=dict)


class RecordingObserver:
    """A :class:`~txbayeux.interfaces.SessionObserver`."""

    def __init__(self) -> None:
        self.closed: list[tuple[str, Reason]] = []
        self.channels: dict[str, list[str]] = {}

    def session_closed(
        self, session_id: str, reason: Reason, channels: Collection[str] = ()
    ) -> None:
        """Record which session ended, why, and what it was subscribed to."""
        self.closed.append((session_id, reason))
        self.channels[session_id] = sorted(channels)


class RecordingStream:
    """A :class:`~txbayeux.interfaces.Stream`; what it was sent is in ``batches``."""

    def __init__(
        self, *, writable: bool = True, preempted_by_poll: bool = True
    ) -> None:
        self.writable = writable
        self.preempted_by_poll = preempted_by_poll
        self.batches: list[list[Entry]] = []
        self.replacements = 0
        self.closed: list[Reason] = []

    @property
    def entries(self) -> list[Entry]:
        """Everything that was sent, in order."""
        return [entry for batch in self.batches for entry in batch]

    @property
    def data(self) -> list[Any]:
        """The ``data`` of everything that was sent, in order."""
        return [entry.message()["data"] for entry in self.entries]

    def send(self, entries: Sequence[Entry]) -> None:
        """Record a batch."""
        assert self.writable, "nothing may be sent while the stream is not writable"
        self.batches.append(list(entries))

    def replaced(self) -> None:
        """Count the call."""
        self.replacements += 1

    def close(self, reason: Reason) -> None:
        """Record the reason."""
        self.closed.append(reason)


_request: type[Request] = FakeRequest
_observer: type[SessionObserver] = RecordingObserver
_stream: type[Stream] = RecordingStream
