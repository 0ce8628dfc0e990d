"""The command line of ``txbayeux``: parsed, and checked before anything is done."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from txbayeux import __version__
from txbayeux import channel as channels
from txbayeux.client.transports import DEFAULT
from txbayeux.extensions import ALL, NEW

__all__ = ["options", "parse_json"]

_MAX_DIGITS: Final = 19
"""Digits of a replay id, which servers keep in 64 bits."""


def options(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the command line.

    :raises SystemExit: with 2 if it is wrong, with 0 for ``--help`` and ``--version``.
    """
    parser = argparse.ArgumentParser(
        prog="txbayeux", description="Subscribe and publish over Bayeux."
    )
    parser.add_argument(
        "--version", action="version", version=f"txbayeux {__version__}"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    shared = _shared()
    subscribe = commands.add_parser(
        "subscribe", parents=[shared], help="print messages, one JSON value per line"
    )
    _add_subscribe(subscribe)
    publish = commands.add_parser(
        "publish", parents=[shared], help="publish JSON and wait for the replies"
    )
    publish.add_argument("channel", metavar="CHANNEL")
    publish.add_argument(
        "data",
        metavar="JSON",
        help="what to publish; - reads one JSON value per line from stdin",
    )
    parsed = parser.parse_args(arguments)
    _check(parser, parsed)
    return parsed


def _shared() -> argparse.ArgumentParser:
    """Return the options that both commands have."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("url", metavar="URL", help="http, https, ws or wss")
    shared.add_argument(
        "--transport",
        action="append",
        choices=DEFAULT,
        help="connection type to use; repeatable, best first (default: all)",
    )
    shared.add_argument(
        "--header",
        action="append",
        default=[],
        metavar="NAME:VALUE",
        help="HTTP header to send to the server; repeatable",
    )
    shared.add_argument(
        "--token-command",
        metavar="COMMAND",
        help="shell command that prints a token, to send as 'Authorization: Bearer'; "
        "run before each handshake",
    )
    shared.add_argument(
        "--ext",
        metavar="JSON",
        help="object to send as ext of handshake, subscriptions and publishes",
    )
    shared.add_argument(
        "--ca",
        type=Path,
        metavar="FILE",
        help="PEM file of the CA certificates to trust, instead of the system's",
    )
    shared.add_argument(
        "--certificate",
        type=Path,
        metavar="FILE",
        help="PEM file of a client certificate and its key",
    )
    shared.add_argument("--proxy", metavar="URL", help="HTTP proxy to use")
    shared.add_argument(
        "--timeout",
        type=_positive,
        default=30.0,
        metavar="SECONDS",
        help="how long the server may take to connect, and to accept subscriptions "
        "or publishes (default: 30)",
    )
    return shared


def _add_subscribe(subscribe: argparse.ArgumentParser) -> None:
    subscribe.add_argument("channels", metavar="CHANNEL", nargs="+")
    subscribe.add_argument(
        "--count", type=int, metavar="N", help="exit after this many messages"
    )
    subscribe.add_argument(
        "--format",
        choices=["json", "data"],
        default="json",
        help="print whole messages, or only their data (default: json)",
    )
    subscribe.add_argument(
        "--ack",
        action="store_true",
        help="acknowledge messages, if the server supports it",
    )
    subscribe.add_argument(
        "--replay",
        type=Path,
        metavar="FILE",
        help="keep the replay id of the last message of each channel in FILE, and "
        "continue behind it, if the server stores messages",
    )
    subscribe.add_argument(
        "--replay-from",
        "--since",
        type=_replay_id,
        metavar="ID",
        help="begin behind this replay id on channels that are not in FILE; all: with "
        "the oldest message that the server has; new: with the next one (default)",
    )


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text.

    :raises ValueError: if it is not JSON, or nested too deeply.
    """
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:  # a ValueError in newer versions only
        raise ValueError(str(error)) from None
    except RecursionError:
        raise ValueError("JSON is nested too deeply") from None


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"not a positive number: {text}")
    return value


def _replay_id(text: str) -> int:
    named = {"all": ALL, "new": NEW}
    if text in named:
        return named[text]
    if not text.isascii() or not text.isdigit() or len(text) > _MAX_DIGITS:
        raise argparse.ArgumentTypeError(f"not a replay id, all or new: {text}")
    return int(text)


def _check(parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> None:
    headers = {}
    for header in parsed.header:
        name, separator, value = header.partition(":")
        if not separator:
            parser.error(f"not NAME:VALUE: {header}")
        headers[name.strip()] = value.strip()
    parsed.header = headers
    try:
        parsed.ext = None if parsed.ext is None else parse_json(parsed.ext)
    except ValueError as error:
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
        if not channels.is_sendable(channel):
            parser.error(f"neither a channel nor a pattern: {channel}")
    if parsed.count is not None and parsed.count < 1:
        parser.error("--count must be positive")


def _check_publish(parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> None:
    if not channels.is_sendable(parsed.channel) or channels.is_meta(parsed.channel):
        parser.error(f"not a channel to publish to: {parsed.channel}")
    parsed.one = parsed.data != "-"
    if parsed.one:
        try:
            parsed.data = parse_json(parsed.data)
        except ValueError as error:
            parser.error(f"not JSON: {error}")
