"""The key ring as a file that another process may replace: sealing that follows it, and rotation's steps."""

import os
from collections.abc import Callable, Collection
from pathlib import Path

from passferry.adapters import keyring
from passferry.adapters.keyring import KeyRing, KeyRingError
from passferry.adapters.sealing import RingSealer
from passferry.ports import Binding, Keys, UnknownKey

Stamp = tuple[int, int, int]


class FileSealer:
    """The ``Sealer`` port over the ring in a file, read again when the file was replaced.

    That is looked at before every seal, and when a key is not known. A file that cannot be read any more
    leaves the keys in use that were read last. Safe to use from several threads.
    """

    def __init__(self, path: Path) -> None:
        """Read the ring. Raises ``KeyRingError``."""
        self._path = path
        self._stamp = stamp(path)
        self._ring = RingSealer(keyring.load(path))
        self._missing: frozenset[str] = frozenset()

    def seal(self, plaintext: bytes, binding: Binding) -> bytes:
        """See the port."""
        self._follow()
        return self._ring.seal(plaintext, binding)

    def open(self, sealed: bytes, binding: Binding) -> bytes:
        """See the port."""
        try:
            return self._ring.open(sealed, binding)
        except UnknownKey as error:
            key_id = str(error)
        self._follow()
        self._look_for(key_id)
        return self._ring.open(sealed, binding)

    def mac(self, purpose: str, data: bytes) -> bytes:
        """See the port."""
        return self._ring.mac(purpose, data)  # the MAC key outlives rotation

    def knows(self, key_id: str) -> bool:
        """See the port."""
        if not self._ring.knows(key_id):
            self._follow()
            self._look_for(key_id)
        return self._ring.knows(key_id)

    def use(self, key_id: str) -> bool:
        """See the port. Until the file changes."""
        return self.knows(key_id) and self._ring.use(key_id)

    def missing(self, needed: Collection[str] | None = None) -> frozenset[str]:
        """See the port."""
        if self._missing:
            self._follow()
        self._missing = frozenset(
            key for key in self._missing if not self._ring.knows(key) and (needed is None or key in needed)
        )
        return self._missing

    def _look_for(self, key_id: str) -> None:
        if not self._ring.knows(key_id):
            self._missing |= {key_id}

    def _follow(self) -> None:
        try:
            found = stamp(self._path)
            if found == self._stamp:
                return
            self._ring, self._stamp = RingSealer(keyring.load(self._path)), found
        except (KeyRingError, OSError):
            return  # what is sealed with a key that rotation replaced, the store does not take


def stamp(path: Path) -> Stamp:
    """What tells one file at ``path`` from another that replaced it."""
    try:
        found = os.stat(path)  # noqa: PTH116  # before each seal: pathlib takes as long again
    except FileNotFoundError:
        return (0, 0, 0)
    return (found.st_ino, found.st_mtime_ns, found.st_size)


class KeyFile:
    """The port ``KeyHolder``: what rotation does to the file."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        """``clock`` gives epoch seconds."""
        self._path, self._clock = path, clock

    def keys(self) -> Keys:
        """See the port."""
        ring = self._load()
        old, prepared = keyring.by_age(ring)
        return Keys(ring.active, old, prepared)

    def prepare(self) -> str:
        """See the port."""
        ring = keyring.with_prepared_key(self._load(), self._clock())
        keyring.replace(self._path, ring)
        return list(ring.keys)[-1]

    def advance(self) -> str:
        """See the port."""
        ring = self._load()
        if keyring.by_age(ring)[1] is None:
            ring = keyring.with_prepared_key(ring, self._clock())
        ring = keyring.with_newest_active(ring, self._clock())
        keyring.replace(self._path, ring)
        return ring.active

    def destroy_old(self) -> None:
        """See the port."""
        keyring.replace(self._path, keyring.with_active_only(self._load(), self._clock()))

    def has_pairs_to_renew(self) -> bool:
        """Whether there is no pair to announce, or one that nothing needs any more."""
        ring = self._load()
        return keyring.with_pair(ring, self._clock()) != ring

    def renew_pairs(self) -> None:
        """Make a pair if none can be announced, destroy those that nothing needs."""
        keyring.replace(self._path, keyring.with_pair(self._load(), self._clock()))

    def _load(self) -> KeyRing:
        return keyring.load(self._path)
