"""The sessions of this process by channel, and which channels nobody wants any more."""

from __future__ import annotations

from txbayeux.channel import SubscriptionIndex
from txbayeux.engine.session import Session

__all__ = ["Subscribers"]


class Subscribers(SubscriptionIndex[Session]):
    """An index from channels and patterns to sessions."""

    __slots__ = ("unwanted",)

    def __init__(self) -> None:
        super().__init__()
        self.unwanted: set[str] | None = None
        """Gets channels whose last subscriber is gone; None if no engine reads it."""

    def remove(self, pattern: str, subscriber: Session) -> None:
        """Remove a subscription, if there is one."""
        super().remove(pattern, subscriber)
        if self.unwanted is not None and pattern not in self:
            self.unwanted.add(pattern)
