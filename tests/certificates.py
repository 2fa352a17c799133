"""Certificates for tests: a CA of one's own, and what it signs."""

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

DAY = datetime.timedelta(days=1)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _pem(key: ec.EllipticCurvePrivateKey, passphrase: bytes | None = None) -> bytes:
    how = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how)


class Authority:
    """A CA that signs for 127.0.0.1."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder, self._key, self._name = folder, ec.generate_private_key(ec.SECP256R1()), _name(name)
        folder.mkdir(parents=True, exist_ok=True)
        self.cert = folder / f"{name}.pem"
        signed = self._signed(self._name, self._key, x509.BasicConstraints(ca=True, path_length=0))
        self.cert.write_bytes(signed.public_bytes(Encoding.PEM))

    def issue(self, name: str, passphrase: bytes | None = None) -> tuple[Path, Path]:
        """The files of a new certificate and of its key, in place of what has these names."""
        key = ec.generate_private_key(ec.SECP256R1())
        cert = self._signed(_name(name), key, x509.BasicConstraints(ca=False, path_length=None))
        paths = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        replaced(paths[0], cert.public_bytes(Encoding.PEM))
        replaced(paths[1], _pem(key, passphrase))
        return paths

    def _signed(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, constraints: x509.BasicConstraints
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        made = (
            x509.CertificateBuilder().subject_name(name).issuer_name(self._name).public_key(key.public_key())
        )
        made = made.serial_number(x509.random_serial_number()).add_extension(here, critical=False)
        made = made.add_extension(constraints, critical=True)
        made = made.not_valid_before(now - DAY).not_valid_after(now + DAY)
        return made.sign(self._key, hashes.SHA256())


def replaced(path: Path, content: bytes) -> None:
    """Put a file of the mode 0600 in the place of ``path`` at once, as certificate managers do."""
    beside = path.with_suffix(".new")
    beside.write_bytes(content)
    beside.chmod(0o600)
    beside.replace(path)
