"""The targets by name, and their input."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Final, Protocol, cast

__all__ = ["CORPUS", "MAX_INPUT", "NAMES", "Target", "corpus", "load"]

NAMES: Final = ("messages", "http", "websocket", "redis_replies", "log_entries")

CORPUS: Final = Path(__file__).parent / "corpus"

MAX_INPUT: Final = 4096
"""Bytes of an input: enough for several requests, replies or frames."""


class Target(Protocol):
    """A module of this folder that reads input."""

    LEXEMES: re.Pattern[bytes]
    """Matches the pieces in which an input is mutated."""

    TOKENS: tuple[bytes, ...]
    """Pieces that are put into the input."""

    def fuzz_one(self, data: bytes, /) -> None:
        """Process an input.

        :raises Exception: if something is wrong, AssertionError most of all.
        """


def load(name: str) -> Target:
    """Import a target."""
    return cast(Target, importlib.import_module(f"tests.fuzz.{name}"))


def corpus(name: str) -> list[bytes]:
    """Return the seeds of a target, in the order of their files' names."""
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]
