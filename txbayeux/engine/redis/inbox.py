"""Reads the notices that the feed of this node did not bring."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.python.failure import Failure

from txbayeux.engine.redis.commands import Commands
from txbayeux.engine.redis.feed import Feed

__all__ = ["Inbox"]


class Inbox:
    """The newest notices for this node, which Redis keeps beside the feed.

    :param incomplete: called when some of the missing notices are not there any more.
    """

    def __init__(
        self, commands: Commands, feed: Feed, incomplete: Callable[[], None]
    ) -> None:
        self._commands = commands
        self._feed = feed
        self._incomplete = incomplete
        self._reading = False
        self._again = False

    def read(self, last: int) -> None:
        """Read the notices after the one with this number."""
        self._again = self._reading
        if self._reading:
            return
        self._reading = True

        def received(found: Sequence[tuple[bytes, Sequence[bytes]]]) -> None:
            self._reading = False
            if last > self._feed.notices:  # Some were dropped with the connection.
                self._again = True
            elif not self._feed.take_inbox(found):
                self._incomplete()
            self.retry()

        def failed(_: Failure) -> None:
            self._reading, self._again = False, True

        self._commands.run("notices", last).addCallbacks(received, failed)

    def retry(self) -> None:
        """Read again if that is necessary; called with each heartbeat."""
        if self._again:
            self.read(self._feed.notices)
