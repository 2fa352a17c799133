"""The routes behind the real server: what a socket sees."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn

from http_fakes import USER, World
from passferry.entrypoints.http_protocol import Protocol


@pytest.fixture
def served() -> Iterator[tuple[World, int]]:
    """A gateway over fakes, on a free port of 127.0.0.1."""
    world = World()
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        world.app,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        http=Protocol,
        ws="none",
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.started
    yield world, listener.getsockname()[1]
    server.should_exit = True
    thread.join(10)
    listener.close()


def exchange(port: int, request: bytes) -> bytes:
    """What comes back for ``request`` until the other side closes or says no more."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(request)
        received = b""
        while part := connection.recv(65536):
            received += part
    return received


def head(world: World, *lines: str) -> bytes:
    """The head of a POST by the portal."""
    lines = (
        "POST /sync/password HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/json",
        f"Authorization: Bearer {world.portal}",
        *lines,
        "",
        "",
    )
    return "\r\n".join(lines).encode()


def test_a_change_over_a_socket(served: tuple[World, int]) -> None:
    """202 with JSON, and no Server header."""
    world, port = served
    body = b'{"userId":"' + USER.encode() + b'","password":"Correct-Horse-9"}'
    answer = exchange(port, head(world, f"Content-Length: {len(body)}", "Connection: close") + body)
    assert answer.startswith(b"HTTP/1.1 202 ")
    assert b'"changeId":"c1"' in answer
    assert b"\r\nserver:" not in answer.lower()


@pytest.mark.parametrize("how", ["Content-Length: 999999999", "Transfer-Encoding: chunked"])
def test_the_connection_ends_where_a_body_is_too_large(served: tuple[World, int], how: str) -> None:
    """413 comes while the body is still being sent, and then the connection is closed."""
    world, port = served
    part = b"x" * 8192
    sent = part if how.startswith("C") else b"2000\r\n" + part + b"\r\n" + b"2001\r\n" + part + b"x\r\n"
    answer = exchange(port, head(world, how) + sent)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer.lower()


def test_an_upgrade_is_answered_as_the_request_it_also_is(served: tuple[World, int]) -> None:
    """A websocket handshake gets no connection."""
    _, port = served
    lines = "GET /healthz HTTP/1.1|Host: localhost|Upgrade: websocket|Connection: Upgrade, close|"
    lines += "Sec-WebSocket-Version: 13|Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==||"
    answer = exchange(port, lines.replace("|", "\r\n").encode())
    assert not answer.startswith(b"HTTP/1.1 101")


@pytest.mark.parametrize(
    "sent",
    [
        b"\x00\x01\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET http:// HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_no_http_gets_the_body_of_every_error(served: tuple[World, int], sent: bytes) -> None:
    """400 in JSON with success, message and code; then the connection is closed."""
    _, port = served
    top, _, body = exchange(port, sent).partition(b"\r\n\r\n")
    assert top.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body) == {
        "success": False,
        "message": "the request is not valid HTTP",
        "code": "http.invalid",
    }


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /" + b"x" * 70_000,
        b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000,
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 12_000,
    ],
)
def test_a_head_has_a_largest_size(served: tuple[World, int], sent: bytes) -> None:
    """431 in JSON, without waiting for its end, whatever in it is long; bodies do not count."""
    world, port = served
    answer = exchange(port, sent)
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b'"code":"http.head.too.large"' in answer
    many = head(world, "Content-Length: 15000") + b"x" * 15_000
    assert (
        exchange(port, many * 5 + head(world, "Content-Length: 0", "Connection: close")).count(b" 400 ") == 6
    )


def test_a_head_that_does_not_come_ends_the_connection(
    served: tuple[World, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing at all, a part of the first head, or of a later one; a body may take longer."""
    world, port = served
    monkeypatch.setattr("passferry.entrypoints.http_protocol.HEAD_SECONDS", 0.3)
    for part in (b"", b"GET / HT", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /"):
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(part)
            with contextlib.suppress(ConnectionResetError):
                while connection.recv(65536):
                    pass
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        body = b'{"userId":"' + USER.encode() + b'","password":"Correct-Horse-9"}'
        connection.sendall(head(world, f"Content-Length: {len(body)}"))
        time.sleep(0.6)
        connection.sendall(body)
        assert connection.recv(65536).startswith(b"HTTP/1.1 202 ")


@pytest.mark.parametrize(
    ("request_head", "status", "trickle"),
    [
        ("GET /healthz HTTP/1.1|Host: localhost||", b"200", b"\r\n"),
        ("POST /sync/password HTTP/1.1|Host: localhost|Content-Length: 9999||", b"401", b"x"),
    ],
    ids=["empty lines", "a body that nobody reads"],
)
def test_nothing_that_follows_an_answer_holds_the_connection(
    served: tuple[World, int],
    monkeypatch: pytest.MonkeyPatch,
    request_head: str,
    status: bytes,
    trickle: bytes,
) -> None:
    """Sent once or again and again, it stands for no request: the connection ends when a head is due."""
    _, port = served
    monkeypatch.setattr("passferry.entrypoints.http_protocol.HEAD_SECONDS", 0.4)
    for again in (False, True):
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(request_head.replace("|", "\r\n").encode())
            assert connection.recv(65536).split()[1] == status
            connection.sendall(trickle)
            assert _ends(connection, trickle if again else b"")


def _ends(connection: socket.socket, trickle: bytes) -> bool:
    """Whether the other side ends the connection within 5 s, while ``trickle`` is sent to it."""
    connection.settimeout(0.1)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            connection.sendall(trickle)
            if not connection.recv(65536):
                return True
        except TimeoutError:
            pass
        except OSError:
            return True
    return False


def test_a_request_after_the_rest_of_a_body_is_answered(served: tuple[World, int]) -> None:
    """A caller that was refused before its body was out goes on with the same connection."""
    world, port = served
    refused = b"POST /sync/password HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(refused)
        assert connection.recv(65536).split()[1] == b"401"
        connection.sendall(b"too late!")
        body = b'{"userId":"' + USER.encode() + b'","password":"Correct-Horse-9"}'
        connection.sendall(head(world, f"Content-Length: {len(body)}") + body)
        assert connection.recv(65536).split()[1] == b"202"
