"""Flow control: connects wait while too many messages have not been processed.

A message counts from its arrival until every subscription that got it is done with it.
While too many count, the session sends no further connect and transports read nothing
that the server pushes, so messages wait at the server.  Replies are read all the same:
a listener that waits for one goes on.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from txbayeux.extension import Extension, overrides
from txbayeux.interfaces import DelayedCall
from txbayeux.message import Message

__all__ = ["DEFAULT_LIMIT", "STALLED", "FlowControl", "Processing"]

DEFAULT_LIMIT: Final = 100
"""Unprocessed messages at which connects wait."""
STALLED: Final = 30.0
"""Seconds after which a message that is not processed is logged, once."""

_log: Final = Logger()


class Processing:
    """One message, from its arrival until its consumers are done with it."""

    __slots__ = ("_consumers", "_done", "_dropped", "_processed", "channel")

    def __init__(self, channel: str, done: Callable[[Processing, bool], None]) -> None:
        self.channel = channel
        self._done = done
        self._consumers = 1  # the delivery itself, so that it ends after all have begun
        self._processed = False
        self._dropped = False

    def begin(self) -> None:
        """Called when a consumer gets the message; it calls one of the following."""
        self._consumers += 1

    def end(self) -> None:
        """Called when a consumer has processed the message."""
        self._processed = True
        self._leave()

    def give_up(self) -> None:
        """Called when a consumer does not want the message any more."""
        self._leave()

    def drop(self) -> None:
        """Called when a consumer could not get the message: it is not processed."""
        self._dropped = True
        self._leave()

    def delivered(self) -> None:
        """Called once the message was passed to its consumers."""
        self._leave()

    def _leave(self) -> None:
        self._consumers -= 1
        if not self._consumers:
            self._done(self, self._processed and not self._dropped)


class FlowControl:
    """The messages that have not been processed, and whether they are too many.

    :param limit: how many are too many.  There is room again at half of it.
    :param changed: called when :attr:`full` has changed.
    """

    def __init__(self, clock: Any, limit: int, changed: Callable[[], None]) -> None:
        self._clock = clock
        self._limit = limit
        self._changed = changed
        self._extensions: list[Extension] = []
        self._unprocessed: OrderedDict[Processing, list[Deferred[bool]]] = OrderedDict()
        self._queued = 0
        self._stopped = False
        self.full = False
        """Whether connects should wait."""
        self._oldest: Processing | None = None
        """The oldest one when the timer was set."""
        self._logged: Processing | None = None
        self._timer: DelayedCall | None = None

    def __len__(self) -> int:
        """Return how many messages have not been processed."""
        return len(self._unprocessed) + self._queued

    def add_extension(self, extension: Extension) -> None:
        """Call the extension's hook ``delivering``, if it has one."""
        if overrides(extension, "delivering"):
            self._extensions.append(extension)

    def queued(self, count: int) -> None:
        """Called with how many messages wait for an incoming extension."""
        self._queued = count
        self._compare()

    def arrived(self, message: Message) -> Processing:
        """Count a message that is about to be delivered."""
        processing = Processing(message["channel"], self._done)
        outcomes = self._unprocessed[processing] = []
        for extension in self._extensions:
            outcome: Deferred[bool] = Deferred()
            outcomes.append(outcome)
            try:
                extension.delivering(message, outcome)
            except Exception:
                _log.failure("An extension failed on a delivery")
        return processing

    def delivered(self, processing: Processing) -> None:
        """Called once the message was passed to its consumers."""
        processing.delivered()
        if self._unprocessed and self._timer is None and not self._stopped:
            self._watch()
        self._compare()

    def _done(self, processing: Processing, processed: bool) -> None:
        def log(failure: Failure) -> None:
            _log.failure("An extension failed on a processed message", failure)

        outcomes = self._unprocessed.pop(processing)
        if not self._unprocessed:
            self._cancel_timer()
        for outcome in outcomes:
            outcome.addErrback(log)
            outcome.callback(processed)
        self._compare()

    def _compare(self) -> None:
        count = len(self)
        if self.full and count <= self._limit // 2:
            self.full = False
        elif not self.full and count >= self._limit:
            self.full = True
        else:
            return
        self._changed()

    # What is not processed for a long time.

    def _watch(self) -> None:
        self._oldest = next(iter(self._unprocessed))
        self._timer = self._clock.callLater(STALLED, self._check)

    def _check(self) -> None:
        self._timer = None
        oldest = next(iter(self._unprocessed))
        if oldest is self._oldest and oldest is not self._logged:
            self._logged = oldest
            _log.warn(
                "A message on {channel} has not been processed for {seconds:g} s; "
                "{count} wait{held}",
                channel=oldest.channel,
                seconds=STALLED,
                count=len(self),
                held=", and so does the next connect" if self.full else "",
            )
        self._watch()

    def _cancel_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def stop(self) -> None:
        """Leave nothing in the reactor."""
        self._stopped = True
        self._cancel_timer()
