"""A secret that stands in a file and may be replaced there while we run."""

from pathlib import Path

import structlog

from passferry.config.problems import Wrong
from passferry.config.settings import Secret
from passferry.config.sources import Gathered, secret_text
from passferry.config.values import text as checked

log = structlog.get_logger("passferry.config")

_NEVER: tuple[int, ...] = ()


class FileSecret(Secret):
    """The secret that its file holds now.

    Every ``reveal`` looks whether the file is another than the one that was read last (2 µs), and reads it
    then. A file that is missing, empty or otherwise unusable changes nothing but the log: the last secret
    goes on being used, since whoever replaces a file may be halfway through.
    """

    __slots__ = ("_path", "_seen", "_where")

    def __init__(self, text: str, path: Path, where: str) -> None:
        """``text`` was read from ``path`` a moment ago; ``where`` says for a person what names it."""
        super().__init__(text)
        self._path, self._where = path, where
        self._seen: tuple[int, ...] | None = _NEVER  # the file may have changed since it was read

    def reveal(self) -> str:
        """See ``Secret``."""
        if self.changed():
            self._read()
        return self._text

    def changed(self) -> bool:
        """Whether the file is another than the one that was read last, or has gone."""
        return _state(self._path) != self._seen

    def _read(self) -> None:
        self._seen = _state(self._path)  # before it is read: what changes meanwhile is read next time
        found = Gathered()
        text = secret_text(found, self._path, self._where)
        why = "; ".join(problem.what for problem in found.problems)
        if text is not None:
            try:
                text = checked(text)
            except Wrong as wrong:
                text, why = None, f"{self._where} {wrong.what}"
        if text is None:
            log.error("secret.not.read", why=why, used="the one read before")
        elif text != self._text:
            self._text = text
            log.info("secret.replaced", setting=self._where)


def _state(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
