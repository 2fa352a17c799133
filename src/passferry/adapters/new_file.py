"""A file that is there whole and durable, or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


@contextmanager
def new_file(path: Path) -> Iterator[TextIO]:
    """What is written in the block is at ``path`` after it, synced to disk, mode 0600.

    If the block raises, nothing is there. Killed meanwhile, a file ``.NAME.….part`` is left beside it.

    Raises:
        FileExistsError: something is at ``path``; it is left as it is.
        OSError: it cannot be written there, or the file system knows no hard links.
    """
    if os.path.lexists(path):
        raise FileExistsError(path)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii", newline="\n") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)  # unlike a rename, it fails when something is there
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


def sync(path: Path) -> None:
    """Make sure that a file, or what a folder lists, is on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
