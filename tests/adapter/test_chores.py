"""Work that can wait."""

import pytest
from twisted.internet.task import Clock

from txbayeux.adapter.chores import TURN, Chores

from .support import turn


class Turns(Clock):
    """Counts the turns that were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[int] = []

    def work(self, number: int, seconds: float = 0.0) -> None:
        self.rightNow += seconds
        self.done.append(number)


def test_they_are_done_soon_and_in_order() -> None:
    clock = Turns()
    chores = Chores(clock)
    for number in range(3):
        chores.add(lambda number=number: clock.work(number))
    assert clock.done == []
    clock.advance(0)
    assert clock.done == [0, 1, 2]
    assert clock.getDelayedCalls() == []


def test_others_have_their_turn_in_between() -> None:
    clock = Turns()
    chores = Chores(clock)
    for number in range(5):
        chores.add(lambda number=number: clock.work(number, TURN * 0.6))
    clock.callLater(0, clock.work, 100)
    seen = []
    while clock.getDelayedCalls():
        turn(clock)
        seen.append(clock.done)
        clock.done = []
    assert seen == [[0, 1, 100], [2, 3], [4]]


def test_one_that_fails_holds_up_nobody(caplog: pytest.LogCaptureFixture) -> None:
    clock = Turns()
    chores = Chores(clock)
    chores.add(lambda: 1 / 0)
    chores.add(lambda: clock.work(1))
    clock.advance(0)
    assert clock.done == [1]


def test_one_may_make_another() -> None:
    clock = Turns()
    chores = Chores(clock)
    chores.add(lambda: chores.add(lambda: clock.work(1)))
    clock.advance(0)
    assert clock.done == [1]
    assert clock.getDelayedCalls() == []


def test_finish_leaves_nothing() -> None:
    clock = Turns()
    chores = Chores(clock)
    chores.finish()
    for number in range(3):
        chores.add(lambda number=number: clock.work(number, TURN))
    chores.finish()
    assert clock.done == [0, 1, 2]
    assert clock.getDelayedCalls() == []
    chores.add(chores.finish)
    chores.add(lambda: clock.work(3))
    clock.advance(0)
    assert clock.done == [0, 1, 2, 3]
    assert clock.getDelayedCalls() == []
