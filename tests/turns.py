"""A clock that tells reactor turns apart."""

from twisted.internet.task import Clock


class TurnClock(Clock):
    """A Clock that can pass one turn: what is called then may call later again."""

    def turn(self) -> None:
        """Run what is due now, and leave what that schedules to the next turn."""
        for call in [c for c in self.calls if c.getTime() <= self.seconds()]:
            if call.active():
                self.calls.remove(call)
                call.called = 1
                call.func(*call.args, **call.kw)
