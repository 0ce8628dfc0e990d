"""The Lua scripts, by name."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

__all__ = ["NAMES", "Script", "load"]

_PARTS: Final = {
    "acquire": ("head", "route", "sessions"),
    "change": ("head", "route", "log", "sessions"),
    "check_release": ("head", "route", "sessions"),
    "checkpoint": ("head", "route", "sessions"),
    "complete": ("head", "route"),
    "create": ("head", "route", "sessions"),
    "deliver": ("head", "route", "log", "sessions"),
    "destroy": ("head", "route", "sessions"),
    "give_back": ("head", "route", "sessions"),
    "heartbeat": ("head", "route", "log", "forget", "sessions"),
    "interest": ("head", "route"),
    "leave": ("head", "route", "forget"),
    "notices": ("head",),
    "publish": ("head", "route", "log"),
    "read": ("head",),
    "release": ("head", "route", "sessions"),
    "verify": ("head", "route", "sessions"),
}
"""What each script begins with.  ``head.lua`` checks the epoch.

Each function of a part costs a publish 0.1 µs in Redis, whether it is called or not.
"""

NAMES: Final = tuple(_PARTS)
"""The scripts that check the epoch."""


@dataclass(frozen=True, slots=True)
class Script:
    """A script, and the hash for EVALSHA."""

    source: bytes
    sha: str


@cache
def load(name: str) -> Script:
    """Read a script from the package's ``engine/redis/lua``."""
    folder = files("txbayeux.engine.redis") / "lua"
    parts = (*_PARTS.get(name, ()), name)
    source = b"".join((folder / f"{part}.lua").read_bytes() for part in parts)
    return Script(source, hashlib.sha1(source).hexdigest())  # noqa: S324  # Redis's
