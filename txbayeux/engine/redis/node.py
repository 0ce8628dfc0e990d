"""Coordinates the parts of one process's Redis engine: a node.

On each new connection it registers, learns the epoch, and checks that the log is still
the same; at intervals it writes checkpoints and sends heartbeats, which end sessions.
"""

from __future__ import annotations

import math
import secrets
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger
from twisted.python.failure import Failure

from txbayeux.channel import expand
from txbayeux.engine.hub import Hub
from txbayeux.engine.redis.checkpoints import Checkpoints
from txbayeux.engine.redis.commands import Argument, Commands
from txbayeux.engine.redis.errors import Lost
from txbayeux.engine.redis.feed import Feed
from txbayeux.engine.redis.inbox import Inbox
from txbayeux.engine.redis.interest import Interest
from txbayeux.engine.redis.location import Location
from txbayeux.engine.redis.log import Addressed, Change, Logged, Mark, Tail
from txbayeux.engine.redis.options import RedisOptions, describe_shared, differences
from txbayeux.engine.redis.ownership import SessionOwner
from txbayeux.engine.redis.scripts import load
from txbayeux.engine.redis.termination import GAP, Termination, decoded
from txbayeux.engine.redis.window import LogWindow
from txbayeux.errors import BayeuxError, UnknownSession
from txbayeux.events import Reason
from txbayeux.interfaces import DelayedCall
from txbayeux.limits import Limits
from txbayeux.message import Entry

if TYPE_CHECKING:
    from txbayeux.engine.redis.connection import Connection, FeedConnection

__all__ = ["Node"]

_TICK: Final = 0.2
"""Seconds between checks of the calls that are held while Redis cannot be used."""

_HEARTBEAT: Final = 1.0
"""Maximum seconds between heartbeats, and between sweeps."""

_SWEEP: Final = 1000
"""Maximum sessions that one script call ends, and their hashes' fields divided by ten.

It blocks Redis for at most about 10 ms.  The next call follows at once.
"""

_AWAY: Final = 5.0
"""Seconds without any node's heartbeat after which expiry is suspended as long."""

_FORGOTTEN: Final = 60.0
"""Seconds without a heartbeat after which Redis sends nothing to a node any more."""

_LIFETIME: Final = 60.0
"""Seconds that keys remain after the retention, or a session's timeout if longer."""

_VERIFY: Final = 1000
"""Maximum sessions in one call of ``verify.lua``."""

_log: Final = Logger()


