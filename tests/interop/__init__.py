"""Clients and servers that others wrote, and scenarios to peer with them.

``scenarios.py`` says what every client must be able to do; ``test_*.py`` say over which
transports. The clients are in programs of their own, under ``node`` and ``java``, which
do what the driver tells them by JSON lines. The same scenarios against a peer's server
show that they are right::

    TXBAYEUX_INTEROP_SERVER=faye make test MARKS=interop    # cometd-node, cometd-java
"""

import pytest

pytest.register_assert_rewrite(f"{__name__}.scenarios", f"{__name__}.environment")
