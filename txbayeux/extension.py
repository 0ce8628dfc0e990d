"""Extensions: objects that see, change, drop or refuse messages.

An extension has ``incoming``, ``outgoing``, or both.  Each gets the message
(its own to change) and the request it belongs to, None for the process's own;
it gives back the message, another one, None to drop it, or a Deferred or a
coroutine of any of these.  Setting ``message["error"]`` refuses it (Faye's
convention).  The order is that of installation, both ways.  On the client,
``request`` is None.

The message's ``channel`` is a string; nothing else about it has been checked yet.

An extension that has ``installed`` is handed the server, or the client, once
before the first message: to publish, to listen to events, to serve a channel.

An attribute ``channels``, a sequence of channel names and patterns, restricts
an extension to messages on those: ``channels = ("/meta/**",)`` keeps it off
the path of published messages, which it would slow down.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence
from types import CoroutineType
from typing import Any, Final, TypeAlias

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from txbayeux import channel as channels
from txbayeux.errors import server_error
from txbayeux.interfaces import Request
from txbayeux.message import Message

__all__ = ["Extension", "Outcome", "Pipeline", "check"]

Extension: TypeAlias = object
"""Any object with ``incoming(message, request)`` and/or ``outgoing(...)``."""

Outcome: TypeAlias = Message | Deferred[Message | None] | None
"""What becomes of a message."""

_Given: TypeAlias = Outcome | Coroutine[Deferred[Any], Any, Message | None]
_Step: TypeAlias = Callable[[Message, Request | None], _Given]
_log: Final = Logger()

_METHODS: Final = ("incoming", "outgoing", "installed")


def check(extension: Extension) -> None:
    """See that something is an extension: one that is never called refuses nothing.

    :raises TypeError: if it has none of the methods, or ``channels`` is no sequence
        of channel names and patterns.
    """
    if not any(callable(getattr(extension, name, None)) for name in _METHODS):
        raise TypeError(f"no extension, for it has no method incoming: {extension!r}")
    patterns = getattr(extension, "channels", ())
    if isinstance(patterns, str) or not all(
        channels.is_name(pattern) or channels.is_pattern(pattern)
        for pattern in patterns
    ):
        raise TypeError(f'channels must be like ("/meta/**",), not {patterns!r}')


class Pipeline:
    """One direction of the installed extensions.

    An extension that raises, or gives back what is no message, fails that
    message alone: it goes on as an error 500, past no further extension.
    """

    def __init__(self, direction: str, extensions: Iterable[Extension]) -> None:
        """:param direction: ``"incoming"`` or ``"outgoing"``."""
        self._steps: list[tuple[Sequence[str] | None, _Step]] = [
            (getattr(extension, "channels", None), getattr(extension, direction))
            for extension in extensions
            if hasattr(extension, direction)
        ]
        self.empty = not self._steps
        """Whether there is nothing to pass through."""
        self.meta_only = all(
            patterns is not None and all(map(channels.is_meta, patterns))
            for patterns, _ in self._steps
        )
        """Whether published messages need not be shown to any extension."""

    def sees(self, channel: object) -> bool:
        """Tell whether some extension wants the messages of ``channel``.

        What has no channel is no message, whose refusal nobody need see.
        """
        if not self._steps or not isinstance(channel, str):
            return False
        if self.meta_only and not channels.is_meta(channel):
            return False
        return any(_wants(patterns, channel) for patterns, _ in self._steps)

    def run(self, message: Message, request: Request | None) -> Outcome:
        """Pass ``message`` through; at once if every extension answers at once."""
        return self._run(message, request, 0)

    def _run(
        self, message: Message | None, request: Request | None, start: int
    ) -> Outcome:
        for index in range(start, len(self._steps)):
            if message is None:
                return None
            patterns, step = self._steps[index]
            if not _wants(patterns, message.get("channel")):
                continue
            original = message
            try:
                outcome: object = step(message, request)
            except Exception:
                return _failed(original, Failure())
            if isinstance(outcome, CoroutineType):
                outcome = Deferred.fromCoroutine(outcome)
            if isinstance(outcome, Deferred):
                return self._later(outcome, original, request, index + 1)
            if outcome is not None and not isinstance(outcome, dict):
                return _wrong(original, outcome)
            message = outcome
        return message

    def _later(
        self,
        outcome: Deferred[Message | None],
        original: Message,
        request: Request | None,
        following: int,
    ) -> Deferred[Message | None]:
        def succeeded(message: Any) -> Any:
            if message is not None and not isinstance(message, dict):
                return _wrong(original, message)
            return self._run(message, request, following)

        def failed(failure: Failure) -> Message:
            return _failed(original, failure)

        return outcome.addCallbacks(succeeded, failed)


def _wants(patterns: Sequence[str] | None, channel: object) -> bool:
    if patterns is None:
        return True
    if not channels.is_name(channel):
        return False
    names = channels.expand(str(channel))
    return any(pattern in names for pattern in patterns)


def _failed(message: Message, failure: Failure) -> Message:
    _log.failure(
        "An extension failed on a message to {channel!r}",
        failure,
        channel=_channel_of(message),
    )
    return _refused(message)


def _wrong(message: Message, outcome: object) -> Message:
    _log.error(
        "An extension gave back {outcome!r}, no message, for one to {channel!r}",
        outcome=outcome,
        channel=_channel_of(message),
    )
    return _refused(message)


def _channel_of(message: Message) -> str:
    """Name the channel for the log: it may be anything, and long."""
    return str(message.get("channel"))[: channels.MAX_LENGTH]


def _refused(message: Message) -> Message:
    message["error"] = str(server_error())
    return message
