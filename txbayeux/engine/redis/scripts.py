"""The Lua scripts, by name."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

__all__ = ["NAMES", "Script", "load"]

NAMES: Final = (
    "acquire",
    "change",
    "check_release",
    "checkpoint",
    "create",
    "deliver",
    "destroy",
    "give_back",
    "heartbeat",
    "publish",
    "read",
    "release",
    "verify",
)
"""The scripts that begin with ``head.lua``, which checks the epoch."""


@dataclass(frozen=True, slots=True)
class Script:
    """A script, and the hash for EVALSHA."""

    source: bytes
    sha: str


@cache
def load(name: str) -> Script:
    """Read a script from the package's ``engine/redis/lua``."""
    folder = files("txbayeux.engine.redis") / "lua"
    source = (folder / f"{name}.lua").read_bytes()
    if name in NAMES:
        source = (folder / "head.lua").read_bytes() + source
    return Script(source, hashlib.sha1(source).hexdigest())  # noqa: S324  # Redis's
