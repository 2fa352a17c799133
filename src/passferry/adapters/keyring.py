"""The key ring file: the keys that seal passwords at rest, and the key of the MACs.

The file is JSON, owned by the user who runs Passferry, and readable by nobody else:

    {"kind": "passferry key ring", "version": 1, "active": ID,
     "keys": [{"id": ID, "created": RFC 3339, "key": BASE64 of 32 bytes}, …],
     "mac": BASE64 of 32 bytes,
     "pairs": [{"id": ID, "key": ID, "created": RFC 3339, "retired": RFC 3339 or null,
                "private": BASE64 of 32 bytes}, …]}

An ID is 16 hexadecimal digits in lower case. Sealing uses the active key; every key of the ring opens. Keys
are listed by age: those before the active one wait to be destroyed, one after it was prepared for the next
rotation. ``pairs`` may be missing, as it is in rings of older releases (``ring_pairs`` says what it is for).

Rotation replaces sealing keys and keeps the MAC key: audit chains and idempotency MACs outlive any of them.
"""

import base64
import binascii
import contextlib
import dataclasses
import json
import os
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from passferry.adapters import ring_pairs
from passferry.adapters.new_file import sync
from passferry.adapters.ring_pairs import BadPair, Pair, new_pair

KEY_BYTES = 32
ID_BYTES = 8
MAX_FILE_BYTES = 65_536
KIND = "passferry key ring"
VERSION = 1
_ID = re.compile(r"[0-9a-f]{16}\Z")


class KeyRingError(Exception):
    """The ring cannot be used.

    ``what`` says what is wrong, ``hint`` what to do. Neither holds anything of a key.
    """

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(f"{what} ({hint})")
        self.what = what
        self.hint = hint


class KeyRingMissing(KeyRingError):
    """There is no file at that path."""


