"""The extension ``--extension tests.chaos.forgetful:factory``.

It does nothing, but Redis forgets a node of this process after some seconds without a
heartbeat rather than after a minute.
"""

from __future__ import annotations

from typing import Any, Final

from txbayeux.engine.redis import node
from txbayeux.extension import Extension

FORGOTTEN: Final = 4.0
"""More than ``dead_after``, the time after which others acquire the sessions."""


class Nothing(Extension):
    channels = ("/nothing",)

    def incoming(self, message: dict[str, Any], request: object) -> dict[str, Any]:
        return message


def factory() -> Nothing:
    """Change the constant."""
    assert node._FORGOTTEN > FORGOTTEN
    node._FORGOTTEN = FORGOTTEN  # type: ignore[misc]
    return Nothing()
