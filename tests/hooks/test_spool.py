import os
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from passferry.hooks import spool as module
from passferry.hooks.spool import ASIDE_SECONDS, LEFT_SECONDS, MOST_LETTER, Spool, SpoolUnusable

NOW = 1_795_000_000.0


def test_a_letter_comes_back_and_its_name_tells_only_time_and_chance(tmp_path: Path) -> None:
    """Folder 0700, file 0600, oldest first; no name has anything of the letter."""
    spool = Spool(tmp_path / "spool", 10)
    later = spool.put(b"jane's letter", NOW + 1)
    earlier = spool.put(b"joe's letter", NOW)
    assert [each.read() for each in spool.waiting()] == [b"joe's letter", b"jane's letter"]
    assert [each.since for each in spool.waiting()] == [NOW, NOW + 1]
    assert spool.folder.stat().st_mode & 0o777 == 0o700
    assert later.path.stat().st_mode & 0o777 == 0o600
    spool.drop(earlier)
    spool.drop(earlier)
    assert earlier.read() is None
    assert [each.path for each in spool.waiting()] == [later.path]


def test_file_and_folder_are_synced_before_put_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The content is synced before the name appears, and the folder after."""
    seen: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def watched_fsync(descriptor: int) -> None:
        seen.append("folder" if Path(f"/proc/self/fd/{descriptor}").is_dir() else "file")
        fsync(descriptor)

    def watched_rename(source: Path, target: Path) -> Path:
        seen.append("name")
        return rename(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "rename", watched_rename)
    Spool(tmp_path / "spool", 10).put(b"x", NOW)
    assert seen == ["file", "name", "folder"]


@pytest.mark.parametrize("mode", [0o755, 0o710, 0o701, 0o770])
def test_a_folder_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    """Nothing is written where others could read, list or write."""
    folder = tmp_path / "spool"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(SpoolUnusable, match="others may use it"):
        Spool(folder, 10).put(b"x", NOW)
    assert list(folder.iterdir()) == []


def test_what_is_no_folder_of_ours_is_refused(tmp_path: Path) -> None:
    """A file, a link, a folder below one that is missing, and somebody else's."""
    (tmp_path / "file").write_text("")
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for place in ("file", "link", "missing/spool"):
        with pytest.raises(SpoolUnusable):
            Spool(tmp_path / place, 10).put(b"x", NOW)
    found = (tmp_path / "real").stat()
    other = os.stat_result((*found[:4], found.st_uid + 1, *found[5:]))
    assert "belongs to user" in module._refusal(other)


def test_the_spool_is_bounded_in_number_and_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more than its most, a byte more than all may have, a letter that the gateway would not read."""
    spool = Spool(tmp_path / "spool", 2)
    spool.put(b"1", NOW)
    spool.put(b"2", NOW)
    with pytest.raises(SpoolUnusable, match="full"):
        spool.put(b"3", NOW)
    with pytest.raises(SpoolUnusable, match="larger"):
        Spool(tmp_path / "spool", 10).put(bytes(MOST_LETTER + 1), NOW)
    monkeypatch.setattr(module, "MOST_BYTES", 10)
    roomy = Spool(tmp_path / "spool", 10)
    roomy.put(bytes(8), NOW)
    with pytest.raises(SpoolUnusable, match="full"):
        roomy.put(b"x", NOW)


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the file cannot be written, that is said, and no part of it stays."""
    spool = Spool(tmp_path / "spool", 10)
    spool.check()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SpoolUnusable, match="No space left"):
        spool.put(b"x", NOW)
    assert list(spool.folder.iterdir()) == []


def test_a_disk_that_fails_is_said_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that cannot be listed is no other error than one that cannot be written."""
    spool = Spool(tmp_path / "spool", 10)
    spool.put(b"x", NOW)

    def broken(folder: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "scandir", broken)
    with pytest.raises(SpoolUnusable, match="Input/output error"):
        spool.put(b"x", NOW)
    with pytest.raises(SpoolUnusable, match="Input/output error"):
        spool.waiting()


def test_what_is_set_aside_is_not_tried_and_goes_after_a_month(tmp_path: Path) -> None:
    """It can be looked at for 30 days from then on; parts that dead processes left go after an hour."""
    spool = Spool(tmp_path / "spool", 10)
    spool.set_aside(spool.put(b"x", NOW - 2 * ASIDE_SECONDS), NOW)
    part = spool.folder / ".0123456789ab.part"
    part.write_bytes(b"half")
    os.utime(part, (NOW, NOW))
    assert (spool.waiting(), [each.read() for each in spool.aside()]) == ([], [b"x"])
    spool.sweep(NOW + LEFT_SECONDS)
    assert part.exists()
    spool.sweep(NOW + LEFT_SECONDS + 1)
    assert not part.exists()
    spool.sweep(NOW + ASIDE_SECONDS)
    assert len(spool.aside()) == 1
    spool.sweep(NOW + ASIDE_SECONDS + 1)
    assert spool.aside() == []


def test_one_hands_over_at_a_time(tmp_path: Path) -> None:
    """A second one waits for its time and is told that it is not alone."""
    spool = Spool(tmp_path / "spool", 10)
    spool.check()
    with spool.alone(0.0) as first, spool.alone(0.05) as second:
        assert (first, second) == (True, False)
    with spool.alone(0.0) as again:
        assert again


class SpoolMachine(RuleBasedStateMachine):
    """Invariant: whatever is put, dropped and set aside, and when, the spool holds what a list would."""

    most = 6

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self._folder = tempfile.TemporaryDirectory()
        self.spool = Spool(Path(self._folder.name) / "spool", self.most)
        self.model: list[tuple[int, bytes]] = []

    @rule(at=st.integers(0, 10**6), content=st.binary(max_size=50))
    def put(self, at: int, content: bytes) -> None:
        if len(self.model) == self.most:
            with pytest.raises(SpoolUnusable):
                self.spool.put(content, at)
        else:
            self.spool.put(content, at)
            self.model.append((at, content))

    @rule(which=st.integers(0, 5), aside=st.booleans())
    def settle(self, which: int, aside: bool) -> None:
        waiting = self.spool.waiting()
        if which < len(waiting):
            letter = waiting[which]
            self.model.remove((int(letter.since), letter.read() or b""))
            if aside:
                self.spool.set_aside(letter, NOW)
            else:
                self.spool.drop(letter)

    @rule()
    def stray(self) -> None:
        self.spool.check()
        (self.spool.folder / "notes.txt").write_bytes(b"not a letter")

    @invariant()
    def holds_what_a_list_would(self) -> None:
        waiting = self.spool.waiting()
        assert sorted((int(each.since), each.read()) for each in waiting) == sorted(self.model)
        assert [each.since for each in waiting] == sorted(each.since for each in waiting)
        assert self.spool.is_empty() == (not self.model)

    def teardown(self) -> None:
        self._folder.cleanup()


TestSpoolMachine = SpoolMachine.TestCase
TestSpoolMachine.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
