"""What a call that installs a listener returns: the one way to remove it again."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Registration"]


class Registration:
    """A listener that is installed until :meth:`cancel` is called.

    :param remove: removes the listener; called at most once.
    """

    __slots__ = ("_remove",)

    def __init__(self, remove: Callable[[], None]) -> None:
        self._remove: Callable[[], None] | None = remove

    @property
    def active(self) -> bool:
        """Whether the listener is still installed."""
        return self._remove is not None

    def cancel(self) -> None:
        """Remove the listener.  Calling it again changes nothing."""
        remove, self._remove = self._remove, None
        if remove is not None:
            remove()
