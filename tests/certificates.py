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
    """A CA that signs for 127.0.0.1: a root, or one that ``root`` vouches for."""

    def __init__(self, folder: Path, name: str = "ca", root: "Authority | None" = None) -> None:
        self._folder, self._key, self._name = folder, ec.generate_private_key(ec.SECP256R1()), _name(name)
        folder.mkdir(parents=True, exist_ok=True)
        self.cert = folder / f"{name}.pem"
        signed = (root or self)._signed(self._name, self._key, x509.BasicConstraints(True, None), DAY)
        self.cert.write_bytes(signed.public_bytes(Encoding.PEM))

    def issue(
        self, name: str, passphrase: bytes | None = None, valid: datetime.timedelta = DAY
    ) -> tuple[Path, Path]:
        """The files of a new certificate, ``valid`` from now on, and of its key, in place of others."""
        key = ec.generate_private_key(ec.SECP256R1())
        cert = self._signed(_name(name), key, x509.BasicConstraints(ca=False, path_length=None), valid)
        paths = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        replaced(paths[0], cert.public_bytes(Encoding.PEM))
        replaced(paths[1], _pem(key, passphrase))
        return paths

    def _signed(
        self,
        name: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        constraints: x509.BasicConstraints,
        valid: datetime.timedelta,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        made = (
            x509.CertificateBuilder().subject_name(name).issuer_name(self._name).public_key(key.public_key())
        )
        made = made.serial_number(x509.random_serial_number()).add_extension(here, critical=False)
        made = made.add_extension(constraints, critical=True)
        made = made.not_valid_before(now - 99 * DAY).not_valid_after(now + valid)
        return made.sign(self._key, hashes.SHA256())


def replaced(path: Path, content: bytes) -> None:
    """Put a file of the mode 0600 in the place of ``path`` at once, as certificate managers do."""
    beside = path.with_suffix(".new")
    beside.write_bytes(content)
    beside.chmod(0o600)
    beside.replace(path)
