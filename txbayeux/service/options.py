"""The command line of ``twistd bayeux``: its options, their help, and their checks."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from textwrap import wrap
from typing import Any, Final

from twisted.python.reflect import namedAny
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from txbayeux import __version__
from txbayeux.adapter.origins import Origins
from txbayeux.bayeux import EngineFactory
from txbayeux.engine.session import DEFAULT_SESSION_TIMEOUT
from txbayeux.extension import Extension, check_extension
from txbayeux.limits import Limits
from txbayeux.server import ServerOptions

__all__ = ["Options"]

_LIMITS: Final = Limits()
_SERVER: Final = ServerOptions()

# Only characters that no browser percent-encodes.
_MOUNT: Final = re.compile(r"(?:/|(?:/[A-Za-z0-9._~!$&'()*+,;=:@-]+)+)\Z")


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
      with your own extension
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
        try:
            self["adopt"].append(_count(descriptor))
        except ValueError as error:
            raise UsageError(f"--adopt: {error}") from None

    def opt_allow_origin(self, origin: str) -> None:
        """Add an origin whose pages are allowed."""
        self["allow-origin"].append(origin)

    def opt_host(self, name: str) -> None:
        """Add a host name to answer to."""
        self["host"].append(name)

    def opt_extension(self, name: str) -> None:
        """Add an extension, by the name of its factory."""
        self["extension"].append(name)

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse the command line, and keep it for the workers."""
        self.arguments = list(sys.argv[1:] if options is None else options)
        super().parseOptions(self.arguments)

    def postOptions(self) -> None:
        """Check options that depend on each other, and make objects of them.

        :raises UsageError: with a sentence that says what to change.
        """
        if self["adopt"]:
            self["port"], self["listen"], self["workers"] = None, [], 1
        elif self["port"] is None and not self["listen"]:
            raise UsageError("Say where to listen: --port 8000, or --listen ENDPOINT")
        self._check_times_and_limits()
        self["mount"] = _mount(self["mount"])
        try:
            self["origins"] = Origins(self["allow-origin"], hosts=self["host"])
        except ValueError as error:
            raise UsageError(f"--allow-origin, --host: {error}") from None
        if self["workers"] > 1 and self["redis"] is None:
            raise UsageError("--workers share their sessions: they need --redis")
        self["engine"] = _engine(
            self["redis"],
            namespace=self["redis-namespace"],
            checkpoint_interval=self["redis-checkpoint"],
        )
        self["extensions"] = [_extension(name) for name in self["extension"]]

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


def _mount(path: str) -> str:
    mount = "/" + path.strip("/")
    segments = mount.split("/")[1:]
    if _MOUNT.match(mount) is None or not {".", ".."}.isdisjoint(segments):
        raise UsageError("--mount must be a plain path like /bayeux")
    if segments[0] in ("health", "static"):
        raise UsageError(f"--mount {mount} is taken; choose one like /bayeux")
    return mount


def _engine(url: str | None, **options: Any) -> EngineFactory | None:
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
    try:
        location, redis_options = parse(url), RedisOptions(**options)
    except ValueError as error:
        raise UsageError(f"--redis: {error}") from None
    return partial(RedisEngine, location=location, options=redis_options)


def _extension(name: str) -> Extension:
    module, colon, factory = name.partition(":")
    if not (module and colon and factory):
        raise UsageError(f"--extension {name}: write package.module:factory")
    if "" not in sys.path and os.getcwd() not in sys.path:
        # twistd leaves the working directory out.  Appended, so that it hides nothing.
        sys.path.append(os.getcwd())
    try:
        extension: Extension = namedAny(f"{module}.{factory}")()
        check_extension(extension)
    except Exception as error:
        # User code may raise anything; one sentence is enough.
        raise UsageError(f"--extension {name}: {error!r}") from error
    return extension
