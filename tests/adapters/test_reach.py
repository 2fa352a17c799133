"""Connections that are made for a look: TLS, trust, and why not."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from passferry.adapters.reach import NotReached, Reached, reach

ENDS = datetime(2100, 1, 2, tzinfo=UTC)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 with its key, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback")])
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(ENDS)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = tmp_path / "server.pem"
    path.write_bytes(private + built.public_bytes(encoding))
    return path


def look(certificate: Path, trusted: Path | None) -> Reached | NotReached:
    """Reach a TLS server that shows ``certificate``, trusting ``trusted`` alone, or what everybody trusts."""

    async def body() -> Reached | NotReached:
        shown = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        shown.load_cert_chain(certificate)
        server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0, ssl=shown)
        async with server:
            url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            context = ssl.create_default_context(cafile=trusted) if trusted else None
            return await reach(url, 5.0, context)

    return asyncio.run(body())


def test_a_trusted_certificate_gives_the_version_of_tls_and_its_end(certificate: Path) -> None:
    """What is trusted is reached, and when its certificate ends is known."""
    assert look(certificate, certificate) == Reached("TLSv1.3", ENDS.timestamp())


def test_a_certificate_that_nobody_signed_is_not_trusted(certificate: Path) -> None:
    """By default exactly what the HTTP client trusts is trusted: a certificate of our own is not."""
    found = look(certificate, None)
    assert isinstance(found, NotReached)
    assert found.trust
    assert "not trusted" in found.why


def test_a_port_without_a_listener_is_refused() -> None:
    """A refused connection says so; nobody was there whom one could distrust."""

    async def body() -> Reached | NotReached:
        server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        return await reach(f"http://127.0.0.1:{port}", 5.0)

    found = asyncio.run(body())
    assert isinstance(found, NotReached)
    assert not found.trust
    assert "refused" in found.why
