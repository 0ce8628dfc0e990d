"""The command line of ``twistd bayeux``: how it is read and checked."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from textwrap import wrap
from typing import Final

from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from txbayeux import __version__
from txbayeux.adapter.origins import Origins
from txbayeux.adapter.proxies import TrustedProxies
from txbayeux.peer_limits import PeerLimits
from txbayeux.service.option_table import EXAMPLES, GROUPS, OPTIONS, count
from txbayeux.service.option_values import engine, extension, mount, usage_error

__all__ = ["Options"]


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
        for option in OPTIONS
        if option.value and not option.repeatable
    ]
    optFlags: Final = [
        [option.name, option.short, option.help]
        for option in OPTIONS
        if not option.value and option.name not in ("help", "version")
    ]

    def __init__(self) -> None:
        super().__init__()
        for option in OPTIONS:
            if option.repeatable:
                self[option.name] = []

    def getUsage(self, width: int | None = None) -> str:
        """Return the help below the synopsis: the options in groups, and examples.

        :param width: of the terminal; by default ``COLUMNS``, else 80.
        """
        width = width or int(os.environ.get("COLUMNS", "80"))
        lines = ["", *wrap(self.longdesc, width)]
        for title, options in GROUPS.items():
            lines += ["", f"{title}:"]
            for option in options:
                lines += option.usage(width)
        return "\n".join(lines) + "\n" + EXAMPLES

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
            self["adopt"].append(count(descriptor))

    def opt_adopt_proxied(self, descriptor: str) -> None:
        """Add one whose connections begin with the PROXY protocol."""
        with usage_error("--adopt-proxied"):
            self["adopt-proxied"].append(count(descriptor))

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
