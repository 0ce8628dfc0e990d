"""The ``txbayeux`` command: subscribe and publish from a shell.

Exit codes: 0 for success, 1 if the server refused, 2 for a wrong command line,
3 if no server answered in time, 130 after an interrupt.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec
from twisted.internet.defer import (
    Deferred,
    DeferredSemaphore,
    inlineCallbacks,
)
from twisted.internet.task import react
from twisted.internet.threads import deferToThreadPool

from txbayeux import channel as channels
from txbayeux.client import Client, Closed, Expired, State
from txbayeux.client.transports import DEFAULT
from txbayeux.errors import BayeuxError
from txbayeux.extensions import Ack
from txbayeux.message import Message, encode

__all__ = ["main", "options", "run"]

REFUSED: Final = 1
USAGE: Final = 2
NO_ANSWER: Final = 3
INTERRUPTED: Final = 130

_WINDOW: Final = 1000
"""Publishes without an answer before more of standard input is read."""


class _Failed(Exception):
    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


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
    value = float(text)
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError("must be positive")
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


def _client(parsed: argparse.Namespace, reactor: Any) -> Client:
    tls = None
    if parsed.ca is not None or parsed.certificate is not None:
        # Late: it needs pyOpenSSL, which plain http does not.
        from txbayeux.transport.tls import TLSPolicy  # noqa: PLC0415

        files = [
            None if path is None else path.read_bytes()
            for path in (parsed.ca, parsed.certificate)
        ]
        tls = TLSPolicy.from_pem(*files)
    return Client(
        parsed.url,
        reactor=reactor,
        transports=parsed.transport or DEFAULT,
        headers=parsed.header,
        ext=parsed.ext,
        tls=tls,
        proxy=parsed.proxy,
        extensions=[Ack()] if getattr(parsed, "ack", False) else (),
    )


@inlineCallbacks
def run(
    reactor: Any, parsed: argparse.Namespace, stdin: BinaryIO, stdout: BinaryIO
) -> Any:
    """Do what the command line says; gives a Deferred of the exit code's error.

    Fails with :exc:`SystemExit` unless all went well, after saying why on stderr.
    """
    try:
        client = _client(parsed, reactor)
    except (ValueError, OSError) as error:
        _say(str(error))
        raise SystemExit(USAGE) from None
    # An interrupt stops the reactor; the session is ended first, and politely.
    trigger = reactor.addSystemEventTrigger("before", "shutdown", client.disconnect)
    try:
        yield _connect(client, reactor, parsed.timeout)
        if parsed.command == "publish":
            yield _publish(client, reactor, parsed, stdin)
        else:
            yield Deferred.fromCoroutine(_subscribe(client, parsed, stdout))
    except _Failed as failed:
        _say(str(failed))
        raise SystemExit(failed.code) from None
    except Closed:
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:
        # Whoever read our output wants no more of it: no news to anybody.
        raise SystemExit(0) from None
    except BayeuxError as error:
        _say(str(error))
        raise SystemExit(REFUSED) from None
    finally:
        yield client.disconnect()
        with suppress(ValueError):  # it is firing just now
            reactor.removeSystemEventTrigger(trigger)


def _connect(client: Client, reactor: Any, timeout: float) -> Deferred[None]:
    def late(result: object, seconds: float) -> Any:
        why = client.last_failure or "no answer"
        raise _Failed(NO_ANSWER, f"no connection within {seconds:g} s: {why}")

    connecting = client.connect()
    connecting.addTimeout(timeout, reactor, late)
    return connecting


async def _subscribe(
    client: Client, parsed: argparse.Namespace, stdout: BinaryIO
) -> None:
    printer = _Printer(stdout, parsed.count)

    def refused(error: Exception) -> None:
        if client.state is State.REFUSED:
            printer.finish(error)

    def changed(new: State, old: State) -> None:
        if new is State.DISCONNECTING:
            printer.finish(Closed(parsed.channels[0]))

    client.on_failure(refused)
    client.on_state(changed)
    subscriptions = [
        client.subscribe(channel, printer.show) for channel in parsed.channels
    ]
    for subscription in subscriptions:
        await subscription.ready
    await printer.finished


class _Printer:
    """Prints messages until there were enough of them, or nobody reads them."""

    def __init__(self, stdout: BinaryIO, count: int | None) -> None:
        self._stdout = stdout
        self._left = count
        self.finished: Deferred[None] = Deferred()

    def finish(self, error: Exception | None = None) -> None:
        if self.finished.called:
            return
        if error is None:
            self.finished.callback(None)
        else:
            self.finished.errback(error)

    def show(self, message: Message) -> None:
        if self.finished.called:
            return
        try:
            self._stdout.write(encode(message) + b"\n")
            self._stdout.flush()
        except OSError as error:
            self.finish(error)
            return
        if self._left is not None:
            self._left -= 1
            if not self._left:
                self.finish()


@inlineCallbacks
def _publish(
    client: Client, reactor: Any, parsed: argparse.Namespace, stdin: BinaryIO
) -> Any:
    if parsed.one:
        yield _accepted(client, parsed, parsed.data)
        return
    window = DeferredSemaphore(_WINDOW)
    errors: list[Exception] = []

    def note(failure: Any) -> None:
        errors.append(failure.value)

    number = 0
    while not errors:
        line = yield deferToThreadPool(reactor, reactor.getThreadPool(), stdin.readline)
        if not line:
            break
        number += 1
        if line.isspace():
            continue
        try:
            data = msgspec.json.decode(line)
        except msgspec.DecodeError as error:
            errors.append(_Failed(USAGE, f"line {number} is not JSON: {error}"))
            break
        yield window.acquire()
        sent = _accepted(client, parsed, data).addErrback(note)
        sent.addBoth(lambda _: window.release())
    for _ in range(_WINDOW):  # wait until every answer has come
        yield window.acquire()
    if errors:
        raise errors[0]


def _accepted(
    client: Client, parsed: argparse.Namespace, data: object
) -> Deferred[Message]:
    def late(failure: Any) -> Any:
        failure.trap(Expired)
        why = client.last_failure or "no answer"
        raise _Failed(NO_ANSWER, f"not accepted within {parsed.timeout:g} s: {why}")

    publishing = client.publish(parsed.channel, data, deadline=parsed.timeout)
    return publishing.addErrback(late)


def _say(text: str) -> None:
    sys.stderr.write(f"txbayeux: {text}\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; does not return.

    :raises SystemExit: with the exit code.
    """
    parsed = options(sys.argv[1:] if arguments is None else arguments)
    react(run, (parsed, sys.stdin.buffer, sys.stdout.buffer))
