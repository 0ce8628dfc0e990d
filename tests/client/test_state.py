"""Show every transition of the state machine, and that no other is accepted."""

import itertools

import pytest

from txbayeux.client.state import (
    TRANSITIONS,
    IllegalTransition,
    Input,
    Machine,
    State,
)

LEGAL = {
    State.IDLE: {Input.START, Input.STOP},
    State.HANDSHAKING: {
        Input.START,
        Input.HANDSHAKEN,
        Input.HANDSHAKE_FAILED,
        Input.REFUSE,
        Input.STOP,
    },
    State.WAITING: {Input.START, Input.TIMER, Input.REFUSE, Input.STOP},
    State.CONNECTING: {
        Input.START,
        Input.CONNECTED,
        Input.CONNECT_FAILED,
        Input.SESSION_LOST,
        Input.REFUSE,
        Input.STOP,
    },
    State.CONNECTED: {
        Input.START,
        Input.CONNECTED,
        Input.CONNECT_FAILED,
        Input.SESSION_LOST,
        Input.TIMER,
        Input.REFUSE,
        Input.STOP,
    },
    State.BROKEN: {
        Input.START,
        Input.SESSION_LOST,
        Input.TIMER,
        Input.REFUSE,
        Input.STOP,
    },
    State.REFUSED: {Input.START, Input.STOP},
    State.DISCONNECTING: {Input.STOP, Input.STOPPED},
    State.DISCONNECTED: {Input.STOP},
}


@pytest.mark.parametrize(
    ("state", "event"),
    list(itertools.product(State, Input)),
    ids=lambda value: value.name,
)
def test_every_pair_is_legal_or_raises_illegal_transition(
    state: State, event: Input
) -> None:
    changes: list[tuple[State, State]] = []
    machine = Machine(lambda new, old: changes.append((new, old)))
    machine.state = state
    assert machine.accepts(event) is (event in LEGAL[state])
    if event in LEGAL[state]:
        new = machine.feed(event)
        assert new is TRANSITIONS[state, event] is machine.state
        assert changes == ([] if new is state else [(new, state)])
        return
    with pytest.raises(IllegalTransition) as caught:
        machine.feed(event)
    assert (caught.value.state, caught.value.event) == (state, event)
    assert str(caught.value) == f"{event.value!r} is illegal while {state.value}"
    assert machine.state is state
    assert changes == []


def test_every_state_can_be_reached_and_ended() -> None:
    def reachable(start: State) -> set[State]:
        found = {start}
        while True:
            more = {new for (old, _), new in TRANSITIONS.items() if old in found}
            if more <= found:
                return found
            found |= more

    assert reachable(State.IDLE) == set(State)
    assert all(State.DISCONNECTED in reachable(state) for state in State)
    assert reachable(State.DISCONNECTED) == {State.DISCONNECTED}


def test_a_lost_session_never_leads_to_a_handshake_at_once() -> None:
    assert {
        old for (old, _), new in TRANSITIONS.items() if new is State.HANDSHAKING
    } == {State.IDLE, State.REFUSED, State.WAITING, State.HANDSHAKING}
    assert TRANSITIONS[State.WAITING, Input.START] is State.WAITING
