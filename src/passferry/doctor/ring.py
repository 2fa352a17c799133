"""The key ring's file, judged: the same beside every database."""

from collections.abc import Callable, Sequence
from pathlib import Path

from passferry.adapters import keyring
from passferry.domain.diagnosis import Finding, fail, ok, warn


def key_file(
    path: Path, beside: Sequence[Path], missing: Callable[[str], Finding]
) -> tuple[keyring.KeyRing | None, Finding]:
    """The ring at ``path``, if it can be used, and what is to be said of it.

    Args:
        path: its file.
        beside: folders that hold sealed data, where no ring may lie.
        missing: makes the finding where there is no file, of the words for that.
    """
    try:
        keyring.check_place(path, beside)
        ring = keyring.load(path)
    except keyring.KeyRingMissing as error:
        return None, missing(error.what)
    except keyring.KeyRingError as error:
        return None, fail("key file", error.what, error.hint)
    old, prepared = keyring.by_age(ring)
    if prepared is not None and not old:
        why = f"{path} holds the next sealing key, {prepared}, for a rotation"
        return ring, warn(
            "key file", why, "once every machine has this ring: `passferry keys rotate` on each"
        )
    if old:
        why = f"{path} holds {len(ring.keys)} sealing keys: a rotation runs, or was cut short"
        return ring, warn("key file", why, "`passferry keys rotate` finishes it")
    return ring, ok("key file", f"{path}, 1 sealing key; is it backed up apart from the database?")
