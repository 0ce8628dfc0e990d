"""What the values of the command's options may be."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.python.usage import UsageError

__all__ = ["count", "option", "port", "seconds"]


def seconds(text: str) -> float:
    """Read a time."""
    with suppress(ValueError):
        value = float(text)
        if 0 <= value < float("inf"):
            return value
    raise ValueError("must be a number of seconds, 0 or more")


def count(text: str) -> int:
    """Read a number of things."""
    with suppress(ValueError):
        value = int(text)
        if value >= 1:
            return value
    raise ValueError("must be a whole number, 1 or more")


def port(text: str) -> int:
    """Read a TCP port."""
    with suppress(ValueError):
        value = int(text)
        if 0 <= value < 65536:
            return value
    raise ValueError("must be a port, 0 to 65535")


def option(
    name: str,
    default: Any,
    what: str,
    convert: Callable[[str], Any] = str,
    *,
    short: str | None = None,
) -> list[Any]:
    """Describe an option with a value; what is wrong with one is said with its name."""

    def coerce(text: str) -> Any:
        try:
            return convert(text)
        except ValueError as error:
            raise UsageError(f"--{name} {text}: {error}") from None

    return [name, short, default, what, coerce]
