"""The command line, read and checked before anything is done."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import msgspec

from txbayeux import channel as channels
from txbayeux.client.transports import DEFAULT

__all__ = ["options"]


def options(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line.

    :raises SystemExit: with 2 if it is wrong, with 0 for ``--help``.
    """
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("url", metavar="URL", help="http, https, ws or wss")
    shared.add_argument(
        "--transport",
        action="append",
        choices=DEFAULT,
        help="connection type to use; may be repeated, best first (default: all)",
    )
    shared.add_argument(
        "--header",
        action="append",
        default=[],
        metavar="NAME:VALUE",
        help="HTTP header to send to the server; may be repeated",
    )
    shared.add_argument(
        "--ext", metavar="JSON", help="object to send as ext of the handshake"
    )
    shared.add_argument(
        "--ca", type=Path, metavar="FILE", help="PEM of the roots to trust instead"
    )
    shared.add_argument(
        "--certificate",
        type=Path,
        metavar="FILE",
        help="PEM of a client certificate and its key",
    )
    shared.add_argument("--proxy", metavar="URL", help="HTTP proxy to go through")
    shared.add_argument(
        "--timeout",
        type=_positive,
        default=30.0,
        metavar="SECONDS",
        help="how long to wait for the server's first answer (default: 30)",
    )
    parser = argparse.ArgumentParser(
        prog="txbayeux", description="Subscribe and publish over Bayeux."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    subscribe = commands.add_parser(
        "subscribe", parents=[shared], help="print messages, one JSON object a line"
    )
    subscribe.add_argument("channels", metavar="CHANNEL", nargs="+")
    subscribe.add_argument(
        "--count", type=int, metavar="N", help="end after so many messages"
    )
    subscribe.add_argument(
        "--ack", action="store_true", help="acknowledge messages, where the server can"
    )
    publish = commands.add_parser(
        "publish", parents=[shared], help="publish JSON and wait for the reply"
    )
    publish.add_argument("channel", metavar="CHANNEL")
    publish.add_argument(
        "data", metavar="JSON", help="what to publish; - for one JSON a line from stdin"
    )
    parsed = parser.parse_args(arguments)
    _check(parser, parsed)
    return parsed


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"not a positive number: {text}")
    return value


def _check(parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> None:
    headers = {}
    for header in parsed.header:
        name, separator, value = header.partition(":")
        if not separator:
            parser.error(f"not NAME:VALUE: {header}")
        headers[name.strip()] = value.strip()
    parsed.header = headers
    try:
        parsed.ext = None if parsed.ext is None else msgspec.json.decode(parsed.ext)
    except msgspec.DecodeError as error:
        parser.error(f"--ext: {error}")
    if parsed.ext is not None and not isinstance(parsed.ext, dict):
        parser.error("--ext must be a JSON object")
    if parsed.command == "subscribe":
        _check_subscribe(parser, parsed)
    else:
        _check_publish(parser, parsed)


def _check_subscribe(
    parser: argparse.ArgumentParser, parsed: argparse.Namespace
) -> None:
    for channel in parsed.channels:
        if not (channels.is_name(channel) or channels.is_pattern(channel)):
            parser.error(f"neither a channel nor a pattern: {channel}")
    if parsed.count is not None and parsed.count < 1:
        parser.error("--count must be positive")


def _check_publish(parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> None:
    if not channels.is_name(parsed.channel) or channels.is_meta(parsed.channel):
        parser.error(f"not a channel to publish to: {parsed.channel}")
    parsed.one = parsed.data != "-"
    if parsed.one:
        try:
            parsed.data = msgspec.json.decode(parsed.data)
        except msgspec.DecodeError as error:
            parser.error(f"not JSON: {error}")
