"""``python -m txbayeux``, and the command ``txbayeux``."""

from __future__ import annotations

import sys
from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command; an interrupt may come before the reactor handles it, too."""
    try:
        from txbayeux.cli import main as run  # noqa: PLC0415

        run()
    except KeyboardInterrupt:
        sys.exit(130)
    raise AssertionError  # it raises SystemExit


if __name__ == "__main__":
    main()
