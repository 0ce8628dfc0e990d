"""The extension of the server under test: ``--extension recording:factory``.

It writes down each publish before the server accepts it, where no end of the
process can undo it.
"""

from __future__ import annotations

import json
import os
from typing import Any

from txbayeux.extension import Extension


class Recording(Extension):
    """Appends the data of what is published to a file, a line each."""

    channels = ("/soak/**",)

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def incoming(self, message: dict[str, Any], request: object) -> dict[str, Any]:
        """Write the message down."""
        os.write(self._file, json.dumps(message["data"]).encode() + b"\n")
        return message


def factory() -> Recording:
    """Make the extension, for the file that the environment names."""
    return Recording(os.environ["TXBAYEUX_RECORD"])
