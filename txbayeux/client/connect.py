"""A connect on its way: the session has one at most."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Connect"]


@dataclass(frozen=True, slots=True, eq=False)
class Connect:
    """A connect that was sent."""

    session_id: str
    connection_type: str
    sent_at: float
    at_once: bool
    """Whether it asks for an immediate answer."""
    repeats: bool
    """Whether it repeats one that a gateway refused."""
    deliveries: int
    """How many messages had arrived before it."""
