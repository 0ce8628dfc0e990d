"""A file with the last replay id of each channel, as one JSON object."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path

__all__ = ["ReplayFile"]


class ReplayFile(MutableMapping[str, int]):
    """Replay ids by channel in a file, a store for :class:`Replay`.

    It is written with each change.  A crash leaves the old file or the new one, never
    half of one.

    :param failed: called with the error if a change cannot be written; otherwise the
        error is raised.
    :raises OSError: if the file cannot be read or written.
    :raises ValueError: if the file has something else in it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        failed: Callable[[OSError], None] | None = None,
    ) -> None:
        self._path = Path(path).resolve()  # replace what a symbolic link leads to
        self._failed = failed
        self._ids = self._read()
        self._write()  # better now than after the first message

    def _read(self) -> dict[str, int]:
        try:
            text = self._path.read_bytes()
        except FileNotFoundError:
            return {}
        try:
            ids = json.loads(text or b"{}")
        except ValueError:
            ids = None
        if not isinstance(ids, dict) or not all(type(i) is int for i in ids.values()):
            raise ValueError(f"{self._path}: not a JSON object of replay ids")
        return ids

    def _write(self) -> None:
        new = self._path.with_name(f"{self._path.name}.{os.getpid()}.new")
        try:
            new.write_text(json.dumps(self._ids) + "\n")
            new.replace(self._path)
        except OSError:
            new.unlink(missing_ok=True)
            raise

    def __getitem__(self, channel: str) -> int:
        return self._ids[channel]

    def __setitem__(self, channel: str, replay_id: int) -> None:
        self._ids[channel] = replay_id
        try:
            self._write()
        except OSError as error:
            if self._failed is None:
                raise
            self._failed(error)

    def __delitem__(self, channel: str) -> None:
        del self._ids[channel]
        self._write()

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)
