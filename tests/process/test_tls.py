"""TLS towards callers, on real sockets of a real process."""

import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from certificates import Authority, replaced
from passferry.simulator import Settings
from process.harness import Running, StandIn, genesys, home

NOWHERE = genesys("http://127.0.0.1:1")


def trusting(ca: Authority, mine: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    """A caller that believes ``ca``, and shows its own certificate if it has one."""
    context = ssl.create_default_context(cafile=str(ca.cert))
    if mine is not None:
        context.load_cert_chain(*mine)
    return context


def port_of(running: Running) -> int:
    """Where it listens."""
    port = urlsplit(running.url).port
    assert port is not None
    return port


@contextmanager
def connected(
    port: int, context: ssl.SSLContext, session: ssl.SSLSession | None = None
) -> Iterator[ssl.SSLSocket]:
    """A TLS connection."""
    plain = socket.create_connection(("127.0.0.1", port), timeout=20)
    with closing(context.wrap_socket(plain, server_hostname="127.0.0.1", session=session)) as connection:
        yield connection


def asked(connection: ssl.SSLSocket) -> bytes:
    """An answer on a connection that stays; empty when it was closed."""
    connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: pass.example\r\n\r\n")
    found = b""
    while not found.endswith(b"}") and (part := connection.recv(65536)):
        found += part
    return found


def shown(port: int, context: ssl.SSLContext) -> Any:
    """The serial number of the certificate that a new connection gets, once a request is answered there."""
    with connected(port, context) as connection:
        assert b" 200 " in asked(connection)
        certificate = connection.getpeercert()
        assert certificate is not None
        return certificate["serialNumber"]


def tls(cert: Path, key: Path, **more: Path) -> dict[str, str]:
    """The environment that names these files."""
    return {f"PASSFERRY_TLS_{name}": str(path) for name, path in {"CERT": cert, "KEY": key, **more}.items()}


def test_a_change_over_tls_reaches_the_target_and_old_tls_does_not_reach_us(tmp_path: Path) -> None:
    """The address is https, with any Host; TLS 1.1 is refused in the handshake."""
    ca = Authority(tmp_path / "tls")
    with (
        StandIn(Settings.calm(rate=100_000)) as target,
        home(tmp_path / "gateway", target.settings()) as place,
    ):
        key, running = place.key(), place.serve(env=tls(*ca.issue("gateway")))
        assert running.url.startswith("https://127.0.0.1:")
        user = target.active_users()[0][0]
        with closing(
            http.client.HTTPSConnection("127.0.0.1", port_of(running), timeout=30, context=trusting(ca))
        ) as client:
            headers = {
                "Authorization": f"Bearer {key}",
                "Content-Type": "application/json",
                "Host": "pass.example",
            }
            body = json.dumps({"userId": user, "password": "Over-Tls-1!"})
            client.request("POST", "/sync/password", body, headers)
            assert client.getresponse().status == 200
        assert target.passwords(user) == ["Over-Tls-1!"]
        old = trusting(ca)
        old.set_ciphers("ALL:@SECLEVEL=0")
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        assert not refused(port_of(running), old)
        with pytest.warns(DeprecationWarning, match="TLSv1"):
            old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        assert refused(port_of(running), old)
        assert running.stop() == 0


def test_a_renewed_certificate_is_used_by_new_connections_and_a_bad_one_never(tmp_path: Path) -> None:
    """A certificate without its key, a cut-off file, an open key: the old one goes on, the log says why."""
    ca = Authority(tmp_path / "tls")
    cert, key = ca.issue("gateway")
    with home(tmp_path / "gateway", NOWHERE) as place:
        running, caller = place.serve(env=tls(cert, key)), trusting(ca)
        port = port_of(running)
        first = shown(port, caller)
        with connected(port, caller) as standing:
            assert b" 200 " in asked(standing)
            ca.issue("gateway")
            second = shown(port, caller)
            assert second != first
            assert b" 200 " in asked(standing)
        assert len(running.events("tls.loaded")) == 1
        newer, newer_key = (path.read_bytes() for path in ca.issue("newer"))
        replaced(cert, newer)
        assert [shown(port, caller) for _ in range(3)] == [second] * 3
        replaced(cert, newer[:300])
        assert shown(port, caller) == second
        replaced(cert, newer)
        replaced(key, newer_key)
        key.chmod(0o644)
        assert shown(port, caller) == second
        key.chmod(0o600)  # nothing but the permission changes
        third = shown(port, caller)
        assert third not in (first, second)
        kept = [(event["setting"], event["reason"]) for event in running.events("tls.kept")]
        assert [name for name, _ in kept] == ["tls_key", "tls_cert", "tls_key"]
        assert "PRIVATE" not in running.log()
        assert running.stop() == 0


def refused(port: int, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> bool:
    """Whether no request is answered: the handshake fails, or in TLS 1.3 the first read."""
    try:
        with connected(port, context, session) as connection:
            return asked(connection) == b""
    except (ssl.SSLError, ConnectionError):
        return True


def test_an_issuing_ca_alone_is_enough_to_tell_callers_apart(tmp_path: Path) -> None:
    """Its root need not be listed, and is then not trusted: what it and its other CAs signed is refused."""
    root = Authority(tmp_path, "root")
    ca, callers, others = (Authority(tmp_path / name, name, root) for name in ("ca", "callers", "others"))
    with home(tmp_path / "gateway", NOWHERE) as place:
        port = port_of(place.serve(env=tls(*root.issue("gateway"), CLIENT_CA=callers.cert)))
        with connected(port, trusting(root, callers.issue("portal"))) as connection:
            assert b" 200 " in asked(connection)
        for signer in (root, ca, others):
            assert refused(port, trusting(root, signer.issue("portal")))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_only_callers_with_a_certificate_get_in_and_no_session_outlives_its_ca(
    tmp_path: Path, version: ssl.TLSVersion
) -> None:
    """None, or another CA's: refused. When the CAs are replaced, a resumed session does not help either."""
    ca, callers, others = (Authority(tmp_path / name, name) for name in ("ca", "callers", "others"))
    with home(tmp_path / "gateway", NOWHERE) as place:
        running = place.serve(env=tls(*ca.issue("gateway"), CLIENT_CA=callers.cert))
        port, mine = port_of(running), trusting(ca, callers.issue("portal"))
        anybody, theirs = trusting(ca), trusting(ca, others.issue("portal"))
        for context in (mine, anybody, theirs):
            context.maximum_version = version
        with connected(port, mine) as connection:
            assert b" 200 " in asked(connection)
            session = connection.session
        with connected(port, mine, session) as connection:
            assert b" 200 " in asked(connection)
            assert connection.session_reused
        assert refused(port, anybody)
        assert refused(port, theirs)
        replaced(callers.cert, others.cert.read_bytes())
        assert refused(port, mine, session)
        assert not refused(port, theirs)
        assert running.stop() == 0


def test_who_is_slow_or_speaks_no_tls_holds_nobody_up(tmp_path: Path) -> None:
    """Silent and plain connections: others are answered, the log has no traceback, the stop is quick."""
    ca = Authority(tmp_path / "tls")
    with home(tmp_path / "gateway", NOWHERE) as place, ExitStack() as held:
        running, caller = place.serve(env=tls(*ca.issue("gateway"))), trusting(ca)
        port = port_of(running)
        for number in range(60):
            silent = held.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            silent.sendall(b"\x16\x03\x01\x02" if number % 2 else b"")
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", port), timeout=20) as plain:
                plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert b"200" not in received(plain)
        started = time.monotonic()
        for _ in range(5):
            shown(port, caller)
        idle = held.enter_context(connected(port, caller))
        assert b" 200 " in asked(idle)
        assert time.monotonic() - started < 5  # a handshake is given up after 10
        started = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - started < 9
        assert "Traceback" not in running.log()
        assert "Exception" not in running.log()


def received(connection: socket.socket) -> bytes:
    """What comes until the other side closes."""
    found = b""
    try:
        while part := connection.recv(65536):
            found += part
    except ConnectionError:
        pass
    return found


def test_a_handshake_that_does_not_end_is_given_up(tmp_path: Path) -> None:
    """After 10 seconds; the socket is free again."""
    ca = Authority(tmp_path / "tls")
    with home(tmp_path / "gateway", NOWHERE) as place:
        running = place.serve(env=tls(*ca.issue("gateway")))
        with socket.create_connection(("127.0.0.1", port_of(running)), timeout=20) as silent:
            started = time.monotonic()
            assert received(silent) == b""
            assert 5 < time.monotonic() - started < 19


def answer(running: Running, *headers: str, host: str = "pass.example") -> bytes:
    """What a plain request gets."""
    with socket.create_connection(("127.0.0.1", port_of(running)), timeout=20) as connection:
        lines = ["GET /healthz HTTP/1.1", f"Host: {host}", "Connection: close", *headers, "", ""]
        connection.sendall("\r\n".join(lines).encode())
        return received(connection)


def test_behind_a_proxy_only_what_came_by_https_is_answered(tmp_path: Path) -> None:
    """From the peers that --behind-proxy names; without it the same request is refused."""
    https = "X-Forwarded-Proto: https"
    with home(tmp_path / "gateway", NOWHERE) as place:
        running = place.serve("--behind-proxy", "127.0.0.0/8", "--behind-proxy", "10.1.0.0/16")
        assert b" 200 " in answer(running, https, "X-Forwarded-For: 192.0.2.8, 198.51.100.4")
        for headers in ((), ("X-Forwarded-Proto: http",)):
            for host in ("pass.example", "127.0.0.1"):
                assert b'"code":"https.required"' in answer(running, *headers, host=host)
        assert running.stop() == 0
        alone = place.serve()
        assert b'"code":"host.not.allowed"' in answer(alone, https)
        assert b" 200 " in answer(alone, host="localhost")
        assert alone.stop() == 0
