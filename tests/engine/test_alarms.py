"""Wake-ups for many sleepers on one delayed call."""

from typing import Any

from twisted.internet.task import Clock

from txbayeux.engine.expiry import AWAKE, ExpiryTimer


class Sleeper:
    """Sleeps until ``until``, as a session does until its deadline."""

    def __init__(self, until: float = 0.0) -> None:
        self.wake = AWAKE
        self.until = until
        self.rung: list[float] = []


class Dormitory:
    def __init__(self) -> None:
        self.clock = Clock()
        self.alarms: ExpiryTimer[Sleeper] = ExpiryTimer(self.clock, self.ring)

    def ring(self, sleeper: Sleeper) -> float | None:
        now = self.clock.seconds()
        sleeper.rung.append(now)
        return sleeper.until if sleeper.until > now else None

    def sleeper(self, when: float) -> Sleeper:
        sleeper = Sleeper()
        self.alarms.set(sleeper, when)
        return sleeper

    def advance(self, seconds: float) -> None:
        self.clock.pump([1.0] * int(seconds))


def test_each_is_woken_at_its_time_once() -> None:
    room = Dormitory()
    sleepers = [room.sleeper(when) for when in (3, 1, 2, 1)]
    room.advance(10)
    assert [sleeper.rung for sleeper in sleepers] == [[3], [1], [2], [1]]
    assert room.clock.getDelayedCalls() == []


def test_one_delayed_call_serves_all() -> None:
    room = Dormitory()
    for when in range(100, 0, -1):
        room.sleeper(when)
    assert [call.getTime() for call in room.clock.getDelayedCalls()] == [1]


def test_who_puts_it_off_is_woken_once_more_for_it() -> None:
    room = Dormitory()
    sleeper = room.sleeper(2)
    sleeper.until = 5
    room.advance(10)
    assert sleeper.rung == [2, 5]


def test_an_earlier_alarm_replaces_a_later_one() -> None:
    room = Dormitory()
    sleeper = room.sleeper(5)
    room.alarms.set(sleeper, 2)
    room.alarms.set(sleeper, 7)
    room.advance(10)
    assert sleeper.rung == [2]


def test_a_replaced_alarm_of_the_same_time_rings_once() -> None:
    room = Dormitory()
    sleeper = room.sleeper(5)
    room.alarms.set(sleeper, 2)
    sleeper.until = 5
    room.advance(10)
    assert sleeper.rung == [2, 5]


def test_a_discarded_one_sleeps_on() -> None:
    room = Dormitory()
    kept, discarded = room.sleeper(2), room.sleeper(1)
    room.alarms.discard(discarded)
    room.alarms.discard(discarded)
    room.alarms.discard(Sleeper())
    room.advance(5)
    assert (kept.rung, discarded.rung, discarded.wake) == ([2], [], AWAKE)


def test_a_discarded_one_can_be_set_anew() -> None:
    room = Dormitory()
    sleeper = room.sleeper(2)
    room.alarms.discard(sleeper)
    room.alarms.set(sleeper, 3)
    room.advance(5)
    assert sleeper.rung == [3]


def test_discarded_ones_are_forgotten_not_kept_until_their_time() -> None:
    room = Dormitory()
    kept = room.sleeper(1_000_000)
    for _ in range(10_000):
        room.alarms.discard(room.sleeper(1_000_000))
    assert len(room.alarms._heap) < 200
    room.clock.advance(1_000_000)
    assert kept.rung == [1_000_000]


def test_one_whose_ring_fails_does_not_stop_the_others() -> None:
    clock, rung = Clock(), list[Sleeper]()

    def ring(sleeper: Sleeper) -> None:
        rung.append(sleeper)
        if sleeper is bad:
            raise RuntimeError("a sleeper's own fault")

    alarms: ExpiryTimer[Sleeper] = ExpiryTimer(clock, ring)
    bad, good, later = Sleeper(), Sleeper(), Sleeper()
    for sleeper, when in ((bad, 1), (good, 1), (later, 2)):
        alarms.set(sleeper, when)
    clock.pump([1.0] * 3)
    assert rung == [bad, good, later]


def test_a_crowd_is_woken_over_several_turns() -> None:
    class Slow(Dormitory):
        """Notes how many were awake when a turn was asked for; a ring takes 2 ms."""

        def ring(self, sleeper: Sleeper) -> float | None:
            self.clock.rightNow += 0.002
            return super().ring(sleeper)

    class Turns(Clock):
        def callLater(self, *args: Any, **kwargs: Any) -> Any:
            awake.append(sum(bool(sleeper.rung) for sleeper in sleepers))
            return super().callLater(*args, **kwargs)

    room, awake, sleepers = Slow(), list[int](), list[Sleeper]()
    room.clock = Turns()
    room.alarms = ExpiryTimer(room.clock, room.ring)
    sleepers += [room.sleeper(1) for _ in range(8)]
    room.clock.advance(1)
    assert awake == [0, 3, 6]
    assert all(len(sleeper.rung) == 1 for sleeper in sleepers)


def test_ringing_may_set_discard_and_stop() -> None:
    clock, rung = Clock(), list[Sleeper]()

    def ring(sleeper: Sleeper) -> float | None:
        rung.append(sleeper)
        alarms.discard(third)
        alarms.set(fourth, 2)
        if sleeper is fourth:
            alarms.stop()
        return None

    alarms: ExpiryTimer[Sleeper] = ExpiryTimer(clock, ring)
    first, third, fourth, fifth = (Sleeper() for _ in range(4))
    for sleeper, when in ((first, 1), (third, 2), (fifth, 3)):
        alarms.set(sleeper, when)
    clock.pump([1.0] * 5)
    assert rung == [first, fourth]
    assert clock.getDelayedCalls() == []


def test_stop_leaves_nothing() -> None:
    room = Dormitory()
    room.sleeper(1)
    room.alarms.stop()
    room.alarms.stop()
    assert room.clock.getDelayedCalls() == []
