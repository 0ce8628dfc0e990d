"""What this node wants to get from Redis: the channels of its sessions and listeners.

Redis learns of a session's channels from the scripts that subscribe and acquire.  This
module registers the rest, and withdraws what is not wanted any more.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from txbayeux.engine.hub import Hub
from txbayeux.engine.redis.commands import Argument, Commands
from txbayeux.engine.redis.log import Mark

__all__ = ["Interest"]

_PART: Final = 1000
"""Most channels in one call."""


class Interest:
    """The channels and patterns that this node wants.

    :param sent: returns the position of the last entry that was dispatched.
    """

    def __init__(self, hub: Hub, commands: Commands, sent: Callable[[], int]) -> None:
        self._subscribers = hub.subscribers
        self._listeners = hub.listeners
        self._commands = commands
        self._sent = sent
        self._unwanted: set[str] = set()
        hub.subscribers.unwanted = hub.listeners.unwanted = self._unwanted
        hub.listeners.wanted = self._listen
        self._acquisitions: dict[int, set[str]] = {}
        self._unregistered: set[str] = set()  # what listeners want
        self._registering = 0  # calls without a reply
        self._failed = False  # since the last heartbeat
        self._number = 0
        self._stopped = False

    # Acquisitions: their channels are wanted before the hub has the session.

    def begin_acquisition(self) -> int:
        """Return the number of a new acquisition, by which Redis tags its channels."""
        self._number += 1
        self._acquisitions[self._number] = set()
        return self._number

    def acquiring(self, number: int, channels: Collection[str]) -> None:
        """Keep channels of an acquisition until it ends."""
        self._acquisitions[number].update(channels)

    def end_acquisition(self, number: int) -> None:
        """Forget an acquisition: the hub has the session now, or it failed."""
        channels = self._acquisitions.pop(number, ())
        self._unwanted.update(one for one in channels if not self._serves(one))

    def withdraw_unless_wanted(self, channels: Iterable[str]) -> None:
        """Withdraw channels with the next heartbeat, if nobody here wants them then."""
        self._unwanted.update(channels)

    # Redis

    async def register_all(self) -> Mark:
        """Register everything that this node wants; return a mark of the time after it.

        :raises BayeuxError: 503.
        """
        wanted = {*self._subscribers, *self._listeners}
        await self._register(wanted.union(*self._acquisitions.values()))
        return Mark.parse(*await self._commands.run("complete"))

    async def _register(self, channels: Iterable[str]) -> None:
        left = list(channels)
        for start in range(0, len(left), _PART):
            await self._run("+", left[start : start + _PART])

    def _listen(self, pattern: str) -> None:
        self._unregistered.add(pattern)
        # At once, as the node may publish next; but thousands share calls.
        if self._registering < _PART and not self._failed:
            self._register_listeners()

    def listen_again(self) -> None:
        """Register what listeners want: a former call may not have been executed."""
        self._unregistered.update(self._listeners)
        self._register_listeners()

    def _register_listeners(self) -> None:
        patterns, self._unregistered = self._unregistered, set()

        def failed(_: Failure) -> None:
            self._failed = True
            self._unregistered |= patterns  # until the next heartbeat

        def ended(_: object) -> None:
            self._registering -= 1
            if self._registering == 0 and not self._failed:
                self._register_listeners()

        if patterns:
            self._registering += 1
            registering = Deferred.fromCoroutine(self._register(patterns))
            registering.addErrback(failed).addCallback(ended)

    def update(self) -> None:
        """Register what is not registered yet, and withdraw what nobody wants.

        Called with each heartbeat.
        """
        self._failed = False
        self._register_listeners()
        self._withdraw()

    def stop(self) -> None:
        """Withdraw nothing more: this node is about to release its sessions.

        Redis passes over what was not sent to the node; see ``release.lua``.
        """
        self._stopped = True

    def _withdraw(self) -> None:
        if self._stopped or not self._unwanted:
            return
        part: list[str] = []
        # Thousands may be under way, after another node has died.
        acquiring: set[str] = set().union(*self._acquisitions.values())
        while self._unwanted and len(part) < _PART:
            channel = self._unwanted.pop()
            if channel not in acquiring and not self._serves(channel):
                part.append(channel)
        if part:
            self._run("-", part).addCallbacks(
                self._withdrawn, self._not_withdrawn, errbackArgs=(part,)
            )

    def _withdrawn(self, kept: Iterable[bytes]) -> None:
        more = len(self._unwanted) >= _PART
        self._unwanted.update(channel.decode() for channel in kept)
        if more:
            self._withdraw()

    def _not_withdrawn(self, _: Failure, part: Iterable[str]) -> None:
        self._unwanted.update(part)

    def _serves(self, channel: str) -> bool:
        """Return whether a session or listener here is subscribed to it."""
        return channel in self._subscribers or channel in self._listeners

    def _run(self, sign: str, channels: Iterable[str]) -> Deferred[Any]:
        completed = min(self._acquisitions, default=self._number + 1) - 1
        arguments: list[Argument] = [self._sent(), completed]
        for channel in channels:
            arguments += (sign, channel)
        return self._commands.run("interest", *arguments)
