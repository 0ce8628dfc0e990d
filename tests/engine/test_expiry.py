"""Many timers run on one delayed call of the reactor."""

from typing import Any

from twisted.internet.task import Clock

from txbayeux.engine.expiry import NEVER, ExpiryTimer


class Item:
    """An item with a deadline that can be postponed, like a session."""

    def __init__(self, until: float = 0.0) -> None:
        self.wakes_at = NEVER
        self.until = until
        self.fired: list[float] = []


class Timers:
    def __init__(self) -> None:
        self.clock = Clock()
        self.timer: ExpiryTimer[Item] = ExpiryTimer(self.clock, self.expire)

    def expire(self, item: Item) -> float | None:
        now = self.clock.seconds()
        item.fired.append(now)
        return item.until if item.until > now else None

    def item(self, when: float) -> Item:
        item = Item()
        self.timer.set(item, when)
        return item

    def advance(self, seconds: float) -> None:
        self.clock.pump([1.0] * int(seconds))


def test_each_timer_fires_once_at_its_time() -> None:
    timers = Timers()
    items = [timers.item(when) for when in (3, 1, 2, 1)]
    timers.advance(10)
    assert [item.fired for item in items] == [[3], [1], [2], [1]]
    assert timers.clock.getDelayedCalls() == []


def test_one_delayed_call_serves_all() -> None:
    timers = Timers()
    for when in range(100, 0, -1):
        timers.item(when)
    assert [call.getTime() for call in timers.clock.getDelayedCalls()] == [1]


def test_a_postponed_item_fires_at_both_times() -> None:
    timers = Timers()
    item = timers.item(2)
    item.until = 5
    timers.advance(10)
    assert item.fired == [2, 5]


def test_an_earlier_timer_replaces_a_later_one() -> None:
    timers = Timers()
    item = timers.item(5)
    timers.timer.set(item, 2)
    timers.timer.set(item, 7)
    timers.advance(10)
    assert item.fired == [2]


def test_a_replaced_timer_does_not_fire_again() -> None:
    timers = Timers()
    item = timers.item(5)
    timers.timer.set(item, 2)
    item.until = 5
    timers.advance(10)
    assert item.fired == [2, 5]


def test_a_discarded_timer_does_not_fire() -> None:
    timers = Timers()
    kept, discarded = timers.item(2), timers.item(1)
    timers.timer.discard(discarded)
    timers.timer.discard(discarded)
    timers.timer.discard(Item())
    timers.advance(5)
    assert (kept.fired, discarded.fired, discarded.wakes_at) == ([2], [], NEVER)


def test_a_discarded_timer_can_be_set_again() -> None:
    timers = Timers()
    item = timers.item(2)
    timers.timer.discard(item)
    timers.timer.set(item, 3)
    timers.advance(5)
    assert item.fired == [3]


def test_discarded_timers_take_no_memory_until_their_time() -> None:
    timers = Timers()
    kept = timers.item(1_000_000)
    for _ in range(10_000):
        timers.timer.discard(timers.item(1_000_000))
    assert len(timers.timer) < 200
    timers.clock.advance(1_000_000)
    assert kept.fired == [1_000_000]


def test_a_failing_timer_does_not_stop_the_others() -> None:
    clock, fired = Clock(), list[Item]()

    def expire(item: Item) -> None:
        fired.append(item)
        if item is bad:
            raise RuntimeError("an error in an item")

    timer: ExpiryTimer[Item] = ExpiryTimer(clock, expire)
    bad, good, later = Item(), Item(), Item()
    for item, when in ((bad, 1), (good, 1), (later, 2)):
        timer.set(item, when)
    clock.pump([1.0] * 3)
    assert fired == [bad, good, later]


def test_many_timers_fire_over_several_reactor_turns() -> None:
    class Slow(Timers):
        """Takes 2 ms for each item."""

        def expire(self, item: Item) -> float | None:
            self.clock.rightNow += 0.002
            return super().expire(item)

    class Turns(Clock):
        def callLater(self, *args: Any, **kwargs: Any) -> Any:
            counts.append(sum(bool(item.fired) for item in items))
            return super().callLater(*args, **kwargs)

    timers, counts, items = Slow(), list[int](), list[Item]()
    timers.clock = Turns()
    timers.timer = ExpiryTimer(timers.clock, timers.expire)
    items += [timers.item(1) for _ in range(8)]
    timers.clock.advance(1)
    assert counts == [0, 3, 6]
    assert all(len(item.fired) == 1 for item in items)


def test_a_callback_may_set_discard_and_stop() -> None:
    clock, fired = Clock(), list[Item]()

    def expire(item: Item) -> float | None:
        fired.append(item)
        timer.discard(third)
        timer.set(fourth, 2)
        if item is fourth:
            timer.stop()
        return None

    timer: ExpiryTimer[Item] = ExpiryTimer(clock, expire)
    first, third, fourth, fifth = (Item() for _ in range(4))
    for item, when in ((first, 1), (third, 2), (fifth, 3)):
        timer.set(item, when)
    clock.pump([1.0] * 5)
    assert fired == [first, fourth]
    assert clock.getDelayedCalls() == []


def test_stop_leaves_nothing_in_the_reactor() -> None:
    timers = Timers()
    timers.item(1)
    timers.timer.stop()
    timers.timer.stop()
    assert timers.clock.getDelayedCalls() == []
