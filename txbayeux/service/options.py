"""The command line of ``twistd bayeux``: its options, their help, and their checks."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from textwrap import wrap
from typing import Any, Final

from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from txbayeux import __version__
from txbayeux.adapter.origins import Origins
from txbayeux.adapter.proxies import TrustedProxies
from txbayeux.engine.session import DEFAULT_SESSION_TIMEOUT
from txbayeux.limits import Limits
from txbayeux.peers import PeerLimits
from txbayeux.rates import Rate
from txbayeux.server import ServerOptions
from txbayeux.service.option_values import engine, extension, mount, usage_error

__all__ = ["Options"]

_LIMITS: Final = Limits()
_PEERS: Final = PeerLimits()
_SERVER: Final = ServerOptions()


def _seconds(text: str) -> float:
    with suppress(ValueError):
        value = float(text)
        if 0 <= value < float("inf"):
            return value
    raise ValueError("must be a number of seconds, 0 or more")


def _count(text: str) -> int:
    with suppress(ValueError):
        value = int(text)
        if value >= 1:
            return value
    raise ValueError("must be a whole number, 1 or more")


def _count_or_0(text: str) -> int:
    with suppress(ValueError):
        return 0 if text == "0" else _count(text)
    raise ValueError("must be a whole number, 0 or more")


def _port(text: str) -> int:
    with suppress(ValueError):
        value = int(text)
        if 0 <= value < 65536:
            return value
    raise ValueError("must be a port, 0 to 65535")


@dataclass(frozen=True, slots=True)
class _Option:
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


_GROUPS: Final[Mapping[str, Sequence[_Option]]] = {
    "Listen": [
        _Option(
            "port",
            "PORT",
            "TCP port to listen on, on all interfaces",
            read=_port,
            short="p",
        ),
        _Option(
            "listen",
            "ENDPOINT",
            "Twisted endpoint to listen on, such as tcp:8000:interface=127.0.0.1 or "
            "unix:/run/bayeux.sock; repeatable",
            repeatable=True,
        ),
        _Option("mount", "PATH", "path of the Bayeux URL", "/bayeux", short="m"),
        _Option("no-page", "", "do not serve the chat page at /"),
        _Option(
            "websocket-deflate",
            "",
            "compress WebSocket messages for clients that support it",
        ),
    ],
    "Who may connect": [
        _Option(
            "allow-origin",
            "ORIGIN",
            "allow pages of this origin, such as https://*.example.com, beside the "
            "service's own; repeatable",
            repeatable=True,
        ),
        _Option(
            "host",
            "NAME",
            "answer to this host name only, such as www.example.com; repeatable "
            "(default: any)",
            repeatable=True,
        ),
        _Option(
            "trusted-proxy",
            "NETWORK",
            "believe proxies at these addresses, such as 10.0.0.0/8, ::1 or unix:, "
            "when they name their client in X-Forwarded-For, in Forwarded or with the "
            "PROXY protocol; repeatable",
            repeatable=True,
        ),
        _Option(
            "require-session",
            "",
            "refuse messages that are published without a handshake",
        ),
        _Option(
            "extension",
            "MODULE:FACTORY",
            "install the extension that this function or class returns; repeatable, "
            "called in order",
            repeatable=True,
        ),
        _Option(
            "extension-path",
            "FOLDER",
            "import extensions from this folder, too, such as . for the current one; "
            "repeatable",
            repeatable=True,
        ),
    ],
    "Limits": [
        _Option(
            "timeout",
            "SECONDS",
            "longest time to hold a connect",
            _SERVER.timeout,
            _seconds,
        ),
        _Option(
            "interval",
            "SECONDS",
            "time clients are told to wait between connects",
            _SERVER.interval,
            _seconds,
        ),
        _Option(
            "session-timeout",
            "SECONDS",
            "time that a session lives without a connect",
            DEFAULT_SESSION_TIMEOUT,
            _seconds,
        ),
        _Option(
            "max-sessions",
            "N",
            "maximum number of sessions; past it, handshakes are refused",
            _LIMITS.sessions,
            _count,
        ),
        _Option(
            "max-session-subscriptions",
            "N",
            "maximum number of subscriptions of a session",
            _LIMITS.session_subscriptions,
            _count,
        ),
        _Option(
            "max-session-subscription-bytes",
            "BYTES",
            "maximum size of the names of a session's subscriptions",
            _LIMITS.session_subscription_bytes,
            _count,
        ),
        _Option(
            "max-queue-messages",
            "N",
            "maximum number of messages that wait for a session; past it, the session "
            "is closed",
            _LIMITS.queue_messages,
            _count,
        ),
        _Option(
            "max-queue-bytes",
            "BYTES",
            "maximum size of the messages that wait for a session; past it, the "
            "session is closed",
            _LIMITS.queue_bytes,
            _count,
        ),
        _Option(
            "max-queued-bytes",
            "BYTES",
            "maximum size of the messages that wait for all sessions; past it, the "
            "sessions with the largest queues are closed",
            _LIMITS.queued_bytes,
            _count,
        ),
        _Option(
            "max-request-bytes",
            "BYTES",
            "maximum size of a request body or WebSocket message, decompressed",
            _LIMITS.request_bytes,
            _count,
        ),
        _Option(
            "max-batch-messages",
            "N",
            "maximum number of messages in a request",
            _LIMITS.batch_messages,
            _count,
        ),
        _Option(
            "max-request-deliveries",
            "N",
            "maximum number of subscriptions that the messages of a request reach, "
            "each message counted; past it, the rest of them is refused",
            _LIMITS.request_deliveries,
            _count,
        ),
    ],
    "Limits of an address and of a session": [
        _Option(
            "max-peer-connections",
            "N",
            "maximum number of connections from an address; 0 for no limit",
            _PEERS.connections,
            _count_or_0,
        ),
        _Option(
            "max-peer-sessions",
            "N",
            "maximum number of sessions of an address; 0 for no limit",
            _PEERS.sessions,
            _count_or_0,
        ),
        _Option(
            "peer-handshakes",
            "RATE:BURST",
            "handshakes of an address, a second and at once; 0 for no limit, as for "
            "those below",
            _PEERS.handshakes,
            Rate.parse,
        ),
        _Option(
            "peer-requests",
            "RATE:BURST",
            "requests and WebSocket messages of an address",
            _PEERS.requests,
            Rate.parse,
        ),
        _Option(
            "peer-bytes",
            "RATE:BURST",
            "bytes of the requests of an address",
            _PEERS.received,
            Rate.parse,
        ),
        _Option(
            "peer-publishes",
            "RATE:BURST",
            "messages that an address publishes",
            _PEERS.publishes,
            Rate.parse,
        ),
        _Option(
            "session-messages",
            "RATE:BURST",
            "connects, subscriptions and unsubscriptions of a session",
            _PEERS.session_messages,
            Rate.parse,
        ),
        _Option(
            "session-publishes",
            "RATE:BURST",
            "messages that a session publishes",
            _PEERS.session_publishes,
            Rate.parse,
        ),
        _Option(
            "session-bytes",
            "RATE:BURST",
            "bytes that a session publishes",
            _PEERS.session_published,
            Rate.parse,
        ),
        _Option(
            "unlimited-peer",
            "NETWORK",
            "apply none of these limits to addresses in this network, such as "
            "192.0.2.0/24; repeatable (always: this machine)",
            repeatable=True,
        ),
    ],
    "Redis": [
        _Option(
            "redis",
            "URL",
            "share sessions and messages with all processes that use this Redis: "
            "redis://[[user]:password@]host[:port][/database], rediss: for TLS, "
            "redis+unix:///path, redis+sentinel://host[,host]/service, "
            "redis+cluster://host[,host]",
        ),
        _Option(
            "redis-namespace",
            "NAME",
            "prefix of the keys in Redis, one for each service",
            "txbayeux",
        ),
        _Option(
            "redis-log-bytes",
            "BYTES",
            "maximum size of the log of messages in Redis; a client that misses more "
            "must handshake again",
            256 * 1024 * 1024,
            _count,
        ),
        _Option(
            "redis-checkpoint",
            "SECONDS",
            "time between checkpoints; after a crash, messages of up to twice this "
            "time are sent again",
            0.2,
            _seconds,
        ),
        _Option(
            "workers",
            "N",
            "processes that share the ports, one for each core; needs --redis",
            1,
            _count,
            short="w",
        ),
    ],
    "Operation": [
        _Option(
            "admin",
            "ENDPOINT",
            "serve /health and /metrics at this endpoint, such as "
            "tcp:9000:interface=127.0.0.1; with --workers, on consecutive ports from "
            "this one, a port for each worker",
        ),
        _Option(
            "verbose",
            "",
            "log handshakes, subscriptions, publishes and disconnects",
            short="v",
        ),
        _Option("version", "", "print the version and exit"),
        _Option("help", "", "print this help and exit"),
    ],
}

_INTERNAL: Final = (
    _Option("adopt", "DESCRIPTOR", "listen on this inherited socket", repeatable=True),
    _Option("adopt-proxied", "DESCRIPTOR", "one of a haproxy: port", repeatable=True),
    _Option("end-with-input", "", "stop at the end of standard input"),
)
"""What a worker is started with; not in the help."""

_OPTIONS: Final = (
    *(option for group in _GROUPS.values() for option in group),
    *_INTERNAL,
)

_EXAMPLES: Final = """
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


