"""Sessions that others may have taken over, unheard of here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred

from txbayeux.engine.redis.commands import Argument, Commands
from txbayeux.engine.redis.handover import OwnedSession
from txbayeux.engine.redis.ownership import SessionOwner

__all__ = ["verify"]


def verify(
    commands: Commands,
    owner: SessionOwner,
    owned: Sequence[OwnedSession],
    *,
    patience: float | None = None,
) -> Deferred[int]:
    """Ask Redis which are held here still, and let go of the others.

    Fires with the log's position; fails with
    :class:`~txbayeux.errors.BayeuxError` 503, having let go of nothing.

    :param patience: seconds to wait for a Redis that is away.
    """
    believed: list[Argument] = []
    for session in owned:
        believed += (session.id, session.generation)

    def verified(reply: Sequence[Any]) -> int:
        lost = {session_id.decode() for session_id in reply[1:]}
        for session in owned:
            # It may have gone meanwhile, and come back.
            if session.id in lost and owner.owned.get(session.id) is session:
                owner.moved(session.id)
        return int(reply[0])

    return commands.run("verify", *believed, patience=patience).addCallback(verified)
