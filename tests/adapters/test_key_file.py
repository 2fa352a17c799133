"""The ring's file as rotation replaces it, and the sealer that follows it."""

import os
from pathlib import Path

import pytest

from passferry.adapters import keyring
from passferry.adapters.key_file import FileSealer, KeyFile
from passferry.adapters.sealing import key_id_of
from passferry.ports import Binding, UnknownKey

BINDING = Binding("password", "default", "user", "change")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ring on disk."""
    path = tmp_path / "keys" / "ring"
    keyring.create(path, keyring.generate(0.0))
    return path


def test_a_new_key_is_active_and_the_old_one_stays_until_it_is_destroyed(path: Path) -> None:
    """Add, then destroy: the file holds both, then only the new one, 0600 and with nothing left beside it."""
    holder = KeyFile(path, lambda: 0.0)
    old = holder.keys().active
    assert holder.keys() == (old, frozenset(), None)
    new = holder.advance()
    assert holder.keys() == (new, frozenset({old}), None)
    holder.destroy_old()
    assert holder.keys() == (new, frozenset(), None)
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_prepared_key_is_not_used_until_it_is_the_turn_of_it(path: Path) -> None:
    """A running sealer keeps the active key, uses the prepared one when told to, and no key that it lacks."""
    sealer, holder = FileSealer(path), KeyFile(path, lambda: 0.0)
    old, prepared = holder.keys().active, holder.prepare()
    assert holder.keys() == (old, frozenset(), prepared)
    assert key_id_of(sealer.seal(b"x", BINDING)) == old
    assert not sealer.use("0" * 16)
    assert sealer.use(prepared)
    assert key_id_of(sealer.seal(b"x", BINDING)) == prepared
    assert holder.advance() == prepared
    assert holder.keys() == (prepared, frozenset({old}), None)


def test_the_blocks_of_a_replaced_ring_are_overwritten(path: Path) -> None:
    """Who holds the old file open finds zeros in it, unless another name for it was made on purpose."""
    size = path.stat().st_size
    with path.open("rb") as held:
        KeyFile(path, lambda: 0.0).advance()
        assert held.read() == bytes(size)
    link = path.with_name("kept")
    os.link(path, link)
    KeyFile(path, lambda: 0.0).advance()
    assert keyring.load(link).active in keyring.load(path).keys


def test_a_link_to_the_ring_stays_a_link(path: Path) -> None:
    """Where the path is a symbolic link, the file that it leads to is replaced."""
    link = path.parent / "link"
    link.symlink_to(path)
    new = KeyFile(link, lambda: 0.0).advance()
    assert link.is_symlink()
    assert keyring.load(path).active == new


def test_a_failed_replacement_leaves_the_ring_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the rename fails, the old ring is whole and no copy of the new one lies about."""
    before = keyring.load(path)

    def refuse(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(keyring.KeyRingError):
        KeyFile(path, lambda: 0.0).advance()
    assert keyring.load(path) == before
    assert list(path.parent.iterdir()) == [path]


def test_what_a_killed_rotation_left_is_removed_by_the_next(path: Path) -> None:
    """A temporary file of a process that was killed holds keys: it does not stay."""
    left = path.with_name(f".{path.name}.0123456789ab.new")
    left.write_bytes(path.read_bytes())
    KeyFile(path, lambda: 0.0).advance()
    assert not left.exists()


def test_a_running_sealer_follows_the_file(path: Path) -> None:
    """The next seal uses the new key; what was sealed before opens while the ring holds its key."""
    sealer = FileSealer(path)
    before = sealer.seal(b"x", BINDING)
    holder = KeyFile(path, lambda: 0.0)
    new = holder.advance()
    after = sealer.seal(b"y", BINDING)
    assert key_id_of(after) == new
    assert sealer.open(before, BINDING) == b"x"
    holder.destroy_old()
    assert sealer.open(after, BINDING) == b"y"
    assert sealer.missing() == frozenset()


def test_a_key_that_another_process_added_is_read_when_it_is_met(path: Path) -> None:
    """Opening reads the ring again before it gives up, and says which key it lacks when it does."""
    sealer, holder = FileSealer(path), KeyFile(path, lambda: 0.0)
    holder.advance()
    foreign = FileSealer(path).seal(b"x", BINDING)
    assert sealer.open(foreign, BINDING) == b"x"
    lost = foreign[:1] + bytes(8) + foreign[9:]
    with pytest.raises(UnknownKey):
        sealer.open(lost, BINDING)
    assert sealer.missing() == {"0" * 16}
    assert sealer.missing(needed=set()) == frozenset()


def test_a_ring_that_cannot_be_read_any_more_leaves_the_keys_in_use(path: Path) -> None:
    """A running gateway survives a ring that was moved away or made unreadable, with the keys it has."""
    sealer = FileSealer(path)
    sealed = sealer.seal(b"x", BINDING)
    path.write_bytes(b"nonsense")
    assert sealer.open(sealer.seal(b"y", BINDING), BINDING) == b"y"
    path.unlink()
    assert sealer.open(sealer.seal(b"z", BINDING), BINDING) == b"z"
    assert sealer.open(sealed, BINDING) == b"x"
