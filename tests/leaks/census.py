"""The extension of the service under test: replies count what lives in the process.

``--extension tests.leaks.census:Census``
"""

from __future__ import annotations

import gc
from collections import Counter
from typing import Any, Final

from txbayeux.extension import Extension

CHANNEL: Final = "/service/census"


class Census(Extension):
    """Adds the numbers of objects, by type, to the reply to a message on a channel."""

    channels = (CHANNEL,)

    def outgoing(self, message: dict[str, Any], request: object) -> dict[str, Any]:
        """Add them; garbage is collected, and counted, first."""
        garbage = gc.collect()
        types = map(type, gc.get_objects())
        objects = Counter(f"{one.__module__}.{one.__qualname__}" for one in types)
        return {**message, "ext": {"garbage": garbage, "objects": objects}}
