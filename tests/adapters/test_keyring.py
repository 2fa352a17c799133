"""The key ring file: made once, never overwritten, refused when it is not safe."""

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from passferry.adapters import keyring
from passferry.adapters.keyring import (
    KeyRing,
    KeyRingError,
    KeyRingMissing,
    check_place,
    create,
    generate,
    load,
)


@pytest.fixture
def ring() -> KeyRing:
    """A fresh ring."""
    return generate(now=1_795_000_000.0)


@pytest.fixture
def path(tmp_path: Path, ring: KeyRing) -> Path:
    """A ring on disk."""
    path = tmp_path / "config" / "passferry" / "keys"
    create(path, ring)
    return path


def secrets_of(ring: KeyRing) -> list[str]:
    """Every form in which a key of the ring could show."""
    keys = [key.key for key in ring.keys.values()] + [ring.mac_key]
    return [form for key in keys for form in (repr(key), key.hex(), base64.b64encode(key).decode())]


def test_a_ring_comes_back_as_it_was_written(path: Path, ring: KeyRing) -> None:
    """Load after create is the identity."""
    assert load(path) == ring


def test_the_file_and_new_folders_are_for_their_owner_only(path: Path) -> None:
    """The file is made 0600 and missing folders 0700, whatever the umask; no temporary file stays."""
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o077 == 0
    assert list(path.parent.iterdir()) == [path]


def test_file_and_folder_are_synced_before_create_returns(
    tmp_path: Path, ring: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The content is synced before the name appears, and the folder after."""
    seen: list[str] = []
    fsync, link = os.fsync, os.link
    target = tmp_path / "keys"

    def watched_fsync(descriptor: int) -> None:
        seen.append("folder" if Path(f"/proc/self/fd/{descriptor}").is_dir() else "file")
        fsync(descriptor)

    def watched_link(source: Path, name: Path) -> None:
        seen.append("name")
        link(source, name)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "link", watched_link)
    create(target, ring)
    assert seen == ["file", "name", "folder"]


def test_an_existing_file_is_never_overwritten(path: Path, ring: KeyRing) -> None:
    """A second create fails and leaves the first ring as it was."""
    with pytest.raises(KeyRingError, match="exists already"):
        create(path, generate(now=0.0))
    assert load(path) == ring
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o666])
def test_a_file_that_others_can_touch_is_refused(path: Path, mode: int) -> None:
    """Any permission of group or world is refused, with the mode and what to do."""
    path.chmod(mode)
    with pytest.raises(KeyRingError, match=rf"mode {mode:04o}.*chmod 600"):
        load(path)


def test_a_file_of_another_user_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ring that belongs to somebody else is refused, by number."""
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(KeyRingError, match=f"belongs to user {os.getuid()}"):
        load(path)


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    """A FIFO and a folder are refused at once."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    for place in (fifo, tmp_path):
        with pytest.raises(KeyRingError):
            load(place)


def test_a_link_to_a_good_file_works(path: Path, ring: KeyRing, tmp_path: Path) -> None:
    """A symbolic link is followed (mounted secrets are links); what it leads to is what is checked."""
    link = tmp_path / "link"
    link.symlink_to(path)
    assert load(link) == ring
    path.chmod(0o644)
    with pytest.raises(KeyRingError, match="mode 0644"):
        load(link)


def test_a_missing_file_is_told_apart(tmp_path: Path) -> None:
    """No file is its own error, since only then may one be made."""
    with pytest.raises(KeyRingMissing, match="there is no key file"):
        load(tmp_path / "keys")


def test_a_ring_beside_what_it_seals_is_refused(tmp_path: Path) -> None:
    """In the state folder, below it, or behind a link into it: refused. Elsewhere: fine."""
    state = tmp_path / "state"
    state.mkdir()
    (tmp_path / "alias").symlink_to(state)
    (tmp_path / "keys").symlink_to(state / "keys")
    for bad in (state / "keys", state / "sub" / "keys", tmp_path / "alias" / "keys", tmp_path / "keys"):
        with pytest.raises(KeyRingError, match="beside what it seals"):
            check_place(bad, [state])
    check_place(tmp_path / "config" / "keys", [state])


def broken_documents() -> list[tuple[str, Any]]:
    """Documents that are no ring of this version, and a word of what is said."""
    key = base64.b64encode(bytes(32)).decode()
    item = {"id": "0" * 16, "created": "x", "key": key}
    good = {"kind": keyring.KIND, "version": 1, "active": "0" * 16, "keys": [item], "mac": key}
    return [
        ("not a Passferry key ring", []),
        ("not a Passferry key ring", {"kind": "other"}),
        ("not a Passferry key ring", "x"),
        ("version", good | {"version": 2}),
        ("version", good | {"version": True}),
        ("unknown members", good | {"extra": 1}),
        ("unknown members", {name: value for name, value in good.items() if name != "mac"}),
        ("no sealing key", good | {"keys": []}),
        ("no sealing key", good | {"keys": {}}),
        ("members", good | {"keys": [item | {"extra": 1}]}),
        ("16 hexadecimal", good | {"keys": [item | {"id": "0" * 15 + "G"}]}),
        ("16 hexadecimal", good | {"keys": [item | {"id": 7}]}),
        ("time of creation", good | {"keys": [item | {"created": 7}]}),
        ("two keys", good | {"keys": [item, item]}),
        ("active", good | {"active": "1" * 16}),
        ("active", good | {"active": 1}),
        ("32 bytes", good | {"mac": base64.b64encode(bytes(31)).decode()}),
        ("32 bytes", good | {"mac": "not base64!"}),
        ("32 bytes", good | {"mac": "é"}),
        ("32 bytes", good | {"mac": None}),
    ]


@pytest.mark.parametrize(("word", "document"), broken_documents())
def test_a_malformed_ring_is_refused_with_the_reason(path: Path, word: str, document: Any) -> None:
    """Every malformed document is refused by the one error, which says what is wrong."""
    path.write_text(json.dumps(document))
    with pytest.raises(KeyRingError, match=word):
        load(path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 5_000, b"0" * 70_000])
def test_bytes_that_are_no_json_are_refused(path: Path, content: bytes) -> None:
    """Empty, torn, not UTF-8, deeply nested, too large: all the one error."""
    path.write_bytes(content)
    with pytest.raises(KeyRingError):
        load(path)


def test_no_key_shows_in_representations_or_errors(path: Path, ring: KeyRing) -> None:
    """Neither printing a ring nor an error about its file shows a key, nor keeps the parser's error."""
    shown = repr(ring) + str(ring) + repr(load(path))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(KeyRingError) as caught:
        load(path)
    assert caught.value.__context__ is None
    shown += str(caught.value) + repr(caught.value)
    assert [secret for secret in secrets_of(ring) if secret in shown] == []


def test_an_unwritable_place_is_said_plainly(tmp_path: Path, ring: KeyRing) -> None:
    """A path below a file gives an error that names the path."""
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyRingError, match="cannot write the key file"):
        create(tmp_path / "file" / "keys", ring)
