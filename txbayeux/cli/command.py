"""Run the ``txbayeux`` command: a client that subscribes or publishes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import suppress
from io import FileIO
from typing import Any, BinaryIO, Final, cast

from twisted.internet.defer import (
    CancelledError,
    Deferred,
    DeferredSemaphore,
    FirstError,
    gatherResults,
    inlineCallbacks,
)
from twisted.internet.task import deferLater, react
from twisted.python.failure import Failure

from txbayeux import channel as channels
from txbayeux.cli.arguments import options, parse_json
from txbayeux.cli.client_options import client_of
from txbayeux.cli.console import Lines, Printer, Readable
from txbayeux.cli.exit_codes import (
    INTERRUPTED,
    NO_ANSWER,
    OUTPUT_FAILED,
    REFUSED,
    USAGE,
    CommandFailed,
)
from txbayeux.client import Client, Closed, PublishTimeout, State
from txbayeux.errors import BayeuxError
from txbayeux.message import Message, encode
from txbayeux.signals import StopOnce

__all__ = ["main", "run"]

_WINDOW: Final = 1000
"""Publishes in flight, after which no more of standard input is read."""


class _Command:
    """What the command is doing, which an error elsewhere can end."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self._doing: Deferred[None] | None = None

    def do(self, doing: Deferred[None]) -> Deferred[None]:
        """Return ``doing``, which fails with the error of :meth:`abort`."""

        def cancelled(failure: Failure) -> None:
            failure.trap(CancelledError)
            if self.error is None:
                failure.raiseException()
            else:
                raise self.error

        self._doing = doing.addErrback(cancelled)
        if self.error is not None:
            doing.cancel()
        return doing

    def abort(self, error: Exception) -> None:
        """End the command because of ``error``, unless it has ended."""
        if self.error is None:
            self.error = error
            if self._doing is not None:
                self._doing.cancel()


@inlineCallbacks
def run(
    reactor: Any, parsed: argparse.Namespace, stdin: Readable, stdout: BinaryIO
) -> Any:
    """Run the command; fires when it is done.

    :param parsed: what :func:`~txbayeux.cli.options` returned.

    Fails with :exc:`SystemExit`, which has the exit code, after writing one sentence
    to standard error.
    """
    command = _Command()
    try:
        client = client_of(parsed, reactor, command.abort)
    except (ValueError, OSError) as error:
        _report(str(error))
        raise SystemExit(USAGE) from None

    def refused(error: Exception) -> None:
        # Some servers advise to try again whatever the credentials are, as Faye's do.
        if _is_login(error) and parsed.token_command is None:
            command.abort(error)

    client.on_failure(refused)
    _report_outages(client)
    # An interrupt stops the reactor; the session is closed first.
    trigger = reactor.addSystemEventTrigger("before", "shutdown", client.disconnect)
    try:
        yield command.do(_connect(client, reactor, parsed.timeout))
        if parsed.command == "publish":
            doing = _publish(client, reactor, parsed, stdin)
        else:
            doing = _subscribe(client, reactor, parsed, stdout)
        yield command.do(Deferred.fromCoroutine(doing))
    except CommandFailed as failed:
        _report(str(failed))
        raise SystemExit(failed.code) from None
    except Closed:
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:
        # The reader of our output has closed it, as head does: not an error.
        raise SystemExit(0) from None
    except OSError as error:
        _report(f"standard output: {error}")
        raise SystemExit(OUTPUT_FAILED) from None
    except BayeuxError as error:
        _report(_reason(error))
        raise SystemExit(REFUSED) from None
    finally:
        yield client.disconnect()
        with suppress(ValueError):  # the trigger is being fired
            reactor.removeSystemEventTrigger(trigger)


def _connect(client: Client, reactor: Any, timeout: float) -> Deferred[None]:
    def late(result: object, seconds: float) -> Any:
        why = client.last_failure or "no answer"
        raise CommandFailed(NO_ANSWER, f"no connection within {seconds:g} s: {why}")

    connecting = client.connect()
    connecting.addTimeout(timeout, reactor, late)
    return connecting


