"""Headers, cookies and ``ext`` for a handshake: fixed, or made anew each time."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

from twisted.internet.defer import Deferred, inlineCallbacks, maybeDeferred

from txbayeux.message import encode

__all__ = ["Credentials", "CredentialsProvider", "Fields", "Source"]

Fields: TypeAlias = Mapping[str, Any]

Source: TypeAlias = Fields | Callable[[], Fields | Awaitable[Fields]] | None
"""A mapping; or a callable, called before each handshake, that returns one, or a
Deferred or coroutine of one."""

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_VALUES: Final = {
    "headers": re.compile(r"[\t\x20-\x7e]*\Z"),
    "cookies": re.compile(r"[\x20-\x3a\x3c-\x7e]*\Z"),
}


@dataclass(frozen=True, slots=True)
class Credentials:
    """What one handshake is made with."""

    headers: Mapping[str, str]
    cookies: Mapping[str, str]
    ext: Fields

    def __repr__(self) -> str:
        return "Credentials(...)"


class CredentialsProvider:
    """Where the credentials come from.  Callables are not called yet.

    :raises ValueError: for a mapping that could not be sent.
    """

    def __init__(self, headers: Source, cookies: Source, ext: Source) -> None:
        self._sources = {"headers": headers, "cookies": cookies, "ext": ext}
        for kind, source in self._sources.items():
            if not callable(source):
                _checked(kind, source)
        self._last: Credentials | None = None
        self._refused: tuple[Credentials, Exception] | None = None

    @inlineCallbacks
    def get(self) -> Any:
        """Return a Deferred of :class:`Credentials` for the next handshake.

        It fails as the callables fail, and with :exc:`ValueError` for a header or
        cookie that could not be sent, or would be read as several.
        """
        found = {}
        for kind, source in self._sources.items():
            fields = source
            if callable(source):
                fields = yield maybeDeferred(_called, source)
            found[kind] = _checked(kind, fields)
        self._last = Credentials(**found)
        return self._last

    def refused(self, error: Exception) -> bool:
        """Called when the server refused the last credentials.

        Return whether there may be others, since one of the sources is callable.
        """
        fresh = any(callable(source) for source in self._sources.values())
        if not fresh or self._last is None:
            return False
        self._refused = (self._last, error)
        return True

    def refusal_of(self, credentials: Credentials) -> Exception | None:
        """Return the error with which the server just refused the same credentials."""
        if self._refused is None or self._refused[0] != credentials:
            return None
        return self._refused[1]

    def forget_refusal(self) -> None:
        """Allow the credentials that were refused last to be used again."""
        self._refused = None


def _called(source: Callable[[], Any]) -> Any:
    fields = source()
    if isinstance(fields, Coroutine):
        return Deferred.fromCoroutine(cast(Any, fields))
    return fields


def _checked(kind: str, source: object) -> dict[str, Any]:
    fields = {} if source is None else source
    if not isinstance(fields, Mapping):
        raise ValueError(f"{kind} must be a mapping")  # noqa: TRY004 (as for the rest)
    if kind == "ext":
        try:
            encode(dict(fields))
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"ext cannot be written as JSON: {error}") from None
        return dict(fields)
    for name, value in fields.items():
        _require(name, _TOKEN, f"name in {kind}: {name!r}")
        _require(value, _VALUES[kind], f"value of {name} in {kind}")
    return dict(fields)


def _require(value: object, pattern: re.Pattern[str], what: str) -> None:
    if not isinstance(value, str) or pattern.match(value) is None:
        raise ValueError(f"not a usable {what}")
