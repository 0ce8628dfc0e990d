"""Who may do what: twistd -n bayeux --port 8000 --extension examples.auth:Auth

A client puts ext: {"token": ...} into what it subscribes to and publishes (Faye's
and CometD's clients do it with an extension of their own). ext stays between it and
the server: subscribers never see it.
"""

from __future__ import annotations

from txbayeux import Extension
from txbayeux.interfaces import Request
from txbayeux.message import Message

TOKENS = {"s3cret": "alice", "pa55": "bob"}


class Auth(Extension):
    """Lets everybody read /news, and each user write below /users/NAME."""

    def incoming(self, message: Message, request: Request | None) -> Message:
        """Refuse by setting an error: a code, what was refused, why."""
        channel = message["channel"]
        if request is None:  # this process's own
            return message
        if channel == "/meta/subscribe":
            wanted = message.get("subscription")
            allowed = all(self._may_read(message, name) for name in as_list(wanted))
        elif not channel.startswith("/meta/"):
            allowed = channel.startswith(f"/users/{user_of(message)}/")
        else:
            allowed = True
        if not allowed:
            message["error"] = "403::Not yours"
        return message

    def _may_read(self, message: Message, name: object) -> bool:
        return name == "/news" or user_of(message) is not None


def as_list(value: object) -> list[object]:
    """Read a field that holds one or several."""
    return value if isinstance(value, list) else [value]


def user_of(message: Message) -> str | None:
    """Find the user by the token; an extension must expect anything in ext."""
    ext = message.get("ext")
    token = ext.get("token") if isinstance(ext, dict) else None
    return TOKENS.get(token) if isinstance(token, str) else None
