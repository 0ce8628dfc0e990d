"""The queue of a session: messages are removed when sent, or when acknowledged."""

import pytest

from txbayeux.engine.session import MAX_REPEATS, Session
from txbayeux.limits import Limits
from txbayeux.message import Entry


def session(*positions: int, acknowledges: bool = False) -> Session:
    made = Session("s" * 32, acknowledges=acknowledges, position=10)
    for position in positions:
        push(made, position)
    return made


def push(made: Session, position: int) -> None:
    entry = Entry(position, "/a", b"x" * position)
    made.queue.append(entry)
    made.queued_bytes += len(entry.json)


def taken(made: Session) -> list[int]:
    return [entry.position for entry in made.take()]


def test_messages_taken_are_removed() -> None:
    alice = session(11, 12)
    assert alice.waiting
    assert taken(alice) == [11, 12]
    assert (taken(alice), alice.waiting, alice.queued_bytes) == ([], False, 0)


def test_messages_taken_stay_until_they_are_acknowledged() -> None:
    alice = session(11, 12, acknowledges=True)
    assert (taken(alice), taken(alice)) == ([11, 12], [])
    push(alice, 13)
    assert taken(alice) == [13]
    assert (alice.seen, alice.queued_bytes) == (13, 11 + 12 + 13)
    alice.acknowledge(12)
    assert (taken(alice), alice.queued_bytes) == ([13], 13)


@pytest.mark.parametrize("position", [None, -1, 0, 10, -(10**30)])
def test_unacknowledged_messages_are_taken_again(position: int | None) -> None:
    alice = session(11, 12, acknowledges=True)
    alice.take()
    alice.acknowledge(position)
    assert taken(alice) == [11, 12]


@pytest.mark.parametrize("position", [12, 13, 10**30])
def test_unsent_messages_cannot_be_acknowledged(position: int) -> None:
    alice = session(11, 12, acknowledges=True)
    alice.take()
    push(alice, 13)
    alice.acknowledge(position)
    assert taken(alice) == [13]


def test_a_position_of_another_channel_acknowledges_what_is_before_it() -> None:
    alice = session(11, 15, 19, acknowledges=True)
    alice.take()
    alice.acknowledge(17)
    assert taken(alice) == [19]


def test_the_position_before_the_first_message_is_that_of_the_log() -> None:
    assert session(acknowledges=True).seen == 10


def test_a_client_that_never_acknowledges_is_refused() -> None:
    alice = session(11, acknowledges=True)
    worth = []
    for _ in range(MAX_REPEATS + 1):
        worth.append(alice.acknowledge(-1))
        alice.take()
    assert worth == [True] * MAX_REPEATS + [False]


def test_a_client_that_makes_progress_is_not_refused() -> None:
    alice = session(11, acknowledges=True)
    for position in range(12, 12 + 3 * MAX_REPEATS):
        alice.take()
        push(alice, position)
        assert alice.acknowledge(position - 1)


def test_a_client_to_which_nothing_was_sent_is_not_refused() -> None:
    alice = session(acknowledges=True)
    assert all(alice.acknowledge(-1) for _ in range(3 * MAX_REPEATS))


def test_over_counts_messages_and_bytes() -> None:
    limits = Limits(queue_messages=2, queue_bytes=40)
    assert not session(11, 12).exceeds(limits)
    assert session(1, 1, 1).exceeds(limits)
    assert not session(20, 20).exceeds(limits)
    assert session(20, 21).exceeds(limits)


def test_clear_drops_everything() -> None:
    alice = session(11, 12, acknowledges=True)
    alice.take()
    alice.clear()
    assert (alice.queue, alice.queued_bytes, alice.waiting) == ([], 0, False)


def test_its_id_is_not_printed_in_full() -> None:
    assert "s" * 9 not in repr(session())
