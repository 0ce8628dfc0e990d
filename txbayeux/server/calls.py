"""Calls: messages on service channels that a function answers (``remoteCall``).

Source: CometD documentation, "Remote Call APIs", and ``RemoteCall.Caller`` of its
server: the answer is a message on the same channel, with the ``id`` of the call, and
``successful`` says whether ``data`` is a result or a failure.
"""

from __future__ import annotations

from collections.abc import Callable
from types import CoroutineType
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from txbayeux.errors import BayeuxError, CallError, UnknownSession
from txbayeux.message import Message
from txbayeux.registration import Registration
from txbayeux.server.fields import message_id
from txbayeux.server.local import LocalClient

__all__ = ["CallFunction", "answer_calls"]

CallFunction = Callable[[Message], Any]
"""Called with the message of a call; see :meth:`txbayeux.server.Server.on_call`."""

_INTERNAL: Final = {"message": "Internal server error"}
"""What a client gets when the function raised; its class and text are the server's."""

_log: Final = Logger()


def answer_calls(
    client: LocalClient, name: str, function: CallFunction
) -> Registration:
    """Answer each call of ``name`` with what ``function`` returns.

    :raises ValueError: if ``name`` does not begin with a slash.
    :raises BayeuxError: 405 if there can be no such channel.
    """
    if not name.startswith("/"):
        raise ValueError(f"the name of a call begins with a slash: {name!r}")

    def called(message: Message) -> Deferred[None] | None:
        if "clientId" not in message:
            return None  # Nobody can get the answer.
        return Deferred.fromCoroutine(_answer(client, message, function))

    return client.subscribe(f"/service{name}", called)


async def _answer(
    client: LocalClient, message: Message, function: CallFunction
) -> None:
    try:
        data, successful = await _result(function, message), True
    except CallError as error:
        data, successful = error.data, False
    except Exception:
        _log_failure(message)
        data, successful = _INTERNAL, False
    try:
        await _deliver(client, message, data, successful=successful)
    except UnknownSession:
        pass  # It has ended meanwhile.
    except BayeuxError as error:
        _log.error(
            "A call of {channel} was not answered: {error}",
            channel=message["channel"],
            error=error,
        )
    except Exception:  # JSON cannot represent the data.
        _log_failure(message)
        await _deliver(client, message, _INTERNAL, successful=False)


async def _result(function: CallFunction, message: Message) -> Any:
    result = function(message)
    if isinstance(result, CoroutineType):
        result = Deferred.fromCoroutine(result)
    return await result if isinstance(result, Deferred) else result


def _deliver(
    client: LocalClient, message: Message, data: Any, *, successful: bool
) -> Deferred[None]:
    return client.deliver(
        message["clientId"],
        message["channel"],
        data,
        id=message_id(message),
        successful=successful,
    )


def _log_failure(message: Message) -> None:
    _log.failure("A call of {channel} failed", channel=message["channel"])
