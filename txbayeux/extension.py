"""Extensions: objects that see, change, drop or refuse messages.

Servers and clients take the same kind of extension, a subclass of
:class:`Extension`.  They run in the order of installation, in both directions.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from types import CoroutineType
from typing import Any, Final, Literal, TypeAlias

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from txbayeux import channel as channels
from txbayeux.errors import server_error
from txbayeux.interfaces import Request
from txbayeux.message import Message

__all__ = ["Extension", "HookResult", "Pipeline", "check_extension", "overrides"]

HookResult: TypeAlias = Message | Awaitable[Message | None] | None
"""What a hook returns: a message, None to drop it, or a Deferred or coroutine of these.

Awaitables of other kinds are refused.
"""


class Extension:
    """Base class of extensions: override the hooks that are needed.

    A hook gets the message and the request that it came with.  It owns the message
    (the top level, and that of ``ext`` and ``advice``) and may change it.  To refuse
    the message it sets ``message["error"]`` to a Bayeux error such as
    ``"403::Forbidden"`` (Faye's convention).  ``message["channel"]`` is a string; no
    other field has been checked yet.

    If a hook raises, if its Deferred fails, or if it returns anything but a
    message or None, that message is answered with a 500 (a message that is not
    answered is dropped), and the error is logged.
    """

    channels: Sequence[str] | None = None
    """Channel names and patterns whose messages the hooks get; None for all.

    ``("/meta/**",)`` keeps an extension off the path of published messages, which
    then stay encoded once for all subscribers.
    """

    resumes: bool = False
    """Whether, on a client, a new session continues where the last one ended.

    If so, the client makes a new session when a connection is lost: the old one would
    go on behind the messages that were lost with the connection.
    """

    def incoming(self, message: Message, request: Request | None) -> HookResult:
        """Called with each message received.

        :param request: the request it came with; None on a client, and on a server
            for what the server's own process publishes.
        """
        return message

    def outgoing(self, message: Message, request: Request | None) -> HookResult:
        """Called with each message to be sent.

        On a server these are the replies, and published messages once for each
        session that gets them.

        :param request: as for :meth:`incoming`.
        """
        return message

    def delivering(self, message: Message, processed: Deferred[bool]) -> None:
        """Called on a client with each message, before its subscriptions get it.

        It is called in the order of arrival, whatever :attr:`channels` is, and must
        not change the message, which has passed :meth:`incoming`.

        :param processed: fires when all subscriptions are done with the message: with
            True if they have processed it, with False if it was dropped or nobody
            wanted it any more.  Those of later messages may fire earlier.
        """

    def installed(self, server: Any) -> None:
        """Called by a server, once, before the first message.

        :param server: the :class:`~txbayeux.server.Server`, to publish, to listen
            to its events, or to serve a channel.
        """


_Direction: TypeAlias = Literal["incoming", "outgoing"]
_Hook: TypeAlias = Callable[[Message, Request | None], HookResult]
_Outcome: TypeAlias = Message | Deferred[Message | None] | None

_HOOKS: Final = ("incoming", "outgoing", "delivering", "installed")
_log: Final = Logger()


def check_extension(extension: object) -> None:
    """Refuse what would never be called, for it would never refuse a message either.

    :raises TypeError: if ``extension`` is no :class:`Extension`, overrides no hook,
        or its ``channels`` is neither None nor a sequence of channel names and
        patterns.
    """
    if not isinstance(extension, Extension):
        raise TypeError(
            f"an extension must be an instance of a subclass of "
            f"txbayeux.Extension, not {extension!r}"
        )
    if not any(overrides(extension, hook) for hook in _HOOKS):
        raise TypeError(
            f"an extension must override incoming, outgoing, delivering or "
            f"installed: {extension!r}"
        )
    patterns: object = extension.channels
    if patterns is None:
        return
    if (
        isinstance(patterns, str)
        or not isinstance(patterns, Sequence)
        or not all(
            channels.COMETD.is_name(pattern) or channels.COMETD.is_pattern(pattern)
            for pattern in patterns
        )
    ):
        raise TypeError(
            f"an extension's channels must be a sequence of channel names and "
            f'patterns, like ("/meta/**",), not {patterns!r}'
        )


def overrides(extension: Extension, name: str) -> bool:
    """Return whether an extension has a hook of its own."""
    hook = getattr(extension, name)
    default = getattr(Extension, name)
    return callable(hook) and getattr(hook, "__func__", None) is not default


class Pipeline:
    """The hooks of one direction, in the order of installation.

    When a hook fails, its message becomes an error 500 and skips the hooks that
    follow.

    :raises TypeError: for an invalid extension (see :func:`check_extension`).
    """

    def __init__(self, direction: _Direction, extensions: Iterable[Extension]) -> None:
        self._hooks: list[tuple[Sequence[str] | None, _Hook]] = []
        for extension in extensions:
            check_extension(extension)
            if overrides(extension, direction):
                hook = getattr(extension, direction)
                self._hooks.append((extension.channels, hook))
        self.empty = not self._hooks
        """Whether there are no hooks."""
        self.meta_only = all(
            patterns is not None and all(map(channels.is_meta, patterns))
            for patterns, _ in self._hooks
        )
        """Whether no hook gets published messages."""

    def applies_to(self, channel: object) -> bool:
        """Return whether some hook gets the messages of ``channel``.

        False if ``channel`` is not a string: such a message is refused anyway.
        """
        if not self._hooks or not isinstance(channel, str):
            return False
        if self.meta_only and not channels.is_meta(channel):
            return False
        return any(_applies(patterns, channel) for patterns, _ in self._hooks)

    def run(self, message: Message, request: Request | None) -> _Outcome:
        """Pass ``message`` through the hooks; return what becomes of it.

        That is a message, or None if a hook dropped it; a Deferred of either, which
        does not fail, if one of the hooks returned a Deferred or a coroutine.
        """
        return self._run(message, request, 0)

    def _run(
        self, message: Message | None, request: Request | None, start: int
    ) -> _Outcome:
        for index in range(start, len(self._hooks)):
            if message is None:
                return None
            patterns, hook = self._hooks[index]
            if not _applies(patterns, message.get("channel")):
                continue
            original = message
            try:
                result: object = hook(message, request)
            except Exception:
                return _failed(original, Failure())
            if isinstance(result, CoroutineType):
                result = Deferred.fromCoroutine(result)
            if isinstance(result, Deferred):
                return self._run_later(result, original, request, index + 1)
            if result is not None and not isinstance(result, dict):
                return _invalid(original, result)
            message = result
        return message

    def _run_later(
        self,
        result: Deferred[Message | None],
        original: Message,
        request: Request | None,
        following: int,
    ) -> Deferred[Message | None]:
        def succeeded(message: Any) -> Any:
            if message is not None and not isinstance(message, dict):
                return _invalid(original, message)
            return self._run(message, request, following)

        def failed(failure: Failure) -> Message:
            return _failed(original, failure)

        return result.addCallbacks(succeeded, failed)


def _applies(patterns: Sequence[str] | None, channel: object) -> bool:
    if patterns is None:
        return True
    # Whatever names the server takes, none gets past an extension.
    if not channels.is_deliverable(channel):
        return False
    names = channels.expand(str(channel))
    return any(pattern in names for pattern in patterns)


def _failed(message: Message, failure: Failure) -> Message:
    _log.failure(
        "An extension failed on a message to {channel!r}",
        failure,
        channel=_channel_of(message),
    )
    return _with_error(message)


def _invalid(message: Message, result: object) -> Message:
    _log.error(
        "An extension returned {result!r} instead of a message to {channel!r}",
        result=result,
        channel=_channel_of(message),
    )
    return _with_error(message)


def _channel_of(message: Message) -> str:
    """Return the channel for the log, which may be anything and long."""
    return str(message.get("channel"))[: channels.MAX_LENGTH]


def _with_error(message: Message) -> Message:
    message["error"] = str(server_error())
    return message
