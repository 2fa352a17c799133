"""The key pairs in the ring's file, as the port ``HandOver``; read again when it was replaced."""

from pathlib import Path

from passferry import hand_over
from passferry.adapters import keyring
from passferry.adapters.key_file import stamp
from passferry.adapters.keyring import KeyRingError
from passferry.ports import HandOverKey, SealBroken, UnknownKey


class FileHandOver:
    """The port over the ring at ``path``. A file that cannot be read leaves what was read last in use."""

    def __init__(self, path: Path) -> None:
        """Read the ring. Raises ``KeyRingError``."""
        self._path, self._stamp = path, stamp(path)
        self._use(keyring.load(path))

    def key(self) -> HandOverKey | None:
        """See the port."""
        self._follow()
        return self._announced

    def open(self, sealed: bytes) -> bytes:
        """See the port."""
        self._follow()
        name = hand_over.key_id_of(sealed)
        if name is None:
            raise SealBroken
        private = self._private.get(name)
        if private is None:
            raise UnknownKey(name)
        plaintext = hand_over.opened(private, sealed)
        if plaintext is None:
            raise SealBroken
        return plaintext

    def _follow(self) -> None:
        try:
            found = stamp(self._path)
            if found != self._stamp:
                self._use(keyring.load(self._path))
                self._stamp = found
        except (KeyRingError, OSError):
            return

    def _use(self, ring: keyring.KeyRing) -> None:
        pair = keyring.announced(ring)
        self._announced = HandOverKey(pair.id, pair.public) if pair is not None else None
        self._private = {each.id: each.private for each in ring.pairs}
