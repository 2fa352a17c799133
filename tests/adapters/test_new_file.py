"""A file that is there whole, or not at all."""

import os
import stat
from pathlib import Path

import pytest

from passferry.adapters.new_file import new_file


def test_it_appears_whole_and_for_its_owner_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is at its place while it is written; then it is synced, 0600, and nothing is left beside it."""
    synced: list[int] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_mode)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    path = tmp_path / "x.jsonl"
    with new_file(path) as file:
        file.write("one\n")
        assert not path.exists()
    assert path.read_text() == "one\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["x.jsonl"]  # noqa: PTH208
    assert [stat.S_ISDIR(mode) for mode in synced] == [False, True]


def test_what_is_there_is_never_touched(tmp_path: Path) -> None:
    """A file, a dangling link, and a file that came while ours was written: all stay as they are."""
    path, link = tmp_path / "x", tmp_path / "link"
    path.write_text("theirs")
    link.symlink_to(tmp_path / "nowhere")
    for taken in (path, link):
        with pytest.raises(FileExistsError), new_file(taken):
            pytest.fail("it was opened")
    late = tmp_path / "late"
    with pytest.raises(FileExistsError), new_file(late):
        late.write_text("theirs")
    assert (path.read_text(), late.read_text()) == ("theirs", "theirs")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["late", "link", "x"]


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    """Neither the file nor what was written of it."""

    def fail() -> None:
        with new_file(tmp_path / "x") as file:
            file.write("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []
