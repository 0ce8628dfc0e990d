"""What the options of a server accept."""

from typing import Any

import pytest

from txbayeux import Limits, ServerOptions


@pytest.mark.parametrize("option", ["timeout", "interval"])
def test_a_negative_time_is_refused(option: str) -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        ServerOptions(**{option: -0.001})


@pytest.mark.parametrize("names", ["", "Bayeux", "faye"])
def test_unknown_channel_names_are_refused(names: str) -> None:
    with pytest.raises(ValueError, match="bayeux, cometd"):
        ServerOptions(channel_names=names)


def test_limits_are_not_an_option_that_would_be_ignored() -> None:
    options: dict[str, Any] = {"limits": Limits(sessions=1)}
    with pytest.raises(TypeError, match="limits"):
        ServerOptions(**options)
