"""How the command ends."""

from __future__ import annotations

from typing import Final

__all__ = ["INTERRUPTED", "NO_ANSWER", "REFUSED", "UNWRITTEN", "USAGE", "Failed"]

REFUSED: Final = 1
UNWRITTEN: Final = 1
USAGE: Final = 2
NO_ANSWER: Final = 3
INTERRUPTED: Final = 130


class Failed(Exception):
    """Ends the command with a code, and one line that says why."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code
