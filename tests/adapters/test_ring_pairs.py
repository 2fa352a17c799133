"""The pairs of a key ring: which one is announced, how long the others open, what the file says."""

import base64
import json
from pathlib import Path

import pytest

from passferry import hand_over
from passferry.adapters import keyring
from passferry.adapters.hand_over_keys import FileHandOver
from passferry.adapters.key_file import KeyFile
from passferry.adapters.keyring import KeyRing, KeyRingError
from passferry.adapters.ring_pairs import KEPT
from passferry.ports import SealBroken, UnknownKey

START = 1_795_000_000.0


class Moved:
    """A clock that is put forward."""

    def __init__(self) -> None:
        self.at = START

    def now(self) -> float:
        return self.at


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ring on disk."""
    path = tmp_path / "keys" / "ring"
    keyring.create(path, keyring.generate(START))
    return path


def letter_to(keys: FileHandOver) -> bytes:
    """A letter to the key that is announced now."""
    key = keys.key()
    assert key is not None
    return hand_over.seal(key.public, b"letter")


def test_what_a_source_seals_opens_at_the_gateway(path: Path) -> None:
    """A letter to the announced key opens; altered anywhere it does not."""
    keys = FileHandOver(path)
    sealed = letter_to(keys)
    assert keys.open(sealed) == b"letter"
    for at in (0, 9, 20, len(sealed) - 1):
        broken = sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]
        with pytest.raises(SealBroken):
            keys.open(broken)
    for short in (b"", sealed[:9], sealed[:56]):
        with pytest.raises(SealBroken):
            keys.open(short)
    with pytest.raises(UnknownKey):
        keys.open(sealed[:1] + bytes(8) + sealed[9:])


def test_rotation_announces_a_new_pair_and_the_old_one_opens_until_nothing_can_need_it(path: Path) -> None:
    """A running gateway follows the file; the retired pair is destroyed by a rotation long enough after."""
    clock = Moved()
    keys, holder = FileHandOver(path), KeyFile(path, clock.now)
    old, sealed = keys.key(), letter_to(keys)
    holder.advance()
    holder.destroy_old()
    assert keys.key() != old
    assert keys.open(sealed) == b"letter"
    clock.at += KEPT - 1
    holder.destroy_old()
    assert keys.open(sealed) == b"letter"
    clock.at += 1
    holder.destroy_old()
    with pytest.raises(UnknownKey):
        keys.open(sealed)


def test_a_pair_outlives_two_times_to_live() -> None:
    """72 hours without word of the new key, and 72 hours in the spool."""
    assert KEPT >= 2 * 72 * 3600


def test_a_prepared_pair_opens_and_is_not_announced_until_its_turn(path: Path) -> None:
    """Machines with copies of a prepared ring open each other's letters, whichever rotates first."""
    keys, holder = FileHandOver(path), KeyFile(path, lambda: START)
    first = keys.key()
    holder.prepare()
    assert keys.key() == first
    copied = path.with_name("copied")
    copied.write_bytes(path.read_bytes())
    copied.chmod(0o600)
    holder.advance()
    assert keys.key() != first
    assert FileHandOver(copied).open(letter_to(keys)) == b"letter"
    assert keys.open(letter_to(FileHandOver(copied))) == b"letter"


def test_a_ring_of_an_older_release_is_read_and_gets_its_pair_where_it_can(path: Path) -> None:
    """Without `pairs` the ring loads, announces nothing, and has one pair after the first renewal."""
    document = json.loads(path.read_text())
    del document["pairs"]
    path.write_text(json.dumps(document))
    keys, holder = FileHandOver(path), KeyFile(path, lambda: START)
    assert keys.key() is None
    assert holder.has_pairs_to_renew()
    holder.renew_pairs()
    assert keys.open(letter_to(keys)) == b"letter"
    assert not holder.has_pairs_to_renew()


def test_a_ring_without_a_pair_that_rotates_gets_one(path: Path) -> None:
    """The next rotation makes the pair, where the start may not."""
    ring = keyring.load(path)
    keyring.replace(path, KeyRing(ring.active, ring.keys, ring.mac_key))
    KeyFile(path, lambda: START).advance()
    keys = FileHandOver(path)
    assert keys.open(letter_to(keys)) == b"letter"


@pytest.mark.parametrize(
    "change",
    [
        {"id": "x"},
        {"key": None},
        {"private": "AAAA"},
        {"private": 5},
        {"retired": "yesterday"},
        {"retired": 5},
        {"created": None},
        {"more": 1},
    ],
)
def test_a_pair_that_is_none_is_refused(path: Path, change: dict[str, object]) -> None:
    """The error names what is wrong, and nothing of a key."""
    document = json.loads(path.read_text())
    private = document["pairs"][0]["private"]
    document["pairs"][0] |= change
    path.write_text(json.dumps(document))
    with pytest.raises(KeyRingError) as caught:
        keyring.load(path)
    assert private not in str(caught.value)
    assert caught.value.__context__ is None


def test_printing_a_pair_shows_nothing_of_its_private_key(path: Path) -> None:
    """`repr` has ids and times only."""
    (pair,) = keyring.load(path).pairs
    for form in (repr(pair.private), pair.private.hex(), base64.b64encode(pair.private).decode()):
        assert form not in repr(pair)
