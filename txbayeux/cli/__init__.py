"""The ``txbayeux`` command: subscribe and publish from a shell.

Exit codes: 0 for success, 1 if the server refuses, no token can be had or the output
cannot be written, 2 for an invalid command line or input, 3 if no server answers in
time, 130 after an interrupt.
"""

from __future__ import annotations

from txbayeux.cli.arguments import options
from txbayeux.cli.command import main, run

__all__ = ["main", "options", "run"]
