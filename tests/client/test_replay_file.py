"""A file of replay ids has what was stored last, whenever the program is killed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from txbayeux.extensions import ReplayFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ids.json"


def test_what_was_stored_is_read_by_the_next_program(path: Path) -> None:
    store = ReplayFile(path)
    for replay_id in range(100):
        store["/a"] = replay_id
        store[f"/{replay_id}"] = replay_id
        assert json.loads(path.read_text()) == dict(store)
    del store["/a"]
    assert dict(ReplayFile(str(path))) == {f"/{n}": n for n in range(100)}
    assert [file.name for file in path.parent.iterdir()] == ["ids.json"]


@pytest.mark.parametrize("text", ["[]", "{", '{"/a": "1"}', '{"/a": true}', "\xff"])
def test_a_file_with_something_else_is_refused_and_kept(path: Path, text: str) -> None:
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match="not a JSON object of replay ids"):
        ReplayFile(path)
    assert path.read_text(encoding="latin-1") == text


def test_a_change_that_cannot_be_written_is_an_error(path: Path) -> None:
    raised = ReplayFile(path)
    failed: list[OSError] = []
    passed_on = ReplayFile(path, failed.append)
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        raised["/a"] = 1
    passed_on["/a"] = 1
    assert len(failed) == 1
    with pytest.raises(OSError, match="directory"):
        ReplayFile(path)
