"""The server's advice, validated.

Source: Bayeux specification, "advice".  A missing field keeps its former value, as
in Faye's and CometD's clients; a field of the wrong type counts as missing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

__all__ = ["HANDSHAKE", "NONE", "RETRY", "Advice", "advises_to_go_on"]

RETRY: Final = "retry"
HANDSHAKE: Final = "handshake"
NONE: Final = "none"

_MAX_SECONDS: Final = (2**31 - 1) / 1000
"""Upper bound on an interval: JavaScript's longest timer, 24.8 days."""
_MAX_HOSTS: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """The advice in force.

    ``interval`` and ``timeout`` are in seconds; an ``interval`` below 0 forbids further
    connects.  ``timeout`` is None until advised.
    """

    reconnect: str = RETRY
    interval: float = 0.0
    timeout: float | None = None
    hosts: tuple[str, ...] = ()

    def updated(self, advice: object, connection_type: str) -> Advice:
        """Return the advice in force after ``advice``, the field of a message.

        :param connection_type: the one in use; a section with its name overrides the
            other fields.
        """
        if not isinstance(advice, dict):
            return self
        fields = dict(advice)
        section = advice.get(connection_type)
        if isinstance(section, dict):
            fields.update(section)
        changes: dict[str, Any] = {}
        if fields.get("reconnect") in (RETRY, HANDSHAKE, NONE):
            changes["reconnect"] = fields["reconnect"]
        for name in ("interval", "timeout"):
            seconds = _seconds(fields.get(name))
            if seconds is not None and (name == "interval" or seconds >= 0):
                changes[name] = seconds
        hosts = fields.get("hosts")
        if isinstance(hosts, list):
            names = [host for host in hosts if isinstance(host, str) and host]
            changes["hosts"] = tuple(names[:_MAX_HOSTS])
        return replace(self, **changes)

    @property
    def final(self) -> bool:
        """Whether the server advises to stop for good."""
        return self.reconnect == NONE or self.interval < 0


def advises_to_go_on(advice: object, connection_type: str) -> bool:
    """Return whether ``advice``, the field of a message, asks for another attempt.

    One that says nothing of ``reconnect`` does not ask.
    """
    return not Advice(reconnect=NONE).updated(advice, connection_type).final


def _seconds(milliseconds: object) -> float | None:
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, int | float):
        return None
    if milliseconds > _MAX_SECONDS * 1000:  # also an integer too large for a float
        return _MAX_SECONDS
    return -1.0 if milliseconds < 0 else milliseconds / 1000
