"""Run the command: a client that subscribes or publishes, and an exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import suppress
from io import FileIO
from typing import Any, BinaryIO, Final, cast

import msgspec
from twisted.internet.defer import Deferred, DeferredSemaphore, inlineCallbacks
from twisted.internet.task import react
from twisted.python.failure import Failure

from txbayeux.cli.arguments import options
from txbayeux.cli.console import Lines, Printer, Readable
from txbayeux.cli.ends import (
    INTERRUPTED,
    NO_ANSWER,
    REFUSED,
    UNWRITTEN,
    USAGE,
    Failed,
)
from txbayeux.client import Client, Closed, PublishTimeout, State
from txbayeux.client.transports import DEFAULT
from txbayeux.errors import BayeuxError
from txbayeux.extensions import Ack
from txbayeux.message import Message

__all__ = ["main", "run"]

_WINDOW: Final = 1000
"""Publishes without an answer before more of standard input is read."""


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
    reactor: Any, parsed: argparse.Namespace, stdin: Readable, stdout: BinaryIO
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
            doing = _publish(client, reactor, parsed, stdin)
        else:
            doing = _subscribe(client, parsed, stdout)
        yield Deferred.fromCoroutine(doing)
    except Failed as failed:
        _say(str(failed))
        raise SystemExit(failed.code) from None
    except Closed:
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:
        # Whoever read our output wants no more of it: no news to anybody.
        raise SystemExit(0) from None
    except OSError as error:
        _say(f"standard output: {error}")
        raise SystemExit(UNWRITTEN) from None
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
        raise Failed(NO_ANSWER, f"no connection within {seconds:g} s: {why}")

    connecting = client.connect()
    connecting.addTimeout(timeout, reactor, late)
    return connecting


async def _subscribe(
    client: Client, parsed: argparse.Namespace, stdout: BinaryIO
) -> None:
    printer = Printer(stdout, parsed.count)

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


async def _publish(
    client: Client, reactor: Any, parsed: argparse.Namespace, stdin: Readable
) -> None:
    if parsed.one:
        await _accepted(client, parsed, parsed.data)
        return
    lines = Lines(reactor, stdin)
    window = DeferredSemaphore(_WINDOW)

    def changed(new: State, old: State) -> None:
        if new is State.DISCONNECTING:
            lines.stop(Closed(parsed.channel))

    def failed(failure: Failure) -> None:
        lines.stop(cast(Exception, failure.value))

    client.on_state(changed)
    number = 0
    async for line in lines:
        number += 1
        if not line.strip():
            continue
        try:
            data = msgspec.json.decode(line)
        except msgspec.DecodeError as error:
            lines.stop(Failed(USAGE, f"line {number} is not JSON: {error}"))
            break
        await window.acquire()
        sent = _accepted(client, parsed, data).addErrback(failed)
        sent.addBoth(lambda _: window.release())
    for _ in range(_WINDOW):  # wait until every answer has come
        await window.acquire()
    if lines.error is not None:
        raise lines.error


def _accepted(
    client: Client, parsed: argparse.Namespace, data: object
) -> Deferred[Message]:
    def late(failure: Any) -> Any:
        failure.trap(PublishTimeout)
        why = client.last_failure or "no answer"
        raise Failed(NO_ANSWER, f"not accepted within {parsed.timeout:g} s: {why}")

    publishing = client.publish(parsed.channel, data, deadline=parsed.timeout)
    return publishing.addErrback(late)


def _say(text: str) -> None:
    sys.stderr.write(f"txbayeux: {text}\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; does not return.

    :raises SystemExit: with the exit code.
    """
    parsed = options(sys.argv[1:] if arguments is None else arguments)
    if sys.stdin is None or sys.stdout is None:
        # A connection would get its number, and with it what is meant for it.
        _say("standard input and output must be open")
        raise SystemExit(USAGE)
    # Without a buffer: Python would not end while a thread has the buffer's lock.
    stdin = FileIO(sys.stdin.fileno(), closefd=False)
    react(run, (parsed, stdin, sys.stdout.buffer))
