"""The extension of the server under test: ``--extension recording:factory``.

It records each publish in a file before the server accepts it, so that the record
outlives the process.
"""

from __future__ import annotations

import json
import os
from typing import Any

from txbayeux.extension import Extension


class Recording(Extension):
    """Appends the data of each published message to a file, one per line."""

    channels = ("/soak/**",)

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def incoming(self, message: dict[str, Any], request: object) -> dict[str, Any]:
        """Record a message."""
        os.write(self._file, json.dumps(message["data"]).encode() + b"\n")
        return message


def factory() -> Recording:
    """Make the extension for the file in TXBAYEUX_RECORD."""
    return Recording(os.environ["TXBAYEUX_RECORD"])
