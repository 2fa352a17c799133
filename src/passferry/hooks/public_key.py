"""The gateway's public key, kept in the spool's folder: what is spooled is sealed to it."""

import base64
import binascii
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from passferry.hand_over import KEY_BYTES, SUITE, key_id
from passferry.hooks.spool import write_whole

FILE = "gateway-key"
OLD_SECONDS = 3600.0
"""So often the gateway is asked for it, at most."""
MOST_BYTES = 4096


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that letters can be sealed to."""

    public: bytes  # X25519, 32 bytes

    @property
    def id(self) -> str:
        """As the gateway names it."""
        return key_id(self.public)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "PublicKey | None":
        """The key in what `GET /sync/key` answers; None when there is none that this release can use."""
        public = b""
        try:
            public = base64.b64decode(document.get("publicKey", ""), validate=True)
        except (TypeError, ValueError, binascii.Error):
            return None
        if (
            len(public) != KEY_BYTES
            or document.get("suite") != SUITE
            or document.get("keyId") != key_id(public)
        ):
            return None
        return cls(public)


class PublicKeyFile:
    """The file that holds it."""

    def __init__(self, folder: Path) -> None:
        """``folder`` is the spool's."""
        self.path = folder / FILE

    def read(self) -> PublicKey | None:
        """The key; None when there is none that can be used, or when others could have written it."""
        try:
            with self.path.open("rb") as file:
                found = os.fstat(file.fileno())
                if found.st_mode & 0o022 or found.st_uid not in (0, os.geteuid()):
                    return None
                document = json.loads(file.read(MOST_BYTES))
        except (OSError, ValueError, RecursionError):
            return None
        return PublicKey.of(document) if isinstance(document, dict) else None

    def is_old(self, now: float) -> bool:
        """Whether the gateway is to be asked again; ``now`` is epoch seconds."""
        return not 0 <= self.age(now) < OLD_SECONDS or self.read() is None

    def age(self, now: float) -> float:
        """Seconds since the gateway last gave it; infinite when there is none."""
        try:
            return now - self.path.stat().st_mtime
        except OSError:
            return math.inf

    def keep(self, key: PublicKey) -> None:
        """Keep ``key``, durably. Raises ``OSError``."""
        text = base64.b64encode(key.public).decode()
        document = {"keyId": key.id, "publicKey": text, "suite": SUITE}
        write_whole(self.path, json.dumps(document).encode() + b"\n")
