"""What the loop tells the client that owns it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

__all__ = ["Owner"]


class Owner(Protocol):
    """What the loop tells the client."""

    def session_began(self) -> None:
        """Hear of a new session: nothing is subscribed in it."""

    def sendable(self) -> None:
        """Hear that messages can be sent now."""

    def refused(self, error: Exception) -> Callable[[], None]:
        """Hear that the server wants no more of this client; give what tells its user.

        Two steps: whoever hears of the state may connect again at once, and what
        is asked from then on has nothing to do with this refusal.
        """

    def troubled(self, error: Exception) -> None:
        """Hear of a failure that is being recovered from."""
