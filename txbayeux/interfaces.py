"""The interfaces between the layers, and their guarantees.

An *engine* keeps sessions, subscriptions and undelivered messages; the server
calls it, and it calls back a :class:`SessionObserver`.  An *adapter* turns
network input into calls of the server; a connection that can be written to
at any time is a :class:`Stream`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from twisted.internet.defer import Deferred

from txbayeux.message import Entry
from txbayeux.registration import Registration

__all__ = [
    "Clock",
    "ConnectionHub",
    "DelayedCall",
    "Delivery",
    "Engine",
    "Reason",
    "Request",
    "SessionObserver",
    "Stream",
]


class Reason(enum.Enum):
    """Why a session ended."""

    CLIENT = "client"
    """The client sent ``/meta/disconnect``."""
    TIMEOUT = "timeout"
    """The client did not connect again in time."""
    KICKED = "kicked"
    """The application ended it, or it exceeded a limit."""
    SHUTDOWN = "shutdown"
    """The server stopped, and kept the session in its own memory only."""


class DelayedCall(Protocol):
    """What :meth:`Clock.callLater` returns: Twisted's ``IDelayedCall``, for mypy."""

    def active(self) -> bool:
        """Return whether the call is still to come."""

    def cancel(self) -> None:
        """Cancel the call."""

    def reset(self, delay: float) -> None:
        """Postpone the call to ``delay`` seconds from now."""


class Clock(Protocol):
    """The reactor's time: Twisted's ``IReactorTime``, for mypy."""

    def seconds(self) -> float:
        """Return the time in seconds."""

    def callLater(
        self, delay: float, call: Callable[..., object], /, *args: Any
    ) -> DelayedCall:
        """Call ``call`` in ``delay`` seconds."""


@runtime_checkable
class Request(Protocol):
    """What extensions and listeners may know of the request of a message."""

    @property
    def transport(self) -> str:
        """The connection type: ``long-polling``, ``websocket``, ..."""

    @property
    def peer(self) -> str:
        """Address of the client, without its port; "" for a Unix socket."""

    @property
    def headers(self) -> Mapping[str, str]:
        """HTTP headers of the request or the upgrade, names in lower case."""


class Stream(Protocol):
    """A connection that messages can be pushed to (WebSocket, EventSource).

    ``send`` is called with entries in log order, only while ``writable`` is true,
    and at most once a reactor turn for one session unless a queue would overflow.
    Where there are many sessions it may take several turns until all were sent to.
    If it raises, the connection counts as gone and the entries as not written.
    """

    @property
    def writable(self) -> bool:
        """False while the peer reads too slowly, and when the connection is gone.

        When it becomes true again, the adapter calls
        :meth:`txbayeux.processor.Processor.resume`.
        """

    @property
    def preempted_by_poll(self) -> bool:
        """Whether the session leaves the stream with a connect by a polling transport.

        True for WebSocket.  False for EventSource, whose clients go on sending
        connects by POST while messages come on the stream (Faye's behaviour).
        """

    def send(self, entries: Sequence[Entry]) -> None:
        """Write messages; what is written counts as delivered."""

    def replaced(self) -> None:
        """Called when the session's messages go elsewhere from now on."""

    def close(self, reason: Reason) -> None:
        """Called when the session has ended; close once pending replies are written."""


class Delivery(Protocol):
    """What the engine answers a connect with."""

    @property
    def entries(self) -> Sequence[Entry]:
        """The messages, in log order."""

    @property
    def acknowledgement(self) -> int | None:
        """Position to send as ``ext.ack``; None if the session does not use it."""

    @property
    def superseded(self) -> bool:
        """Whether another connect of the same session released this one."""

    @property
    def ended(self) -> Reason | None:
        """Why the session ended, if that is what released the connect."""

    @property
    def why(self) -> str | None:
        """The text for the client if the session has ended, or None."""

    @property
    def turn(self) -> int | None:
        """The same number for all that were answered together; None if alone.

        With it an adapter asks the kernel once for all of them whether their clients
        are gone: :class:`txbayeux.adapter.io.ClosingWatch`.
        """

    def give_back(self) -> None:
        """Return the entries to the queue: the connection is gone.

        They wait for the next connect, ahead of what came later.  Calling it again
        changes nothing.
        """


class SessionObserver(Protocol):
    """The server, as its engine sees it."""

    def session_closed(
        self, session_id: str, reason: Reason, channels: Collection[str] = ()
    ) -> None:
        """Called exactly once for each session, when it has ended; must not raise.

        :param channels: the names and patterns that it was subscribed to.
        """