class Options(UsageOptions):
    """The command line of ``twistd bayeux``.

    Keys are the options' long names.  ``origins``, ``extensions`` and ``engine`` are
    made of them by :meth:`postOptions`.
    """

    synopsis = "[options]"
    longdesc = (
        "Bayeux publish/subscribe for the clients of Faye and CometD: WebSocket, "
        "EventSource, long-polling (CORS) and callback-polling (JSON-P), on one URL."
    )

    optParameters: Final = [
        option.parameter()
        for option in _OPTIONS
        if option.value and not option.repeatable
    ]
    optFlags: Final = [
        [option.name, option.short, option.help]
        for option in _OPTIONS
        if not option.value and option.name not in ("help", "version")
    ]

    def __init__(self) -> None:
        super().__init__()
        for option in _OPTIONS:
            if option.repeatable:
                self[option.name] = []

    def getUsage(self, width: int | None = None) -> str:
        """Return the help below the synopsis: the options in groups, and examples.

        :param width: of the terminal; by default ``COLUMNS``, else 80.
        """
        width = width or int(os.environ.get("COLUMNS", "80"))
        lines = ["", *wrap(self.longdesc, width)]
        for title, options in _GROUPS.items():
            lines += ["", f"{title}:"]
            for option in options:
                lines += option.usage(width)
        return "\n".join(lines) + "\n" + _EXAMPLES

    def opt_version(self) -> None:
        """Print the version and exit."""
        sys.stdout.write(f"txbayeux {__version__}\n")
        raise SystemExit(0)

    def opt_listen(self, endpoint: str) -> None:
        """Add an endpoint to listen on."""
        self["listen"].append(endpoint)

    def opt_adopt(self, descriptor: str) -> None:
        """Add an inherited TCP socket to listen on; no other port is opened then."""
        with usage_error("--adopt"):
            self["adopt"].append(_count(descriptor))

    def opt_adopt_proxied(self, descriptor: str) -> None:
        """Add one whose connections begin with the PROXY protocol."""
        with usage_error("--adopt-proxied"):
            self["adopt-proxied"].append(_count(descriptor))

    def opt_allow_origin(self, origin: str) -> None:
        """Add an origin whose pages are allowed."""
        self["allow-origin"].append(origin)

    def opt_host(self, name: str) -> None:
        """Add a host name to answer to."""
        self["host"].append(name)

    def opt_trusted_proxy(self, network: str) -> None:
        """Add a network whose proxies are believed."""
        with usage_error(f"--trusted-proxy {network}"):
            TrustedProxies([network])
        self["trusted-proxy"].append(network)

    def opt_unlimited_peer(self, network: str) -> None:
        """Add a network that the limits of addresses do not apply to."""
        with usage_error(f"--unlimited-peer {network}"):
            PeerLimits(unlimited=[network])
        self["unlimited-peer"].append(network)

    def opt_extension(self, name: str) -> None:
        """Add an extension, by the name of its factory."""
        self["extension"].append(name)

    def opt_extension_path(self, folder: str) -> None:
        """Add a folder to import extensions from."""
        if not os.path.isdir(folder):
            raise UsageError(f"--extension-path {folder}: not a folder")
        self["extension-path"].append(os.path.abspath(folder))

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse the command line, and keep it for the workers."""
        self.arguments = list(sys.argv[1:] if options is None else options)
        super().parseOptions(self.arguments)

    def postOptions(self) -> None:
        """Check options that depend on each other, and make objects of them.

        :raises UsageError: with a sentence that says what to change.
        """
        if self["adopt"] or self["adopt-proxied"]:
            self["port"], self["listen"], self["workers"] = None, [], 1
        elif self["port"] is None and not self["listen"]:
            raise UsageError("Say where to listen: --port 8000, or --listen ENDPOINT")
        self._check_times_and_limits()
        self["mount"] = mount(self["mount"])
        with usage_error("--allow-origin, --host"):
            self["origins"] = Origins(self["allow-origin"], hosts=self["host"])
        if self["workers"] > 1 and self["redis"] is None:
            raise UsageError("--workers share their sessions: they need --redis")
        self["engine"] = engine(
            self["redis"],
            namespace=self["redis-namespace"],
            retained_bytes=self["redis-log-bytes"],
            checkpoint_interval=self["redis-checkpoint"],
        )
        # Appended, so that nothing in the folder hides an installed module.
        sys.path += [path for path in self["extension-path"] if path not in sys.path]
        self["extensions"] = [extension(name) for name in self["extension"]]

    def _check_times_and_limits(self) -> None:
        if self["timeout"] == self["interval"] == 0:
            raise UsageError(
                "--timeout 0 needs an --interval: clients would connect without pause"
            )
        if self["session-timeout"] <= max(self["timeout"], self["interval"]):
            # EventSource clients are told to connect once in --timeout only.
            raise UsageError(
                "--session-timeout must be longer than --timeout and --interval"
            )
        if self["max-queue-bytes"] < self["max-request-bytes"]:
            raise UsageError(
                "--max-queue-bytes must be at least --max-request-bytes: one message"
                " would close the sessions that it waits for"
            )
        if self["max-queued-bytes"] < self["max-queue-bytes"]:
            raise UsageError(
                "--max-queued-bytes must be at least --max-queue-bytes: it is for all"
                " sessions together"
            )
