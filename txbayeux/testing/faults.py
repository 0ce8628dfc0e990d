"""What can go wrong with the requests of a client."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeAlias

from txbayeux import channel as channels
from txbayeux.message import Message
from txbayeux.testing.transport import ClientRequest

__all__ = ["Effect", "Fault", "matches"]

Effect: TypeAlias = Callable[[ClientRequest, Callable[[], None]], None]
"""Called with a request and a function that passes it on to the server."""


class Fault:
    """Something that goes wrong, a number of times or until :meth:`cancel`.

    As a context manager, it ends with the block::

        with server.unreachable():
            server.advance(10)

    :param channel: strike only requests with a message on this channel name or pattern;
        None for all.
    :param connection_type: strike only requests over this transport; None for all.
    :param times: how many requests it strikes; None for all, until it is cancelled.
    :raises ValueError: if ``channel`` is neither a name nor a pattern, or ``times`` is
        less than 1.
    """

    def __init__(
        self,
        effect: Effect,
        *,
        channel: str | None = None,
        connection_type: str | None = None,
        times: int | None = None,
    ) -> None:
        if channel is not None and not (
            channels.is_name(channel) or channels.is_pattern(channel)
        ):
            raise ValueError(f"neither a channel name nor a pattern: {channel!r}")
        if times is not None and times < 1:
            raise ValueError(f"times must be 1 or more, or None: {times!r}")
        self._effect = effect
        self._channel = channel
        self._connection_type = connection_type
        self._times = times
        self._cancelled = False
        self.strikes = 0
        """How many requests it has struck."""

    @property
    def active(self) -> bool:
        """Whether it strikes the next request that it is meant for."""
        return not self._cancelled and (
            self._times is None or self.strikes < self._times
        )

    def cancel(self) -> None:
        """End the fault.  Calling it again changes nothing."""
        self._cancelled = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.cancel()

    def concerns(self, request: ClientRequest) -> bool:
        """Return whether it strikes ``request``."""
        kind = self._connection_type
        return (
            self.active
            and kind in (None, request.transport.connection_type)
            and any(matches(self._channel, message) for message in request.messages)
        )

    def strike(self, request: ClientRequest, serve: Callable[[], None]) -> None:
        """Affect ``request``; ``serve`` passes it on to the server."""
        self.strikes += 1
        self._effect(request, serve)


def matches(channel: str | None, message: Message) -> bool:
    """Return whether a message is on a channel name or pattern; None is any."""
    name = message["channel"]
    return channel is None or (
        channels.is_name(name) and channels.matches(channel, name)
    )
