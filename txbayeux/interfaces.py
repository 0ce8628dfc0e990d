"""The seams between the layers, and what each side may rely on.

An *engine* keeps sessions, subscriptions and what waits for them; the server
calls it, and it calls back a :class:`SessionObserver`.  An *adapter* turns
network input into calls of the server; a connection that can be written to
at any time is a :class:`Stream`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred

    from txbayeux.events import Reason
    from txbayeux.message import Entry
    from txbayeux.registration import Registration

__all__ = [
    "Clock",
    "ConnectionHub",
    "DelayedCall",
    "Delivery",
    "Engine",
    "Request",
    "SessionObserver",
    "Stream",
]


class DelayedCall(Protocol):
    """What :meth:`Clock.callLater` gives: Twisted's ``IDelayedCall``, for mypy."""

    def active(self) -> bool:
        """Tell whether the call is still to come."""

    def cancel(self) -> None:
        """Call it off."""

    def reset(self, delay: float) -> None:
        """Let it come in ``delay`` seconds from now instead."""


class Clock(Protocol):
    """The reactor's time: Twisted's ``IReactorTime``, for mypy."""

    def seconds(self) -> float:
        """Give the time in seconds."""

    def callLater(
        self, delay: float, call: Callable[..., object], /, *args: Any
    ) -> DelayedCall:
        """Call ``call`` in ``delay`` seconds."""


@runtime_checkable
class Request(Protocol):
    """What extensions and listeners may know of where a message came from."""

    @property
    def transport(self) -> str:
        """The connection type: ``long-polling``, ``websocket``, ..."""

    @property
    def peer(self) -> str:
        """Address of the other end, without its port; "" for a Unix socket."""

    @property
    def headers(self) -> Mapping[str, str]:
        """HTTP headers of the request or the upgrade, names in lower case."""


class Stream(Protocol):
    """A connection that messages can be pushed to (WebSocket, EventSource).

    Guarantees to the stream: ``send`` is called with entries in log order,
    only while ``writable`` is true, and at most once a reactor turn for one
    session unless a queue would overflow.
    """

    @property
    def writable(self) -> bool:
        """False while the peer does not keep up, and once the connection is gone.

        The stream's owner calls :meth:`Engine.resume` when it becomes true again.
        """

    @property
    def preempted_by_poll(self) -> bool:
        """Whether a ``/meta/connect`` over a polling transport takes the session away.

        True for WebSocket.  False for EventSource, whose clients go on sending
        connects by POST while messages come on the stream (Faye's behaviour).
        """

    def send(self, entries: Sequence[Entry]) -> None:
        """Write messages now; what is written counts as delivered."""

    def replaced(self) -> None:
        """Hear that the session's messages now go elsewhere."""

    def close(self, reason: Reason) -> None:
        """Hear that the session ended; close once pending replies are written."""


class Delivery(Protocol):
    """What a connect is answered with."""

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
        """What to tell the client of that, in words; None if nobody said."""

    @property
    def turn(self) -> int | None:
        """The same number for all that were answered together; None if alone."""

    def give_back(self) -> None:
        """Return the entries: the connection was gone when they came to be written.

        They wait for the next connect, ahead of what came later.  Calling it again
        changes nothing.
        """


class SessionObserver(Protocol):
    """What an engine tells the server that holds it."""

    def session_closed(self, session_id: str, reason: Reason) -> None:
        """Hear, exactly once for each session, that it ended; must not raise."""


class ConnectionHub(Protocol):
    """The connections to this process's sessions, which every engine handles alike.

    Engines store; the hub delivers: :class:`txbayeux.engine.hub.Hub`.
    """

    def detach(self, stream: Stream, unsent: Sequence[Entry] = ()) -> None:
        """Record that the connection of ``stream`` is gone; its session lives on.

        ``unsent`` are entries that the stream was given and could not write: they
        wait for the next connection, ahead of what came later.
        """

    def resume(self, stream: Stream) -> None:
        """Go on writing to ``stream``: it is writable again."""

    def listen(self, pattern: str, listener: Callable[[Entry], None]) -> Registration:
        """Call ``listener`` with each entry whose channel ``pattern`` matches.

        It is called in this process, at the end of the reactor turn; what it raises is
        logged.
        """


class Engine(Protocol):
    """Sessions, subscriptions, and messages on their way.

    Input has been validated by the caller.  Every Deferred may also fail with
    :class:`~txbayeux.errors.BayeuxError` 503 while storage is out of reach.

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
        """Begin; called once, before anything else."""

    def stop(self) -> Deferred[None]:
        """End what lives in this process only; release every held connect.

        What was accepted before is handed over first.  Afterwards nothing of the
        engine is left in the reactor, and publishes are refused.
        """

    def create_session(self, *, acknowledges: bool = False) -> Deferred[str]:
        """Make a session and give its id: alphanumeric, 128 random bits or more.

        Fails with :class:`~txbayeux.errors.TooManySessions`, having made none.
        """

    def destroy_session(
        self, session_id: str, reason: Reason, why: str | None = None
    ) -> Deferred[None]:
        """End a session; its held connect is answered, its stream closed.

        ``why`` is told to the client: with its held connect, and at its return,
        for a while.

        Fails with :class:`~txbayeux.errors.UnknownSession`.
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
        """Remove subscriptions; give those that were there.

        Fails with :class:`~txbayeux.errors.UnknownSession`.
        """

    def publish(
        self, channel: str, json: bytes, session_id: str | None = None
    ) -> Deferred[None]:
        """Append a ready-made message to the log; fires when it is accepted.

        With a ``session_id`` that does not exist it fails with
        :class:`~txbayeux.errors.UnknownSession`, and nothing is published.
        """

    def deliver(self, session_id: str, channel: str, json: bytes) -> Deferred[None]:
        """Queue a message for one session, whatever it is subscribed to.

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
        """Accept a connect; fires with what it is to be answered with.

        ``hold`` is how long to wait for messages, in seconds.  With a ``stream``
        messages go there from now on and the answer carries none, unless the
        session acknowledges: then they come in answers only.  ``acknowledged``
        is the position that such a session says it has seen.  A held connect
        of the same session is answered first.  Cancelling the Deferred says
        that the connection is gone: the connect is withdrawn, nothing is lost.

        Fails with :class:`~txbayeux.errors.UnknownSession`.
        """

    def attach(self, session_id: str, stream: Stream) -> Deferred[None]:
        """Send a session's messages to ``stream`` without a connect (EventSource).

        Fails with :class:`~txbayeux.errors.UnknownSession`.
        """

    def statistics(self) -> Mapping[str, int]:
        """Count what there is now.

        At least ``sessions``, ``subscriptions``, ``held`` (connects), ``streams``,
        ``queued_messages`` and ``queued_bytes``; names that end in ``_total``
        count since the start.
        """

    def ready(self) -> bool:
        """Tell whether publishes would be accepted now."""
