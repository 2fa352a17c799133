"""The wire that stands for a network: what a cut, a half cut and a mend do to a connection."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from process.harness import until
from process.wire import Wire


class Echo:
    """A server that answers each byte with itself, and remembers what came."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.heard = b""
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                taken, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(taken,), daemon=True).start()

    def _answer(self, taken: socket.socket) -> None:
        with closing(taken):
            try:
                while data := taken.recv(100):
                    self.heard += data
                    taken.sendall(data)
            except OSError:
                return

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    """The server at the far end."""
    server = Echo()
    yield server
    server.close()


def dial(wire: Wire) -> socket.socket:
    """A connection by way of the wire."""
    return socket.create_connection(("127.0.0.1", wire.port), timeout=5)


def silent(line: socket.socket) -> bool:
    """Whether nothing comes, not even an end."""
    line.settimeout(0.2)
    try:
        return line.recv(1) == b"never"
    except TimeoutError:
        return True
    finally:
        line.settimeout(5)


def test_a_cut_wire_is_silent_and_gives_everything_once_it_is_mended(echo: Echo) -> None:
    """Nothing is forwarded and nothing closed; then what was sent meanwhile arrives, old line and new."""
    with Wire("127.0.0.1", echo.port) as wire, closing(dial(wire)) as line:
        line.sendall(b"a")
        assert line.recv(1) == b"a"
        wire.cut()
        line.sendall(b"b")
        with closing(dial(wire)) as other:
            other.sendall(b"c")
            assert silent(line)
            assert silent(other)
            assert echo.heard == b"a"
            wire.mend()
            assert (line.recv(1), other.recv(1)) == (b"b", b"c")


def test_a_wire_cut_one_way_lets_the_server_act_and_nobody_hear_of_it(echo: Echo) -> None:
    """What was asked for is done; the answer comes only after the mend."""
    with Wire("127.0.0.1", echo.port) as wire, closing(dial(wire)) as line:
        line.sendall(b"a")
        assert line.recv(1) == b"a"
        wire.cut(there=False)
        line.sendall(b"b")
        until(lambda: echo.heard == b"ab", 5, "the request")
        assert silent(line)
        wire.mend()
        assert line.recv(1) == b"b"


def test_a_reset_tells_both_sides(echo: Echo) -> None:
    """The line ends at once, and a new one works."""
    with Wire("127.0.0.1", echo.port) as wire, closing(dial(wire)) as line:
        line.sendall(b"a")
        assert line.recv(1) == b"a"
        wire.reset()
        with pytest.raises(ConnectionError):
            line.recv(1)
        until(lambda: wire.lines == 0, 5, "the end")
        with closing(dial(wire)) as other:
            other.sendall(b"d")
            assert other.recv(1) == b"d"


@pytest.mark.parametrize(
    ("url", "through"),
    [
        (
            "postgresql://me:s%40c@db:5432/x?sslmode=disable",
            "postgresql://me:s%40c@127.0.0.1:{}/x?sslmode=disable",
        ),
        ("http://db:80/", "http://127.0.0.1:{}/"),
    ],
)
def test_a_url_by_way_of_the_wire_keeps_everything_but_the_host(echo: Echo, url: str, through: str) -> None:
    """Who asks, for which database, and how."""
    with Wire("127.0.0.1", echo.port) as wire:
        assert wire.url(url) == through.format(wire.port)
