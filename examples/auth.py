"""Who may do what.

    twistd -n bayeux --port 8000 --extension-path . --extension examples.auth:Auth

A client sends ext: {"token": ...} with its subscriptions and publishes; Faye's and
CometD's clients do it with an extension of their own, the command txbayeux with
--ext '{"token": "s3cret"}'.  Subscribers do not get it.
"""

from __future__ import annotations

from txbayeux import Extension
from txbayeux.interfaces import Request
from txbayeux.message import Message

TOKENS = {"s3cret": "alice", "pa55": "bob"}


class Auth(Extension):
    """Everybody may read /news; users read everything and write below /users/NAME."""

    def incoming(self, message: Message, request: Request | None) -> Message:
        """Refuse by setting an error: a code, what was refused, why."""
        if request is None:  # published by this process
            return message
        channel, user = message["channel"], user_of(message)
        if channel == "/meta/subscribe":
            allowed = user is not None or message.get("subscription") == "/news"
        elif channel.startswith("/meta/"):
            allowed = True
        else:
            allowed = user is not None and channel.startswith(f"/users/{user}/")
        if not allowed:
            message["error"] = "403::Not yours"
        return message


def user_of(message: Message) -> str | None:
    """Return the user with the token in ext, which may hold anything."""
    ext = message.get("ext")
    token = ext.get("token") if isinstance(ext, dict) else None
    return TOKENS.get(token) if isinstance(token, str) else None
