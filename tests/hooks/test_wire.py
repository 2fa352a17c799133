import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from passferry.client import base_url
from passferry.hooks.wire import Unreachable, Wire

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: "


@contextmanager
def server(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """Something that listens, and talks to whoever connects; its address."""
    listener = socket.create_server(("127.0.0.1", 0))

    def work() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            with peer:
                try:
                    talk(peer)
                except OSError:
                    return

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def drip(peer: socket.socket) -> None:
    """An answer that never ends, a byte at a time."""
    peer.sendall(HEAD + b"1000\r\n\r\n")
    for _ in range(40):
        peer.sendall(b" ")
        time.sleep(0.05)


@pytest.mark.parametrize("talk", [drip, lambda peer: time.sleep(1.5)])
def test_a_call_ends_in_time_whatever_the_other_side_does(talk: Callable[[socket.socket], None]) -> None:
    """An answer that drips, or never comes, costs the time limit and no more."""
    with server(talk) as url:
        started = time.monotonic()
        with pytest.raises(Unreachable, match="in time"):
            Wire(url, "key").call("GET", "/", 0.4)
        assert time.monotonic() - started < 1.2


@pytest.mark.parametrize(
    "answer",
    [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 999999 x\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000],
)
def test_no_answer_is_unreachable(answer: bytes) -> None:
    """A connection that breaks, or speaks no HTTP, is the gateway being away; the error holds no request."""
    with server(lambda peer: peer.sendall(answer)) as url, pytest.raises(Unreachable) as caught:
        Wire(url, "key").call("POST", "/", 2.0, b"secret body")
    assert "secret" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("text", [b"[]", b"x", b"\xff", b'{"a":'])
def test_a_body_that_is_no_object_is_empty(text: bytes) -> None:
    """A status is enough."""
    with server(lambda peer: peer.sendall(HEAD + f"{len(text)}\r\n\r\n".encode() + text)) as url:
        reply = Wire(url, "key").call("GET", "/", 5.0)
    assert (reply.status, reply.body) == (200, {})


def test_a_redirect_is_not_followed() -> None:
    """The answer is the redirect itself: a password goes to the configured address only."""
    seen: list[bytes] = []

    def talk(peer: socket.socket) -> None:
        seen.append(peer.recv(65536))
        peer.sendall(b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n")

    with server(talk) as url:
        assert Wire(url, "key").call("GET", "/", 5.0).status == 302
    assert len(seen) == 1


def test_no_time_left_is_said_without_a_connection() -> None:
    """Nothing is sent when nothing could come back."""
    with pytest.raises(Unreachable, match="no time"):
        Wire("http://127.0.0.1:9", "key").call("GET", "/", 0.0)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("https://a.example/", "https://a.example"),
        ("https://a.example:8443/x/", "https://a.example:8443/x"),
        ("http://[::1]:80", "http://[::1]:80"),
        ("http://localhost", "http://localhost"),
        ("http://a.example", None),
        ("http://127.0.0.1.example.com", None),
        ("https://", None),
        ("https://a.example:x", None),
        ("https://a.example?x", None),
        ("ftp://a.example", None),
    ],
)
def test_a_password_is_sent_by_tls_or_on_this_machine_only(text: str, found: str | None) -> None:
    """https anywhere, http on loopback."""
    assert base_url(text) == found


def test_the_key_is_not_shown() -> None:
    """`repr` leaves it out."""
    assert "secret" not in repr(Wire("https://a.example", "secret"))