class Node:
    """The parts of one node, in step with Redis.

    :param closed: called with each session that ended, on one node only.
    """

    def __init__(
        self,
        reactor: Any,
        location: Location,
        options: RedisOptions,
        hub: Hub,
        *,
        limits: Limits,
        session_timeout: float,
        closed: Callable[[str, Reason, Collection[str]], None],
    ) -> None:
        self._reactor = reactor
        self._options = options
        self._hub = hub
        self._closed = closed
        self._retained_seconds = options.retained_seconds
        self._all = f"{{{options.namespace}}}:"
        self._lifetime = round(
            1000 * (max(options.retained_seconds, session_timeout) + _LIFETIME)
        )
        # Three may be late before other nodes count this one as dead.
        self._heartbeat_every = min(
            _HEARTBEAT, session_timeout / 4, options.dead_after / 3
        )
        self.id = secrets.token_hex(8)
        absent = f"{self._all}absent"
        # While a slot is migrating, a cluster node refuses scripts with a key that it
        # does not have; so each script declares a key that never exists.
        self._keys = (f"{self._all}epoch", *((absent,) if location.cluster else ()))
        self.commands = Commands(
            reactor,
            options,
            node=self.id,
            keys=self._keys,
            stale=self._register,
            reaches_many=hub.reaches_many,
        )
        self._window = LogWindow(self.commands, options)
        self.feed = Feed(
            reactor,
            hub=hub,
            window=self._window,
            dispatch=self._dispatch,
            take_notice=self._take_notice,
            advance=self._advance,
            gap=self._gap,
            missed=self._register,
            missed_notices=self._missed_notices,
        )
        self.commands.on_sent = self.feed.note
        self._inbox = Inbox(self.commands, self.feed, self._verify)
        self.interest = Interest(hub, self.commands, lambda: self.feed.sent)
        self._tail = Tail(options.tail_messages, options.tail_bytes)
        self.owner = SessionOwner(
            reactor,
            options,
            hub=hub,
            commands=self.commands,
            feed=self.feed,
            tail=self._tail,
            window=self._window,
            interest=self.interest,
            session_timeout=session_timeout,
            lost=self._lost,
        )
        self.termination = Termination(
            reactor, options, self.commands, self.owner, closed
        )
        self.checkpoints = Checkpoints(
            reactor,
            hub,
            self.commands,
            self.owner.owned,
            lifetime=self._lifetime,
            interval=options.checkpoint_interval,
        )
        # These import txredisapi, which installs a reactor if there is none yet.
        from txbayeux.engine.redis.connection import FeedConnection  # noqa: PLC0415
        from txbayeux.engine.redis.discovery import RedisEndpoint  # noqa: PLC0415
        from txbayeux.engine.redis.link import Link  # noqa: PLC0415

        timeout = options.reply_timeout
        endpoint = RedisEndpoint(reactor, location, timeout, absent)
        self._command_link = Link(
            reactor,
            endpoint,
            "commands",
            timeout=timeout,
            up=self._commands_up,
            down=self._commands_down,
        )
        self._feed_link = Link(
            reactor,
            endpoint,
            "the feed",
            timeout=timeout,
            up=self._feed_up,
            down=self._feed_down,
            protocol=FeedConnection,
        )
        self._links = (self._command_link, self._feed_link)
        self._command_connection: Connection | None = None
        self._feed_connection: FeedConnection | None = None
        self._catching_up = False
        self._interest_unknown = False
        """Whether Redis may not know what this node wants."""
        self._registering = False
        self._epoch = ""
        self._token = 0
        self._tick_call: DelayedCall | None = None
        self._ticks_often = True
        self._next_heartbeat = 0.0
        self._last_heartbeat = 0.0
        self._verified = -math.inf
        self._samples: deque[tuple[float, int]] = deque()
        self._progress = (-1, 0.0)
        self._epochs = 0
        self._shared = describe_shared(options, limits, session_timeout)
        self._compared = ""

    @property
    def patience(self) -> float:
        """Seconds that an operation waits while Redis is out of reach."""
        return self._options.patience

    @property
    def ready(self) -> bool:
        """Whether publishes are accepted and messages arrive."""
        return self.commands.live and self.feed.following and self.commands.accepting

    @property
    def ownership_uncertain(self) -> bool:
        """Whether other nodes may have acquired sessions without this one knowing.

        They may if it counted as dead.  A process that was stopped and continues may
        serve connections before it receives notices.
        """
        age = self._reactor.seconds() - self._verified
        return self.commands.live and age > self._options.dead_after

    def statistics(self) -> dict[str, int]:
        """Return what went wrong since the start, and how much waits for Redis."""
        return {
            "gaps_total": self.termination.gaps,
            "epochs_total": self._epochs,
            "foreign_total": self.feed.foreign,
            "pending": self.commands.outstanding,
            "pending_refused_total": self.commands.refused,
        }

    def start(self) -> None:
        """Connect to Redis."""
        for link in self._links:
            link.start()
        self._tick_call = self._reactor.callLater(_TICK, self._tick)

    def leave(self) -> Deferred[Any]:
        """Withdraw this node's options, so that the next node may have others."""
        self._next_heartbeat = math.inf  # It would record them again.
        return self.commands.run("leave", self._shared)

    def stop(self) -> Deferred[Any]:
        """Close the connections; fires when nothing is left in the reactor."""
        if self._tick_call is not None:
            self._tick_call.cancel()
        self.owner.fail_acquisitions()
        self.commands.stop()
        self.checkpoints.stop()
        self.feed.stop()
        self.termination.stop()
        return gatherResults([link.stop() for link in self._links])

    def sweep_soon(self) -> None:
        """Send the next heartbeat, which ends expired sessions, at the next tick."""
        self._next_heartbeat = 0.0
        self._tick_soon()

    # Connections

    def _commands_up(self, redis: Connection) -> None:
        self._command_connection = redis
        # Distinguishes entries made on this connection from all others.
        self._token = 1 + secrets.randbelow(2**31 - 1)
        self._register()

    def _commands_down(self) -> None:
        self._tick_soon()
        self._command_connection = None
        self._verified = -math.inf
        self.commands.down()

    def _feed_up(self, redis: FeedConnection) -> None:
        def subscribed(_: object) -> None:
            self._feed_connection = redis
            self._register()

        self.feed.connected(redis)

        def refused(failure: Failure) -> None:
            if not isinstance(failure.value, Lost):
                redis.reject(failure.value)

        redis.execute_command("SUBSCRIBE", f"{self._all}feed:{self.id}").addCallbacks(
            subscribed, refused
        )

    def _feed_down(self) -> None:
        self._feed_connection = None
        self.feed.down()

    def _register(self) -> None:
        """Register this node, unless that is under way; see ``register.lua``."""
        self._tick_soon()
        if self._command_connection is not None and not self._registering:
            self._registering = True
            Deferred.fromCoroutine(
                self._register_on(self._command_connection)
            ).addErrback(self._not_registered, self._command_connection)

    async def _register_on(self, connection: Connection) -> None:
        feed_connection, fresh = self._feed_connection, secrets.token_hex(4)
        seen: list[Argument] = []
        for pair in (self.feed.seen, self.commands.published):
            if pair is not None:
                seen += pair
        reply = await connection.execute_command(
            "EVAL",
            load("register").source,
            len(self._keys),
            *self._keys,
            self._all,
            fresh,
            self.id,
            self._lifetime,
            self._epoch,
            self._token,
            self._shared,
            round(_AWAY * 1000),
            *seen,
        )
        self._registering = False
        epoch, verdict, interest = reply[0].decode(), reply[1], reply[6]
        self._interest_unknown |= interest == b"unknown"
        if connection is not self._command_connection:
            self._register()
            return
        self._compare_options(reply[2].decode(errors="replace"))
        if verdict == b"new":
            self._enter(epoch, Mark.parse(*reply[3:6]))
            self.feed.removed_foreign(int(reply[7]), new=True)
        if not self.commands.live:
            prefix = f"{self._all}{epoch}:"
            self.commands.up(connection, epoch, prefix, self._token)
            self._command_link.confirm()
            self._refresh()
        if feed_connection is not self._feed_connection:
            self._register()
        elif feed_connection is not None:
            if self._interest_unknown:
                self.feed.unfollow()
            self.feed.sent_notices(int(reply[8]))
            self._follow(feed_connection, Mark.parse(*reply[3:6]))
        if self.feed.following:
            self._verify()

    def _follow(self, connection: FeedConnection, mark: Mark) -> None:
        """Bring this node up to date, and go on with its feed."""
        if self.feed.following or self._catching_up:
            return
        whole, self._interest_unknown = self._interest_unknown, False
        self._catching_up = True

        def failed(failure: Failure) -> None:
            self._interest_unknown |= whole
            if failure.check(BayeuxError) is None:
                _log.failure("Reading what was missed failed", failure)
            connection.abort()

        def ended(_: object) -> None:
            self._catching_up = False
            if connection is not self._feed_connection or self._interest_unknown:
                self._register()

        following = self._catch_up(connection, mark, whole=whole)
        Deferred.fromCoroutine(following).addErrback(failed).addCallback(ended)

    async def _catch_up(
        self, connection: FeedConnection, mark: Mark, *, whole: bool
    ) -> None:
        await self.feed.catch_up(mark, whole=whole)
        if whole:
            # Its sessions' changes after the first mark have registered themselves.
            mark = await self.interest.register_all()
            await self.feed.catch_up(mark, whole=True)
        if connection is self._feed_connection and not self._interest_unknown:
            self._feed_link.confirm()
            self.feed.follow(mark)
            self._verify()
            _log.info("Connected to Redis: epoch {epoch}", epoch=self._epoch)

    def _not_registered(self, failure: Failure, main: Connection) -> None:
        self._registering = False
        # It may have been executed.
        self._interest_unknown = True
        if not isinstance(failure.value, Lost):
            main.reject(failure.value)

    def _compare_options(self, others: str) -> None:
        """Log if another node has other options, once for each.

        :param others: as it describes them; empty if no other node is known.
        """
        here, there = differences(self._shared, others)
        if here and others != self._compared:
            _log.error(
                "Another node of namespace {name} has other options, and all must "
                "have the same: {there} there, {here} here",
                name=self._options.namespace,
                there=there,
                here=here,
            )
        self._compared = others

    def _enter(self, epoch: str, mark: Mark) -> None:
        if self._epoch:
            self._epochs += 1
            _log.error(
                "The log in Redis is not the one that was read before (emptied, "
                "restored, or failed over with a loss): {count} sessions are closed",
                count=len(self.owner.owned),
            )
        self._epoch = epoch
        sessions = dict(self.owner.owned)
        self._tail.clear(mark.position)
        self._window.clear()
        self._samples.clear()
        self.checkpoints.forget()
        self.commands.published = None
        self.feed.begin(epoch, mark)
        self._hub.restart(mark.position)
        self.owner.fail_acquisitions(sessions_gone=True)
        for session_id, session in sessions.items():
            self.owner.close(session_id, Reason.KICKED, GAP)
            self._closed(session_id, Reason.KICKED, session.subscriptions)
        self.termination.all_gone()

    def _refresh(self) -> None:
        """Write the complete checkpoint again: Redis may have missed a part of it."""
        self.checkpoints.forget()
        self._last_heartbeat = 0.0
        self._next_heartbeat = 0.0
        self.termination.retry()
        for session in self.owner.owned.values():
            self.checkpoints.rewrite(session)
        self.checkpoints.write()
        self.interest.listen_again()

    # The feed

    def _dispatch(self, item: Logged) -> None:
        self._tail.append(item)
        if type(item) is Entry:  # not Addressed, which is a kind of Entry
            if not self._hub.dispatch(item):
                self._nobody_wants(item.channel)
            return
        self._hub.position = item.position
        if isinstance(item, Change):
            self.owner.change(item)
        elif isinstance(item, Addressed):
            session = self.owner.session(item.session_id)
            if session is not None:
                self._hub.deliver(session, item)

    def _nobody_wants(self, channel: str) -> None:
        """Called with the channel of a message that no session here gets."""
        # What is read from the log is for others, too.
        if self.feed.following and not self._hub.listeners.any_for(channel):
            self.interest.withdraw_unless_wanted(expand(channel))

    def _take_notice(self, notice: Mapping[str, str]) -> None:
        self.owner.receive_notice(notice)

    def _missed_notices(self, last: int) -> None:
        self._inbox.read(last)

    def _advance(self, position: int) -> None:
        self._hub.position = position

    def _lost(self, session_id: str, generation: int) -> UnknownSession:
        return self.termination.lost(session_id, generation)

    def _gap(self) -> None:
        """Close all sessions: entries were dropped before they were read here."""
        self._tail.clear(self.feed.position)
        self._hub.position = self.feed.position
        for session in self.owner.sessions():
            self.termination.lost(session.id, session.generation)

    # At intervals

    def _tick(self) -> None:
        self._ticks_often = not self.commands.live
        every = _TICK if self._ticks_often else self._heartbeat_every
        self._tick_call = self._reactor.callLater(every, self._tick)
        for link in self._links:
            link.check()
        self.commands.expire()
        now = self._reactor.seconds()
        self._check_feed(now)
        # A tick may come a little early.
        if now + every / 2 >= self._next_heartbeat and self.commands.live:
            self._next_heartbeat = now + self._heartbeat_every
            self._heartbeat(now)
            self.interest.update()
            self._inbox.retry()
            if self._feed_connection is not None:
                self._feed_connection.ping(self._options.reply_timeout / 2)

    def _tick_soon(self) -> None:
        call = self._tick_call
        if call is not None and call.active() and not self._ticks_often:
            self._ticks_often = True
            call.reset(_TICK)

    def _check_feed(self, now: float) -> None:
        """Close a connection that does not bring entries known to be in the log.

        Its Redis may be a former master that does not know of its successor.
        """
        position, since = self._progress
        feed, connection = self.feed, self._feed_connection
        waits = feed.behind and not self._catching_up
        if connection is None or not waits or feed.position != position:
            self._progress = feed.position, now
        elif now - since > self._options.reply_timeout:
            self._progress = feed.position, now
            _log.error("The feed has stalled; reconnecting")
            connection.abort()

    def _heartbeat(self, now: float) -> None:
        forget = ""
        while self._samples and self._samples[0][0] < now - self._retained_seconds:
            forget = str(self._samples.popleft()[1] + 1)
        late = 0 < self._last_heartbeat < now - self._options.dead_after
        self._last_heartbeat = now
        self.commands.run(
            "heartbeat",
            self._lifetime,
            forget,
            _SWEEP,
            round(_AWAY * 1000),
            round(_AWAY * 1000),
            self._shared,
            round(_FORGOTTEN * 1000),
            self.checkpoints.before_heartbeat(),
        ).addCallbacks(
            self._heartbeat_done,
            self.checkpoints.heartbeat_refused,
            callbackArgs=(now, late),
        )

    def _heartbeat_done(self, reply: Sequence[Any], now: float, late: bool) -> None:
        position = int(reply[0])
        self._samples.append((now, position))
        if not late:
            self._verified = max(self._verified, now)
        if reply[2]:
            self.feed.advance(Mark.parse(*reply[:3]))
        else:
            self.feed.unfollow()
            self._register()
        self.termination.retry()
        self.termination.log_gaps(reply[6].decode())
        self.feed.removed_foreign(int(reply[3]))
        if int(reply[7]) > self.feed.notices:
            self._inbox.read(self.feed.notices)  # Some were lost, or are late.
        for identity, *channels in reply[8:]:
            session_id = identity.decode(errors="replace")
            self.owner.close(session_id, Reason.TIMEOUT, None)
            self._closed(session_id, Reason.TIMEOUT, decoded(channels))
        if reply[5] and self.commands.live:
            self._heartbeat(self._reactor.seconds())
        if late or not reply[4]:
            self._verify()

    def _verify(self) -> None:
        """Release sessions that other nodes have acquired without this one knowing.

        Notices may have been lost, or other nodes have counted this one as dead.
        """
        # First, as a session that has ended is not to be released, but closed.
        self._inbox.read(self.feed.notices)
        owned, now = self.owner.sessions(), self._reactor.seconds()

        def verified(_: object) -> None:
            self._verified = now

        gatherResults(
            [
                self.owner.verify(owned[start : start + _VERIFY])
                for start in range(0, len(owned), _VERIFY)
            ],
            consumeErrors=True,
        ).addCallbacks(verified, _ignore)


def _ignore(failure: Failure) -> None:
    """Do nothing: all this is repeated when Redis is available."""
