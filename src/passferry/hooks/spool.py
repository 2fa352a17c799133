"""The spool: a private folder with one sealed letter a file, whole and durable or not there at all."""

import contextlib
import fcntl
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MOST_BYTES = 64 * 1024 * 1024
"""Of all letters together."""
MOST_LETTER = 16 * 1024
"""Of one: the gateway reads no more."""
ASIDE = "aside"
LEFT_SECONDS = 3600.0
"""A temporary file of that age was left by a process that is gone."""
ASIDE_SECONDS = 30 * 86_400.0
"""So long a letter that could not be handed over is there to be looked at."""
_NAME = re.compile(r"([0-9]{17})-[0-9a-f]{12}\.letter")


class SpoolUnusable(Exception):
    """Nothing can be spooled; the text says why, and what to do."""


@dataclass(frozen=True, slots=True, order=True)
class Waiting:
    """One letter. ``since`` is epoch seconds, from its name."""

    since: float
    path: Path

    def read(self) -> bytes | None:
        """The letter; None when somebody else handed it over meanwhile."""
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None

    def put_off(self) -> None:
        """Others are handed over before it from now on, by any process: its file is read-only."""
        with contextlib.suppress(FileNotFoundError):
            self.path.chmod(0o400)

    def was_put_off(self) -> bool:
        """Whether the gateway looked at it, and did not take it."""
        try:
            return not self.path.stat().st_mode & stat.S_IWUSR
        except FileNotFoundError:
            return False


class Spool:
    """A folder of letters. Several processes may use it at once."""

    def __init__(self, folder: Path, most: int) -> None:
        """``most`` letters are kept at once."""
        self.folder, self._most = folder, most

    def check(self) -> None:
        """Make the folder if only it is missing. Raises ``SpoolUnusable`` unless it is ours alone."""
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            found = self.folder.lstat()
        except OSError as error:
            reason = error.strerror or "it cannot be made"
        else:
            reason = _refusal(found)
        if reason:
            raise SpoolUnusable(f"the spool {self.folder} cannot be used: {reason}")

    def put(self, letter: bytes, now: float) -> Waiting:
        """``letter`` in a file of its own, which would survive a power cut on return.

        Args:
            letter: sealed.
            now: epoch seconds, since when it waits.

        Raises:
            SpoolUnusable: the folder is full, not ours alone, or cannot be written.
        """
        self.check()
        name = f"{max(0, round(now * 1e6)):017d}-{secrets.token_hex(6)}.letter"
        try:
            self._make_room(len(letter))
            write_whole(self.folder / name, letter)
        except OSError as error:
            reason = error.strerror or type(error).__name__
        else:
            return _waiting(self.folder / name)
        raise SpoolUnusable(f"the spool {self.folder} cannot be written: {reason}")

    def waiting(self) -> list[Waiting]:
        """All letters, oldest first. Raises ``SpoolUnusable``."""
        self.check()
        try:
            return sorted(_waiting(self.folder / name) for name in self._names(self.folder))
        except OSError as error:
            reason = error.strerror or type(error).__name__
        raise SpoolUnusable(f"the spool {self.folder} cannot be read: {reason}")

    def is_empty(self) -> bool:
        """Whether nothing waits; also where there is no folder yet. It raises nothing."""
        try:
            return next(self._names(self.folder), None) is None
        except OSError:
            return True

    def aside(self) -> list[Waiting]:
        """The letters that could not be handed over, oldest first."""
        folder = self.folder / ASIDE
        return sorted(_waiting(folder / name) for name in self._names(folder)) if folder.is_dir() else []

    def drop(self, letter: Waiting) -> None:
        """The gateway has it, or will never take it."""
        letter.path.unlink(missing_ok=True)

    def set_aside(self, letter: Waiting, now: float) -> None:
        """Keep it, from ``now`` (epoch seconds) on, for a person to look at; it is not tried any more."""
        folder = self.folder / ASIDE
        folder.mkdir(mode=0o700, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.utime(letter.path, (now, now))
            letter.path.rename(folder / letter.path.name)

    def sweep(self, now: float) -> None:
        """Delete what dead processes left, and what was set aside long ago. ``now`` is epoch seconds."""
        for left in self.folder.glob(".*.part"):
            with contextlib.suppress(FileNotFoundError):
                if now - left.stat().st_mtime > LEFT_SECONDS:
                    left.unlink()
        for letter in self.aside():
            with contextlib.suppress(FileNotFoundError):
                if now - letter.path.stat().st_mtime > ASIDE_SECONDS:
                    self.drop(letter)

    @contextmanager
    def alone(self, seconds: float) -> Iterator[bool]:
        """Whether this process alone hands letters over until the block ends; waits ``seconds`` for it."""
        deadline = time.monotonic() + seconds
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            yield _locked(descriptor, deadline)
        finally:
            os.close(descriptor)

    def _make_room(self, size: int) -> None:
        if size > MOST_LETTER:
            raise SpoolUnusable(f"a letter of {size} bytes is larger than the gateway takes")
        count = total = 0
        for name in self._names(self.folder):
            with contextlib.suppress(FileNotFoundError):
                total += (self.folder / name).stat().st_size
                count += 1
        if count >= self._most or total + size > MOST_BYTES:
            raise SpoolUnusable(f"the spool {self.folder} is full: {count} letters wait for the gateway")

    def _names(self, folder: Path) -> Iterator[str]:
        with os.scandir(folder) as entries:
            for entry in entries:
                if _NAME.fullmatch(entry.name):
                    yield entry.name


def write_whole(path: Path, content: bytes) -> None:
    """``content`` at ``path``, 0600 and durable; whatever was there is replaced. Raises ``OSError``."""
    temporary = path.with_name(f".{secrets.token_hex(6)}.part")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _refusal(found: os.stat_result) -> str:
    if not stat.S_ISDIR(found.st_mode):
        return "it is no folder"
    if found.st_uid != os.geteuid():
        return f"it belongs to user {found.st_uid}, not to user {os.geteuid()} who runs the hook"
    if found.st_mode & 0o077:
        return f"others may use it (mode {stat.S_IMODE(found.st_mode):04o}): chmod 700"
    return ""


def _waiting(path: Path) -> Waiting:
    return Waiting(int(path.name[:17]) / 1e6, path)


def _locked(descriptor: int, deadline: float) -> bool:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)
        else:
            return True
