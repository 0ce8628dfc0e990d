"""What the options of a server accept."""

from typing import Any

import pytest

from txbayeux import Limits, ServerOptions


@pytest.mark.parametrize("option", ["timeout", "interval"])
def test_a_negative_time_is_refused(option: str) -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        ServerOptions(**{option: -0.001})


def test_limits_are_not_an_option_that_would_be_ignored() -> None:
    options: dict[str, Any] = {"limits": Limits(sessions=1)}
    with pytest.raises(TypeError, match="limits"):
        ServerOptions(**options)
