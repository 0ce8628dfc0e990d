"""Make objects of the values of the command's options.

Each function raises :exc:`twisted.python.usage.UsageError` with a sentence that names
the option.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from twisted.python.reflect import namedAny
from twisted.python.usage import UsageError

from txbayeux.bayeux import EngineFactory
from txbayeux.extension import Extension, check_extension

__all__ = ["engine", "extension", "mount", "usage_error"]

# Only characters that no browser percent-encodes.
_MOUNT: Final = re.compile(r"(?:/|(?:/[A-Za-z0-9._~!$&'()*+,;=:@-]+)+)\Z")


@contextmanager
def usage_error(option: str) -> Iterator[None]:
    """Turn a :exc:`ValueError` into a :exc:`~twisted.python.usage.UsageError`."""
    try:
        yield
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None


def mount(path: str) -> str:
    """Return the path of the Bayeux URL, without a slash at its end."""
    plain = "/" + path.strip("/")
    if plain == "/" and path != "/":
        raise UsageError(f"--mount {path!r} is no path: write /bayeux, or / for all")
    segments = plain.split("/")[1:]
    if _MOUNT.match(plain) is None or not {".", ".."}.isdisjoint(segments):
        raise UsageError("--mount must be a plain path like /bayeux")
    if segments[0] in ("health", "static"):
        raise UsageError(f"--mount {plain} is taken; choose one like /bayeux")
    return plain


def engine(url: str | None, **options: Any) -> EngineFactory | None:
    """Return what makes the Redis engine; None for the engine in memory.

    :param options: see RedisOptions.
    """
    if url is None:
        return None
    try:
        # Optional dependencies: imported only where they are used.
        from txbayeux.engine.redis import RedisEngine, RedisOptions  # noqa: PLC0415
        from txbayeux.engine.redis.location import parse  # noqa: PLC0415
    except ImportError as error:
        raise UsageError(f"--redis: {error}") from None
    with usage_error("--redis"):
        location, redis_options = parse(url), RedisOptions(**options)
    return partial(RedisEngine, location=location, options=redis_options)


def extension(name: str) -> Extension:
    """Return a new extension, by the name of its factory."""
    module, colon, factory = name.partition(":")
    if not (module and colon and factory):
        raise UsageError(f"--extension {name}: write package.module:factory")
    try:
        made: Extension = namedAny(f"{module}.{factory}")()
        check_extension(made)
    except Exception as error:
        # User code may raise anything; one sentence is enough.
        raise UsageError(f"--extension {name}: {error!r}") from error
    return made