@dataclass(frozen=True, slots=True)
class SealingKey:
    """One AES-256 key. ``created`` is RFC 3339 text."""

    id: str
    created: str
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The keys in memory; printing it shows ids only."""

    active: str
    keys: Mapping[str, SealingKey]
    mac_key: bytes = field(repr=False)
    pairs: tuple[Pair, ...] = ()  # by age


def generate(now: float, random: Callable[[int], bytes] = os.urandom) -> KeyRing:
    """A ring of one fresh sealing key with its pair, and a fresh MAC key.

    Args:
        now: epoch seconds, written down as the key's time of creation.
        random: gives that many bytes from a cryptographic source.
    """
    created = _time(now)
    key = SealingKey(random(ID_BYTES).hex(), created, random(KEY_BYTES))
    mac_key = random(KEY_BYTES)
    return KeyRing(key.id, {key.id: key}, mac_key, (new_pair(key.id, created, random(KEY_BYTES)),))


def _time(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def with_prepared_key(ring: KeyRing, now: float, random: Callable[[int], bytes] = os.urandom) -> KeyRing:
    """``ring`` with one sealing key and its pair more, not in use yet; arguments as those of ``generate``."""
    more = generate(now, random)
    return dataclasses.replace(ring, keys={**ring.keys, **more.keys}, pairs=(*ring.pairs, *more.pairs))


def with_newest_active(ring: KeyRing, now: float) -> KeyRing:
    """``ring`` with its newest sealing key as the active one from ``now`` on, epoch seconds."""
    active = list(ring.keys)[-1]
    return dataclasses.replace(ring, active=active, pairs=ring_pairs.retired(ring.pairs, active, _time(now)))


def with_active_only(ring: KeyRing, now: float) -> KeyRing:
    """``ring`` without the sealing keys that are not active, and the pairs that nothing needs at ``now``.

    The MAC key stays.
    """
    return dataclasses.replace(
        ring, keys={ring.active: ring.keys[ring.active]}, pairs=ring_pairs.kept(ring.pairs, now)
    )


def with_pair(ring: KeyRing, now: float, random: Callable[[int], bytes] = os.urandom) -> KeyRing:
    """``ring`` with a pair to announce, if it had none; without those that nothing needs at ``now``."""
    pairs = ring_pairs.kept(ring.pairs, now)
    if announced(dataclasses.replace(ring, pairs=pairs)) is None:
        pairs = (new_pair(ring.active, _time(now), random(KEY_BYTES)), *pairs)
    return dataclasses.replace(ring, pairs=pairs)


def announced(ring: KeyRing) -> Pair | None:
    """The pair to whose public key sources are to seal."""
    return ring_pairs.announced(ring.pairs, by_age(ring)[1])


def by_age(ring: KeyRing) -> tuple[frozenset[str], str | None]:
    """Ids of the sealing keys older than the active one, and of one that was prepared after it."""
    ids = list(ring.keys)
    at = ids.index(ring.active)
    return frozenset(ids[:at]), ids[-1] if ids[at + 1 :] else None


def check_place(path: Path, beside: Sequence[Path]) -> None:
    """Refuse a ring that lies with what it seals: whoever copies the one would have the other.

    Args:
        path: the ring's file.
        beside: folders that hold sealed data (state directory, the database's folder).

    Raises:
        KeyRingError: the file, or what its link leads to, lies in one of them or below.
    """
    for place in (path.absolute(), path.resolve()):
        for folder in beside:
            if place.is_relative_to(folder.absolute()) or place.is_relative_to(folder.resolve()):
                raise KeyRingError(
                    f"the key file {path} lies in {folder}, beside what it seals",
                    "move it to another folder that is not backed up together with the database,"
                    " and set PASSFERRY_KEY_FILE",
                )


def create(path: Path, ring: KeyRing) -> None:
    """Write ``ring`` to ``path``, which must not exist; on return it would survive a power cut.

    Missing parent folders are made, for their owner only.

    Raises:
        KeyRingError: something is there already, or it cannot be written.
    """
    problem = None
    try:
        _make_folder(path.parent)
        _write_new(path, _serialize(ring))
    except FileExistsError:
        problem = KeyRingError(f"{path} exists already", "a key file is never overwritten")
    except OSError as error:
        problem = KeyRingError(
            f"cannot write the key file {path}: {error.strerror}",
            "check the folder's owner and permissions, or set PASSFERRY_KEY_FILE",
        )
    if problem is not None:
        raise problem


def replace(path: Path, ring: KeyRing) -> None:
    """Put ``ring`` in the place of the file at ``path``; cut short at any point, it leaves one of both.

    The blocks of the old file are overwritten afterwards, unless it has another name (a hard link).

    Raises:
        KeyRingError: it cannot be written; the file is as it was.
    """
    problem = None
    try:
        target = path.resolve()  # a link to the ring stays one
        with target.open("r+b") as old:
            _replace(target, _serialize(ring))
            if os.fstat(old.fileno()).st_nlink == 0:
                old.write(bytes(os.fstat(old.fileno()).st_size))
                old.flush()
                os.fsync(old.fileno())
    except OSError as error:
        problem = KeyRingError(
            f"cannot replace the key file {path}: {error.strerror}",
            "its folder must be writable for the user who runs Passferry",
        )
    if problem is not None:
        raise problem


def load(path: Path) -> KeyRing:
    """The ring in the file at ``path``.

    Raises:
        KeyRingMissing: there is no such file.
        KeyRingError: it is not a regular file, belongs to another user, is accessible to others, or does not
            hold a ring that this version understands.
    """
    problem: KeyRingError
    try:
        return _parse(path, _read(path))
    except FileNotFoundError:
        problem = KeyRingMissing(
            f"there is no key file at {path}",
            "restore it from its back-up, or set PASSFERRY_KEY_FILE to where it is;"
            " without it nothing that is stored can be opened",
        )
    except OSError as error:
        problem = KeyRingError(
            f"cannot read the key file {path}: {error.strerror}", "run as the user who owns it"
        )
    raise problem


def _make_folder(folder: Path) -> None:
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    for place in reversed(missing):
        with contextlib.suppress(FileExistsError):
            place.mkdir(mode=0o700)
        sync(place.parent)


def _write_new(path: Path, content: bytes) -> None:
    temporary = _temporary(path)
    try:
        _write_synced(temporary, content)
        os.link(temporary, path)  # unlike a rename, it fails when something is there
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


def _replace(path: Path, content: bytes) -> None:
    for left in path.parent.glob(f".{path.name}.*.new"):  # by a process that was killed: it holds keys
        left.unlink(missing_ok=True)
    temporary = _temporary(path)
    try:
        _write_synced(temporary, content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.urandom(6).hex()}.new")


def _write_synced(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path) -> bytes:
    # O_NONBLOCK: opening a FIFO must not wait for its writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        _check_file(path, os.fstat(file.fileno()), os.geteuid())
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise KeyRingError(
            f"{path} is larger than {MAX_FILE_BYTES} bytes", "PASSFERRY_KEY_FILE names another file"
        )
    return content


def _check_file(path: Path, status: os.stat_result, user: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise KeyRingError(
            f"{path} is not a regular file", "PASSFERRY_KEY_FILE must name the key file itself"
        )
    if status.st_uid != user:
        raise KeyRingError(
            f"the key file {path} belongs to user {status.st_uid}, not to user {user} who runs this",
            f"run as its owner, or: chown {user} {path}",
        )
    if status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        raise KeyRingError(
            f"the key file {path} is accessible to other users (mode {mode:04o})",
            f"chmod 600 {path}; if others could read it, rotate the keys as well",
        )


def _serialize(ring: KeyRing) -> bytes:
    document = {
        "kind": KIND,
        "version": VERSION,
        "active": ring.active,
        "keys": [
            {"id": key.id, "created": key.created, "key": base64.b64encode(key.key).decode()}
            for key in ring.keys.values()
        ],
        "mac": base64.b64encode(ring.mac_key).decode(),
        "pairs": [ring_pairs.written(pair) for pair in ring.pairs],
    }
    return json.dumps(document, indent=1).encode() + b"\n"


class _Malformed(Exception):
    """What about the document is wrong; never holds a value from it."""


def _parse(path: Path, content: bytes) -> KeyRing:
    wrong: str
    try:
        return _ring(_document(content))
    except _Malformed as error:
        wrong = str(error)
    # Outside the except block, so that no parser's error, which may hold the text, comes along.
    raise KeyRingError(
        f"the key file {path} cannot be used: {wrong}", "restore it from its back-up; do not edit it by hand"
    )


def _document(content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise _Malformed("it is not a Passferry key ring")
    if document.get("version") != VERSION or isinstance(document["version"], bool):
        raise _Malformed("its version is not known to this release")
    if set(document) - {"pairs"} != {"kind", "version", "active", "keys", "mac"}:
        raise _Malformed("it has missing or unknown members")
    return document


def _ring(document: dict[str, Any]) -> KeyRing:
    listed = document["keys"]
    if not isinstance(listed, list) or not listed:
        raise _Malformed("it holds no sealing key")
    keys: dict[str, SealingKey] = {}
    for item in listed:
        key = _sealing_key(item)
        if key.id in keys:
            raise _Malformed("it holds two keys of one id")
        keys[key.id] = key
    if document["active"] not in keys:
        raise _Malformed("its active key is not among its keys")
    return KeyRing(document["active"], keys, _key(document["mac"]), _pairs(document.get("pairs", [])))


def _pairs(listed: Any) -> tuple[Pair, ...]:
    if not isinstance(listed, list):
        raise _Malformed("its key pairs are no list")
    wrong = ""
    try:
        return tuple(ring_pairs.read(item) for item in listed)
    except BadPair as error:
        wrong = str(error)
    raise _Malformed(wrong)


def _sealing_key(item: Any) -> SealingKey:
    if not isinstance(item, dict) or set(item) != {"id", "created", "key"}:
        raise _Malformed("a sealing key has missing or unknown members")
    if not isinstance(item["id"], str) or not _ID.match(item["id"]):
        raise _Malformed("a sealing key's id is not 16 hexadecimal digits")
    if not isinstance(item["created"], str):
        raise _Malformed("a sealing key's time of creation is not text")
    return SealingKey(item["id"], item["created"], _key(item["key"]))


def _key(text: Any) -> bytes:
    key = b""
    if isinstance(text, str):
        with contextlib.suppress(binascii.Error, ValueError):
            key = base64.b64decode(text, validate=True)
    if len(key) != KEY_BYTES:
        raise _Malformed(f"a key is not {KEY_BYTES} bytes in base64")
    return key
