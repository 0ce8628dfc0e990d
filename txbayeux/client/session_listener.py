"""What the loop tells the client that owns it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["SessionListener"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionListener:
    """Whom the loop tells what; the user's view of the client has none of it."""

    session_began: Callable[[], None]
    """There is a new session: nothing is subscribed in it."""
    sendable: Callable[[], None]
    """Messages can be sent now."""
    refused: Callable[[Exception], Callable[[], None]]
    """The server wants no more of this client; gives what tells its user.

    Two steps: whoever hears of the state may connect again at once, and what is
    asked from then on has nothing to do with this refusal."""
    troubled: Callable[[Exception], None]
    """Something failed, and is being recovered from."""
