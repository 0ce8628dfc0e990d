"""``twistd bayeux``: the options of the command, and the service they make."""

from __future__ import annotations

import gc
import os
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any, Final, cast

from twisted.application.service import IService
from twisted.internet.endpoints import serverFromString
from twisted.python.reflect import namedAny
from twisted.python.runtime import platform
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from txbayeux.adapter.origins import Origins
from txbayeux.engine.session import DEFAULT_SESSION_TIMEOUT
from txbayeux.extension import Extension, check_extension
from txbayeux.interfaces import Engine
from txbayeux.limits import Limits
from txbayeux.server import ServerOptions
from txbayeux.service.options import count, option, port, seconds
from txbayeux.service.ports import BACKLOG
from txbayeux.service.service import BayeuxService, Configuration
from txbayeux.service.workers import ParentWatch, Workers

__all__ = ["Options", "calm_collector", "makeService"]

# Often, few at a time, and nearly never all: a full collection stops for long.  What
# the first counts, what is freed makes up for: at 10,000, three hundred thousand young
# objects were looked at in one go, and that took 0.1 s.
_THRESHOLDS: Final = (1_000, 4, 1_000)
_DEFAULTS: Final = Limits()
# What no browser writes in another way.
_MOUNT: Final = re.compile(r"(?:/|(?:/[A-Za-z0-9._~!$&'()*+,;=:@-]+)+)\Z")
_SERVER: Final = ServerOptions()

_EXAMPLES: Final = """
Examples:
  twistd -n bayeux --port 8000
      at http://HOST:8000/bayeux on all interfaces, with a chat page at /
  twistd -n bayeux --listen ssl:443:privateKey=key.pem:certKey=cert.pem
      with TLS; --listen takes any endpoint string of Twisted's
  twistd -n bayeux --port 8000 --allow-origin https://www.example.com
      for the pages of another site
  twistd -n --pidfile= bayeux --port 8001 --redis redis://127.0.0.1:6379/0
      as one of any number of front-ends that are one service
  twistd -n bayeux --port 8000 --extension mypackage.auth:Extension
      with code of yours that sees each message
  curl http://localhost:8000/bayeux -H 'Content-Type: application/json' \\
      -d '{"channel": "/chat/demo", "data": {"name": "me", "text": "hello"}}'
      publishes without a client
"""


