"""Cancelling a registration removes its listener, once."""

from txbayeux.registration import Registration


def test_cancel_removes_the_listener_once() -> None:
    listeners = ["alice"]
    registration = Registration(lambda: listeners.remove("alice"))
    assert registration.active
    registration.cancel()
    registration.cancel()
    assert not registration.active
    assert listeners == []
