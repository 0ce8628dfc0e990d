"""The exit codes of the ``txbayeux`` command."""

from __future__ import annotations

from typing import Final

__all__ = [
    "INTERRUPTED",
    "NO_ANSWER",
    "OUTPUT_FAILED",
    "REFUSED",
    "USAGE",
    "CommandFailed",
]

REFUSED: Final = 1
OUTPUT_FAILED: Final = 1
USAGE: Final = 2
NO_ANSWER: Final = 3
INTERRUPTED: Final = 130


class CommandFailed(Exception):
    """End the command.

    :param code: one of the exit codes.
    :param reason: a sentence for standard error.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
