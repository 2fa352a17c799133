"""TLS towards callers: each new connection gets the certificate that is on disk then."""

import ssl
from pathlib import Path
from typing import Any

import structlog

from passferry.config import TlsFiles
from passferry.config.tls import TlsUnusable, server_context

_Stamp = tuple[int, int, int]
_log = structlog.get_logger("passferry.tls")


class LiveContext(ssl.SSLContext):
    """A context that follows its files; the event loop takes it as any other.

    The files are looked at before each handshake. What was replaced is loaded and checked as a whole, in a
    context of its own (so no session of before outlives the CAs of clients that it was checked against).
    What cannot be used, such as a file that is half written or a certificate whose key has not come yet,
    changes nothing, and is logged once.
    """

    def __new__(cls, files: TlsFiles) -> "LiveContext":
        """The context that a loop wants to see; connections are made from another one."""
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, files: TlsFiles) -> None:
        """Load ``files``. Raises ``TlsUnusable``."""
        self._files = files
        self._stamps = self._look()  # before reading: what is replaced meanwhile is seen later
        self._current = server_context(files)

    def wrap_bio(self, *args: Any, **more: Any) -> ssl.SSLObject:
        """A new connection."""
        self._follow()
        return self._current.wrap_bio(*args, **more)

    def _look(self) -> tuple[_Stamp | None, ...]:
        return tuple(_stamp(path) for path in self._files.paths())

    def _follow(self) -> None:
        stamps = self._look()
        if stamps == self._stamps:
            return
        self._stamps = stamps
        try:
            self._current = server_context(self._files)
        except TlsUnusable as error:
            for each in error.mistakes:
                _log.error("tls.kept", setting=each.key, reason=each.what, hint=each.hint)
        else:
            _log.info("tls.loaded", cert=str(self._files.cert))


def _stamp(path: Path) -> _Stamp | None:
    """What tells two states of a file apart. It changes with its content, its permissions and its place."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_ctime_ns, found.st_size
