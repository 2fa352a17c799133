"""A look at programs while they run: between them and a gateway, at the moment when they wait for it."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit


class Watch:
    """Passes connections on to a gateway, and first looks at every process below this one.

    Whoever asks is past its start then, and waits. ``away``: nothing is passed on. ``only`` such with that
    argument are looked at: one that asks on its own must not have others looked at while they start.
    """

    def __init__(self, only: str = "") -> None:
        self._only = b"\0" + only.encode() + b"\0" if only else b""
        self.arguments: set[tuple[str, bytes]] = set()
        self.environments: set[tuple[str, bytes]] = set()
        self.closed = 0  # environments that could not be looked at
        self.away = False
        self._to = ("127.0.0.1", 9)
        self._listener = socket.create_server(("127.0.0.1", 0))

    def __enter__(self) -> "Watch":
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def lead_to(self, url: str) -> None:
        """Where connections go from now on."""
        parts = urlsplit(url)
        self._to = (parts.hostname or "", parts.port or 0)

    def saw(self, *arguments: str) -> bool:
        """Whether a program with these arguments side by side was looked at."""
        wanted = b"\0" + b"\0".join(os.fsencode(each) for each in arguments) + b"\0"
        return any(wanted in content for _, content in self.arguments)

    def _serve(self) -> None:
        while True:
            try:
                asking, _ = self._listener.accept()
            except OSError:
                return
            self._look()
            threading.Thread(target=self._pass_on, args=(asking,), daemon=True).start()

    def _look(self) -> None:
        for pid in descendants():
            with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
                if self._only not in arguments:
                    continue
                self.arguments.add(("cmdline", arguments))
                try:
                    self.environments.add(("environ", Path(f"/proc/{pid}/environ").read_bytes()))
                except PermissionError:  # as it should be for whoever is not root
                    self.closed += 1

    def _pass_on(self, asking: socket.socket) -> None:
        with asking, suppress(OSError):
            if self.away:
                return
            with socket.create_connection(self._to, timeout=30) as gateway:
                threading.Thread(target=_copy, args=(asking, gateway), daemon=True).start()
                _copy(gateway, asking)


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while part := source.recv(1 << 16):
            sink.sendall(part)
        sink.shutdown(socket.SHUT_WR)


def descendants() -> Iterator[int]:
    """The ids of all processes below this one."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            after_name = (entry / "stat").read_bytes().rpartition(b")")[2].split()
            parents[int(entry.name)] = int(after_name[1])
    for pid in parents:
        above = pid
        while (above := parents.get(above, 0)) > 1:
            if above == os.getpid():
                yield pid
                break