class ConnectionHub(Protocol):
    """The connections to this process's sessions, which every engine handles alike.

    Engines store; the hub delivers: :class:`txbayeux.engine.hub.Hub`.
    """

    def detach(self, stream: Stream, unsent: Sequence[Entry] = ()) -> None:
        """Record that the connection of ``stream`` is gone; its session lives on.

        :param unsent: entries that the stream was sent and could not write: they
            wait for the next connection, ahead of what came later.
        """

    def resume(self, stream: Stream) -> None:
        """Go on writing to ``stream``: it is writable again."""

    def listen(self, pattern: str, listener: Callable[[Entry], object]) -> Registration:
        """Call ``listener`` with each entry whose channel ``pattern`` matches.

        It is called in this process, at the end of the reactor turn; what it raises is
        logged.
        """

    def call_when_gone(self, callback: Callable[[str], object]) -> None:
        """Call ``callback`` with the id of each session that this process has no more.

        It has ended, or another process has taken it over.  ``callback`` must not
        raise.
        """

    @property
    def busy(self) -> bool:
        """Whether so much was queued in this reactor turn that the rest is to wait."""

    def fan_out(self, channel: str) -> int:
        """Return how many subscriptions in this process match the channel."""

    def must_wait(self, channel: str, *, first: bool) -> bool:
        """Return whether to wait for :meth:`next_turn` before a publish.

        That is while it is :attr:`busy`, unless the publish reaches few.

        :param first: whether nothing of its request was published yet.  If so, it need
            not wait until what others published before is queued for all.
        """

    def next_turn(self) -> Deferred[None]:
        """Return a Deferred that fires in a later turn, to look again.

        Those who wait go on one after the other, in the order of the calls, as long as
        the turn allows.
        """

    def may_deliver(self, count: int) -> bool:
        """Return whether the messages of one request may reach so many subscriptions.

        At most ``Limits.request_deliveries``.  Count the refusal if not.
        """


class Engine(Protocol):
    """Sessions, their subscriptions, and undelivered messages.

    The caller has validated all input.  Every Deferred may also fail with
    :class:`~txbayeux.errors.BayeuxError` 503 while the storage is unreachable.

    *Order.*  Operations take effect in the order of the calls on one engine.
    All subscribers see messages in one total order, that of the log.
    *Delivery.*  A message accepted while a session is subscribed reaches its
    queue exactly once, however many of its subscriptions match.  It leaves the
    queue when handed to a live connection, or, where the session acknowledges,
    when acknowledged.  *Atomicity.*  A list of subscriptions takes effect whole
    or not at all.  *Expiry.*  A session lives until its last connect's holding
    time plus the engine's session timeout have passed.
    """

    @property
    def hub(self) -> ConnectionHub:
        """The connections to the sessions that this process holds."""

    def start(self, observer: SessionObserver) -> Deferred[None]:
        """Start the engine; called once, before anything else."""

    def stop(self) -> Deferred[None]:
        """Answer every held connect, and end the sessions that only this process has.

        Messages accepted before are delivered first.  Afterwards nothing of the
        engine is left in the reactor, and publishes are refused.
        """

    def create_session(self, *, acknowledges: bool = False) -> Deferred[str]:
        """Create a session; fires with its id: alphanumeric, at least 128 random bits.

        Fails with :class:`~txbayeux.errors.TooManySessions`, having created none.

        :param acknowledges: whether its client acknowledges messages (CometD's
            message acknowledgement extension).
        """

    def destroy_session(
        self, session_id: str, reason: Reason, why: str | None = None
    ) -> Deferred[None]:
        """End a session; its held connect is answered, its stream closed.

        Fails with :class:`~txbayeux.errors.UnknownSession`.

        :param why: the text of the error that the client gets, with its held connect
            or, for a while, when it connects again.
        """

    def check_session(self, session_id: str) -> Deferred[None]:
        """Fire if the session exists.

        Fails with :class:`~txbayeux.errors.UnknownSession`.
        """

    def subscribe(
        self, session_id: str, channels: Sequence[str]
    ) -> Deferred[Sequence[str]]:
        """Add subscriptions to names or patterns; fires with those that are new.

        Fails with :class:`~txbayeux.errors.UnknownSession` or
        :class:`~txbayeux.errors.TooManySubscriptions`, having changed nothing.
        """

    def unsubscribe(
        self, session_id: str, channels: Sequence[str]
    ) -> Deferred[Sequence[str]]:
        """Remove subscriptions; fires with those that existed.

        Fails with :class:`~txbayeux.errors.UnknownSession`.
        """

    def publish(
        self, channel: str, json: bytes, session_id: str | None = None
    ) -> Deferred[None]:
        """Append an encoded message to the log; fires when it is accepted.

        With a ``session_id`` that does not exist it fails with
        :class:`~txbayeux.errors.UnknownSession`, and nothing is published.
        """

    def deliver(self, session_id: str, channel: str, json: bytes) -> Deferred[None]:
        """Queue an encoded message for one session, whatever it is subscribed to.

        Fails with :class:`~txbayeux.errors.UnknownSession`.
        """

    def connect(
        self,
        session_id: str,
        *,
        hold: float,
        stream: Stream | None = None,
        acknowledged: int | None = None,
    ) -> Deferred[Delivery]:
        """Accept a connect; fires with what to answer it.

        If much waits for the session, that is a part of it; the next gets the rest.
        A held connect of the same session is answered first.  Cancel the Deferred
        when the connection is gone: the connect is withdrawn, and nothing is lost.

        Fails with :class:`~txbayeux.errors.UnknownSession`.

        :param hold: how long to wait for messages, in seconds.
        :param stream: where messages go from now on, instead of the answer, unless
            the session acknowledges: then they come in answers only.
        :param acknowledged: the position up to which a session that acknowledges
            has received messages.
        """

    def attach(self, session_id: str, stream: Stream) -> Deferred[None]:
        """Send a session's messages to ``stream`` without a connect (EventSource).

        Fails with :class:`~txbayeux.errors.UnknownSession`.
        """

    def statistics(self) -> Mapping[str, int]:
        """Return the current numbers of what this process holds.

        At least ``sessions``, ``subscriptions``, ``held`` (connects), ``streams``,
        ``queued_messages`` and ``queued_bytes``; names that end in ``_total``
        count since the start.
        """

    def ready(self) -> bool:
        """Return whether publishes would be accepted now."""
