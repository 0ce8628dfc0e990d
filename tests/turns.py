"""Reactor turns, told apart on a clock."""

from twisted.internet.task import Clock


class TurnClock(Clock):
    """A Clock that can pass one turn: what is called then may call later again."""

    def turn(self) -> None:
        """Run what is due now, and leave what that schedules to the next turn."""
        turn(self)


def turn(clock: Clock) -> None:
    """Run what is due now, and leave what that schedules to the next turn."""
    for call in [c for c in clock.calls if c.getTime() <= clock.seconds()]:
        if call.active():
            clock.calls.remove(call)
            call.called = 1
            call.func(*call.args, **call.kw)
