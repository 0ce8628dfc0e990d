"""Headers, cookies and ``ext`` for a handshake: given, or asked for each time."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

from twisted.internet.defer import Deferred, inlineCallbacks, maybeDeferred

from txbayeux import channel as channels
from txbayeux.message import Message, encode

__all__ = ["Credentials", "CredentialsProvider", "Fields", "handshake_with"]

Fields: TypeAlias = Mapping[str, Any]

Source: TypeAlias = Fields | Callable[[], Fields | Awaitable[Fields]] | None
"""A mapping; or a callable, asked before each handshake, that gives one, or a
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


def handshake_with(credentials: Credentials, types: Sequence[str]) -> Message:
    """Make the handshake that offers these connection types."""
    message: Message = {
        "channel": channels.HANDSHAKE,
        "version": "1.0",
        "minimumVersion": "1.0",
        "supportedConnectionTypes": list(types),
    }
    if credentials.ext:
        message["ext"] = dict(credentials.ext)
    return message


class CredentialsProvider:
    """Where the credentials come from."""

    def __init__(self, headers: Source, cookies: Source, ext: Source) -> None:
        """Check what is given; callables are not asked yet.

        :raises ValueError: for a mapping that could not be sent.
        """
        self._sources = {"headers": headers, "cookies": cookies, "ext": ext}
        for kind, source in self._sources.items():
            if not callable(source):
                _checked(kind, source)
        self._last: Credentials | None = None
        self._refused: tuple[Credentials, Exception] | None = None

    @inlineCallbacks
    def ask(self) -> Any:
        """Give a Deferred of :class:`Credentials`.

        Fails as the callables fail, and with :exc:`ValueError` for a header or
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
        """Hear that the server refused the last ones; give whether to ask again."""
        fresh = any(callable(source) for source in self._sources.values())
        if not fresh or self._last is None:
            return False
        self._refused = (self._last, error)
        return True

    def refusal_of(self, credentials: Credentials) -> Exception | None:
        """Give why the server refused the same ones just before, if it did."""
        if self._refused is None or self._refused[0] != credentials:
            return None
        return self._refused[1]

    def forget_refusal(self) -> None:
        """Hear that the last ones were accepted, or are to be tried all the same."""
        self._refused = None


def _called(source: Callable[[], Any]) -> Any:
    outcome = source()
    if isinstance(outcome, Coroutine):
        return Deferred.fromCoroutine(cast(Any, outcome))
    return outcome


def _checked(kind: str, source: object) -> dict[str, Any]:
    fields = {} if source is None else source
    if not isinstance(fields, Mapping):
        raise ValueError(f"{kind} must be a mapping")  # noqa: TRY004 (as for the rest)
    if kind == "ext":
        try:
            encode(dict(fields))
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"ext is no JSON: {error}") from None
        return dict(fields)
    for name, value in fields.items():
        _require(name, _TOKEN, f"name in {kind}: {name!r}")
        _require(value, _VALUES[kind], f"value of {name} in {kind}")
    return dict(fields)


def _require(value: object, pattern: re.Pattern[str], what: str) -> None:
    if not isinstance(value, str) or pattern.match(value) is None:
        raise ValueError(f"not a usable {what}")
