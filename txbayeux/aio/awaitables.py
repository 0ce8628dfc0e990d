"""Deferreds as asyncio awaits them, and coroutines of asyncio as Deferreds."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from txbayeux.extension import Extension, check_extension, overrides

__all__ = ["Tasks", "future_of", "wait_for"]

_T = TypeVar("_T")
_HOOKS: Final = ("incoming", "outgoing", "delivering")


def future_of(deferred: Deferred[_T]) -> asyncio.Future[_T]:
    """Return a future for the outcome of a Deferred.

    Cancelling the future leaves the Deferred alone; a Deferred that was cancelled
    cancels the future.

    :raises RuntimeError: outside of a task, where it could not be awaited.
    """
    if asyncio.current_task() is None:
        raise RuntimeError(
            "txbayeux.aio.Client needs a task of asyncio; coroutines of Twisted use "
            "txbayeux.Client"
        )
    future: asyncio.Future[_T] = asyncio.get_running_loop().create_future()

    def fired(result: _T | Failure) -> None:
        if future.done():
            return
        if not isinstance(result, Failure):
            future.set_result(result)
        elif result.check(CancelledError):
            future.cancel()
        else:
            future.set_exception(cast(BaseException, result.value))

    deferred.addBoth(fired)
    return future


async def wait_for(deferred: Deferred[_T]) -> _T:
    """Return the result of a Deferred; a task that is cancelled cancels it."""
    future = future_of(deferred)
    try:
        return await future
    except asyncio.CancelledError:
        deferred.cancel()
        raise


class Tasks:
    """The tasks in which coroutines of the application run for the client."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def source(self, function: Any) -> Any:
        """Return a source of credentials whose coroutine runs as a task."""
        return self._wrapped(function) if callable(function) else function

    def listener(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a listener whose coroutine runs as a task.

        The Deferred of a task that is cancelled does not fire: its message has not
        been handled, and nobody need hear of it.
        """

        def unless_cancelled(failure: Failure) -> Deferred[Any]:
            failure.trap(CancelledError)
            return Deferred()

        run = self._wrapped(function)

        def call(*arguments: Any) -> Any:
            result = run(*arguments)
            if isinstance(result, Deferred):
                result.addErrback(unless_cancelled)
            return result

        return call

    def extension(self, extension: Extension) -> Extension:
        """Return an extension whose hooks run as tasks if they are coroutines.

        :raises TypeError: if it is none.
        """
        check_extension(extension)
        hooks = {
            name: getattr(extension, name)
            for name in _HOOKS
            if overrides(extension, name)
        }
        if not any(map(inspect.iscoroutinefunction, hooks.values())):
            return extension
        tasks = Extension()
        tasks.channels = extension.channels
        for name, hook in hooks.items():
            setattr(tasks, name, self._wrapped(hook))
        return tasks

    def _wrapped(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            result = function(*arguments)
            if inspect.isawaitable(result) and not isinstance(result, Deferred):
                return self._start(result)
            return result

        return call

    def _start(self, awaitable: Awaitable[Any]) -> Deferred[Any]:
        task = asyncio.ensure_future(_result_of(awaitable))

        def cancel(_: Deferred[Any]) -> None:
            task.cancel()

        deferred: Deferred[Any] = Deferred(cancel)

        def done(task: asyncio.Task[Any]) -> None:
            self._running.discard(task)
            error = CancelledError() if task.cancelled() else task.exception()
            if deferred.called:
                return
            if error is None:
                deferred.callback(task.result())
            else:
                deferred.errback(error)

        self._running.add(task)
        task.add_done_callback(done)
        return deferred

    async def finish(self, seconds: float) -> None:
        """Wait for all tasks but the current one; cancel them after ``seconds``."""
        others = self._running - {asyncio.current_task()}
        if others:
            _, late = await asyncio.wait(others, timeout=seconds)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)


async def _result_of(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
