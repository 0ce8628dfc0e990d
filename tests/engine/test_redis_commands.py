"""What is sent again to Redis, and under which number."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from txbayeux.engine.redis.commands import Commands
from txbayeux.engine.redis.errors import Lost, RedisError
from txbayeux.engine.redis.options import RedisOptions
from txbayeux.log_limit import LOG_INTERVAL


class Sent:
    """A connection that records commands; tests reply to them."""

    def __init__(self) -> None:
        self.commands: list[tuple[Any, ...]] = []
        self.replies: list[Deferred[Any]] = []
        self.written_now: list[tuple[Any, ...]] = []

    def execute_command(self, *command: Any) -> Deferred[Any]:
        self.commands.append(command)
        self.replies.append(Deferred())
        return self.replies[-1]

    def execute_now(self, *command: Any) -> Deferred[Any]:
        self.written_now.append(command)
        return self.execute_command(*command)


def up(commands: Commands) -> Sent:
    connection: Any = Sent()
    commands.up(connection, "e", "{ns}:e:", 7)
    return connection  # type: ignore[no-any-return]


def test_a_publish_that_may_have_been_done_stays_so_while_a_slot_migrates() -> None:
    clock, stale = Clock(), []
    sent: list[int] = []
    commands = Commands(
        clock,
        RedisOptions(),
        node="f",
        keys=("{ns}:epoch", "{ns}:absent"),
        stale=lambda: stale.append(1),
    )
    commands.on_sent = sent.append
    first = up(commands)
    published = commands.publish("/a", b"1", "")
    clock.advance(0)
    commands.down()
    first.replies[0].errback(Lost("gone"))
    for code in ("TRYAGAIN", "ASK", "MOVED", "CLUSTERDOWN"):
        again = up(commands)
        assert again.commands[0][-6:] == (100_000, 1, "1", "", "/a", b"1")
        again.replies[0].errback(RedisError(f"{code} not here"))
        assert not commands.live
    assert len(stale) == 4
    last = up(commands)
    assert last.commands[0][-4] == "1"
    last.replies[0].callback([b"-5", b"3"])
    assert (published.called, sent) == (True, [3])


@pytest.mark.parametrize(("script", "repeated"), [("read", 1), ("interest", 0)])
def test_what_has_a_position_of_this_log_is_not_sent_again(
    script: str, repeated: int
) -> None:
    commands = Commands(
        Clock(), RedisOptions(), node="f", keys=["{ns}:epoch"], stale=lambda: None
    )
    connection = up(commands)
    failures: list[object] = []
    commands.run(script, 1000, 5, "-", "/a").addErrback(failures.append)
    commands.down()
    connection.replies[0].errback(Lost("gone"))
    assert len(up(commands).commands) == repeated
    assert len(failures) == 1 - repeated


@pytest.mark.parametrize("reaches_many", [False, True])
def test_the_publishes_of_a_turn_are_one_command_that_is_written_at_once(
    *, reaches_many: bool
) -> None:
    clock = Clock()
    commands = Commands(
        clock,
        RedisOptions(),
        node="f",
        keys=("{ns}:epoch",),
        stale=lambda: None,
        reaches_many=lambda channel: reaches_many and channel == "/b",
    )
    redis = up(commands)
    commands.publish("/a", b"1", "")
    commands.publish("/b", b"2", "")
    assert redis.commands == []
    clock.advance(0)
    assert len(redis.commands) == 1
    assert redis.commands[0][-6:] == ("", "/a", b"1", "", "/b", b"2")
    commands.run("verify")
    assert len(redis.commands) == 2
    assert redis.written_now == ([] if reaches_many else redis.commands[:1])


def test_what_a_node_refused_is_sent_in_order_to_the_next_one() -> None:
    clock = Clock()
    commands = Commands(
        clock, RedisOptions(), node="f", keys=("{ns}:epoch",), stale=lambda: None
    )
    first = up(commands)
    made = commands.run("create", "1" * 32, "", 1000)
    published = commands.publish("/a", b"1", "1" * 32)
    clock.advance(0)
    for reply in first.replies:
        reply.errback(RedisError("MOVED 5 127.0.0.1:7001"))
    second = up(commands)
    clock.advance(0)
    assert len(second.commands) == 2
    assert second.commands[0][-3:] == ("1" * 32, "", 1000)
    assert second.commands[1][-6:] == (100_000, 2, "", "1" * 32, "/a", b"1")
    second.replies[0].callback(b"0")
    second.replies[1].callback([b"1", b"1"])
    assert (made.result, published.called, published.result) == (b"0", True, None)


def test_a_publish_with_an_invalid_reply_is_refused_and_logged() -> None:
    for reply in (
        [],
        [b"1"],
        [b"x", b"1"],
        [b"1", []],
        [None, b"1"],
        b"25",
        None,
        False,
        5,
    ):
        clock = Clock()
        commands = Commands(
            clock, RedisOptions(), node="f", keys=("k",), stale=lambda: None
        )
        redis = up(commands)
        refused: list[Any] = []
        commands.publish("/a", b"1", "").addErrback(refused.append)
        clock.advance(0)
        with capturedLogs() as log:
            redis.replies[0].callback(reply)
        assert [failure.value.code for failure in refused] == [503]
        assert commands.outstanding == 0
        assert ["invalid reply" in str(formatEvent(event)) for event in log] == [True]


def test_errors_of_redis_are_logged_once_a_minute_by_code() -> None:
    clock = Clock()
    commands = Commands(
        clock, RedisOptions(), node="f", keys=("k",), stale=lambda: None
    )
    redis = up(commands)
    for _ in range(7):
        commands.run("verify").addErrback(lambda _: None)
    replies = iter(redis.replies)

    def refuse(*errors: str) -> None:
        for error in errors:
            next(replies).errback(RedisError(error))

    with capturedLogs() as log:
        refuse("OOM a", "MISCONF b", "OOM c", "OOM d")
        clock.advance(LOG_INTERVAL)
        refuse("OOM e")
        commands.stop()
        refuse("OOM f", "ERR g")
    assert [formatEvent(event) for event in log] == [
        f"Redis refused the script verify: {error}"
        for error in ("OOM a", "MISCONF b", "OOM d (2 such errors)", "OOM e")
    ]
    assert clock.getDelayedCalls() == []


def test_an_error_that_the_script_does_not_reply_is_one_of_redis() -> None:
    for code in ("UNKNOWN", "LIMIT", "SIZE"):
        commands = Commands(
            Clock(), RedisOptions(), node="f", keys=("k",), stale=lambda: None
        )
        redis = up(commands)
        refused: list[Any] = []
        commands.run("verify").addErrback(refused.append)
        redis.replies[0].errback(RedisError(f"{code} x"))
        assert [failure.value.code for failure in refused] == [503]
        assert commands.outstanding == 0
