"""Script calls: batched, in order, and held while Redis cannot be used."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure

from txbayeux.engine.redis.errors import Lost, RedisError
from txbayeux.engine.redis.options import RedisOptions
from txbayeux.engine.redis.scripts import load
from txbayeux.errors import (
    BayeuxError,
    TooManySubscriptions,
    UnknownSession,
    unavailable,
)
from txbayeux.interfaces import Clock, DelayedCall
from txbayeux.log_limit import LogLimit

if TYPE_CHECKING:
    from txbayeux.engine.redis.connection import Connection

__all__ = ["Argument", "Commands"]

Argument = str | bytes | int
"""The types of a command's arguments."""

_BATCH_MESSAGES: Final = 500
_BATCH_BYTES: Final = 1024 * 1024
"""Limits of one script call, because Redis runs nothing else meanwhile."""

_ARGUMENT: Final = 50
"""Bytes that an argument takes besides its characters."""

_OWN: Final = frozenset(
    {
        "checkpoint",
        "complete",
        "give_back",
        "heartbeat",
        "interest",
        "leave",
        "notices",
        "read",  # one at a time
        "release",
        "verify",
    }
)
"""Scripts that no client asks for: refused at twice the limits, so that clients who
exhaust these do not make other nodes count this one as dead, or stop its feed."""

_FAILING: Final = 5.0
"""Seconds for which a refused publish counts, unless another is accepted."""

_REFUSED: Final = (
    "Operations refused: {count}, {total} since the start; as much waits for Redis as "
    "may (pending_messages={messages}, pending_bytes={size})"
)

_REPEATABLE: Final = frozenset(
    {
        "acquire",
        "check_release",
        "create",
        "give_back",
        "leave",
        "notices",
        "read",
        "release",
        "verify",
    }
)
"""Scripts that may be repeated; repeating ``give_back`` can duplicate deliveries.

Not ``interest``: it has a position, and the log may be another one by then.
"""

_NO_MASTER: Final = frozenset({"READONLY", "LOADING", "MASTERDOWN", "NOAUTH"})
"""Error codes of an unusable server: the connection is closed."""

_ELSEWHERE: Final = frozenset({"ASK", "CLUSTERDOWN", "MOVED", "TRYAGAIN"})
"""Error codes of a cluster node that does not have all the keys.

Redirects are not followed for single calls, as a script needs all keys on one node.
Registering fails too, and the link then finds the node.
"""

_NOT_DONE: Final = frozenset({"EPOCH", "NOSCRIPT", "STALE"}) | _ELSEWHERE
"""Error codes of calls without effect: repeated in order after registering."""

_log: Final = Logger()


class _Call:
    """A pending call; ``arguments`` come after those that all scripts have."""

    __slots__ = ("arguments", "deadline", "number", "result", "script", "size")

    def __init__(
        self,
        number: int,
        script: str,
        arguments: Sequence[Argument],
        deadline: float,
        size: int,
    ) -> None:
        self.number = number
        self.script = script
        self.arguments = arguments
        self.deadline = deadline
        self.size = size
        self.result: Deferred[Any] = Deferred()


