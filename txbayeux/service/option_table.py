"""The options of ``twistd bayeux``: their names, defaults, values and help."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from textwrap import wrap
from typing import Any, Final

from twisted.python.usage import UsageError

from txbayeux.channel import GRAMMARS
from txbayeux.engine.session import DEFAULT_SESSION_TIMEOUT
from txbayeux.limits import Limits
from txbayeux.peer_limits import PeerLimits
from txbayeux.rates import Rate
from txbayeux.server import ServerOptions

__all__ = ["EXAMPLES", "GROUPS", "OPTIONS", "Option", "count"]

_LIMITS: Final = Limits()
_PEERS: Final = PeerLimits()
_SERVER: Final = ServerOptions()


def _seconds(text: str) -> float:
    with suppress(ValueError):
        value = float(text)
        if 0 <= value < float("inf"):
            return value
    raise ValueError("must be a number of seconds, 0 or more")


def count(text: str) -> int:
    """Return a whole number, 1 or more.

    :raises ValueError: for anything else.
    """
    with suppress(ValueError):
        value = int(text)
        if value >= 1:
            return value
    raise ValueError("must be a whole number, 1 or more")


def _count_or_0(text: str) -> int:
    with suppress(ValueError):
        return 0 if text == "0" else count(text)
    raise ValueError("must be a whole number, 0 or more")


def _port(text: str) -> int:
    with suppress(ValueError):
        value = int(text)
        if 0 <= value < 65536:
            return value
    raise ValueError("must be a port, 0 to 65535")


def _grammar(text: str) -> str:
    if text not in GRAMMARS:
        raise ValueError(f"must be {' or '.join(GRAMMARS)}")
    return text


@dataclass(frozen=True, slots=True)
class Option:
    """One option, as ``--help`` shows it.

    :param value: how its value is named in the help; empty for a flag.
    :param read: converts the value, or raises :exc:`ValueError` with the reason.
    :param repeatable: the class has a method for it, which Twisted calls for each.
    """

    name: str
    value: str
    help: str
    default: Any = None
    read: Callable[[str], Any] = str
    short: str | None = None
    repeatable: bool = False

    def parameter(self) -> list[Any]:
        """Return the entry for ``optParameters``."""

        def coerce(text: str) -> Any:
            try:
                return self.read(text)
            except ValueError as error:
                raise UsageError(f"--{self.name} {text}: {error}") from None

        return [self.name, self.short, self.default, self.help, coerce]

    def usage(self, width: int) -> list[str]:
        """Return the lines of the help, with no word or URL broken."""
        short = f"-{self.short}, " if self.short else "    "
        left = f"  {short}--{self.name} {self.value}".rstrip()
        text = self.help
        if self.default is not None:
            text += f" (default: {_written(self.default)})"
        lines = wrap(
            text,
            max(width - _COLUMN, 20),
            break_long_words=False,
            break_on_hyphens=False,
        )
        if len(left) + 2 > _COLUMN:
            return [left, *(" " * _COLUMN + line for line in lines)]
        return [
            (left if not number else "").ljust(_COLUMN) + line
            for number, line in enumerate(lines)
        ]


_COLUMN: Final = 29
"""Where the help of an option begins."""


def _written(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


GROUPS: Final[Mapping[str, Sequence[Option]]] = {
    "Listen": [
        Option(
            "port",
            "PORT",
            "TCP port to listen on, on all interfaces",
            read=_port,
            short="p",
        ),
        Option(
            "listen",
            "ENDPOINT",
            "Twisted endpoint to listen on, such as tcp:8000:interface=127.0.0.1 or "
            "unix:/run/bayeux.sock; repeatable",
            repeatable=True,
        ),
        Option("mount", "PATH", "path of the Bayeux URL", "/bayeux", short="m"),
        Option("no-page", "", "do not serve the chat page at /"),
        Option(
            "websocket-deflate",
            "",
            "compress WebSocket messages for clients that support it",
        ),
    ],
    "Who may connect": [
        Option(
            "allow-origin",
            "ORIGIN",
            "allow pages of this origin, such as https://*.example.com, beside the "
            "service's own; repeatable",
            repeatable=True,
        ),
        Option(
            "host",
            "NAME",
            "answer to this host name only, such as www.example.com; repeatable "
            "(default: any)",
            repeatable=True,
        ),
        Option(
            "trusted-proxy",
            "NETWORK",
            "believe proxies at these addresses, such as 10.0.0.0/8, ::1 or unix:, "
            "when they name their client in X-Forwarded-For, in Forwarded or with the "
            "PROXY protocol; repeatable",
            repeatable=True,
        ),
        Option(
            "require-session",
            "",
            "refuse messages that are published without a handshake",
        ),
        Option(
            "channel-names",
            "GRAMMAR",
            "which names channels may have: bayeux, those of the specification and of "
            "Faye, or cometd, which adds . : # + { }, spaces and a final slash",
            _SERVER.channel_names,
            _grammar,
        ),
        Option(
            "extension",
            "MODULE:FACTORY",
            "install the extension that this function or class returns; repeatable, "
            "called in order",
            repeatable=True,
        ),
        Option(
            "extension-path",
            "FOLDER",
            "import extensions from this folder, too, such as . for the current one; "
            "repeatable",
            repeatable=True,
        ),
    ],
    "Limits": [
        Option(
            "timeout",
            "SECONDS",
            "longest time to hold a connect",
            _SERVER.timeout,
            _seconds,
        ),
        Option(
            "interval",
            "SECONDS",
            "time clients are told to wait between connects",
            _SERVER.interval,
            _seconds,
        ),
        Option(
            "session-timeout",
            "SECONDS",
            "time that a session lives without a connect",
            DEFAULT_SESSION_TIMEOUT,
            _seconds,
        ),
        Option(
            "max-sessions",
            "N",
            "maximum number of sessions; past it, handshakes are refused",
            _LIMITS.sessions,
            count,
        ),
        Option(
            "max-session-subscriptions",
            "N",
            "maximum number of subscriptions of a session",
            _LIMITS.session_subscriptions,
            count,
        ),
        Option(
            "max-session-subscription-bytes",
            "BYTES",
            "maximum size of the names of a session's subscriptions",
            _LIMITS.session_subscription_bytes,
            count,
        ),
        Option(
            "max-queue-messages",
            "N",
            "maximum number of messages that wait for a session; past it, the session "
            "is closed",
            _LIMITS.queue_messages,
            count,
        ),
        Option(
            "max-queue-bytes",
            "BYTES",
            "maximum size of the messages that wait for a session; past it, the "
            "session is closed",
            _LIMITS.queue_bytes,
            count,
        ),
        Option(
            "max-queued-bytes",
            "BYTES",
            "maximum size of the messages that wait for all sessions; past it, the "
            "sessions with the largest queues are closed",
            _LIMITS.queued_bytes,
            count,
        ),
        Option(
            "max-request-bytes",
            "BYTES",
            "maximum size of a request body or WebSocket message, decompressed",
            _LIMITS.request_bytes,
            count,
        ),
        Option(
            "max-batch-messages",
            "N",
            "maximum number of messages in a request",
            _LIMITS.batch_messages,
            count,
        ),
        Option(
            "max-request-objects",
            "N",
            "maximum number of JSON arrays and objects in a request",
            _LIMITS.request_objects,
            count,
        ),
        Option(
            "max-request-deliveries",
            "N",
            "maximum number of subscriptions that the messages of a request reach, "
            "each message counted; past it, the rest of them is refused",
            _LIMITS.request_deliveries,
            count,
        ),
    ],
    "Limits of an address and of a session": [
        Option(
            "max-peer-connections",
            "N",
            "maximum number of connections from an address; 0 for no limit",
            _PEERS.connections,
            _count_or_0,
        ),
        Option(
            "max-peer-sessions",
            "N",
            "maximum number of sessions of an address; 0 for no limit",
            _PEERS.sessions,
            _count_or_0,
        ),
        Option(
            "peer-handshakes",
            "RATE:BURST",
            "handshakes of an address, a second and at once; 0 for no limit, as for "
            "those below",
            _PEERS.handshakes,
            Rate.parse,
        ),
        Option(
            "peer-requests",
            "RATE:BURST",
            "requests and WebSocket messages of an address",
            _PEERS.requests,
            Rate.parse,
        ),
        Option(
            "peer-bytes",
            "RATE:BURST",
            "bytes of the requests of an address",
            _PEERS.received,
            Rate.parse,
        ),
        Option(
            "peer-publishes",
            "RATE:BURST",
            "messages that an address publishes",
            _PEERS.publishes,
            Rate.parse,
        ),
        Option(
            "peer-deliveries",
            "RATE:BURST",
            "subscriptions that the messages published by an address reach",
            _PEERS.deliveries,
            Rate.parse,
        ),
        Option(
            "session-messages",
            "RATE:BURST",
            "connects, subscriptions and unsubscriptions of a session",
            _PEERS.session_messages,
            Rate.parse,
        ),
        Option(
            "session-publishes",
            "RATE:BURST",
            "messages that a session publishes",
            _PEERS.session_publishes,
            Rate.parse,
        ),
        Option(
            "session-bytes",
            "RATE:BURST",
            "bytes that a session publishes",
            _PEERS.session_published,
            Rate.parse,
        ),
        Option(
            "unlimited-peer",
            "NETWORK",
            "apply none of these limits to addresses in this network, such as "
            "192.0.2.0/24; repeatable (always: this machine)",
            repeatable=True,
        ),
    ],
    "Redis": [
        Option(
            "redis",
            "URL",
            "share sessions and messages with all processes that use this Redis: "
            "redis://[[user]:password@]host[:port][/database], rediss: for TLS, "
            "redis+unix:///path, redis+sentinel://host[,host]/service, "
            "redis+cluster://host[,host]",
        ),
        Option(
            "redis-namespace",
            "NAME",
            "prefix of the keys in Redis, one for each service",
            "txbayeux",
        ),
        Option(
            "redis-log-bytes",
            "BYTES",
            "maximum size of the log of messages in Redis; a client that misses more "
            "must handshake again",
            256 * 1024 * 1024,
            count,
        ),
        Option(
            "redis-checkpoint",
            "SECONDS",
            "time between checkpoints; after a crash, messages of up to twice this "
            "time are sent again",
            0.2,
            _seconds,
        ),
        Option(
            "workers",
            "N",
            "processes that share the ports, one for each core; needs --redis",
            1,
            count,
            short="w",
        ),
    ],
    "Operation": [
        Option(
            "admin",
            "ENDPOINT",
            "serve /health and /metrics at this endpoint, such as "
            "tcp:9000:interface=127.0.0.1; with --workers, on consecutive ports from "
            "this one, a port for each worker",
        ),
        Option(
            "verbose",
            "",
            "log handshakes, subscriptions, publishes and disconnects",
            short="v",
        ),
        Option("version", "", "print the version and exit"),
        Option("help", "", "print this help and exit"),
    ],
}
"""The options in the order of the help, by the headings of their groups."""

_INTERNAL: Final = (
    Option("adopt", "DESCRIPTOR", "listen on this inherited socket", repeatable=True),
    Option("adopt-proxied", "DESCRIPTOR", "one of a haproxy: port", repeatable=True),
    Option("end-with-input", "", "stop at the end of standard input"),
)
"""What a worker is started with; not in the help."""

OPTIONS: Final = (
    *(option for group in GROUPS.values() for option in group),
    *_INTERNAL,
)
"""All options."""

EXAMPLES: Final = """
Examples:
  twistd -n bayeux --port 8000
      http://HOST:8000/bayeux on all interfaces, with a chat page at /
  twistd -n bayeux --listen ssl:443:privateKey=key.pem:certKey=cert.pem
      with TLS
  twistd -n bayeux --port 8000 --allow-origin https://www.example.com
      for the pages of another site
  twistd -n --pidfile= bayeux --port 8001 --redis redis://127.0.0.1:6379/0
      as one of any number of processes that form one service
  twistd -n bayeux --port 8000 --extension mypackage.auth:Extension
      with your own extension, which is installed
  twistd -n bayeux --port 8000 --extension-path . --extension auth:Extension
      with one from the file auth.py in the current folder
  curl http://localhost:8000/bayeux -H 'Content-Type: application/json' \\
      -d '{"channel": "/chat/demo", "data": {"name": "me", "text": "hello"}}'
      publish without a client
"""
"""The end of the help."""