class Options(UsageOptions):
    """The command line of ``twistd bayeux``."""

    synopsis = "[options]"
    longdesc = (
        "Serves Bayeux publish/subscribe to the clients of Faye and CometD: WebSocket, "
        "EventSource, long-polling (CORS) and callback-polling (JSON-P), on one URL."
    )

    optParameters: Final = [
        option(
            "port", None, "TCP port to listen on, on all interfaces", port, short="p"
        ),
        option("mount", "/bayeux", "Path of the Bayeux URL", short="m"),
        option(
            "timeout",
            _SERVER.timeout,
            "Longest time to hold a connect, in seconds",
            seconds,
        ),
        option(
            "interval",
            _SERVER.interval,
            "Time clients are told to wait between connects, in seconds",
            seconds,
        ),
        option(
            "session-timeout",
            DEFAULT_SESSION_TIMEOUT,
            "How long a session lives without a connect, in seconds",
            seconds,
        ),
        option(
            "max-request-bytes",
            _DEFAULTS.request_bytes,
            "Largest request body or WebSocket message, decompressed",
            count,
        ),
        option(
            "max-batch-messages",
            _DEFAULTS.batch_messages,
            "Most messages in one request",
            count,
        ),
        option(
            "max-sessions",
            _DEFAULTS.sessions,
            "Most sessions; past it, handshakes are refused",
            count,
        ),
        option(
            "max-session-subscriptions",
            _DEFAULTS.session_subscriptions,
            "Most subscriptions of one session",
            count,
        ),
        option(
            "max-queue-messages",
            _DEFAULTS.queue_messages,
            "Most messages waiting for one session; past it, it is closed",
            count,
        ),
        option(
            "max-queue-bytes",
            _DEFAULTS.queue_bytes,
            "Most bytes waiting for one session; past it, it is closed",
            count,
        ),
        option(
            "redis",
            None,
            "Share sessions and messages with all front-ends on this Redis: "
            "redis://[[user]:password@]host[:port][/database], rediss: for TLS, "
            "redis+unix:///its/path, redis+sentinel://host[,host]/service",
        ),
        option(
            "redis-namespace",
            "txbayeux",
            "How the keys in Redis begin: one service, one namespace",
        ),
        option(
            "workers",
            1,
            "Processes that share the ports, to use a machine's cores; with --redis",
            count,
            short="w",
        ),
        option(
            "admin",
            None,
            "Endpoint string to serve /health and /metrics on, for you alone: "
            "tcp:9000:interface=127.0.0.1",
        ),
    ]

    optFlags: Final = [
        ["require-session", None, "Refuse messages published without a handshake"],
        ["websocket-deflate", None, "Compress WebSocket messages for clients that can"],
        ["no-page", None, "Serve no chat page at /"],
        ["end-with-input", None, "Stop when standard input ends, as a worker does"],
        ["verbose", "v", "Log handshakes, subscriptions, publishes, disconnects"],
    ]

    def __init__(self) -> None:
        super().__init__()
        self["listen"] = []
        self["adopt"] = []
        self["allow-origin"] = []
        self["host"] = []
        self["extension"] = []

    def getUsage(self, width: int | None = None) -> str:
        """Add the examples, which Twisted would run together."""
        usage: str = super().getUsage(width)
        return usage.rstrip("\n") + "\n" + _EXAMPLES

    def opt_listen(self, endpoint: str) -> None:
        """Listen on this endpoint, like unix:/run/bayeux.sock; repeatable."""
        self["listen"].append(endpoint)

    def opt_adopt(self, descriptor: str) -> None:
        """Listen on this open TCP socket and nowhere else, as a worker does."""
        try:
            self["adopt"].append(count(descriptor))
        except ValueError as error:
            raise UsageError(f"--adopt: {error}") from None

    def opt_allow_origin(self, origin: str) -> None:
        """Let in pages of this origin, like https://*.example.com; repeatable."""
        self["allow-origin"].append(origin)

    def opt_host(self, name: str) -> None:
        """Answer to this host name, like www.example.com; repeatable. All, if none."""
        self["host"].append(name)

    def opt_extension(self, name: str) -> None:
        """Install what package.module:factory gives; repeatable, in order."""
        self["extension"].append(name)

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse the command line, and keep it for the workers."""
        self.arguments = list(sys.argv[1:] if options is None else options)
        super().parseOptions(self.arguments)

    def postOptions(self) -> None:
        """Check what the single options could not.

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
        self["engine"] = _engine(self["redis"], self["redis-namespace"])
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
                "--max-queue-bytes must be as large as --max-request-bytes: one message"
                " would end the sessions that it waits for"
            )


def _mount(path: str) -> str:
    mount = "/" + path.strip("/")
    segments = mount.split("/")[1:]
    if _MOUNT.match(mount) is None or not {".", ".."}.isdisjoint(segments):
        raise UsageError("--mount is a plain path like /bayeux")
    if segments[0] in ("health", "static"):
        raise UsageError(f"--mount {mount} is taken; choose one like /bayeux")
    return mount


def _engine(url: str | None, namespace: str) -> Callable[..., Engine] | None:
    """Give what makes an engine on Redis; None for the one in memory."""
    if url is None:
        return None
    if find_spec("hiredis") is None or find_spec("txredisapi") is None:
        raise UsageError("--redis: pip install 'txbayeux[redis]'")
    # Loaded only for those who ask.
    from txbayeux.engine.redis import RedisEngine, RedisOptions  # noqa: PLC0415
    from txbayeux.engine.redis.location import parse  # noqa: PLC0415

    try:
        location, options = parse(url), RedisOptions(namespace=namespace)
    except ValueError as error:
        raise UsageError(f"--redis: {error}") from None
    return partial(RedisEngine, location=location, options=options)


