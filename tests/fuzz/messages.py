"""Bayeux messages in every field, while another session must notice nothing.

The input has a request in each line: a message in JSON, or a list of them.  ``@one``
and ``@two`` are replaced by the ids of two sessions, ``@new`` by the id of the session
that was created last.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from tests.fuzz.logs import nothing_fails
from tests.server.harness import TIMEOUT, Client, Harness, Poll, result_of
from txbayeux.adapter.body import TooLarge, read
from txbayeux.extension import Extension
from txbayeux.extensions import ServerTimeSync
from txbayeux.interfaces import Request
from txbayeux.limits import Limits
from txbayeux.message import Entry, Malformed, Message, encode_list
from txbayeux.peer_limits import PeerLimits
from txbayeux.processor import Response
from txbayeux.testing import FakeRequest

__all__ = ["LEXEMES", "TOKENS", "fuzz_one"]

# Names are whole, other channels consist of segments.
LEXEMES: Final = re.compile(
    rb'"(?:/meta/)?[A-Za-z@_-]*"|/[a-z0-9*]*|\\.|[-+.0-9a-zE]+|.', re.DOTALL
)

TOKENS: Final = (
    *(
        b'"%b"' % name
        for name in (
            *(b"channel", b"clientId", b"id", b"data", b"ext", b"advice"),
            *(b"successful", b"error", b"version", b"minimumVersion", b"timestamp"),
            *(b"supportedConnectionTypes", b"connectionType", b"subscription"),
            *(b"timeout", b"interval", b"reconnect", b"ack", b"interpolated"),
            *(b"/meta/handshake", b"/meta/connect", b"/meta/disconnect"),
            *(b"/meta/subscribe", b"/meta/unsubscribe", b"/meta/x", b"/META/connect"),
            *(b"/chat/a", b"/chat/*", b"/**", b"/service/a", b"/service", b"/"),
            *(b"/a/b/c/d/e", b"/a" * 64, b"/a" * 65, b"/a/" + b"b/" * 70),
            *(b"/x/y/z/*", b"/x/y/z/**", b"/x/y/z/t", b"/a" * 63 + b"/**"),
            *(b"/" + b"a" * 1100, b"x" * 300, b"", b"/a\\u0000"),
            *(b"/a b/c", b"/a /b", b"/chat/", b"/./x", b"/.#:+{}", b"/meta/subscribe/"),
            *(b"timesync", b"tc", b"l", b"o"),
            *(b"@one", b"@two", b"@new", b"__proto__", b"\\ud83d\\ude00", b"\\u2028"),
            *(b"long-polling", b"websocket", b"eventsource", b"in-process", b"1.0"),
        )
    ),
    *(b"null", b"true", b"false", b"0", b"-1", b"1e3", b"0.5", b"1e308", b"1e309"),
    *(b"9223372036854775808", b"-9223372036854775809", b"9" * 400, b"1" * 4400),
    *(b"{}", b"[]", b"[[]]", b'{"a":1}', b"[1]", b"[" * 90, b"]" * 90, b"\n"),
    *(b",", b":", b"[", b"]", b"{", b"}", b'{"channel":"/chat/a","data":1}'),
)

LIMITS: Final = Limits(request_bytes=8192, batch_messages=100)
_ERROR: Final = re.compile(r"[0-9]{3}:[^:]*:.+", re.DOTALL)
_PEER: Final = FakeRequest(peer="198.51.100.1")
_BYSTANDERS: Final = "/bystanders"


class _Passing(Extension):
    """Changes nothing, but gets all messages."""

    def incoming(self, message: Message, request: Request | None) -> Message:
        return message

    def outgoing(self, message: Message, request: Request | None) -> Message:
        return message


class _Bystander:
    """Gets everything that is published, one poll after the other."""

    def __init__(self, harness: Harness) -> None:
        self._client = Client(harness)
        self._client.request = _PEER
        self._client.handshake()
        assert self._client.subscribe("/**")["successful"]
        self._poll = self._connect()
        self._number = 0

    def _connect(self) -> Poll:
        return self._client.connect()

    def check(self, published: Sequence[Message]) -> None:
        """Show that it gets these messages, and then one more."""
        self._number += 1
        got = self._take()
        sent = self._client.publish(_BYSTANDERS, self._number)
        assert sent["successful"], sent
        got += self._take()
        expected = [(one["channel"], one["data"]) for one in published]
        assert got == [*expected, (_BYSTANDERS, self._number)], got

    def _take(self) -> list[tuple[str, Any]]:
        self._client.harness.settle()
        if self._poll.held:
            return []
        assert self._poll.reply["successful"], self._poll.reply
        got = [(one["channel"], one["data"]) for one in self._poll.messages]
        self._poll = self._connect()
        assert self._poll.held
        return got

    def wait(self) -> None:
        """Pass the time of all connects; its own is answered, too."""
        for _ in range(2):
            self._client.harness.advance(TIMEOUT)
            assert self._take() == []


def fuzz_one(data: bytes) -> None:
    """Send the requests to a server, and to one with extensions and limits.

    The second takes the names of CometD's server.
    """
    for harness in (
        Harness(),
        Harness(
            _Passing(),
            ServerTimeSync(),
            peers=PeerLimits(),
            publish_without_session=False,
            channel_names="cometd",
        ),
    ):
        with nothing_fails():
            _send(data, harness)


def _send(data: bytes, harness: Harness) -> None:
    bystander = _Bystander(harness)
    one, two = harness.client("/chat/a", ack=True), harness.client("/chat/*")
    ids = {b"@one": one.id, b"@two": two.id, b"@new": ""}
    pending: list[tuple[list[Any], list[Response]]] = []
    for line in data.split(b"\n"):
        try:
            messages = read(_named(line, ids), LIMITS)
        except (Malformed, TooLarge):
            continue
        if not messages:
            continue  # adapters answer an empty list themselves
        answers: list[Response] = []
        response = result_of(harness.server.process(messages, FakeRequest()))
        if response.held is None:
            answers.append(response)
        else:
            response.held.addCallback(answers.append)
            harness.settle()
        replies = _check(messages, answers[0]) if answers else []
        if not answers:
            assert len(messages) == 1, f"{messages!r} is held"
            pending.append((messages, answers))
        ids[b"@new"] = _created(replies) or ids[b"@new"]
        bystander.check(_published(messages, replies))
    bystander.wait()
    for messages, answers in pending:
        assert answers, f"{messages!r} is not answered"
        _check(messages, answers[0])


def _named(line: bytes, ids: Mapping[bytes, str]) -> bytes:
    """Return a line with the ids of sessions instead of their names."""
    for name, identity in ids.items():
        line = line.replace(name, identity.encode())
    return line


def _check(messages: list[Any], response: Response) -> list[Message]:
    """Show that each message has a reply; return the replies."""
    json.loads(encode_list(response.items), parse_constant=_refuse)
    replies = [item for item in response.items if not isinstance(item, Entry)]
    asked = _processed(messages)
    assert len(replies) == len(asked), f"{messages!r}: {response.items!r}"
    for message, reply in zip(asked, replies, strict=True):
        _check_reply(message, reply)
    return replies


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def _processed(messages: list[Any]) -> list[Any]:
    """Return the messages that get a reply: a handshake is processed alone."""
    for message in messages:
        if isinstance(message, dict) and message.get("channel") == "/meta/handshake":
            return [message]
    return messages


def _check_reply(message: Any, reply: Message) -> None:
    assert reply["successful"] in (True, False)
    if not reply["successful"]:
        assert _ERROR.match(reply["error"]), reply
        assert not reply["error"].startswith("500"), reply
    asked = message if isinstance(message, dict) else {}
    channel, identity = asked.get("channel"), asked.get("id")
    if isinstance(channel, str) and len(channel) <= 1024:
        assert reply["channel"] == channel
    else:
        assert not reply["successful"]
        assert "channel" not in reply
    if isinstance(identity, str) and len(identity) <= 256:
        assert reply["id"] == identity
    elif "id" in reply:
        assert reply["id"] == identity
        assert type(identity) is int


def _created(replies: Sequence[Message]) -> str | None:
    """Return the id of a session that was created."""
    for reply in replies:
        if reply.get("channel") == "/meta/handshake" and reply["successful"]:
            return str(reply["clientId"])
    return None


def _published(messages: list[Any], replies: Sequence[Message]) -> list[Message]:
    """Return the messages that subscribers get."""
    asked = _processed(messages)
    return [
        message
        for message, reply in zip(asked, replies, strict=False)
        if reply["successful"]
        and not reply["channel"].startswith(("/meta/", "/service/"))
        and reply["channel"] != "/service"
    ]
