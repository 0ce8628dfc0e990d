"""Who counts as one peer, what is kept of peers, and what the log says of refusals."""

import gc
from typing import Any
from weakref import ref

import pytest
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from txbayeux.errors import BayeuxError
from txbayeux.log_limit import LOG_INTERVAL
from txbayeux.peer_limits import PeerLimits, PeerRegistry
from txbayeux.rates import Rate


class Peers(PeerRegistry):
    """Peers on a clock."""

    def __init__(self, **limits: Any) -> None:
        self.clock = Clock()
        super().__init__(PeerLimits(**limits), self.clock)

    def refused(self, name: str) -> int:
        return self.statistics()[f"limited_{name}_total"]


class Name(str):
    """A name that weak references show to be kept, or not."""

    __slots__ = ("__weakref__",)


def kept(names: list[ref[Name]]) -> int:
    gc.collect()
    return sum(name() is not None for name in names)


class Connection:
    """A connection, open until a test closes it."""

    connected = True


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("127.0.0.1", None),
        ("127.3.2.1", None),
        ("::1", None),
        ("::ffff:127.0.0.1", None),
        ("", None),
    ],
)
def test_a_peer_is_an_address_or_a_network_of_ipv6(
    address: str, peer: str | None
) -> None:
    assert Peers().key(address) == peer


def test_networks_can_be_left_unlimited() -> None:
    peers = Peers(unlimited=["192.0.2.0/24", "2001:db8::7"])
    assert peers.key("192.0.2.9") is None
    assert peers.key("2001:db8::7") is None
    assert peers.key("192.0.3.9") == "192.0.3.9"
    assert peers.key("127.0.0.1") == "127.0.0.1"


@pytest.mark.parametrize(
    "limits",
    [{"connections": -1}, {"sessions": 1.5}, {"unlimited": ["192.0.2.1/24"]}],
)
def test_invalid_limits_are_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"integer|host bits"):
        PeerLimits(**limits)


def test_limits_can_be_switched_off() -> None:
    peers = Peers(
        connections=0,
        sessions=0,
        handshakes=None,
        requests=None,
        received=None,
        publishes=None,
        deliveries=None,
        session_messages=None,
        session_publishes=None,
        session_published=None,
    )
    connections = [Connection() for _ in range(5000)]
    for number, connection in enumerate(connections):
        assert peers.admit_connection("a", connection)
        assert peers.admit_request("a", 10**9, 1000) == 0
        peers.admit_session("a")
        peers.session_created("a", str(number))
        peers.admit_message("a", "s")
        peers.admit_publish("a", "s", 10**9, 10**9)
    assert set(peers.statistics().values()) == {0}


def test_connections_are_counted_while_they_are_open() -> None:
    peers = Peers(connections=3)
    connections = [Connection() for _ in range(3)]
    assert all(peers.admit_connection("a", one) for one in connections)
    assert not peers.admit_connection("a", Connection())
    another = Connection()
    assert peers.admit_connection("b", another)
    connections[1].connected = False
    one_more = Connection()
    assert peers.admit_connection("a", one_more)
    assert not peers.admit_connection("a", Connection())
    assert peers.refused("connections") == 2


def test_nothing_is_kept_of_connections_that_are_gone() -> None:
    peers = Peers(connections=1)
    still_open = Connection()
    assert peers.admit_connection("open", still_open)
    names = []
    for number in range(5000):
        name = Name(number)
        names.append(ref(name))
        assert peers.admit_connection(name, Connection())
    assert kept(names) < 2000
    assert not peers.admit_connection("open", Connection())


def test_sessions_are_counted_until_they_are_gone() -> None:
    peers = Peers(sessions=2)
    for session in ("1", "2"):
        peers.admit_session("a")
        peers.session_created("a", session)
    with pytest.raises(BayeuxError, match="429::Too many sessions"):
        peers.admit_session("a")
    peers.admit_session("b")
    peers.session_gone("1")
    peers.session_gone("unknown")
    peers.admit_session("a")
    peers.session_failed("a")
    peers.admit_session("a")
    assert peers.refused("sessions") == 1


def test_nothing_is_kept_of_peers_without_sessions() -> None:
    peers = Peers(handshakes=Rate(1, 1))
    names = []
    for number in range(100):
        peer, session = Name(number), Name(f"s{number}")
        names += [ref(peer), ref(session)]
        peers.admit_session(peer)
        peers.session_created(peer, session)
        peers.session_gone(session)
    del peer, session
    for other in ("b", "c"):  # The buckets of handshakes are forgotten when full.
        peers.clock.advance(1)
        peers.admit_session(other)
    assert kept(names) == 0


@pytest.mark.parametrize("session", ["", None, 7, "x" * 129, ["s"]])
def test_what_is_no_session_is_counted_for_its_peer_only(session: object) -> None:
    peers = Peers(session_publishes=Rate(1, 1), publishes=Rate(1, 3))
    for _ in range(3):
        peers.admit_message("a", session)
        peers.admit_publish("a", session, 10)
    with pytest.raises(BayeuxError, match="429::Too many publishes"):
        peers.admit_publish("a", session, 10)


LINE = "Over a limit of peers and sessions: "


def test_the_log_has_one_line_a_minute_for_all_refusals() -> None:
    peers = Peers(requests=Rate(1, 1), received=Rate(1, 100))
    peers.admit_request("192.0.2.1", 1)
    with capturedLogs() as log:
        for _ in range(5):
            peers.admit_request("192.0.2.1", 1)
        peers.clock.advance(LOG_INTERVAL - 1)
        peers.admit_request("192.0.2.2", 100)
        assert peers.admit_request("192.0.2.2", 100)
        assert lines(log) == [f"{LINE}1 requests; the last is 192.0.2.1"]
        # What was refused since then has a line, even if nothing is refused any more.
        peers.clock.advance(1)
        assert lines(log)[1:] == [f"{LINE}5 requests; the last is 192.0.2.2"]
        assert peers.admit_request("192.0.2.3", 101) == 0
        assert peers.admit_request("192.0.2.3", 1)
        peers.clock.advance(LOG_INTERVAL)
        peers.clock.advance(LOG_INTERVAL)
    assert lines(log)[2:] == [f"{LINE}1 requests; the last is 192.0.2.3"]
    assert not peers.clock.getDelayedCalls()


def test_what_was_refused_last_is_logged_at_the_stop() -> None:
    Peers().stop()
    peers = Peers(handshakes=Rate(1, 1))
    peers.admit_session("192.0.2.1")
    with capturedLogs() as log:
        for _ in range(3):
            with pytest.raises(BayeuxError):
                peers.admit_session("192.0.2.1")
        peers.stop()
    first, last = lines(log)
    assert first == f"{LINE}1 handshakes; the last is 192.0.2.1"
    assert last == f"{LINE}2 handshakes; the last is 192.0.2.1"
    assert not peers.clock.getDelayedCalls()


def lines(log: Any) -> list[str]:
    return [formatEvent(event).partition(" (")[0] for event in log]
