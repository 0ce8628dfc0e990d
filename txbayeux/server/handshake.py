"""``/meta/handshake``."""

from __future__ import annotations

import re
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from txbayeux.errors import (
    connection_types_mismatch,
    missing_parameter,
    version_mismatch,
    wrong_parameter,
)
from txbayeux.events import Handshaken
from txbayeux.message import Message
from txbayeux.server.context import RequestContext, ServerContext
from txbayeux.server.fields import extension_field
from txbayeux.server.options import CONNECTION_TYPES, VERSION
from txbayeux.server.replies import reply, supported

__all__ = ["handshake"]

_VERSION: Final = re.compile(r"([0-9]{1,9})(?:\.[A-Za-z0-9][A-Za-z0-9_-]{0,31}){0,8}\Z")

_MAX_NUMBER: Final = 1e9
"""Versions that are numbers are below: Python writes no integer of 5,000 digits."""


def handshake(
    server: ServerContext, message: Message, context: RequestContext
) -> Deferred[Message]:
    """Create a session.

    Fields (Bayeux specification, "Handshake Request", "Successful Handshake Response"
    and "Unsuccessful Handshake Response"):

    ====================================  ========================================
    request MUST contain                  channel, version, supportedConnectionTypes
    request MAY contain                   minimumVersion, ext, id
    successful reply MUST contain         channel, version, supportedConnectionTypes,
                                          clientId, successful
    successful reply MAY contain          minimumVersion, advice, ext, id
    unsuccessful reply MUST contain       channel, successful, error
    unsuccessful reply MAY contain        supportedConnectionTypes, advice, version,
                                          minimumVersion, ext, id
    ====================================  ========================================

    A ``clientId`` in the request is ignored.  ``ext: {"ack": true}``, in the request
    and then in the reply, turns on CometD's message acknowledgement.

    As on Faye's and CometD's servers, a version may be a number, a ``minimumVersion``
    that is no version counts as none, and what is not a string among the connection
    types is ignored.
    """
    _check_version(message)
    _check_connection_types(message)
    acknowledges = (
        server.options.acknowledge and extension_field(message, "ack") is True
    )

    def created(session_id: str) -> Message:
        server.peers.session_created(context.peer, session_id)
        answer = reply(message) | supported()
        answer["clientId"] = session_id
        answer["advice"] = server.advice.copy()
        if acknowledges:
            answer["ext"] = {"ack": True}
        if server.events.has_listeners(Handshaken):
            server.events.emit(Handshaken(session_id, context.request))
        return answer

    def failed(failure: Failure) -> Failure:
        server.peers.session_failed(context.peer)
        return failure

    server.peers.admit_session(context.peer)
    creating = server.engine.create_session(acknowledges=acknowledges)
    return creating.addCallbacks(created, failed)


def _check_version(message: Message) -> None:
    value = message.get("version")
    if value is None or value == "":
        raise missing_parameter("version")
    version = _major(value)
    if version is None:
        raise wrong_parameter("version")
    minimum = _major(message.get("minimumVersion"))
    lowest = version if minimum is None else minimum
    if not lowest <= int(VERSION[0]) <= version:
        raise version_mismatch(str(value))


def _major(value: Any) -> int | None:
    """Return the first element of a version, or None if it is none."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value) if abs(value) < _MAX_NUMBER else ""
    match = _VERSION.match(value) if isinstance(value, str) else None
    return None if match is None else int(match.group(1))


def _check_connection_types(message: Message) -> None:
    types = message.get("supportedConnectionTypes")
    if types is None:
        raise missing_parameter("supportedConnectionTypes")
    if not isinstance(types, list):
        raise wrong_parameter("supportedConnectionTypes")
    if not any(kind in CONNECTION_TYPES for kind in types):
        names = tuple(kind for kind in types if isinstance(kind, str))
        raise connection_types_mismatch(names)