def _extension(name: str) -> Extension:
    module, colon, factory = name.partition(":")
    if not (module and colon and factory):
        raise UsageError(f"--extension {name}: write package.module:factory")
    if "" not in sys.path and os.getcwd() not in sys.path:
        # twistd looks only where packages are installed.  Last, so as to hide none.
        sys.path.append(os.getcwd())
    try:
        extension: Extension = namedAny(f"{module}.{factory}")()
        check_extension(extension)
    except Exception as error:
        # Whatever the operator's code raises, the operator should see it, and no more.
        raise UsageError(f"--extension {name}: {error!r}") from error
    return extension


def _check_endpoint(reactor: Any, option: str, endpoint: str) -> None:
    """See that an endpoint can be made of its description, keys and all.

    :raises SystemExit: with a sentence; Twisted would show a traceback.
    """
    try:
        serverFromString(reactor, endpoint)
    except Exception as error:
        what = (
            f"twistd bayeux: {option} {endpoint}: {str(error) or type(error).__name__}"
        )
        if isinstance(error, ImportError):
            what += " (for TLS: pip install 'txbayeux[tls]')"
        if endpoint.startswith("systemd:"):
            what += " (has systemd handed over such a socket?)"
        raise SystemExit(what) from error


def calm_collector() -> None:
    """Let the garbage collector stop the service seldom, and for a short time.

    What is there at the start stays, and nearly all that comes is freed without
    the collector.  While 10,000 sockets come up and idle, its longest pause is
    20 ms, with Python's own settings 450 ms; a set-up costs 180 µs instead of 250.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


def makeService(options: Options, reactor: Any = None) -> IService:
    """Make the service that the options describe; ``reactor`` is for tests.

    :raises SystemExit: for an endpoint that cannot be listened on.
    """
    if reactor is None:
        # twistd has none yet, unless it was told which; twist always has.
        if platform.isLinux() and "twisted.internet.reactor" not in sys.modules:
            # The module needs epoll.
            from txbayeux.service.reactor import install  # noqa: PLC0415

            install()
        from twisted.internet import reactor  # noqa: PLC0415 (not at import time)

        cast(Any, reactor).callWhenRunning(calm_collector)
    endpoints = list(options["listen"])
    if options["port"] is not None:
        endpoints.insert(0, f"tcp:{options['port']}")
    for endpoint in endpoints:
        _check_endpoint(reactor, "--listen", endpoint)
    if options["admin"] is not None:
        _check_endpoint(reactor, "--admin", options["admin"])
    if options["workers"] > 1:
        return Workers(
            reactor,
            options["workers"],
            endpoints,
            options.arguments,
            backlog=BACKLOG,
            admin=options["admin"],
        )
    if options["end-with-input"]:
        ParentWatch(reactor)
    limits = Limits(
        request_bytes=options["max-request-bytes"],
        batch_messages=options["max-batch-messages"],
        sessions=options["max-sessions"],
        session_subscriptions=options["max-session-subscriptions"],
        queue_messages=options["max-queue-messages"],
        queue_bytes=options["max-queue-bytes"],
    )
    engine = None
    if options["engine"] is not None:
        engine = options["engine"](
            reactor, limits=limits, session_timeout=options["session-timeout"]
        )
    configuration = Configuration(
        endpoints=endpoints,
        adopted=options["adopt"],
        admin=options["admin"],
        mount=options["mount"],
        origins=options["origins"],
        limits=limits,
        session_timeout=options["session-timeout"],
        websocket_deflate=bool(options["websocket-deflate"]),
        page=not options["no-page"],
        verbose=bool(options["verbose"]),
        server=ServerOptions(
            timeout=options["timeout"],
            interval=options["interval"],
            publish_without_session=not options["require-session"],
        ),
    )
    return BayeuxService(
        reactor, configuration, extensions=options["extensions"], engine=engine
    )
