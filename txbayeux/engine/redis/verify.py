"""Sessions that others may have taken over, unheard of here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred

from txbayeux.engine.redis.commands import Commands
from txbayeux.engine.redis.handover import Holding
from txbayeux.engine.redis.holder import Holder
from txbayeux.engine.redis.wire import Argument

__all__ = ["verify"]


def verify(
    commands: Commands,
    holder: Holder,
    holdings: Sequence[Holding],
    *,
    patience: float | None = None,
) -> Deferred[int]:
    """Ask Redis which are held here still, and let go of the others.

    Fires with the log's position; fails with
    :class:`~txbayeux.errors.BayeuxError` 503, having let go of nothing.

    :param patience: seconds to wait for a Redis that is away.
    """
    believed: list[Argument] = []
    for holding in holdings:
        believed += (holding.session.id, holding.generation)

    def verified(reply: Sequence[Any]) -> int:
        lost = {session_id.decode() for session_id in reply[1:]}
        for holding in holdings:
            session_id = holding.session.id
            # It may have gone meanwhile, and come back.
            if session_id in lost and holder.holdings.get(session_id) is holding:
                holder.moved(session_id)
        return int(reply[0])

    return commands.run("verify", *believed, patience=patience).addCallback(verified)
