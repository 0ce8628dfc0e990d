"""The parts of a Redis engine, for faults that neither clients nor Redis can cause.

Tests reach into an engine here only, and show what follows by its behaviour.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from twisted.internet.defer import Deferred

from txbayeux.engine.redis.checkpoints import Checkpoints
from txbayeux.engine.redis.commands import Argument, Commands
from txbayeux.engine.redis.engine import RedisEngine
from txbayeux.engine.redis.feed import Feed
from txbayeux.engine.redis.log import Logged
from txbayeux.engine.redis.ownership import SessionOwner
from txbayeux.engine.redis.termination import Termination


def commands_connection(engine: RedisEngine) -> Any:
    """Return the connection for script calls; None while there is none."""
    return engine._node._command_connection


def feed_connection(engine: RedisEngine) -> Any:
    """Return the connection of the feed; None while there is none."""
    return engine._node._feed_connection


def commands_of(engine: RedisEngine) -> Commands:
    return engine._node.commands


def owner_of(engine: RedisEngine) -> SessionOwner:
    return engine._node.owner


def feed_of(engine: RedisEngine) -> Feed:
    return engine._node.feed


def termination_of(engine: RedisEngine) -> Termination:
    return engine._node.termination


def node_id(engine: RedisEngine) -> str:
    return engine._node.id


def record_log_reads(engine: RedisEngine) -> list[tuple[int, int]]:
    """Return a list that gets the first and last position of each read of the log."""
    reads: list[tuple[int, int]] = []
    window = engine._node._window
    read = window.read

    async def recorded(first: int, last: int) -> list[Logged]:
        reads.append((first, last))
        return await read(first, last)

    window.read = recorded  # type: ignore[method-assign]
    return reads


@contextmanager
def in_doubt(engine: RedisEngine) -> Iterator[None]:
    """Make a node ask Redis which sessions it owns, as after a disconnection."""
    node = engine._node
    verified, node._verified = node._verified, -math.inf
    yield
    node._verified = verified


@contextmanager
def silent(*engines: RedisEngine) -> Iterator[None]:
    """Make nodes call Redis only for what they are asked to do: no heartbeats."""
    nodes: list[Any] = [engine._node for engine in engines]
    for node in nodes:
        node._heartbeat = lambda now: None
        node.interest.update = node.checkpoints.write = lambda: None
    yield
    for node in nodes:
        del node._heartbeat, node.interest.update, node.checkpoints.write


def calls_made(engine: RedisEngine) -> int:
    """Return how many script calls there were."""
    return engine._node.commands._number


def record_replies(engine: RedisEngine, script: str) -> list[Any]:
    """Return a list that gets each reply to a script from now on."""
    commands = engine._node.commands
    replies: list[Any] = []

    def record(reply: Any) -> Any:
        replies.append(reply)
        return reply

    def recorded(name: str, *arguments: Argument, **others: Any) -> Deferred[Any]:
        result = run(name, *arguments, **others)
        return result.addCallback(record) if name == script else result

    run, commands.run = commands.run, recorded  # type: ignore[method-assign]
    return replies


def script_arguments(
    engine: RedisEngine,
) -> tuple[tuple[Argument, ...], tuple[Argument, ...]]:
    """Return the keys that every script declares, and the arguments that all have."""
    commands = engine._node.commands
    return commands._keys, commands._common


def known_position(engine: RedisEngine) -> int:
    """Return the position of the last entry that is known to be sent to a node."""
    return engine._node.feed._known


def caught_up(engine: RedisEngine) -> Deferred[None]:
    """Return a Deferred that fires when a node has dispatched what was sent to it."""
    node = engine._node
    return node.checkpoints.mark().addCallback(node.feed.wait_for)


def checkpoints_of(engine: RedisEngine) -> Checkpoints:
    return engine._node.checkpoints


async def checkpoint(engine: RedisEngine) -> None:
    """Make a node write checkpoints: the second has the present state."""
    checkpoints = engine._node.checkpoints
    for _ in range(2):
        checkpoints.write()
    await checkpoints.mark()


def forget_tail(engine: RedisEngine) -> None:
    """Make a node read older entries from Redis."""
    engine._node._tail.clear(engine._node.feed.position)


def redirect_notices(
    engine: RedisEngine, receiver: Callable[[Mapping[str, str]], object]
) -> None:
    """Pass the notices of a node's inbox to ``receiver``."""
    engine._node.feed._take_notice = receiver  # type: ignore[assignment]


def stop_node(engine: RedisEngine) -> Deferred[Any]:
    """Close the connections of a node, which releases no sessions."""
    return engine._node.stop()
