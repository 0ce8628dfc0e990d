"""Errors of a connection to Redis."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["Lost", "RedisError"]

_IN_SCRIPT: Final = re.compile(r"ERR Error running script .*: -?(?=[A-Z]+ )", re.DOTALL)
"""The prefix that Redis 6.2 adds to the error of a command in a script."""


class RedisError(Exception):
    """An error reply of Redis.

    ``code`` is its first word, such as ``NOSCRIPT``; ``text`` is the rest.
    """

    def __init__(self, reply: str = "") -> None:
        super().__init__(reply)
        self.code, _, self.text = _IN_SCRIPT.sub("", reply, count=1).partition(" ")


class Lost(Exception):
    """The connection was lost: the command may or may not have been executed."""
