"""How far a sequence of messages has been processed."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

__all__ = ["Progress"]

T = TypeVar("T")


class Progress(Generic[T]):
    """The last position up to which everything is processed, in whatever order.

    :param position: the one before the first message.
    """

    def __init__(self, position: T) -> None:
        self.arrived = position
        """The last position that has arrived."""
        self._before: OrderedDict[object, T] = OrderedDict()
        """The position that came before each message that is not processed."""

    def begin(self, message: object) -> None:
        """Called when a message arrives, which may or may not have a position."""
        self._before[message] = self.arrived

    def end(self, message: object) -> None:
        """Called when a message has been processed."""
        del self._before[message]

    @property
    def complete(self) -> bool:
        """Whether everything that has arrived is processed."""
        return not self._before

    @property
    def position(self) -> T:
        """The last position up to which everything is processed."""
        return next(iter(self._before.values()), self.arrived)