class Commands:
    """Runs scripts in the order of the calls.

    Messages published in one reactor turn share a call.  Calls made while Redis
    cannot be used are held, for a limited time and up to a limit.  A call whose
    connection was lost may or may not have been executed: messages are sent again
    under the same number, so that they are appended once; scripts that may run twice
    are sent again, too; others fail.  A call that was refused because the epoch or
    the node had changed had no effect, and is sent again.  A publish that Redis reads
    late from an abandoned connection is refused (STALE).

    :param node: this node's id.
    :param keys: the keys that every script declares; the first holds the epoch.
    :param stale: called when the node must register: Redis has another epoch, knows a
        later connection of this node, or has lost a script, or the keys have moved.
    :param reaches_many: returns whether many sessions of this node get what is
        published on a channel.
    """

    def __init__(
        self,
        clock: Clock,
        options: RedisOptions,
        *,
        node: str,
        keys: Sequence[str],
        stale: Callable[[], None],
        reaches_many: Callable[[str], bool] = lambda channel: False,
    ) -> None:
        self._clock = clock
        self._options = options
        self._node = node
        self._keys: tuple[Argument, ...] = (len(keys), *keys)
        self._stale = stale
        self._reaches_many = reaches_many
        self._redis: Connection | None = None
        self._common: tuple[Argument, ...] = ()
        self._number = 0
        self._outstanding = 0
        self._octets = 0
        self._unsent: deque[_Call] = deque()
        self._unsure: deque[list[_Call]] = deque()
        self._gathered: list[_Call] = []
        self._flush_call: DelayedCall | None = None
        self._loaded: set[str] = set()
        self._closed = False
        self._failed_at = -math.inf
        self.on_sent: Callable[[int], object] = lambda position: None
        """Called with the position of the last published message of a call that was
        sent to this node, or 0, before its publishes succeed."""
        self.refused = 0
        """Calls that were refused because too much waited."""
        self._refused_log = LogLimit(clock, partial(_log.warn, _REFUSED))
        self._error_logs: dict[str, LogLimit] = {}  # by the code of the error
        self.published: tuple[int, int] | None = None
        """Position and token of the last message that Redis accepted from this node."""

    @property
    def live(self) -> bool:
        """Whether a call is sent at once."""
        return self._redis is not None

    @property
    def accepting(self) -> bool:
        """Whether Redis accepts publishes, as far as is known from the last seconds."""
        return self._clock.seconds() - self._failed_at >= _FAILING

    @property
    def outstanding(self) -> int:
        """The number of calls without a reply."""
        return self._outstanding

    # The connection

    def up(self, redis: Connection, epoch: str, prefix: str, token: int) -> None:
        """Start to use this connection, and send the calls that were held."""
        self._redis = redis
        self._loaded.clear()
        self._common = (epoch, prefix, token, self._node)
        again = [(calls[0].number, calls, True) for calls in self._unsure]
        again += [(call.number, [call], False) for call in self._unsent]
        self._unsure.clear()
        self._unsent.clear()
        for _, calls, unsure in sorted(again, key=lambda item: item[0]):
            if unsure:
                self._send_gathered()
                self._send_batch(calls, again="1")
            else:
                self._send_or_gather(calls[0])

    def down(self) -> None:
        """Hold calls from now on."""
        self._redis = None
        self._unsent.extend(self._gathered)
        self._gathered = []

    def stop(self) -> None:
        """Fail the calls that are held, and leave nothing in the reactor."""
        self._closed = True
        self.down()
        if self._flush_call is not None and self._flush_call.active():
            self._flush_call.cancel()
        self._flush_call = None
        self._fail_held(lambda call: True)
        for log in (self._refused_log, *self._error_logs.values()):
            log.stop()

    def expire(self) -> None:
        """Fail the calls that have been held for too long."""
        now = self._clock.seconds()
        self._fail_held(lambda call: call.deadline <= now)

    # Operations

    def run(
        self,
        script: str,
        *arguments: Argument,
        patience: float | None = None,
    ) -> Deferred[Any]:
        """Run a script; fires with its reply.

        Fails with :class:`~txbayeux.errors.UnknownSession`,
        :class:`~txbayeux.errors.TooManySubscriptions`, or BayeuxError 503 in
        every other case.

        :param patience: seconds to hold it while Redis cannot be used.
        """
        if patience is None:
            patience = self._options.patience
        size = _ARGUMENT * len(arguments)
        for argument in arguments:
            if not isinstance(argument, int):
                size += len(argument)
        return self._accept(script, arguments, patience, size)

    def publish(self, channel: str, json: bytes, session: str) -> Deferred[None]:
        """Append a message, together with the others of this reactor turn."""
        size = 3 * _ARGUMENT + len(session) + len(channel) + len(json)
        return self._accept(
            "publish", (session, channel, json), self._options.patience, size
        )

    def _accept(
        self, script: str, arguments: Sequence[Argument], patience: float, size: int
    ) -> Deferred[Any]:
        options = self._options
        times = 2 if script in _OWN else 1
        if self._closed:
            return fail(unavailable())
        if (
            self._outstanding >= times * options.pending_messages
            or self._octets + size > times * options.pending_bytes
        ):
            self._count_refused()
            return fail(unavailable())
        self._number += 1
        deadline = self._clock.seconds() + patience
        call = _Call(self._number, script, arguments, deadline, size)
        self._outstanding += 1
        self._octets += size
        if self._redis is None:
            self._unsent.append(call)
        else:
            self._send_or_gather(call)
        return call.result

    def _count_refused(self) -> None:
        self.refused += 1
        self._refused_log.add(
            total=self.refused,
            messages=self._options.pending_messages,
            size=self._options.pending_bytes,
        )

    def _send_or_gather(self, call: _Call) -> None:
        if call.script != "publish":
            self._send_gathered()
            self._send(call.script, call.arguments, [call])
            return
        self._gathered.append(call)
        if self._flush_call is None:
            self._flush_call = self._clock.callLater(0, self._send_gathered_later)

    def _send_gathered_later(self) -> None:
        self._flush_call = None
        self._send_gathered()

    def _send_gathered(self) -> None:
        gathered, self._gathered = self._gathered, []
        start = 0
        while start < len(gathered):
            end, octets = start, 0
            while end < len(gathered) and end - start < _BATCH_MESSAGES:
                octets += gathered[end].size
                if octets > _BATCH_BYTES and end > start:
                    break
                end += 1
            self._send_batch(gathered[start:end])
            start = end

    def _send_batch(self, calls: list[_Call], again: str = "") -> None:
        # A batch that may have been executed is sent again with the same number.
        arguments: list[Argument] = [*self._options.retained]
        arguments += (calls[0].number, again)
        for call in calls:
            arguments += call.arguments
        self._send("publish", arguments, calls, unsure=again != "")

    def _send(
        self,
        name: str,
        arguments: Sequence[Argument],
        calls: list[_Call],
        *,
        unsure: bool = False,
    ) -> None:
        if self._redis is None:
            self._unsent.extend(calls)
            return
        script = load(name)
        everything = (*self._keys, *self._common, *arguments)
        # Publishes were gathered already.  To wait for others saves nothing, unless
        # many sessions are written to meanwhile.
        now = name == "heartbeat" or (
            name == "publish" and not self._reaches_many(str(arguments[-2]))
        )
        execute = self._redis.execute_now if now else self._redis.execute_command
        if name in self._loaded:
            reply = execute("EVALSHA", script.sha, *everything)
        else:
            # EVAL at first use: later calls would overtake one refused for its hash.
            self._loaded.add(name)
            reply = execute("EVAL", script.source, *everything)
        reply.addCallbacks(
            partial(self._replied, name, calls),
            partial(self._refused, name, calls, unsure),
        )

    # Replies

    def _replied(self, name: str, calls: list[_Call], reply: Any) -> None:
        if name != "publish":
            self._done(calls[0]).callback(reply)
            return
        try:
            numbers = [int(n) for n in (reply if isinstance(reply, list) else ())]
            position, sent, refused = numbers[0], numbers[1], set(numbers[2:])
        except (IndexError, TypeError, ValueError):
            error = RedisError(f"ERR invalid reply: {reply!r:.100}")
            self._refused(name, calls, False, Failure(error))
            return
        self._failed_at = -math.inf
        if position < 0:
            position = -position
        elif len(refused) < len(calls) and self._redis is not None:
            self.published = (position, int(self._common[2]))
        self.on_sent(sent)
        for index, call in enumerate(calls):
            result = self._done(call)
            if index in refused:
                result.errback(UnknownSession(str(call.arguments[0])))
            else:
                result.callback(None)

    def _refused(
        self, name: str, calls: list[_Call], unsure: bool, failure: Failure
    ) -> None:
        error = failure.value
        refusal = _refusal(calls[0], error) if isinstance(error, RedisError) else None
        code = error.code if isinstance(error, RedisError) else ""
        if isinstance(error, Lost) and self._comes_again(name, calls):
            return
        if code in _NOT_DONE:
            # It may have been executed when it was sent before.
            unsure = code == "STALE" or (unsure and code in _ELSEWHERE)
            if not (unsure and self._comes_again(name, calls)):
                self._unsent.extend(calls)
            if self._redis is not None:
                self.down()
                self._stale()
            return
        answer = refusal or unavailable()
        if refusal is None and isinstance(error, RedisError):
            self._react(name, error)
        for call in calls:
            self._done(call).errback(answer)

    def _react(self, name: str, error: RedisError) -> None:
        """Act on an error of Redis, which is not one of the call."""
        self._log_error(name, error)
        if name == "publish":
            self._failed_at = self._clock.seconds()
        if self._redis is None:
            return
        if error.code in _NO_MASTER:
            self._redis.abort()
        elif error.code == "WRONGTYPE":
            # Registering begins another epoch if others replaced its keys.
            self.down()
            self._stale()

    def _comes_again(self, name: str, calls: list[_Call]) -> bool:
        """Keep calls that may run twice; return whether they may."""
        if self._closed:
            return False
        if name == "publish" and not any(call.arguments[0] for call in calls):
            self._unsure.append(calls)
            return True
        if name in _REPEATABLE:
            self._unsent.extend(calls)
            return True
        return False

    def _done(self, call: _Call) -> Deferred[Any]:
        self._outstanding -= 1
        self._octets -= call.size
        return call.result

    def _log_error(self, name: str, error: RedisError) -> None:
        if self._closed:  # Nobody would stop a new limit.
            return
        if error.code not in self._error_logs:
            self._error_logs[error.code] = LogLimit(self._clock, _log_errors)
        self._error_logs[error.code].add(name=name, error=str(error))

    def _fail_held(self, chosen: Callable[[_Call], bool]) -> None:
        failed = [call for call in self._unsent if chosen(call)]
        self._unsent = deque(call for call in self._unsent if not chosen(call))
        for calls in self._unsure:
            if chosen(calls[0]):
                failed += calls
        self._unsure = deque(calls for calls in self._unsure if not chosen(calls[0]))
        for call in failed:
            self._done(call).errback(unavailable())


def _log_errors(count: int, name: str, error: str) -> None:
    times = f" ({count} such errors)" if count > 1 else ""
    _log.error(
        "Redis refused the script {name}: {error}{times}",
        name=name,
        error=error,
        times=times,
    )


def _refusal(call: _Call, error: RedisError) -> BayeuxError | None:
    """Return the error with which a script refused the call; None for one of Redis."""
    if error.code == "UNKNOWN" and call.arguments:
        session = str(call.arguments[0])
        known = (error.text,) if error.text else ()
        return UnknownSession(session, *known)
    if call.script != "change":
        return None
    if error.code == "LIMIT":
        return TooManySubscriptions(int(call.arguments[2]))
    if error.code == "SIZE":
        return TooManySubscriptions(int(call.arguments[3]), "bytes of subscriptions")
    return None