async def _subscribe(
    client: Client, reactor: Any, parsed: argparse.Namespace, stdout: BinaryIO
) -> None:
    printer = Printer(stdout, parsed.count, data_only=parsed.format == "data")

    def refused(error: Exception) -> None:
        if client.state is State.REFUSED:
            printer.finish(error)

    def changed(new: State, old: State) -> None:
        if new is State.DISCONNECTING:
            printer.finish(Closed(parsed.channels[0]))

    client.on_failure(refused)
    client.on_state(changed)

    def late(result: object, seconds: float) -> Any:
        why = client.last_failure or "no answer"
        raise CommandFailed(NO_ANSWER, f"not subscribed within {seconds:g} s: {why}")

    subscriptions = [
        client.subscribe(channel, printer.print, ext=parsed.ext)
        for channel in dict.fromkeys(parsed.channels)
    ]
    confirmed = [
        subscription.ready.addTimeout(parsed.timeout, reactor, late)
        for subscription in subscriptions
    ]
    done = gatherResults([*confirmed, printer.finished], consumeErrors=True)
    await done.addErrback(_first_error)


def _first_error(failure: Failure) -> Failure:
    """Return the failure that made ``gatherResults`` fail."""
    failure.trap(FirstError)
    first: Failure = cast(FirstError, failure.value).subFailure
    return first


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
            data = parse_json(line)
        except ValueError as error:
            lines.stop(CommandFailed(USAGE, f"line {number} is not JSON: {error}"))
            break
        await window.acquire()
        sent = _accepted(client, parsed, data).addErrback(failed)
        sent.addBoth(lambda _: window.release())
    for _ in range(_WINDOW):  # wait for every reply
        await window.acquire()
    if lines.error is not None:
        raise lines.error


def _accepted(
    client: Client, parsed: argparse.Namespace, data: object
) -> Deferred[Message]:
    def late(failure: Any) -> Any:
        failure.trap(PublishTimeout)
        why = client.last_failure or "no answer"
        raise CommandFailed(
            NO_ANSWER, f"not accepted within {parsed.timeout:g} s: {why}"
        )

    publishing = client.publish(
        parsed.channel, data, ext=parsed.ext, deadline=parsed.timeout
    )
    return publishing.addErrback(late)


def _report_outages(client: Client) -> None:
    """Write a line when a connection is lost, but not for each attempt after that."""
    is_up = False

    def changed(new: State, old: State) -> None:
        nonlocal is_up
        is_up = is_up or new is State.CONNECTED

    def failed(error: Exception) -> None:
        nonlocal is_up
        if is_up and client.state in (State.BROKEN, State.WAITING):
            is_up = False
            _report(f"trying again: {error}")

    client.on_state(changed)
    client.on_failure(failed)


def _is_login(error: Exception) -> bool:
    """Return whether a handshake was refused because of its credentials."""
    reply = error.reply if isinstance(error, BayeuxError) else None
    is_handshake = reply is not None and reply.get("channel") == channels.HANDSHAKE
    return is_handshake and cast(BayeuxError, error).code in (401, 403)


def _reason(error: BayeuxError) -> str:
    """Return the error, with the reply's ``ext``, which may tell more."""
    ext = None if error.reply is None else error.reply.get("ext")
    return f"{error} {encode(ext).decode()}" if ext else str(error)


def _report(text: str) -> None:
    # It may come from the server: no control characters for the terminal.
    plain = "".join(char if char.isprintable() else " " for char in text)
    sys.stderr.write(f"txbayeux: {plain}\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; does not return.

    :raises SystemExit: with the exit code.
    """
    parsed = options(sys.argv[1:] if arguments is None else arguments)
    if sys.stdin is None or sys.stdout is None:
        # A connection could get the descriptor of a closed stream.
        _report("standard input and output must be open")
        raise SystemExit(USAGE)
    # Unbuffered: Python cannot exit while a thread holds the lock of a buffer.
    stdin = FileIO(sys.stdin.fileno(), closefd=False)
    react(_start, (parsed, stdin, sys.stdout.buffer))


def _start(reactor: Any, *arguments: Any) -> Any:
    StopOnce(reactor)
    # When the reactor has its signal handlers: until then an interrupt raises
    # KeyboardInterrupt, wherever it comes.
    return deferLater(reactor, 0, run, reactor, *arguments)
