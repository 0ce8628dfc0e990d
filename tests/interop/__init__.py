"""Clients and servers that others wrote, and scenarios to play with them."""

import pytest

pytest.register_assert_rewrite(f"{__name__}.scenarios", f"{__name__}.stage")
