"""The client that a command line describes."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, MutableMapping
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.utils import getProcessOutputAndValue

from txbayeux.cli.exit_codes import OUTPUT_FAILED, REFUSED, CommandFailed
from txbayeux.client import Client
from txbayeux.client.credentials import Source
from txbayeux.client.transports import DEFAULT
from txbayeux.extension import Extension
from txbayeux.extensions import NEW, Ack, Replay, ReplayFile

__all__ = ["client_of"]

_SHELL: Final = "/bin/sh"


def client_of(
    parsed: argparse.Namespace, reactor: Any, abort: Callable[[Exception], None]
) -> Client:
    """Return the client, which does nothing yet.

    :param parsed: what :func:`~txbayeux.cli.options` returned.
    :param abort: called with an error that the command must end with.

    :raises OSError: for a file that cannot be read or written.
    :raises ValueError: for a file or URL that cannot be used.
    """
    tls = None
    if parsed.ca is not None or parsed.certificate is not None:
        # An optional dependency, which plain http does not need.
        from txbayeux.transport.tls import TLSPolicy  # noqa: PLC0415

        files = [
            None if path is None else path.read_bytes()
            for path in (parsed.ca, parsed.certificate)
        ]
        tls = TLSPolicy.from_pem(*files)
    headers: Source = parsed.header
    if parsed.token_command is not None:
        headers = _with_token(parsed, reactor, abort)
    return Client(
        parsed.url,
        reactor=reactor,
        transports=parsed.transport or DEFAULT,
        headers=headers,
        ext=parsed.ext,
        tls=tls,
        proxy=parsed.proxy,
        extensions=_extensions(parsed, abort) if parsed.command == "subscribe" else (),
    )


def _extensions(
    parsed: argparse.Namespace, abort: Callable[[Exception], None]
) -> list[Extension]:
    extensions: list[Extension] = [Ack()] if parsed.ack else []
    if parsed.replay is None and parsed.replay_from is None:
        return extensions
    store: MutableMapping[str, int] | None = None
    if parsed.replay is not None:

        def failed(error: OSError) -> None:
            abort(CommandFailed(OUTPUT_FAILED, f"--replay: {error}"))

        store = ReplayFile(parsed.replay, failed)
    begin = NEW if parsed.replay_from is None else parsed.replay_from
    return [*extensions, Replay(store, default=begin)]


def _with_token(
    parsed: argparse.Namespace, reactor: Any, abort: Callable[[Exception], None]
) -> Source:
    """Return a function that runs the command and returns the headers."""

    async def headers() -> dict[str, str]:
        out, said, code = await getProcessOutputAndValue(
            _SHELL, ["-c", parsed.token_command], env=os.environ, reactor=reactor
        )
        token = out.decode("utf-8", "replace").strip()
        if code == 0 and token.isascii() and token.isprintable() and token:
            return {**parsed.header, "Authorization": f"Bearer {token}"}
        why = f"exit status {code}" if code else "its output is not a token"
        lines = said.decode("utf-8", "replace").split("\n")
        reason = " ".join(line.strip() for line in lines if line.strip()) or why
        error = CommandFailed(REFUSED, f"--token-command: {reason}")
        # Not at once: the end of the command cancels this coroutine.
        reactor.callLater(0, abort, error)
        await Deferred()
        raise error

    return headers
